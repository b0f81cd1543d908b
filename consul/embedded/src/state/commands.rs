//! The commands: everything that can change the state, and how each is applied.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::catalog::{Consequences, Registration};
use super::checks::AgentCheck;
use super::kv::Change;
use super::kv_op::{Entry, KvOp, KvResult, Verb};
use super::records::{Node, Service};
use super::session::{Behavior, Session};
use super::timers::Timer;
use super::txn::{self, TxnOp};
use super::{Outcome, Refusal, State, Touched};

/// Everything that can change the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// One operation on keys. Gives [`Applied::Bool`].
    Kv(KvOp),
    /// Operations that happen all or not at all. Gives [`Applied::Txn`].
    Txn(Vec<TxnOp>),
    /// Creates a session; its id and all its fields but the indexes are given.
    CreateSession(Session),
    /// Ends a session, if it exists.
    DestroySession {
        /// The session.
        id: String,
    },
    /// Gives a session its time anew. Gives [`Applied::Session`].
    RenewSession {
        /// The session.
        id: String,
    },
    /// Writes to the catalog without asking an agent.
    Register(Registration),
    /// Takes a check, an instance or a whole node out of the catalog.
    Deregister {
        /// The node.
        node: String,
        /// One instance on it.
        service: Option<String>,
        /// One check on it.
        check: Option<String>,
    },
    /// A node joins with its agent, or comes back with what its agent kept.
    Join(Node),
    /// A node says farewell: its catalog entries go, its agent keeps what it knows.
    Leave {
        /// The node.
        node: String,
    },
    /// The agent of a node dies without a farewell.
    Crash {
        /// The node.
        node: String,
    },
    /// A node stops answering (false), or answers again (true).
    Reachable {
        /// The node.
        node: String,
        /// Whether it answers.
        alive: bool,
    },
    /// Registers an instance with the agent of a node.
    AgentRegister {
        /// The node.
        node: String,
        /// The instance.
        service: Service,
        /// Its checks.
        checks: Vec<AgentCheck>,
        /// Whether checks that are not named go.
        replace_checks: bool,
    },
    /// Takes an instance from the agent of a node.
    AgentDeregister {
        /// The node.
        node: String,
        /// The instance.
        service: String,
    },
    /// Registers a check with the agent of a node.
    AgentRegisterCheck {
        /// The node.
        node: String,
        /// The check.
        check: AgentCheck,
    },
    /// Takes a check from the agent of a node.
    AgentDeregisterCheck {
        /// The node.
        node: String,
        /// The check.
        check: String,
    },
    /// Says how a check fares.
    UpdateCheck {
        /// The node.
        node: String,
        /// The check.
        check: String,
        /// `passing`, `warning` or `critical`.
        status: String,
        /// What it said.
        output: String,
        /// Whether a person or program says so, who may speak for TTL checks only; else it is the runner of checks.
        by_ttl: bool,
    },
    /// A TTL check was not updated in time.
    ExpireCheck {
        /// The node.
        node: String,
        /// The check.
        check: String,
    },
    /// Carries a check's output to the catalog.
    SyncCheck {
        /// The node.
        node: String,
        /// The check.
        check: String,
    },
    /// Takes away the service of a check that was critical for too long.
    ReapCritical {
        /// The node.
        node: String,
        /// The check.
        check: String,
    },
    /// An agent makes its node's catalog entries what it knows.
    AntiEntropy {
        /// The node.
        node: String,
    },
    /// Forgets deletions.
    ReapTombstones {
        /// The last index to forget.
        up_to: u64,
    },
}

/// What a command that was not refused gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Nothing to say.
    Done,
    /// Whether a conditional write was done.
    Bool(bool),
    /// The session, if it exists.
    Session(Option<Session>),
    /// The entries that a transaction shows.
    Txn(Vec<Entry>),
}

impl State {
    /// Applies a command. What is refused changes nothing.
    pub fn apply(&mut self, command: &Command, now: Duration) -> Outcome {
        let mut touched = Touched::default();
        let result = self.dispatch(command, now, &mut touched);
        self.index += u64::from(touched.takes_index());
        self.sequence += u64::from(!touched.is_empty());
        Outcome { result, touched }
    }

    fn dispatch(&mut self, command: &Command, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        match command {
            Command::Kv(op) => self.apply_kv(op, now, touched),
            Command::Txn(ops) => self.apply_txn(ops, now, touched),
            Command::CreateSession(session) => self.create_session(session, now, touched),
            Command::DestroySession { id } => {
                self.sessions.exists(id)?;
                self.end_session(id, now, touched);
                Ok(Applied::Done)
            }
            Command::RenewSession { id } => {
                let session = self.sessions.get(id)?.cloned();
                if let Some(lifetime) = session.as_ref().and_then(Session::lifetime) {
                    self.timers.set(Timer::Session(id.clone()), now + lifetime);
                }
                Ok(Applied::Session(session))
            }
            Command::Register(registration) => self.register(registration, now, touched),
            Command::Deregister { node, service, check } => {
                self.deregister(node, service.as_deref(), check.as_deref(), now, touched);
                Ok(Applied::Done)
            }
            Command::ReapTombstones { up_to } => {
                touched.reaped = self.kv.reap(*up_to);
                self.arm_tombstones();
                Ok(Applied::Done)
            }
            _ => self.dispatch_agent(command, now, touched),
        }
    }

