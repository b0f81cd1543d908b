//! What the machine of an election is told, and what it says.

use std::time::Duration;

use super::{Event, Holder, Note};

/// The lock, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nobody holds it.
    Free,
    /// A session holds it.
    Held {
        /// The session.
        session: String,
        /// The key's modify index.
        index: u64,
        /// Who that is, if the value says it.
        holder: Option<Holder>,
    },
}

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// A session was created by a request that was sent at `sent`.
    Created {
        /// The session.
        session: String,
        /// When the request was sent.
        sent: Duration,
    },
    /// The session was renewed by a request that was sent at `sent`.
    Renewed {
        /// When the request was sent.
        sent: Duration,
    },
    /// Consul does not know the session.
    SessionGone,
    /// The lock was read and a quorum has confirmed it.
    Read {
        /// What was read.
        lock: Lock,
    },
    /// Consul has answered the try to take the lock.
    Acquired {
        /// What it said.
        taken: bool,
    },
    /// Consul has answered the write of the token into the lock's value.
    Announced,
    /// Consul has answered the release; whether there was something to release does not matter.
    Released,
    /// Consul has ended our session.
    Destroyed,
    /// The request that is under way was refused: it would be refused again until something changes.
    Refused {
        /// Consul's words.
        why: String,
    },
    /// The request that is under way has failed, or was not answered in time; it may have arrived and may still arrive.
    Failed {
        /// What went wrong.
        why: String,
    },
    /// The watch has seen something; no quorum has confirmed it.
    Seen {
        /// What it saw.
        lock: Lock,
    },
    /// The caller's leader-only work has stopped.
    Stopped,
    /// The caller wants to give the leadership back and not to have it again.
    Leave,
}

/// A question to Consul. Each is answered by the input of its name, or by `Refused` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Create a session.
    Create,
    /// Renew the session.
    Renew(String),
    /// Read the lock, confirmed by a quorum.
    Read,
    /// Take the lock for the session.
    Acquire(String),
    /// Write the token into the lock's value, under the lock.
    Announce {
        /// The session that holds the lock.
        session: String,
        /// The number of the token.
        token: u64,
    },
    /// Give the lock back.
    Release(String),
    /// End the session.
    Destroy(String),
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell the hooks.
    Emit(Event),
    /// Note this for the next life.
    Note(Note),
    /// Forget what is noted.
    Forget,
    /// Ask Consul.
    Ask(Ask),
    /// All was given back; the election is over.
    Done,
}
