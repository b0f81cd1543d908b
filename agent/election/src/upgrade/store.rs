//! The upgrade key and the marks of bad versions in Consul: read, and written together.

use std::collections::BTreeSet;

use consul_client::{Client, Error, KvPair, Read, TxnOp};

use super::{Bad, Queue, gate::UpgradeError};
use crate::keys::{Form, Keys};

/// The queue as it was read.
pub(super) struct Seen {
    pub(super) queue: Queue,
    /// What a compare-and-swap needs: 0 if there is no key.
    pub(super) index: u64,
    /// What a long poll goes on from.
    pub(super) poll_index: u64,
    /// Whether somebody holds the key itself as a lock, as a node that runs Helios does.
    pub(super) locked: bool,
}

pub(super) async fn queue(client: &Client, keys: &Keys, read: &Read) -> Result<Seen, UpgradeError> {
    let reply = client.kv_get(&keys.upgrade, read).await?;
    let pair = reply.value.as_ref();
    let queue = parse(keys, pair)?;
    let (index, locked) = pair.map_or((0, false), |pair| (pair.modify_index, pair.session.is_some()));
    Ok(Seen { queue, index, poll_index: reply.meta.index, locked })
}

fn parse(keys: &Keys, pair: Option<&KvPair>) -> Result<Queue, UpgradeError> {
    let Some(pair) = pair.filter(|pair| !pair.value.is_empty()) else { return Ok(Queue::default()) };
    match serde_json::from_slice(&pair.value) {
        Ok(queue) => Ok(queue),
        // The name of the zone that held it last.
        Err(_) if keys.form == Form::PlainName => Ok(Queue::default()),
        Err(error) => Err(UpgradeError::Unreadable { key: keys.upgrade.clone(), reason: error.to_string() }),
    }
}

/// The mark of a version. A key whose value cannot be read marks it as well.
pub(super) async fn bad(client: &Client, keys: &Keys, version: &str) -> Result<Option<Bad>, Error> {
    let pair = client.kv_get(&keys.bad_version(version), &Read::consistent()).await?.value;
    Ok(pair.map(|pair| {
        serde_json::from_slice(&pair.value).unwrap_or_else(|_| Bad {
            version: version.to_owned(),
            why: format!("{} is there, but cannot be read", pair.key),
            by: String::new(),
            at: None,
        })
    }))
}

/// Writes the queue and whatever goes with it, or nothing; false if something has changed meanwhile.
pub(super) async fn write(
    client: &Client,
    keys: &Keys,
    queue: &Queue,
    index: u64,
    with: Option<TxnOp>,
) -> Result<bool, Error> {
    let value = serde_json::to_vec(queue).unwrap_or_default();
    let ops: Vec<_> = with.into_iter().chain([TxnOp::cas(&keys.upgrade, value, index)]).collect();
    match client.txn(&ops).await {
        Ok(_) => Ok(true),
        Err(error @ Error::TxnRefused { .. }) if error.is_denied() => Err(error),
        Err(Error::TxnRefused { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Those sessions of the queue that have ended.
///
/// A token without rights sees no sessions. So one that the list does not show counts as ended only if Consul, asked to renew it, says that there
/// is none: it would say "denied" of one that is there and may not be touched.
pub(super) async fn dead(client: &Client, queue: &Queue, own: &str) -> Result<BTreeSet<String>, Error> {
    let live: BTreeSet<String> =
        client.session_list(&Read::consistent()).await?.value.into_iter().map(|session| session.id).collect();
    let named = queue.holders.iter().map(|hold| &hold.session);
    let named: BTreeSet<&String> = named.chain(queue.waiting.iter().map(|waiter| &waiter.session)).collect();
    let mut dead = BTreeSet::new();
    for session in named.into_iter().filter(|session| *session != own && !live.contains(*session)) {
        match client.session_renew(session).await {
            // Refused as invalid is an id that no session ever had.
            Ok(None) | Err(Error::Invalid { .. }) => drop(dead.insert(session.clone())),
            Ok(Some(_)) => {}
            Err(error) if error.is_denied() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(dead)
}
