//! What a look at Hydra comes to: the status to be, what to tell people, and when to look again.

use std::time::Duration;

use helium_analysis::{Look, Missed};
use helium_crds::{
    HydraJob,
    event::{Event, EventReason, Severity},
    hydra_job::version_of,
    status::{HydraBuild, HydraCondition, HydraConditionKind, HydraError, HydraJobStatus},
};
use jiff::Timestamp;

use crate::rows::InvalidSpec;

/// The wait after the first look that failed; it doubles from one to the next, up to the interval of the job.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// The reason of what is wrong with a spec.
const INVALID: &str = "InvalidSpec";

/// What there is to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Hydra was asked.
    Looked(Result<Look, Missed>),
    /// The spec was looked at, and says that Hydra is not to be asked.
    Suspended,
}

/// The status after an outcome, and what to tell people of it. The same status again means that there is nothing to write.
///
/// `before` is the status as it is stored; one of another object of this name counts as none. `last_success` is when Hydra has last answered
/// well, as far as is remembered.
pub fn judge(
    job: &HydraJob,
    before: Option<&HydraJobStatus>,
    outcome: &Outcome,
    last_success: Option<Timestamp>,
    now: Timestamp,
) -> (HydraJobStatus, Vec<Event>) {
    let before = before.filter(|before| before.uid == job.metadata.uid);
    let mut status = before.cloned().unwrap_or_default();
    status.uid.clone_from(&job.metadata.uid);
    status.observed_generation = job.metadata.generation;
    let mut events = Vec::new();
    match outcome {
        Outcome::Looked(looked) => match looked.clone().and_then(|look| build_of(job, look, now)) {
            Ok(found) => take(&mut status, found, now, &mut events),
            Err(missed) => miss(&mut status, missed, last_success, now, &mut events),
        },
        // What was wrong with the spec is not any more; what was wrong with Hydra may still be.
        Outcome::Suspended => drop(status.error.take_if(|error| error.reason == INVALID)),
    }
    status.conditions = conditions(&status, before, now);
    (status, events)
}

/// The status of a HydraJob that cannot be followed, and what to tell people of it. What was taken before stays: a build is no worse for what
/// has become of the spec. Whose status it is that a spec without a uid has is not known, and it stays that one's.
pub fn call_invalid(
    spec: &InvalidSpec,
    before: Option<&HydraJobStatus>,
    now: Timestamp,
) -> (HydraJobStatus, Vec<Event>) {
    let before = before.filter(|before| spec.uid.is_empty() || before.uid == spec.uid);
    let mut status = before.cloned().unwrap_or_default();
    if !spec.uid.is_empty() {
        status.uid.clone_from(&spec.uid);
    }
    status.observed_generation = status.observed_generation.max(spec.generation);
    let mut events = Vec::new();
    let problem = Missed { reason: INVALID, message: spec.problem.clone(), unreachable: false };
    miss(&mut status, problem, None, now, &mut events);
    status.conditions = conditions(&status, before, now);
    (status, events)
}

/// What the world outside is told of a change of status: builds as they are, and whether the job can be followed, once for each change of that,
/// however the reason changes meanwhile.
pub fn told(before: Option<&HydraJobStatus>, after: &HydraJobStatus, events: &[Event], now: Timestamp) -> Vec<Event> {
    let of_builds = [EventReason::BuildFound, EventReason::BuildGone];
    let builds = events.iter().filter(|event| of_builds.iter().any(|reason| reason.as_str() == event.reason)).cloned();
    let failed = before.filter(|before| before.uid == after.uid).and_then(|before| before.error.as_ref());
    let turn = match (failed, &after.error) {
        (None, Some(error)) => {
            let words = format!("{}: {}", error.reason, error.message);
            Some(event(now, Severity::Warning, EventReason::JobNotFollowed.as_str(), words))
        }
        (Some(error), None) => {
            let words = format!("it can be followed again, after {} since {:.0}", error.reason, error.since);
            Some(event(now, Severity::Normal, EventReason::JobFollowed.as_str(), words))
        }
        _ => None,
    };
    turn.into_iter().chain(builds).collect()
}

/// When to look again, without its jitter: after a good look in an interval, after a bad one the sooner, the fewer there were in a row.
///
/// Example: with an interval of 5 min, 5 s after the first failure, 10 s after the second, and 5 min after the seventh and all others.
pub fn pause(interval: Duration, failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => interval,
        Some(doublings) => FIRST_WAIT.saturating_mul(1 << doublings.min(20)).min(interval),
    }
}

/// A build that was found, and whether a newer one was lost for it.
struct FoundBuild {
    build: HydraBuild,
    lost: bool,
}

