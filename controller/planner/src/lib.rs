//! World in, Plan out: the pure decisions of Helium.
//!
//! [`plan()`] looks at one Deployment and everything that belongs to it, at one instant, and says what to write. It does no I/O,
//! knows no clock, and has no memory: the same World always gives the same Plan. Read on in this order:
//!
//! 1. [`world`]: what it is given. 2. `census`: what state each instance is in. 3. `rollout`, `steps`, `edits`, `analysis`, `gate`, `bake`, `progress`:
//!    how far the rollout is. 4. `targets`: how many instances of which revision there should be. 5. `scale`: which moves the budget allows now.
//! 6. `act`: the moves as changes of records; `routing`: what
//!    each weighs in Consul. 7. `phase`: the same for people.
//!
//! Two branch off: `manual`, where people set the counts, and `unfollowed`, where the spec cannot be followed.

mod act;
mod analysis;
mod bake;
mod census;
mod deletion;
mod draft;
mod edits;
mod gate;
mod history;
mod holds;
mod manual;
mod phase;
mod placement;
pub mod plan;
mod progress;
mod records;
mod requests;
mod rollout;
mod routing;
mod scale;
mod steps;
mod targets;
mod unfollowed;
pub mod weights;
pub mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use helium_crds::{
    Deployment, DeploymentStatus, Phase, RevisionId,
    revision::revision_id,
    status::{Reason, VersionRef, WaitingOn},
};

pub use plan::{Action, Decision, Plan, StopCause};
pub use world::{CatalogEntry, CheckState, Fleet, Node, Sight, Trusted, World};

use crate::{census::Census, draft::Draft, targets::Wanted};

/// What to do about one Deployment.
///
/// A world that cannot be seen, or whose status is missing while instances are there, is answered with
/// [`Decision::Blind`]: nothing is changed.
pub fn plan(world: &World) -> Decision {
    let fleet = match &world.fleet {
        Sight::Trusted(fleet) => fleet,
        Sight::Blind { reason } => return Decision::Blind { reason: reason.clone() },
    };
    let uid = &world.deployment.metadata.uid;
    let status_missing = world.status.as_ref().is_none_or(|status| status.uid != *uid);
    let recorded = fleet.get().instances.values().any(|instance| instance.uid == *uid);
    let assigned = fleet.get().assignments.values().any(|assignment| assignment.uid == *uid);
    if status_missing && (recorded || assigned) {
        let reason = "the status is missing although instances are there: this is no first deploy".to_owned();
        return Decision::Blind { reason };
    }
    if all_of(uid, fleet.get()) {
        return Decision::Go(Box::new(draft_plan(world, fleet)));
    }
    Decision::Go(Box::new(draft_plan(world, &fleet.map(|fleet| only_of(uid, fleet)))))
}

/// Whether nothing in the fleet belongs to another object of the same name.
fn all_of(uid: &str, fleet: &Fleet) -> bool {
    fleet.instances.values().all(|instance| instance.uid == uid)
        && fleet.assignments.values().all(|assignment| assignment.uid == uid)
}

/// The fleet without what belongs to another object of the same name.
fn only_of(uid: &str, fleet: &Fleet) -> Fleet {
    let mut fleet = fleet.clone();
    fleet.instances.retain(|_, instance| instance.uid == uid);
    fleet.assignments.retain(|_, assignment| assignment.uid == uid);
    fleet
}

fn draft_plan(world: &World, fleet: &Trusted<Fleet>) -> Plan {
    let revision = revision_id(&world.deployment.spec.template);
    let target = VersionRef { version: world.deployment.spec.template.version.clone(), revision };
    let known = world.status.clone().filter(|status| status.uid == world.deployment.metadata.uid);
    let came_back = known.as_ref().is_some_and(|status| status.current.revision != target.revision);
    let status = known.unwrap_or_else(|| first_status(world, target.clone()));
    let census = take_census(world, fleet);
    let mut draft = Draft {
        world,
        fleet,
        census,
        target,
        wanted: world.deployment.spec.wanted(),
        by_hand: false,
        status,
        events: Vec::new(),
        waiting: Vec::new(),
        questions: BTreeMap::new(),
        wake: None,
        relies_on_health: false,
    };
    draft.status.current = draft.target.clone();
    draft.status.written = written(&world.deployment).filter(|written| *written != draft.target.revision);
    let mut actions: Vec<Action> = history::record(&mut draft, came_back).into_iter().collect();
    let (wanted, reason) = decide(&mut draft, &actions);
    history::note_served(&mut draft);
    let (moves, reason) = carry_out(&mut draft, wanted.as_ref(), reason);
    actions.extend(moves);
    finish(draft, actions, wanted, reason)
}

/// The id of the template as it stands in the spec, where its revision has more than that: values of Consul's, or the version of a build.
fn written(deployment: &Deployment) -> Option<RevisionId> {
    let (template, is_built) = (&deployment.spec.template, deployment.spec.version_from.is_some());
    if template.overrides.is_empty() && !is_built {
        return None;
    }
    let mut written = template.as_written();
    if is_built {
        written.version.clear();
    }
    Some(revision_id(&written))
}

