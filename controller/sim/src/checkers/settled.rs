//! L1: actual is desired. L3: whatever is not so says why.

use std::collections::BTreeMap;

use consul_embedded::state::State;
use helium_crds::{
    AnyObject, Deployment, DeploymentStatus, Kind, Phase, RevisionId,
    deployment::VersionCount,
    instance::Desired,
    keys::Keys,
    revision::Revision,
    status::{Reason, RolloutKind, Stage, WaitingOn},
};

use super::{builds, leftovers, values, weights::is_weighed};
use crate::{
    fleet::{Behaviour, Table},
    truth::{self, Truth},
};

/// What is not yet as it should be; none if actual is desired for every object.
pub fn settled(state: &State, table: &Table) -> Option<String> {
    let objects = truth::objects(state);
    for object in &objects {
        let truth = Truth::of(state, object);
        if let Some(problem) = problem(state, &truth) {
            return Some(format!("{object}: {problem}"));
        }
    }
    leftovers::leftover(state, table, &objects)
}

fn problem(state: &State, truth: &Truth) -> Option<String> {
    let Some(deployment) = truth.deployment.as_ref() else {
        return Some("its spec cannot be read".to_owned());
    };
    if deployment.is_deleting() {
        return Some("it is still being deleted".to_owned());
    }
    let Some(status) = truth.status.as_ref() else { return Some("it has no status".to_owned()) };
    if status.uid != deployment.metadata.uid || status.observed_generation != deployment.metadata.generation {
        return Some("its newest spec has not been seen".to_owned());
    }
    if status.reason == Reason::NoVersion && builds::waits_for_a_build(state, deployment) {
        return None;
    }
    // Nothing of one without values that it could take is touched, not even what has stopped.
    if status.reason == Reason::InvalidSpec && lacks_values(state, deployment) {
        return None;
    }
    if truth.instances.values().any(|instance| instance.desired == Desired::Stop) {
        return Some("something is still stopping".to_owned());
    }
    if let Some(problem) = too_many(truth) {
        return Some(problem);
    }
    if will_change(status) {
        return Some(format!("{} ({}) until a time that is set: {}", status.phase, status.reason, status.message));
    }
    let values = || values::unlike_the_store(state, deployment, status);
    records_agree(state, truth).or_else(|| phase_is_final(state, deployment, status, truth)).or_else(values)
}

/// However hopeless a version is, no more are there than the surge allows. A way back that has failed keeps what runs, whatever is
/// wanted since.
fn too_many(truth: &Truth) -> Option<String> {
    if truth.status.as_ref().is_some_and(|status| status.reason == Reason::RollbackFailed) {
        return None;
    }
    let (_, ceiling) = truth.bounds()?;
    let running = truth.running().count();
    let serving = truth.running().filter(|instance| !instance.role.is_standby()).count();
    let standby = running - serving;
    let wanted = truth.deployment.as_ref().map_or(0, |deployment| deployment.spec.wanted());
    let too_many = serving > ceiling as usize || standby > wanted as usize;
    too_many.then(|| format!("{serving} should serve where at most {ceiling} may, and {standby} be on standby"))
}

/// Whether a deadline or the end of a wait will change something although nothing else happens.
fn will_change(status: &DeploymentStatus) -> bool {
    let timed = |on: &WaitingOn| {
        matches!(
            on,
            WaitingOn::Bake { .. }
                | WaitingOn::Soak { .. }
                | WaitingOn::Pause { .. }
                | WaitingOn::MinHealthyTime { .. }
                | WaitingOn::Gate { until: Some(_), .. }
                | WaitingOn::Shut { until: Some(_), .. }
        )
    };
    let deadline = status.rollout.as_ref().is_some_and(|rollout| rollout.deadline_at.is_some());
    let held = status.rollout.as_ref().is_some_and(|rollout| rollout.hold.is_some());
    !held && (deadline || status.waiting_on.iter().any(timed))
}

/// Every record has its assignment, and the other way round.
fn records_agree(state: &State, truth: &Truth) -> Option<String> {
    for instance in truth.instances.values() {
        let assigned = truth::assignment(state, instance);
        if assigned.is_none_or(|assignment| assignment.role != instance.role || assignment.desired != instance.desired)
        {
            return Some(format!("{} is not assigned as it is recorded", instance.id));
        }
    }
    if let Some(one) = truth.running().find(|one| !is_weighed(state, one)) {
        return Some(format!("{} does not weigh in Consul what it is assigned", one.id));
    }
    truth.orphans.first().map(|id| format!("{id} is assigned and not recorded"))
}

