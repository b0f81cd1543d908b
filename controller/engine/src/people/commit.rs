//! One compare-and-set transaction over several objects, whose outcome is always known or honestly unknown.

use consul_client::{Error, Read, TxnError, TxnOp};

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

/// Somebody was faster: Consul names the operations whose index did not hold.
fn conflict(writes: &[Write], errors: &[TxnError]) -> PeopleError {
    let objects = errors.iter().filter_map(|error| writes.get(error.op_index)).map(|write| write.object.clone());
    PeopleError::Conflict { objects: objects.collect() }
}
