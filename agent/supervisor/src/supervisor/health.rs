//! Health of jobs: checks at their interval, each by itself, and what follows from them.

use std::sync::Arc;

use super::{
    Effect, JobId, Supervisor,
    slot::{Stage, Vitals},
};
use crate::event::{Code, Event};

impl Supervisor {
    /// Checks of a job that was just started begin.
    pub(super) fn watch_health(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let next = slot.spec.health.as_ref().map(|health| self.now.saturating_add(health.interval));
        slot.vitals = Vitals { next, ..Vitals::default() };
    }

    /// Nothing is known of the health of a job whose process has ended; if it was healthy that is over.
    pub(super) fn unwatch_health(&mut self, at: usize) {
        self.abort_check(at);
        let was = std::mem::take(&mut self.slots[at].vitals);
        if was.healthy == Some(true) && self.slots[at].is_underway() && !self.settings.every_check {
            self.emit_of(at, Code::Unhealthy);
        }
    }

    pub(super) fn abort_check(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        if let Some(check) = slot.vitals.in_flight.take() {
            self.effects.push(Effect::AbortCheck { job: slot.id, check });
        }
    }

    pub(super) fn health_timers(&mut self, at: usize) {
        let now = self.now;
        if self.slots[at].vitals.next.is_some_and(|next| next <= now) {
            self.check(at);
        }
        let vitals = &mut self.slots[at].vitals;
        if vitals.fresh_until.take_if(|until| *until <= now).is_some() && vitals.healthy == Some(true) {
            self.set_health(at, false);
        }
    }

    fn check(&mut self, at: usize) {
        let (now, number, maintenance) = (self.now, self.number(), self.maintenance);
        let slot = &mut self.slots[at];
        let Some(health) = &slot.spec.health else { return };
        slot.vitals.next = Some(now.saturating_add(health.interval));
        if maintenance || slot.vitals.in_flight.is_some() {
            return;
        }
        if health.command.is_some() {
            slot.vitals.in_flight = Some(number);
            self.effects.push(Effect::Check { job: slot.id, check: number, spec: Arc::clone(&slot.spec) });
        } else {
            self.set_health(at, true);
        }
    }

    pub(super) fn checked(&mut self, job: JobId, check: u64, passed: bool) {
        let Some(at) = self.find(job) else { return };
        if self.slots[at].vitals.in_flight.take_if(|in_flight| *in_flight == check).is_some() {
            self.set_health(at, passed);
        }
    }

    /// A process says that it is ready, which counts as a passed check while it is not about to stop.
    pub(super) fn ready(&mut self, job: JobId, run: u64) {
        let Some(at) = self.find(job) else { return };
        let slot = &self.slots[at];
        if slot.stage == Stage::Up && slot.process.as_ref().is_some_and(|process| process.run == run) {
            self.set_health(at, true);
        }
    }

    /// What somebody outside sees of a job counts as a check does, while its process runs.
    pub(super) fn observed(&mut self, job: &str, healthy: bool) {
        let runs = |slot: &super::slot::Slot| slot.spec.name == job && slot.stage == Stage::Up;
        if let Some(at) = self.slots.iter().position(runs) {
            self.set_health(at, healthy);
        }
    }

    fn set_health(&mut self, at: usize, passed: bool) {
        let slot = &mut self.slots[at];
        slot.vitals.fresh_until =
            slot.spec.health.as_ref().filter(|_| passed).map(|health| self.now.saturating_add(health.ttl));
        let changed = slot.vitals.healthy.replace(passed) != Some(passed);
        if changed || self.settings.every_check {
            self.emit_of(at, if passed { Code::Healthy } else { Code::Unhealthy });
        }
    }

    /// While it is on nothing is checked, and what is known counts on.
    pub(super) fn set_maintenance(&mut self, on: bool) {
        if self.maintenance == on {
            return;
        }
        self.maintenance = on;
        self.emit(Event::global(if on { Code::EnterMaintenance } else { Code::ExitMaintenance }));
        for at in 0..self.slots.len() {
            if on {
                self.abort_check(at);
            }
            let slot = &mut self.slots[at];
            let ttl = slot.spec.health.as_ref().map(|health| self.now.saturating_add(health.ttl));
            slot.vitals.fresh_until = ttl.filter(|_| !on && slot.vitals.healthy == Some(true));
            if !on && slot.vitals.next.is_some() {
                slot.vitals.next = Some(self.now);
            }
        }
    }
}
