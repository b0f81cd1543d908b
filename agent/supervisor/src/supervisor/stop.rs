//! How jobs stop, alone and all together: who waits for whom, and the grace that bounds it.

use std::{sync::Arc, time::Duration};

use super::{
    Effect, Supervisor,
    slot::{Afterwards, Slot, Stage, Vitals},
};
use crate::{
    event::{Code, Event, Source},
    job::Job,
};

/// How long is waited for what was killed.
const LAST: Duration = Duration::from_secs(1);

/// The part of a grace in which others are waited for; the rest is for those who are asked to end after that.
fn before_hurry(grace: Duration) -> Duration {
    grace.saturating_sub(grace / 4)
}

/// Where the whole supervisor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Everything stops in order.
    Stopping {
        /// When nothing is waited for any longer.
        hurry_at: Duration,
        /// Whether that has come.
        hurried: bool,
        /// When everything is killed.
        deadline: Duration,
    },
    /// Everything was killed.
    Killing {
        /// When even that is not waited for any longer.
        until: Duration,
    },
    Over,
}

impl Phase {
    pub(super) fn next_wake(self) -> Option<Duration> {
        match self {
            Phase::Running | Phase::Over => None,
            Phase::Stopping { hurry_at, hurried, deadline } => Some(if hurried { deadline } else { hurry_at }),
            Phase::Killing { until } => Some(until),
        }
    }
}

