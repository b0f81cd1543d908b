//! Looking at a key or a prefix as it changes, by long polls, through changes of leader and short absences of Consul.

use std::time::Duration;

use consul_client::{Error, KvPair, Read};
use serde::de::DeserializeOwned;

use super::{People, PeopleError, read::row};

/// How long one long poll may take.
const WAIT: Duration = Duration::from_secs(25);
/// The least time from one poll to the next.
const LEAST: Duration = Duration::from_millis(100);
/// How long Consul may be away before following is given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// The longest wait between two tries while Consul is away.
const RETRY: Duration = Duration::from_secs(2);

/// A key or a prefix that is being followed.
#[derive(Debug)]
pub struct Follow<'a> {
    people: &'a People,
    target: Target,
    index: u64,
    last: Option<Vec<(String, u64)>>,
}

#[derive(Debug)]
enum Target {
    Key(String),
    Prefix(String),
}

impl std::fmt::Debug for People {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("People").field("keys", &self.keys).field("who", &self.who).finish_non_exhaustive()
    }
}

impl<'a> Follow<'a> {
    /// Follows one key.
    pub fn key(people: &'a People, key: String) -> Self {
        Self { people, target: Target::Key(key), index: 0, last: None }
    }

    /// Follows all keys under a prefix.
    pub fn prefix(people: &'a People, prefix: String) -> Self {
        Self { people, target: Target::Prefix(prefix), index: 0, last: None }
    }

    /// The pairs as they are now, the first time; after that as soon as one of them has changed.
    ///
    /// Safe to drop at any time: nothing is lost, the next call sees the change.
    pub async fn next(&mut self) -> Result<Vec<KvPair>, PeopleError> {
        loop {
            if self.last.is_some() {
                // A missing key wakes at every write to the store; this bounds what that costs.
                tokio::time::sleep(LEAST).await;
            }
            let (pairs, index) = self.poll().await?;
            // An index that went back means another history of the store: start over, as Consul's documentation says.
            self.index = if index < self.index { 0 } else { index };
            let seen: Vec<(String, u64)> = pairs.iter().map(|pair| (pair.key.clone(), pair.modify_index)).collect();
            if self.last.as_ref() != Some(&seen) {
                self.last = Some(seen);
                return Ok(pairs);
            }
        }
    }

    /// The value of a followed key, as [`Follow::next`].
    pub async fn next_value<T: DeserializeOwned>(&mut self) -> Result<Option<T>, PeopleError> {
        let pairs = self.next().await?;
        Ok(pairs.first().map(row).transpose()?.map(|row| row.value))
    }

    /// One long poll; tried again for a while if Consul is away.
    async fn poll(&self) -> Result<(Vec<KvPair>, u64), PeopleError> {
        let ports = self.people.ports();
        let give_up = ports.monotonic() + PATIENCE;
        loop {
            match self.ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_unreachable() && ports.monotonic() < give_up => {
                    tokio::time::sleep(ports.jittered(RETRY / 2, 100)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn ask(&self) -> Result<(Vec<KvPair>, u64), Error> {
        let read = match self.index {
            0 => Read::consistent(),
            index => Read::blocking(index, WAIT),
        };
        let client = self.people.client();
        match &self.target {
            Target::Key(key) => {
                let reply = client.kv_get(key, &read).await?;
                Ok((reply.value.into_iter().collect(), reply.meta.index))
            }
            Target::Prefix(prefix) => {
                let reply = client.kv_list(prefix, &read).await?;
                Ok((reply.value, reply.meta.index))
            }
        }
    }
}
