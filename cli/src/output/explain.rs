//! Why a Deployment is not there yet: the phase, what it waits for with its numbers, and what to do next.

use helium_crds::{
    DeploymentStatus,
    control::ControlAnswer,
    status::{Condition, ConditionKind, Reason, RolloutKind, Stage, WaitingOn},
};
use jiff::{SignedDuration, Timestamp};

use super::time::short;

/// The lines of `helium explain deployment/<name>`.
///
/// `generation` is that of the spec: a status that answers an older one says so first.
pub(crate) fn explain(name: &str, generation: u64, status: Option<&DeploymentStatus>, now: Timestamp) -> Vec<String> {
    let Some(status) = status else {
        return vec![
            "Pending: no controller has looked at it yet.".to_owned(),
            "Next: start one with helium controller, or look at helium doctor".to_owned(),
        ];
    };
    let mut lines = Vec::new();
    if status.observed_generation < generation {
        lines.push(format!(
            "No controller has seen generation {generation} yet; this is its answer to generation {}:",
            status.observed_generation
        ));
    }
    lines.push(format!("{}: {}", status.phase, sentence(&status.message)));
    lines.extend(
        status
            .waiting_on
            .iter()
            .filter_map(|waiting| waiting_line(waiting, status, now))
            .map(|line| format!("  {line}")),
    );
    lines.extend(locked_at_rest(status));
    lines.extend(status.control.iter().filter_map(unreadable));
    lines.extend(next(name, status).map(|advice| format!("Next: {advice}")));
    lines
}

/// What would keep the next rollout from starting; one that is under way says it itself.
fn locked_at_rest(status: &DeploymentStatus) -> Option<String> {
    let shut = |condition: &&Condition| condition.kind == ConditionKind::Locked && condition.status;
    let condition = status.conditions.iter().find(shut).filter(|_| status.rollout.is_none())?;
    Some(format!("  no rollout may start: {}", condition.message))
}

/// A request that nobody could read, for as long as it stands there.
fn unreadable(answer: &ControlAnswer) -> Option<String> {
    let why = answer.refused.as_ref().filter(|_| answer.verb.is_none())?;
    let whose = if answer.by.is_empty() { String::new() } else { format!(" by {}", answer.by) };
    Some(format!("  refused: a request{whose} cannot be read: {why}"))
}

/// One thing of `status` that is not yet so, with its numbers. None where the advice says it.
pub(crate) fn waiting_line(waiting: &WaitingOn, status: &DeploymentStatus, now: Timestamp) -> Option<String> {
    let left = |until: Timestamp| {
        let left = until.duration_since(now);
        if left > SignedDuration::ZERO { format!("{} to go", short(left)) } else { "due now".to_owned() }
    };
    Some(match waiting {
        WaitingOn::Agents => "waits for an agent: none has joined".to_owned(),
        WaitingOn::Place { instances, why } => {
            format!("waits for a place for {}: {why}", count(*instances, "instance"))
        }
        WaitingOn::Starting { version, count: number, instances } => {
            let ids: Vec<&str> = instances.iter().map(helium_crds::InstanceId::as_str).collect();
            let more = if ids.len() < *number as usize { ", ..." } else { "" };
            format!("waits for {} of {version} to become healthy: {}{more}", count(*number, "instance"), ids.join(", "))
        }
        WaitingOn::Unhealthy { version, instance, why } => format!("{instance} ({version}) is unhealthy: {why}"),
        WaitingOn::MinHealthyTime { instances, until } => {
            format!("waits until {} healthy for minHealthyTime: {}", have_been(*instances), left(*until))
        }
        WaitingOn::Soak { until } => format!("soaks: {}", left(*until)),
        WaitingOn::Bake { standby, until } => {
            format!("bakes: {standby} is on standby, should anything fail; {}", left(*until))
        }
        WaitingOn::Pause { until } => format!("pauses: {}", left(*until)),
        WaitingOn::Person { command } => format!("waits for a person: {command}"),
        WaitingOn::Superseded { version, instances } => {
            format!("waits for {} of {version} to go, which never served", count(*instances, "instance"))
        }
        WaitingOn::Stopping { version, instances } => {
            format!("waits for {} of {version} to stop", count(*instances, "instance"))
        }
        WaitingOn::Canary { passing, instances, needed } => {
            format!("{passing} of {instances} canary passing (needs {needed})")
        }
        WaitingOn::Weights { weighed, instances } => {
            format!("waits for Consul to have the weights of all: {weighed} of {instances}")
        }
        WaitingOn::Metric { name, good, needed, last, next } => {
            let last = last.as_ref().map(|last| format!("; the last one was {last}")).unwrap_or_default();
            let next = next.map_or_else(|| "once the weight is reached".to_owned(), left);
            format!("waits for good samples of {name}: {good} of {needed}{last}; next one: {next}")
        }
        WaitingOn::Gate { what, seen, until } => {
            let seen = seen.as_ref().map(|seen| format!(": {seen}")).unwrap_or_default();
            let until = until.map(|until| format!("; its time ends: {}", left(until))).unwrap_or_default();
            format!("stands at a gate ({what}){seen}{until}")
        }
        WaitingOn::Shut { why, until } => match until {
            Some(until) => format!("may not go on: {why}; until {} ({})", second(*until), left(*until)),
            None => format!("may not go on: {why}"),
        },
        WaitingOn::Available { available, needed } => {
            let those = match way_back_to(status) {
                Some(stable) => format!("the others until those of {stable} are available"),
                None => "old instances until new ones are available".to_owned(),
            };
            format!("keeps {those}: {available} available, {needed} must stay")
        }
        WaitingOn::Sight { instance, node, lost_at } => {
            let left = lost_at.map(|lost_at| short(lost_at.duration_since(now)));
            let until =
                left.map_or_else(|| " at the moment".to_owned(), |left| format!(", which counts as lost in {left}"));
            format!("cannot see {instance} on {node}{until}")
        }
        WaitingOn::Build { hydra_job, why } => first_build(hydra_job, why.as_deref()),
        WaitingOn::Values { problem } => format!("keeps the values of its revision: {problem}"),
        WaitingOn::Fix { .. } => return None,
        WaitingOn::Spec { problem } => format!("waits for the spec to change: {problem}"),
    })
}

