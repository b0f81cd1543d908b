//! What is written down while a preview runs: everything that changes about its Deployments, as the records and the machines have it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use consul_embedded::state::State;
use helium_crds::{
    DeploymentStatus, InstanceId, Kind, ObjectKey, Phase, RevisionId,
    event::{Event, EventLog},
    instance::{Desired, Instance, InstancePhase},
    keys::Keys,
    status::{Rollout, RolloutKind, Stage},
};
use helium_runtime::ports::Ports;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::outlook::{Count, Moment, Named, Outlook, StepSeen, What};
use crate::{
    net::lock,
    truth::{self, Registered},
};

/// Events that say what no status does.
const TOLD: [&str; 4] = ["RolloutStarted", "RolloutSuperseded", "CanaryStepsEdited", "ManualCounts"];

/// An instant on both clocks, and how long after the apply it is; none before it.
#[derive(Clone, Copy, Debug)]
struct Now {
    monotonic: Duration,
    at: Option<Duration>,
}

/// Looks at the world after each write, and keeps what is new.
pub(super) struct Recorder {
    ports: Ports,
    fails_at: Option<u32>,
    tracks: Mutex<BTreeMap<ObjectKey, Track>>,
    failing: Mutex<BTreeSet<RevisionId>>,
    /// When the documents were applied; before that nothing is kept.
    begun: Mutex<Option<Timestamp>>,
    /// Rung after each write, for the machines.
    pub(super) for_machines: Notify,
    /// Rung after each write, for whoever waits for the end.
    pub(super) for_course: Notify,
}

/// One Deployment as it was seen last, and what has been written down of it.
pub(super) struct Track {
    /// The records of its instances, as they were seen last.
    records: Vec<Arc<Instance>>,
    known: BTreeMap<InstanceId, Desired>,
    /// Those that were there when the documents were applied.
    there: BTreeSet<InstanceId>,
    total: u32,
    /// The events as they were seen last.
    events: Option<Arc<EventLog>>,
    /// The status as it was seen last.
    pub(super) status: Option<Arc<DeploymentStatus>>,
    /// The generation that an answer has to be about.
    pub(super) awaited: u64,
    /// When anything was seen to change, on the monotonic clock.
    pub(super) changed_at: Duration,
    took: Duration,
    /// Whether an instance is still stopping.
    pub(super) stopping: bool,
    draft: Option<Draft>,
}

/// An outlook in the making.
struct Draft {
    is_new: bool,
    before: Vec<Count>,
    moments: Vec<Moment>,
    steps: Vec<StepSeen>,
    least_healthy: u32,
    greatest_total: u32,
}

impl Recorder {
    /// Nothing is kept before [`Recorder::begin`].
    pub(super) fn new(ports: Ports, objects: impl IntoIterator<Item = ObjectKey>, fails_at: Option<u32>) -> Self {
        let track = |object| (object, Track::new());
        Self {
            ports,
            fails_at,
            tracks: Mutex::new(objects.into_iter().map(track).collect()),
            failing: Mutex::default(),
            begun: Mutex::new(None),
            for_machines: Notify::new(),
            for_course: Notify::new(),
        }
    }

    /// From now on everything is kept: the documents are about to be applied, and each of these Deployments is or is not new.
    pub(super) fn begin(&self, state: &State, objects: &BTreeMap<ObjectKey, bool>) {
        *lock(&self.begun) = Some(self.ports.now());
        let now = self.now();
        let registered = Registered::of(state);
        for (object, track) in lock(&self.tracks).iter_mut() {
            track.see_instances(state, object, now);
            let before = counts(&registered, &track.records);
            track.there = track.known.keys().cloned().collect();
            track.draft = Some(Draft {
                is_new: objects.get(object).copied().unwrap_or(false),
                least_healthy: before.iter().map(|count| count.healthy).sum(),
                greatest_total: track.total,
                before,
                moments: Vec::new(),
                steps: Vec::new(),
            });
            track.note_change(now);
        }
    }

    fn now(&self) -> Now {
        let since = |begun: Timestamp| self.ports.now().duration_since(begun).unsigned_abs();
        Now { monotonic: self.ports.monotonic(), at: lock(&self.begun).map(since) }
    }

    /// Says which generation of an object an answer has to be about.
    pub(super) fn await_generation(&self, object: &ObjectKey, generation: u64) {
        if let Some(track) = lock(&self.tracks).get_mut(object) {
            track.awaited = generation;
        }
    }

    /// Looks at what a write has changed.
    pub(super) fn look(&self, state: &State) {
        let now = self.now();
        let registered = Registered::of(state);
        for (object, track) in lock(&self.tracks).iter_mut() {
            track.see(state, &registered, object, now);
            self.begin_to_fail(track, now);
        }
        self.for_machines.notify_one();
        self.for_course.notify_one();
    }

    /// Writes down that a person promotes.
    pub(super) fn promoted(&self, object: &ObjectKey, command: &str) {
        let now = self.now();
        if let Some(track) = lock(&self.tracks).get_mut(object) {
            track.keep(now, What::Promoted { command: command.to_owned() });
        }
    }

