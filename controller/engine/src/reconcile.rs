//! One reconcile: capture the world, plan, commit under the fence, report.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use helium_crds::{
    DeploymentStatus, ObjectKey, Phase,
    event::Event,
    status::{RolloutKind, Stage},
};
use helium_notify::Announce;
use helium_planner::{Action as Change, Decision, Plan, StopCause, World};
use helium_runtime::{leader::Lease, ports::Ports, runner::Action};
use jiff::Timestamp;

use crate::{
    builds::versions::Versions,
    capture::{Blind, Capture, Captured, Eyes, InvalidCapture, UnversionedCapture},
    commit::{CommitError, Committer, Guards, lock},
    config::EngineConfig,
    draft::{Draft, DraftError, places_instances, waits_for_place},
    health::{Health, Motion},
    measuring::Measuring,
    memory::{Era, Memory, MemoryError},
    metrics::Metrics,
    places::Reserved,
    readiness::Readiness,
    records::{Held, KnownEvents},
    reread::RereadError,
    sources::Sources,
    words,
};

/// So many commits in a row may be refused because somebody was faster each time.
const RACES: u32 = 4;

/// Why a reconcile ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Something that has to be seen cannot be: nothing is changed.
    #[error("blind: {0}")]
    Blind(String),
    /// The records could not be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The events could not be read.
    #[error(transparent)]
    Reread(#[from] RereadError),
    /// The plan cannot be written down.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The plan was not committed, or not wholly.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<Blind> for ReconcileError {
    fn from(Blind(reason): Blind) -> Self {
        Self::Blind(reason)
    }
}

impl ReconcileError {
    /// The name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Blind(_) => "Blind",
            Self::Memory(MemoryError::Reread(_)) | Self::Reread(_) => "Reread",
            Self::Memory(MemoryError::Layout(_)) => "Layout",
            Self::Draft(_) => "Draft",
            Self::Commit(error) => error.name(),
        }
    }

    /// When to try again without waiting for the backoff: what was in the way is gone by then, or costs nothing to look for. `refused`
    /// counts the commits of the object that were refused in a row, this one included: if there are many, nobody is faster, but what
    /// was planned from lags behind, and only the watch can mend that.
    pub fn try_again_in(&self, ports: &Ports, refused: u32) -> Option<Duration> {
        match self {
            Self::Blind(_) => Some(ports.jittered(Duration::from_secs(3), 50)),
            _ if self.is_refused() && refused <= RACES => Some(Duration::from_millis(50)),
            _ => None,
        }
    }

    /// Whether the store refused the commit because something is not as it was when it was planned.
    fn is_refused(&self) -> bool {
        matches!(self, Self::Commit(CommitError::SpecChanged | CommitError::Conflict(_)))
    }
}

/// Reconciles the objects of one store. One key never runs twice at once: the queue sees to that.
pub struct Reconciler {
    pub(crate) config: EngineConfig,
    pub(crate) ports: Ports,
    pub(crate) sources: Sources,
    pub(crate) health: Arc<Health>,
    pub(crate) measuring: Measuring,
    pub(crate) announce: Arc<dyn Announce>,
    pub(crate) memory: Memory,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) versions: Versions,
    pub(crate) committer: Arc<Committer>,
    /// Counts the resyncs; each means reading all records again.
    pub(crate) resyncs: AtomicU64,
    /// Held by a plan that makes instances, from capture until its places are taken: no two count on the same place.
    pub(crate) lane: tokio::sync::Mutex<()>,
    /// Objects that wait for a node that can take an instance.
    pub(crate) without_place: Mutex<BTreeSet<ObjectKey>>,
    pub(crate) phases: Mutex<BTreeMap<ObjectKey, Phase>>,
    /// Objects that cannot be seen well enough to act on, and why.
    pub(crate) blind: Mutex<BTreeMap<ObjectKey, String>>,
    /// How many commits of an object were refused since one was not.
    pub(crate) refused: Mutex<BTreeMap<ObjectKey, u32>>,
}

