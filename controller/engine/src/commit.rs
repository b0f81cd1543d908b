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
//! is found there decides. All keys of a transaction bear its random request id in their flags, which tells in the log whose
//! write was found.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use consul_client::{Client, Error, MAX_TXN_OPS, TxnOp, TxnResults};
use helium_crds::{Kind, ObjectKey, keys::Keys};
use helium_runtime::{leader::Fence, ports::Ports};

use crate::{
    draft::{Draft, Write},
    metrics::Metrics,
    records::{Held, Raw, Records, Slot},
};

/// The most bytes of keys and values in one transaction. Consul takes 512 KiB of JSON, in which values stand in base64.
pub const MAX_TXN_BYTES: usize = 360 * 1024;
/// What an operation costs beside its key and value: `{"KV":{"Verb":..,"Flags":..,"Index":..}}`, as bytes before base64.
const OP_FRAME: usize = 110;

/// What a plan was made from, which must be so still when it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guards {
    /// The ModifyIndex of the Deployment's spec.
    pub spec: u64,
    /// The ModifyIndex of the Canary of the same name; none if there was none.
    pub canary: Option<u64>,
    /// Whether that Canary is marked for deletion, and goes with this commit.
    pub remove_canary: bool,
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
    #[error("{key} would have {size} bytes; the limit is {MAX_TXN_BYTES}")]
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
}

/// Commits drafts of one store.
pub struct Committer {
    client: Client,
    keys: Keys,
    ports: Ports,
    metrics: Metrics,
}

/// The writes of one transaction.
#[derive(Debug, Default)]
struct Batch {
    writes: Vec<Write>,
    bytes: usize,
}

/// What the next transaction has to find.
struct Stand {
    spec: u64,
    canary: Option<u64>,
    remove_canary: bool,
    status: Option<u64>,
}

/// The guards in front of every transaction: lock, spec, Canary, status.
const GUARDS: usize = 4;
/// A Canary that is marked for deletion goes with its requests.
const CANARY_REMOVAL: usize = 2;
/// So many operations are left for the writes themselves.
const ROOM: usize = MAX_TXN_OPS - GUARDS - CANARY_REMOVAL;

impl Committer {
    /// A committer that writes through `client` under `keys`.
    pub fn new(client: Client, keys: Keys, ports: Ports, metrics: Metrics) -> Self {
        Self { client, keys, ports, metrics }
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
        let Guards { spec, canary, remove_canary } = *guards;
        let remove_canary = remove_canary && canary.is_some();
        let status = held.status.as_ref().map(|raw| raw.index);
        let mut stand = Stand { spec, canary, remove_canary, status };
        let mut batches = self.batches(object, draft)?;
        if batches.is_empty() && remove_canary && !draft.remove_object {
            batches.push(Batch::default());
        }
        let mut written = 0;
        for batch in batches {
            written += batch.writes.len();
            self.commit_batch(fence, object, &mut stand, batch, records).await?;
        }
        if draft.remove_object {
            written += self.remove_object(fence, object, &stand, records).await?;
        }
        Ok(written)
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
        let mut ops = self.guards(fence, object, stand);
        if batch.writes.first().is_none_or(|write| write.slot != Slot::Status) {
            ops.push(self.status_guard(object, stand.status));
        }
        ops.extend(batch.writes.iter().map(|write| self.op(object, write, request)));
        ops.extend(self.canary_removal(object, stand));
        let results = self.send(object, &ops, request, records).await?;
        self.metrics.written_keys.inc_by(batch.writes.len() as u64);
        self.metrics.written_bytes.inc_by(batch.bytes as u64);
        if let Some(index) = self.take_in(object, batch, &results, records) {
            stand.status = Some(index);
        }
        if stand.remove_canary {
            (stand.canary, stand.remove_canary) = (None, false);
        }
        Ok(())
    }

    /// Removes everything of an object of which nothing runs any more.
    async fn remove_object(
        &self,
        fence: &Fence,
        object: &ObjectKey,
        stand: &Stand,
        records: &Mutex<Records>,
    ) -> Result<usize, CommitError> {
        let kind = Kind::Deployment;
        let mut ops = self.guards(fence, object, stand);
        ops.push(self.status_guard(object, stand.status));
        ops.push(TxnOp::DeleteCas { key: self.keys.spec(kind, object), index: stand.spec });
        ops.push(TxnOp::Delete { key: self.keys.control(kind, object) });
        ops.push(TxnOp::Delete { key: self.keys.status(kind, object) });
        ops.push(TxnOp::Delete { key: self.keys.events(kind, object) });
        ops.push(TxnOp::DeleteTree { prefix: self.keys.revisions(object) });
        ops.extend(self.canary_removal(object, stand));
        let removed = ops.len() - GUARDS;
        self.send(object, &ops, 0, records).await?;
        self.metrics.written_keys.inc_by(removed as u64);
        lock(records).forget(object);
        Ok(removed)
    }

    /// Removes a Canary that is marked for deletion and whose Deployment is not there.
    pub async fn remove_canary(&self, fence: &Fence, object: &ObjectKey, index: u64) -> Result<(), CommitError> {
        let stand = Stand { spec: 0, canary: Some(index), remove_canary: true, status: None };
        let mut ops = vec![
            fence.op(),
            TxnOp::CheckNotExists { key: self.keys.spec(Kind::Deployment, object) },
            TxnOp::CheckIndex { key: self.keys.spec(Kind::Canary, object), index },
        ];
        ops.extend(self.canary_removal(object, &stand));
        self.send(object, &ops, 0, &Mutex::default()).await.map(drop)
    }

