//! S15: no wait is cut short, whatever clocks do: soaks, timed pauses, the progress deadline, and the grace of a lost node.
//!
//! A clock within one life goes at most a twentieth faster. Another controller's clock may be ahead of that by which an instant was noted;
//! by so much, and no more, a wait that it takes over may be shorter.

use std::{collections::BTreeMap, time::Duration};

use helium_crds::{
    ObjectKey, Period, RevisionId,
    instance::Instance,
    status::{AbortCause, Rollout, Stage},
    step::{Pause, Step, StepKind},
};
use jiff::{SignedDuration, Timestamp};

use super::{Checkers, Commit, evidence};
use crate::{clocks::Stand, truth};

/// What is noted with a commit was so a moment before it.
const MOMENT: SignedDuration = SignedDuration::from_secs(1);
/// A node must have been away for so long, at least, before an instance on it is given up: `lost_after` is 60 s.
const LOST: Duration = Duration::from_secs(45);

/// An instant that a controller has noted.
#[derive(Clone, Copy, Debug)]
struct Noted {
    /// As it was noted.
    stamp: Timestamp,
    /// When that was, by the clock that is right.
    truly: Timestamp,
    /// The clock by which it was noted.
    by: Stand,
}

impl Noted {
    fn new(stamp: Timestamp, by: Stand) -> Self {
        Self { stamp, truly: stamp.saturating_sub(by.ahead).unwrap_or(stamp), by }
    }

    /// How much of a wait of so long, from this instant on, is lacking by a clock that stands so.
    fn lacks(&self, period: SignedDuration, now: Timestamp, clock: Stand) -> Option<SignedDuration> {
        let differ = if clock.life == self.by.life {
            SignedDuration::ZERO
        } else {
            (clock.ahead - self.by.ahead).max(SignedDuration::ZERO)
        };
        let least = period - period / 20 - MOMENT - differ;
        let waited = now.duration_since(self.truly);
        (waited < least).then(|| period - waited)
    }
}

/// When each rollout began, and what it waits for at present.
#[derive(Debug, Default)]
pub(super) struct Waits(BTreeMap<(ObjectKey, String), (Noted, Noted)>);

impl Waits {
    /// When a rollout began, by the clock that is right.
    pub(super) fn began(&self, object: &ObjectKey, rollout: &Rollout) -> Option<Timestamp> {
        self.0.get(&(object.clone(), rollout.id.clone())).map(|(first, _)| first.truly)
    }

    /// Since when a rollout waits at its present step, or in its bake, by the clock that is right.
    pub(super) fn waits_since(&self, object: &ObjectKey, rollout: &Rollout) -> Option<Timestamp> {
        let (_, wait) = self.0.get(&(object.clone(), rollout.id.clone()))?;
        (wait.stamp == wait_began(rollout)).then_some(wait.truly)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn note(&mut self, object: &ObjectKey, rollout: &Rollout, clock: Stand) {
        let wait = Noted::new(wait_began(rollout), clock);
        let first = || Noted::new(rollout.started_at, clock);
        let known = self.0.entry((object.clone(), rollout.id.clone())).or_insert_with(|| (first(), wait));
        if known.1.stamp != wait.stamp {
            known.1 = wait;
        }
    }
}

impl Checkers {
    /// S15, at every commit.
    pub(super) fn check_waits(&mut self, commit: &Commit<'_>) {
        let Some(clock) = commit.net.clocks.stand(commit.actor) else { return };
        let now = commit.net.wall();
        let before = commit.before.status.as_ref().and_then(|status| status.rollout.as_ref());
        let after = commit.after.status.as_ref().and_then(|status| status.rollout.as_ref());
        if let (Some(before), Some(after)) = (before, after)
            && before.id == after.id
        {
            let known = self.waits.0.get(&(commit.object.clone(), before.id.clone())).copied();
            if let Some((first, wait)) = known.filter(|(_, wait)| wait.stamp == wait_began(before)) {
                self.check_step(commit, before, after, wait.lacks(period(before).unwrap_or_default(), now, clock));
                self.check_deadline(commit, before, after, &first, clock);
            }
        }
        if let (Some(baked), None) = (before.filter(|before| before.stage == Stage::Baking), after) {
            self.check_bake(commit, baked, clock);
        }
        self.check_given_up(commit);
        if let Some(rollout) = after {
            self.waits.note(&commit.object, rollout, clock);
        }
    }

    fn check_step(&mut self, commit: &Commit<'_>, before: &Rollout, after: &Rollout, lacks: Option<SignedDuration>) {
        let forward = after.stage == Stage::Promoting || after.step > before.step;
        let same = before.stage == Stage::Steps && before.steps == after.steps && is_of(commit, before);
        if let Some(lacks) = lacks.filter(|_| forward && same && !evidence::asked_for(commit)) {
            let (step, all) = (before.step + 1, before.steps.len());
            let message =
                format!("{}: {} is through step {step}/{all} {lacks:#} too early", commit.object, before.version);
            self.fail("S15", message);
        }
    }

