//! The agent's presence in the cluster: its node record, the sentinel of its assignments, and its heartbeat.
//!
//! The heartbeat is a key held by a session with a TTL, which the agent renews. The session hangs on no check of the Consul
//! node, so that a Consul agent that restarts does not make a dead node of a living one before the session is made anew. The key
//! goes with its session (`delete`), and there is no lock delay: what is to be kept apart is only two agents of one name, and
//! for that the lock itself is enough.

use std::time::Duration;

use bytes::Bytes;
use consul_client::{Behavior, Error, Put, Read, SessionRequest, TxnOp};
use helium_crds::{
    keys::SENTINEL,
    node::{Heartbeat, NodeRecord},
};
use helium_runtime::backoff::wait_after;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::{data::DataDir, features, instance::machine::Contact, shared::Shared, telemetry::HEARTBEAT};

/// How often the node record is compared with the store.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// The wait after the first failure, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Why an agent is not present.
#[derive(Debug, thiserror::Error)]
enum PresenceError {
    /// A call to Consul failed.
    #[error(transparent)]
    Consul(#[from] Error),
    /// Another agent holds the heartbeat of this name.
    #[error("another agent holds the heartbeat of this node; waiting until it is gone")]
    Held,
}

/// Keeps an agent present.
pub(crate) struct Presence<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) data: &'a DataDir,
    /// Turns true once the node is known and its heartbeat is held for the first time.
    pub(crate) joined: &'a watch::Sender<bool>,
}

