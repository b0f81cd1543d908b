//! Transactions: up to 64 operations that happen together or not at all.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::{
    catalog::{Node, Service},
    client::{Call, Client},
    error::Error,
    health::HealthCheck,
    kv::KvPair,
    wire::{TxnAnswerWire, TxnOpWire, TxnResultWire},
};

/// How many operations Consul takes in one transaction (newer servers take 128; the floor counts).
pub const MAX_TXN_OPS: usize = 64;

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum TxnOp {
    /// Write a key.
    Set {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// Its new flags.
        flags: u64,
    },
    /// Write a key if its modify index is `index`; 0 means if there is no such key.
    Cas {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// Its new flags.
        flags: u64,
        /// The modify index that it must have.
        index: u64,
    },
    /// Write a key as the holder of its lock, taking the lock if it is free.
    Lock {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// The session.
        session: String,
    },
    /// Write a key and give its lock back.
    Unlock {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// The session.
        session: String,
    },
    /// Read a key; a missing one refuses the transaction.
    Get {
        /// The key.
        key: String,
    },
    /// Read all keys under a prefix.
    GetTree {
        /// The prefix.
        prefix: String,
    },
    /// Go on only if the key's modify index is `index`.
    CheckIndex {
        /// The key.
        key: String,
        /// The modify index.
        index: u64,
    },
    /// Go on only if the session holds the key's lock.
    CheckSession {
        /// The key.
        key: String,
        /// The session.
        session: String,
    },
    /// Go on only if there is no such key.
    CheckNotExists {
        /// The key.
        key: String,
    },
    /// Delete a key, if it is there.
    Delete {
        /// The key.
        key: String,
    },
    /// Delete all keys under a prefix; counts as one operation.
    DeleteTree {
        /// The prefix.
        prefix: String,
    },
    /// Delete a key if its modify index is `index`; a missing key is no refusal.
    DeleteCas {
        /// The key.
        key: String,
        /// The modify index.
        index: u64,
    },
    /// An operation on a node of the catalog.
    Node {
        /// What to do.
        verb: CatalogVerb,
        /// The node; for `Delete` and `Get` only its name counts.
        node: Node,
    },
    /// An operation on a service of the catalog.
    Service {
        /// What to do.
        verb: CatalogVerb,
        /// The node that has it.
        node: String,
        /// The service; `Delete` needs id and name.
        service: Service,
    },
    /// An operation on a check of the catalog.
    Check {
        /// What to do.
        verb: CatalogVerb,
        /// The check; `Delete` needs node and check id.
        check: HealthCheck,
    },
}

/// What a transaction can do to an object of the catalog. The CAS forms compare the object's own `modify_index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatalogVerb {
    /// Write it.
    Set,
    /// Write it if it is unchanged.
    Cas,
    /// Read it.
    Get,
    /// Remove it.
    Delete,
    /// Remove it if it is unchanged.
    DeleteCas,
}

/// What the operations of a transaction gave back, in their order. Those that delete, and `CheckNotExists`, give nothing;
/// `CheckIndex` and `CheckSession` give the key that they looked at, so look keys up by name, not by place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TxnResults {
    /// Keys written and checked (without their values) and read. All that one transaction wrote and that changed have the
    /// same modify index.
    pub pairs: Vec<KvPair>,
    /// Nodes written or read.
    pub nodes: Vec<Node>,
    /// Services written or read.
    pub services: Vec<Service>,
    /// Checks written or read.
    pub checks: Vec<HealthCheck>,
}

/// Why one operation refused its transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TxnError {
    /// The place of the operation, from 0.
    pub op_index: usize,
    /// Consul's words.
    pub what: String,
}

impl TxnResults {
    /// The modify index that a key had when the last operation on it was done; `None` if none gave it back.
    pub fn index_of(&self, key: &str) -> Option<u64> {
        self.pairs.iter().rfind(|pair| pair.key == key).map(|pair| pair.modify_index)
    }
}

impl TxnOp {
    /// Writes a key with flags 0.
    pub fn set(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::Set { key: key.into(), value: value.into(), flags: 0 }
    }

    /// Writes a key with flags 0 if its modify index is `index` (0: if there is no such key).
    pub fn cas(key: impl Into<String>, value: impl Into<Bytes>, index: u64) -> Self {
        Self::Cas { key: key.into(), value: value.into(), flags: 0, index }
    }
}

impl Client {
    /// Applies all of `ops` or none. An empty list is sent too and succeeds.
    ///
    /// # Errors
    /// [`Error::TxnRefused`] names the operations whose condition did not hold; [`Error::TxnTooLong`] is said before
    /// sending; [`Error::TooLarge`] if the JSON body is over 512 KiB, that is about 393,000 bytes of values.
    pub async fn txn(&self, ops: &[TxnOp]) -> Result<TxnResults, Error> {
        if ops.len() > MAX_TXN_OPS {
            return Err(Error::TxnTooLong { ops: ops.len(), limit: MAX_TXN_OPS });
        }
        let wire: Vec<TxnOpWire> = ops.iter().map(TxnOpWire::from).collect();
        let call = Call::new(Method::PUT, "/v1/txn").json(&wire)?;
        let (name, answer) = self.answer(call).await?;
        if answer.status() == StatusCode::CONFLICT {
            let refusal: TxnAnswerWire = Self::decode(&name, answer.body())?;
            return Err(Error::TxnRefused { errors: refusal.errors });
        }
        let answer = Self::accept(&name, answer)?;
        let answer: TxnAnswerWire = Self::decode(&name, answer.body())?;
        Ok(answer.results.into_iter().collect())
    }
}

impl FromIterator<TxnResultWire> for TxnResults {
    fn from_iter<I: IntoIterator<Item = TxnResultWire>>(rows: I) -> Self {
        let mut results = Self::default();
        for row in rows {
            match row {
                TxnResultWire::Kv(pair) => results.pairs.push(pair.into()),
                TxnResultWire::Node(node) => results.nodes.push(node),
                TxnResultWire::Service(service) => results.services.push(service),
                TxnResultWire::Check(check) => results.checks.push(check),
            }
        }
        results
    }
}
