//! A canary's steps, one after the other, each only on positive evidence.
//!
//! | step | is over when |
//! |---|---|
//! | `preview` | so many are there beside the stable ones, all ready, and serve nobody |
//! | `setWeight`, `setReplicas` | so many canaries are there, all available, and no stable instance is beyond its share |
//! | `soak: t` | at least `minPassing` of the canaries are healthy, each of these for `t` without a break, from the step's begin at the earliest, and each metric has its good samples |
//! | `pause: {duration: t}` | `t` has passed |
//! | `pause: {promoteAfter: t}` | `t` has passed, at least `minPassing` of the canaries are healthy, and each metric has its good samples; or a person promotes |
//! | `pause: {}` | a person promotes |
//! | `analysis` | each metric that it names has its good samples since the step began |
//! | `gate` | it is open, or a person promotes |
//!
//! A step with a `soak`, samples or criteria beside what it does is over when that is done, and then these hold too.

use helium_crds::{
    canary::{CanarySpec, TrafficRouting},
    quantity::Percent,
    status::{AbortCause, HoldKind, Rollout, Stage, WaitingOn, Weight},
    step::{InlineAnalysis, Pause, Step, StepKind},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    analysis,
    census::{Member, count},
    draft::Draft,
    gate, rollout, routing,
    scale::Budget,
    weights,
};

/// Goes through the steps as far as they are over, and promotes behind the last.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    gate::take_in(draft);
    gate::act_on_timeout(draft);
    // Each round ends a step or returns, so there are at most as many rounds as steps, and the promotion.
    while let Some((rollout, step)) = present(draft) {
        let Some(step) = step else {
            note_ramp(draft);
            return finish(draft);
        };
        match is_over(draft, rollout, step) {
            Ok(()) => next(draft),
            Err(waiting) => {
                note_ramp(draft);
                for one in waiting {
                    draft.wait_for(one);
                }
                return act_on_too_long(draft);
            }
        }
    }
}

fn present<'d>(draft: &'d Draft<'_>) -> Option<(&'d Rollout, Option<&'d Step>)> {
    let rollout =
        draft.status.rollout.as_ref().filter(|rollout| rollout.stage == Stage::Steps && rollout.hold.is_none())?;
    Some((rollout, rollout.steps.get(rollout.step as usize)))
}

/// Ends the present step.
pub(crate) fn next(draft: &mut Draft<'_>) {
    let Some(rollout) = draft.status.rollout.as_ref() else { return };
    go_to(draft, rollout.step + 1);
}

/// Ends the present step, and leaves out those before `to`.
pub(crate) fn go_to(draft: &mut Draft<'_>, to: u32) {
    let now = draft.now();
    note_ramp(draft);
    let Some(rollout) = draft.rollout_mut() else { return };
    let (done, all) = (rollout.step + 1, rollout.steps.len());
    let what = rollout.steps.get(rollout.step as usize).map(ToString::to_string).unwrap_or_default();
    rollout.step = to;
    rollout::came_forward(rollout, now);
    // A weight that is left out is had nevertheless: the next one, or the wait behind it, begins with its ramp.
    let left_out = rollout.steps.get(done as usize..to as usize).unwrap_or_default();
    if left_out.iter().any(sets_weight) {
        rollout.ramped_at = None;
    }
    begin_step(draft);
    draft.relies_on_health = true;
    let beyond = if to > done { format!(", and it goes on at step {}", to + 1) } else { String::new() };
    draft.tell("CanaryStepDone", format!("step {done}/{all} ({what}) is done{beyond}"));
}

/// What begins anew with a step: what is known of a gate, the samples that an analysis waits for, and with another weight all of them.
fn begin_step(draft: &mut Draft<'_>) {
    let Some(rollout) = draft.status.rollout.as_ref() else { return };
    let step = rollout.steps.get(rollout.step as usize).cloned();
    let anew: Vec<String> = match step.as_ref().map(|step| &step.kind) {
        Some(StepKind::Analysis(_)) => {
            analysis::of_step(draft, step.as_ref()).iter().map(|metric| metric.name.clone()).collect()
        }
        _ => Vec::new(),
    };
    let sets_weight = step.as_ref().is_some_and(sets_weight);
    let Some(rollout) = draft.rollout_mut() else { return };
    rollout.analysis.gate = None;
    if sets_weight {
        rollout.ramped_at = None;
    }
    analysis::start_anew(&mut rollout.analysis, anew.iter().map(String::as_str));
}

