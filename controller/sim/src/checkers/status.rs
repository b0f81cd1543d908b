//! S10: a status never claims what is still to come, and its clocks never go back.

use super::{Checkers, Commit};

impl Checkers {
    /// S10.
    pub(super) fn check_status(&mut self, commit: &Commit<'_>) {
        let (Some(deployment), Some(status)) = (commit.after.deployment.as_ref(), commit.after.status.as_ref()) else {
            return;
        };
        if status.uid != deployment.metadata.uid {
            return;
        }
        let (observed, generation) = (status.observed_generation, deployment.metadata.generation);
        if observed > generation {
            let message = format!("{}: generation {observed} was observed, and it is at {generation}", commit.object);
            self.fail("S10", message);
        }
        let before = commit.before.status.as_ref().filter(|before| before.uid == status.uid);
        let Some(before) = before else { return };
        if observed < before.observed_generation {
            let message =
                format!("{}: observed {} before and {observed} now", commit.object, before.observed_generation);
            self.fail("S10", message);
        }
        for condition in &status.conditions {
            let old = before.conditions.iter().find(|old| old.kind == condition.kind);
            if let Some(old) = old.filter(|old| old.last_transition_time > condition.last_transition_time) {
                let message = format!("{}: {:?} changed at an earlier time than before", commit.object, old.kind);
                self.fail("S10", message);
            }
        }
    }
}
