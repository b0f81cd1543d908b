//! S12 and S13: nothing comes forward on metrics that have not said yes, and what they say no to is given up at the sample that says so.

use std::{collections::BTreeMap, time::Duration};

use helium_crds::{
    control::Verb,
    metric::Metric,
    status::{HoldKind, Rollout, RolloutKind, Stage},
    step::{Pause, Step, StepKind},
};

use super::{Checkers, Commit};

/// What metric sources have said of each version of each Deployment: when a good number of it was given last.
#[derive(Clone, Debug, Default)]
pub(super) struct Good(BTreeMap<(String, String), Duration>);

impl Good {
    /// A good number was given of a version.
    fn note(&mut self, deployment: &str, version: &str, now: Duration) {
        self.0.insert((deployment.to_owned(), version.to_owned()), now);
    }

    /// Whether one was given of a version at some time since.
    fn since(&self, deployment: &str, version: &str, since: Duration) -> bool {
        self.0.get(&(deployment.to_owned(), version.to_owned())).is_some_and(|at| *at >= since)
    }
}

impl Checkers {
    /// A source has given a good number.
    pub fn good_number(&mut self, deployment: &str, version: &str, now: Duration) {
        self.good.note(deployment, version, now);
    }

    /// S12, at every commit that brings a canary forward that hangs on metrics: one of them was good while this rollout lasted, unless a
    /// person wanted it so.
    pub(super) fn check_metric_evidence(&mut self, commit: &Commit<'_>) {
        let Some(canary) = commit.before.canary.as_ref().filter(|canary| !canary.is_deleting()) else { return };
        let hangs = canary.spec.analysis.metrics.iter().any(|metric| metric.required && metric.background);
        let before = commit.before.status.as_ref().and_then(|status| status.rollout.as_ref());
        let after = commit.after.status.as_ref().and_then(|status| status.rollout.as_ref());
        if let (Some(baked), None) = (before.filter(|before| before.stage == Stage::Baking), after) {
            return self.check_baked(commit, baked);
        }
        let (Some(before), Some(after)) = (before, after) else { return };
        let same = before.id == after.id && before.steps == after.steps && before.steps == *canary.spec.all_steps();
        if !hangs || !same || before.stage != Stage::Steps || before.kind != RolloutKind::Canary || asked_for(commit) {
            return;
        }
        let promoted = after.stage == Stage::Promoting;
        let passed = before.steps.get(before.step as usize..after.step as usize).unwrap_or_default();
        // Of previews, which serve nobody, only an analysis of their own says anything.
        let serves = before.weight.is_none_or(|weight| weight.canary > 0 || weight.preview == 0);
        let inline = passed.iter().any(|step| matches!(step.kind, StepKind::Analysis(_)));
        if !inline && !(serves && (promoted || passed.iter().any(looks))) {
            return;
        }
        let began = self.age(commit, before).map(|age| commit.net.now().saturating_sub(age));
        let version = &before.version;
        if began.is_some_and(|began| !self.good.since(&commit.object.name, version, began)) {
            let message =
                format!("{}: {version} went forward, and no metric has ever said that it is good", commit.object);
            self.fail("S12", message);
        }
    }

    /// S12 behind a promotion: while it serves alone a number of it was good, before the old version may go.
    fn check_baked(&mut self, commit: &Commit<'_>, baked: &Rollout) {
        let Some(canary) = commit.before.canary.as_ref() else { return };
        let hangs = canary.spec.analysis.metrics.iter().any(|metric| metric.required && metric.background);
        if !hangs || !ends_by_itself(commit, baked) {
            return;
        }
        let began = self.waits.waits_since(&commit.object, baked).unwrap_or(baked.step_started_at);
        let age = Duration::try_from(commit.net.wall().duration_since(began)).unwrap_or_default();
        let began = commit.net.now().saturating_sub(age);
        if !self.good.since(&commit.object.name, &baked.version, began) {
            let message = format!(
                "{}: {} is through its bake, and no metric has said that it is good",
                commit.object, baked.version
            );
            self.fail("S12", message);
        }
    }

    /// How long ago a rollout began, whatever clock it was noted by.
    fn age(&self, commit: &Commit<'_>, rollout: &Rollout) -> Option<Duration> {
        let began = self.waits.began(&commit.object, rollout).unwrap_or(rollout.started_at);
        Duration::try_from(commit.net.wall().duration_since(began)).ok()
    }

    /// S13, at every commit: a limit that is reached has been acted on.
    pub(super) fn check_limits(&mut self, commit: &Commit<'_>) {
        let Some(canary) = commit.before.canary.as_ref() else { return };
        let Some(rollout) = commit.after.status.as_ref().and_then(|status| status.rollout.as_ref()) else { return };
        let goes_on = rollout.stage.is_under_way() && !is_held_for_it(rollout);
        if !goes_on {
            return;
        }
        for metric in canary.spec.analysis.metrics.iter().filter(|metric| metric.required) {
            if let Some(reached) = reached(rollout, metric) {
                self.fail("S13", format!("{}: {} goes on although {reached}", commit.object, rollout.version));
            }
        }
        let health = canary.spec.analysis.health.failures_in_a_row;
        if rollout.analysis.in_row >= health && commit.before.canary == commit.after.canary {
            let message = format!("{}: {} goes on although its health failed", commit.object, rollout.version);
            self.fail("S13", message);
        }
    }
}

/// Whether a bake ends although no person, no other template, no counts by hand and no deletion ends it.
pub(super) fn ends_by_itself(commit: &Commit<'_>, baked: &Rollout) -> bool {
    let Some(deployment) = commit.before.deployment.as_ref() else { return false };
    let own = helium_crds::revision::revision_id(&deployment.spec.template) == baked.revision;
    own && !deployment.is_deleting() && deployment.spec.versions.is_none() && !asked_for(commit)
}

/// A limit that the samples of a metric have reached, in words.
fn reached(rollout: &Rollout, metric: &Metric) -> Option<String> {
    let state = rollout.analysis.metrics.get(&metric.name)?;
    let limit = metric.limits.failures_in_a_row;
    (state.failed_in_a_row >= limit).then(|| format!("{} failed {} times in a row", metric.name, state.failed_in_a_row))
}

fn is_held_for_it(rollout: &Rollout) -> bool {
    let kind = rollout.hold.as_ref().map(|hold| hold.kind);
    // A person who paused after the failure knows of it.
    matches!(kind, Some(HoldKind::Failure | HoldKind::Person))
}

/// Whether a person asked for what this commit does.
pub(super) fn asked_for(commit: &Commit<'_>) -> bool {
    let answered =
        |status: &helium_crds::DeploymentStatus| status.control.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    let known = commit.before.status.as_ref().map(answered).unwrap_or_default();
    let answers = commit.after.status.iter().flat_map(|status| &status.control);
    let wants = |verb: Verb| matches!(verb, Verb::Promote | Verb::PromoteFull | Verb::Skip);
    answers.into_iter().any(|one| !known.contains(&one.id) && one.refused.is_none() && one.verb.is_some_and(wants))
}

/// Whether a step is over only on evidence of metrics.
fn looks(step: &Step) -> bool {
    let by_kind = match step.kind {
        StepKind::Analysis(_) | StepKind::Soak(_) => true,
        StepKind::Pause(Pause { promote_after, .. }) => promote_after.is_some(),
        StepKind::Preview(_) | StepKind::SetWeight(_) | StepKind::SetReplicas(_) | StepKind::Gate(_) => false,
    };
    by_kind || step.soak.is_some() || step.min_samples.is_some() || !step.criteria.is_empty()
}
