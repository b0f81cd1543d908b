//! Keys and values: every rule of one key (set, CAS, lock, delete) and of the indexes that readers wait on.
//!
//! The index of a key is its own modify index; of a prefix, the highest modify index or tombstone under it; of a key or
//! prefix of which nothing is known, the highest index of the whole table. So a reader of something that does not exist
//! is woken by every write, and a deletion moves its prefix up. Tombstones are collected after a while, and then
//! the index of the prefix falls without any fault: see `Kv::reap`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Refusal;
use super::kv_op::{Entry, KvOp, KvResult, Verb};

/// The table of keys.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Kv {
    entries: BTreeMap<String, Entry>,
    tombstones: BTreeMap<String, Tombstone>,
    table_index: u64,
    /// Until when a key may not be locked. Not kept: a delay that outlives a restart would only lengthen a fail-over.
    #[serde(skip)]
    lock_delays: BTreeMap<String, Duration>,
    #[serde(skip)]
    undo: Option<Undo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tombstone {
    index: u64,
    #[serde(skip)]
    reap_at: Duration,
}

/// What a transaction changed, so that it can be taken back.
#[derive(Clone, Debug, Default)]
struct Undo {
    entries: Vec<(String, Option<Entry>)>,
    tombstones: Vec<(String, Option<Tombstone>)>,
    table_index: u64,
}

/// How long a tombstone stays.
const TOMBSTONE_TTL: Duration = Duration::from_mins(15);
/// Tombstones are collected in groups of this length.
const TOMBSTONE_STEP: Duration = Duration::from_secs(30);

/// When a tombstone made at `now` is collected: 15 minutes later, rounded up to the next half minute.
/// Example: made at 10 s, collected at 930 s.
fn reap_at(now: Duration) -> Duration {
    let end = (now + TOMBSTONE_TTL).as_secs_f64() / TOMBSTONE_STEP.as_secs_f64();
    TOMBSTONE_STEP.mul_f64(end.ceil().max(1.0))
}

impl Kv {
    /// One entry.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// All entries under a prefix, in the order of their keys.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Entry> {
        let from = std::ops::Bound::Included(prefix);
        let range = self.entries.range::<str, _>((from, std::ops::Bound::Unbounded));
        range.map(|(_, entry)| entry).take_while(move |entry| entry.key.starts_with(prefix))
    }

    /// The index that a reader of `key` waits on.
    pub fn key_index(&self, key: &str) -> u64 {
        self.entries.get(key).map_or(self.table_index, |entry| entry.modify_index)
    }

    /// The index that a reader of `prefix` waits on.
    pub fn prefix_index(&self, prefix: &str) -> u64 {
        if prefix.is_empty() {
            return self.table_index;
        }
        let entries = self.under(prefix).map(|entry| entry.modify_index).max().unwrap_or(0);
        let stones = self.tombstones.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        let stones = stones.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, stone)| stone.index).max();
        match entries.max(stones.unwrap_or(0)) {
            0 => self.table_index,
            index => index,
        }
    }

    /// Whether nothing is under `prefix`, not even a tombstone, so that its index is the table's.
    pub fn knows_nothing_of(&self, prefix: &str) -> bool {
        let stones = self.tombstones.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        self.under(prefix).next().is_none() && !stones.take(1).any(|(key, _)| key.starts_with(prefix))
    }

    /// Until when `key` may not be locked, if that is later than `now`.
    pub fn lock_delay(&self, key: &str, now: Duration) -> Option<Duration> {
        self.lock_delays.get(key).copied().filter(|until| *until > now)
    }

    /// When the next tombstone is collected.
    pub fn next_reap(&self) -> Option<Duration> {
        self.tombstones.values().map(|stone| stone.reap_at).min()
    }

    /// The highest index among the tombstones that are due at `now`.
    pub fn due_tombstones(&self, now: Duration) -> Option<u64> {
        self.tombstones.values().filter(|stone| stone.reap_at <= now).map(|stone| stone.index).max()
    }

    /// Forgets all tombstones up to and with `index`. True if there were any.
    pub fn reap(&mut self, index: u64) -> bool {
        let before = self.tombstones.len();
        self.tombstones.retain(|_, stone| stone.index > index);
        before != self.tombstones.len()
    }

    /// Lets every key be locked at once.
    pub fn forget_lock_delays(&mut self) {
        self.lock_delays.clear();
    }

    /// Starts every clock anew, as after a restart.
    pub fn rearm(&mut self, now: Duration) {
        self.forget_lock_delays();
        for stone in self.tombstones.values_mut() {
            stone.reap_at = reap_at(now);
        }
    }

    /// Starts to record changes for [`Kv::rollback`].
    pub fn begin(&mut self) {
        self.undo = Some(Undo { table_index: self.table_index, ..Undo::default() });
    }

    /// Keeps the changes since [`Kv::begin`].
    pub fn commit(&mut self) {
        self.undo = None;
    }

    /// Takes back the changes since [`Kv::begin`].
    pub fn rollback(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for (key, entry) in undo.entries.into_iter().rev() {
            match entry {
                Some(entry) => self.entries.insert(key, entry),
                None => self.entries.remove(&key),
            };
        }
        for (key, stone) in undo.tombstones.into_iter().rev() {
            match stone {
                Some(stone) => self.tombstones.insert(key, stone),
                None => self.tombstones.remove(&key),
            };
        }
        self.table_index = undo.table_index;
    }
}