/// Notes when the present weight was reached: from then on samples are taken of it. That may be behind the step that sets it, where a
/// person did not wait for it.
fn note_ramp(draft: &mut Draft<'_>) {
    let now = draft.now();
    let Some((rollout, _)) = present(draft) else { return };
    let reached =
        !runs_none(rollout) && rollout.ramped_at.is_none() && counts_reached(draft, weight(draft, rollout)).is_ok();
    let Some(rollout) = draft.rollout_mut().filter(|_| reached) else { return };
    rollout.ramped_at = Some(now);
    let names: Vec<String> = rollout.analysis.metrics.keys().cloned().collect();
    analysis::start_anew(&mut rollout.analysis, names.iter().map(String::as_str));
}

/// A step that is not over within its deadline has failed, and an analysis of too many samples waits for a person.
fn act_on_too_long(draft: &mut Draft<'_>) {
    let Some((rollout, Some(step))) = present(draft) else { return };
    let place = format!("step {}/{} ({step})", rollout.step + 1, rollout.steps.len());
    if let Some(deadline) = step.deadline {
        let at = rollout.step_started_at.max(draft.world.watching_since) + deadline.as_signed();
        if at <= draft.now() {
            let message = format!("{place} was not over within {deadline}{}", what_lacks(draft, rollout));
            return rollout::give_up(draft, AbortCause::StepDeadlineExceeded, &message);
        }
        return draft.wake_at(at);
    }
    let StepKind::Analysis(InlineAnalysis { max_samples: Some(most), .. }) = step.kind else { return };
    let taken = |name: &str| rollout.analysis.metrics.get(name).map_or(0, |state| state.taken);
    let spent = analysis::missing(draft, rollout).into_iter().find_map(|waiting| match waiting {
        WaitingOn::Metric { name, good, needed, .. } if taken(&name) >= most => Some((name, good, needed)),
        _ => None,
    });
    if let Some((name, good, needed)) = spent {
        let message = format!("{place}: {name} has {good} of {needed} good samples after {most}");
        rollout::hold(draft, HoldKind::Inconclusive, &message);
    }
}

/// What the present step lacks first, to follow a sentence.
fn what_lacks(draft: &Draft<'_>, rollout: &Rollout) -> String {
    let missing = analysis::missing(draft, rollout).into_iter().next();
    match missing.filter(|_| canaries_healthy(draft).is_ok()) {
        Some(WaitingOn::Metric { name, good, needed, last, .. }) => {
            let last = last.map_or_else(|| "none was taken".to_owned(), |last| format!("the last one was {last}"));
            format!(": {name} has {good} of {needed} good samples, {last}")
        }
        _ => rollout::first_complaint(draft),
    }
}

/// Behind the last step: promotes if that is automatic and every canary is healthy at this instant.
fn finish(draft: &mut Draft<'_>) {
    let automatic = draft.canary().is_none_or(CanarySpec::promotes_itself);
    let missing = draft.status.rollout.as_ref().map(|rollout| analysis::missing(draft, rollout)).unwrap_or_default();
    match canaries_healthy(draft) {
        Err(waiting) => draft.wait_for(waiting),
        Ok(()) if !missing.is_empty() => missing.into_iter().for_each(|waiting| draft.wait_for(waiting)),
        Ok(()) if automatic => rollout::promote(draft),
        Ok(()) => wait_for_promotion(draft),
    }
}

fn wait_for_promotion(draft: &mut Draft<'_>) {
    let key = draft.world.deployment.key();
    draft.wait_for(WaitingOn::Person { command: format!("helium canary promote {key}") });
}

