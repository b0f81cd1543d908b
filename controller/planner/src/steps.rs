//! A canary's steps, one after the other, each only on positive evidence.
//!
//! | step | is over when |
//! |---|---|
//! | `setWeight`, `setReplicas` | so many canaries are there, all available, and no stable instance is beyond its share |
//! | `soak: t` | at least `minPassing` of the canaries are healthy, each of these for `t` without a break, from the step's begin at the earliest |
//! | `pause: {duration: t}` | `t` has passed |
//! | `pause: {promoteAfter: t}` | `t` has passed and at least `minPassing` of the canaries are healthy, or a person promotes |
//! | `pause: {}` | a person promotes |

use helium_crds::{
    canary::{Pause, Step},
    quantity::Percent,
    status::{Rollout, Stage, WaitingOn, Weight},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    census::{Member, count},
    draft::Draft,
    rollout, weights,
};

/// Goes through the steps as far as they are over, and promotes behind the last.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    // Each round ends a step or returns, so there are at most as many rounds as steps, and the promotion.
    while let Some((rollout, step)) = present(draft) {
        let Some(step) = step else {
            return finish(draft);
        };
        match is_over(draft, rollout, step) {
            Ok(()) => next(draft),
            Err(waiting) => {
                for one in waiting {
                    draft.wait_for(one);
                }
                return;
            }
        }
    }
}

fn present<'d>(draft: &'d Draft<'_>) -> Option<(&'d Rollout, Option<Step>)> {
    let rollout = draft.status.rollout.as_ref().filter(|rollout| rollout.stage == Stage::Steps)?;
    Some((rollout, rollout.steps.get(rollout.step as usize).copied()))
}

/// Ends the present step.
pub(crate) fn next(draft: &mut Draft<'_>) {
    let now = draft.now();
    let Some(rollout) = draft.rollout_mut() else { return };
    let (done, all) = (rollout.step + 1, rollout.steps.len());
    let what = rollout.steps.get(rollout.step as usize).map(describe).unwrap_or_default();
    rollout.step = done;
    rollout::came_forward(rollout, now);
    draft.relies_on_health = true;
    draft.tell("CanaryStepDone", format!("step {done}/{all} ({what}) is done"));
}

/// A step in words: `setWeight 25%`.
pub(crate) fn describe(step: &Step) -> String {
    match step {
        Step::SetWeight(weight) => format!("setWeight {weight}"),
        Step::SetReplicas(number) => format!("setReplicas {number}"),
        Step::Soak(period) => format!("soak {period}"),
        Step::Pause(Pause { duration: Some(duration), .. }) => format!("pause {duration}"),
        Step::Pause(_) => "pause".to_owned(),
    }
}

/// Behind the last step: promotes if that is automatic and every canary is healthy at this instant.
fn finish(draft: &mut Draft<'_>) {
    let automatic = draft.canary().is_none_or(|canary| canary.auto_promote);
    match canaries_healthy(draft) {
        Err(waiting) => draft.wait_for(waiting),
        Ok(()) if automatic => rollout::promote(draft),
        Ok(()) => wait_for_promotion(draft),
    }
}

fn wait_for_promotion(draft: &mut Draft<'_>) {
    let key = draft.world.deployment.key();
    draft.wait_for(WaitingOn::Person { command: format!("helium canary promote {key}") });
}

fn is_over(draft: &Draft<'_>, rollout: &Rollout, step: Step) -> Result<(), Vec<WaitingOn>> {
    match step {
        Step::SetWeight(_) | Step::SetReplicas(_) => counts_reached(draft, weight(draft, rollout)),
        Step::Soak(period) => soaked(draft, rollout, period.as_signed()),
        Step::Pause(Pause { duration: Some(duration), .. }) => {
            reached(draft, rollout.step_started_at + duration.as_signed())
        }
        Step::Pause(Pause { promote_after: Some(after), .. }) => {
            reached(draft, rollout.step_started_at + after.as_signed())
                .and_then(|()| canaries_healthy(draft).map_err(|waiting| vec![waiting]))
        }
        Step::Pause(_) => {
            let key = draft.world.deployment.key();
            Err(vec![WaitingOn::Person { command: format!("helium canary promote {key}") }])
        }
    }
}

