//! One compare-and-set transaction over several objects, whose outcome is always known or honestly unknown.

use std::collections::BTreeMap;

use consul_client::{Error, MAX_TXN_OPS, Read, TxnError, TxnOp};
use helium_crds::{Kind, ObjectKey};

use super::{People, PeopleError, manifest::ObjectRef};

/// The most bytes of values in one transaction. Consul takes 512 KiB of JSON, in which values stand in base64: 393,000 bytes
/// of values at most, less what the keys and the frame take.
pub(super) const MAX_BYTES: usize = 360 * 1024;

/// One key to write on top of what was read.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// What it belongs to, for messages.
    pub(super) object: ObjectRef,
    /// The key.
    pub(super) key: String,
    /// The value to be.
    pub(super) value: Vec<u8>,
    /// The `ModifyIndex` that was read; 0 for a key that must not be there yet.
    pub(super) index: u64,
}

impl People {
    /// Writes all of it or nothing. At most [`consul_client::MAX_TXN_OPS`] writes and [`MAX_BYTES`] of values.
    pub(super) async fn commit(&self, writes: &[Write]) -> Result<(), PeopleError> {
        let ops: Vec<TxnOp> =
            writes.iter().map(|write| TxnOp::cas(&write.key, write.value.clone(), write.index)).collect();
        match self.client().txn(&ops).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_denied() => Err(error.into()),
            Err(Error::TxnRefused { errors }) => Err(conflict(writes, &errors)),
            Err(error) if error.is_ambiguous() => self.reread(writes, error).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Finds out what became of a write whose answer was lost, by reading back what it was to leave.
    async fn reread(&self, writes: &[Write], lost: Error) -> Result<(), PeopleError> {
        let (mut ours, mut before) = (0, 0);
        for write in writes {
            let found = self.client().kv_get(&write.key, &Read::consistent()).await?.value;
            match found {
                Some(pair) if pair.value == write.value => ours += 1,
                Some(pair) if pair.modify_index == write.index => before += 1,
                None if write.index == 0 => before += 1,
                _ => {}
            }
        }
        if ours == writes.len() {
            Ok(())
        } else if before == writes.len() {
            Err(lost.into())
        } else {
            Err(PeopleError::Unknown { cause: lost.to_string() })
        }
    }
}

/// Splits writes into transactions, each within Consul's limits of operations and of bytes.
///
/// A Deployment and its Canary go together wherever they fit into one transaction at all; where they do not, `first` says which of
/// them is written before the other. So a controller that looks in between two transactions never sees one without the other.
pub(super) fn batches(mut writes: Vec<Write>, first: Kind) -> Vec<Vec<Write>> {
    let mut places: BTreeMap<ObjectKey, usize> = BTreeMap::new();
    for (place, write) in writes.iter().enumerate() {
        places.entry(write.object.key.clone()).or_insert(place);
    }
    writes.sort_by_key(|write| (places.get(&write.object.key).copied(), write.object.kind != first));
    let mut batches: Vec<Vec<Write>> = Vec::new();
    for pair in writes.chunk_by(|a, b| a.object.key == b.object.key) {
        match batches.last_mut() {
            Some(batch) if fit(batch, pair) => batch.extend_from_slice(pair),
            _ if fit(&[], pair) => batches.push(pair.to_vec()),
            _ => batches.extend(pair.iter().map(|write| vec![write.clone()])),
        }
    }
    batches
}

/// Whether one transaction takes both.
fn fit(some: &[Write], more: &[Write]) -> bool {
    let bytes: usize = some.iter().chain(more).map(|write| write.value.len()).sum();
    some.len() + more.len() <= MAX_TXN_OPS && bytes <= MAX_BYTES
}

/// Somebody was faster: Consul names the operations whose index did not hold.
fn conflict(writes: &[Write], errors: &[TxnError]) -> PeopleError {
    let objects = errors.iter().filter_map(|error| writes.get(error.op_index)).map(|write| write.object.clone());
    PeopleError::Conflict { objects: objects.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(kind: Kind, name: &str, size: usize) -> Write {
        let object = ObjectRef::new(kind, ObjectKey::new("default", name));
        Write { object, key: "key".to_owned(), value: vec![0; size], index: 0 }
    }

    /// A Deployment for each size, each with a name of its own.
    fn deployments(sizes: &[usize]) -> Vec<Write> {
        let named = |(place, size): (usize, &usize)| write(Kind::Deployment, &format!("hello-{place}"), *size);
        sizes.iter().enumerate().map(named).collect()
    }

    /// The names of each batch.
    fn names(batches: &[Vec<Write>]) -> Vec<Vec<String>> {
        batches.iter().map(|batch| batch.iter().map(|write| write.object.to_string()).collect()).collect()
    }

    #[test]
    fn a_batch_ends_at_sixty_four_operations_and_before_it_grows_too_large() {
        let sizes =
            |sizes: &[usize]| batches(deployments(sizes), Kind::Canary).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[10; 130]), [64, 64, 2]);
        assert_eq!(sizes(&[MAX_BYTES / 2, MAX_BYTES / 2, 1]), [2, 1]);
        assert_eq!(sizes(&[1, MAX_BYTES]), [1, 1]);
    }

    #[test]
    fn a_deployment_and_its_canary_are_written_together() {
        let mut writes = deployments(&[10; 63]);
        writes.push(write(Kind::Deployment, "guarded", 10));
        writes.push(write(Kind::Canary, "guarded", 10));
        writes.push(write(Kind::Canary, "hello-0", 10));
        let batches = names(&batches(writes, Kind::Canary));
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [64, 2]);
        assert_eq!(batches[0][..2], ["canary/hello-0", "deployment/hello-0"]);
        assert_eq!(batches[1], ["canary/guarded", "deployment/guarded"]);
    }

    #[test]
    fn of_a_pair_that_is_too_large_for_one_transaction_the_canary_is_there_before_the_template() {
        let pair = || vec![write(Kind::Deployment, "hello", MAX_BYTES), write(Kind::Canary, "hello", 10)];
        assert_eq!(names(&batches(pair(), Kind::Canary)), [["canary/hello"], ["deployment/hello"]]);
        assert_eq!(names(&batches(pair(), Kind::Deployment)), [["deployment/hello"], ["canary/hello"]]);
    }
}
