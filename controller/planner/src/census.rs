//! The census: what state each instance is in, and which notes about it have to be written.
//!
//! An instance is *healthy* when its agent says that it runs and every check of its assignment is present and passing in
//! Consul, but for the one that keeps an instance on standby from serving. It is *ready* when it has been healthy for `minHealthyTime` without a
//! break, and *available* when it also serves. It is *unknown* when its node or its catalog entry cannot be seen: neither healthy nor
//! replaced. It is *lost* when its node's heartbeat has been absent for longer than `lost_after`.

use std::collections::BTreeMap;

use helium_crds::{
    InstanceId, RevisionId,
    instance::{Desired, Instance, InstancePhase, Report, nobody_listens},
};
use jiff::{SignedDuration, Timestamp};

use crate::world::{CatalogEntry, CheckState, Fleet, World};

/// All instances of the Deployment, classified.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    pub(crate) members: BTreeMap<InstanceId, Member>,
}

/// One instance, classified.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The record as it should be after this plan: notes are already entered.
    pub(crate) instance: Instance,
    /// Whether the record differs from the one that is stored.
    pub(crate) noted: bool,
    pub(crate) state: State,
    /// Since when it is healthy, corrected for times that nobody watched.
    pub(crate) healthy_since: Option<Timestamp>,
    /// Whether it is in Consul's catalog.
    pub(crate) registered: bool,
    /// Whether the check is there that lets it not serve.
    pub(crate) shielded: bool,
}

/// How long whoever asks Consul gets to notice that an instance serves that was on standby before: until then those whose place it takes run
/// on, for they may still be asked. `drain` is for those who take longer.
const SETTLING: SignedDuration = SignedDuration::from_secs(3);

/// The state of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// On its way; nothing has failed yet.
    Starting,
    /// Runs, and every check passes.
    Healthy,
    /// A check fails, or it cannot run; in words.
    Unhealthy(String),
    /// Cannot be seen at the moment.
    Unknown,
    /// Its node is lost.
    Lost,
    /// Asked to stop, and still there.
    Stopping,
    /// Asked to stop, and its node is lost: it no longer counts, its records wait for the node.
    StoppingLost,
    /// Has stopped because it was asked to.
    Stopped,
}

impl Member {
    /// Wanted to run, and not lost: it fills a place.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.state, State::Lost | State::Stopping | State::StoppingLost | State::Stopped)
    }

    /// Takes room: live, or still stopping.
    pub(crate) fn takes_room(&self) -> bool {
        self.is_live() || self.state == State::Stopping
    }

    /// Its checks pass, whether it serves or is on standby.
    pub(crate) fn is_healthy(&self) -> bool {
        self.state == State::Healthy
    }

    /// Is to be on standby.
    pub(crate) fn is_standby(&self) -> bool {
        self.instance.role.is_standby()
    }

    /// Is to be on standby, and can be seen to be: nobody reaches it by the service any more.
    pub(crate) fn is_out(&self) -> bool {
        self.is_standby() && self.shielded
    }

    /// When it will have been healthy for `minHealthyTime`, if it stays healthy.
    pub(crate) fn ready_at(&self, world: &World) -> Option<Timestamp> {
        self.healthy_since.filter(|_| self.is_healthy()).map(|since| since + min_healthy_time(world))
    }

    pub(crate) fn is_ready(&self, world: &World) -> bool {
        self.ready_at(world).is_some_and(|at| at <= world.now)
    }

    /// Ready, and serves.
    pub(crate) fn is_available(&self, world: &World) -> bool {
        self.is_ready(world) && !self.is_standby() && !self.shielded
    }

    /// Available, and for so long that whoever asks Consul has had the time to notice.
    pub(crate) fn is_settled(&self, world: &World) -> bool {
        self.is_available(world) && self.settles_at().is_none_or(|at| at <= world.now)
    }

    /// When it will have been let serve for long enough to be noticed.
    pub(crate) fn settles_at(&self) -> Option<Timestamp> {
        self.instance.serves_since.map(|since| since + SETTLING)
    }

    /// Ready, and as it should be: serving, or on standby.
    pub(crate) fn is_in_place(&self, world: &World) -> bool {
        self.is_ready(world) && self.is_standby() == self.shielded
    }

    pub(crate) fn id(&self) -> &InstanceId {
        &self.instance.id
    }
}