/// The phase is one that may last, and what runs is what it says.
fn phase_is_final(state: &State, deployment: &Deployment, status: &DeploymentStatus, truth: &Truth) -> Option<String> {
    let wanted = deployment.spec.wanted();
    let by_revision = counts(truth);
    let healthy = truth.running().filter(|instance| truth::is_healthy(state, instance)).count();
    let hopeless = truth.running().any(|instance| !Behaviour::of(&instance.version).is_sound())
        || !Behaviour::of(&deployment.spec.template.version).is_sound()
        || status.stable.as_ref().is_some_and(|stable| !Behaviour::of(&stable.version).is_sound());
    let running = u32::try_from(truth.running().count()).unwrap_or(u32::MAX);
    match status.phase {
        Phase::Healthy if running != wanted || healthy != wanted as usize => {
            Some(format!("Healthy, and {healthy} of {running} are healthy where {wanted} are wanted"))
        }
        Phase::Healthy => wrong_counts(deployment, status, &by_revision),
        // Without a stable version there is nothing to go back to, and everything is left as it is.
        Phase::Degraded if status.reason == Reason::RolloutAborted && status.stable.is_none() => None,
        Phase::Degraded if status.reason == Reason::RolloutAborted && !hopeless_stable(status) => {
            let stable = status.stable.as_ref().and_then(|stable| by_revision.get(&stable.revision)).copied();
            let all = stable.unwrap_or(0) == wanted && running == wanted && healthy == wanted as usize;
            (!all).then(|| format!("given up, and the stable version has {stable:?} of {wanted}"))
        }
        // A held or failed rollout stays as it is until a person comes.
        Phase::Paused => None,
        Phase::Invalid if cannot_be_followed(state, deployment, status) => None,
        // A canary of nothing goes on when there is something again.
        Phase::Progressing if wanted == 0 && running == 0 => None,
        Phase::Degraded if hopeless || status.reason == Reason::RollbackFailed => None,
        Phase::Pending | Phase::Progressing | Phase::Degraded | Phase::RollingBack | Phase::Deleting if hopeless => {
            let floor = truth.bounds().map_or(0, |(floor, _)| floor as usize);
            hopeless_is_bounded(status, running, wanted, healthy <= floor)
        }
        phase => Some(format!("{phase} ({}): {}", status.reason, status.message)),
    }
}

/// Whether it takes values in Consul, and those that are there are none.
fn lacks_values(state: &State, deployment: &Deployment) -> bool {
    deployment.spec.template.takes_overrides() && truth::values(state, &deployment.metadata.key()).is_none()
}

/// Whether there is something in the store that nobody can follow: a Canary that is none, a version that the history does not have, an
/// exact weight.
fn cannot_be_followed(state: &State, deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let (keys, object) = (Keys::default(), deployment.metadata.key());
    let canary = state.kv().get(&keys.spec(Kind::Canary, &object)).map(|entry| AnyObject::from_json(&entry.value));
    match (status.reason, canary) {
        (Reason::InvalidSpec, _) if lacks_values(state, deployment) => true,
        (Reason::InvalidSpec, Some(read)) => !matches!(read, Ok(AnyObject::Canary(_))),
        (Reason::WeightNotPossible, Some(Ok(AnyObject::Canary(canary)))) => canary.spec.exact,
        (Reason::VersionNotFound, _) => {
            let known = truth::revisions(state, &object);
            let lacks = |wanted: &VersionCount| !known.iter().any(|revision| is_meant(&wanted.version, revision));
            deployment.spec.versions.iter().flatten().any(lacks)
        }
        _ => false,
    }
}

/// Whether a version asked for by hand, `2` or `2@4f`, means a revision.
fn is_meant(version: &str, revision: &Revision) -> bool {
    let (label, id) = version.split_once('@').unwrap_or((version, ""));
    revision.template.version == label && revision.id.short().starts_with(id)
}

fn hopeless_stable(status: &DeploymentStatus) -> bool {
    status.stable.as_ref().is_some_and(|stable| !Behaviour::of(&stable.version).is_sound())
}

/// What cannot become healthy is at least not more than was wanted, or goes its canary's way. While it is chosen by hand, what is
/// healthy and not chosen stays as long as it is needed.
fn hopeless_is_bounded(status: &DeploymentStatus, running: u32, wanted: u32, all_needed: bool) -> Option<String> {
    let canary = status.rollout.as_ref().is_some_and(|rollout| {
        rollout.kind == RolloutKind::Canary || matches!(rollout.stage, Stage::Promoting | Stage::RollingBack)
    });
    let kept = status.reason == Reason::ManualCountsInProgress && running > wanted && all_needed;
    (running != wanted && !kept && !canary && status.rollout.is_none())
        .then(|| format!("{running} where {wanted} are wanted"))
}

fn wrong_counts(
    deployment: &Deployment,
    status: &DeploymentStatus,
    counts: &BTreeMap<RevisionId, u32>,
) -> Option<String> {
    if let Some(versions) = &deployment.spec.versions {
        let mut asked: Vec<u32> = versions.iter().map(|one| one.replicas).filter(|count| *count > 0).collect();
        let mut found: Vec<u32> = counts.values().copied().collect();
        asked.sort_unstable();
        found.sort_unstable();
        return (asked != found).then(|| format!("{found:?} where {asked:?} are asked for by hand"));
    }
    let stable = status.stable.as_ref().map(|stable| &stable.revision);
    let others = counts.keys().any(|revision| Some(revision) != stable);
    others.then(|| "Healthy, and something else than the stable version runs".to_owned())
}

fn counts(truth: &Truth) -> BTreeMap<RevisionId, u32> {
    let mut counts = BTreeMap::new();
    for instance in truth.running() {
        *counts.entry(instance.revision.clone()).or_default() += 1;
    }
    counts
}

/// L3: the object whose status does not explain itself.
pub fn unexplained(state: &State) -> Option<String> {
    truth::objects(state).into_iter().find_map(|object| {
        let status = Truth::of(state, &object).status?;
        let said = !status.message.is_empty();
        let why = match status.phase {
            // A hold says in its message who holds it.
            Phase::Healthy | Phase::Paused => said,
            _ => said && !status.waiting_on.is_empty(),
        };
        (!why).then(|| format!("{object} is {} ({}) and does not say why", status.phase, status.reason))
    })
}