impl Reconciler {
    /// Looks at one object and makes one step towards what is wanted of it; without a lease, only works out which. Gives
    /// when to look again even if nothing happens.
    pub async fn reconcile(&self, object: &ObjectKey, lease: Option<&Lease>) -> Result<Action, ReconcileError> {
        if self.config.forget_between_reconciles {
            self.memory.forget().await;
            self.health.forget_views();
        }
        let open = self.memory.up_to_date(object, &self.era(lease)).await;
        self.readiness.set("records", open.as_ref().err().map(ToString::to_string));
        let _open = open?;
        let since = lease.map_or_else(|| self.ports.now(), |lease| lease.since);
        match self.eyes().capture(object, since, false).await? {
            Captured::World(capture) => self.follow(object, lease, since, capture).await,
            Captured::Invalid(capture) => self.call_invalid(object, lease, *capture).await,
            Captured::Unversioned(capture) => self.call_unversioned(object, lease, *capture).await,
            Captured::LoneCanary(index) => self.remove_canary(object, lease, index).await,
            Captured::Nothing => {
                if !lock(&self.memory.records).held(object).is_empty() {
                    tracing::warn!(%object, "the spec is gone without a mark of deletion: what runs is left alone");
                }
                self.forget(object);
                Ok(Action::Forget)
            }
        }
    }

    /// Plans for a world and commits the plan.
    async fn follow(
        &self,
        object: &ObjectKey,
        lease: Option<&Lease>,
        since: Timestamp,
        capture: Box<Capture>,
    ) -> Result<Action, ReconcileError> {
        let looked = self.ports.monotonic();
        let (mut plan, mut capture, places) = self.decide(object, lease, since, capture).await?;
        let answers = capture.world.status.as_ref().map_or(&[][..], |status| &status.control);
        if answers == plan.status.control {
            // What answers nobody need not wait for those who ask something else meanwhile.
            capture.guards.requests.clear();
        }
        let held = self.with_events(object, capture.held, &plan.events).await?;
        let draft = Draft::of(&plan, &held)?;
        let committed = self.commit(object, lease, &capture.guards, &draft, &held).await;
        self.announce(object, &draft, &plan.status, &plan.events);
        let written = committed?;
        drop(places);
        if written > 0 && decides(capture.world.status.as_ref(), &plan.status) {
            let took = self.ports.monotonic().saturating_sub(looked);
            self.metrics.decision_seconds.0.observe(took.as_secs_f64());
        }
        if draft.remove_object && lease.is_some() {
            self.forget(object);
        } else {
            self.report(object, &plan.status, &capture.services);
            // A standby asks nobody: what it would do is only counted.
            let questions = if lease.is_some() { std::mem::take(&mut plan.questions) } else { BTreeMap::new() };
            self.measuring.follow(object, questions);
        }
        // What was just written is itself a change of the world: the next look, after the object's rest, goes on from there. Where
        // there would be nothing to go on with, it can be spared.
        let goes_on = written > 0 && !plan.comes_to_rest();
        let next = if goes_on { Some(Duration::ZERO) } else { earliest(plan.requeue_after, capture.look_again) };
        Ok(next.map_or(Action::AwaitChange, Action::RequeueAfter))
    }

