//! Commits a draft under the fence: one transaction if it fits, else several, each fenced and guarded for itself.
//!
//! Design: every transaction begins with the same guards, so that the place of a refused operation tells what to do:
//!
//! | operation | refused means | so |
//! |---|---|---|
//! | 0: this session holds the controller's lock | another controller leads | stop writing |
//! | 1: the spec is the one that was planned from | a person was faster | plan again at once |
//! | 2: so is the Canary, or there still is none | the same | the same |
//! | 3: the status is the one that was planned from | somebody else wrote it | read this object again, then plan |
//! | others: each key is as it was read | the same | the same |
//!
//! A lost answer leaves it open whether the transaction happened. Nothing is sent again: the object is read again first, and what
//! is found there decides. That holds too when the reconcile is dropped in the middle, since an object is in doubt for as long as a
//! transaction about it is under way. All keys of a transaction bear its random request id in their flags, so that the log tells
//! whose write it is that is found.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use consul_client::{Client, Error, TxnOp, TxnResults};
use helium_crds::{ObjectKey, keys::Keys};
use helium_runtime::{leader::Fence, ports::Ports};

use crate::{
    batch::{self, Batch, GUARDS, MAX_TXN_BYTES, Stand},
    config::EngineConfig,
    draft::Draft,
    group_commit::GroupCommit,
    metrics::Metrics,
    records::{Held, Raw, Records, Slot},
};

/// What a plan was made from, which must be so still when it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guards {
    /// The `ModifyIndex` of the Deployment's spec.
    pub spec: u64,
    /// The `ModifyIndex` of the Canary of the same name; none if there was none.
    pub canary: Option<u64>,
    /// Whether that Canary is marked for deletion, and goes with this commit.
    pub remove_canary: bool,
    /// The keys of people's requests with their `ModifyIndex`, if the plan answers any of them. A watch that a restored snapshot has left
    /// behind still shows requests that nobody has made in the state that was restored.
    pub requests: Vec<(String, u64)>,
}

/// Why a commit did not happen, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// This controller does not hold the lock any more.
    #[error("the controller's lock is lost")]
    LostLease,
    /// The spec or the Canary changed in between.
    #[error("the spec has changed")]
    SpecChanged,
    /// A record was not as it was read.
    #[error("a record has changed: {0}")]
    Conflict(String),
    /// It is not known whether the transaction happened.
    #[error("the outcome is unknown: {0}")]
    Ambiguous(Error),
    /// The token has no right to write.
    #[error("not authorised to write: {0}")]
    Denied(Error),
    /// A value is larger than the store takes.
    #[error("{key} would have {size} bytes; a transaction takes {MAX_TXN_BYTES}")]
    TooLarge {
        /// The key.
        key: String,
        /// Its size in bytes.
        size: usize,
    },
    /// Nothing was written: the store refused or could not be reached.
    #[error("{0}")]
    Store(Error),
}

impl CommitError {
    /// The name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LostLease => "LostLease",
            Self::SpecChanged => "SpecChanged",
            Self::Conflict(_) => "Conflict",
            Self::Ambiguous(_) => "Ambiguous",
            Self::Denied(_) => "Denied",
            Self::TooLarge { .. } => "TooLarge",
            Self::Store(_) => "Store",
        }
    }

    /// Sorts a failed transaction by what to do about it.
    fn of(error: Error) -> Self {
        if error.is_denied() {
            return Self::Denied(error);
        }
        if error.is_ambiguous() {
            return Self::Ambiguous(error);
        }
        let Error::TxnRefused { errors } = &error else { return Self::Store(error) };
        match errors.iter().map(|refused| refused.op_index).min() {
            Some(0) => Self::LostLease,
            Some(1 | 2) => Self::SpecChanged,
            _ => Self::Conflict(error.to_string()),
        }
    }

    /// Whether what is held of the object may be something else than what is in the store.
    fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Conflict(_) | Self::Ambiguous(_))
    }
}

/// Commits drafts of one store.
pub struct Committer {
    group: GroupCommit,
    keys: Keys,
    ports: Ports,
    metrics: Metrics,
}

impl Committer {
    /// A committer that writes through `client`, in as many transactions at the same time as `config` says.
    pub fn new(client: Client, config: &EngineConfig, ports: Ports, metrics: Metrics) -> Self {
        Self { group: GroupCommit::new(client, config.transactions), keys: config.keys.clone(), ports, metrics }
    }