    fn check_bake(&mut self, commit: &Commit<'_>, baked: &Rollout, clock: Stand) {
        let canary = commit.before.canary.as_ref().filter(|canary| !canary.is_deleting());
        let known = self.waits.0.get(&(commit.object.clone(), baked.id.clone())).copied();
        let wait = known.map(|(_, wait)| wait).filter(|wait| wait.stamp == wait_began(baked));
        let (Some(canary), Some(wait)) = (canary.filter(|_| evidence::ends_by_itself(commit, baked)), wait) else {
            return;
        };
        if let Some(lacks) = wait.lacks(canary.spec.bake().as_signed(), commit.net.wall(), clock) {
            self.fail("S15", format!("{}: {} is through its bake {lacks:#} too early", commit.object, baked.version));
        }
    }

    fn check_deadline(&mut self, commit: &Commit<'_>, before: &Rollout, after: &Rollout, first: &Noted, clock: Stand) {
        let exceeded = |rollout: &Rollout| {
            rollout.abort.as_ref().is_some_and(|abort| abort.cause == AbortCause::ProgressDeadlineExceeded)
        };
        let Some(deployment) = commit.before.deployment.as_ref().filter(|_| exceeded(after) && !exceeded(before))
        else {
            return;
        };
        let deadline = deployment.spec.progress_deadline.as_signed();
        // Nobody counts the time before they led, so whose clock it was noted by makes no difference.
        let own = Noted { by: clock, ..*first };
        if let Some(lacks) = own.lacks(deadline, commit.net.wall(), clock) {
            self.fail(
                "S15",
                format!("{}: the deadline of {} is over {lacks:#} too early", commit.object, after.version),
            );
        }
    }

    /// Where nothing but a lost node takes an instance down, it has been away for long enough.
    fn check_given_up(&mut self, commit: &Commit<'_>) {
        let quiet = |truth: &truth::Truth| {
            truth.status.as_ref().is_some_and(|status| status.rollout.is_none() && status.restart_before.is_none())
        };
        let spec =
            commit.before.deployment.as_ref().filter(|deployment| !deployment.is_deleting()).map(|one| &one.spec);
        let Some(spec) = spec.filter(|spec| spec.versions.is_none()) else { return };
        let wanted = commit.before.running().count() <= spec.wanted() as usize;
        let stable =
            commit.before.status.as_ref().and_then(|status| status.stable.as_ref()).map(|stable| &stable.revision);
        let of_one = |revision: &RevisionId| Some(revision) == stable;
        if !(wanted && quiet(&commit.before) && quiet(&commit.after)) {
            return;
        }
        let now = commit.net.now();
        let early = |one: &&&Instance| {
            of_one(&one.revision)
                && !truth::heartbeat(commit.state_before, &one.node)
                && self.history.away_for(&one.node, now) < LOST
                && self.history.was_alive_for(&one.node) > self.staleness(now)
        };
        if let Some(victim) = commit.stopped().iter().find(early) {
            let away = self.history.away_for(&victim.node, now).as_secs();
            self.fail("S15", format!("{}: {} is given up after {away} s", commit.object, victim.id));
        }
    }
}

/// Whether the steps of a rollout are those of the Canary that it was planned with.
fn is_of(commit: &Commit<'_>, rollout: &Rollout) -> bool {
    let canary = commit.before.canary.as_ref().filter(|canary| !canary.is_deleting());
    canary.is_some_and(|canary| *canary.spec.all_steps() == rollout.steps)
}

fn step(rollout: &Rollout) -> Option<&Step> {
    rollout.steps.get(rollout.step as usize)
}

/// Since when the present step waits: that of a weight since it was reached.
fn wait_began(rollout: &Rollout) -> Timestamp {
    let weighs =
        |step: &Step| matches!(step.kind, StepKind::Preview(_) | StepKind::SetWeight(_) | StepKind::SetReplicas(_));
    rollout.ramped_at.filter(|_| step(rollout).is_some_and(weighs)).unwrap_or(rollout.step_started_at)
}

/// How long the present step waits at least, if nobody ends it.
fn period(rollout: &Rollout) -> Option<SignedDuration> {
    let step = step(rollout)?;
    match step.kind {
        StepKind::Pause(Pause { duration, promote_after }) => duration.or(promote_after).map(Period::as_signed),
        _ => step.soak().map(Period::as_signed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Actor;

    #[test]
    fn a_wait_may_lack_a_twentieth_and_by_how_much_the_clock_of_the_next_leader_is_ahead() {
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let seconds = SignedDuration::from_secs;
        let stand = |life, ahead| Stand { life: (Actor::Controller(0), life), ahead: seconds(ahead) };
        for (noted_by, taken_by, waited, lacks) in [
            (stand(1, 0), stand(1, 0), 95, None),
            (stand(1, 0), stand(1, 0), 90, Some(10)),
            // Noted by a clock that was 50 s ahead, it is no longer ago than it was.
            (stand(1, 50), stand(1, 50), 90, Some(10)),
            (stand(1, 0), stand(1, 60), 40, Some(60)),
            (stand(1, 0), stand(2, 60), 40, None),
            (stand(1, 0), stand(2, -60), 40, Some(60)),
        ] {
            let noted = Noted::new(noon + noted_by.ahead, noted_by);
            let found = noted.lacks(seconds(100), noon + seconds(waited), taken_by);
            assert_eq!(found, lacks.map(seconds), "{noted_by:?} {taken_by:?} {waited}");
        }
    }
}