    /// Whether the instances of a revision fail.
    pub(super) fn fails(&self, revision: &RevisionId) -> bool {
        lock(&self.failing).contains(revision)
    }

    /// Whether any was made to fail.
    pub(super) fn has_failed(&self) -> bool {
        !lock(&self.failing).is_empty()
    }

    /// Looks at every Deployment as it was seen last.
    pub(super) fn with_tracks<T>(&self, look: impl FnOnce(&BTreeMap<ObjectKey, Track>) -> T) -> T {
        look(&lock(&self.tracks))
    }

    /// What was written down; those that no controller has answered are named alone.
    pub(super) fn outlooks(&self) -> Vec<Result<Outlook, ObjectKey>> {
        let mut outlooks = Vec::new();
        for (object, track) in lock(&self.tracks).iter_mut() {
            let answer = track.status.clone().filter(|status| status.observed_generation >= track.awaited);
            outlooks.push(match (track.draft.take(), answer) {
                (Some(draft), Some(end)) => Ok(draft.finish(object.clone(), track.took, Arc::unwrap_or_clone(end))),
                _ => Err(object.clone()),
            });
        }
        outlooks
    }

    /// Has the new version fail if its canary is at the step that was asked for.
    fn begin_to_fail(&self, track: &mut Track, now: Now) {
        let (Some(fails_at), Some(_)) = (self.fails_at, now.at) else { return };
        let Some(status) = track.status.as_ref().filter(|status| status.observed_generation >= track.awaited) else {
            return;
        };
        let Some(rollout) = status.rollout.as_ref().filter(|rollout| at_steps(rollout)) else { return };
        let reached = rollout.step + 1 >= fails_at && (fails_at as usize) <= rollout.steps.len();
        if reached && lock(&self.failing).insert(rollout.revision.clone()) {
            let what = What::Failing { version: rollout.version.clone(), step: fails_at };
            track.keep(now, what);
        }
    }
}

impl Track {
    fn new() -> Self {
        Self {
            records: Vec::new(),
            known: BTreeMap::new(),
            there: BTreeSet::new(),
            total: 0,
            events: None,
            status: None,
            awaited: 0,
            changed_at: Duration::ZERO,
            took: Duration::ZERO,
            stopping: false,
            draft: None,
        }
    }

    /// How many steps the canary has that was seen; 0 if none was.
    pub(super) fn steps_seen(&self) -> usize {
        let moments = self.draft.iter().flat_map(|draft| &draft.moments);
        let steps = moments.filter_map(|moment| match &moment.what {
            What::Status(status) => status.rollout.as_ref().filter(|one| at_steps(one)).map(|one| one.steps.len()),
            _ => None,
        });
        steps.max().unwrap_or(0)
    }

    fn keep(&mut self, now: Now, what: What) {
        self.note_change(now);
        if let (Some(at), Some(draft)) = (now.at, self.draft.as_mut()) {
            draft.moments.push(Moment { at, what });
        }
    }

    fn note_change(&mut self, now: Now) {
        self.changed_at = now.monotonic;
        self.took = now.at.unwrap_or_default();
    }

    fn see(&mut self, state: &State, registered: &Registered<'_>, object: &ObjectKey, now: Now) {
        for event in self.new_events(state, object) {
            if TOLD.contains(&event.reason.as_str()) {
                self.keep(now, What::Told(event));
            }
        }
        let status: Option<Arc<DeploymentStatus>> =
            truth::shared(state, &Keys::default().status(Kind::Deployment, object));
        if status != self.status {
            self.status.clone_from(&status);
            if let Some(status) = status {
                self.note_step(&status, now);
                self.keep(now, What::Status(Box::new(Arc::unwrap_or_clone(status))));
            }
        }
        for what in self.see_instances(state, object, now) {
            self.keep(now, what);
        }
        if let Some(draft) = self.draft.as_mut() {
            let serving = |one: &&Arc<Instance>| one.desired == Desired::Run && !one.role.is_standby();
            let healthy = number(self.records.iter().filter(serving).filter(|one| registered.is_healthy(one)));
            draft.least_healthy = draft.least_healthy.min(healthy);
            draft.greatest_total = draft.greatest_total.max(self.total);
        }
    }

    /// Compares the instances with those that were seen last: those that are new, and those that were asked to stop since.
    fn see_instances(&mut self, state: &State, object: &ObjectKey, now: Now) -> Vec<What> {
        let instances: Vec<Arc<Instance>> =
            truth::shared_instances(state, &Keys::default().instances(object)).collect();
        let news = self.compare(&instances, now);
        self.records = instances;
        let takes_room = |instance: &&Arc<Instance>| {
            truth::report(state, instance).is_none_or(|report| report.phase != InstancePhase::Stopped)
        };
        self.total = number(self.records.iter().filter(takes_room));
        self.stopping = self.records.iter().any(|instance| instance.desired == Desired::Stop);
        news
    }