fn take_census(world: &World, fleet: &Trusted<Fleet>) -> Trusted<Census> {
    fleet.map(|fleet| {
        let orphans = records::adopt_orphans(&world.deployment.metadata.uid, &fleet.assignments, &fleet.instances);
        Census::take(world, fleet, &orphans)
    })
}

/// How many instances of what there should be; none if the object is being deleted. The reason is given where it is settled
/// already.
fn decide(draft: &mut Draft<'_>, recorded: &[Action]) -> (Option<Wanted>, Option<Reason>) {
    if draft.world.deployment.is_deleting() {
        return (None, Some(Reason::DeletionRequested));
    }
    if let Some(versions) = draft.spec().versions.as_ref() {
        let mut revisions = draft.world.revisions.clone();
        for action in recorded {
            if let Action::RecordRevision(revision) = action {
                revisions.insert(revision.id.clone(), revision.as_ref().clone());
            }
        }
        let (wanted, reason) = match manual::resolve(versions, &revisions) {
            Ok(counts) => by_hand(draft, &counts),
            Err(problem) => unfollowed::without_versions(draft, problem),
        };
        return (Some(wanted), Some(reason));
    }
    if let Some(problem) = draft.world.canary_problem.clone() {
        return unfollowed::without_canary(draft, problem);
    }
    if let Some(weight) = rollout::refused_weight(draft) {
        return unfollowed::without_weight(draft, weight);
    }
    rollout::follow_template(draft);
    requests::answer_all(draft);
    holds::keep(draft);
    rollout::advance(draft);
    draft.waiting.extend(holds::waiting(draft));
    (Some(targets::wanted(draft)), None)
}

fn by_hand(draft: &mut Draft<'_>, counts: &BTreeMap<RevisionId, u32>) -> (Wanted, Reason) {
    draft.by_hand = true;
    manual::take_over(draft); // before requests are answered: none is done to a rollout that is over
    requests::answer_all(draft);
    let wanted = manual::wanted(draft, counts);
    let settled = manual::is_settled(draft, counts);
    (wanted, if settled { Reason::ManualCountsHeld } else { Reason::ManualCountsInProgress })
}

fn carry_out(draft: &mut Draft<'_>, wanted: Option<&Wanted>, reason: Option<Reason>) -> (Vec<Action>, Reason) {
    let Some(wanted) = wanted else { return deletion::take_down(draft) };
    let mut actions = act::act(draft, wanted);
    let named = wanted.targets.keys().map(|group| group.revision.clone()).collect::<BTreeSet<_>>();
    actions.extend(history::prune(draft, &named));
    let reason = reason.unwrap_or_else(|| phase::reason(draft));
    (actions, reason)
}

fn finish(mut draft: Draft<'_>, actions: Vec<Action>, wanted: Option<Wanted>, reason: Reason) -> Plan {
    draft.status.observed_generation = draft.world.deployment.metadata.generation;
    draft.status.reason = reason;
    draft.status.phase = reason.phase();
    draft.status.wanted = draft.wanted;
    draft.status.healthy = draft.census().healthy();
    draft.status.message = phase::message(&draft, reason);
    phase::tell_problem(&mut draft, reason);
    draft.status.versions = wanted.map(|wanted| phase::versions(&draft, &wanted.targets)).unwrap_or_default();
    phase::wait_for_instances(&mut draft);
    if draft.status.phase == Phase::Degraded
        && let Some(rollout) = draft.status.rollout.as_ref()
    {
        let version = rollout.version.clone();
        draft.wait_for(WaitingOn::Fix { version });
    }
    let by_hand = draft.spec().versions.is_some();
    phase::conditions(&mut draft, by_hand);
    if let Some(problem) = draft.world.values_problem.clone() {
        draft.wait_for(WaitingOn::Values { problem });
    }
    draft.status.waiting_on = std::mem::take(&mut draft.waiting);
    analysis::ask(&mut draft);
    gate::ask(&mut draft);
    let requeue_after = draft.wake.map(|wake| until(draft.world.now, wake));
    let Draft { status, events, questions, relies_on_health, .. } = draft;
    Plan { status, actions, events, questions, requeue_after, needs_fresh_health: relies_on_health }
}

/// The time from `now` to `wake`, never none: a millisecond on top makes sure that the instant has passed then.
fn until(now: jiff::Timestamp, wake: jiff::Timestamp) -> Duration {
    Duration::try_from(wake.duration_since(now)).unwrap_or_default() + Duration::from_millis(1)
}

fn first_status(world: &World, target: VersionRef) -> DeploymentStatus {
    DeploymentStatus {
        uid: world.deployment.metadata.uid.clone(),
        observed_generation: 0,
        phase: Phase::Progressing,
        reason: Reason::FirstRollout,
        message: String::new(),
        wanted: 0,
        healthy: 0,
        conditions: Vec::new(),
        stable: None,
        current: target,
        rollout: None,
        versions: Vec::new(),
        waiting_on: Vec::new(),
        control: Vec::new(),
        next_ordinal: 1,
        next_revision: 1,
        written: None,
        served: Vec::new(),
        lock: None,
        restart_before: None,
    }
}
