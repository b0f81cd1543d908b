//! What is done from time to time: the resync, and keeping readiness and gauges up to date.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use helium_crds::{ObjectKey, Phase};
use helium_runtime::{
    backoff::{Backoff, Exponential},
    leader::Leadership,
    queue::Priority,
    runner::Handle,
    shutdown::Shutdown,
};
use tokio::sync::watch::Receiver;

use crate::{commit::lock, metrics::Kind, reconcile::Reconciler};

/// The backoff of making the store ready.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How often readiness and gauges are brought up to date.
const MEASURE: Duration = Duration::from_secs(1);

/// Makes an unused store ready, however long that takes.
pub(crate) async fn prepare(reconciler: Arc<Reconciler>, shutdown: Shutdown) {
    let mut backoff = Exponential::new(RETRY.0, RETRY.1, reconciler.ports.clone()).at_least(RETRY.0);
    while let Some(result) = shutdown.unless_cancelled(reconciler.memory.prepare()).await {
        reconciler.readiness.set("layout", result.as_ref().err().map(ToString::to_string));
        let Err(error) = result else { return };
        tracing::warn!(%error, "the store is not ready");
        if shutdown.unless_cancelled(tokio::time::sleep(backoff.next())).await.is_none() {
            return;
        }
    }
}

/// Has the records read anew on a jittered interval: the next object that is looked at does that. Whatever then differs from what
/// was held is looked at too. Besides, the runner looks at every object again on an interval of its own.
pub(crate) async fn resync(reconciler: Arc<Reconciler>, handle: Handle<ObjectKey>, shutdown: Shutdown) {
    loop {
        let pause = reconciler.ports.jittered(reconciler.config.resync, 10);
        if shutdown.unless_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        reconciler.resyncs.fetch_add(1, Ordering::Relaxed);
        if let Some(object) = reconciler.sources.objects().first() {
            handle.add(object, Priority::RESYNC, "Resync");
        }
    }
}

/// Says what can be seen and how many there are of what, and warns while there is no agent at all. Has objects looked at whose
/// records somebody else has written.
pub(crate) async fn measure(
    reconciler: Arc<Reconciler>,
    handle: Handle<ObjectKey>,
    leadership: Receiver<Leadership>,
    shutdown: Shutdown,
) {
    let mut warned = false;
    while shutdown.unless_cancelled(tokio::time::sleep(MEASURE)).await.is_some() {
        for object in reconciler.memory.take_missed() {
            handle.add(&object, Priority::CHANGE, "Missed");
        }
        reconciler.note_sight();
        if !leadership.borrow().is_leading() {
            // Only a leader writes: what was refused to this one when it led stands in nobody's way now.
            reconciler.readiness.clear("write");
        }
        reconciler.count();
        reconciler.metrics.queue_depth.set(i64::try_from(handle.depth()).unwrap_or(i64::MAX));
        let Ok((nodes, _)) = reconciler.sources.nodes() else { continue };
        let alone = !nodes.values().any(|alive| *alive);
        if alone && !warned {
            tracing::warn!("no agent has joined: nothing can be placed (start one with `helium agent`)");
        }
        warned = alone;
    }
}

impl Reconciler {
    /// Brings readiness and metrics up to date with what can be seen.
    fn note_sight(&self) {
        for (source, problem) in self.sources.problems() {
            self.metrics.blind.get_or_create(&Kind::of(source)).set(i64::from(problem.is_some()));
            self.readiness.set(source, problem);
        }
        for ((source, what), count) in self.sources.counts() {
            self.metrics.watched(source, what, count);
        }
        self.readiness.clear("start");
    }

    /// Brings the counts of objects and instances up to date.
    fn count(&self) {
        let mut counts: BTreeMap<Phase, i64> = Phase::ALL.into_iter().map(|phase| (phase, 0)).collect();
        for phase in lock(&self.phases).values() {
            *counts.entry(*phase).or_default() += 1;
        }
        for (phase, count) in counts {
            self.metrics.phases.get_or_create(&Kind::of(phase.to_string())).set(count);
        }
        let blind = i64::try_from(lock(&self.blind).len()).unwrap_or(i64::MAX);
        self.metrics.blind.get_or_create(&Kind::of("objects")).set(blind);
        let instances = lock(&self.memory.records).instances();
        self.metrics.instances.set(i64::try_from(instances).unwrap_or(i64::MAX));
    }
}