fn first_build(hydra_job: &str, why: Option<&str>) -> String {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    format!("waits for the first build of hydrajob/{hydra_job}{why}")
}

/// The version that takes over again, while it does.
fn way_back_to(status: &DeploymentStatus) -> Option<&str> {
    let rollout = status.rollout.as_ref()?;
    let back =
        rollout.kind == RolloutKind::Return || matches!(rollout.stage, Stage::RollingBack | Stage::RollbackFailed);
    status.stable.as_ref().filter(|_| back).map(|stable| stable.version.as_str())
}

/// What a person can do.
fn next(name: &str, status: &DeploymentStatus) -> Option<String> {
    Some(match status.reason {
        Reason::NoAgents => "start one on some machine: helium agent".to_owned(),
        Reason::NoVersion => "helium get hydrajobs shows what there is".to_owned(),
        Reason::NoPlace => "add a node or free one; helium node list shows what there is".to_owned(),
        Reason::CanaryStep => format!("wait, or helium canary promote {name}, or helium canary abort {name}"),
        Reason::Baking => {
            format!("wait, or helium canary promote {name} to end the bake, or helium canary abort {name}")
        }
        Reason::PausedAtStep | Reason::AtGate | Reason::AwaitingPromotion => {
            format!("helium canary promote {name}, or helium canary abort {name}")
        }
        Reason::PausedByPerson => format!("helium rollout resume {name}"),
        Reason::Locked if status.lock.is_some() => format!("helium unlock {name}"),
        Reason::Locked => "take `suspend` out of the spec, or wait for its end".to_owned(),
        Reason::OutsideWindow => "wait for the next window, or change `schedule`".to_owned(),
        Reason::StableUnhealthy => {
            format!("helium logs {name} shows what the instances say; ifStableUnhealthy: proceed lets the canary go on")
        }
        Reason::PausedOnFailure | Reason::Inconclusive => {
            format!("apply a fix, or helium rollout resume {name} to go on, or helium canary abort {name} to go back")
        }
        Reason::RolloutAborted => format!("apply a fix, or helium canary retry {name}"),
        Reason::ProgressDeadlineExceeded | Reason::RollbackFailed => {
            format!("apply a fix; helium logs {name} shows what the instances say")
        }
        Reason::InstancesUnhealthy => format!("helium logs {name} shows what the instances say"),
        Reason::InvalidSpec => "apply a spec that validates".to_owned(),
        Reason::VersionNotFound => format!("helium rollout history {name} lists the versions there are"),
        Reason::WeightNotPossible => "change the weight or the count, or leave `exact` out".to_owned(),
        Reason::FirstRollout
        | Reason::RollingUpdate
        | Reason::Promoting
        | Reason::Scaling
        | Reason::Restarting
        | Reason::ManualCountsInProgress
        | Reason::RollingBack
        | Reason::ReturningToStable
        | Reason::DeletionRequested => {
            if status.waiting_on.iter().any(|waiting| matches!(waiting, WaitingOn::Unhealthy { .. })) {
                format!("helium logs {name} shows what the instances say")
            } else {
                "wait".to_owned()
            }
        }
        Reason::AllHealthy | Reason::ManualCountsHeld => return None,
    })
}

fn count(number: u32, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// An instant to the second: nobody reads more of it.
fn second(at: Timestamp) -> Timestamp {
    at.round(jiff::Unit::Second).unwrap_or(at)
}

fn have_been(instances: u32) -> String {
    if instances == 1 { "1 instance has been".to_owned() } else { format!("{instances} instances have been") }
}

/// The text with a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
