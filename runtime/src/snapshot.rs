//! What a watch shows: one consistent snapshot of a prefix, and whether it may be believed.

use std::{collections::BTreeMap, fmt, sync::Arc};

use consul_client::KvPair;
use jiff::Timestamp;

/// A value that can be read from a row of the store.
pub trait Decode: Sized + Send + Sync + 'static {
    /// Reads the value from the bytes kept under `key`.
    ///
    /// # Errors
    /// [`InvalidRow`] if the bytes are not such a value. The row is then shown as invalid; the watch goes on.
    fn decode(key: &str, bytes: &[u8]) -> Result<Self, InvalidRow>;
}

impl Decode for Vec<u8> {
    fn decode(_key: &str, bytes: &[u8]) -> Result<Self, InvalidRow> {
        Ok(bytes.to_vec())
    }
}

impl Decode for serde_json::Value {
    fn decode(_key: &str, bytes: &[u8]) -> Result<Self, InvalidRow> {
        serde_json::from_slice(bytes).map_err(|error| InvalidRow::new("$", error))
    }
}

/// Why a row cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct InvalidRow {
    /// Where in the value, such as `spec.replicas`; `$` is the whole value.
    pub path: String,
    /// What is wrong there, for people.
    pub message: String,
}

impl InvalidRow {
    /// An invalid row of which `path` is wrong for the reason given.
    #[allow(clippy::needless_pass_by_value, reason = "an error is passed as it is caught")]
    pub fn new(path: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { path: path.into(), message: message.to_string() }
    }
}

/// One key of a snapshot.
#[derive(Debug)]
pub struct Row<T> {
    /// The index of the write that last changed it; what a CAS compares.
    pub modify_index: u64,
    /// The index of the write that created it; another one means that it was deleted and made anew.
    pub create_index: u64,
    /// The session that holds it as a lock.
    pub session: Option<String>,
    /// The value, or why it cannot be read. Shared with the snapshots before as long as the row did not change.
    pub value: Arc<Result<T, InvalidRow>>,
}

impl<T> Row<T> {
    /// The value, if it could be read.
    pub fn get(&self) -> Option<&T> {
        (*self.value).as_ref().ok()
    }

    /// Whether both are the same version of the same row.
    pub fn same_version<U>(&self, other: &Row<U>) -> bool {
        (self.create_index, self.modify_index) == (other.create_index, other.modify_index)
    }
}

impl<T> Clone for Row<T> {
    fn clone(&self) -> Self {
        let Self { modify_index, create_index, session, value } = self;
        let (session, value) = (session.clone(), Arc::clone(value));
        Self { modify_index: *modify_index, create_index: *create_index, session, value }
    }
}

/// All rows of a prefix at one index, without the sentinel.
#[derive(Debug)]
pub struct Snapshot<T> {
    /// The index it was read at; 0 if nothing was read yet.
    pub index: u64,
    /// The rows by their whole key.
    pub rows: BTreeMap<String, Row<T>>,
}

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Self { index: 0, rows: BTreeMap::new() }
    }
}

impl<T> Snapshot<T> {
    /// The row under `key`.
    pub fn row(&self, key: &str) -> Option<&Row<T>> {
        self.rows.get(key)
    }

    /// The rows whose key begins with `prefix`, in order.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Row<T>)> {
        self.rows.range(prefix.to_owned()..).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// What has changed since `before`, in the order of the keys.
    pub fn changes_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a str, Change)> {
        let appeared = self.rows.iter().filter_map(|(key, row)| {
            let change = match before.rows.get(key) {
                None => Change::Appeared,
                Some(old) if old.create_index != row.create_index => Change::Recreated,
                Some(old) if old.modify_index != row.modify_index => Change::Modified,
                Some(_) => return None,
            };
            Some((key.as_str(), change))
        });
        let vanished = before.rows.keys().filter(|key| !self.rows.contains_key(*key));
        appeared.chain(vanished.map(|key| (key.as_str(), Change::Vanished)))
    }
}

/// How a row differs between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It was not there before.
    Appeared,
    /// It was written again.
    Modified,
    /// It was deleted and made anew in between.
    Recreated,
    /// It is not there any more. That is no wish to delete anything: see the design, "absence is not intent".
    Vanished,
}