fn min_healthy_time(world: &World) -> jiff::SignedDuration {
    world.deployment.spec.min_healthy_time.as_signed()
}

impl Census {
    /// Classifies every instance of the fleet, and those of which only the assignment was left.
    pub(crate) fn take(world: &World, fleet: &Fleet, orphans: &[Instance]) -> Self {
        let members = fleet.instances.values().chain(orphans);
        let members = members.map(|instance| (instance.id.clone(), classify(world, fleet, instance)));
        Self { members: members.collect() }
    }

    /// Those that are wanted to run and not lost.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.is_live())
    }

    /// The live ones of one revision.
    pub(crate) fn of<'a>(&'a self, revision: &'a RevisionId) -> impl Iterator<Item = &'a Member> {
        self.live().filter(move |member| member.instance.revision == *revision)
    }

    /// How many live ones of a revision are available.
    pub(crate) fn available(&self, world: &World, revision: &RevisionId) -> u32 {
        count(self.of(revision).filter(|member| member.is_available(world)))
    }

    /// How many live ones of a revision are ready and as they should be.
    pub(crate) fn in_place(&self, world: &World, revision: &RevisionId) -> u32 {
        count(self.of(revision).filter(|member| member.is_in_place(world)))
    }

    /// How many of those that are to serve are healthy.
    pub(crate) fn healthy(&self) -> u32 {
        count(self.live().filter(|member| member.is_healthy() && !member.is_standby()))
    }
}

/// Counts what an iterator yields. Instances of one Deployment end at 10,000, far from the type's bound.
pub(crate) fn count<T>(members: impl Iterator<Item = T>) -> u32 {
    u32::try_from(members.count()).unwrap_or(u32::MAX)
}

fn classify(world: &World, fleet: &Fleet, stored: &Instance) -> Member {
    let mut instance = stored.clone();
    let report = fleet.reports.get(&stored.id);
    let entry = fleet.catalog.get(&stored.id);
    let node_alive = fleet.nodes.get(&stored.node).is_some_and(|node| node.alive);

    // An instant in the future counts as now, and is noted so: it would never come.
    instance.serves_since = stored.serves_since.map(|since| since.min(world.now));
    let missing_since = stored.node_missing_since.map_or(world.now, |since| since.min(world.now));
    instance.node_missing_since = (!node_alive).then_some(missing_since);
    let lost = lost_at(world, &instance).is_some_and(|at| at <= world.now);
    let state = match stored.desired {
        Desired::Stop => stopping_state(stored, report, fleet, lost),
        Desired::Run if lost => State::Lost,
        Desired::Run if !node_alive => State::Unknown,
        Desired::Run => running_state(fleet, stored, report, entry),
    };
    let healthy_since = note_health(world, &mut instance, &state, entry);
    let shielded = entry.is_some_and(|entry| entry.on_standby);
    Member { noted: instance != *stored, instance, state, healthy_since, registered: entry.is_some(), shielded }
}

/// When the instance counts as lost if its node stays away: `lost_after` from the later of the first sight of the absence and
/// the beginning of this watch, since nobody knows what happened before.
pub(crate) fn lost_at(world: &World, instance: &Instance) -> Option<Timestamp> {
    instance.node_missing_since.map(|since| since.min(world.now).max(world.watching_since) + world.lost_after)
}

fn stopping_state(stored: &Instance, report: Option<&Report>, fleet: &Fleet, lost: bool) -> State {
    // An agent keeps `stopped` under its report until the assignment is gone. A report of a run before this
    // assignment said `stop` cannot be mistaken for it: no agent reports `stopped` while `run` is wanted.
    match report {
        Some(report) if report.phase == InstancePhase::Stopped => State::Stopped,
        // Forgotten half-way: the assignment is gone, so no agent will ever speak of it again.
        None if !fleet.assignments.contains_key(&stored.id) => State::Stopped,
        _ if lost => State::StoppingLost,
        _ => State::Stopping,
    }
}

