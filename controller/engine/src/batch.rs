//! Packs a draft into transactions, each with the guards that it needs.
//!
//! Every transaction begins with the same four operations, so that the place of a refused one tells what happened; see the table in
//! [`commit`](crate::commit). The rest are the writes, in the order of the draft; a unit is never parted.

use bytes::Bytes;
use consul_client::{MAX_TXN_OPS, TxnOp};
use helium_crds::{Kind, ObjectKey, keys::Keys};
use helium_runtime::leader::Fence;

use crate::{
    commit::CommitError,
    draft::{Draft, Write},
    records::Slot,
};

/// The most bytes of keys and values in one transaction. Consul takes 512 KiB of JSON, in which values stand in base64.
pub const MAX_TXN_BYTES: usize = 360 * 1024;
/// What an operation costs beside its key and value: `{"KV":{"Verb":..,"Flags":..,"Index":..}}`, as bytes before base64.
pub(crate) const OP_FRAME: usize = 110;
/// The guards in front of every transaction: lock, spec, Canary, status.
pub(crate) const GUARDS: usize = 4;
/// A Canary that is marked for deletion goes with its requests.
const CANARY_REMOVAL: usize = 2;
/// The requests to a Deployment and to its Canary, which must be as they were read if they are answered.
const REQUESTS: usize = Kind::OF_A_ROLLOUT.len();
/// So many operations are left for the writes themselves.
const ROOM: usize = MAX_TXN_OPS - GUARDS - CANARY_REMOVAL - REQUESTS;

/// The writes of one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The writes, in order.
    pub(crate) writes: Vec<Write>,
    /// Their size in bytes.
    pub(crate) bytes: usize,
}

/// What the next transaction has to find.
#[derive(Clone, Debug)]
pub(crate) struct Stand {
    /// The `ModifyIndex` of the spec; none if there must be no Deployment.
    pub(crate) spec: Option<u64>,
    /// The `ModifyIndex` of the Canary; none if there must be none.
    pub(crate) canary: Option<u64>,
    /// Whether that Canary goes with this transaction.
    pub(crate) remove_canary: bool,
    /// The `ModifyIndex` of the status; none if there must be none.
    pub(crate) status: Option<u64>,
    /// The keys of requests that the next transaction answers, with their `ModifyIndex`.
    pub(crate) requests: Vec<(String, u64)>,
}

