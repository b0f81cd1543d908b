//! The decisions: what a supervisor does next, as a function of its state, the time, a random number and an input.
//!
//! A job goes through stages: it waits for its events, is due, is up, and ends; a job that ends is first *held* while
//! those that act on its stopping do so. Events are delivered in the order in which they came about, to all jobs in the order of the set,
//! before anything else is decided: what a job waits for when it is held has begun by then.
//!
//! A shutdown has two instants. After three quarters of the grace nothing is waited for any longer and everything is asked to end; at its
//! end everything is killed. So a job that is asked last still has time to answer, however long those take that act before it.

mod health;
mod reload;
mod run;
mod slot;
mod start;
mod stop;
#[cfg(test)]
mod tests;
pub mod view;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use helium_processes::{Exit, Signal};

use self::{slot::Slot, stop::Phase};
use crate::{
    event::{Code, Event},
    job::Job,
    set::{JobSet, Settings},
};

/// A job of a supervisor, as long as it has one; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// What the world tells.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin.
    Start,
    /// It is as late as [`Supervisor::next_wake`] said.
    Timer,
    /// A process of a job could not be started.
    NotStarted {
        /// The job.
        job: JobId,
        /// The run, as [`Effect::Spawn`] numbered it.
        run: u64,
    },
    /// A process of a job has ended.
    Exited {
        /// The job.
        job: JobId,
        /// The run, as [`Effect::Spawn`] numbered it.
        run: u64,
        /// How.
        exit: Exit,
    },
    /// A process of a job says that it is ready.
    Ready {
        /// The job.
        job: JobId,
        /// The run, as [`Effect::Spawn`] numbered it.
        run: u64,
    },
    /// A check is over.
    Checked {
        /// The job.
        job: JobId,
        /// The check, as [`Effect::Check`] numbered it.
        check: u64,
        /// Whether the job is well.
        passed: bool,
    },
    /// Somebody outside has looked whether a job is well.
    Observed {
        /// The name of the job.
        job: String,
        /// Whether it is.
        healthy: bool,
    },
    /// Something happened outside: to a watched service, or a signal that came.
    Outside(Event),
    /// Maintenance begins or ends.
    Maintenance(bool),
    /// From now on these jobs.
    Reload(JobSet),
    /// A signal is to be passed on to the main job's process alone.
    Forward(Signal),
    /// End in order, within the grace.
    Shutdown,
    /// End now.
    Kill,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Start the command of a job. [`Input::Exited`] or [`Input::NotStarted`] is to follow.
    Spawn {
        /// The job.
        job: JobId,
        /// Numbers the run.
        run: u64,
        /// What is to be run.
        spec: Arc<Job>,
    },
    /// Send a signal to a run.
    Signal {
        /// The job.
        job: JobId,
        /// The run.
        run: u64,
        /// Which.
        signal: Signal,
        /// Whether its whole process group is meant, or the process alone.
        group: bool,
    },
    /// Check a job, within the time of its check. [`Input::Checked`] is to follow, unless it is aborted.
    Check {
        /// The job.
        job: JobId,
        /// Numbers the check.
        check: u64,
        /// What is to be run.
        spec: Arc<Job>,
    },
    /// A check is of no use any longer.
    AbortCheck {
        /// The job.
        job: JobId,
        /// The check.
        check: u64,
    },
    /// Something happened.
    Tell(Event),
    /// All is over; nothing follows.
    Finish {
        /// With which exit code.
        code: i32,
    },
}

/// The state of a supervisor.
#[derive(Debug)]
pub struct Supervisor {
    settings: Settings,
    slots: Vec<Slot>,
    phase: Phase,
    begun: bool,
    maintenance: bool,
    /// Watched services that are healthy or not, as last heard.
    watched: Vec<Event>,
    now: Duration,
    random: u64,
    next_job: u64,
    next_number: u64,
    queue: VecDeque<Event>,
    effects: Vec<Effect>,
}