fn is_over(draft: &Draft<'_>, rollout: &Rollout, step: &Step) -> Result<(), Vec<WaitingOn>> {
    is_done(draft, rollout, step)?;
    if let Some(period) = step.soak() {
        // The soak of a weight runs from when that was reached.
        let from = rollout.ramped_at.filter(|_| sets_weight(step)).unwrap_or(rollout.step_started_at);
        soaked(draft, from, period.as_signed())?;
    }
    let missing = analysis::missing(draft, rollout);
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// Whether what the step does is done.
fn is_done(draft: &Draft<'_>, rollout: &Rollout, step: &Step) -> Result<(), Vec<WaitingOn>> {
    match &step.kind {
        StepKind::Preview(_) | StepKind::SetWeight(_) | StepKind::SetReplicas(_) => {
            counts_reached(draft, weight(draft, rollout))
        }
        StepKind::Soak(_) | StepKind::Analysis(_) => Ok(()),
        StepKind::Pause(Pause { duration: Some(duration), .. }) => {
            reached(draft, rollout.step_started_at + duration.as_signed())
        }
        StepKind::Pause(Pause { promote_after: Some(after), .. }) => {
            reached(draft, rollout.step_started_at + after.as_signed())
                .and_then(|()| canaries_healthy(draft).map_err(|waiting| vec![waiting]))
        }
        StepKind::Pause(_) => {
            let key = draft.world.deployment.key();
            Err(vec![WaitingOn::Person { command: format!("helium canary promote {key}") }])
        }
        StepKind::Gate(_) if gate::is_open(rollout) => Ok(()),
        StepKind::Gate(gate) => Err(gate::waiting(draft, rollout, gate)),
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
    let routing = routing::of(draft);
    let counts = upto.iter().rev().find_map(|step| counts_of(step, budget, routing));
    let preview = upto.iter().rev().find_map(|step| preview_of(step, budget.wanted));
    match (counts, preview) {
        (Some(counts), None) => counts,
        (None, Some(preview)) => weights::counted(weights::preview_counts(budget.wanted, preview), routing),
        // Those that were previews serve first, and the others go on being previews.
        (Some(counts), Some(preview)) => Weight { preview: preview.saturating_sub(counts.canary), ..counts },
        (None, None) => {
            let number = u32::from(!runs_none(rollout));
            weights::counted(weights::replica_counts(budget.wanted, number, budget.surge), routing)
        }
    }
}

/// Whether the rollout is at a wait before the first canary instance: a pause, a gate, or an analysis of what is there already.
pub(crate) fn runs_none(rollout: &Rollout) -> bool {
    let waits = |step: &Step| match step.kind {
        StepKind::Pause(Pause { promote_after, .. }) => promote_after.is_none(),
        StepKind::Gate(_) | StepKind::Analysis(_) => true,
        StepKind::Preview(_) | StepKind::SetWeight(_) | StepKind::SetReplicas(_) | StepKind::Soak(_) => false,
    };
    rollout.steps.get(..=rollout.step as usize).is_some_and(|upto| upto.iter().all(waits))
}

fn sets_weight(step: &Step) -> bool {
    matches!(step.kind, StepKind::Preview(_) | StepKind::SetWeight(_) | StepKind::SetReplicas(_))
}

pub(crate) fn preview_of(step: &Step, wanted: u32) -> Option<u32> {
    match step.kind {
        StepKind::Preview(number) => Some(number.rounded_up(wanted).min(wanted)),
        _ => None,
    }
}

/// The counts that a step asks for, if it asks for any, and with weights in Consul what makes them exact.
pub(crate) fn counts_of(step: &Step, budget: Budget, routing: TrafficRouting) -> Option<Weight> {
    let Budget { wanted, surge, .. } = budget;
    match step.kind {
        StepKind::SetWeight(weight) => Some(weights::routed(weights::step_counts(wanted, weight, surge), routing)),
        StepKind::SetReplicas(number) => {
            Some(weights::counted(weights::replica_counts(wanted, number, surge), routing))
        }
        StepKind::Preview(_) | StepKind::Soak(_) | StepKind::Pause(_) | StepKind::Analysis(_) | StepKind::Gate(_) => {
            None
        }
    }
}

/// The weights of the steps that whole instances cannot make, for `exact: true`.
pub(crate) fn impossible_weight(draft: &Draft<'_>) -> Option<Percent> {
    let canary = draft.canary().filter(|canary| canary.exact)?;
    let budget = draft.budget();
    canary.all_steps().iter().find_map(|step| match step.kind {
        StepKind::SetWeight(weight) => {
            let counts = counts_of(step, budget, canary.traffic_routing);
            counts.is_some_and(|counts| !weights::is_exact(counts)).then_some(weight)
        }
        _ => None,
    })
}

/// Whether the canaries of the step are there and available, or ready on standby, no more of the stable version serve than its share, and Consul
/// has the weights that are asked for. A stable instance that is missing or broken holds nothing up: the new version may be the fix.
fn counts_reached(draft: &Draft<'_>, weight: Weight) -> Result<(), Vec<WaitingOn>> {
    let in_place = count(canaries(draft).filter(|member| member.is_in_place(draft.world)));
    let live = count(canaries(draft));
    let serving = count(canaries(draft).filter(|member| !member.is_standby()));
    let stable = |revision| count(draft.census().of(revision).filter(|member| !member.is_out()));
    let stable = draft.stable().map_or(0, stable);
    let counts = (live, serving) == (weight.of_new(), weight.canary);
    let stopping = draft.census().members.values().any(|member| member.takes_room() && !member.is_live());
    if in_place >= least_passing(draft, live) && counts && stable <= weight.stable && !stopping {
        return routing::missing(draft, weight).map_or(Ok(()), |waiting| Err(vec![waiting]));
    }
    Err(Vec::new()) // what is missing is listed with the instances
}

/// Whether every canary has been healthy for `period`, and since when the last of them will have been.
fn soaked(draft: &Draft<'_>, from: Timestamp, period: SignedDuration) -> Result<(), Vec<WaitingOn>> {
    canaries_healthy(draft).map_err(|waiting| vec![waiting])?;
    // Those that do not pass are within what `minPassing` allows; the clock is that of those that do.
    let started = from.min(draft.now());
    let since = canaries(draft).filter_map(|member| member.healthy_since).fold(started, Timestamp::max);
    let until = since + period;
    if until <= draft.now() { Ok(()) } else { Err(vec![WaitingOn::Soak { until }]) }
}

/// Whether enough of the canaries that there should be are healthy now; at least one, since none is no evidence.
pub(crate) fn canaries_healthy(draft: &Draft<'_>) -> Result<(), WaitingOn> {
    let wanted = draft.status.rollout.as_ref().map_or(0, |rollout| weight(draft, rollout).of_new());
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

/// The wait that the present step means to take, which counts against no deadline; none if it may be endless. That samples of metrics
/// are lacking is not the rollout's own fault.
pub(crate) fn planned_wait(draft: &Draft<'_>, rollout: &Rollout) -> Option<SignedDuration> {
    let Some(step) = rollout.steps.get(rollout.step as usize) else {
        let automatic = draft.canary().is_none_or(CanarySpec::promotes_itself);
        return (automatic && analysis::missing(draft, rollout).is_empty()).then_some(SignedDuration::ZERO);
    };
    let own = match &step.kind {
        StepKind::Pause(pause) => pause.duration?.as_signed(),
        StepKind::Gate(_) => return None,
        StepKind::Preview(_)
        | StepKind::SetWeight(_)
        | StepKind::SetReplicas(_)
        | StepKind::Soak(_)
        | StepKind::Analysis(_) => SignedDuration::ZERO,
    };
    let waits_for_samples = matches!(is_over(draft, rollout, step), Err(waiting) if waiting.iter().any(|on| matches!(on, WaitingOn::Metric { .. })));
    let soak = step.soak().map_or(SignedDuration::ZERO, helium_crds::Period::as_signed);
    (!waits_for_samples).then_some(own + soak)
}