    fn dispatch_agent(&mut self, command: &Command, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        match command {
            Command::Join(node) => self.join(node, now, touched),
            Command::Leave { node } => self.leave(node, now, touched),
            Command::Crash { node } => self.crash(node, now, touched),
            Command::Reachable { node, alive } => self.set_reachable(node, *alive, now, touched),
            Command::AgentRegister { node, service, checks, replace_checks } => {
                self.agent_register(node, service, checks, *replace_checks, now, touched)
            }
            Command::AgentDeregister { node, service } => self.agent_deregister(node, service, now, touched),
            Command::AgentRegisterCheck { node, check } => self.agent_register_check(node, check, now, touched),
            Command::AgentDeregisterCheck { node, check } => self.agent_deregister_check(node, check, now, touched),
            Command::UpdateCheck { node, check, status, output, by_ttl } => {
                self.update_check(node, check, (status, output), *by_ttl, now, touched)
            }
            Command::ExpireCheck { node, check } => self.expire_check(node, check, now, touched),
            Command::SyncCheck { node, check } => self.sync_check(node, check, now, touched),
            Command::ReapCritical { node, check } => self.reap_critical(node, check, now, touched),
            Command::AntiEntropy { node } => self.anti_entropy(node, now, touched),
            _ => Ok(Applied::Done),
        }
    }

    fn apply_kv(&mut self, op: &KvOp, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        if op.verb == Verb::Lock && self.kv.lock_delay(&op.key, now).is_some() {
            return Ok(Applied::Bool(false));
        }
        let mut change = Change { index: self.index + 1, now, changed: &mut touched.keys };
        let sessions = &self.sessions;
        let result = self.kv.apply(op, &mut change, |id| sessions.exists(id))?;
        self.arm_tombstones();
        Ok(Applied::Bool(result != KvResult::Refused))
    }

    fn apply_txn(&mut self, ops: &[TxnOp], now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        let errors = txn::precheck(self, ops, now);
        if !errors.is_empty() {
            return Err(errors.into());
        }
        let index = self.index + 1;
        let shown = txn::apply(self, ops, &mut Change { index, now, changed: &mut touched.keys })?;
        self.arm_tombstones();
        Ok(Applied::Txn(shown))
    }

    fn arm_tombstones(&mut self) {
        match self.kv.next_reap() {
            Some(at) => self.timers.set(Timer::Tombstones, at),
            None => self.timers.cancel(&Timer::Tombstones),
        }
    }

    fn create_session(&mut self, wanted: &Session, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        if self.catalog.node(&wanted.node).is_none() {
            return Err(Refusal::MissingNode);
        }
        for id in wanted.check_ids() {
            match self.catalog.check(&wanted.node, id) {
                None => return Err(Refusal::MissingCheck(id.to_owned())),
                Some(check) if check.status == "critical" => return Err(Refusal::CriticalCheck(id.to_owned())),
                Some(_) => {}
            }
        }
        let index = self.index + 1;
        let session = Session { create_index: index, modify_index: index, ..wanted.clone() };
        if let Some(lifetime) = session.lifetime() {
            self.timers.set(Timer::Session(session.id.clone()), now + lifetime);
        }
        self.sessions.insert(session);
        self.sessions.index = index;
        touched.sessions = true;
        Ok(Applied::Done)
    }

    /// Ends a session: its keys are given back or deleted, and cannot be locked for its lock delay.
    pub(super) fn end_session(&mut self, id: &str, now: Duration, touched: &mut Touched) {
        let Some(session) = self.sessions.remove(id) else { return };
        let index = self.index + 1;
        self.timers.cancel(&Timer::Session(id.to_owned()));
        self.sessions.index = index;
        touched.sessions = true;
        let delete = session.behavior == Behavior::Delete;
        let mut change = Change { index, now, changed: &mut touched.keys };
        self.kv.release_all(id, delete, Duration::from_nanos(session.lock_delay), &mut change);
        self.arm_tombstones();
    }

    fn register(&mut self, wanted: &Registration, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        let consequences = self.catalog.register(wanted, self.index + 1, touched)?;
        self.follow(&consequences, now, touched);
        self.expect_anti_entropy(&wanted.node.node, now, touched);
        Ok(Applied::Done)
    }

    fn deregister(
        &mut self,
        node: &str,
        service: Option<&str>,
        check: Option<&str>,
        now: Duration,
        touched: &mut Touched,
    ) {
        let index = self.index + 1;
        let consequences = match (service, check) {
            (Some(service), _) => self.catalog.remove_service(node, service, index, touched),
            (None, Some(check)) => self.catalog.remove_check(node, check, index, touched),
            (None, None) => self.catalog.remove_node(node, index, touched),
        };
        self.follow(&consequences, now, touched);
        self.expect_anti_entropy(node, now, touched);
    }

    /// Ends the sessions that depended on checks and nodes that failed or went.
    pub(super) fn follow(&mut self, consequences: &Consequences, now: Duration, touched: &mut Touched) {
        let mut ended = Vec::new();
        for (node, check) in &consequences.failed_checks {
            ended.extend(self.sessions.depending_on(node, Some(check)));
        }
        for node in &consequences.lost_nodes {
            ended.extend(self.sessions.depending_on(node, None));
        }
        for id in ended {
            self.end_session(&id, now, touched);
        }
    }
}