    /// Plans for a world, and gives the plan with the world that it was made for. A plan that relies on health is made again from
    /// health read past every cache. One that makes instances is made again in the lane, for the places that are free by then, and
    /// takes its own before the lane is left.
    async fn decide<'a>(
        &'a self,
        object: &'a ObjectKey,
        lease: Option<&Lease>,
        since: Timestamp,
        mut capture: Box<Capture>,
    ) -> Result<(Box<Plan>, Box<Capture>, Option<Reserved<'a>>), ReconcileError> {
        let (mut fresh, mut lane) = (capture.fresh, None);
        loop {
            let plan = decide(self.config.planner, &capture)?;
            if lease.is_some() && relies_on_health(&plan) && !fresh {
                fresh = true;
            } else if lease.is_some() && places_instances(&plan) && lane.is_none() {
                // Whoever is in the lane keeps all others waiting, so nothing is read in it.
                lane = Some(self.lane.lock().await);
                self.eyes().look_at_places(&mut capture)?;
                continue;
            } else {
                let places = lane.map(|_lane| Reserved::of(&plan, object, &self.memory.records));
                return Ok((plan, capture, places));
            }
            capture = match self.eyes().capture(object, since, fresh).await? {
                Captured::World(capture) => capture,
                _ => return Err(CommitError::SpecChanged.into()),
            };
        }
    }

    /// Says in the status of a Deployment that it cannot be followed. What runs is left alone.
    async fn call_invalid(
        &self,
        object: &ObjectKey,
        lease: Option<&Lease>,
        capture: InvalidCapture,
    ) -> Result<Action, ReconcileError> {
        let InvalidCapture { spec, status, guards, held } = capture;
        let (status, events) = words::invalid(&spec, status, self.ports.now());
        let held = self.with_events(object, held, &events).await?;
        let draft = Draft::words(&status, &events, &held)?;
        let committed = self.commit(object, lease, &guards, &draft, &held).await;
        self.announce(object, &draft, &status, &events);
        committed?;
        lock(&self.phases).insert(object.clone(), status.phase);
        Ok(Action::AwaitChange)
    }

    /// Says in the status of a Deployment that it has no version yet.
    async fn call_unversioned(
        &self,
        object: &ObjectKey,
        lease: Option<&Lease>,
        capture: UnversionedCapture,
    ) -> Result<Action, ReconcileError> {
        let UnversionedCapture { deployment, waiting, status, guards, held } = capture;
        let status = words::unversioned(&deployment, status, waiting);
        let draft = Draft::words(&status, &[], &held)?;
        self.commit(object, lease, &guards, &draft, &held).await?;
        lock(&self.phases).insert(object.clone(), status.phase);
        Ok(Action::AwaitChange)
    }

    async fn remove_canary(
        &self,
        object: &ObjectKey,
        lease: Option<&Lease>,
        index: u64,
    ) -> Result<Action, ReconcileError> {
        if let Some(lease) = lease {
            self.committer.remove_canary(&lease.fence, object, index).await?;
        }
        Ok(Action::AwaitChange)
    }

    /// Commits what there is to commit, if this controller leads.
    async fn commit(
        &self,
        object: &ObjectKey,
        lease: Option<&Lease>,
        guards: &Guards,
        draft: &Draft,
        held: &Held,
    ) -> Result<usize, ReconcileError> {
        if draft.is_empty() && !guards.remove_canary {
            return Ok(0);
        }
        let Some(lease) = lease else {
            self.metrics.plans_dropped.inc();
            return Ok(0);
        };
        let result = self.committer.commit(&lease.fence, object, guards, draft, held, &self.memory.records).await;
        let denied = matches!(result, Err(CommitError::Denied(_)));
        self.readiness.set("write", result.as_ref().err().filter(|_| denied).map(ToString::to_string));
        let keys = result?;
        tracing::debug!(%object, keys, "committed");
        Ok(keys)
    }

    /// Tells of events that were committed. They are in the first transaction of a draft, so that they may have been even where a later one
    /// was refused. Where it is not known, nobody is told: what did not happen must not be told.
    fn announce(&self, object: &ObjectKey, draft: &Draft, status: &DeploymentStatus, events: &[Event]) {
        let Some(written) = draft.events() else { return };
        let committed = match &lock(&self.memory.records).held(object).events {
            KnownEvents::Read(Some(raw)) => raw.value == *written,
            KnownEvents::Read(None) | KnownEvents::Unread => false,
        };
        if committed {
            for event in events {
                self.announce.announce(object, status, event);
            }
        }
    }

    /// What is held, with the events if there are any to add. An object of which nothing is held has none yet; if it does have some,
    /// left by another of its name, the write is refused and the object read again.
    async fn with_events(
        &self,
        object: &ObjectKey,
        held: Arc<Held>,
        events: &[Event],
    ) -> Result<Arc<Held>, ReconcileError> {
        if events.is_empty() || held.events != KnownEvents::Unread {
            return Ok(held);
        }
        let events = if held.is_empty() { KnownEvents::Read(None) } else { self.memory.events(object).await? };
        Ok(Arc::new(Held { events, ..Arc::unwrap_or_clone(held) }))
    }

    /// Tells the rest of the engine where an object stands.
    fn report(&self, object: &ObjectKey, status: &DeploymentStatus, services: &BTreeSet<String>) {
        self.health.settle(object, services, motion(status));
        self.metrics.rollouts.show(object, status);
        lock(&self.phases).insert(object.clone(), status.phase);
        let mut waiting = lock(&self.without_place);
        if waits_for_place(status) {
            waiting.insert(object.clone());
        } else {
            waiting.remove(object);
        }
    }

    fn forget(&self, object: &ObjectKey) {
        self.health.settle(object, &BTreeSet::new(), None);
        self.measuring.forget(object);
        self.sources.overrides.forget(object);
        self.metrics.rollouts.forget(object);
        lock(&self.phases).remove(object);
        lock(&self.without_place).remove(object);
        lock(&self.refused).remove(object);
    }

    /// Notes that an object cannot be seen well enough to act on. Says so once for each reason.
    pub(crate) fn is_blind(&self, object: &ObjectKey, reason: &str) {
        if lock(&self.blind).insert(object.clone(), reason.to_owned()).as_deref() != Some(reason) {
            tracing::warn!(reason, "blind: nothing is changed");
        }
    }

    /// Notes that an object can be seen, and that what it needed was done.
    pub(crate) fn succeeded(&self, object: &ObjectKey) {
        lock(&self.blind).remove(object);
        lock(&self.refused).remove(object);
    }

    /// When to try again after an error, if not after the backoff.
    pub(crate) fn try_again_in(&self, object: &ObjectKey, error: &ReconcileError) -> Option<Duration> {
        let mut count = 0;
        if error.is_refused() {
            let mut refused = lock(&self.refused);
            let so_far = refused.entry(object.clone()).or_default();
            *so_far = so_far.saturating_add(1);
            count = *so_far;
        }
        error.try_again_in(&self.ports, count)
    }

    fn eyes(&self) -> Eyes<'_> {
        let Self { config, ports, sources, health, measuring, memory, versions, .. } = self;
        Eyes { config, ports, sources, records: &memory.records, health, measuring, versions }
    }

    fn era(&self, lease: Option<&Lease>) -> Era {
        Era {
            session: lease.map(|lease| lease.fence.session.clone()),
            resets: self.sources.resets(),
            resync: self.resyncs.load(Ordering::Relaxed),
        }
    }
}

