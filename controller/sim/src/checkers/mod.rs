//! The checkers: what must hold after every write of a controller (S1 to S18) or at a stop (S19), and in the end (L1 to L3).
//!
//! They look at the server's state itself, before and after a write, and at what the world knows and no actor does. A fault is
//! allowed to make things late; it is never allowed to make them wrong.
//!
//! A controller decides on what it was told, which may be some seconds old without any fault, and older with some. So whatever
//! rests on health asks whether an instance was healthy at any time within [`Checkers::staleness`]: the world may have taken it
//! since, and that is not the controller's doing.

mod availability;
mod builds;
mod canary;
mod evidence;
mod history;
mod leftovers;
mod ownership;
mod restraint;
mod settled;
mod status;
mod stops;
mod surplus;
mod values;
mod versions;
mod waits;
mod weights;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use consul_embedded::state::State;
use helium_crds::{
    InstanceId, Kind, NodeName, ObjectKey,
    instance::{Desired, Instance},
    keys::{self, Keys, SpecKey},
};

use crate::{net::Net, ops::Written, truth::Truth, wire::Actor};

pub use builds::builds_settled;
use history::History;
pub use ownership::strangers_untouched;
pub use settled::{settled, unexplained};
use surplus::Surplus;

/// How old what a controller sees may be while nothing delays its sight: a poll of its own keeps a service young.
const STALENESS: Duration = Duration::from_secs(12);

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker: `S1`.
    pub checker: &'static str,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.message)
    }
}

/// All checkers and what they remember.
#[derive(Debug, Default)]
pub struct Checkers {
    violation: Option<Violation>,
    history: History,
    delays: Vec<Delay>,
    blind: BTreeMap<Lost, Duration>,
    held: BTreeMap<(ObjectKey, String), BTreeMap<helium_crds::RevisionId, u32>>,
    writes: BTreeMap<ObjectKey, Vec<Duration>>,
    /// When what was noted of an object under a clock that was ahead was seen last.
    old_clocks: BTreeMap<ObjectKey, Duration>,
    surplus: BTreeMap<ObjectKey, Surplus>,
    good: evidence::Good,
    values: values::ValuesSeen,
    waits: waits::Waits,
    ticked: Duration,
    commits: u64,
    shared: u64,
    writes_so_far: u64,
    /// When an older state was put back last.
    restored_at: Option<Duration>,
}

/// Something that delays the controllers' sight for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Until when.
    pub until: Duration,
    /// How much older what they see may be.
    pub by: Duration,
}

impl Delay {
    /// That of a watch that has to begin anew, with a long poll that has to end first.
    pub const LONG: Duration = Duration::from_secs(58);

    /// Whether what they see may still be older because of it: what was seen last while it was in force grows old after it.
    fn holds(&self, now: Duration) -> bool {
        now <= self.until + self.by
    }
}

/// What a controller sees with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sense {
    /// The specs.
    Specs,
    /// The agents' reports.
    Reports,
    /// Nodes and heartbeats.
    Nodes,
    /// The catalog.
    Catalog,
}

/// What no controller sees: all that a sense shows, or one shard of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// What it would be seen with.
    pub sense: Sense,
    /// The shard; none for all.
    pub shard: Option<String>,
}

impl Lost {
    /// A whole sense.
    pub fn all(sense: Sense) -> Self {
        Self { sense, shard: None }
    }

    /// Whether it is needed for whoever acts on an object.
    fn concerns(&self, commit: &Commit<'_>) -> bool {
        // Nothing is reported of what has no instance.
        if self.sense == Sense::Reports && commit.before.instances.is_empty() {
            return false;
        }
        let Some(shard) = &self.shard else { return true };
        match self.sense {
            Sense::Specs => keys::shard(&commit.object) == *shard,
            Sense::Reports => commit.before.instances.values().any(|one| keys::node_shard(&one.node) == *shard),
            Sense::Nodes | Sense::Catalog => true,
        }
    }
}

/// One transaction of a controller that was carried out, about one object.
pub(crate) struct Commit<'a> {
    pub(crate) net: &'a Net,
    pub(crate) actor: Actor,
    pub(crate) object: ObjectKey,
    pub(crate) written: &'a Written,
    pub(crate) before: Truth,
    pub(crate) after: Truth,
    pub(crate) state_before: &'a State,
    pub(crate) state_after: &'a State,
}

impl Commit<'_> {
    /// Instances that are there now and should run, and were not there.
    pub(crate) fn created(&self) -> Vec<&Instance> {
        self.after.running().filter(|instance| !self.before.instances.contains_key(&instance.id)).collect()
    }

    /// Instances that should run before and should stop now.
    pub(crate) fn stopped(&self) -> Vec<&Instance> {
        let stops = |instance: &&Instance| {
            self.after.instances.get(&instance.id).is_some_and(|after| after.desired == Desired::Stop)
        };
        self.before.running().filter(stops).collect()
    }

    /// Instances that served before and are on standby now.
    pub(crate) fn withdrawn(&self) -> Vec<&Instance> {
        self.moved(false)
    }

    /// Instances that were on standby before and serve now.
    pub(crate) fn exposed(&self) -> Vec<&Instance> {
        self.moved(true)
    }

    /// Instances that were on standby, or not, and are the other way round now, as they were before.
    fn moved(&self, standby: bool) -> Vec<&Instance> {
        let now = |before: &Instance| self.after.instances.get(&before.id).map(|after| after.role.is_standby());
        let moves = |before: &&Instance| before.role.is_standby() == standby && now(before) == Some(!standby);
        self.before.running().filter(moves).collect()
    }

    /// Instances whose record is gone.
    pub(crate) fn forgotten(&self) -> Vec<&Instance> {
        self.before.instances.values().filter(|instance| !self.after.instances.contains_key(&instance.id)).collect()
    }

    /// Whether somebody else deleted a record whose assignment is still there: then it is no new instance.
    pub(crate) fn is_adopted(&self, instance: &Instance) -> bool {
        let key = Keys::default().assignment(&instance.node, &instance.id);
        self.state_before.kv().get(&key).is_some()
    }
}

