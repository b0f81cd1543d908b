//! What a job is: its command, what starts it, how it is restarted, checked and stopped.

use std::time::Duration;

use helium_processes::{Command, Limit, Signal};

use crate::event::{Code, Event};

/// A job. Nothing of it is filled in later, so that two jobs are the same if they are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name: the source of its events, and before each line that it prints.
    pub name: String,
    /// What it runs. Without one it counts as running from its start until it is stopped.
    pub command: Option<Command>,
    /// What of the machine its process may use.
    pub limits: Vec<Limit>,
    /// What starts it.
    pub start: Start,
    /// How often it is started again after it ended. Not for a [periodic](Start::every) job, which has its own count.
    pub restarts: Restarts,
    /// How long is waited between two of these starts.
    pub backoff: Backoff,
    /// How long a run may take.
    pub run_limit: Option<RunLimit>,
    /// How it is stopped.
    pub stop: Stop,
    /// How it is seen whether it is well.
    pub health: Option<Health>,
    /// Whether its process is given a `NOTIFY_SOCKET`: the first `READY=1` that comes there says that it is well, as a passed check does. The
    /// socket's name is abstract, so the process must be in the network namespace of the supervisor. On Linux only.
    pub notify: bool,
    /// Where goes what its process prints.
    pub output: Output,
}

impl Job {
    /// A job that runs a command once at startup.
    pub fn new(name: impl Into<String>, command: Option<Command>) -> Self {
        Self {
            name: name.into(),
            command,
            limits: Vec::new(),
            start: Start::default(),
            restarts: Restarts::Never,
            backoff: Backoff::default(),
            run_limit: None,
            stop: Stop::default(),
            health: None,
            notify: false,
            output: Output::Lines,
        }
    }

    /// True for a job that acts when others stop: it is not stopped with them, and ends by itself within the grace.
    pub(crate) fn acts_on_stop(&self) -> bool {
        self.start.after.iter().any(|event| event.code.is_of_stop() || *event == Event::global(Code::Shutdown))
    }

    /// The names of the jobs that must have done something before it starts, other than stopping.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &str> {
        self.start.after.iter().filter(|event| !event.code.is_of_stop()).filter_map(Event::job)
    }
}

/// What starts a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The events that must all have been seen, in any order. None: it starts at startup.
    pub after: Vec<Event>,
    /// Those of them that stay seen once they were, and need not come anew for each further start.
    pub lasting: Vec<Event>,
    /// Whether they start it again each time, and how many starts are remembered while it runs (at least 1). None: once.
    pub each: Option<u32>,
    /// Whether it runs again at an interval, from its first start on.
    pub every: Option<Periodic>,
    /// How long it waits for its first start. After that it quits and says [`Code::TimerExpired`].
    pub timeout: Option<Duration>,
}

impl Start {
    /// Once after an event.
    pub fn once(event: Event) -> Self {
        Self { after: vec![event], ..Self::default() }
    }

    /// Each time after an event; one start is remembered while it runs.
    pub fn each(event: Event) -> Self {
        Self { after: vec![event], each: Some(1), ..Self::default() }
    }

    /// At startup and then at an interval.
    pub fn every(interval: Duration, ticks: Restarts) -> Self {
        Self { every: Some(Periodic { interval, ticks }), ..Self::default() }
    }
}

/// Runs at an interval. An instant at which the run before still goes on is left out and is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periodic {
    /// From one start to the next.
    pub interval: Duration,
    /// How many runs follow the first one.
    pub ticks: Restarts,
}

/// How often something is done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarts {
    /// Not at all.
    Never,
    /// So many times.
    Times(u32),
    /// For ever.
    Unlimited,
}

impl Restarts {
    /// Takes one; false if none is left.
    pub(crate) fn take(&mut self) -> bool {
        match self {
            Restarts::Never | Restarts::Times(0) => false,
            Restarts::Times(left) => {
                *left -= 1;
                true
            }
            Restarts::Unlimited => true,
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        matches!(self, Restarts::Never | Restarts::Times(0))
    }
}

/// The wait before a restart: doubled each time, a quarter more or less at random, within its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first and shortest wait. At least [`Backoff::LEAST`] is waited whatever this says.
    pub first: Duration,
    /// The longest wait.
    pub most: Duration,
    /// A run that took so long was a good one: the next wait is the first again.
    pub stable: Duration,
    /// After so many runs in a row that were none the job is in a crash loop, which is to be seen in its state. It is restarted all the same.
    pub crash_loop_after: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            most: Duration::from_secs(30),
            stable: Duration::from_secs(10),
            crash_loop_after: 5,
        }
    }
}

impl Backoff {
    /// No two starts of a job are closer together, so that none is started more than ten times a second.
    pub const LEAST: Duration = Duration::from_millis(100);

    /// The wait after so many short runs in a row (from 1).
    pub(crate) fn delay(&self, in_a_row: u32, random: u64) -> Duration {
        let first = self.first.max(Self::LEAST);
        let most = self.most.max(first);
        let doubled = first.saturating_mul(1_u32.checked_shl(in_a_row.saturating_sub(1)).unwrap_or(u32::MAX)).min(most);
        let share = u32::try_from(random % 501).unwrap_or(0);
        (doubled.saturating_mul(750 + share) / 1000).clamp(first, most)
    }
}

/// How long a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimit {
    /// So long.
    pub after: Duration,
    /// Whether its group is killed then, and not asked to end first as by [`Stop`].
    pub kill: bool,
}

/// How a job is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What its process group is sent.
    pub signal: Signal,
    /// How long its process may take from there, before its group is killed.
    pub timeout: Duration,
    /// How long those that act on its stopping may take before it is stopped all the same. None: three quarters of the grace, which bounds a
    /// shutdown whatever this says.
    pub wait: Option<Duration>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: Signal::TERM, timeout: Duration::from_secs(5), wait: None }
    }
}

/// How it is seen whether a job is well. Checks begin one interval after its process was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is run; status 0 is well. Without one the job is well as long as it runs.
    pub command: Option<Command>,
    /// From one check to the next. One that still goes on then is waited for.
    pub interval: Duration,
    /// How long a passed check counts.
    pub ttl: Duration,
    /// How long a check may take; then it has failed.
    pub timeout: Duration,
    /// Where goes what it prints.
    pub output: Output,
}

/// Where goes what a process prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Line by line, with the name of the job before each, through one writer.
    Lines,
    /// As it is, to the supervisor's own stdout and stderr.
    Raw,
    /// Nowhere.
    Nowhere,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_grows_to_its_bound_and_never_leaves_them() {
        let backoff = Backoff::default();
        let ms = |in_a_row, random| backoff.delay(in_a_row, random).as_millis();
        assert_eq!([ms(1, 250), ms(2, 250), ms(3, 250), ms(9, 250)], [100, 200, 400, 25_600]);
        assert_eq!([ms(1, 0), ms(3, 0), ms(3, 500), ms(10, 500), ms(100, 250)], [100, 300, 500, 30_000, 30_000]);
        let hasty = Backoff { first: Duration::ZERO, most: Duration::ZERO, ..backoff };
        assert_eq!(hasty.delay(1, 0), Backoff::LEAST);
    }
}