fn reached(draft: &Draft<'_>, until: Timestamp) -> Result<(), Vec<WaitingOn>> {
    if until <= draft.now() { Ok(()) } else { Err(vec![WaitingOn::Pause { until }]) }
}

/// The counts that the present step, or the last one before it that sets any, asks for. A canary has no instance as long as only
/// pauses came, and one where a soak, or the promotion, comes before any count: nothing can be learnt from none.
pub(crate) fn weight(draft: &Draft<'_>, rollout: &Rollout) -> Weight {
    let upto = rollout.steps.get(..=rollout.step as usize).unwrap_or(&rollout.steps);
    let budget = draft.budget();
    let counts = upto.iter().rev().find_map(|step| counts_of(*step, budget.wanted, budget.surge));
    let least = u32::from(!is_gate(rollout));
    counts.unwrap_or_else(|| weights::replica_counts(budget.wanted, least, budget.surge))
}

/// Whether the rollout is at a pause before the first canary instance.
pub(crate) fn is_gate(rollout: &Rollout) -> bool {
    let waits = |step: &Step| matches!(step, Step::Pause(Pause { promote_after: None, .. }));
    rollout.steps.get(..=rollout.step as usize).is_some_and(|upto| upto.iter().all(waits))
}

fn counts_of(step: Step, wanted: u32, surge: u32) -> Option<Weight> {
    match step {
        Step::SetWeight(weight) => Some(weights::step_counts(wanted, weight, surge)),
        Step::SetReplicas(number) => Some(weights::replica_counts(wanted, number, surge)),
        Step::Soak(_) | Step::Pause(_) => None,
    }
}

/// The weights of the steps that whole instances cannot make, for `exact: true`.
pub(crate) fn impossible_weight(draft: &Draft<'_>) -> Option<Percent> {
    let canary = draft.canary().filter(|canary| canary.exact)?;
    let budget = draft.budget();
    canary.steps.iter().find_map(|step| match step {
        Step::SetWeight(weight) => {
            let counts = weights::step_counts(budget.wanted, *weight, budget.surge);
            (!weights::is_exact(counts)).then_some(*weight)
        }
        _ => None,
    })
}

/// Whether the canaries of the step are there and available, and the stable version is down to its share. A stable instance that
/// is missing or broken holds nothing up: the new version may be the fix.
fn counts_reached(draft: &Draft<'_>, weight: Weight) -> Result<(), Vec<WaitingOn>> {
    let available = count(canaries(draft).filter(|member| member.is_available(draft.world)));
    let live = count(canaries(draft));
    let stable = draft.stable().map_or(0, |revision| count(draft.census().of(revision)));
    let stopping = draft.census().members.values().any(|member| member.takes_room() && !member.is_live());
    if available >= least_passing(draft, live) && live == weight.canary && stable <= weight.stable && !stopping {
        return Ok(());
    }
    Err(Vec::new()) // what is missing is listed with the instances
}

/// Whether every canary has been healthy for `period`, and since when the last of them will have been.
fn soaked(draft: &Draft<'_>, rollout: &Rollout, period: SignedDuration) -> Result<(), Vec<WaitingOn>> {
    canaries_healthy(draft).map_err(|waiting| vec![waiting])?;
    // Those that do not pass are within what `minPassing` allows; the clock is that of those that do.
    let started = rollout.step_started_at.min(draft.now());
    let since = canaries(draft).filter_map(|member| member.healthy_since).fold(started, Timestamp::max);
    let until = since + period;
    if until <= draft.now() { Ok(()) } else { Err(vec![WaitingOn::Soak { until }]) }
}