/// Packs the writes into transactions, in order, without parting a unit. The first holds the status if that changes.
pub(crate) fn batches(keys: &Keys, object: &ObjectKey, draft: &Draft) -> Result<Vec<Batch>, CommitError> {
    let head = draft.head.iter().cloned().map(|write| vec![write]);
    let mut batches: Vec<Batch> = Vec::new();
    for unit in head.chain(draft.units.iter().cloned()) {
        let bytes = size(keys, object, &unit)?;
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

/// The operations of one transaction.
pub(crate) fn ops(
    keys: &Keys,
    object: &ObjectKey,
    fence: &Fence,
    stand: &Stand,
    batch: &Batch,
    request: u64,
) -> Vec<TxnOp> {
    let status_first = batch.writes.first().is_some_and(|write| write.slot == Slot::Status);
    let mut ops = guards(keys, object, fence, stand);
    if status_first {
        ops.truncate(GUARDS - 1);
    }
    ops.extend(batch.writes.iter().map(|write| op(keys, object, write, request)));
    let asked = |(key, index): &(String, u64)| TxnOp::CheckIndex { key: key.clone(), index: *index };
    ops.extend(stand.requests.iter().map(asked));
    ops.extend(canary_removal(keys, object, stand));
    ops
}

/// The operations that remove everything of an object of which nothing runs any more.
pub(crate) fn removal(keys: &Keys, object: &ObjectKey, fence: &Fence, stand: &Stand) -> Vec<TxnOp> {
    let kind = Kind::Deployment;
    let mut ops = guards(keys, object, fence, stand);
    let all =
        [keys.spec(kind, object), keys.control(kind, object), keys.status(kind, object), keys.events(kind, object)];
    ops.extend(all.into_iter().map(|key| TxnOp::Delete { key }));
    ops.push(TxnOp::DeleteTree { prefix: keys.revisions(object) });
    ops.extend(canary_removal(keys, object, stand));
    ops
}

/// Operations 0 to 3 of every transaction. One that writes the status leaves the last out, since that write is its own guard.
fn guards(keys: &Keys, object: &ObjectKey, fence: &Fence, stand: &Stand) -> Vec<TxnOp> {
    vec![
        fence.op(),
        unchanged(keys.spec(Kind::Deployment, object), stand.spec),
        unchanged(keys.spec(Kind::Canary, object), stand.canary),
        unchanged(keys.status(Kind::Deployment, object), stand.status),
    ]
}

fn unchanged(key: String, index: Option<u64>) -> TxnOp {
    match index {
        Some(index) => TxnOp::CheckIndex { key, index },
        None => TxnOp::CheckNotExists { key },
    }
}

fn canary_removal(keys: &Keys, object: &ObjectKey, stand: &Stand) -> Vec<TxnOp> {
    if !stand.remove_canary {
        return Vec::new();
    }
    let both = [keys.spec(Kind::Canary, object), keys.control(Kind::Canary, object)];
    both.into_iter().map(|key| TxnOp::Delete { key }).collect()
}

fn op(keys: &Keys, object: &ObjectKey, write: &Write, request: u64) -> TxnOp {
    let key = write.slot.key(keys, object);
    match &write.value {
        Some(value) => TxnOp::Cas { key, value: value.clone(), flags: request, index: write.index },
        None => TxnOp::DeleteCas { key, index: write.index },
    }
}

/// The bytes of one unit, which has to fit into a transaction of its own.
fn size(keys: &Keys, object: &ObjectKey, unit: &[Write]) -> Result<usize, CommitError> {
    let size = |write: &Write| {
        let key = write.slot.key(keys, object);
        (key.len() + OP_FRAME + write.value.as_ref().map_or(0, Bytes::len), key)
    };
    let total = unit.iter().map(|write| size(write).0).sum();
    if total <= MAX_TXN_BYTES {
        return Ok(total);
    }
    let (size, key) = unit.iter().map(size).max().unwrap_or_default();
    Err(CommitError::TooLarge { key, size })
}

#[cfg(test)]
mod tests {
    use helium_crds::{InstanceId, NodeName};

    use super::*;

    fn hello() -> ObjectKey {
        ObjectKey::new("default", "hello")
    }

    fn write(slot: Slot, bytes: usize) -> Write {
        Write { slot, value: Some(Bytes::from(vec![b'x'; bytes])), index: 0 }
    }

    fn pair(number: usize, bytes: usize) -> Vec<Write> {
        let id = InstanceId::new(format!("hello-{number}"));
        vec![write(Slot::Instance(id.clone()), bytes), write(Slot::Assignment(NodeName::from("n"), id), bytes)]
    }

    fn draft(pairs: usize, bytes: usize) -> Draft {
        let units = (0..pairs).map(|number| pair(number, bytes)).collect();
        Draft { head: vec![write(Slot::Status, 100)], units, remove_object: false }
    }

    fn stand() -> Stand {
        Stand { spec: Some(5), canary: None, remove_canary: false, status: Some(9), requests: Vec::new() }
    }

    fn fence() -> Fence {
        Fence { lock_key: "lock".to_owned(), session: "s".to_owned() }
    }

    #[test]
    fn a_hundred_instances_need_four_transactions_and_no_pair_is_parted() {
        let batches = batches(&Keys::default(), &hello(), &draft(100, 500)).unwrap();
        // 1 + 2 * 27 = 55 writes, then 2 * 28 = 56 writes each, with room for the eight other operations.
        assert_eq!(batches.iter().map(|batch| batch.writes.len()).collect::<Vec<_>>(), [55, 56, 56, 34]);
        assert_eq!(batches[0].writes[0].slot, Slot::Status);
        for batch in &batches {
            let ops = ops(
                &Keys::default(),
                &hello(),
                &fence(),
                &Stand { canary: Some(3), remove_canary: true, requests: vec![("c".to_owned(), 7); 2], ..stand() },
                batch,
                1,
            );
            assert!(ops.len() <= MAX_TXN_OPS, "{}", ops.len());
        }
        for batch in &batches[1..] {
            assert!(matches!(batch.writes[0].slot, Slot::Instance(_)), "a batch begins with half a pair");
        }
    }

    #[test]
    fn a_transaction_ends_before_it_grows_too_large() {
        let batches = batches(&Keys::default(), &hello(), &draft(4, 100_000)).unwrap();
        assert_eq!(batches.iter().map(|batch| batch.writes.len()).collect::<Vec<_>>(), [3, 2, 2, 2]);
        assert!(batches.iter().all(|batch| batch.bytes <= MAX_TXN_BYTES));
    }

    #[test]
    fn a_value_that_no_transaction_takes_is_refused_by_name() {
        let refused = batches(&Keys::default(), &hello(), &draft(1, 400_000)).unwrap_err();
        assert!(matches!(&refused, CommitError::TooLarge { key, size } if key.contains("hello-0") && *size > 400_000));
    }

    #[test]
    fn the_place_of_each_guard_is_fixed() {
        let keys = Keys::default();
        let with_status = Batch { writes: vec![write(Slot::Status, 1)], bytes: 0 };
        let without = Batch { writes: pair(1, 1), bytes: 0 };
        for batch in [with_status, without] {
            let ops = ops(&keys, &hello(), &fence(), &stand(), &batch, 1);
            assert!(matches!(&ops[0], TxnOp::CheckSession { .. }));
            assert!(matches!(&ops[1], TxnOp::CheckIndex { key, index: 5 } if key.ends_with("deployment/hello")));
            assert!(matches!(&ops[2], TxnOp::CheckNotExists { key } if key.ends_with("canary/hello")));
            let status = keys.status(Kind::Deployment, &hello());
            assert!(matches!(&ops[3], TxnOp::CheckIndex { key, .. } | TxnOp::Cas { key, .. } if *key == status));
        }
        let ops = removal(&keys, &hello(), &fence(), &stand());
        assert!(matches!(&ops[0], TxnOp::CheckSession { .. }));
        assert!(!ops.iter().any(|op| matches!(op, TxnOp::Delete { key } if key.contains("canary"))));
    }
}
