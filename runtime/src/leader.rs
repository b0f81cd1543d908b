//! Leader election: one controller of several writes, and whoever writes can prove that it may.
//!
//! The leader is whoever's session holds the lock key. That it is the leader is nothing it may believe from memory: every
//! write to the store carries [`Fence::op`], with which the store itself refuses it once the lock is lost. For actions outside
//! the store there is [`Lease::is_valid`], which turns false half a TTL after the last renewal that came back.
//!
//! How a dead leader is noticed, and a paused store is not mistaken for one:
//!
//! - Each controller registers a service of its own with a TTL check and sends a heartbeat every second. The check has a
//!   `ServiceID`; a check without one would take down all services of its node.
//! - The session is bound to no check: not to `serfHealth` (`NodeChecks: []`, which Consul 1.8.7 takes as "none"), and not
//!   to the TTL check either, though it accepts that (`ServiceChecks: [{ID}]`). A Consul agent that was stopped for longer
//!   than the check's TTL fires the overdue timer before it reads the heartbeats that wait in its socket: measured on 1.8.7,
//!   the check is critical for less than a millisecond and a session bound to it is gone (16 of 18 tries).
//! - So the store reports and the standbys judge: a standby holds a long poll on the health of the controllers' service, and
//!   when the check of the lock's holder *stays* critical for [`Times::confirm`], each read confirmed by a quorum, it
//!   destroys the holder's session and takes the lock. With the default times that is done at most 4 s after a kill -9.
//! - A check that was critical for ten minutes is taken out of the register with its service by the agent, so that the dead do not
//!   pile up. No session outlives its controller for so long.
//! - An absent check proves nothing. Then, and if its whole machine is gone, the session's TTL is the back-stop: Consul
//!   ends it between one and two TTLs after the last renewal.
//! - Failing renewals alone never make a leader give up its session. It stops acting when the lease runs out, and goes on with
//!   the same session when a renewal succeeds again. Only the word of the store ends a leadership.
//!
//! [`election`] is the pure machine, [`elector`] its driver.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use consul_client::TxnOp;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ports::Ports;

pub mod election;
pub mod elector;
mod heartbeat;

pub use election::Times;
pub use elector::{Elector, ElectorConfig};

/// The proof that a write comes from the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The key that the leader holds as a lock.
    pub lock_key: String,
    /// The session that holds it.
    pub session: String,
}

impl Fence {
    /// The operation with which a transaction is refused as a whole if the session does not hold the lock. Put it first, so
    /// that index 0 of a refusal means "not the leader any more".
    pub fn op(&self) -> TxnOp {
        TxnOp::CheckSession { key: self.lock_key.clone(), session: self.session.clone() }
    }
}

/// A leadership that was won.
///
/// Clones share the deadline: one that is kept by a running reconcile is extended by each renewal, and ends with the
/// leadership.
#[derive(Clone, Debug)]
pub struct Lease {
    /// What every write to the store must carry.
    pub fence: Fence,
    /// Since when this session leads, by the wall clock of whoever took the lock. It is kept in the lock's value, so it survives
    /// the loss of all memory.
    pub since: Timestamp,
    /// Nanoseconds on the monotonic clock.
    deadline: Arc<AtomicU64>,
}

impl Lease {
    /// A lease that is valid until `deadline` on [`Ports::monotonic`].
    pub fn new(fence: Fence, since: Timestamp, deadline: Duration) -> Self {
        let lease = Self { fence, since, deadline: Arc::new(AtomicU64::new(0)) };
        lease.extend(deadline);
        lease
    }

    /// Whether an action outside the store may begin now.
    pub fn is_valid(&self, ports: &Ports) -> bool {
        !self.remaining(ports).is_zero()
    }

    /// How long the lease is still valid without another renewal: the deadline of an action outside the store.
    pub fn remaining(&self, ports: &Ports) -> Duration {
        self.deadline().saturating_sub(ports.monotonic())
    }

    /// The end of the lease without another renewal, on [`Ports::monotonic`].
    pub fn deadline(&self) -> Duration {
        Duration::from_nanos(self.deadline.load(Ordering::Acquire))
    }

    fn extend(&self, deadline: Duration) {
        self.deadline.store(u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn end(&self) {
        self.extend(Duration::ZERO);
    }
}

/// Whether this process leads, and if not, who does.
#[derive(Clone, Debug)]
pub enum Leadership {
    /// Another one leads, or nobody; write nothing.
    Standby {
        /// Who holds the lock, as far as its value says.
        leader: Option<Holder>,
    },
    /// This process leads.
    Leading(Lease),
}

impl Leadership {
    /// The lease, if this process leads.
    pub fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Leading(lease) => Some(lease),
            Self::Standby { .. } => None,
        }
    }

    /// Whether this process leads.
    pub fn is_leading(&self) -> bool {
        self.lease().is_some()
    }
}

/// Who holds the lock: the lock key's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The controller's id.
    pub id: String,
    /// Where its metrics and health can be asked for, such as `10.0.0.7:9180`; for people.
    #[serde(default)]
    pub address: String,
    /// When it took the lock.
    pub since: Timestamp,
}
