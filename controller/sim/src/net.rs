//! What all actors of a simulated world share: the server, the clock, the trace, the faults, and the checkers that watch.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use consul_embedded::{Server, state::State};
use helium_runtime::ports::Ports;
use http::StatusCode;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{
    checkers::Checkers,
    clocks::Clocks,
    defects::Defect,
    faults::{FaultKind, Faults},
    fleet::Fleet,
    hydra::Hydra,
    instruments::Mood,
    rng::Rng,
    tally::{Sort, Tally},
    trace::Trace,
    wire::Actor,
    world::Setup,
};

/// So many states of the past are kept for stale reads and for snapshots to restore.
const PAST: usize = 64;

/// The world as everybody in it shares it.
pub struct Net {
    /// Consul.
    pub server: Server,
    /// The clock of the world.
    pub ports: Ports,
    /// The wall clocks of the machines.
    pub clocks: Arc<Clocks>,
    /// The root of all chance.
    pub rng: Rng,
    /// What runs on the machines.
    pub fleet: Fleet,
    /// The bug that was put in on purpose, if any.
    pub defect: Option<Defect>,
    /// Whether the checkers look: what they cost grows with the world.
    watched: bool,
    tallies: Mutex<BTreeMap<Actor, Tally>>,
    trace: Mutex<Trace>,
    faults: Mutex<Faults>,
    checkers: Mutex<Checkers>,
    past: Mutex<VecDeque<(Duration, State)>>,
    /// Rung at the first violation.
    pub broken: Notify,
    /// People who are always a little faster than the controller; none if there are none.
    pub rival: Mutex<Option<Arc<dyn Rival>>>,
    /// What Hydra has built.
    pub hydra: Hydra,
    /// How metric sources are.
    pub mood: Mutex<Mood>,
}

/// Somebody who edits an object between the controller's plan and its commit.
pub trait Rival: Send + Sync {
    /// Edits the object whose spec is under `key`. Gives whether there was one to edit.
    fn race(&self, key: String) -> futures::future::BoxFuture<'_, bool>;
}

/// Locks what no panic can leave half changed.
pub fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Net {
    /// A net around a server.
    pub fn new(server: Server, ports: Ports, rng: Rng, setup: &Setup) -> Arc<Self> {
        Arc::new(Self {
            server,
            clocks: Clocks::new(ports.clone()),
            ports,
            rng,
            fleet: Fleet::default(),
            defect: setup.defect,
            watched: setup.watched,
            tallies: Mutex::default(),
            trace: Mutex::default(),
            faults: Mutex::new(setup.faults.clone()),
            checkers: Mutex::default(),
            past: Mutex::default(),
            broken: Notify::new(),
            rival: Mutex::new(None),
            hydra: Hydra::default(),
            mood: Mutex::default(),
        })
    }

    /// The time since the world began.
    pub fn now(&self) -> Duration {
        self.ports.monotonic()
    }

    /// The wall clock of one whose clock is right.
    pub fn wall(&self) -> Timestamp {
        self.ports.now()
    }

    /// Writes a line into the trace.
    pub fn tell(&self, line: &str) {
        lock(&self.trace).push(self.now(), line, false);
    }

    /// Writes a line that nobody wants to read, for the hash.
    pub fn mention(&self, line: &str) {
        lock(&self.trace).push(self.now(), line, true);
    }

    /// The trace.
    pub fn trace(&self) -> MutexGuard<'_, Trace> {
        lock(&self.trace)
    }

    /// The faults.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    /// Lets the checkers look at something; a violation ends the run.
    pub fn check(&self, look: impl FnOnce(&mut Checkers, &Self)) {
        if !self.watched {
            return;
        }
        let mut checkers = lock(&self.checkers);
        let before = checkers.violation().is_some();
        look(&mut checkers, self);
        if let (false, Some(violation)) = (before, checkers.violation()) {
            lock(&self.trace).push(self.now(), &format!("VIOLATION {violation}"), false);
            self.broken.notify_one();
        }
    }

    /// Whether the checkers look at all.
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// Counts a request.
    pub(crate) fn count(&self, actor: Actor, sort: Sort, answer: Option<StatusCode>) {
        lock(&self.tallies).entry(actor).or_default().count(sort, answer);
    }

    /// The requests of somebody so far.
    pub fn tally(&self, actor: Actor) -> Tally {
        lock(&self.tallies).get(&actor).copied().unwrap_or_default()
    }

    /// The checkers.
    pub fn checkers(&self) -> MutexGuard<'_, Checkers> {
        lock(&self.checkers)
    }

    /// Keeps the present state for stale reads and snapshots.
    pub fn remember(&self) {
        let used = |kind| self.faults().has(kind);
        if !used(FaultKind::StaleRead) && !used(FaultKind::Restore) {
            return;
        }
        let mut past = lock(&self.past);
        if past.len() == PAST {
            past.pop_front();
        }
        past.push_back((self.now(), self.server.state()));
    }

    /// Forgets the past: nobody restores a snapshot of a store that was known to be damaged.
    pub fn forget_past(&self) {
        lock(&self.past).clear();
    }

    /// The youngest kept state that is at least `age` old.
    pub fn past(&self, age: Duration) -> Option<State> {
        let now = self.now();
        let past = lock(&self.past);
        past.iter().rev().find(|(at, _)| now.saturating_sub(*at) >= age).map(|(_, state)| state.clone())
    }
}