fn running_state(fleet: &Fleet, stored: &Instance, report: Option<&Report>, entry: Option<&CatalogEntry>) -> State {
    let Some(report) = report else { return State::Starting };
    match report.phase {
        InstancePhase::Fetching | InstancePhase::Installing | InstancePhase::Starting if report.restarts == 0 => {
            State::Starting
        }
        InstancePhase::Running => match entry {
            Some(entry) => checked_state(fleet, stored, report, entry),
            None => State::Unknown,
        },
        InstancePhase::Stopped => State::Unhealthy("stopped by hand".to_owned()),
        InstancePhase::Fetching | InstancePhase::Installing | InstancePhase::Starting | InstancePhase::Failed => {
            let message = report.message.as_deref().unwrap_or("it ended by itself");
            State::Unhealthy(message.to_owned())
        }
    }
}

/// The state of an instance that runs and is registered, by its checks. A check that is critical because it has not run yet is
/// not a failure, and neither is one that nobody listens to before the instance has ever been healthy: a server may take long to
/// start, and if it never does, that costs the rollout its deadline. Of a check that Consul has not asked nothing is known, and
/// after a restart of Consul that is every check: an instance that has been healthy is then neither healthy nor to be replaced.
/// Whether a check has run since only its agent can tell, by the output (`report.failing`): Consul may keep an output to itself
/// for minutes while the status is the same.
fn checked_state(fleet: &Fleet, stored: &Instance, report: &Report, entry: &CatalogEntry) -> State {
    if let Some(reason) = &entry.blocked_by {
        return State::Unhealthy(reason.clone());
    }
    let checks = fleet.assignments.get(&stored.id).map(|assignment| assignment.template.checks.as_slice());
    let own = checks.unwrap_or_default().iter().map(|check| &check.name);
    let mut all = State::Healthy;
    for check in own.chain(&report.checks) {
        let failing = report.failing.get(check);
        match entry.checks.get(check) {
            Some(CheckState::Passing) => {}
            Some(CheckState::Warning) => return unhealthy(check, failing, "warning"),
            Some(CheckState::Critical | CheckState::Unasked)
                if failing.is_some_and(|said| stored.has_been_healthy || !nobody_listens(said)) =>
            {
                return unhealthy(check, failing, "critical");
            }
            Some(CheckState::Critical) if stored.has_been_healthy => return unhealthy(check, None, "critical"),
            Some(CheckState::Unasked) if stored.has_been_healthy => all = State::Unknown,
            Some(CheckState::Critical | CheckState::Unasked) => all = State::Starting,
            None => return State::Unhealthy(format!("check `{check}` is not registered")),
        }
    }
    all
}

/// What its agent has seen of a failing check is said; without that, only that it is failing.
fn unhealthy(check: &str, output: Option<&String>, status: &str) -> State {
    State::Unhealthy(output.cloned().unwrap_or_else(|| format!("check `{check}` is {status}")))
}

/// Enters `healthy_since` and `check_index` into the record when health begins or ends, and gives the instant that soaks
/// may count from. The check index is noted only then, since outputs move it at rest. A changed index with unchanged health may
/// hide a flap from before this watch, never one from within it: so it costs the time before the watch, and no more.
fn note_health(
    world: &World,
    instance: &mut Instance,
    state: &State,
    entry: Option<&CatalogEntry>,
) -> Option<Timestamp> {
    let index = entry.map_or(0, |entry| entry.check_index);
    if *state == State::Healthy {
        // An instant in the future counts as now, and is noted so: it would begin anew at every look.
        instance.healthy_since = instance.healthy_since.map(|since| since.min(world.now));
    }
    match (state, instance.healthy_since) {
        (State::Healthy, None) => {
            instance.healthy_since = Some(world.now);
            instance.check_index = index;
            instance.has_been_healthy = true;
        }
        (State::Healthy, Some(since)) if instance.check_index == index => return Some(since),
        (State::Healthy, Some(since)) => return Some(since.max(world.watching_since)),
        // What is going away is of no more interest, and a note about it would only be a write.
        (State::Lost | State::Stopping | State::StoppingLost | State::Stopped, _) => return None,
        (State::Starting | State::Unhealthy(_) | State::Unknown, _) => instance.healthy_since = None,
    }
    instance.healthy_since
}
