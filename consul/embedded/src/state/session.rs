//! Sessions: leases that keys are locked with, ended by their owner, by time, or by a check that turns critical.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Refusal;

/// What becomes of a session's keys when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behavior {
    /// They are given back.
    #[default]
    Release,
    /// They are deleted.
    Delete,
}

/// A check of the session's node that must not be critical.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCheck {
    /// The check's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Always empty: namespaces are not for this edition of Consul.
    #[serde(rename = "Namespace", default)]
    pub namespace: String,
}

/// A session, in the form that Consul shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Session {
    /// A UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// For people.
    pub name: String,
    /// The node that it belongs to; it ends with it.
    pub node: String,
    /// For how long its keys cannot be locked after it ended by itself, in nanoseconds.
    pub lock_delay: u64,
    /// What becomes of its keys.
    pub behavior: Behavior,
    /// As it was given: empty or zero for none.
    #[serde(rename = "TTL")]
    pub ttl: String,
    /// Checks of the node itself.
    pub node_checks: Vec<String>,
    /// Checks of services on the node.
    pub service_checks: Option<Vec<ServiceCheck>>,
    /// The older way to name both kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<String>>,
    /// When it came to exist.
    pub create_index: u64,
    /// Always the create index.
    pub modify_index: u64,
}

impl Session {
    /// All checks that it depends on.
    pub fn check_ids(&self) -> impl Iterator<Item = &str> {
        let services = self.service_checks.iter().flatten().map(|check| check.id.as_str());
        let legacy = self.checks.iter().flatten().map(String::as_str);
        self.node_checks.iter().map(String::as_str).chain(services).chain(legacy)
    }

    /// How long it lives without a renewal, if it has a TTL: twice the TTL, as Consul's servers do it.
    pub fn lifetime(&self) -> Option<Duration> {
        consul_client::duration::parse(&self.ttl).filter(|ttl| !ttl.is_zero()).map(|ttl| ttl * 2)
    }
}

/// The table of sessions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    by_id: BTreeMap<String, Session>,
    /// The table's index.
    pub index: u64,
}

impl Sessions {
    /// All sessions, by id.
    pub fn all(&self) -> impl Iterator<Item = &Session> {
        self.by_id.values()
    }

    /// One session.
    ///
    /// # Errors
    /// [`Refusal::NotUuid`] if the id cannot be one.
    pub fn get(&self, id: &str) -> Result<Option<&Session>, Refusal> {
        check_uuid(id)?;
        Ok(self.by_id.get(id))
    }

    /// Whether a session exists.
    ///
    /// # Errors
    /// [`Refusal::NotUuid`] if the id cannot be one.
    pub fn exists(&self, id: &str) -> Result<bool, Refusal> {
        Ok(self.get(id)?.is_some())
    }

    pub(super) fn insert(&mut self, session: Session) {
        self.by_id.insert(session.id.clone(), session);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Session> {
        self.by_id.remove(id)
    }

    /// The sessions of a node that depend on one of its checks, or all of them.
    pub(super) fn depending_on(&self, node: &str, check_id: Option<&str>) -> Vec<String> {
        let depends = |s: &&Session| s.node == node && check_id.is_none_or(|id| s.check_ids().any(|own| own == id));
        self.by_id.values().filter(depends).map(|session| session.id.clone()).collect()
    }
}

/// Refuses what is not 36 characters long, in Consul's words.
fn check_uuid(id: &str) -> Result<(), Refusal> {
    if id.len() == 36 { Ok(()) } else { Err(Refusal::NotUuid) }
}
