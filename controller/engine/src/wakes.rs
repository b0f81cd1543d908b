//! From changes of the world to keys in the queue: who has to be looked at again when something changed.
//!
//! | change | objects |
//! |---|---|
//! | a spec or its requests | that object, ahead of all others |
//! | an agent's report | the Deployment that it names |
//! | a node or a heartbeat | all that have instances there, and all that wait for a place |
//! | a value above a package's defaults | the Deployment that it is for |
//! | nodes, heartbeats or values can be seen again | all |
//! | the catalog | those whose services changed; see [`polls`](crate::polls) |
//! | the leader | all, by the controller itself |

use std::{collections::BTreeSet, sync::Arc};

use helium_crds::{NodeName, ObjectKey};
use helium_runtime::{
    controller::Controller, leader::Leadership, queue::Priority, runner::Handle, shutdown::Shutdown, snapshot::View,
};
use tokio::sync::watch::{Receiver, Sender};

use crate::{commit::lock, reconcile::Reconciler};

/// Has the controller run an object whenever its spec, a request to it or a report of one of its instances changes.
pub(crate) fn wire(mut controller: Controller<ObjectKey>, reconciler: &Arc<Reconciler>) -> Controller<ObjectKey> {
    for source in reconciler.sources.specs.values() {
        let reconciler = Arc::clone(reconciler);
        let object_of = move |key: &str, _: &_| reconciler.sources.object_of(key);
        controller = controller.watch(source.views.clone(), Priority::USER, object_of);
    }
    for source in reconciler.sources.reports.values() {
        controller = controller.watch(source.views.clone(), Priority::CHANGE, |_, row| {
            row.get().map(|report| report.0.deployment.clone())
        });
    }
    controller
}

/// Runs what is concerned whenever something changes under `node/` or `alive/`.
pub(crate) async fn follow_nodes<T: Send + Sync + 'static>(
    views: Receiver<View<T>>,
    reconciler: Arc<Reconciler>,
    handle: Handle<ObjectKey>,
    shutdown: Shutdown,
) {
    let wake = |object: &ObjectKey| handle.add(object, Priority::CHANGE, "NodeChanged");
    follow(views, &reconciler, |key| around(&reconciler, key), wake, &shutdown).await;
}

/// Runs a Deployment whenever a value for it changes, from the first time on that any asked for values.
pub(crate) async fn follow_overrides(reconciler: Arc<Reconciler>, handle: Handle<ObjectKey>, shutdown: Shutdown) {
    let mut begun = reconciler.sources.overrides.views();
    let begun = shutdown.unless_cancelled(begun.wait_for(Option::is_some)).await;
    let Some(Ok(Some(views))) = begun.map(|begun| begun.map(|begun| begun.clone())) else { return };
    let wake = |object: &ObjectKey| handle.add(object, Priority::CHANGE, "ValuesChanged");
    let concerned = |key: &str| reconciler.config.keys.overridden(key).into_iter().collect();
    follow(views, &reconciler, concerned, wake, &shutdown).await;
}

/// Wakes the objects that each change of a watch concerns, and all when it can be seen again.
async fn follow<T: Send + Sync + 'static>(
    mut views: Receiver<View<T>>,
    reconciler: &Reconciler,
    concerned: impl Fn(&str) -> Vec<ObjectKey>,
    wake: impl Fn(&ObjectKey),
    shutdown: &Shutdown,
) {
    let mut before = views.borrow_and_update().clone();
    while let Some(Ok(())) = shutdown.unless_cancelled(views.changed()).await {
        let after = views.borrow_and_update().clone();
        let seen_again = after.trust.is_trusted() && !before.trust.is_trusted();
        let objects: BTreeSet<ObjectKey> = if seen_again {
            reconciler.sources.objects().into_iter().collect()
        } else {
            let changes = after.snapshot.changes_since(&before.snapshot);
            changes.flat_map(|(key, _)| concerned(key)).collect()
        };
        objects.iter().for_each(&wake);
        before = after;
    }
}

/// The objects that a change of a node concerns; `key` is one under `node/` or `alive/`.
fn around(reconciler: &Reconciler, key: &str) -> Vec<ObjectKey> {
    let name = key.rsplit('/').next().unwrap_or_default();
    let mut objects = lock(&reconciler.memory.records).on_node(&NodeName::from(name));
    objects.extend(lock(&reconciler.without_place).iter().cloned());
    objects
}

/// Says to the outside who leads. That everything is looked at at a take-over is the controller's own doing: tokio wakes several
/// waiters of one channel in random order, and a second one that adds keys could not be replayed from a seed.
pub(crate) async fn follow_leader(
    mut leadership: Receiver<Leadership>,
    reconciler: Arc<Reconciler>,
    leading: Sender<bool>,
    shutdown: Shutdown,
) {
    loop {
        let leads = leadership.borrow_and_update().is_leading();
        reconciler.metrics.leader.set(i64::from(leads));
        leading.send_replace(leads);
        if !matches!(shutdown.unless_cancelled(leadership.changed()).await, Some(Ok(()))) {
            leading.send_replace(false);
            return;
        }
    }
}