    /// Operations 0 to 2 of every transaction.
    fn guards(&self, fence: &Fence, object: &ObjectKey, stand: &Stand) -> Vec<TxnOp> {
        let canary = self.keys.spec(Kind::Canary, object);
        vec![
            fence.op(),
            TxnOp::CheckIndex { key: self.keys.spec(Kind::Deployment, object), index: stand.spec },
            match stand.canary {
                Some(index) => TxnOp::CheckIndex { key: canary, index },
                None => TxnOp::CheckNotExists { key: canary },
            },
        ]
    }

    /// Operation 3 of a transaction that does not write the status.
    fn status_guard(&self, object: &ObjectKey, status: Option<u64>) -> TxnOp {
        let key = self.keys.status(Kind::Deployment, object);
        match status {
            Some(index) => TxnOp::CheckIndex { key, index },
            None => TxnOp::CheckNotExists { key },
        }
    }

    fn canary_removal(&self, object: &ObjectKey, stand: &Stand) -> Vec<TxnOp> {
        match stand.canary {
            Some(index) if stand.remove_canary => vec![
                TxnOp::DeleteCas { key: self.keys.spec(Kind::Canary, object), index },
                TxnOp::Delete { key: self.keys.control(Kind::Canary, object) },
            ],
            _ => Vec::new(),
        }
    }

    fn op(&self, object: &ObjectKey, write: &Write, request: u64) -> TxnOp {
        let key = write.slot.key(&self.keys, object);
        match &write.value {
            Some(value) => TxnOp::Cas { key, value: value.clone(), flags: request, index: write.index },
            None => TxnOp::DeleteCas { key, index: write.index },
        }
    }

    /// Packs the writes into transactions, in order, without parting a unit. The first holds the status if that changes.
    fn batches(&self, object: &ObjectKey, draft: &Draft) -> Result<Vec<Batch>, CommitError> {
        let head = draft.head.iter().cloned().map(|write| vec![write]);
        let mut batches: Vec<Batch> = Vec::new();
        for unit in head.chain(draft.units.iter().cloned()) {
            let bytes = self.size(object, &unit)?;
            let fits = |batch: &Batch| batch.writes.len() + unit.len() <= ROOM && batch.bytes + bytes <= MAX_TXN_BYTES;
            match batches.last_mut().filter(|batch| fits(batch)) {
                Some(batch) => {
                    batch.writes.extend(unit);
                    batch.bytes += bytes;
                }
                None => batches.push(Batch { writes: unit, bytes }),
            }
        }
        Ok(batches)
    }

    /// The bytes of one unit, which has to fit into a transaction of its own.
    fn size(&self, object: &ObjectKey, unit: &[Write]) -> Result<usize, CommitError> {
        let size = |write: &Write| {
            let key = write.slot.key(&self.keys, object);
            let bytes = key.len() + OP_FRAME + write.value.as_ref().map_or(0, Bytes::len);
            (bytes, key)
        };
        let total = unit.iter().map(|write| size(write).0).sum();
        if total <= MAX_TXN_BYTES {
            return Ok(total);
        }
        let (size, key) = unit.iter().map(size).max().unwrap_or_default();
        Err(CommitError::TooLarge { key, size })
    }

    async fn send(
        &self,
        object: &ObjectKey,
        ops: &[TxnOp],
        request: u64,
        records: &Mutex<Records>,
    ) -> Result<TxnResults, CommitError> {
        let error = match self.client.txn(ops).await {
            Ok(results) => {
                self.metrics.writes.inc();
                return Ok(results);
            }
            Err(error) => classify(error),
        };
        if matches!(error, CommitError::Conflict(_) | CommitError::Ambiguous(_)) {
            tracing::info!(%object, request = format!("{request:016x}"), %error, "the records are read again");
            lock(records).doubt(object);
        }
        Err(error)
    }

    /// Takes what was written into the records. Gives the status's new index if it was among it.
    fn take_in(&self, object: &ObjectKey, batch: Batch, results: &TxnResults, records: &Mutex<Records>) -> Option<u64> {
        let mut records = lock(records);
        let mut status = None;
        for write in batch.writes {
            let key = write.slot.key(&self.keys, object);
            let index = results.pairs.iter().find(|pair| pair.key == key).map(|pair| pair.modify_index);
            match (write.value, index) {
                (None, _) => records.remove(object, &write.slot),
                (Some(value), Some(index)) => {
                    status = status.or((write.slot == Slot::Status).then_some(index));
                    records.put(object, write.slot, Raw { value, index });
                }
                (Some(_), None) => records.doubt(object),
            }
        }
        status
    }
}

/// Sorts a failed transaction by what to do about it.
fn classify(error: Error) -> CommitError {
    if error.is_denied() {
        return CommitError::Denied(error);
    }
    match &error {
        Error::TxnRefused { errors } => {
            let first = errors.iter().map(|refused| refused.op_index).min();
            match first {
                Some(0) => CommitError::LostLease,
                Some(1 | 2) => CommitError::SpecChanged,
                _ => CommitError::Conflict(error.to_string()),
            }
        }
        _ if error.is_ambiguous() => CommitError::Ambiguous(error),
        _ => CommitError::Store(error),
    }
}

/// Locks a table that no panic can leave half changed.
pub(crate) fn lock<T>(table: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
