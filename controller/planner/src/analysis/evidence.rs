//! Whether the metrics say what a step needs to be over: enough good samples, and the last one good.

use helium_crds::{
    metric::Metric,
    status::{MetricState, Rollout, Verdict, WaitingOn},
    step::{InlineAnalysis, Pause, Step, StepKind},
};

use super::questions;
use crate::draft::Draft;

/// The metrics that the present step hangs on; none for a step that looks at none.
pub(crate) fn of_step<'d>(draft: &Draft<'d>, step: Option<&Step>) -> Vec<&'d Metric> {
    let Some(canary) = draft.canary() else { return Vec::new() };
    let required = || canary.analysis.metrics.iter().filter(|metric| metric.required && metric.background);
    match step.map(|step| &step.kind) {
        Some(StepKind::Analysis(InlineAnalysis { metrics, .. })) if !metrics.is_empty() => {
            metrics.iter().filter_map(|name| canary.metric(name)).collect()
        }
        Some(StepKind::Analysis(_)) => required().collect(),
        _ if step.is_none_or(looks) => required().filter(|metric| questions::in_background(draft, metric)).collect(),
        _ => Vec::new(),
    }
}

/// Whether a step is over only on evidence.
fn looks(step: &Step) -> bool {
    let by_kind = match step.kind {
        StepKind::Analysis(_) | StepKind::Soak(_) => true,
        StepKind::Pause(Pause { promote_after, .. }) => promote_after.is_some(),
        StepKind::Preview(_) | StepKind::SetWeight(_) | StepKind::SetReplicas(_) | StepKind::Gate(_) => false,
    };
    by_kind || step.soak.is_some() || step.min_samples.is_some() || !step.criteria.is_empty()
}

/// The metrics that the present step, or the promotion behind the last, still waits for.
pub(crate) fn missing(draft: &Draft<'_>, rollout: &Rollout) -> Vec<WaitingOn> {
    let step = rollout.steps.get(rollout.step as usize);
    let metrics = of_step(draft, step);
    metrics.into_iter().filter_map(|metric| waiting(draft, rollout, step, metric)).collect()
}

fn waiting(draft: &Draft<'_>, rollout: &Rollout, step: Option<&Step>, metric: &Metric) -> Option<WaitingOn> {
    let nothing = MetricState::default();
    let state = rollout.analysis.metrics.get(&metric.name).unwrap_or(&nothing);
    let (good, needed) = match metric.limits.passing_streak {
        Some(streak) => (state.good_in_a_row, streak),
        None => (state.good, step.and_then(|step| step.min_samples).unwrap_or(metric.min_samples)),
    };
    let counted = state.samples.iter().rev().find(|sample| sample.verdict != Verdict::Ignored);
    let last_is_good = counted.is_some_and(|sample| sample.verdict == Verdict::Good);
    if good >= needed && last_is_good {
        return None;
    }
    let last = state.last().map(|sample| sample.why.clone());
    let next = questions::due(draft, rollout, metric);
    Some(WaitingOn::Metric { name: metric.name.clone(), good, needed, last, next })
}
