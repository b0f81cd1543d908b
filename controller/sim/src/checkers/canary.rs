//! S5: no more canaries than the step says, none after it was given up, and no step forward without evidence.

use helium_crds::{
    status::{Rollout, RolloutKind, Stage, Weight},
    step::{Pause, Step, StepKind},
};
use helium_planner::weights;

use super::{Checkers, Commit};

impl Checkers {
    /// S5, at every commit that makes canaries or brings the rollout forward.
    pub(super) fn check_canary(&mut self, commit: &Commit<'_>) {
        let spec = commit.before.deployment.as_ref().map(|deployment| &deployment.spec);
        let (Some(spec), Some(status)) = (spec, commit.after.status.as_ref()) else { return };
        if spec.versions.is_some() {
            return; // counts by hand suspend the canary
        }
        let Some(rollout) = status.rollout.as_ref() else { return };
        let stable = status.stable.as_ref().map(|stable| &stable.revision);
        let made = commit.created().into_iter().any(|new| new.revision == rollout.revision && !commit.is_adopted(new));
        let live = commit.after.running().filter(|instance| instance.revision == rollout.revision).count();
        // A way back that has failed keeps what runs, and so makes a lost one again.
        let given_up = matches!(rollout.stage, Stage::RollingBack | Stage::Aborted);
        if made && given_up && stable.is_some() && stable != Some(&rollout.revision) && rollout.hold.is_none() {
            let message =
                format!("{}: {} was given up, and another one of it was made", commit.object, rollout.version);
            self.fail("S5", message);
        }
        let shown = commit.exposed().into_iter().any(|one| one.revision == rollout.revision);
        if (made || shown) && rollout.kind == RolloutKind::Canary && rollout.stage == Stage::Steps {
            let surge = commit.before.bounds().map_or(0, |(_, ceiling)| ceiling - spec.wanted());
            let allowed = allowed(rollout, spec.wanted(), surge);
            let serving =
                commit.after.running().filter(|one| one.revision == rollout.revision && !one.role.is_standby());
            for (number, most, what) in
                [(live, allowed.of_new(), "canaries"), (serving.count(), allowed.canary, "of them serve")]
            {
                if number > most as usize {
                    let (object, step) = (&commit.object, rollout.step + 1);
                    let message = format!("{object}: {number} {what} at step {step}, where at most {most} may be");
                    self.fail("S5", message);
                }
            }
        }
        self.check_evidence(commit, rollout);
    }

    /// A canary's step is over, or it is promoted, only if one of it was healthy lately, whoever wants it.
    fn check_evidence(&mut self, commit: &Commit<'_>, after: &Rollout) {
        let before = commit.before.status.as_ref().and_then(|status| status.rollout.as_ref());
        let forward = match before.filter(|before| before.id == after.id) {
            Some(before) if before.stage == Stage::Steps => {
                let stepped = after.stage == Stage::Steps && after.step > before.step && after.steps == before.steps;
                let waited = before.steps.get(before.step as usize).is_some_and(needs_no_canary);
                after.stage == Stage::Promoting || (stepped && !waited)
            }
            Some(_) => false,
            // One that has just begun has no evidence at all.
            None => after.kind == RolloutKind::Canary && after.stage == Stage::Promoting,
        };
        if !forward || commit.before.canary.is_none() {
            return;
        }
        let canary_deleting = commit.before.canary.as_ref().is_some_and(helium_crds::Canary::is_deleting);
        let wanted = commit.before.deployment.as_ref().map_or(0, |deployment| deployment.spec.wanted());
        if canary_deleting || wanted == 0 {
            return;
        }
        let now = commit.net.now();
        let evidence = commit.before.running().any(|instance| {
            instance.revision == after.revision && self.history.was_healthy(&instance.id, self.staleness(now), now)
        });
        if !evidence {
            let message = format!("{}: {} went forward without a healthy canary", commit.object, after.version);
            self.fail("S5", message);
        }
    }
}

/// How many canaries the present step allows: none as long as only pauses came, and one where no step has said yet.
pub(super) fn allowed(rollout: &Rollout, wanted: u32, surge: u32) -> Weight {
    let previews = |step: &Step| match step.kind {
        StepKind::Preview(number) => Some(number.rounded_up(wanted).min(wanted)),
        _ => None,
    };
    let preview = rollout.steps.iter().take(rollout.step as usize + 1).rev().find_map(previews);
    let upto = rollout.steps.iter().take(rollout.step as usize + 1);
    let counts = upto.rev().find_map(|step| match step.kind {
        StepKind::SetWeight(weight) => Some(weights::step_counts(wanted, weight, surge)),
        StepKind::SetReplicas(number) => Some(weights::replica_counts(wanted, number, surge)),
        StepKind::Preview(_) | StepKind::Soak(_) | StepKind::Pause(_) | StepKind::Analysis(_) | StepKind::Gate(_) => {
            None
        }
    });
    let gate = |step: &Step| match step.kind {
        StepKind::Pause(Pause { promote_after, .. }) => promote_after.is_none(),
        StepKind::Gate(_) | StepKind::Analysis(_) => true,
        StepKind::Preview(_) | StepKind::SetWeight(_) | StepKind::SetReplicas(_) | StepKind::Soak(_) => false,
    };
    let present = rollout.steps.get(..=rollout.step as usize);
    let unsaid = u32::from(preview.is_none() && !present.is_some_and(|upto| upto.iter().all(gate)));
    let canary = counts.map_or(unsaid, |weight| weight.canary);
    let preview = preview.unwrap_or(0).saturating_sub(canary);
    let none = Weight { requested: 0, canary, stable: 0, preview, service_weight: None };
    counts.map_or(none, |counts| Weight { preview, ..counts })
}

/// Whether a step may be over without a canary instance: a wait for time, a person, a gate, or for samples of what was there before.
fn needs_no_canary(step: &Step) -> bool {
    matches!(step.kind, StepKind::Pause(_) | StepKind::Gate(_) | StepKind::Analysis(_))
}
