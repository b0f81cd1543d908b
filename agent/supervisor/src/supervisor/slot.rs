//! The place of one job in a supervisor: its stage, its process, and what is counted.

use std::{sync::Arc, time::Duration};

use super::JobId;
use crate::job::{Job, Restarts};

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits for its events.
    Waiting,
    /// It starts at this instant.
    Due(Duration),
    /// Its process runs, or it has none and counts as running.
    Up,
    /// It waits for the next tick of its interval.
    Resting,
    /// It is about to stop and waits for those that act on that, at most until then. Its process may run still.
    Held(Duration),
    /// Its process was asked to end.
    Going,
    /// It is over.
    Done,
}

/// A process of a job, from the moment it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) run: u64,
    pub(super) since: Duration,
    /// When its run has taken too long.
    pub(super) limit_at: Option<Duration>,
    /// When its group is killed.
    pub(super) kill_at: Option<Duration>,
    pub(super) killed: bool,
    /// Whether it took too long.
    pub(super) timed_out: bool,
}

/// What is known of a job's health.
#[derive(Clone, Debug, Default)]
pub(super) struct Vitals {
    pub(super) healthy: Option<bool>,
    /// When the next check is due; none while nothing is checked.
    pub(super) next: Option<Duration>,
    /// Until when the last passed check counts.
    pub(super) fresh_until: Option<Duration>,
    /// The check that is under way.
    pub(super) in_flight: Option<u64>,
}

/// What becomes of a job once it has stopped.
#[derive(Clone, Debug)]
pub(super) enum Afterwards {
    /// It is done.
    Rest,
    /// Another takes its place.
    Become(Arc<Job>),
    /// Nothing is left of it.
    Vanish,
}

/// The place of one job.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) id: JobId,
    pub(super) spec: Arc<Job>,
    pub(super) stage: Stage,
    pub(super) process: Option<Process>,
    /// Which of the events that start it were seen.
    pub(super) seen: Vec<bool>,
    /// How many more starts were asked for while it ran.
    pub(super) pending: u32,
    /// When it has waited for its first start too long.
    pub(super) quits_at: Option<Duration>,
    pub(super) restarts: Restarts,
    /// How many runs in a row were too short.
    pub(super) in_a_row: u32,
    pub(super) last_start: Option<Duration>,
    pub(super) ticks: Restarts,
    pub(super) next_tick: Option<Duration>,
    pub(super) vitals: Vitals,
    pub(super) afterwards: Afterwards,
    /// Whether it waits again once it is done, since what it acts on was started anew.
    pub(super) rearm: bool,
    pub(super) gone: bool,
    pub(super) starts: u64,
    pub(super) failures: u64,
    pub(super) timeouts: u64,
    pub(super) last_exit: Option<i32>,
}

impl Slot {
    pub(super) fn new(id: JobId, spec: Arc<Job>) -> Self {
        Self {
            id,
            stage: Stage::Waiting,
            process: None,
            seen: vec![false; spec.start.after.len()],
            pending: 0,
            quits_at: None,
            restarts: spec.restarts,
            in_a_row: 0,
            last_start: None,
            ticks: Restarts::Never,
            next_tick: None,
            vitals: Vitals::default(),
            afterwards: Afterwards::Rest,
            rearm: false,
            gone: false,
            starts: 0,
            failures: 0,
            timeouts: 0,
            last_exit: None,
            spec,
        }
    }

    /// True from the moment it is to run until it is over.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.stage, Stage::Waiting | Stage::Done)
    }

    /// True while it is neither over nor about to be.
    pub(super) fn is_underway(&self) -> bool {
        matches!(self.stage, Stage::Due(_) | Stage::Up | Stage::Resting)
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.stage, Stage::Held(_) | Stage::Going)
    }

    pub(super) fn is_leaving(&self) -> bool {
        !matches!(self.afterwards, Afterwards::Rest) && !self.gone
    }

    /// Whether something will happen to it though it only waits.
    pub(super) fn waits_for_a_timer(&self) -> bool {
        self.stage == Stage::Waiting && self.quits_at.is_some()
    }

    pub(super) fn is_in_crash_loop(&self) -> bool {
        self.in_a_row >= self.spec.backoff.crash_loop_after.max(1)
    }

    pub(super) fn next_wake(&self) -> Option<Duration> {
        let process = self.process.as_ref();
        let stage = match self.stage {
            Stage::Due(at) => Some(at),
            Stage::Held(until) => Some(until),
            _ => None,
        };
        let all = [
            stage,
            self.quits_at.filter(|_| self.stage == Stage::Waiting),
            self.next_tick.filter(|_| self.is_underway()),
            process.and_then(|process| process.limit_at),
            process.and_then(|process| process.kill_at),
            process.filter(|_| self.in_a_row > 0).map(|process| process.since.saturating_add(self.spec.backoff.stable)),
            self.vitals.next,
            self.vitals.fresh_until,
        ];
        all.into_iter().flatten().min()
    }
}
