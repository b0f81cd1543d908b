//! A Canary that is edited while its canary runs: what was achieved is kept.

use helium_crds::{
    canary::TrafficRouting,
    status::{Rollout, Stage, Weight},
    step::{Step, StepKind},
};

use crate::{
    draft::Draft,
    rollout,
    scale::Budget,
    steps::{counts_of, preview_of},
};

/// How far a step brings the new version: the share of it that serves, in percent, and how many instances of it are there.
type Reach = (u32, u32);

/// What a share is made with.
#[derive(Clone, Copy)]
struct Means {
    budget: Budget,
    routing: TrafficRouting,
}

fn reach(step: &Step, means: Means) -> Option<Reach> {
    let serving = counts_of(step, means.budget, means.routing).map(|counts| (Weight::achieved(counts), counts.canary));
    serving.or_else(|| preview_of(step, means.budget.wanted).map(|preview| (0, preview)))
}

/// Steps that were edited in mid-rollout keep the achieved progress. If those up to and including the present one are as they were,
/// the rollout stays where it is, with its clocks; else it goes on at the first step that brings it further than it is, or behind
/// the last such step where there is none; while it is held, not before it goes on. A switch in place of steps, or steps in place of a
/// switch, begins at the first.
/// Without any Canary it goes on as a plain roll.
pub(crate) fn follow_edit(draft: &mut Draft<'_>) {
    let Some(rollout) = draft.status.rollout.as_ref().filter(|rollout| rollout.stage == Stage::Steps) else { return };
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
    let steps = canary.all_steps().into_owned();
    if steps == rollout.steps {
        return;
    }
    let upto = rollout.steps.get(..=rollout.step as usize);
    if goes_the_same_way(&steps, upto.unwrap_or(&rollout.steps)) {
        let began = upto.is_none(); // behind the last step there are new ones
        return follow_where_it_is(draft, steps, began);
    }
    if rollout.hold.is_some() {
        return; // what is held comes nowhere; when it goes on, it goes by the steps that there are then
    }
    let means = Means { budget: draft.budget(), routing: canary.traffic_routing };
    let has = has(rollout, means);
    let step = goes_on_at(&steps, rollout, has, means);
    let now = draft.now();
    if let Some(rollout) = draft.rollout_mut() {
        rollout.steps = steps;
        rollout.step = step;
        rollout::came_forward(rollout, now);
    }
    draft.tell("CanaryStepsEdited", format!("the steps were edited at {}%; going on at step {}", has.0, step + 1));
}

/// How far the steps that are over have brought it. That of a step that is not over yet is not had: neither it nor its soak may be skipped.
fn has(rollout: &Rollout, means: Means) -> Reach {
    let over = rollout.steps.iter().take(rollout.step as usize);
    over.rev().find_map(|step| reach(step, means)).unwrap_or_default()
}

fn goes_on_at(steps: &[Step], rollout: &Rollout, has: Reach, means: Means) -> u32 {
    let previews = |steps: &[Step]| steps.iter().any(|step| matches!(step.kind, StepKind::Preview(_)));
    if previews(steps) != previews(&rollout.steps) {
        return 0;
    }
    let further = steps.iter().position(|step| reach(step, means).is_some_and(|reach| reach > has));
    let behind_last = || steps.iter().rposition(|step| reach(step, means).is_some()).map_or(0, |last| last + 1);
    u32::try_from(further.unwrap_or_else(behind_last)).unwrap_or(u32::MAX)
}

fn follow_where_it_is(draft: &mut Draft<'_>, steps: Vec<Step>, began: bool) {
    let now = draft.now();
    let Some(rollout) = draft.rollout_mut() else { return };
    let previews = |steps: &[Step]| {
        let upto = steps.iter().take(rollout.step as usize + 1);
        upto.filter(|step| matches!(step.kind, StepKind::Preview(_))).map(|step| step.kind.clone()).collect::<Vec<_>>()
    };
    let what = match (previews(&steps), previews(&rollout.steps)) {
        (after, before) if after != before => "the preview was edited, and is followed at the same step",
        _ => "the steps that are still to come were edited",
    };
    rollout.steps = steps;
    if began {
        rollout::came_forward(rollout, now);
    }
    draft.tell("CanaryStepsEdited", what.to_owned());
}

/// Whether `steps` begin as `upto` does, as far as the way goes: what evidence a step needs, and what a gate or an analysis asks, may be
/// edited in mid-step, and holds from the next sample on. So may how many are tried out of sight: it brings nobody nearer to being served.
fn goes_the_same_way(steps: &[Step], upto: &[Step]) -> bool {
    let same = |(a, b): (&Step, &Step)| match (&a.kind, &b.kind) {
        (StepKind::Gate(_), StepKind::Gate(_))
        | (StepKind::Analysis(_), StepKind::Analysis(_))
        | (StepKind::Preview(_), StepKind::Preview(_)) => true,
        (a, b) => a == b,
    };
    steps.len() >= upto.len() && steps.iter().zip(upto).all(same)
}
