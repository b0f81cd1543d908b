//! How jobs come to start: events that they wait for, intervals, and the wait for them.

use std::{sync::Arc, time::Duration};

use super::{
    Effect, JobId, Supervisor,
    slot::{Process, Slot, Stage},
    stop::Phase,
};
use crate::{
    event::{Code, Event, Source},
    job::{Backoff, Job},
};

impl Supervisor {
    pub(super) fn add(&mut self, spec: Arc<Job>) -> usize {
        self.next_job += 1;
        self.slots.push(Slot::new(JobId(self.next_job), spec));
        self.slots.len() - 1
    }

    pub(super) fn start_all(&mut self) {
        self.begun = true;
        self.effects.push(Effect::Tell(Event::global(Code::Startup)));
        for at in 0..self.slots.len() {
            self.arm(at);
        }
    }

    /// Lets a job wait for its events, those that are facts by now taken as seen.
    pub(super) fn arm(&mut self, at: usize) {
        let spec = Arc::clone(&self.slots[at].spec);
        let seen = spec.start.after.iter().map(|event| self.is_a_fact(event, spec.start.each.is_some())).collect();
        let slot = &mut self.slots[at];
        slot.stage = Stage::Waiting;
        slot.rearm = false;
        slot.seen = seen;
        slot.quits_at = spec.start.timeout.map(|timeout| self.now.saturating_add(timeout));
        if slot.seen.iter().all(|seen| *seen) {
            self.begin(at);
        }
    }

    /// Whether an event has happened and still holds. Of what is to start a job each time, only the startup counts.
    fn is_a_fact(&self, event: &Event, each: bool) -> bool {
        let holds = |slot: &Slot| match event.code {
            Code::Healthy => slot.vitals.healthy == Some(true),
            Code::Unhealthy => slot.vitals.healthy == Some(false),
            Code::ExitSuccess => slot.stage == Stage::Done && slot.last_exit == Some(0),
            Code::ExitFailed => slot.stage == Stage::Done && slot.last_exit.is_some_and(|code| code != 0),
            _ => false,
        };
        match &event.source {
            Source::Global => event.code == Code::Startup,
            _ if each => false,
            Source::Watch(_) => self.watched.contains(event),
            Source::Job(name) => self.slots.iter().any(|slot| slot.spec.name == *name && holds(slot)),
        }
    }

    pub(super) fn deliver(&mut self, event: &Event) {
        for at in 0..self.slots.len() {
            if !self.may_start(at, event.code) {
                continue;
            }
            let slot = &mut self.slots[at];
            let mut matched = false;
            for (seen, wanted) in slot.seen.iter_mut().zip(&slot.spec.start.after) {
                if wanted == event {
                    *seen = true;
                    matched = true;
                }
            }
            if matched && slot.seen.iter().all(|seen| *seen) {
                self.trigger(at);
            }
        }
    }

    fn may_start(&self, at: usize, code: Code) -> bool {
        let slot = &self.slots[at];
        let alive = slot.stage == Stage::Waiting || slot.is_underway();
        alive
            && self.begun
            && match self.phase {
                Phase::Running => true,
                Phase::Stopping { hurried, .. } => slot.spec.acts_on_stop() && !(hurried && code == Code::Stopping),
                Phase::Killing { .. } | Phase::Over => false,
            }
    }

    /// All events that a job waits for have been seen.
    fn trigger(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let each = slot.spec.start.each;
        if each.is_some() {
            let startup = Event::global(Code::Startup);
            let start = &slot.spec.start;
            slot.seen = start.after.iter().map(|event| *event == startup || start.lasting.contains(event)).collect();
        }
        match (slot.stage, each) {
            (Stage::Waiting, _) | (Stage::Resting, Some(_)) => self.begin(at),
            (Stage::Due(_) | Stage::Up, Some(most)) => slot.pending = (slot.pending + 1).min(most.max(1)),
            _ => {}
        }
    }

    /// Begins with a job: all that is counted of its runs begins anew.
    pub(super) fn begin(&mut self, at: usize) {
        let now = self.now;
        let slot = &mut self.slots[at];
        slot.restarts = slot.spec.restarts;
        slot.in_a_row = 0;
        slot.quits_at = None;
        if let Some(every) = slot.spec.start.every {
            slot.ticks = every.ticks;
            slot.next_tick = Some(now.saturating_add(every.interval));
        }
        self.make_due(at, Duration::ZERO);
    }

    /// Starts a job after a delay, and never sooner after its last start than any may be.
    pub(super) fn make_due(&mut self, at: usize, delay: Duration) {
        let now = self.now;
        let slot = &mut self.slots[at];
        let soonest = slot.last_start.map_or(Duration::ZERO, |last| last.saturating_add(Backoff::LEAST));
        slot.stage = Stage::Due(now.saturating_add(delay).max(soonest));
    }

    pub(super) fn start_timers(&mut self, at: usize) {
        let now = self.now;
        let slot = &mut self.slots[at];
        if slot.stage == Stage::Waiting && slot.quits_at.is_some_and(|quits_at| quits_at <= now) {
            slot.quits_at = None;
            self.emit_of(at, Code::TimerExpired);
            self.complete(at);
        } else if slot.is_underway() && slot.next_tick.is_some_and(|tick| tick <= now) {
            self.tick(at);
        }
    }

    fn tick(&mut self, at: usize) {
        let now = self.now;
        let slot = &mut self.slots[at];
        let (Some(every), Some(mut tick)) = (slot.spec.start.every, slot.next_tick) else { return };
        let late = now.saturating_sub(tick).as_nanos() / every.interval.as_nanos().max(1);
        tick = tick.saturating_add(every.interval.saturating_mul(u32::try_from(late + 1).unwrap_or(u32::MAX)));
        slot.next_tick = Some(tick);
        if slot.stage == Stage::Resting && slot.ticks.take() {
            self.make_due(at, Duration::ZERO);
        }
    }

    pub(super) fn start_if_due(&mut self, at: usize) {
        if matches!(self.slots[at].stage, Stage::Due(due) if due <= self.now) {
            self.spawn(at);
        }
    }

    fn spawn(&mut self, at: usize) {
        let (now, run) = (self.now, self.number());
        let slot = &mut self.slots[at];
        slot.stage = Stage::Up;
        slot.starts += 1;
        slot.last_start = Some(now);
        if slot.spec.command.is_some() {
            let limit_at = slot.spec.run_limit.map(|limit| now.saturating_add(limit.after));
            slot.process = Some(Process { run, since: now, limit_at, kill_at: None, killed: false, timed_out: false });
            self.effects.push(Effect::Spawn { job: slot.id, run, spec: Arc::clone(&slot.spec) });
        }
        self.watch_health(at);
    }
}
