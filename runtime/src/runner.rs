//! The runner: takes due keys out of a [`Queue`] and reconciles them, so many at a time.
//!
//! It is thin: what runs when is decided by the queue. The runner adds the bounds. Each run has a deadline; a run that panics
//! is a failure like any other; at a shutdown nothing new begins and what runs may end in peace for a while. The table of keys
//! is for people and metrics only: no decision reads it.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Display},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dashmap::DashMap;
use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    sync::{Notify, watch},
    task::{self, JoinError, JoinSet},
    time::timeout,
};
use tracing::{Instrument, debug, error, info_span, warn};

use crate::{
    leader::Leadership,
    ports::Ports,
    queue::{Limits, Outcome, Popped, Priority, Queue, Ticket},
    shutdown::Shutdown,
};

/// What names an object: anything small, ordered and printable.
pub trait Key: Clone + Ord + Hash + Debug + Display + Send + Sync + 'static {}

impl<K: Clone + Ord + Hash + Debug + Display + Send + Sync + 'static> Key for K {}

/// Makes one object what it should be.
pub trait Reconciler: Send + Sync + 'static {
    /// What names an object.
    type Key: Key;
    /// Why a run can fail.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Compares what is with what should be, and does what is missing. It is given a key and no event: whatever it needs it
    /// reads from the views. It may be dropped at any await and must be safe to repeat.
    fn reconcile(&self, key: Self::Key, run: Run) -> impl Future<Output = Result<Action, Self::Error>> + Send;

    /// The name of a failure in events and metrics: the error variant's own.
    fn reason(_error: &Self::Error) -> &'static str {
        "ReconcileFailed"
    }
}

/// What a reconciler is told besides the key.
#[derive(Clone, Debug)]
pub struct Run {
    /// Whether this process leads, at the time the run began. Only a leader writes, and every write carries the fence.
    pub leadership: Leadership,
    /// Why the key was queued; for the log, not for decisions.
    pub reasons: Vec<&'static str>,
    /// How often in a row this key has failed.
    pub failures: u32,
    /// Begin nothing long once this is cancelled.
    pub shutdown: Shutdown,
}

/// What is to happen to a key after a run that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until something changes; it is looked at again on the resync.
    AwaitChange,
    /// Run again after this time, or at the resync if that is sooner.
    RequeueAfter(Duration),
    /// The object is gone for good: forget the key, without a resync.
    Forget,
}

/// The numbers of a runner.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// How many keys are reconciled at once, at least 1.
    pub concurrency: usize,
    /// How long one run may take.
    pub run_timeout: Duration,
    /// How long what runs may go on after a shutdown.
    pub grace: Duration,
    /// How often every key is looked at without need, give or take 10 %.
    pub resync: Duration,
    /// Backoff and fairness.
    pub limits: Limits,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            concurrency: 16,
            run_timeout: Duration::from_mins(1),
            grace: Duration::from_secs(25),
            resync: Duration::from_mins(5),
            limits: Limits::default(),
        }
    }
}

/// What is known of the runs of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// Whether it runs now.
    pub running: bool,
    /// How often it has run.
    pub runs: u64,
    /// How often in a row it has failed.
    pub failures: u32,
    /// How long the last run took, in milliseconds.
    pub last_duration_ms: u64,
    /// When the last run ended.
    pub last_end: Option<Timestamp>,
    /// Why the last run failed, if it did: the reason and the words.
    pub last_error: Option<(String, String)>,
}

/// What a runner has counted since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Runs that have ended.
    pub runs: u64,
    /// Runs that have failed, by reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// The time that all runs took together.
    pub busy: Duration,
}

/// A hold on the queue and the table of a runner; cheap to clone.
#[derive(Debug)]
pub struct Handle<K: Key> {
    shared: Arc<Shared<K>>,
}

impl<K: Key> Clone for Handle<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

#[derive(Debug)]
struct Shared<K: Key> {
    queue: Mutex<Queue<K>>,
    wake: Notify,
    table: DashMap<K, KeyStatus>,
    totals: Mutex<Totals>,
    ports: Ports,
}

