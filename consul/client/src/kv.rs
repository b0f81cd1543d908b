//! The key/value store.

use bytes::Bytes;
use http::Method;

use crate::{
    client::{Call, Client},
    error::Error,
    path,
    read::{Read, Reply},
    wire::KvPairWire,
};

/// One key with its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvPair {
    /// The key, without a leading slash.
    pub key: String,
    /// The value; empty also where Consul sends `null`.
    pub value: Bytes,
    /// The index of the write that created the key.
    pub create_index: u64,
    /// The index of the last write that changed the key.
    pub modify_index: u64,
    /// How often the key was locked; a plain write by anyone sets it back to 0, so it is no fencing token.
    pub lock_index: u64,
    /// A number of the writer's; a write without it sets it to 0.
    pub flags: u64,
    /// The session that holds the key as a lock.
    pub session: Option<String>,
}

/// The conditions of a write. `Put::default()` is unconditional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// Write only if this is the key's `modify_index`; 0 means only if there is no such key.
    pub cas: Option<u64>,
    /// The key's flags.
    pub flags: u64,
    /// Write only if this session holds or gets the lock.
    pub acquire: Option<String>,
    /// Write and give the lock back, only if this session holds it.
    pub release: Option<String>,
}

impl Put {
    /// Only if the key is still as it was at `index`.
    pub fn cas(index: u64) -> Self {
        Self { cas: Some(index), ..Self::default() }
    }

    /// Only if there is no such key.
    pub fn create() -> Self {
        Self::cas(0)
    }

    /// As the holder of the lock.
    pub fn acquire(session: impl Into<String>) -> Self {
        Self { acquire: Some(session.into()), ..Self::default() }
    }

    /// Giving the lock back.
    pub fn release(session: impl Into<String>) -> Self {
        Self { release: Some(session.into()), ..Self::default() }
    }
}

impl Client {
    /// One key; `None` if there is none, with the index of the whole table (a long poll on it wakes at every write).
    pub async fn kv_get(&self, key: &str, read: &Read) -> Result<Reply<Option<KvPair>>, Error> {
        let call = Call::get(format!("/v1/kv/{}", path::key(key)?)).read(read);
        let reply = self.ask_absent_empty::<Vec<KvPairWire>>(call).await?;
        Ok(reply.map(|rows| rows.into_iter().next().map(KvPair::from)))
    }

    /// All keys that begin with `prefix` (a string prefix: end it with `/`). None at all is an empty list with its index.
    ///
    /// A token without rights sees an empty or a partial list, not an error.
    pub async fn kv_list(&self, prefix: &str, read: &Read) -> Result<Reply<Vec<KvPair>>, Error> {
        let call = Call::get(format!("/v1/kv/{}", path::prefix(prefix)?)).read(read).flag("recurse");
        let reply = self.ask_absent_empty::<Vec<KvPairWire>>(call).await?;
        Ok(reply.map(|rows| rows.into_iter().map(KvPair::from).collect()))
    }

    /// The names of all keys that begin with `prefix`; with a separator only up to its next occurrence.
    pub async fn kv_keys(
        &self,
        prefix: &str,
        separator: Option<&str>,
        read: &Read,
    ) -> Result<Reply<Vec<String>>, Error> {
        let call = Call::get(format!("/v1/kv/{}", path::prefix(prefix)?)).read(read).flag("keys");
        self.ask_absent_empty(call.maybe("separator", separator)).await
    }

    /// Writes one key, at most 512 KiB. `false`: a condition of `put` did not hold and nothing was written.
    pub async fn kv_put(&self, key: &str, value: impl Into<Bytes>, put: &Put) -> Result<bool, Error> {
        let mut call = Call::new(Method::PUT, format!("/v1/kv/{}", path::key(key)?)).body(value.into());
        if put.flags != 0 {
            call = call.with("flags", &put.flags.to_string());
        }
        call = call.maybe("cas", put.cas.map(|index| index.to_string()).as_deref());
        call = call.maybe("acquire", put.acquire.as_deref()).maybe("release", put.release.as_deref());
        self.ask_value(call).await
    }

    /// Deletes one key. `false`: the key changed since `cas`. Deleting a missing key is `true`, whatever `cas` says.
    pub async fn kv_delete(&self, key: &str, cas: Option<u64>) -> Result<bool, Error> {
        let call = Call::new(Method::DELETE, format!("/v1/kv/{}", path::key(key)?));
        self.ask_value(call.maybe("cas", cas.map(|index| index.to_string()).as_deref())).await
    }

    /// Deletes all keys that begin with `prefix`; the empty prefix is all keys there are.
    pub async fn kv_delete_tree(&self, prefix: &str) -> Result<bool, Error> {
        let call = Call::new(Method::DELETE, format!("/v1/kv/{}", path::prefix(prefix)?)).flag("recurse");
        self.ask_value(call).await
    }
}
