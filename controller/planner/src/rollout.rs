//! A rollout's life: it begins when the template changes, goes through its steps, and is promoted or rolled back.
//!
//! ```text
//!            begin                      steps done, evidence            all new, nothing else
//!  (none) ----------> Steps --------------------------------> Promoting ----------------------> (none), stable = new
//!                       |     (a roll begins at Promoting)        |  \\ with `scaleDownDelay` it goes there by way of Baking
//!                       | abort: a person, health, deadline       | abort, from Baking as well
//!                       +----------------> RollingBack <----------+
//!                                               |  stable alone and available
//!                                               +------------------------------> Aborted  (until the template changes, or retry)
//!                                               |  deadline
//!                                               +------------------------------> RollbackFailed
//! ```
//!
//! A template that changes again supersedes the rollout; one that is set back to the stable revision returns at once.

use helium_crds::{
    Percent, RevisionId,
    deployment::{CAUSE_ANNOTATION, OnFailure, Strategy},
    revision::short_hash,
    status::{Abort, AbortCause, AnalysisState, Hold, HoldKind, Rollout, RolloutKind, Stage, VersionRef},
    step::{Step, StepKind},
};
use jiff::Timestamp;

use crate::{
    analysis, bake,
    census::{Member, State, count},
    draft::Draft,
    edits, history, progress, steps,
};

/// Begins, supersedes or drops the rollout so that it goes where the template points.
pub(crate) fn follow_template(draft: &mut Draft<'_>) {
    let target = draft.target.revision.clone();
    let back_to_stable = draft.stable() == Some(&target);
    match draft.status.rollout.as_ref() {
        None if back_to_stable => {}
        None => begin(draft, kind_for(draft)),
        Some(rollout) if rollout.revision == target && (rollout.kind == RolloutKind::Return || !back_to_stable) => {
            edits::follow_edit(draft);
        }
        // What came through its steps and serves alone is what the next one starts from.
        Some(rollout) if rollout.stage == Stage::Baking && !back_to_stable => {
            bake::end(draft);
            begin(draft, kind_for(draft));
        }
        Some(rollout) => {
            let message = gives_way(rollout, &draft.target);
            draft.tell("RolloutSuperseded", message);
            begin(draft, if back_to_stable { RolloutKind::Return } else { kind_for(draft) });
        }
    }
}

/// Which rollout gives way to which: by their versions, and by their revisions too where only something beside the version has changed.
fn gives_way(rollout: &Rollout, target: &VersionRef) -> String {
    let (from, to) = (&rollout.version, &target.version);
    if from == to {
        format!("{from} ({}) gives way to {to} ({})", rollout.revision.short(), target.revision.short())
    } else {
        format!("{from} gives way to {to}")
    }
}

/// How a new template is rolled out: by the Canary's steps where there is one, something to compare with, and something to run.
pub(crate) fn kind_for(draft: &Draft<'_>) -> RolloutKind {
    let recreate = matches!(draft.spec().strategy, Strategy::Recreate(_));
    match draft.stable() {
        None => RolloutKind::First,
        Some(_) if is_guarded(draft) && draft.wanted > 0 && !history::skips_steps(draft) => RolloutKind::Canary,
        Some(_) if recreate => RolloutKind::Recreate,
        Some(_) => RolloutKind::Rolling,
    }
}

/// Whether there is a Canary with steps, or one whose steps cannot be told.
fn is_guarded(draft: &Draft<'_>) -> bool {
    draft.world.canary_problem.is_some() || draft.canary().is_some_and(|canary| !canary.all_steps().is_empty())
}