impl Checkers {
    /// Something delays the controllers' sight by so much, now and until a time.
    pub fn delay(&mut self, delay: Delay, now: Duration) {
        self.delays.retain(|known| known.holds(now));
        self.delays.push(delay);
    }

    /// How old what a controller sees may be now.
    pub(crate) fn staleness(&self, now: Duration) -> Duration {
        let blind = if self.blind.is_empty() { Duration::ZERO } else { Delay::LONG };
        let delays = self.delays.iter().filter(|delay| delay.holds(now)).map(|delay| delay.by);
        STALENESS + delays.max().unwrap_or_default().max(blind)
    }

    /// The first violation.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// How many transactions of controllers were carried out.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// How many transactions of controllers were about several objects.
    pub fn shared(&self) -> u64 {
        self.shared
    }

    /// How many requests of controllers asked for a change, whatever came of them; heartbeats and renewals aside. One that is refused,
    /// or that puts what is there already, is work for Consul all the same.
    pub fn writes_so_far(&self) -> u64 {
        self.writes_so_far
    }

    /// Says that something is wrong. Only the first one counts: what follows may be its consequence.
    pub fn fail(&mut self, checker: &'static str, message: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { checker, message });
        }
    }

    /// Something is seen by no controller since now.
    pub fn lose(&mut self, lost: Lost, now: Duration) {
        self.blind.entry(lost).or_insert(now);
    }

    /// It is seen again.
    pub fn regain(&mut self, lost: &Lost, now: Duration) {
        self.blind.remove(lost);
        self.delay(Delay { until: now, by: Delay::LONG }, now);
    }

    /// An older state was put back: what is remembered about the younger one is void.
    pub fn restored(&mut self, now: Duration) {
        self.restored_at = Some(now);
        self.held.clear();
        self.waits.clear();
    }

    /// S4: a process was started although another one of its instance runs.
    pub fn two_copies(&mut self, id: &InstanceId, others: &[NodeName], here: &NodeName) {
        let others: Vec<&str> = others.iter().map(NodeName::as_str).collect();
        self.fail("S4", format!("{id} runs on {} and is started on {here}", others.join(", ")));
    }

    /// Looks at how everything is, from time to time.
    pub fn tick(&mut self, net: &Net) {
        let now = net.now();
        net.server.with_state(|state| {
            self.history.note(state, now);
            self.values.note(state, now);
            self.check_surplus(net, state, now);
        });
    }

    /// Looks at a write of a controller.
    pub fn controller_wrote(
        &mut self,
        net: &Net,
        actor: Actor,
        written: &Written,
        applied: bool,
        before: &State,
        after: &State,
    ) {
        let changes_keys = written.ops.iter().any(crate::ops::Op::writes);
        if applied {
            self.check_jobs(net, written, after);
        }
        let objects = if changes_keys { objects_of(written) } else { BTreeSet::new() };
        let is_write = (changes_keys || !written.is_txn) && !is_heartbeat(&written.path);
        let only_sampled = applied && restraint::only_sampled(&objects, written, before, after);
        let is_late = self.follows_an_old_clock(net, &objects, before);
        let is_news = only_sampled || is_late;
        self.writes_so_far += u64::from(is_write && !is_news);
        for object in &objects {
            self.check_pace(object, net.now());
        }
        if !applied {
            return;
        }
        self.check_ownership(actor, written, before);
        if !changes_keys {
            return;
        }
        self.check_fence(written, before);
        self.history.note(after, net.now());
        if objects.len() > 1 {
            self.shared += 1;
        }
        for object in objects {
            self.commits += 1;
            self.check_commit(net, (actor, object), written, before, after);
        }
    }

    /// Looks at what a transaction did about one of the objects that it is about.
    fn check_commit(
        &mut self,
        net: &Net,
        (actor, object): (Actor, ObjectKey),
        written: &Written,
        before: &State,
        after: &State,
    ) {
        let commit = Commit {
            net,
            actor,
            before: Truth::of(before, &object),
            after: Truth::of(after, &object),
            object,
            written,
            state_before: before,
            state_after: after,
        };
        self.check_deletions(&commit);
        self.check_forgotten(&commit);
        self.check_availability(&commit);
        self.check_surge(&commit);
        self.check_ordinals(&commit);
        self.check_canary(&commit);
        self.check_weights(&commit);
        self.check_metric_evidence(&commit);
        self.check_limits(&commit);
        self.check_waits(&commit);
        self.check_versions(&commit);
        self.check_values(&commit);
        self.check_builds(&commit);
        self.check_sight(&commit);
        self.check_hold(&commit);
        self.check_status(&commit);
    }
}

/// The objects that a transaction is about: those whose specs it guards. HydraJobs are looked at by themselves.
fn objects_of(written: &Written) -> BTreeSet<ObjectKey> {
    let keys = Keys::default();
    let guarded = written.ops.iter().filter_map(|op| match keys.parse_spec(&op.key)? {
        SpecKey::Object(kind, object) | SpecKey::Control(kind, object) => {
            Kind::OF_A_ROLLOUT.contains(&kind).then_some(object)
        }
    });
    guarded.collect()
}

fn is_heartbeat(path: &str) -> bool {
    path.starts_with("/v1/agent/check/update") || path.starts_with("/v1/session/renew")
}