/// What is to be taken of a look; none if that is what there is.
fn build_of(job: &HydraJob, look: Look, now: Timestamp) -> Result<Option<FoundBuild>, Missed> {
    let (found, lost) = match look {
        Look::Same => return Ok(None),
        Look::Found(found) => (found, false),
        Look::Gone(found) => (found, true),
    };
    let (path, build, evaluation) = (found.path, found.build, found.evaluation);
    let unfit = |words| Missed { reason: "UnfitName", message: format!("build {build}: {words}"), unreachable: false };
    let version = version_of(&path).map_err(unfit)?.to_owned();
    let build = HydraBuild { build, evaluation, path, version, job: job.spec.url.clone(), found_at: now };
    Ok(Some(FoundBuild { build, lost }))
}

fn take(status: &mut HydraJobStatus, found: Option<FoundBuild>, now: Timestamp, events: &mut Vec<Event>) {
    if let Some(error) = status.error.take() {
        status.last_success = Some(now);
        if error.unreachable {
            events.push(event(now, Severity::Normal, "HydraAnswers", "Hydra answers again".to_owned()));
        }
    }
    let Some(FoundBuild { build, lost }) = found else { return };
    let same = |known: &HydraBuild| {
        (known.build, known.evaluation, &known.path, &known.job)
            == (build.build, build.evaluation, &build.path, &build.job)
    };
    if status.newest.as_ref().is_some_and(same) {
        return;
    }
    let before = status.newest.as_ref();
    let after = before.map(|before| format!(", after {}", in_words(before))).unwrap_or_default();
    events.push(match before.filter(|_| lost) {
        Some(gone) => {
            let words = format!(
                "{} is in Hydra no more, or has failed after all; its newest is {}: {}",
                in_words(gone),
                in_words(&build),
                build.version
            );
            event(now, Severity::Warning, "BuildGone", words)
        }
        None => event(now, Severity::Normal, "BuildFound", format!("{}{after}: {}", in_words(&build), build.version)),
    });
    status.newest = Some(build);
    status.last_success = Some(now);
}

fn miss(
    status: &mut HydraJobStatus,
    missed: Missed,
    last_success: Option<Timestamp>,
    now: Timestamp,
    events: &mut Vec<Event>,
) {
    let Missed { reason, message, unreachable } = missed;
    let same = status.error.as_ref().filter(|error| error.reason == reason);
    if same.is_none() {
        events.push(event(now, Severity::Warning, reason, message.clone()));
    }
    let since = same.map_or(now, |error| error.since);
    if status.error.is_none() {
        status.last_success = last_success.max(status.last_success);
    }
    status.error = Some(HydraError { reason: reason.to_owned(), message, unreachable, since });
}

fn event(at: Timestamp, severity: Severity, reason: &str, message: String) -> Event {
    Event { at, severity, reason: reason.to_owned(), message }
}

/// `build 17`, or `build 17 of evaluation 3`.
fn in_words(build: &HydraBuild) -> String {
    match build.evaluation {
        Some(evaluation) => format!("build {} of evaluation {evaluation}", build.build),
        None => format!("build {}", build.build),
    }
}

fn conditions(status: &HydraJobStatus, before: Option<&HydraJobStatus>, now: Timestamp) -> Vec<HydraCondition> {
    let condition = |kind, holds: bool, reason: &str, message: String| {
        let known = before.and_then(|before| before.condition(kind)).filter(|known| known.status == holds);
        let last_transition_time = known.map_or(now, |known| known.last_transition_time);
        HydraCondition { kind, status: holds, reason: reason.to_owned(), message, last_transition_time }
    };
    let ready = match (&status.newest, &status.error) {
        (Some(build), Some(error)) if !error.unreachable => {
            let words = format!("{} is kept: {}", in_words(build), error.message);
            condition(HydraConditionKind::Ready, true, &error.reason, words)
        }
        (Some(build), _) => condition(HydraConditionKind::Ready, true, "Built", in_words(build)),
        (None, Some(error)) => condition(HydraConditionKind::Ready, false, &error.reason, error.message.clone()),
        (None, None) => condition(HydraConditionKind::Ready, false, "NoBuild", "Hydra was not asked yet".to_owned()),
    };
    let reachable = match &status.error {
        Some(error) if error.unreachable => {
            Some(condition(HydraConditionKind::Reachable, false, &error.reason, error.message.clone()))
        }
        // What a spec says wrongly is no word on Hydra.
        Some(error) if error.reason == INVALID => {
            before.and_then(|before| before.condition(HydraConditionKind::Reachable)).cloned()
        }
        None if status.newest.is_none() => None,
        _ => Some(condition(HydraConditionKind::Reachable, true, "Answers", "Hydra answers".to_owned())),
    };
    [Some(ready), reachable].into_iter().flatten().collect()
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
