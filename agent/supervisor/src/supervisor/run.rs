//! What follows while a process of a job runs, and when it has ended: its limit, the next run, or the end of the job.

use helium_processes::{Exit, Signal};

use super::{Effect, JobId, Supervisor, slot::Stage, stop::Phase};
use crate::event::Code;

/// The exit code of a command that could not be started, as shells have it.
const NOT_STARTED: i32 = 127;

impl Supervisor {
    /// A process has ended; none: it could not be started.
    pub(super) fn ended(&mut self, job: JobId, run: u64, exit: Option<Exit>) {
        let Some(at) = self.find(job) else { return };
        let slot = &mut self.slots[at];
        let Some(process) = slot.process.take_if(|process| process.run == run) else { return };
        let success = exit.is_some_and(Exit::is_success) && !process.timed_out;
        slot.last_exit = Some(exit.map_or(NOT_STARTED, Exit::code));
        let asked = slot.stage == Stage::Going;
        slot.failures += u64::from(!success && !asked);
        slot.timeouts += u64::from(process.timed_out);
        self.unwatch_health(at);
        if !asked {
            self.emit_of(at, if success { Code::ExitSuccess } else { Code::ExitFailed });
        }
        match self.slots[at].stage {
            Stage::Up => {
                if self.now.saturating_sub(process.since) >= self.slots[at].spec.backoff.stable {
                    self.slots[at].in_a_row = 0;
                }
                self.after_run(at);
            }
            Stage::Going => self.finish_stop(at),
            _ => {}
        }
    }

    fn after_run(&mut self, at: usize) {
        // Several jobs may end in one step: each looks at other bits.
        let random = self.random.rotate_left(u32::try_from(at % 64).unwrap_or(0));
        let ends = self.phase != Phase::Running && !self.slots[at].spec.acts_on_stop();
        let slot = &mut self.slots[at];
        if ends {
            self.complete(at);
        } else if slot.spec.start.every.is_some() && !slot.ticks.is_empty() {
            slot.stage = Stage::Resting;
        } else if slot.spec.start.every.is_none() && slot.restarts.take() {
            slot.in_a_row += 1;
            let delay = slot.spec.backoff.delay(slot.in_a_row, random);
            self.make_due(at, delay);
        } else if slot.spec.start.each.is_none() {
            self.complete(at);
        } else if slot.pending > 0 {
            slot.pending -= 1;
            self.begin(at);
        } else {
            slot.stage = Stage::Waiting;
        }
    }

    /// A job is over by itself.
    pub(super) fn complete(&mut self, at: usize) {
        if self.is_main(at) {
            self.shut_down();
        }
        self.begin_stopping(at);
    }

    pub(super) fn run_timers(&mut self, at: usize) {
        let now = self.now;
        let slot = &mut self.slots[at];
        let Some(process) = &mut slot.process else { return };
        if now.saturating_sub(process.since) >= slot.spec.backoff.stable {
            slot.in_a_row = 0;
        }
        if process.limit_at.is_some_and(|limit_at| limit_at <= now) {
            process.limit_at = None;
            process.timed_out = true;
            let kill = slot.spec.run_limit.is_some_and(|limit| limit.kill);
            if kill { self.kill(at) } else { self.ask(at) }
        }
        if self.slots[at].process.as_ref().is_some_and(|p| p.kill_at.is_some_and(|kill_at| kill_at <= now)) {
            self.kill(at);
        }
    }

    /// Asks the process of a job to end, unless it was asked already.
    pub(super) fn ask(&mut self, at: usize) {
        let now = self.now;
        let slot = &mut self.slots[at];
        let Some(process) = slot.process.as_mut().filter(|process| process.kill_at.is_none() && !process.killed) else {
            return;
        };
        process.kill_at = Some(now.saturating_add(slot.spec.stop.timeout));
        let signal = slot.spec.stop.signal;
        self.effects.push(Effect::Signal { job: slot.id, run: process.run, signal, group: true });
    }

    pub(super) fn kill(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let Some(process) = slot.process.as_mut().filter(|process| !process.killed) else { return };
        process.killed = true;
        process.kill_at = None;
        self.effects.push(Effect::Signal { job: slot.id, run: process.run, signal: Signal::KILL, group: true });
    }
}
