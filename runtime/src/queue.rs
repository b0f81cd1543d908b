//! The work queue as a pure machine: which key to reconcile next, and when.
//!
//! The queue holds keys, not events: adding a key twice is adding it once, at the earlier time and the higher priority.
//! Times are durations on any clock that never goes back; the caller passes `now`.
//!
//! - A key is never handed out twice at once. One that is added while it runs, runs again afterwards: whatever changed
//!   during a run is seen by a run that begins after the change.
//! - Of the keys that are due the highest priority goes first, and within a priority the one due longest. A key that has been
//!   due for [`Limits::patience`] goes before all that have not, so that no priority can starve another.
//! - A failed key waits for its backoff. An event may hurry it, but not more often than each `min(5 s, backoff)`; and a hurried
//!   run that fails too does not lengthen the backoff, else a busy object in trouble would be punished for being busy.
//! - A key that has just run rests for [`Limits::rest`] before what is less urgent than a person runs it again: ten changes in a
//!   row are then one run. The first change after a rest runs it at once.
//! - [`Queue::forgive`] ends the backoff: the user has changed the object, so the past says nothing.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use crate::backoff::ceiling_after;

/// How urgent a key is; higher goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub i16);

impl Priority {
    /// A person asked for something.
    pub const USER: Self = Self(100);
    /// The world changed.
    pub const CHANGE: Self = Self(50);
    /// A run asked to be run again, or failed.
    pub const REQUEUE: Self = Self(10);
    /// Nothing is known to have changed.
    pub const RESYNC: Self = Self(-100);
}

/// The numbers of a queue.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The ceiling of the first backoff.
    pub retry_base: Duration,
    /// The ceiling of the last backoff.
    pub retry_cap: Duration,
    /// The shortest time between two runs of a failing key that events hurry.
    pub hurry: Duration,
    /// How long after a run a key is not run again, unless a person asked for it.
    pub rest: Duration,
    /// How long a key may be due before it goes first whatever its priority.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retry_base: Duration::from_millis(500),
            retry_cap: Duration::from_mins(5),
            hurry: Duration::from_secs(5),
            rest: Duration::ZERO,
            patience: Duration::from_secs(30),
        }
    }
}

/// How many different reasons are kept for one key; the first ones.
pub const MAX_REASONS: usize = 8;

/// The work queue.
#[derive(Debug)]
pub struct Queue<K> {
    limits: Limits,
    entries: BTreeMap<K, Entry>,
    /// Waiting keys by the time they are due, those of the past too, and by the order in which they came.
    by_time: BTreeMap<(Duration, u64), K>,
    /// Those of them that were due by `horizon`, by priority.
    ready: BTreeMap<(Reverse<Priority>, Duration, u64), K>,
    /// Up to when `by_time` has been copied to `ready`.
    horizon: Option<Duration>,
    sequence: u64,
}

#[derive(Debug, Default)]
struct Entry {
    waiting: Option<Waiting>,
    running: Option<Running>,
    failures: u32,
    /// The end of the backoff, and the earliest time at which an event may cut it short.
    backoff: Option<Backoff>,
    /// Until when it rests after its last run.
    rests_until: Duration,
}

impl Entry {
    /// The earliest time for a run of this priority that is wanted at `at`.
    fn earliest(&self, at: Duration, priority: Priority) -> Duration {
        let at = self.backoff.map_or(at, |backoff| at.max(backoff.hurried_from.min(backoff.until)));
        if priority < Priority::USER { at.max(self.rests_until) } else { at }
    }
}

#[derive(Clone, Copy, Debug)]
struct Backoff {
    until: Duration,
    hurried_from: Duration,
    length: Duration,
}

/// What is wanted of a key: one run, not before `due`.
#[derive(Clone, Debug)]
struct Waiting {
    due: Duration,
    /// Its place among those of the same priority that are due at the same time.
    sequence: u64,
    priority: Priority,
    reasons: BTreeSet<&'static str>,
}

impl Waiting {
    /// Its place among the keys that are due.
    fn rank(&self) -> (Reverse<Priority>, Duration, u64) {
        (Reverse(self.priority), self.due, self.sequence)
    }
}

#[derive(Debug)]
struct Running {
    ticket: u64,
    /// Whether it was started before its backoff had ended.
    hurried: bool,
    /// Whether the key was forgotten since, so that the outcome says nothing.
    forgotten: bool,
}