impl<K: Key> Handle<K> {
    /// A queue that nobody runs yet.
    pub fn new(limits: Limits, ports: Ports) -> Self {
        let (queue, totals) = (Mutex::new(Queue::new(limits)), Mutex::default());
        Self { shared: Arc::new(Shared { queue, wake: Notify::new(), table: DashMap::new(), totals, ports }) }
    }

    /// Wants a run of `key` now.
    pub fn add(&self, key: &K, priority: Priority, reason: &'static str) {
        self.add_after(key, Duration::ZERO, priority, reason);
    }

    /// Wants a run of `key` that begins after this time or later.
    pub fn add_after(&self, key: &K, after: Duration, priority: Priority, reason: &'static str) {
        let at = self.shared.ports.monotonic().saturating_add(after);
        self.queue().add(key, at, priority, reason);
        self.shared.wake.notify_one();
    }

    /// Wants a run of every known key now.
    pub fn add_all(&self, priority: Priority, reason: &'static str) {
        let at = self.shared.ports.monotonic();
        self.queue().add_all(at, priority, reason);
        self.shared.wake.notify_one();
    }

    /// Ends the backoff of a key, because what it failed on has changed.
    pub fn forgive(&self, key: &K) {
        self.queue().forgive(key);
    }

    /// Drops a key with all that is known of it.
    pub fn forget(&self, key: &K) {
        self.queue().forget(key);
        self.shared.table.remove(key);
    }

    /// How many keys are due and wait for a free place.
    pub fn depth(&self) -> usize {
        let now = self.shared.ports.monotonic();
        self.queue().due(now)
    }

    /// The known keys, in order.
    pub fn keys(&self) -> Vec<K> {
        self.queue().keys().cloned().collect()
    }

    /// How long until the key is due, if it is to be run.
    pub fn due_in(&self, key: &K) -> Option<Duration> {
        let now = self.shared.ports.monotonic();
        self.queue().due_at(key).map(|at| at.saturating_sub(now))
    }

    /// What is known of the runs of each key.
    pub fn table(&self) -> BTreeMap<K, KeyStatus> {
        self.shared.table.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect()
    }

    /// What was counted.
    pub fn totals(&self) -> Totals {
        self.totals_mut().clone()
    }