impl Change {
    /// The word for logs, metrics and queue reasons.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Appeared => "Appeared",
            Self::Modified => "Modified",
            Self::Recreated => "Recreated",
            Self::Vanished => "Vanished",
        }
    }
}

/// Whether a view may be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The snapshot is what the store holds, as far as a watch can know.
    Trusted {
        /// Since when without interruption.
        since: Timestamp,
    },
    /// The snapshot is only the last that was good; nothing may be concluded from what it holds or lacks.
    Blind {
        /// Why.
        reason: BlindReason,
        /// Since when.
        since: Timestamp,
    },
}

impl Trust {
    /// Whether it is [`Trust::Trusted`].
    pub fn is_trusted(self) -> bool {
        matches!(self, Self::Trusted { .. })
    }

    /// Why it is blind, if it is.
    pub fn blind_reason(self) -> Option<BlindReason> {
        match self {
            Self::Trusted { .. } => None,
            Self::Blind { reason, .. } => Some(reason),
        }
    }
}

/// Why a view is blind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlindReason {
    /// Nothing was read yet.
    NotRead,
    /// The prefix lacks its sentinel: a wiped prefix, a restored snapshot, or a token without rights.
    MissingSentinel,
    /// The store said that the token has no right to read this, or that it left rows out for that.
    Denied,
    /// The index went back: an older state was restored, or a tombstone was collected. Ends with the next full read.
    IndexReset,
    /// The store could not be reached, or had no leader, for longer than a view may be old.
    Unreachable,
}

impl BlindReason {
    /// The word for status, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRead => "NotRead",
            Self::MissingSentinel => "MissingSentinel",
            Self::Denied => "Denied",
            Self::IndexReset => "IndexReset",
            Self::Unreachable => "Unreachable",
        }
    }
}

/// What a watch shows at one moment; cheap to clone.
#[derive(Debug)]
pub struct View<T> {
    /// The last good snapshot.
    pub snapshot: Arc<Snapshot<T>>,
    /// Whether it may be acted on.
    pub trust: Trust,
    /// How often the index has gone back since the watch began. After each, what was read elsewhere must be read again.
    pub resets: u64,
}

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        Self { snapshot: Arc::clone(&self.snapshot), trust: self.trust, resets: self.resets }
    }
}

impl<T> View<T> {
    /// A view of which nothing was read yet.
    pub fn unread(now: Timestamp) -> Self {
        let trust = Trust::Blind { reason: BlindReason::NotRead, since: now };
        Self { snapshot: Arc::default(), trust, resets: 0 }
    }

    /// The snapshot, if it may be acted on.
    pub fn trusted(&self) -> Option<&Arc<Snapshot<T>>> {
        self.trust.is_trusted().then_some(&self.snapshot)
    }
}

/// How a page that was just read differs from the snapshot before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rows of the snapshot.
    pub held: usize,
    /// Rows of the snapshot that the page lacks.
    pub lost: usize,
    /// Rows of the page that are new or another version.
    pub changed: usize,
    /// Changes that an undisturbed watch would have delivered before: rows written no later than the snapshot's index, and
    /// rows lost at that same index.
    pub missed: usize,
}

impl Difference {
    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.lost + self.changed > 0
    }

    /// Whether so many rows are gone at once that it must be confirmed: more than 5, and more than a fifth.
    ///
    /// Of 20 rows 5 may go unconfirmed and 6 not; of 100 rows 20 may and 21 not.
    pub fn is_mass_loss(&self) -> bool {
        self.lost > 5.max(self.held / 5)
    }
}

impl<T: Decode> Snapshot<T> {
    /// The snapshot that `pairs`, read at `index`, make after this one, and how they differ. Only rows whose version
    /// differs are decoded; the others share their value with this snapshot.
    pub(crate) fn succeed(&self, index: u64, sentinel: &str, pairs: Vec<KvPair>) -> (Self, Difference) {
        let mut difference = Difference { held: self.rows.len(), ..Difference::default() };
        let mut rows = BTreeMap::new();
        let mut kept = 0;
        for pair in pairs.into_iter().filter(|pair| pair.key != sentinel) {
            let old = self.rows.get(&pair.key);
            kept += usize::from(old.is_some());
            let row = if let Some(old) = old.filter(|old| old.is_version_of(&pair)) {
                Row { session: pair.session, ..old.clone() }
            } else {
                difference.changed += 1;
                difference.missed += usize::from(pair.modify_index <= self.index);
                Row::read(&pair)
            };
            rows.insert(pair.key, row);
        }
        difference.lost = difference.held - kept;
        difference.missed += if index == self.index { difference.lost } else { 0 };
        (Self { index, rows }, difference)
    }
}