/// The right to run one key, and the duty to say how it went with [`Queue::done`].
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket<K> {
    /// The key.
    pub key: K,
    id: u64,
}

/// A key to run now.
#[derive(Debug)]
pub struct Popped<K> {
    /// To be given back.
    pub ticket: Ticket<K>,
    /// Why it was added, each reason once.
    pub reasons: Vec<&'static str>,
    /// How often in a row it has failed.
    pub failures: u32,
    /// How long it has been due.
    pub waited: Duration,
}

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well; nothing to do until something changes.
    Done,
    /// Well; to be run again after this time, with this priority and reason.
    Again(Duration, Priority, &'static str),
    /// It failed; to be tried again after the backoff.
    Failed,
}

impl<K: Clone + Ord> Queue<K> {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        let (entries, by_time, ready) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { limits, entries, by_time, ready, horizon: None, sequence: 0 }
    }

    /// Wants a run of `key` that begins at `at` or later. Of several wishes the earliest time and the highest priority count.
    pub fn add(&mut self, key: &K, at: Duration, priority: Priority, reason: &'static str) {
        let at = self.entries.entry(key.clone()).or_default().earliest(at, priority);
        self.want(key, at, priority, [reason]);
    }

    /// Takes the key that is to be run at `now`, if there is one.
    pub fn pop(&mut self, now: Duration) -> Option<Popped<K>> {
        self.ripen(now);
        let key = self.first(now)?.clone();
        let waiting = self.unwait(&key)?;
        let id = self.next_sequence();
        let entry = self.entries.get_mut(&key)?;
        let hurried = entry.backoff.is_some_and(|backoff| now < backoff.until);
        entry.running = Some(Running { ticket: id, hurried, forgotten: false });
        Some(Popped {
            reasons: waiting.reasons.into_iter().collect(),
            failures: entry.failures,
            waited: now.saturating_sub(waiting.due),
            ticket: Ticket { key, id },
        })
    }

    /// Ends a run. `jitter` draws the wait from the backoff's ceiling, if the run failed. Gives the next time it is due.
    pub fn done(
        &mut self,
        ticket: Ticket<K>,
        outcome: Outcome,
        now: Duration,
        jitter: impl FnOnce(Duration) -> Duration,
    ) -> Option<Duration> {
        let Ticket { key, id } = ticket;
        let entry = self.entries.get_mut(&key)?;
        let running = entry.running.take_if(|running| running.ticket == id)?;
        let outcome = if running.forgotten { Outcome::Done } else { outcome };
        if !self.limits.rest.is_zero() {
            entry.rests_until = now.saturating_add(self.limits.rest);
        }
        match outcome {
            Outcome::Failed => self.failed(&key, running.hurried, now, jitter),
            Outcome::Done | Outcome::Again(..) => (entry.failures, entry.backoff) = (0, None),
        }
        self.rewait(&key);
        if let Outcome::Again(after, priority, reason) = outcome {
            self.add(&key, now.saturating_add(after), priority, reason);
        }
        self.tidy(&key)
    }

    /// Ends the backoff of a key and forgets its failures, because what it failed on has changed.
    pub fn forgive(&mut self, key: &K) {
        if let Some(entry) = self.entries.get_mut(key) {
            (entry.failures, entry.backoff) = (0, None);
        }
    }

    /// Drops a key with all that is known of it. A run of it goes on, and its outcome is then ignored.
    pub fn forget(&mut self, key: &K) {
        self.unwait(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        (entry.failures, entry.backoff) = (0, None);
        match &mut entry.running {
            // The entry stays, lest the key is added again and run twice at once.
            Some(running) => running.forgotten = true,
            None => drop(self.entries.remove(key)),
        }
    }

    /// Wants a run of every known key at `at`.
    pub fn add_all(&mut self, at: Duration, priority: Priority, reason: &'static str) {
        let keys: Vec<K> = self.entries.keys().cloned().collect();
        for key in keys {
            self.add(&key, at, priority, reason);
        }
    }

    /// When to call [`Self::pop`] next: the earliest time at which some key is due. It is in the past only if a key is due.
    pub fn next_wake(&self) -> Option<Duration> {
        self.by_time.first_key_value().map(|((due, _), _)| *due)
    }

    /// How many keys wait, due or not.
    pub fn waiting(&self) -> usize {
        self.by_time.len()
    }

    /// How many keys are due at `now` and wait to be popped.
    pub fn due(&self, now: Duration) -> usize {
        self.by_time.range(..=(now, u64::MAX)).count()
    }

    /// The keys that are known, running or waiting, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    /// When the key is next due, if it is to be run.
    pub fn due_at(&self, key: &K) -> Option<Duration> {
        self.entries.get(key)?.waiting.as_ref().map(|waiting| waiting.due)
    }

    /// Merges a wish into what is wanted of the key.
    fn want(&mut self, key: &K, at: Duration, priority: Priority, reasons: impl IntoIterator<Item = &'static str>) {
        let before = self.unwait(key);
        let sequence = self.next_sequence();
        let mut waiting = before.unwrap_or(Waiting { due: at, sequence, priority, reasons: BTreeSet::new() });
        if at < waiting.due && waiting.priority < priority {
            // The run that is now wanted has nothing to do with why it would have been run later.
            waiting.reasons.clear();
        }
        waiting.due = waiting.due.min(at);
        waiting.priority = waiting.priority.max(priority);
        for reason in reasons {
            if waiting.reasons.len() < MAX_REASONS {
                waiting.reasons.insert(reason);
            }
        }
        self.wait(key, waiting);
    }

    /// Puts a wish into its entry, and into the indexes unless the key is running.
    fn wait(&mut self, key: &K, waiting: Waiting) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.running.is_none() {
            self.by_time.insert((waiting.due, waiting.sequence), key.clone());
            if self.horizon.is_some_and(|horizon| waiting.due <= horizon) {
                self.ready.insert(waiting.rank(), key.clone());
            }
        }
        entry.waiting = Some(waiting);
    }

    /// Takes a wish out of its entry and out of the indexes.
    fn unwait(&mut self, key: &K) -> Option<Waiting> {
        let waiting = self.entries.get_mut(key)?.waiting.take()?;
        self.by_time.remove(&(waiting.due, waiting.sequence));
        self.ready.remove(&waiting.rank());
        Some(waiting)
    }

    /// After a run: what was wanted meanwhile is indexed, and not before backoff and rest let it.
    fn rewait(&mut self, key: &K) {
        let Some(mut waiting) = self.unwait(key) else { return };
        if let Some(entry) = self.entries.get(key) {
            waiting.due = entry.earliest(waiting.due, waiting.priority);
        }
        self.wait(key, waiting);
    }

    /// Copies the keys that have become due by `now` to where the priority counts.
    fn ripen(&mut self, now: Duration) {
        let after = self.horizon.map_or(Bound::Unbounded, |horizon| Bound::Excluded((horizon, u64::MAX)));
        if self.horizon.is_some_and(|horizon| horizon >= now) {
            return;
        }
        for key in self.by_time.range((after, Bound::Included((now, u64::MAX)))).map(|(_, key)| key) {
            if let Some(waiting) = self.entries.get(key).and_then(|entry| entry.waiting.as_ref()) {
                self.ready.insert(waiting.rank(), key.clone());
            }
        }
        self.horizon = Some(now);
    }

    /// The key to run first: the one due longest if it has lost patience, else the most urgent.
    fn first(&self, now: Duration) -> Option<&K> {
        let ((due, _), oldest) = self.by_time.first_key_value()?;
        if due.saturating_add(self.limits.patience) <= now {
            return Some(oldest);
        }
        self.ready.first_key_value().map(|(_, key)| key)
    }

    fn failed(&mut self, key: &K, hurried: bool, now: Duration, jitter: impl FnOnce(Duration) -> Duration) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let old = entry.backoff.filter(|_| hurried);
        if old.is_none() {
            entry.failures = entry.failures.saturating_add(1);
        }
        let (until, length) = match old {
            Some(backoff) if backoff.until > now => (backoff.until, backoff.length),
            _ => {
                let length = jitter(ceiling_after(entry.failures, self.limits.retry_base, self.limits.retry_cap));
                (now.saturating_add(length), length)
            }
        };
        entry.backoff =
            Some(Backoff { until, length, hurried_from: now.saturating_add(length.min(self.limits.hurry)) });
        self.want(key, until, Priority::REQUEUE, ["Retry"]);
    }

    /// Drops an entry that says nothing, and tells when the key is due.
    fn tidy(&mut self, key: &K) -> Option<Duration> {
        let entry = self.entries.get(key)?;
        if entry.waiting.is_none() && entry.running.is_none() && entry.failures == 0 {
            self.entries.remove(key);
            return None;
        }
        entry.waiting.as_ref().map(|waiting| waiting.due)
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

#[cfg(test)]
mod tests;