/// Begins a rollout to the present template.
fn begin(draft: &mut Draft<'_>, kind: RolloutKind) {
    let now = draft.now();
    let VersionRef { version, revision } = draft.target.clone();
    let canary = (kind == RolloutKind::Canary).then(|| draft.canary()).flatten();
    let steps: Vec<Step> = canary.map(|canary| canary.all_steps().into_owned()).unwrap_or_default();
    let course = course(draft, kind);
    let said = || draft.world.deployment.metadata.annotations.get(CAUSE_ANNOTATION).cloned();
    let told = history::changed_values(draft).or_else(|| history::new_build(draft));
    let cause = told.or_else(said).map(|cause| format!(": {cause}")).unwrap_or_default();
    let is_switch = canary.is_some_and(|canary| canary.blue_green.is_some());
    let kind_in_words = if is_switch { "switch" } else { kind_in_words(kind) };
    draft.tell("RolloutStarted", format!("{kind_in_words}{course}{cause}"));
    draft.status.rollout = Some(Rollout {
        id: short_hash(&format!("{}\n{revision}\n{now}", draft.status.uid), 8),
        revision,
        version,
        kind,
        stage: if steps.is_empty() { Stage::Promoting } else { Stage::Steps },
        step: 0,
        steps,
        step_started_at: now,
        ramped_at: None,
        started_at: now,
        weight: None,
        analysis: AnalysisState::default(),
        progress_at: now,
        progress_mark: 0,
        deadline_at: None,
        hold: None,
        abort: None,
    });
}

/// Where a rollout leads from and to. A return leads to the stable version from the one that gives way, if that is another.
fn course(draft: &Draft<'_>, kind: RolloutKind) -> String {
    let to = &draft.target;
    match (kind, &draft.status.stable, &draft.status.rollout) {
        (RolloutKind::Return, _, Some(left)) if left.revision != to.revision => {
            format!(" to {} from {}", to.version, left.version)
        }
        (RolloutKind::Return, ..) | (_, None, _) => format!(" to {}", to.version),
        (_, Some(stable), _) => format!(" from {} to {}", stable.version, to.version),
    }
}

fn kind_in_words(kind: RolloutKind) -> &'static str {
    match kind {
        RolloutKind::First => "first rollout",
        RolloutKind::Rolling => "rolling update",
        RolloutKind::Recreate => "re-creation",
        RolloutKind::Canary => "canary",
        RolloutKind::Return => "return",
    }
}

/// Starts an aborted rollout again, from its first step or a later one.
pub(crate) fn retry(draft: &mut Draft<'_>, from: Option<u32>) -> Result<(), String> {
    let kind = if draft.stable() == Some(&draft.target.revision) { RolloutKind::Return } else { kind_for(draft) };
    if let Some(problem) = draft.world.canary_problem.as_ref().filter(|_| kind == RolloutKind::Canary) {
        return Err(problem.clone());
    }
    if let Some(weight) = steps::impossible_weight(draft).filter(|_| kind == RolloutKind::Canary) {
        return Err(format!("`exact: true`, and whole instances cannot make {weight}"));
    }
    let steps = draft.canary().filter(|_| kind == RolloutKind::Canary).map_or(0, |canary| canary.all_steps().len());
    if let Some(from) = from.filter(|from| *from as usize >= steps) {
        return Err(format!("there is no step {}; there are {steps}", from + 1));
    }
    begin(draft, kind);
    if let Some(rollout) = draft.rollout_mut() {
        rollout.step = from.unwrap_or(0);
    }
    Ok(())
}

/// A weight that cannot be had exactly, where that matters now: a canary is at its steps, or the new template would begin one.
pub(crate) fn refused_weight(draft: &Draft<'_>) -> Option<Percent> {
    let target = &draft.target.revision;
    let rollout = draft.status.rollout.as_ref();
    let own = rollout.filter(|rollout| rollout.revision == *target);
    let tried = own.map_or(kind_for(draft) == RolloutKind::Canary, |own| own.stage == Stage::Steps);
    steps::impossible_weight(draft).filter(|_| tried && draft.stable() != Some(target))
}

/// Notes that the count has changed under a hold, or that a hold began before a lower one was followed: it is followed from then on.
pub(crate) fn note_rescale(draft: &mut Draft<'_>) {
    let changed = draft.world.status.is_some() && draft.status.wanted != draft.wanted;
    let serving = count(draft.census().live().filter(|member| !member.is_standby()));
    let changed = changed || serving > draft.budget().ceiling();
    if let Some(hold) = draft.rollout_mut().and_then(|rollout| rollout.hold.as_mut()) {
        hold.rescaled |= changed;
    }
}

/// What goes on even while the spec cannot be followed: canaries that fail are given up, and what was given up goes back. The
/// deadline of what cannot go on stands.
pub(crate) fn keep_safe(draft: &mut Draft<'_>) {
    if let Some(rollout) = draft.rollout_mut().filter(|rollout| rollout.stage.is_under_way()) {
        rollout.deadline_at = None;
        analysis::sample(draft);
        return analysis::take_in(draft);
    }
    advance(draft);
}