impl<T: Decode> Row<T> {
    /// Reads a row of the store.
    pub fn read(pair: &KvPair) -> Self {
        Self {
            modify_index: pair.modify_index,
            create_index: pair.create_index,
            session: pair.session.clone(),
            value: Arc::new(T::decode(&pair.key, &pair.value)),
        }
    }

    fn is_version_of(&self, pair: &KvPair) -> bool {
        (self.create_index, self.modify_index) == (pair.create_index, pair.modify_index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, create_index: u64, modify_index: u64, value: &str) -> KvPair {
        let value = value.to_owned().into();
        KvPair { key: key.to_owned(), value, create_index, modify_index, ..KvPair::default() }
    }

    fn start() -> Snapshot<serde_json::Value> {
        let pairs =
            vec![pair("p/.keep", 1, 1, ""), pair("p/a", 2, 2, "1"), pair("p/b", 3, 3, "{"), pair("p/c", 4, 4, "3")];
        Snapshot::default().succeed(4, "p/.keep", pairs).0
    }

    #[test]
    fn a_row_that_cannot_be_read_is_shown_as_such_and_the_others_are_not_harmed() {
        let snapshot = start();
        assert_eq!(snapshot.rows.len(), 3, "the sentinel is no row");
        assert_eq!(snapshot.row("p/a").unwrap().get(), Some(&1.into()));
        assert_eq!((*snapshot.row("p/b").unwrap().value).as_ref().unwrap_err().path, "$");
    }

    #[test]
    fn unchanged_rows_share_their_value_and_changed_ones_are_read_again() {
        let before = start();
        let pairs =
            vec![pair("p/a", 2, 2, "not read"), pair("p/b", 3, 7, "2"), pair("p/c", 6, 6, "4"), pair("p/d", 5, 5, "0")];
        let (after, difference) = before.succeed(7, "p/.keep", pairs);
        assert!(Arc::ptr_eq(&before.row("p/a").unwrap().value, &after.row("p/a").unwrap().value));
        assert_eq!(after.row("p/b").unwrap().get(), Some(&2.into()));
        assert_eq!(difference, Difference { held: 3, lost: 0, changed: 3, missed: 0 });
        let changes: Vec<_> = after.changes_since(&before).collect();
        assert_eq!(changes, [("p/b", Change::Modified), ("p/c", Change::Recreated), ("p/d", Change::Appeared)]);
        let back: Vec<_> = before.changes_since(&after).collect();
        assert_eq!(back.last(), Some(&("p/d", Change::Vanished)));
    }

    #[test]
    fn a_version_with_a_lower_index_is_another_version_too() {
        let (after, difference) = start().succeed(3, "p/.keep", vec![pair("p/a", 1, 1, "0")]);
        assert_eq!(after.row("p/a").unwrap().get(), Some(&0.into()));
        assert_eq!(difference, Difference { held: 3, lost: 2, changed: 1, missed: 1 });
    }

    #[test]
    fn rows_that_differ_at_an_index_already_seen_were_missed() {
        let pairs = vec![pair("p/a", 2, 2, "1"), pair("p/b", 3, 4, "2")];
        let (_, difference) = start().succeed(4, "p/.keep", pairs);
        assert_eq!(difference, Difference { held: 3, lost: 1, changed: 1, missed: 2 });
    }

    #[test]
    fn a_mass_loss_follows_its_worked_example() {
        for (held, lost, mass) in
            [(20, 5, false), (20, 6, true), (100, 20, false), (100, 21, true), (3, 3, false), (6, 6, true)]
        {
            assert_eq!(Difference { held, lost, ..Difference::default() }.is_mass_loss(), mass, "{lost} of {held}");
        }
    }

    #[test]
    fn rows_under_a_prefix_come_in_order_and_no_others() {
        let snapshot = start();
        assert_eq!(snapshot.under("p/b").map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["p/b"]);
        assert_eq!(snapshot.under("p/").count(), 3);
        assert_eq!(snapshot.under("q").count(), 0);
    }
}