fn earliest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

fn decide(planner: fn(&World) -> Decision, capture: &Capture) -> Result<Box<Plan>, Blind> {
    match planner(&capture.world) {
        Decision::Go(plan) => Ok(plan),
        Decision::Blind { reason } => Err(Blind(reason)),
    }
}

/// Whether a plan goes on, or takes something down, because instances are healthy: that is not left to what a cache says.
fn relies_on_health(plan: &Plan) -> bool {
    let counts_on_others =
        |action: &Change| matches!(action, Change::Stop(_, _, StopCause::ScaleDown | StopCause::Superseded));
    plan.needs_fresh_health || plan.actions.iter().any(counts_on_others)
}

/// Whether a status brings a rollout forward, or gives it up.
fn decides(before: Option<&DeploymentStatus>, after: &DeploymentStatus) -> bool {
    let place = |status: &DeploymentStatus| status.rollout.as_ref().map(|rollout| (rollout.stage, rollout.step));
    before.is_some_and(|before| before.rollout.is_some() && place(before) != place(after))
}

/// How urgently the health of an object has to be watched.
fn motion(status: &DeploymentStatus) -> Option<Motion> {
    let under_way = status.rollout.as_ref().filter(|rollout| rollout.stage != Stage::Aborted);
    match under_way {
        Some(rollout) if rollout.kind == RolloutKind::Canary => Some(Motion::Canary),
        Some(_) => Some(Motion::Rolling),
        None if status.healthy < status.wanted => Some(Motion::Degraded),
        None => match status.phase {
            Phase::Pending | Phase::Progressing | Phase::RollingBack | Phase::Deleting => Some(Motion::Rolling),
            Phase::Paused | Phase::Healthy | Phase::Degraded | Phase::Invalid => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_is_refused_again_and_again_waits_for_the_backoff() {
        let ports = Ports::seeded(1, Timestamp::UNIX_EPOCH);
        for error in [CommitError::SpecChanged, CommitError::Conflict(String::new())].map(ReconcileError::from) {
            assert_eq!(error.try_again_in(&ports, 1), Some(Duration::from_millis(50)));
            assert_eq!(error.try_again_in(&ports, RACES + 1), None, "a watch that lags behind is no race");
        }
        assert!(ReconcileError::Blind(String::new()).try_again_in(&ports, RACES + 1).is_some());
    }
}
