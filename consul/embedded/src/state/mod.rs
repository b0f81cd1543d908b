//! The whole server as a pure state machine: commands in, outcomes out, time as an argument.
//!
//! Everything that changes the state is a [`Command`], and applying the same commands in the same order gives the same
//! state: that is what the journal replays. Time (`now`, counted from any fixed instant) only arms timers; when
//! one is due, [`State::due`] says which command it amounts to. Randomness stays outside: whoever creates a session
//! brings its id.

mod agent;
mod catalog;
mod checks;
mod commands;
mod kv;
mod kv_op;
mod records;
mod session;
mod sync;
#[cfg(test)]
mod tests;
mod timers;
mod txn;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use agent::Agent;
pub use catalog::{Catalog, Registration};
pub use checks::{AgentCheck, CheckDefinition, CheckKind};
pub use commands::{Applied, Command};
pub use kv::Kv;
pub use kv_op::{Entry, KvOp, KvResult, Verb};
pub use records::{Check, Meta, Node, Service, Weights};
pub use session::{Behavior, ServiceCheck, Session, Sessions};
pub(crate) use sync::own_node;
use timers::{Timer, Timers};
pub use txn::{MAX_OPS, TxnError, TxnOp};

/// The data of a single-node Consul.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The datacenter's name.
    datacenter: String,
    /// The index of the last change.
    index: u64,
    /// How many commands changed anything, whether or not they took an index.
    sequence: u64,
    pub(crate) kv: Kv,
    pub(crate) sessions: Sessions,
    pub(crate) catalog: Catalog,
    pub(crate) agents: BTreeMap<String, Agent>,
    #[serde(skip)]
    timers: Timers,
}

/// What a command did.
#[derive(Debug)]
pub struct Outcome {
    /// The answer.
    pub result: Result<Applied, Refusal>,
    /// What changed; empty if nothing did, and then there is nothing to keep.
    pub touched: Touched,
}

/// What a command changed, for those who wait.
#[allow(clippy::struct_excessive_bools, reason = "each is a table of its own, and any of them may have changed")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Keys that were written or deleted.
    pub keys: Vec<String>,
    /// Any session.
    pub sessions: bool,
    /// Any node.
    pub nodes: bool,
    /// Any instance.
    pub services: bool,
    /// Any check.
    pub checks: bool,
    /// The states that a check was in before or is in now, of those that changed.
    pub check_states: BTreeSet<String>,
    /// The names of services whose index moved.
    pub service_names: BTreeSet<String>,
    /// What agents know of their own services and checks.
    pub agents: bool,
    /// Tombstones went: indexes may have fallen.
    pub reaped: bool,
    /// An agent knows a new output of a check, which no reader waits for: the index stands still.
    pub outputs: bool,
}

impl Touched {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anything changed that takes an index.
    pub fn takes_index(&self) -> bool {
        *self != Self { outputs: self.outputs, ..Self::default() }
    }
}