impl Presence<'_> {
    /// Keeps the agent present for ever. Drop it to end it; the heartbeat then ends by its TTL.
    pub(crate) async fn run(&self) {
        // Before it joins: a node that does not say what it has gets whatever there is.
        features::look(self.shared).await;
        let mut failures = 0_u32;
        let mut session = None;
        let mut look_at = self.shared.ports.monotonic();
        loop {
            let turned = self.turn(&mut session, &mut look_at).await;
            let heard = match &turned {
                Err(PresenceError::Consul(error)) => Err(error.to_string()),
                Ok(()) | Err(PresenceError::Held) => Ok(()),
            };
            self.shared.telemetry.heard(HEARTBEAT, heard);
            self.shared.telemetry.joined(turned.is_ok());
            let wait = match turned {
                Ok(()) => {
                    self.answered();
                    if !self.joined.send_replace(true) {
                        tracing::info!(node = %self.shared.config.node, "joined");
                    } else if failures > 0 {
                        tracing::info!(node = %self.shared.config.node, "the heartbeat is back");
                    }
                    failures = 0;
                    self.shared.ports.jittered(self.shared.config.session_ttl / 3, 10)
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    match &error {
                        PresenceError::Consul(error) if error.is_unreachable() => self.not_answered(),
                        _ => self.answered(),
                    }
                    if failures == 1 {
                        tracing::warn!(node = %self.shared.config.node, %error, "no heartbeat; trying again");
                    }
                    wait_after(failures, RETRY.0, RETRY.1, &self.shared.ports)
                }
            };
            tokio::select! {
                biased;
                () = self.shared.look_at_node.notified() => look_at = self.shared.ports.monotonic(),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn answered(&self) {
        self.shared
            .contact
            .send_if_modified(|contact| std::mem::replace(contact, Contact::Answers) != Contact::Answers);
    }

    fn not_answered(&self) {
        let now = self.shared.now();
        self.shared.contact.send_if_modified(|contact| {
            let is_news = !matches!(contact, Contact::AwaySince(_));
            if is_news {
                *contact = Contact::AwaySince(now);
            }
            is_news
        });
    }

    async fn turn(&self, session: &mut Option<String>, look_at: &mut Duration) -> Result<(), PresenceError> {
        let alive = match session.as_deref() {
            Some(id) => self.shared.client.session_renew(id).await?.is_some(),
            None => false,
        };
        if !alive || self.shared.ports.monotonic() >= *look_at {
            self.ensure_node().await?;
            *look_at = self.shared.ports.monotonic() + self.shared.ports.jittered(LOOK_AGAIN, 10);
        }
        if !alive {
            // Whatever ended the session may have taken more.
            self.shared.reporter.read_soon();
            *session = None;
            *session = Some(self.new_session().await?);
        }
        let id = session.as_deref().unwrap_or_default();
        if self.holds(id).await? { Ok(()) } else { self.acquire(id).await }
    }

    /// Makes a session, after ending the one that the agent before us left.
    async fn new_session(&self) -> Result<String, PresenceError> {
        if let Some(old) = self.data.session() {
            self.shared.client.session_destroy(&old).await?;
        }
        let request = SessionRequest {
            name: format!("helium-agent-{}", self.shared.config.node),
            ttl: Some(self.shared.config.session_ttl),
            lock_delay: Some(Duration::ZERO),
            behavior: Behavior::Delete,
            node_checks: Some(Vec::new()),
            ..SessionRequest::default()
        };
        let id = self.shared.client.session_create(&request).await?;
        if let Err(error) = self.data.note_session(&id) {
            tracing::warn!(%error, "the session cannot be written down; the next agent will wait for its TTL");
        }
        Ok(id)
    }

    async fn holds(&self, session: &str) -> Result<bool, Error> {
        let key = self.shared.config.keys.heartbeat(&self.shared.config.node);
        let held = self.shared.client.kv_get(&key, &Read::default()).await?.value;
        Ok(held.and_then(|pair| pair.session).as_deref() == Some(session))
    }

    async fn acquire(&self, session: &str) -> Result<(), PresenceError> {
        let key = self.shared.config.keys.heartbeat(&self.shared.config.node);
        let heartbeat = Heartbeat { name: self.shared.config.node.clone(), since: self.shared.began.0 };
        let taken = self.shared.client.kv_put(&key, json(&heartbeat), &Put::acquire(session)).await?;
        if taken { Ok(()) } else { Err(PresenceError::Held) }
    }

    /// Writes the node record if it is missing or not what it should be. Only a node that joins for the first time writes the
    /// sentinel of its assignments: where there is a node without one, somebody wiped the prefix.
    async fn ensure_node(&self) -> Result<(), Error> {
        let consul_node = self.shared.client.agent_self().await?.node_name;
        let key = self.shared.config.keys.node(&self.shared.config.node);
        let found = self.shared.client.kv_get(&key, &Read::consistent()).await?.value;
        let old: Option<NodeRecord> = found.as_ref().and_then(|pair| serde_json::from_slice(&pair.value).ok());
        let record = self.record(consul_node, old.as_ref().map_or(self.shared.began.0, |old| old.joined_at));
        let index = found.as_ref().map_or(0, |pair| pair.modify_index);
        if found.is_none() {
            self.first_join(key, &record).await?;
        } else if old.as_ref() != Some(&record) {
            self.shared.client.kv_put(&key, json(&record), &Put::cas(index)).await?;
        }
        Ok(())
    }

    async fn first_join(&self, key: String, record: &NodeRecord) -> Result<(), Error> {
        let sentinel = format!("{}{SENTINEL}", self.shared.config.keys.assignments(&self.shared.config.node));
        let ops = [TxnOp::set(sentinel, Bytes::new()), TxnOp::cas(key, json(record), 0)];
        self.shared.client.txn(&ops).await.map(drop)
    }

    fn record(&self, consul_node: String, joined_at: Timestamp) -> NodeRecord {
        NodeRecord {
            name: self.shared.config.node.clone(),
            consul_node,
            address: self.shared.config.address.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
            labels: self.shared.config.labels.clone(),
            features: self.shared.features.found(),
            maintenance: self.shared.maintenance.mark(),
            joined_at,
        }
    }

    /// Ends the heartbeat at once.
    pub(crate) async fn leave(&self) {
        if let Some(session) = self.data.session() {
            let _ = self.shared.client.session_destroy(&session).await;
        }
    }
}

fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
