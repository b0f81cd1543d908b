//! What a request has come to, in one line: told from the status in which the controller answers it.

use helium_crds::{
    DeploymentStatus, RevisionId,
    control::{ControlRequest, Verb},
    status::{Rollout, Stage},
};

/// What has happened, to follow the object's name. `done` is what a request that was carried out is called (`paused for 5m`), `before`
/// the rollout that the person saw, and `after` the status that holds the answer.
pub(crate) fn happened(
    done: &str,
    request: &ControlRequest,
    before: Option<&Rollout>,
    after: &DeploymentStatus,
) -> String {
    let rollout = after.rollout.as_ref();
    let seen = before.filter(|before| request.rollout.as_ref() == Some(&before.id));
    match (request.verb, rollout) {
        (Verb::Promote | Verb::PromoteFull | Verb::Skip, _) if seen.is_some_and(|seen| seen.stage == Stage::Baking) => {
            let version = seen.map(|seen| seen.version.as_str()).unwrap_or_default();
            format!(": the bake is ended, and {version} stays")
        }
        (Verb::Promote | Verb::Skip, _) => match (seen, request.step) {
            (Some(seen), Some(step)) => step_ended(request.verb, seen, step, after),
            _ => format!(" {done}: {}", after.message),
        },
        (Verb::PromoteFull, _) => match seen {
            Some(seen) => format!(" {done}: {} takes the whole count", seen.version),
            None => format!(" {done}: {}", after.message),
        },
        (Verb::Restart, _) => format!(" restarts: every instance is replaced, {} in all", after.wanted),
        (_, None) | (Verb::Pause | Verb::Lock, Some(Rollout { hold: None, .. })) => format!(" {done}"),
        (Verb::Abort, Some(rollout)) => format!(" {done}: {}", given_up(rollout, after)),
        (Verb::Retry, Some(rollout)) => format!(" {done}: {}", standing(rollout)),
        (Verb::Pause | Verb::Lock, Some(rollout)) => {
            format!(" {done}: {} stays{}", rollout.version, place(rollout))
        }
        (Verb::Resume | Verb::Unlock, Some(rollout)) => match &rollout.hold {
            None => format!(" {done}: {} goes on{}", rollout.version, place(rollout)),
            Some(hold) => {
                let why = hold.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                format!(" {done}, and {} is held all the same{why}", rollout.version)
            }
        },
    }
}

/// `: step 2/4 (soak 10s) is ended; 2.0.0 is at step 3/4 (setWeight 50%)`; behind the last step there is only the promotion.
fn step_ended(verb: Verb, seen: &Rollout, step: u32, after: &DeploymentStatus) -> String {
    let now = now(&seen.id, &seen.version, &seen.revision, after);
    let Some(ended) = seen.steps.get(step as usize) else { return format!(" promoted: {now}") };
    let how = if verb == Verb::Skip { "skipped" } else { "ended" };
    format!(": step {}/{} ({ended}) is {how}; {now}", step + 1, seen.steps.len())
}

/// Where a rollout is after what was done to it.
fn now(id: &str, version: &str, revision: &RevisionId, after: &DeploymentStatus) -> String {
    match after.rollout.as_ref().filter(|rollout| rollout.id == *id) {
        Some(rollout) => standing(rollout),
        // It was over by the time of the answer.
        None if after.stable.as_ref().is_some_and(|stable| stable.revision == *revision) => {
            format!("{version} takes the whole count")
        }
        None => after.message.clone(),
    }
}

/// Where a rollout is.
fn standing(rollout: &Rollout) -> String {
    let version = &rollout.version;
    match rollout.stage {
        Stage::Steps if (rollout.step as usize) < rollout.steps.len() => format!("{version} is{}", place(rollout)),
        Stage::Steps => format!("{version} is through its steps"),
        Stage::Promoting => format!("{version} takes the whole count"),
        Stage::Baking => format!("{version} serves alone, and bakes"),
        Stage::RollingBack | Stage::Aborted | Stage::RollbackFailed => format!("{version} was given up"),
    }
}

/// ` at step 2/4 (soak 10s)`; nothing where there are no steps, or none any more.
fn place(rollout: &Rollout) -> String {
    let step = rollout.steps.get(rollout.step as usize).filter(|_| rollout.stage == Stage::Steps);
    let at = |step| format!(" at step {}/{} ({step})", rollout.step + 1, rollout.steps.len());
    step.map(at).unwrap_or_default()
}

fn given_up(rollout: &Rollout, after: &DeploymentStatus) -> String {
    let version = &rollout.version;
    match (&after.stable, rollout.stage) {
        (Some(stable), Stage::Aborted) => format!("{version} is given up, and {} serves", stable.version),
        (Some(stable), _) => format!("{version} is given up, and {} takes over again", stable.version),
        (None, _) => format!("{version} is given up, and left as it is: there is no version to go back to"),
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