/// Why a command was refused. The words are Consul's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A lock without a session.
    #[error("missing session")]
    MissingSession,
    /// A session that does not exist.
    #[error("invalid session {0:?}")]
    InvalidSession(String),
    /// A session id that cannot be one.
    #[error("failed session lookup: index error: UUID must be 36 characters")]
    NotUuid,
    /// A session that depends on a check that does not exist.
    #[error("Missing check '{0}' registration")]
    MissingCheck(String),
    /// A session that depends on a check that is critical.
    #[error("Check '{0}' is in critical state")]
    CriticalCheck(String),
    /// A session of a node that does not exist.
    #[error("Missing node registration")]
    MissingNode,
    /// An update of something that is not a TTL check.
    #[error("CheckID {0:?} does not have associated TTL")]
    NotTtl(String),
    /// Maintenance of a service that the agent does not have.
    #[error("No service registered with ID {0:?}")]
    NoService(String),
    /// A check of a service that the agent does not have.
    #[error("ServiceID {0:?} does not exist")]
    NoSuchServiceId(String),
    /// A transaction of which some operations failed.
    #[error("{} operations failed", .0.len())]
    Txn(Vec<TxnError>),
    /// An agent call for a node that has no agent here.
    #[error("no agent runs on node {0:?}")]
    NoAgent(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl State {
    /// An empty server of one datacenter. Nodes join by [`Command::Join`].
    pub fn new(datacenter: &str) -> Self {
        Self {
            datacenter: datacenter.to_owned(),
            index: 0,
            sequence: 0,
            kv: Kv::default(),
            sessions: Sessions::default(),
            catalog: Catalog::default(),
            agents: BTreeMap::new(),
            timers: Timers::default(),
        }
    }

    /// The datacenter's name.
    pub fn datacenter(&self) -> &str {
        &self.datacenter
    }

    /// The index of the last change. It never falls, except by [`State::restore`] of a file of another life.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many commands changed anything: the place of the last one in a journal.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Keys and values.
    pub fn kv(&self) -> &Kv {
        &self.kv
    }

    /// Sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Nodes, services and checks.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The agents, by node.
    pub fn agents(&self) -> &BTreeMap<String, Agent> {
        &self.agents
    }

    /// When something happens by itself next.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// The whole state as JSON.
    ///
    /// # Errors
    /// Never in practice: every part of the state has a JSON form.
    pub fn snapshot(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads what [`State::snapshot`] wrote. All clocks start anew at `now`.
    ///
    /// # Errors
    /// If the bytes are not a snapshot.
    pub fn restore(bytes: &[u8], now: Duration) -> Result<Self, serde_json::Error> {
        let mut state: Self = serde_json::from_slice(bytes)?;
        state.rearm(now);
        Ok(state)
    }

    /// Applies a command from a journal: without its time, and so without the lock delays that were over when it was
    /// first applied. Clocks must be [started anew](State::rearm) afterwards.
    pub fn replay(&mut self, command: &Command) {
        // What was refused then is not in a journal; what is refused now shows in the index.
        let _outcome = self.apply(command, Duration::ZERO);
        self.kv.forget_lock_delays();
    }

    /// Puts an older state in the place of this one, as restoring a snapshot does in Consul: what readers see goes
    /// back, and the next change still takes an index that was never used. A snapshot is of the servers: agents go on with what they know,
    /// and put the catalog right when they look next.
    pub fn replace_with(&mut self, older: Self, now: Duration) {
        self.index = self.index.max(older.index);
        self.sequence = self.sequence.max(older.sequence);
        (self.kv, self.sessions, self.catalog) = (older.kv, older.sessions, older.catalog);
        self.timers.keep_those_of_agents();
        self.rearm_store(now);
        self.expect_all(now);
    }

    /// Rebuilds what is derived, and starts every clock anew.
    pub fn rearm(&mut self, now: Duration) {
        self.timers = Timers::default();
        self.rearm_store(now);
        let nodes: Vec<String> = self.agents.keys().cloned().collect();
        for node in nodes {
            self.rearm_agent(&node, now);
        }
    }

    fn rearm_store(&mut self, now: Duration) {
        self.catalog.rebuild();
        self.kv.rearm(now);
        for session in self.sessions.all() {
            if let Some(lifetime) = session.lifetime() {
                self.timers.set(Timer::Session(session.id.clone()), now + lifetime);
            }
        }
        if let Some(at) = self.kv.next_reap() {
            self.timers.set(Timer::Tombstones, at);
        }
    }

    /// The next thing that is due at `now`, as the command that it amounts to and the instant at which it was due.
    /// Apply it before anything else.
    pub fn due(&mut self, now: Duration) -> Option<(Duration, Command)> {
        let (at, timer) = self.timers.pop_due(now)?;
        let command = match timer {
            Timer::Session(id) => Command::DestroySession { id },
            Timer::CheckTtl(node, check) => Command::ExpireCheck { node, check },
            Timer::CheckOutput(node, check) => Command::SyncCheck { node, check },
            Timer::CheckReap(node, check) => Command::ReapCritical { node, check },
            Timer::Tombstones => Command::ReapTombstones { up_to: self.kv.due_tombstones(at).unwrap_or(0) },
            Timer::AntiEntropy(node) => Command::AntiEntropy { node },
        };
        Some((at, command))
    }
}

/// Bytes as base64 text in JSON.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Bytes;

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map(Bytes::from).map_err(D::Error::custom)
    }
}