impl Supervisor {
    /// A supervisor of these jobs, which begins with [`Input::Start`].
    pub fn new(set: JobSet) -> Self {
        let mut this = Self {
            settings: set.settings,
            slots: Vec::new(),
            phase: Phase::Running,
            begun: false,
            maintenance: false,
            watched: Vec::new(),
            now: Duration::ZERO,
            random: 0,
            next_job: 0,
            next_number: 0,
            queue: VecDeque::new(),
            effects: Vec::new(),
        };
        for job in set.jobs {
            this.add(Arc::new(job));
        }
        this
    }

    /// Takes what happened at `now`, by a clock that never goes back, and says what is to be done, in this order. `random` are 64 random bits.
    pub fn step(&mut self, now: Duration, random: u64, input: Input) -> Vec<Effect> {
        if self.phase == Phase::Over {
            return Vec::new();
        }
        self.now = self.now.max(now);
        self.random = random;
        self.take(input);
        self.timers();
        self.settle();
        std::mem::take(&mut self.effects)
    }

    /// When [`Input::Timer`] is due at the latest, by the clock of [`Supervisor::step`].
    pub fn next_wake(&self) -> Option<Duration> {
        if !self.begun || self.phase == Phase::Over {
            return None;
        }
        self.slots.iter().filter_map(Slot::next_wake).chain(self.phase.next_wake()).min()
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Start if !self.begun => self.start_all(),
            Input::Start | Input::Timer => {}
            Input::NotStarted { job, run } => self.ended(job, run, None),
            Input::Exited { job, run, exit } => self.ended(job, run, Some(exit)),
            Input::Ready { job, run } => self.ready(job, run),
            Input::Checked { job, check, passed } => self.checked(job, check, passed),
            Input::Observed { job, healthy } => self.observed(&job, healthy),
            Input::Outside(event) => self.outside(event),
            Input::Maintenance(on) => self.set_maintenance(on),
            Input::Reload(set) => self.reload(set),
            Input::Forward(signal) => self.forward(signal),
            Input::Shutdown => self.shut_down(),
            Input::Kill => self.kill_all(),
        }
    }

    fn timers(&mut self) {
        self.phase_timers();
        for at in 0..self.slots.len() {
            self.run_timers(at);
            self.health_timers(at);
            self.start_timers(at);
        }
    }

    /// Delivers events and follows from them until nothing more follows.
    fn settle(&mut self) {
        loop {
            while let Some(event) = self.queue.pop_front() {
                self.deliver(&event);
            }
            for at in 0..self.slots.len() {
                self.start_if_due(at);
            }
            let moved = self.move_stops();
            if !moved && self.queue.is_empty() {
                break;
            }
        }
        self.slots.retain(|slot| !slot.gone);
        self.finish_if_over();
    }

    fn outside(&mut self, event: Event) {
        if matches!(event.code, Code::Healthy | Code::Unhealthy) {
            self.watched.retain(|known| known.source != event.source);
            self.watched.push(event.clone());
        }
        self.emit(event);
    }

    fn emit(&mut self, event: Event) {
        self.effects.push(Effect::Tell(event.clone()));
        self.queue.push_back(event);
    }

    fn emit_of(&mut self, at: usize, code: Code) {
        let event = Event::of_job(code, self.slots[at].spec.name.clone());
        self.emit(event);
    }

    fn find(&self, job: JobId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.id == job)
    }

    /// The main job, or the first one where none is named.
    fn main(&self) -> Option<usize> {
        let main = self.settings.main.as_ref();
        main.map_or_else(
            || (!self.slots.is_empty()).then_some(0),
            |name| self.slots.iter().position(|s| s.spec.name == *name),
        )
    }

    fn is_main(&self, at: usize) -> bool {
        self.settings.main.is_some() && self.main() == Some(at)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn forward(&mut self, signal: Signal) {
        let Some(slot) = self.main().map(|at| &self.slots[at]) else { return };
        if let Some(process) = &slot.process {
            self.effects.push(Effect::Signal { job: slot.id, run: process.run, signal, group: false });
        }
    }
}
