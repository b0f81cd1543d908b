//! The analysis of a canary's health: samples of how many canary instances pass, and when they are bad enough to give up.
//!
//! A sample is good, failed, or empty. It has *failed* when so many instances fail that the least share can no longer pass; it
//! is *empty* while the rest are still starting: no news is neither good nor bad. A good sample ends the row of failures.

use helium_crds::{
    canary::HealthAnalysis,
    status::{AbortCause, HoldKind, RolloutKind},
};

use crate::{
    census::{State, count},
    draft::Draft,
    rollout, steps,
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sample {
    Good,
    Empty,
    Failed(String),
}

/// Takes a sample if one is due, and gives the canary up when too many have failed in a row.
///
/// It looks on in every stage in which canary instances serve, holds and pauses included: a pause must not suspend safety. Only
/// when it has failed and waits for a person there is nothing left to find out.
pub(crate) fn sample(draft: &mut Draft<'_>) {
    let now = draft.now();
    let limits = draft.canary().map_or_else(HealthAnalysis::default, |canary| canary.analysis.health);
    let watched = draft.status.rollout.as_ref().is_some_and(|rollout| {
        let failed = rollout.hold.as_ref().is_some_and(|hold| hold.kind == HoldKind::Failure);
        rollout.kind == RolloutKind::Canary && rollout.stage.is_under_way() && !failed
    });
    if !watched {
        return;
    }
    let sample = look(draft, limits);
    let Some(rollout) = draft.rollout_mut() else { return };
    let state = &mut rollout.analysis;
    match sample {
        Sample::Empty => {}
        Sample::Good => {
            state.in_row = 0;
            state.last_failure = None;
        }
        Sample::Failed(message) => {
            let due = state.last_failure.map(|last| last.min(now) + limits.interval.as_signed());
            if due.is_none_or(|due| due <= now) {
                state.in_row += 1;
                state.total += 1;
                state.last_failure = Some(now);
            }
            let next = state.last_failure.unwrap_or(now) + limits.interval.as_signed();
            if state.in_row >= limits.failures_in_a_row {
                rollout::give_up(draft, AbortCause::CanaryUnhealthy, &message);
            } else {
                draft.wake_at(next);
            }
        }
    }
}

fn look(draft: &Draft<'_>, limits: HealthAnalysis) -> Sample {
    let instances = count(steps::canaries(draft));
    let needed = limits.min_passing.of_rounded_up(instances);
    let passing = count(steps::canaries(draft).filter(|member| member.is_healthy()));
    let failing = count(steps::canaries(draft).filter(|member| matches!(member.state, State::Unhealthy(_))));
    if instances == 0 {
        Sample::Empty
    } else if passing >= needed {
        Sample::Good
    } else if instances - failing >= needed {
        Sample::Empty
    } else {
        let why = steps::canaries(draft).find_map(|member| match &member.state {
            State::Unhealthy(why) => Some(why.clone()),
            _ => None,
        });
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        Sample::Failed(format!("{passing} of {instances} canary passing (needs {needed}){why}"))
    }
}
