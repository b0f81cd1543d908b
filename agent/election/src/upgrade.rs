//! The upgrade lock of a fleet: at most N of a service's nodes upgrade at a time, in the order in which they came, each for a bounded time, and a
//! version that failed on one is taken by no other.
//!
//! All of it is one value, changed by compare-and-swap: who holds a place and who waits, each with a session that says whether it still
//! lives. N keys, each held by a session, would free themselves when a holder dies; but they know no order, and who is over its time could not
//! be passed. Since the end of a session changes no value, those who wait look after the sessions of the others, the first in line most often, and a
//! dead one's place is given on by whoever finds it.
//!
//! The sessions are bound to no check, so that only a node that is silent for a whole TTL loses its place.
//!
//! That a version is bad is a key of its own, written in the same transaction that gives the place of the failed one back, and every entry is
//! made on condition that the key is not there: nobody slips in between. Only a person takes it away.
//!
//! [`decide`] is what may happen next, as functions of data; [`Gate`] asks and tells.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod decide;
mod gate;
mod permit;
mod store;

pub use gate::{Gate, UpgradeError};
pub use permit::{Permit, Standing};

/// The value of the upgrade key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Queue {
    /// Who upgrades now, the longest first.
    pub holders: Vec<Hold>,
    /// Who waits, the first in line first.
    pub waiting: Vec<Waiter>,
}

/// A place that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The node or instance.
    pub who: String,
    /// The session that shows that it lives.
    pub session: String,
    /// The version that it takes.
    pub version: String,
    /// When it took the place, by its clock.
    pub since: Timestamp,
    /// When others may pass it, by its clock.
    pub until: Timestamp,
}

/// One in line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiter {
    /// The node or instance.
    pub who: String,
    /// The session that shows that it lives.
    pub session: String,
    /// The version that it wants.
    pub version: String,
    /// When it came, by its clock; for people, the order is that of the list.
    pub since: Timestamp,
}

/// Why no one of the fleet takes a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bad {
    /// The version.
    pub version: String,
    /// What went wrong, for people.
    pub why: String,
    /// Where it went wrong.
    pub by: String,
    /// When; none if the key's value does not say it.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// How many upgrade for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many places there are, at least 1. Nodes that disagree each follow their own number.
    pub at_most: usize,
    /// How long a place may be held before others pass.
    pub hold: Duration,
    /// The TTL of the session, 10 s to 24 h: who is silent for one to two of them loses its place.
    pub ttl: Duration,
    /// How often the first in line looks after the others' sessions; those behind it more seldom.
    pub look_every: Duration,
    /// How long to wait after a request that failed, at first.
    pub retry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_most: 1,
            hold: Duration::from_hours(1),
            ttl: Duration::from_mins(1),
            look_every: Duration::from_secs(20),
            retry: Duration::from_secs(1),
        }
    }
}
