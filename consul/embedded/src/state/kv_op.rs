//! Entries of the key/value store, and the operations on them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::base64_bytes;

/// One key with its value and its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// The value; may be empty.
    #[serde(with = "base64_bytes")]
    pub value: Bytes,
    /// A number that belongs to the writer.
    pub flags: u64,
    /// The session that holds the key.
    pub session: Option<String>,
    /// How often the key was taken by a session, until a plain write sets it to 0.
    pub lock_index: u64,
    /// When the key came to exist.
    pub create_index: u64,
    /// When the key changed last.
    pub modify_index: u64,
}

/// The verbs of the key/value store, of single requests and of transactions alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Write.
    Set,
    /// Write if the modify index is the given one; 0 means that the key must not exist.
    Cas,
    /// Write and take the key for a session.
    Lock,
    /// Write and give the key back.
    Unlock,
    /// Read one key that must exist.
    Get,
    /// Read all keys under a prefix.
    GetTree,
    /// Fail unless the modify index is the given one.
    CheckIndex,
    /// Fail unless the key is held by the given session.
    CheckSession,
    /// Fail if the key exists.
    CheckNotExists,
    /// Delete; a key that does not exist is no error.
    Delete,
    /// Delete if the modify index is the given one; a key that does not exist counts as deleted.
    DeleteCas,
    /// Delete all keys under a prefix.
    DeleteTree,
}

impl Verb {
    /// Reads Consul's name of a verb.
    pub fn parse(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }

    /// Whether the verb can change anything.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::GetTree | Self::CheckIndex | Self::CheckSession | Self::CheckNotExists)
    }
}

/// One operation on one key or prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvOp {
    /// What to do.
    pub verb: Verb,
    /// With which key or prefix.
    pub key: String,
    /// The new value, for the verbs that write one.
    #[serde(default, with = "base64_bytes", skip_serializing_if = "Bytes::is_empty")]
    pub value: Bytes,
    /// The new flags.
    #[serde(default)]
    pub flags: u64,
    /// The index of the CAS verbs and of `check-index`.
    #[serde(default)]
    pub index: u64,
    /// The session of `lock`, `unlock` and `check-session`.
    #[serde(default)]
    pub session: String,
}

impl KvOp {
    /// An operation with nothing but a verb and a key.
    pub fn new(verb: Verb, key: impl Into<String>) -> Self {
        Self { verb, key: key.into(), value: Bytes::new(), flags: 0, index: 0, session: String::new() }
    }
}

/// What one operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvResult {
    /// It wrote or checked this entry.
    Entry(Entry),
    /// It read these entries.
    Entries(Vec<Entry>),
    /// It deleted, and there is nothing to show.
    Done,
    /// It was refused by a condition (CAS, lock); nothing changed.
    Refused,
}