/// Brings the rollout as far as what is seen allows.
pub(crate) fn advance(draft: &mut Draft<'_>) {
    let now = draft.now();
    let Some(rollout) = draft.rollout_mut() else { return };
    // What was given up and is over waits for no instant: under a clock that is set back it would be written for nothing.
    if rollout.stage != Stage::Aborted {
        progress::bring_to_present(rollout, now);
    }
    progress::note_progress(draft);
    analysis::sample(draft);
    analysis::take_in(draft);
    progress::check_deadline(draft);
    let Some(rollout) = draft.status.rollout.as_ref().filter(|rollout| rollout.hold.is_none()) else { return };
    match rollout.stage {
        Stage::Steps => steps::advance(draft),
        Stage::Promoting => finish_promotion(draft),
        Stage::Baking => bake::advance(draft),
        Stage::RollingBack | Stage::RollbackFailed => finish_rollback(draft),
        Stage::Aborted => {}
    }
}

/// The new version takes the whole count: its canaries become stable ones where they are.
pub(crate) fn promote(draft: &mut Draft<'_>) {
    let now = draft.now();
    let Some(rollout) = draft.rollout_mut() else { return };
    rollout.stage = Stage::Promoting;
    rollout.step = u32::try_from(rollout.steps.len()).unwrap_or(u32::MAX);
    // What did not serve until now is measured from when all of it does.
    if rollout.weight.take().is_some_and(|weight| weight.canary == 0) {
        rollout.ramped_at = None;
    }
    came_forward(rollout, now);
    let message = format!("{} takes the whole count", rollout.version);
    draft.relies_on_health = true;
    draft.tell("CanaryPromoted", message);
}

/// Gives the rollout up: the stable version takes the whole count again. Without a stable version there is nothing to go back
/// to, and everything is left as it is.
pub(crate) fn abort(draft: &mut Draft<'_>, cause: AbortCause, message: &str, by: Option<String>) {
    let now = draft.now();
    let stable = draft.stable().cloned();
    let mark = stable.as_ref().map_or(0, |revision| draft.census().available(draft.world, revision));
    let Some(rollout) = draft.rollout_mut() else { return };
    rollout.abort = Some(Abort {
        cause,
        message: message.to_owned(),
        step: rollout.step,
        steps: u32::try_from(rollout.steps.len()).unwrap_or(u32::MAX),
        baking: rollout.stage == Stage::Baking,
        at: now,
        by,
    });
    rollout.stage = if stable.is_some() { Stage::RollingBack } else { Stage::Aborted };
    rollout.hold = None;
    rollout.weight = None;
    came_forward(rollout, now);
    rollout.progress_mark = mark;
    let message = format!("{} given up: {message}", rollout.version);
    draft.warn("RolloutAborted", message);
}

/// Restarts the clocks of the rollout: it has come forward.
pub(crate) fn came_forward(rollout: &mut Rollout, now: Timestamp) {
    rollout.step_started_at = now;
    rollout.progress_at = now;
    rollout.progress_mark = 0;
}

/// The deadline has passed.
pub(crate) fn fail(draft: &mut Draft<'_>) {
    let deadline = draft.spec().progress_deadline;
    let message = format!("no progress for {deadline}{}", first_complaint(draft));
    let now = draft.now();
    let Some(rollout) = draft.rollout_mut() else { return };
    rollout.deadline_at = None;
    let cause = AbortCause::ProgressDeadlineExceeded;
    let failure = Abort { cause, message: message.clone(), step: 0, steps: 0, baking: false, at: now, by: None };
    match (rollout.stage, rollout.kind) {
        (Stage::RollingBack, _) => {
            rollout.stage = Stage::RollbackFailed;
            draft.warn("RollbackFailed", message);
        }
        (_, RolloutKind::Return) => {
            rollout.stage = Stage::RollbackFailed;
            rollout.abort = Some(failure);
            draft.warn("RollbackFailed", message);
        }
        (_, RolloutKind::First) => {
            // Nothing to go back to: say so, and go on trying, since what heals is welcome.
            rollout.abort = Some(failure);
            draft.warn("ProgressDeadlineExceeded", message);
        }
        _ => give_up(draft, cause, &message),
    }
}