/// What one change needs to know of the world around the table.
pub struct Change<'a> {
    /// The index that the change takes.
    pub index: u64,
    /// The time.
    pub now: Duration,
    /// Collects the keys that changed.
    pub changed: &'a mut Vec<String>,
}

impl Kv {
    /// Does one operation. `session_exists` tells whether a session may lock.
    ///
    /// # Errors
    /// [`Refusal`] if the operation names no session, or one that does not exist.
    pub fn apply(
        &mut self,
        op: &KvOp,
        change: &mut Change<'_>,
        session_exists: impl Fn(&str) -> Result<bool, Refusal>,
    ) -> Result<KvResult, Refusal> {
        let existing = self.entries.get(&op.key);
        let modify_index = existing.map(|entry| entry.modify_index);
        Ok(match op.verb {
            Verb::Cas if modify_index.unwrap_or(0) != op.index => KvResult::Refused,
            Verb::Set | Verb::Cas => self.set(op, None, change),
            Verb::Lock => return self.lock(op, change, session_exists),
            Verb::Unlock => return self.unlock(op, change),
            Verb::Get => existing.cloned().map_or(KvResult::Refused, KvResult::Entry),
            Verb::GetTree => KvResult::Entries(self.under(&op.key).cloned().collect()),
            Verb::CheckIndex => {
                existing.filter(|e| e.modify_index == op.index).cloned().map_or(KvResult::Refused, KvResult::Entry)
            }
            Verb::CheckSession => existing
                .filter(|e| e.session.as_deref().unwrap_or("") == op.session)
                .cloned()
                .map_or(KvResult::Refused, KvResult::Entry),
            Verb::CheckNotExists if existing.is_some() => KvResult::Refused,
            Verb::CheckNotExists => KvResult::Done,
            Verb::DeleteCas if modify_index.is_some_and(|index| index != op.index) => KvResult::Refused,
            Verb::Delete | Verb::DeleteCas => self.delete(&op.key, change),
            Verb::DeleteTree => self.delete_tree(&op.key, change),
        })
    }

    /// Gives back every key that `session` holds, or deletes it, and forbids locking it for `delay`.
    pub fn release_all(&mut self, session: &str, delete: bool, delay: Duration, change: &mut Change<'_>) {
        let held: Vec<Entry> =
            self.entries.values().filter(|entry| entry.session.as_deref() == Some(session)).cloned().collect();
        for mut entry in held {
            if !delay.is_zero() {
                self.lock_delays.insert(entry.key.clone(), change.now + delay);
            }
            if delete {
                self.delete(&entry.key, change);
            } else {
                entry.session = None;
                entry.modify_index = change.index;
                self.store(entry, change);
            }
        }
        let now = change.now;
        self.lock_delays.retain(|_, until| *until > now);
    }