    fn compare(&mut self, instances: &[Arc<Instance>], now: Now) -> Vec<What> {
        if instances.len() == self.records.len() && instances.iter().zip(&self.records).all(|(a, b)| Arc::ptr_eq(a, b))
        {
            return Vec::new();
        }
        let (mut made, mut removed) = (Vec::new(), Vec::new());
        let mut in_order: Vec<&Arc<Instance>> = instances.iter().collect();
        in_order.sort_by_key(|instance| ordinal(instance));
        for instance in in_order {
            let named = || named(instance, &self.there);
            match (self.known.get(&instance.id), instance.desired) {
                (None, Desired::Run) => made.push(What::Made(named())),
                (Some(Desired::Run), Desired::Stop) => removed.push(What::Removed(named())),
                _ => {}
            }
        }
        let known: BTreeMap<InstanceId, Desired> = instances.iter().map(|one| (one.id.clone(), one.desired)).collect();
        if known != self.known {
            self.known = known;
            self.note_change(now);
        }
        made.extend(removed);
        made
    }

    fn new_events(&mut self, state: &State, object: &ObjectKey) -> Vec<Event> {
        let log: Option<Arc<EventLog>> = truth::shared(state, &Keys::default().events(Kind::Deployment, object));
        let before = std::mem::replace(&mut self.events, log);
        let (Some(log), false) = (&self.events, self.events == before) else { return Vec::new() };
        let last = before.as_ref().and_then(|before| before.events.last());
        let seen = last.and_then(|last| log.events.iter().rposition(|event| event == last));
        log.events.iter().skip(seen.map_or(0, |place| place + 1)).cloned().collect()
    }

    /// Writes down which step begins, and which is over.
    fn note_step(&mut self, status: &DeploymentStatus, now: Now) {
        let (Some(at), Some(draft)) = (now.at, self.draft.as_mut()) else { return };
        if status.observed_generation < self.awaited || status.phase == Phase::Invalid {
            return;
        }
        let rollout = status.rollout.as_ref();
        if let Some(open) = draft.steps.last_mut().filter(|step| step.over.is_none()) {
            let here = rollout.filter(|one| one.version == open.version && one.abort.is_none());
            if here.is_some_and(|one| one.stage != Stage::Steps || one.step >= open.number) {
                open.over = Some(at);
            }
        }
        let Some(rollout) = rollout.filter(|rollout| at_steps(rollout)) else { return };
        let (number, of) = (rollout.step + 1, u32::try_from(rollout.steps.len()).unwrap_or(u32::MAX));
        let Some(weight) = rollout.weight.filter(|weight| weight.canary > 0 && number <= of) else { return };
        let last = draft.steps.last();
        let is_next = last.is_none_or(|last| last.version != rollout.version || last.weight != weight);
        if is_next {
            let version = rollout.version.clone();
            draft.steps.push(StepSeen { number, of, version, weight, begins: at, over: None });
        }
    }
}

impl Draft {
    /// The outlook of an object that stands so in the end.
    fn finish(self, object: ObjectKey, took: Duration, end: DeploymentStatus) -> Outlook {
        let Self { is_new, before, moments, steps, least_healthy, greatest_total } = self;
        Outlook { object, is_new, before, moments, steps, least_healthy, greatest_total, took, goes_on: false, end }
    }
}

/// Whether a rollout is a canary at its steps.
fn at_steps(rollout: &Rollout) -> bool {
    rollout.kind == RolloutKind::Canary && rollout.stage == Stage::Steps && rollout.abort.is_none()
}

/// Those that should run, by version.
fn counts(registered: &Registered<'_>, instances: &[Arc<Instance>]) -> Vec<Count> {
    let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for instance in instances.iter().filter(|instance| instance.desired == Desired::Run) {
        let count = counts.entry(&instance.version).or_default();
        count.0 += 1;
        count.1 += u32::from(registered.is_healthy(instance));
    }
    let count =
        |(version, (running, healthy)): (&str, (u32, u32))| Count { version: version.to_owned(), running, healthy };
    counts.into_iter().map(count).collect()
}

/// An instance by its names. The end of an id is a hash over the instant at which the instance is made, so that of one that was not there
/// cannot be known.
fn named(instance: &Instance, there: &BTreeSet<InstanceId>) -> Named {
    let head = instance.id.as_str().rsplit_once('-').map(|(head, _)| InstanceId::new(head));
    let id = head.filter(|_| !there.contains(&instance.id)).unwrap_or_else(|| instance.id.clone());
    Named { id, version: instance.version.clone(), node: instance.node.clone() }
}

fn ordinal(instance: &Instance) -> u64 {
    instance.id.as_str().rsplit('-').nth(1).and_then(|ordinal| ordinal.parse().ok()).unwrap_or(0)
}

fn number<T>(all: impl Iterator<Item = T>) -> u32 {
    u32::try_from(all.count()).unwrap_or(u32::MAX)
}
