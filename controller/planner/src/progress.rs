//! The progress of a rollout, and the deadline without any.
//!
//! The clock of the deadline shows only what is the rollout's own fault. It stands while a person or a failure holds the rollout, at
//! an open pause, while the spec cannot be followed, and while nobody led or could see; soaks, timed pauses, and the time that
//! a stopping instance may take are added to it.

use helium_crds::{
    RevisionId,
    status::{Rollout, RolloutKind, Stage},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    census::{Member, State},
    draft::Draft,
    rollout, steps,
};

/// An instant in the future, written under another clock, counts as now, and is noted so: it would begin anew at every look.
pub(crate) fn bring_to_present(rollout: &mut Rollout, now: Timestamp) {
    rollout.step_started_at = rollout.step_started_at.min(now);
    rollout.progress_at = rollout.progress_at.min(now);
    rollout.ramped_at = rollout.ramped_at.map(|ramped| ramped.min(now));
    rollout.analysis.last_failure = rollout.analysis.last_failure.map(|last| last.min(now));
    for sample in rollout.analysis.metrics.values_mut().flat_map(|state| state.samples.iter_mut()) {
        sample.at = sample.at.min(now);
    }
    if let Some(gate) = rollout.analysis.gate.as_mut() {
        gate.at = gate.at.min(now);
    }
    if let Some(hold) = rollout.hold.as_mut() {
        hold.since = hold.since.min(now);
    }
}

/// More available instances of where it goes than ever before in this stage are progress, and so is one of another version that
/// has stopped: it was in the way. This plan forgets it, so it is seen once.
pub(crate) fn note_progress(draft: &mut Draft<'_>) {
    let now = draft.now();
    let Some(rollout) = draft.status.rollout.as_ref() else { return };
    let towards = match rollout.stage {
        Stage::RollingBack | Stage::RollbackFailed => draft.stable().cloned(),
        Stage::Steps | Stage::Promoting | Stage::Baking => Some(rollout.revision.clone()),
        Stage::Aborted => None,
    };
    let Some(towards) = towards else { return };
    let available = draft.census().in_place(draft.world, &towards);
    let gone = others(draft, &towards).any(|member| member.state == State::Stopped);
    let Some(rollout) = draft.rollout_mut() else { return };
    if available > rollout.progress_mark || gone {
        rollout.progress_mark = available.max(rollout.progress_mark);
        rollout.progress_at = now;
    }
}

fn others<'d>(draft: &'d Draft<'_>, revision: &'d RevisionId) -> impl Iterator<Item = &'d Member> {
    draft.census().members.values().filter(move |member| member.instance.revision != *revision)
}

/// Sets the deadline anew from the last progress, and fails the rollout when it has passed.
pub(crate) fn check_deadline(draft: &mut Draft<'_>) {
    let mut deadline = deadline(draft);
    let now = draft.now();
    let of_nothing_before = draft.world.status.as_ref().is_some_and(|status| status.wanted == 0);
    if let Some(rollout) = draft.status.rollout.as_mut() {
        let ran_before = rollout.deadline_at.is_some();
        let from_nothing = of_nothing_before && rollout.stage == Stage::Steps && deadline.is_some();
        if from_nothing || (!ran_before && deadline.is_some_and(|deadline| deadline <= now)) {
            // The clock stood, so what it shows is not the rollout's fault.
            rollout.progress_at = now;
            deadline = self::deadline(draft);
        }
    }
    if let Some(rollout) = draft.rollout_mut() {
        rollout.deadline_at = deadline;
    }
    match deadline {
        Some(deadline) if deadline <= now => rollout::fail(draft),
        Some(deadline) => draft.wake_at(deadline),
        None => {}
    }
}

/// `progressDeadline` from the last progress, or from the beginning of this watch: time that nobody watched counts against
/// nobody. Soaks, timed pauses, and the time that a stopping instance may take are added; an open pause, a hold, a canary of
/// nothing, and a rollout that is over have no deadline.
fn deadline(draft: &Draft<'_>) -> Option<Timestamp> {
    let rollout = draft.status.rollout.as_ref()?;
    let failed_before = rollout.kind == RolloutKind::First && rollout.abort.is_some();
    let over = matches!(rollout.stage, Stage::Baking | Stage::Aborted | Stage::RollbackFailed);
    let of_nothing = rollout.stage == Stage::Steps && draft.wanted == 0;
    if rollout.hold.is_some() || failed_before || over || of_nothing {
        return None;
    }
    let stopping = draft.census().members.values().any(|member| member.state == State::Stopping);
    let spec = draft.spec();
    let grace =
        if stopping { spec.drain.as_signed() + spec.stop_grace_period.as_signed() } else { SignedDuration::ZERO };
    let waits = if rollout.stage == Stage::Steps { steps::planned_wait(draft, rollout)? } else { SignedDuration::ZERO };
    let from = rollout.progress_at.min(draft.now()).max(draft.world.watching_since);
    Some(from + draft.spec().progress_deadline.as_signed() + waits + grace)
}
