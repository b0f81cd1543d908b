//! Answers become samples: each is judged once and entered, and limits act at the sample that reaches them.
//!
//! | sample | good in a row | failed in a row | errors in a row |
//! |---|---|---|---|
//! | good | one more | ends | ends |
//! | failed | ends | one more | one more if it could not be taken, else ends |
//! | inconclusive | ends | stays: it says neither | one more if it could not be taken, else ends |
//! | ignored | stays | stays | stays |

use helium_crds::{
    measurement::{Answer, Found, Probe, Reading},
    metric::Metric,
    status::{AbortCause, AnalysisState, HoldKind, MetricState, Sample, Verdict},
};

use super::{criterion::judge, questions};
use crate::{draft::Draft, rollout};

/// Enters the answers that are there, and acts on the limits that they reach. Gates take in their own.
pub(crate) fn take_in(draft: &mut Draft<'_>) {
    let metrics: Vec<Metric> = questions::active(draft).into_iter().cloned().collect();
    for metric in metrics {
        let Some(answer) = answer_for(draft, &metric) else { continue };
        enter(draft, &metric, &answer);
        if metric.required && act_on_limits(draft, &metric) {
            return;
        }
    }
}

/// The answer to what is due now. One to anything else is old: another rollout, or another weight, asked for it.
fn answer_for(draft: &Draft<'_>, metric: &Metric) -> Option<Answer> {
    let answer = draft.world.answers.get(&Probe::Metric(metric.name.clone()))?;
    let rollout = draft.status.rollout.as_ref()?;
    let due = questions::due(draft, rollout, metric)?;
    (answer.rollout == rollout.id && answer.due == due).then(|| answer.clone())
}

fn enter(draft: &mut Draft<'_>, metric: &Metric, answer: &Answer) {
    let Found::Metric { canary, stable } = &answer.found else { return };
    let now = draft.now();
    let query = questions::in_words(draft, metric);
    let Some(rollout) = draft.rollout_mut() else { return };
    let (verdict, why) = judge(metric, questions::criterion(rollout, metric), canary, stable.as_ref());
    let state = rollout.analysis.metrics.entry(metric.name.clone()).or_default();
    let sample = Sample { at: answer.at.min(now), canary: canary.clone(), stable: stable.clone(), verdict, why };
    count(state, metric, &sample);
    state.query = query;
    state.samples.push(sample);
    let surplus = state.samples.len().saturating_sub(MetricState::SAMPLES);
    state.samples.drain(..surplus);
}

fn count(state: &mut MetricState, metric: &Metric, sample: &Sample) {
    if sample.verdict == Verdict::Ignored {
        return;
    }
    let unreadable = matches!(sample.canary, Reading::Error { .. });
    state.taken += 1;
    state.errors_in_a_row = if unreadable { state.errors_in_a_row + 1 } else { 0 };
    match sample.verdict {
        Verdict::Good => {
            state.good += 1;
            state.good_in_a_row += 1;
            state.failed_in_a_row = 0;
            if metric.limits.passing_streak.is_some_and(|streak| state.good_in_a_row >= streak) {
                state.failed = 0;
            }
        }
        Verdict::Failed => {
            state.failed += 1;
            state.failed_in_a_row += 1;
            state.good_in_a_row = 0;
        }
        Verdict::Inconclusive => {
            state.inconclusive += 1;
            state.good_in_a_row = 0;
        }
        Verdict::Ignored => {}
    }
}

/// Whether a limit was reached and acted on.
fn act_on_limits(draft: &mut Draft<'_>, metric: &Metric) -> bool {
    let state = draft.status.rollout.as_ref().and_then(|rollout| rollout.analysis.metrics.get(&metric.name));
    let Some((state, last)) = state.and_then(|state| Some((state, state.last()?))) else { return false };
    let (name, why, limits) = (&metric.name, &last.why, metric.limits);
    let reached = |limit: Option<u32>, count: u32| limit.is_some_and(|limit| count >= limit);
    if state.failed_in_a_row >= limits.failures_in_a_row && last.verdict == Verdict::Failed {
        let message = format!("{name} failed {} in a row: {why}", times(state.failed_in_a_row));
        rollout::give_up(draft, AbortCause::MetricFailed, &message);
    } else if reached(limits.failures, state.failed) {
        let message = format!("{name} failed {} in all: {why}", times(state.failed));
        rollout::give_up(draft, AbortCause::MetricFailed, &message);
    } else if reached(limits.errors_in_a_row, state.errors_in_a_row) {
        let message = format!("{name} could not be read {} in a row: {why}", times(state.errors_in_a_row));
        rollout::give_up(draft, AbortCause::MetricUnreadable, &message);
    } else if reached(limits.inconclusive, state.inconclusive) && last.verdict == Verdict::Inconclusive {
        let message = format!("{name} was inconclusive {}: {why}", times(state.inconclusive));
        rollout::hold(draft, HoldKind::Inconclusive, &message);
    } else {
        return false;
    }
    true
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// The samples of these metrics begin anew: another weight was reached, or a step of analysis has begun. What failed before stays failed.
pub(crate) fn start_anew<'m>(state: &mut AnalysisState, names: impl IntoIterator<Item = &'m str>) {
    for name in names {
        if let Some(metric) = state.metrics.get_mut(name) {
            (metric.good, metric.taken, metric.good_in_a_row) = (0, 0, 0);
        }
    }
}

/// Failures from before a person went on count no more.
pub(crate) fn forget_failures(state: &mut AnalysisState) {
    (state.in_row, state.last_failure) = (0, None);
    for metric in state.metrics.values_mut() {
        (metric.failed, metric.failed_in_a_row, metric.errors_in_a_row, metric.inconclusive) = (0, 0, 0, 0);
    }
}
