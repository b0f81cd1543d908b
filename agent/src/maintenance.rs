//! What of this node is in maintenance: followed in Consul, noted on the disk, and told to the instances.
//!
//! An instance in maintenance runs on and is checked on, and bears Consul's own mark of maintenance, so that it is out of discovery and back
//! in the very moment in which the mark goes. A record that is missing or cannot be read changes nothing: what was noted last goes on to
//! hold, over restarts of the agent and of Consul, and is written again.

use std::time::Duration;

use bytes::Bytes;
use consul_client::{CheckDefinition, CheckStatus, Error, Put, Read};
use helium_crds::{
    ids::InstanceId,
    instance::service_id,
    maintenance::{Maintenance, Mark},
};
use helium_runtime::backoff::wait_after;
use tokio::sync::watch;

use crate::{data::DataDir, shared::Shared};

/// How long one look waits for a change at most.
const WAIT: Duration = Duration::from_secs(25);
/// The time between looks where the record is missing and cannot be made.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The wait after the first failure, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What the note of a mark of ours begins with: one that somebody set by hand is theirs to take away.
const OURS: &str = "helium: ";

/// What of this node is in maintenance.
#[derive(Debug)]
pub(crate) struct MaintenanceState(watch::Sender<Maintenance>);

impl MaintenanceState {
    /// As it was noted last.
    pub(crate) fn new(noted: Maintenance) -> Self {
        Self(watch::channel(noted).0)
    }

    /// Why the node is in maintenance, if it is.
    pub(crate) fn of_node(&self) -> Option<String> {
        self.0.borrow().node.as_ref().map(|mark| mark.reason.clone())
    }

    /// The mark of the node, if it has one.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.0.borrow().node.clone()
    }

    /// Changes of it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Maintenance> {
        self.0.subscribe()
    }

    /// Whether a record says something else.
    fn differs(&self, record: &Maintenance) -> bool {
        *self.0.borrow() != *record
    }

    /// Takes up a record.
    fn take(&self, record: Maintenance) {
        self.0.send_replace(record);
    }
}

/// The id of the mark of a service, which is Consul's own.
pub(crate) fn mark_id(instance: &InstanceId) -> String {
    mark_of(&service_id(instance))
}

/// The id of the mark of a service, by the service's id.
pub(crate) fn mark_of(service: &str) -> String {
    format!("_service_maintenance:{service}")
}

/// What Consul is told as the reason.
pub(crate) fn words(reason: &str) -> String {
    format!("{OURS}{reason}")
}

/// Whether a mark was set by an agent, by what its note says.
pub(crate) fn is_ours(notes: &str) -> bool {
    notes.starts_with(OURS)
}

/// Nobody ever renews it, so that it stays as critical as it begins; Consul wants to know after how long it would be.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// The mark as a check that comes with a registration, so that there is no instant in which the service is registered without it.
pub(crate) fn mark(instance: &InstanceId, reason: &str) -> CheckDefinition {
    mark_saying(mark_id(instance), words(reason))
}

/// A mark of this id with a note.
pub(crate) fn mark_saying(id: String, notes: String) -> CheckDefinition {
    CheckDefinition {
        id,
        name: "Service Maintenance Mode".to_owned(),
        notes,
        ttl: Some(NEVER),
        status: Some(CheckStatus::Critical),
        ..CheckDefinition::default()
    }
}

/// How long Consul may take to tell what nobody here knows; then everything starts as if nothing were in maintenance.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Takes up what Consul says, for an agent whose own note is lost and whose instances are not started yet.
pub(crate) async fn ask(shared: &Shared, data: &DataDir) {
    let key = shared.config.keys.maintenance(&shared.config.node);
    let asked = tokio::time::timeout(ASK_LIMIT, shared.client.kv_get(&key, &Read::default())).await;
    let told = match asked {
        Ok(Ok(reply)) => match reply.value.map(|pair| serde_json::from_slice::<Maintenance>(&pair.value)) {
            Some(Ok(record)) => Ok(record),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(Maintenance::default()),
        },
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {ASK_LIMIT:?}")),
    };
    match told {
        Ok(record) => {
            data.note_maintenance(&record);
            shared.maintenance.take(record);
        }
        Err(words) => tracing::error!(words, "nobody knows what is in maintenance; until Consul tells, nothing is"),
    }
}

/// Follows the record for ever. Drop it to end it.
pub(crate) async fn follow(shared: &Shared, data: &DataDir) {
    let (mut index, mut failures) = (0, 0_u32);
    loop {
        let wait = match turn(shared, data, index).await {
            Ok(next) => {
                failures = 0;
                index = next;
                if next == 0 { shared.ports.jittered(LOOK_AGAIN, 20) } else { Duration::ZERO }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(%error, "what is in maintenance cannot be followed; it stays as it was");
                }
                index = 0;
                wait_after(failures, RETRY.0, RETRY.1, &shared.ports)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// One look, which waits for a change past `index`: the index to go on from, or 0 for a look without waiting, after a while.
async fn turn(shared: &Shared, data: &DataDir, index: u64) -> Result<u64, Error> {
    let key = shared.config.keys.maintenance(&shared.config.node);
    let read = if index == 0 { Read::default() } else { Read::blocking(index, WAIT) };
    let reply = shared.client.kv_get(&key, &read).await?;
    let Some(pair) = reply.value else {
        // To wait for a key that is not there is to be woken by every write.
        let noted = serde_json::to_vec(&*shared.maintenance.0.borrow()).unwrap_or_default();
        let made = shared.client.kv_put(&key, Bytes::from(noted), &Put::cas(0)).await;
        return match made {
            Ok(made) => Ok(u64::from(made)),
            Err(error) if error.is_unreachable() => Err(error),
            Err(error) => {
                tracing::debug!(%error, "the record of maintenance cannot be made");
                Ok(0)
            }
        };
    };
    match serde_json::from_slice::<Maintenance>(&pair.value) {
        Ok(record) => {
            // A note that is not written before it is acted on may be an old one when the machine is up again.
            let told = record.clone();
            if shared.maintenance.differs(&told) {
                data.note_maintenance(&told);
                shared.maintenance.take(record);
                shared.look_at_node.notify_one();
                let all = told.instances.keys().map(InstanceId::as_str).collect::<Vec<_>>().join(", ");
                let node = told.node.as_ref().map(|mark| mark.reason.as_str());
                tracing::info!(node, instances = all, "maintenance has changed");
            }
        }
        Err(error) => tracing::error!(key, %error, "the record of maintenance cannot be read; it stays as it was"),
    }
    // An index that went back belongs to an older store, and may never be reached again.
    let next = reply.meta.index.max(1);
    Ok(if next < index { 1 } else { next })
}