    /// Writes the value of `op`. `lock` is the new holder and lock index; without it the holder stays and the lock index
    /// becomes 0, as it does in Consul. Writing what is there already changes nothing, and wakes nobody.
    fn set(&mut self, op: &KvOp, lock: Option<(Option<String>, u64)>, change: &mut Change<'_>) -> KvResult {
        let existing = self.entries.get(&op.key);
        let (session, lock_index) = lock.unwrap_or_else(|| (existing.and_then(|entry| entry.session.clone()), 0));
        let mut entry = Entry {
            key: op.key.clone(),
            value: op.value.clone(),
            flags: op.flags,
            session,
            lock_index,
            create_index: existing.map_or(change.index, |entry| entry.create_index),
            modify_index: existing.map_or(change.index, |entry| entry.modify_index),
        };
        if existing == Some(&entry) {
            return KvResult::Entry(entry);
        }
        entry.modify_index = change.index;
        self.store(entry.clone(), change);
        KvResult::Entry(entry)
    }

    fn lock(
        &mut self,
        op: &KvOp,
        change: &mut Change<'_>,
        session_exists: impl Fn(&str) -> Result<bool, Refusal>,
    ) -> Result<KvResult, Refusal> {
        if op.session.is_empty() {
            return Err(Refusal::MissingSession);
        }
        if !session_exists(&op.session)? {
            return Err(Refusal::InvalidSession(op.session.clone()));
        }
        let lock_index = match self.entries.get(&op.key) {
            Some(entry) if entry.session.as_deref() == Some(op.session.as_str()) => entry.lock_index,
            Some(entry) if entry.session.is_some() => return Ok(KvResult::Refused),
            Some(entry) => entry.lock_index + 1,
            None => 1,
        };
        Ok(self.set(op, Some((Some(op.session.clone()), lock_index)), change))
    }

    fn unlock(&mut self, op: &KvOp, change: &mut Change<'_>) -> Result<KvResult, Refusal> {
        if op.session.is_empty() {
            return Err(Refusal::MissingSession);
        }
        match self.entries.get(&op.key) {
            Some(entry) if entry.session.as_deref() == Some(op.session.as_str()) => {
                let lock_index = entry.lock_index;
                Ok(self.set(op, Some((None, lock_index)), change))
            }
            _ => Ok(KvResult::Refused),
        }
    }

    fn store(&mut self, entry: Entry, change: &mut Change<'_>) {
        self.table_index = change.index;
        change.changed.push(entry.key.clone());
        let key = entry.key.clone();
        let before = self.entries.insert(key.clone(), entry);
        if let Some(undo) = &mut self.undo {
            undo.entries.push((key, before));
        }
    }

    fn delete(&mut self, key: &str, change: &mut Change<'_>) -> KvResult {
        if let Some(before) = self.entries.remove(key) {
            if let Some(undo) = &mut self.undo {
                undo.entries.push((key.to_owned(), Some(before)));
            }
            self.bury(key, change);
            change.changed.push(key.to_owned());
        }
        KvResult::Done
    }

    /// Deletes a tree. It leaves one tombstone, at the prefix, as in Consul: a reader of a longer prefix inside the
    /// tree, now empty, sees the index of the whole table.
    fn delete_tree(&mut self, prefix: &str, change: &mut Change<'_>) -> KvResult {
        let keys: Vec<String> = self.under(prefix).map(|entry| entry.key.clone()).collect();
        for key in &keys {
            let before = self.entries.remove(key);
            if let Some(undo) = &mut self.undo {
                undo.entries.push((key.clone(), before));
            }
        }
        if !keys.is_empty() {
            self.bury(prefix, change);
            change.changed.extend(keys);
        }
        KvResult::Done
    }

    fn bury(&mut self, key: &str, change: &Change<'_>) {
        self.table_index = change.index;
        let stone = Tombstone { index: change.index, reap_at: reap_at(change.now) };
        let before = self.tombstones.insert(key.to_owned(), stone);
        if let Some(undo) = &mut self.undo {
            undo.tombstones.push((key.to_owned(), before));
        }
    }
}
