//! Statuses that the engine composes itself, where there is nothing for the planner to decide.

use helium_crds::{
    Deployment, DeploymentStatus, RevisionId,
    event::{Event, Severity},
    revision::revision_id,
    status::{Reason, VersionRef, WaitingOn},
};
use jiff::Timestamp;

use crate::rows::InvalidSpec;

/// The status of an object whose spec cannot be followed, and what to tell people if that is news. Everything that a rollout
/// remembers stays as it is but its deadline, so that it goes on from there when the spec is mended.
pub(crate) fn invalid(
    spec: &InvalidSpec,
    before: Option<DeploymentStatus>,
    now: Timestamp,
) -> (DeploymentStatus, Vec<Event>) {
    let ours = |status: &DeploymentStatus| spec.uid.is_empty() || status.uid == spec.uid;
    let known = before.filter(ours);
    let is_news =
        known.as_ref().is_none_or(|status| status.reason != Reason::InvalidSpec || status.message != spec.problem);
    let mut status = known.unwrap_or_else(|| unknown(spec));
    status.observed_generation = status.observed_generation.max(spec.generation);
    status.reason = Reason::InvalidSpec;
    status.phase = Reason::InvalidSpec.phase();
    status.message.clone_from(&spec.problem);
    status.waiting_on = vec![WaitingOn::Spec { problem: spec.problem.clone() }];
    if let Some(rollout) = status.rollout.as_mut() {
        rollout.deadline_at = None; // its clock stands: that it comes no further is not its own fault
    }
    let event = Event {
        at: now,
        severity: Severity::Warning,
        reason: Reason::InvalidSpec.to_string(),
        message: spec.problem.clone(),
    };
    (status, is_news.then_some(event).into_iter().collect())
}

/// The status of a Deployment that has no version yet. Nothing of it runs, so there is nothing to remember.
pub(crate) fn unversioned(
    deployment: &Deployment,
    before: Option<DeploymentStatus>,
    waiting: WaitingOn,
) -> DeploymentStatus {
    let metadata = &deployment.metadata;
    let spec = InvalidSpec { uid: metadata.uid.clone(), ..InvalidSpec::default() };
    let mut status = before.filter(|status| status.uid == metadata.uid).unwrap_or_else(|| unknown(&spec));
    status.observed_generation = metadata.generation;
    status.written = Some(revision_id(&deployment.spec.template.as_written()));
    status.reason = Reason::NoVersion;
    status.phase = Reason::NoVersion.phase();
    status.wanted = deployment.spec.wanted();
    if let WaitingOn::Build { hydra_job, .. } = &waiting {
        status.message = format!("hydrajob/{hydra_job} has no build yet");
    }
    status.waiting_on = vec![waiting];
    status
}

/// The status of an object of which nothing is known but that it is there.
fn unknown(spec: &InvalidSpec) -> DeploymentStatus {
    DeploymentStatus {
        uid: spec.uid.clone(),
        observed_generation: 0,
        phase: Reason::InvalidSpec.phase(),
        reason: Reason::InvalidSpec,
        message: String::new(),
        wanted: 0,
        healthy: 0,
        conditions: Vec::new(),
        stable: None,
        current: VersionRef { version: spec.version.clone(), revision: RevisionId::from("") },
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(problem: &str) -> InvalidSpec {
        InvalidSpec {
            uid: "u1".to_owned(),
            generation: 4,
            version: "2".to_owned(),
            deletion_requested_at: None,
            problem: problem.to_owned(),
        }
    }

    #[test]
    fn a_broken_spec_keeps_what_the_rollout_remembers_and_is_told_once() {
        let (first, events) = invalid(&spec("no command"), None, Timestamp::UNIX_EPOCH);
        assert_eq!((first.observed_generation, first.reason, events.len()), (4, Reason::InvalidSpec, 1));
        let before = DeploymentStatus { next_ordinal: 9, ..first };
        let (again, events) = invalid(&spec("no command"), Some(before.clone()), Timestamp::UNIX_EPOCH);
        assert_eq!((again, events.len()), (before.clone(), 0), "the same again changes nothing");
        let (other, events) = invalid(&spec("no version"), Some(before), Timestamp::UNIX_EPOCH);
        assert_eq!((other.next_ordinal, events.len()), (9, 1));
    }

    #[test]
    fn the_status_of_an_earlier_object_of_the_same_name_is_not_taken_over() {
        let (before, _) = invalid(&InvalidSpec { uid: "u0".to_owned(), ..spec("x") }, None, Timestamp::UNIX_EPOCH);
        let before = DeploymentStatus { next_ordinal: 9, ..before };
        let (status, _) = invalid(&spec("x"), Some(before), Timestamp::UNIX_EPOCH);
        assert_eq!((status.uid.as_str(), status.next_ordinal), ("u1", 1));
    }
}