    /// Writes all of `draft`, and takes what was written into `records`. Gives how many keys were written.
    ///
    /// # Errors
    /// After [`CommitError::Conflict`] and [`CommitError::Ambiguous`] the object's records are in doubt, and marked so.
    pub async fn commit(
        &self,
        fence: &Fence,
        object: &ObjectKey,
        guards: &Guards,
        draft: &Draft,
        held: &Held,
        records: &Mutex<Records>,
    ) -> Result<usize, CommitError> {
        let Guards { spec, canary, remove_canary, ref requests } = *guards;
        let (remove_canary, requests) = (remove_canary && canary.is_some(), requests.clone());
        let status = held.status.as_ref().map(|raw| raw.index);
        let mut stand = Stand { spec: Some(spec), canary, remove_canary, status, requests };
        let mut batches = batch::batches(&self.keys, object, draft)?;
        if batches.is_empty() && remove_canary && !draft.remove_object {
            batches.push(Batch::default());
        }
        let mut written = 0;
        for batch in batches {
            written += batch.writes.len();
            self.commit_batch(fence, object, &mut stand, batch, records).await?;
        }
        if draft.remove_object {
            let ops = batch::removal(&self.keys, object, fence, &stand);
            written += ops.len() - GUARDS;
            self.send(object, ops, 0, 0, records).await?;
            lock(records).forget(object);
        }
        self.metrics.written_keys.inc_by(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    /// Removes a Canary that is marked for deletion and whose Deployment is not there.
    pub async fn remove_canary(&self, fence: &Fence, object: &ObjectKey, index: u64) -> Result<(), CommitError> {
        let stand = Stand { spec: None, canary: Some(index), remove_canary: true, status: None, requests: Vec::new() };
        let ops = batch::ops(&self.keys, object, fence, &stand, &Batch::default(), 0);
        self.send(object, ops, 0, 0, &Mutex::default()).await.map(drop)
    }

    /// Sends operations of which the first is the fence and the second the guard of the spec, and which are about no Deployment.
    ///
    /// # Errors
    /// Nothing was written, or after [`CommitError::Ambiguous`] it is not known.
    pub(crate) async fn write(&self, ops: Vec<TxnOp>) -> Result<TxnResults, CommitError> {
        let written = ops.len().saturating_sub(2);
        let bytes = ops.iter().map(size).sum();
        let results = self.group.send(ops, bytes).await.map_err(CommitError::of)?;
        self.metrics.writes.inc();
        self.metrics.written_keys.inc_by(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(results)
    }

    async fn commit_batch(
        &self,
        fence: &Fence,
        object: &ObjectKey,
        stand: &mut Stand,
        batch: Batch,
        records: &Mutex<Records>,
    ) -> Result<(), CommitError> {
        let request = self.ports.entropy.next_u64();
        let ops = batch::ops(&self.keys, object, fence, stand, &batch, request);
        let results = self.send(object, ops, batch.bytes, request, records).await?;
        self.metrics.written_bytes.inc_by(u64::try_from(batch.bytes).unwrap_or(u64::MAX));
        if let Some(index) = self.take_in(object, batch, &results, records) {
            stand.status = Some(index);
        }
        // They are answered now, and whoever adds one more is heard at the next look.
        stand.requests.clear();
        if stand.remove_canary {
            (stand.canary, stand.remove_canary) = (None, false);
        }
        Ok(())
    }

    async fn send(
        &self,
        object: &ObjectKey,
        ops: Vec<TxnOp>,
        bytes: usize,
        request: u64,
        records: &Mutex<Records>,
    ) -> Result<TxnResults, CommitError> {
        lock(records).doubt(object);
        let result = self.group.send(ops, bytes).await.map_err(CommitError::of);
        match &result {
            Err(error) if error.leaves_doubt() => {
                tracing::info!(%object, request = format!("{request:016x}"), %error, "the records are read again");
            }
            Err(_) => lock(records).believe(object),
            Ok(_) => {
                lock(records).believe(object);
                self.metrics.writes.inc();
            }
        }
        result
    }

    /// Takes what was written into the records. Gives the status's new index if it was among it.
    fn take_in(&self, object: &ObjectKey, batch: Batch, results: &TxnResults, records: &Mutex<Records>) -> Option<u64> {
        let indexes: BTreeMap<&str, u64> =
            results.pairs.iter().map(|pair| (pair.key.as_str(), pair.modify_index)).collect();
        let (mut status, mut doubtful) = (None, false);
        let mut written = Vec::with_capacity(batch.writes.len());
        for write in batch.writes {
            let index = indexes.get(write.slot.key(&self.keys, object).as_str()).copied();
            match (write.value, index) {
                (None, _) => written.push((write.slot, None)),
                (Some(value), Some(index)) => {
                    status = status.or((write.slot == Slot::Status).then_some(index));
                    written.push((write.slot, Some(Raw { value, index })));
                }
                (Some(_), None) => doubtful = true,
            }
        }
        let mut records = lock(records);
        records.take_in(object, written);
        if doubtful {
            records.doubt(object);
        }
        status
    }
}

/// About how many bytes an operation brings along.
fn size(op: &TxnOp) -> usize {
    match op {
        TxnOp::Cas { key, value, .. } => key.len() + value.len() + batch::OP_FRAME,
        _ => batch::OP_FRAME,
    }
}

/// Locks a table that no panic can leave half changed.
pub(crate) fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use consul_client::TxnError;

    use super::*;

    fn refused(ops: &[usize], what: &str) -> CommitError {
        let errors = ops.iter().map(|&op_index| TxnError { op_index, what: what.to_owned() }).collect();
        CommitError::of(Error::TxnRefused { errors })
    }

    #[test]
    fn the_place_of_the_first_refused_operation_tells_what_happened() {
        for (ops, name) in [
            (&[0, 3][..], "LostLease"),
            (&[1], "SpecChanged"),
            (&[2, 5], "SpecChanged"),
            (&[3], "Conflict"),
            (&[17, 4], "Conflict"),
        ] {
            assert_eq!(refused(ops, "index is stale").name(), name, "{ops:?}");
        }
        assert_eq!(refused(&[0], "Permission denied").name(), "Denied", "rights are no lost lock");
    }

    #[test]
    fn only_an_unknown_or_unexpected_outcome_leaves_doubt() {
        let after = std::time::Duration::from_secs(10);
        let timeout = CommitError::of(Error::Timeout { call: "PUT /v1/txn".to_owned(), after });
        assert_eq!((timeout.name(), timeout.leaves_doubt()), ("Ambiguous", true));
        let no_leader = Error::NoLeader { call: String::new(), message: String::new() };
        let no_leader = CommitError::of(no_leader);
        assert_eq!((no_leader.name(), no_leader.leaves_doubt()), ("Store", false));
        assert!(refused(&[9], "stale").leaves_doubt() && !refused(&[1], "stale").leaves_doubt());
    }
}
