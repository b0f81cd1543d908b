//! What is to happen when, by the state's own clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Something that happens by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A session was not renewed in time.
    Session(String),
    /// A TTL check (node, id) was not updated in time.
    CheckTtl(String, String),
    /// A changed output of a check (node, id) is carried to the catalog.
    CheckOutput(String, String),
    /// A check (node, id) was critical for so long that its service goes.
    CheckReap(String, String),
    /// Tombstones are collected.
    Tombstones,
    /// An agent puts its node's catalog entries right.
    AntiEntropy(String),
}

/// The set of armed timers: each at most once.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Duration, Timer)>,
    at: BTreeMap<Timer, Duration>,
}

impl Timers {
    /// Arms a timer, or moves it.
    pub(super) fn set(&mut self, timer: Timer, at: Duration) {
        self.cancel(&timer);
        self.by_time.insert((at, timer.clone()));
        self.at.insert(timer, at);
    }

    /// Arms a timer unless it is armed.
    pub(super) fn set_if_idle(&mut self, timer: Timer, at: Duration) {
        if !self.is_set(&timer) {
            self.set(timer, at);
        }
    }

    /// Whether a timer is armed.
    pub(super) fn is_set(&self, timer: &Timer) -> bool {
        self.at.contains_key(timer)
    }

    /// Disarms a timer.
    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some(at) = self.at.remove(timer) {
            self.by_time.remove(&(at, timer.clone()));
        }
    }

    /// Disarms the timers of what the servers keep, and leaves those of the agents.
    pub(super) fn keep_those_of_agents(&mut self) {
        let of_agents = |timer: &Timer| !matches!(timer, Timer::Session(_) | Timer::Tombstones);
        self.by_time.retain(|(_, timer)| of_agents(timer));
        self.at.retain(|timer, _| of_agents(timer));
    }

    /// When the next timer is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<(Duration, Timer)> {
        if self.next()? > now {
            return None;
        }
        let (at, timer) = self.by_time.pop_first()?;
        self.at.remove(&timer);
        Some((at, timer))
    }
}