/// Whether enough of the canaries that there should be are healthy now; at least one, since none is no evidence.
pub(crate) fn canaries_healthy(draft: &Draft<'_>) -> Result<(), WaitingOn> {
    let wanted = draft.status.rollout.as_ref().map_or(0, |rollout| weight(draft, rollout).canary);
    let instances = count(canaries(draft));
    let needed = least_passing(draft, wanted.max(instances)).max(1);
    let passing = count(canaries(draft).filter(|member| member.is_healthy()));
    if passing >= needed { Ok(()) } else { Err(WaitingOn::Canary { passing, instances, needed }) }
}

/// How many of so many canaries must pass.
fn least_passing(draft: &Draft<'_>, canaries: u32) -> u32 {
    draft.canary().map_or(canaries, |canary| canary.analysis.health.min_passing.of_rounded_up(canaries))
}

/// The canary instances: the live ones of the rollout's revision.
pub(crate) fn canaries<'d>(draft: &'d Draft<'_>) -> impl Iterator<Item = &'d Member> {
    let revision = draft.status.rollout.as_ref().map(|rollout| rollout.revision.clone());
    draft.census().live().filter(move |member| revision.as_ref() == Some(&member.instance.revision))
}

/// The wait that the present step means to take, which counts against no deadline; none if it may be endless.
pub(crate) fn planned_wait(draft: &Draft<'_>, rollout: &Rollout) -> Option<SignedDuration> {
    match rollout.steps.get(rollout.step as usize) {
        Some(Step::Soak(period)) => Some(period.as_signed()),
        Some(Step::Pause(pause)) => pause.duration.map(helium_crds::Period::as_signed),
        None if draft.canary().is_some_and(|canary| !canary.auto_promote) => None,
        Some(Step::SetWeight(_) | Step::SetReplicas(_)) | None => Some(SignedDuration::ZERO),
    }
}

/// Steps that were edited in mid-rollout keep the achieved progress. If those up to and including the present one are as they were,
/// the rollout stays where it is, with its clocks; else it goes on at the first step with a greater weight than it has, or behind
/// the last weight where there is none. Without any Canary it goes on as a plain roll.
pub(crate) fn follow_edit(draft: &mut Draft<'_>) {
    let (now, budget) = (draft.now(), draft.budget());
    let Some(rollout) = draft.status.rollout.as_ref().filter(|rollout| rollout.stage == Stage::Steps) else { return };
    let weighs = |step: &Step| counts_of(*step, budget.wanted, budget.surge).map(Weight::achieved);
    // The weight of a step that is not over yet is not had: neither it nor its soak may be skipped.
    let over = rollout.steps.iter().take(rollout.step as usize);
    let has = over.rev().find_map(weighs).unwrap_or(0);
    if draft.world.canary_problem.is_some() {
        return; // a Canary is there, and which steps it has is not known
    }
    let Some(canary) = draft.canary() else {
        let kind = rollout::kind_for(draft);
        if let Some(rollout) = draft.rollout_mut() {
            rollout.kind = kind;
        }
        return rollout::promote(draft);
    };
    if canary.steps == rollout.steps {
        return;
    }
    let upto = rollout.steps.get(..=rollout.step as usize);
    if canary.steps.starts_with(upto.unwrap_or(&rollout.steps)) {
        let steps = canary.steps.clone();
        let began = upto.is_none(); // behind the last step there are new ones
        if let Some(rollout) = draft.rollout_mut() {
            rollout.steps = steps;
            if began {
                rollout::came_forward(rollout, now);
            }
        }
        return draft.tell("CanaryStepsEdited", "the steps that are still to come were edited".to_owned());
    }
    let greater = canary.steps.iter().position(|step| weighs(step).is_some_and(|weight| weight > has));
    let behind_last = canary.steps.iter().rposition(|step| weighs(step).is_some()).map_or(0, |last| last + 1);
    let step = u32::try_from(greater.unwrap_or(behind_last)).unwrap_or(u32::MAX);
    let steps = canary.steps.clone();
    if let Some(rollout) = draft.rollout_mut() {
        rollout.steps = steps;
        rollout.step = step;
        rollout::came_forward(rollout, now);
    }
    draft.tell("CanaryStepsEdited", format!("the steps were edited at {has}%; going on at step {}", step + 1));
}
