//! S14: no third version is begun while two others that were never stable are still there.

use std::collections::BTreeSet;

use helium_crds::{RevisionId, instance::InstancePhase};

use super::{Checkers, Commit};
use crate::truth;

impl Checkers {
    /// S14, at every commit that makes an instance of a version that is not the stable one.
    pub(super) fn check_versions(&mut self, commit: &Commit<'_>) {
        let Some(status) = commit.after.status.as_ref() else { return };
        let by_hand = |truth: &truth::Truth| truth.deployment.as_ref().is_none_or(|one| one.spec.versions.is_some());
        // What was a count by hand a moment ago is still on its way out.
        if by_hand(&commit.before) || by_hand(&commit.after) || status.stable.is_none() {
            return;
        }
        let stable = status.stable.as_ref().map(|stable| &stable.revision);
        let begun = commit.created().into_iter().find(|new| {
            Some(&new.revision) != stable && !commit.is_adopted(new) && !self.is_there(commit, &new.revision)
        });
        let Some(begun) = begun else { return };
        let others: BTreeSet<&RevisionId> = commit
            .before
            .instances
            .values()
            .filter(|one| Some(&one.revision) != stable && one.revision != begun.revision)
            .filter(|one| takes_room(commit, one))
            .map(|one| &one.revision)
            .collect();
        if others.len() >= 2 {
            let message = format!(
                "{}: {} was begun while {} others that never served were there",
                commit.object,
                begun.version,
                others.len()
            );
            self.fail("S14", message);
        }
    }

    /// Whether something of a revision was there before: then it is not begun, but made again.
    #[allow(clippy::unused_self, reason = "it reads as one of the checkers")]
    fn is_there(&self, commit: &Commit<'_>, revision: &RevisionId) -> bool {
        commit.before.instances.values().any(|one| one.revision == *revision)
    }
}

/// Whether an instance has not stopped, on a machine that is there.
fn takes_room(commit: &Commit<'_>, instance: &helium_crds::instance::Instance) -> bool {
    let state = commit.state_before;
    let stopped = truth::report(state, instance).is_some_and(|report| report.phase == InstancePhase::Stopped);
    !stopped && truth::heartbeat(state, &instance.node)
}