impl Supervisor {
    pub(super) fn shut_down(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        let grace = self.settings.grace;
        let hurry_at = self.now.saturating_add(before_hurry(grace));
        self.phase = Phase::Stopping { hurry_at, hurried: false, deadline: self.now.saturating_add(grace) };
        self.emit(Event::global(Code::Shutdown));
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if matches!(slot.afterwards, Afterwards::Become(_)) {
                slot.afterwards = Afterwards::Rest;
            }
            match slot.stage {
                _ if slot.spec.acts_on_stop() => {}
                Stage::Waiting => slot.stage = Stage::Done,
                Stage::Due(_) | Stage::Resting => self.begin_stopping(at),
                _ => {}
            }
        }
    }

    pub(super) fn kill_all(&mut self) {
        self.shut_down();
        if !matches!(self.phase, Phase::Stopping { .. }) {
            return;
        }
        self.phase = Phase::Killing { until: self.now.saturating_add(LAST) };
        for at in 0..self.slots.len() {
            self.abort_check(at);
            self.kill(at);
            self.slots[at].vitals = Vitals::default();
            self.slots[at].stage = if self.slots[at].process.is_some() { Stage::Going } else { Stage::Done };
        }
    }

    pub(super) fn phase_timers(&mut self) {
        let now = self.now;
        match &mut self.phase {
            Phase::Stopping { deadline, .. } if *deadline <= now => self.kill_all(),
            Phase::Stopping { hurry_at, hurried, .. } if *hurry_at <= now && !*hurried => {
                *hurried = true;
                for at in 0..self.slots.len() {
                    if self.slots[at].is_active() {
                        self.go(at);
                    }
                }
            }
            Phase::Killing { until } if *until <= now => {
                for slot in &mut self.slots {
                    slot.process = None;
                    slot.stage = Stage::Done;
                }
            }
            _ => {}
        }
    }

    /// A job is to stop, after those that act on it.
    pub(super) fn begin_stopping(&mut self, at: usize) {
        let hurried = !matches!(self.phase, Phase::Running | Phase::Stopping { hurried: false, .. });
        let slot = &mut self.slots[at];
        slot.pending = 0;
        slot.next_tick = None;
        if slot.starts == 0 {
            self.retire(at);
        } else if hurried {
            self.go(at);
        } else {
            let wait = slot.spec.stop.wait.unwrap_or_else(|| before_hurry(self.settings.grace));
            slot.stage = Stage::Held(self.now.saturating_add(wait));
            self.emit_of(at, Code::Stopping);
        }
    }

    /// Moves on whoever waits for others to stop. True if somebody did.
    pub(super) fn move_stops(&mut self) -> bool {
        let mut moved = self.stop_next();
        for at in 0..self.slots.len() {
            if !self.queue.is_empty() {
                // Whoever acts on what has just happened begins before anybody is judged.
                return true;
            }
            let slot = &self.slots[at];
            let late = matches!(slot.stage, Stage::Held(until) if until <= self.now);
            if matches!(slot.stage, Stage::Held(_)) && (late || !self.is_acted_on(slot)) {
                self.go(at);
                moved = true;
            } else if slot.stage == Stage::Waiting && slot.is_leaving() && !self.has_sources_that_leave(slot) {
                self.retire(at);
                moved = true;
            }
        }
        moved | self.end_if_nothing_can_happen()
    }

    /// In a shutdown, stops those whom nobody needs any longer.
    fn stop_next(&mut self) -> bool {
        if !matches!(self.phase, Phase::Stopping { .. }) || !self.queue.is_empty() {
            return false;
        }
        let candidates: Vec<usize> = self.to_be_stopped().collect();
        let mut ready: Vec<usize> = candidates.iter().copied().filter(|at| !self.is_needed(&self.slots[*at])).collect();
        if ready.is_empty() && !self.slots.iter().any(Slot::is_stopping) {
            ready = candidates;
        }
        for at in &ready {
            self.begin_stopping(*at);
        }
        !ready.is_empty()
    }

    fn to_be_stopped(&self) -> impl Iterator<Item = usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.is_underway() && !slot.spec.acts_on_stop()).map(|(at, _)| at)
    }

    /// Whether somebody who runs waited for this one to start.
    fn is_needed(&self, slot: &Slot) -> bool {
        let mut others = self.slots.iter().filter(|other| other.id != slot.id && !other.spec.acts_on_stop());
        others.any(|other| other.is_active() && other.spec.needs().any(|name| name == slot.spec.name))
    }

    /// Whether somebody runs who acts on this one's stopping.
    fn is_acted_on(&self, slot: &Slot) -> bool {
        let stopping = Event::of_job(Code::Stopping, slot.spec.name.clone());
        let mut others = self.slots.iter().filter(|other| other.id != slot.id && other.is_active());
        others.any(|other| other.spec.start.after.contains(&stopping))
    }

    /// Whether this one acts on the stopping of somebody who leaves.
    fn has_sources_that_leave(&self, slot: &Slot) -> bool {
        let acts_on = |other: &Slot| {
            let mut events = slot.spec.start.after.iter().filter(|event| event.code.is_of_stop());
            events.any(|event| event.job() == Some(&other.spec.name))
        };
        self.slots.iter().any(|other| other.is_stopping() && other.is_leaving() && acts_on(other))
    }

    /// Ends a job, without waiting for anybody.
    pub(super) fn go(&mut self, at: usize) {
        self.abort_check(at);
        self.slots[at].vitals = Vitals::default();
        self.slots[at].stage = Stage::Going;
        if self.slots[at].process.is_some() {
            self.ask(at);
        } else {
            self.finish_stop(at);
        }
    }

    pub(super) fn finish_stop(&mut self, at: usize) {
        if self.slots[at].starts > 0 {
            self.emit_of(at, Code::Stopped);
        }
        self.retire(at);
    }

    /// A job is over, and whatever is to follow it comes.
    pub(super) fn retire(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        slot.stage = Stage::Done;
        match std::mem::replace(&mut slot.afterwards, Afterwards::Rest) {
            Afterwards::Rest if slot.rearm && self.phase == Phase::Running => self.arm(at),
            Afterwards::Rest => {}
            Afterwards::Vanish => slot.gone = true,
            Afterwards::Become(spec) => self.become_another(at, spec),
        }
    }

    fn become_another(&mut self, at: usize, spec: Arc<Job>) {
        let slot = &mut self.slots[at];
        let last_start = slot.last_start;
        *slot = Slot::new(slot.id, spec);
        slot.last_start = last_start;
        if !self.begun {
            return;
        }
        self.arm(at);
        let name = self.slots[at].spec.name.clone();
        for other in (0..self.slots.len()).filter(|other| *other != at) {
            let acts = |event: &Event| event.code.is_of_stop() && event.job() == Some(&name);
            let slot = &mut self.slots[other];
            if slot.gone || slot.spec.start.each.is_some() || !slot.spec.start.after.iter().any(acts) {
                continue;
            }
            slot.rearm = true;
            if slot.stage == Stage::Done {
                self.arm(other);
            }
        }
    }

    /// Shuts down when no job runs and none can start any more. True if it did.
    fn end_if_nothing_can_happen(&mut self) -> bool {
        if !self.begun || self.phase != Phase::Running || !self.queue.is_empty() {
            return false;
        }
        let mut alive: Vec<bool> = self.slots.iter().map(|slot| slot.is_active() || slot.waits_for_a_timer()).collect();
        while let Some(at) = (0..alive.len()).find(|at| !alive[*at] && self.can_start(&self.slots[*at], &alive)) {
            alive[at] = true;
        }
        let over = !alive.contains(&true);
        if over {
            self.shut_down();
        }
        over
    }

    /// Whether all that a waiting job has not yet seen can still happen, while these are alive.
    fn can_start(&self, slot: &Slot, alive: &[bool]) -> bool {
        let can_happen = |event: &Event| match &event.source {
            Source::Watch(_) => true,
            Source::Global => !matches!(event.code, Code::Startup | Code::Shutdown),
            Source::Job(name) => self.slots.iter().zip(alive).any(|(slot, alive)| *alive && slot.spec.name == *name),
        };
        let mut unseen = slot.seen.iter().zip(&slot.spec.start.after).filter(|(seen, _)| !**seen);
        slot.stage == Stage::Waiting && unseen.all(|(_, event)| can_happen(event))
    }

    pub(super) fn finish_if_over(&mut self) {
        let over = matches!(self.phase, Phase::Stopping { .. } | Phase::Killing { .. })
            && self.slots.iter().all(|slot| !slot.is_active() && slot.process.is_none());
        if over {
            self.phase = Phase::Over;
            let code = self.main().and_then(|at| self.slots[at].last_exit).unwrap_or(0);
            self.effects.push(Effect::Finish { code });
        }
    }
}