/// The rollout has failed: it is given up, or with `onFailure: pause` held until a person decides.
pub(crate) fn give_up(draft: &mut Draft<'_>, cause: AbortCause, message: &str) {
    if draft.spec().on_failure == OnFailure::Rollback {
        return abort(draft, cause, message, None);
    }
    hold(draft, HoldKind::Failure, message);
}

/// Holds the rollout until a person decides.
pub(crate) fn hold(draft: &mut Draft<'_>, kind: HoldKind, message: &str) {
    let since = draft.now();
    let Some(rollout) = draft.rollout_mut() else { return };
    rollout.deadline_at = None;
    let rescaled = rollout.hold.as_ref().is_some_and(|hold| hold.rescaled);
    let reason = Some(message.to_owned());
    rollout.hold = Some(Hold { kind, since, by: None, reason, until: None, rescaled });
    draft.warn("RolloutPaused", message.to_owned());
}

/// Ends the hold. Its time counts against no deadline.
pub(crate) fn let_go(draft: &mut Draft<'_>) {
    let now = draft.now();
    let Some(rollout) = draft.rollout_mut() else { return };
    let Some(hold) = rollout.hold.take() else { return };
    let length = now.duration_since(hold.since.min(now));
    rollout.progress_at += length;
    if hold.kind == HoldKind::Failure {
        rollout.progress_at = now;
    }
    // Neither does it against the limit of a step, or of its gate: nobody could have ended it meanwhile.
    let step = rollout.steps.get(rollout.step as usize);
    if step.is_some_and(|step| step.deadline.is_some() || matches!(step.kind, StepKind::Gate(_))) {
        rollout.step_started_at = (rollout.step_started_at + length).min(now);
    }
    let version = rollout.version.clone();
    draft.tell("RolloutResumed", format!("{version} goes on"));
}

/// What the first unhealthy instance of the new version complains of, to follow a sentence.
pub(crate) fn first_complaint(draft: &Draft<'_>) -> String {
    let Some(rollout) = draft.status.rollout.as_ref() else { return String::new() };
    let complaint = draft.census().of(&rollout.revision).find_map(|member| match &member.state {
        State::Unhealthy(why) => Some(format!(": {} {why}", member.id())),
        _ => None,
    });
    complaint.unwrap_or_default()
}

/// The promotion is over when the new version alone is there, whole and available.
fn finish_promotion(draft: &mut Draft<'_>) {
    let Some(rollout) = draft.status.rollout.as_ref() else { return };
    let keeps_old = bake::is_wanted(draft);
    if !stands_alone(draft, &rollout.revision, keeps_old) {
        return;
    }
    if keeps_old { bake::begin(draft) } else { bake::end(draft) }
}

/// The way back is over when the stable version alone is there, whole and available. The abort stays on record.
fn finish_rollback(draft: &mut Draft<'_>) {
    let Some(stable) = draft.status.stable.clone() else { return };
    if !stands_alone(draft, &stable.revision, false) {
        return;
    }
    let returning = draft.status.rollout.as_ref().is_some_and(|rollout| rollout.kind == RolloutKind::Return);
    if returning {
        draft.status.rollout = None;
        draft.forget_wakes();
    } else if let Some(rollout) = draft.rollout_mut() {
        rollout.stage = Stage::Aborted;
    }
    let healthy = draft.census().healthy();
    draft.tell("RollbackComplete", format!("{} serves: {healthy}/{} healthy", stable.version, draft.wanted));
}

/// Whether the wanted count of `revision` is available, and nothing else of the Deployment takes room, but for what is to stay on standby and
/// can be seen to.
fn stands_alone(draft: &Draft<'_>, revision: &RevisionId, keeps_others: bool) -> bool {
    let stays = |member: &Member| keeps_others && member.is_live() && member.is_out();
    let others = draft
        .census()
        .members
        .values()
        .any(|member| member.takes_room() && member.instance.revision != *revision && !stays(member));
    let live = count(draft.census().of(revision));
    let wanted = draft.wanted;
    !others && live == wanted && draft.census().available(draft.world, revision) == wanted
}
