//! Transactions: a list of operations that happen all or not at all, under one index.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kv::Change;
use super::kv_op::{Entry, KvOp, KvResult, Verb};
use super::{Refusal, State};

/// The most operations in one transaction, as in Consul 1.8.
pub const MAX_OPS: usize = 64;

/// One operation of a transaction: a verb that may be unknown, which is an error of that operation and not of the
/// request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TxnOp {
    /// An operation on keys.
    Kv(KvOp),
    /// A verb that this server does not know.
    Unknown(String),
}

/// Why one operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnError {
    /// Its place in the list.
    pub op_index: usize,
    /// Consul's words.
    pub what: String,
}

impl TxnOp {
    /// Whether the operation can change anything.
    pub fn writes(&self) -> bool {
        matches!(self, Self::Kv(op) if op.verb.writes())
    }
}

/// What is wrong with the operations before any is tried: a missing key, a lock that waits out its delay.
pub(super) fn precheck(state: &State, ops: &[TxnOp], now: Duration) -> Vec<TxnError> {
    let check = |op: &TxnOp| match op {
        TxnOp::Kv(op) if op.key.is_empty() && op.verb != Verb::DeleteTree => Some("Must provide key".to_owned()),
        TxnOp::Kv(op) if op.verb == Verb::Lock && state.kv.lock_delay(&op.key, now).is_some() => {
            Some(format!("failed to lock key {:?} due to lock delay", op.key))
        }
        _ => None,
    };
    ops.iter().enumerate().filter_map(|(op_index, op)| Some(TxnError { op_index, what: check(op)? })).collect()
}

/// Does all operations, or none. Gives the entries that the operations show, in order.
pub(super) fn apply(state: &mut State, ops: &[TxnOp], change: &mut Change<'_>) -> Result<Vec<Entry>, Vec<TxnError>> {
    let (mut shown, mut errors) = (Vec::new(), Vec::new());
    let changed_before = change.changed.len();
    let State { kv, sessions, .. } = state;
    kv.begin();
    for (op_index, op) in ops.iter().enumerate() {
        let outcome = match op {
            TxnOp::Unknown(verb) => Err(format!("unknown KV verb {verb:?}")),
            TxnOp::Kv(op) => match kv.apply(op, change, |id| sessions.exists(id)) {
                Err(refusal) => Err(refusal.to_string()),
                Ok(KvResult::Refused) => Err(refused(op, kv.get(&op.key))),
                Ok(result) => Ok(show(op.verb, result)),
            },
        };
        match outcome {
            Ok(entries) => shown.extend(entries),
            Err(what) => errors.push(TxnError { op_index, what }),
        }
    }
    if errors.is_empty() {
        kv.commit();
        return Ok(shown);
    }
    kv.rollback();
    change.changed.truncate(changed_before);
    Err(errors)
}

/// The entries that an operation shows: reads with their value, writes and checks without it.
fn show(verb: Verb, result: KvResult) -> Vec<Entry> {
    match result {
        KvResult::Entry(entry) if verb == Verb::Get => vec![entry],
        KvResult::Entry(entry) => vec![Entry { value: bytes::Bytes::new(), ..entry }],
        KvResult::Entries(entries) => entries,
        KvResult::Done | KvResult::Refused => Vec::new(),
    }
}

/// Consul's words for an operation that a condition refused.
fn refused(op: &KvOp, existing: Option<&Entry>) -> String {
    let key = &op.key;
    match (op.verb, existing) {
        (Verb::Cas, _) => format!("failed to set key {key:?}, index is stale"),
        (Verb::DeleteCas, _) => format!("failed to delete key {key:?}, index is stale"),
        (Verb::Lock, _) => format!("failed to lock key {key:?}, lock is already held"),
        (Verb::Unlock, _) => format!("failed to unlock key {key:?}, lock isn't held, or is held by another session"),
        (Verb::CheckIndex, None) => format!("failed to check index, key {key:?} doesn't exist"),
        (Verb::CheckIndex, Some(entry)) => {
            format!("failed index check for key {key:?}, current modify index {} != {}", entry.modify_index, op.index)
        }
        (Verb::CheckSession, None) => format!("failed to check session, key {key:?} doesn't exist"),
        (Verb::CheckSession, Some(entry)) => format!(
            "failed session check for key {key:?}, current session {:?} != {:?}",
            entry.session.as_deref().unwrap_or(""),
            op.session
        ),
        (Verb::CheckNotExists, _) => format!("key {key:?} exists"),
        _ => format!("key {key:?} doesn't exist"),
    }
}

impl From<Vec<TxnError>> for Refusal {
    fn from(errors: Vec<TxnError>) -> Self {
        Self::Txn(errors)
    }
}