    fn queue(&self) -> MutexGuard<'_, Queue<K>> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn totals_mut(&self) -> MutexGuard<'_, Totals> {
        self.shared.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a reconciler on the keys of a queue.
#[derive(Debug)]
pub struct Runner<R: Reconciler> {
    reconciler: Arc<R>,
    config: RunnerConfig,
    handle: Handle<R::Key>,
    leadership: watch::Receiver<Leadership>,
    running: JoinSet<Result<Action, Fault>>,
    tickets: BTreeMap<task::Id, Started<R::Key>>,
}

#[derive(Debug)]
struct Started<K> {
    ticket: Ticket<K>,
    at: Duration,
}

/// The reason of a run that panicked.
pub const PANICKED: &str = "Panicked";
/// The reason of a run that was not done in time.
pub const TIMED_OUT: &str = "TimedOut";

/// Why a run failed.
#[derive(Debug)]
struct Fault {
    reason: &'static str,
    message: String,
}

impl<R: Reconciler> Runner<R> {
    /// A runner of the keys in `handle`.
    pub fn new(
        reconciler: Arc<R>,
        config: RunnerConfig,
        handle: Handle<R::Key>,
        leadership: watch::Receiver<Leadership>,
    ) -> Self {
        let (running, tickets) = (JoinSet::new(), BTreeMap::new());
        Self { reconciler, config, handle, leadership, running, tickets }
    }

    /// Runs keys until the shutdown, then lets what runs end, at most for the grace. Dropping this ends all runs at once.
    pub async fn run(mut self, shutdown: Shutdown) {
        let ports = self.handle.shared.ports.clone();
        let shared = Arc::clone(&self.handle.shared);
        while !shutdown.is_cancelled() {
            self.start_what_is_due(&shutdown);
            let wake = if self.is_full() { None } else { self.handle.queue().next_wake() };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                () = shared.wake.notified() => {}
                () = ports.sleep_until(wake.unwrap_or_default()), if wake.is_some() => {}
            }
        }
        if timeout(self.config.grace, self.drain()).await.is_err() {
            warn!(left = self.running.len(), "some runs did not end in time; dropping them");
        }
    }

    fn is_full(&self) -> bool {
        self.running.len() >= self.config.concurrency.max(1)
    }

    fn start_what_is_due(&mut self, shutdown: &Shutdown) {
        while !self.is_full() {
            let now = self.handle.shared.ports.monotonic();
            let Some(popped) = self.handle.queue().pop(now) else { return };
            self.start(popped, now, shutdown);
        }
    }

    fn start(&mut self, popped: Popped<R::Key>, now: Duration, shutdown: &Shutdown) {
        let Popped { ticket, reasons, failures, .. } = popped;
        let key = ticket.key.clone();
        let span = info_span!("reconcile", %key);
        self.handle.shared.table.entry(key.clone()).or_default().running = true;
        let run = Run { leadership: self.leadership.borrow().clone(), reasons, failures, shutdown: shutdown.clone() };
        let (reconciler, limit) = (Arc::clone(&self.reconciler), self.config.run_timeout);
        let task = async move {
            debug!(reasons = ?run.reasons, "begins");
            match timeout(limit, reconciler.reconcile(key, run)).await {
                Ok(Ok(action)) => Ok(action),
                Ok(Err(error)) => Err(Fault { reason: R::reason(&error), message: in_full(&error) }),
                Err(_) => Err(Fault { reason: TIMED_OUT, message: format!("not done after {limit:?}") }),
            }
        };
        let id = self.running.spawn(task.instrument(span)).id();
        self.tickets.insert(id, Started { ticket, at: now });
    }

    /// Books a run that has ended.
    fn end(&mut self, ended: Result<(task::Id, Result<Action, Fault>), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(Fault { reason: PANICKED, message: panic_message(error) })),
        };
        let Some(Started { ticket, at }) = self.tickets.remove(&id) else { return };
        let ports = self.handle.shared.ports.clone();
        let now = ports.monotonic();
        self.book(&ticket.key, now.saturating_sub(at), &result);
        let forget = result.as_ref().is_ok_and(|action| *action == Action::Forget);
        let outcome = self.outcome(&result);
        let key = ticket.key.clone();
        let due = self.handle.queue().done(ticket, outcome, now, |ceiling| ports.up_to(ceiling));
        if forget && due.is_none() {
            self.handle.shared.table.remove(&key);
        }
    }

    fn outcome(&self, result: &Result<Action, Fault>) -> Outcome {
        let resync = self.handle.shared.ports.jittered(self.config.resync, 10);
        match result {
            Ok(Action::RequeueAfter(after)) if *after <= resync => Outcome::Again(*after, Priority::REQUEUE, "Requeue"),
            Ok(Action::AwaitChange | Action::RequeueAfter(_)) => Outcome::Again(resync, Priority::RESYNC, "Resync"),
            Ok(Action::Forget) => Outcome::Done,
            Err(_) => Outcome::Failed,
        }
    }

    fn book(&self, key: &R::Key, took: Duration, result: &Result<Action, Fault>) {
        let mut status = self.handle.shared.table.entry(key.clone()).or_default();
        status.running = false;
        status.runs += 1;
        status.last_duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        status.last_end = Some(self.handle.shared.ports.now());
        let fault = result.as_ref().err();
        status.failures = fault.map_or(0, |_| status.failures.saturating_add(1));
        status.last_error = fault.map(|fault| (fault.reason.to_owned(), fault.message.clone()));
        drop(status);
        let mut totals = self.handle.totals_mut();
        totals.runs += 1;
        totals.busy += took;
        if let Some(Fault { reason, message }) = fault {
            *totals.failures.entry(reason).or_default() += 1;
            if *reason == PANICKED {
                error!(%key, reason, message, "a run panicked");
            } else {
                warn!(%key, reason, message, "a run failed");
            }
        }
    }

    async fn drain(&mut self) {
        while let Some(ended) = self.running.join_next_with_id().await {
            self.end(ended);
        }
    }
}

/// An error with all its causes on one line.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn panic_message(error: JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "the run was cancelled".to_owned() };
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned())
}
