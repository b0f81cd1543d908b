//! The first use of an empty store, and the repair of a damaged one.
//!
//! Design: a watched prefix holds a sentinel, so that an empty list can be told from a lost one. The sentinels may only ever be
//! written once, by whoever creates the store; one that is missing later is a sign of damage, which only a person may mend
//! (`helium doctor --repair`). There are more sentinels than one transaction takes, so the first transaction creates the layout
//! with `complete: false` and the second one, which must find the layout untouched, adds the rest and turns it to `true`.
//! Nobody writes a spec before that, so whoever finds a layout half done may finish it: nothing can have been lost yet.

use consul_client::{Error, KvPair, Read, TxnOp};
use helium_crds::keys::SENTINEL;
use serde::{Deserialize, Serialize};

use super::{People, PeopleError};

/// The schema that this Helium reads and writes.
pub const SCHEMA: u32 = 1;
/// How often the making of a store is tried again when somebody else is at it.
const TRIES: usize = 5;

/// The value of the `layout` key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// Which layout of keys and values this is.
    pub schema: u32,
    /// A random id of this store; a store that was wiped and made anew has another.
    pub uid: String,
    /// Whether every sentinel has been written.
    pub complete: bool,
}

/// What has become of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It was never used.
    New,
    /// Its layout is half made; whoever uses it next finishes it.
    HalfMade,
    /// It holds records, but its layout is gone.
    LayoutLost,
    /// These sentinels are missing: what they stand for may be so too.
    SentinelsLost(Vec<String>),
    /// All is there.
    Sound(Layout),
}

impl People {
    /// What has become of the store, without changing anything.
    pub async fn condition(&self) -> Result<Condition, PeopleError> {
        let Some((layout, _)) = self.read_layout().await? else {
            return Ok(if self.holds_records().await? { Condition::LayoutLost } else { Condition::New });
        };
        if !layout.complete {
            return Ok(Condition::HalfMade);
        }
        let missing = self.missing_sentinels().await?;
        Ok(if missing.is_empty() { Condition::Sound(layout) } else { Condition::SentinelsLost(missing) })
    }

    /// Makes the store ready if it has never been used, and reads its layout. A store that holds records but no layout has lost
    /// it, and is left alone.
    pub async fn initialise(&self) -> Result<Layout, PeopleError> {
        for _ in 0..TRIES {
            let step = match self.read_layout().await? {
                Some((layout, _)) if layout.complete => return Ok(layout),
                Some((layout, index)) => self.finish_layout(layout, index).await,
                None if self.holds_records().await? => {
                    return Err(PeopleError::LayoutLost { key: self.keys().layout() });
                }
                None => self.create_layout().await,
            };
            match step {
                Err(error) if error.is_denied() => {
                    return Err(PeopleError::NotInitialised { root: self.keys().root().to_owned() });
                }
                Err(error) if !error.is_ambiguous() && !matches!(error, Error::TxnRefused { .. }) => {
                    return Err(error.into());
                }
                // Done, or somebody else was faster, or the answer was lost: the next read tells.
                Ok(()) | Err(_) => {}
            }
        }
        Err(PeopleError::Unknown { cause: "the store's layout never came to rest".to_owned() })
    }

    /// The layout, if the store has been made ready.
    pub async fn layout(&self) -> Result<Option<Layout>, PeopleError> {
        Ok(self.read_layout().await?.map(|(layout, _)| layout))
    }

    /// The sentinels that should be there and are not.
    pub async fn missing_sentinels(&self) -> Result<Vec<String>, PeopleError> {
        let found = self.client().kv_keys(self.keys().root(), None, &Read::consistent()).await?.value;
        let found: std::collections::BTreeSet<String> = found.into_iter().collect();
        Ok(self.keys().sentinels().into_iter().filter(|sentinel| !found.contains(sentinel)).collect())
    }

    /// Writes the layout and the sentinels where they are missing, and so declares that what the store holds now is all there is.
    /// Gives the keys that were missing.
    pub async fn repair(&self) -> Result<Vec<String>, PeopleError> {
        let mut missing = self.missing_sentinels().await?;
        if self.read_layout().await?.is_none() {
            self.create_layout().await?;
            missing.insert(0, self.keys().layout());
        }
        self.initialise().await?;
        for part in self.missing_sentinels().await?.chunks(consul_client::MAX_TXN_OPS) {
            let ops: Vec<TxnOp> = part.iter().map(|sentinel| TxnOp::set(sentinel, Vec::new())).collect();
            self.client().txn(&ops).await?;
        }
        Ok(missing)
    }

    async fn read_layout(&self) -> Result<Option<(Layout, u64)>, PeopleError> {
        let key = self.keys().layout();
        let Some(pair) = self.client().kv_get(&key, &Read::consistent()).await?.value else { return Ok(None) };
        let layout = parse(&pair)?;
        if layout.schema != SCHEMA {
            let root = self.keys().root().to_owned();
            return Err(PeopleError::Layout { root, found: layout.schema, known: SCHEMA });
        }
        Ok(Some((layout, pair.modify_index)))
    }

    /// Whether the store holds anything that only a store with a layout can hold. Agents may come before the first controller, so
    /// what they write does not count.
    async fn holds_records(&self) -> Result<bool, PeopleError> {
        for room in ["spec/", "status/", "inst/", "assign/"] {
            let prefix = format!("{}{room}", self.keys().root());
            let found = self.client().kv_keys(&prefix, None, &Read::consistent()).await?.value;
            if found.iter().any(|key| !key.ends_with(SENTINEL)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn create_layout(&self) -> Result<(), Error> {
        let layout = Layout { schema: SCHEMA, uid: self.ports().random_hex(32), complete: false };
        let (first, _) = self.sentinel_parts();
        let mut ops = vec![TxnOp::cas(self.keys().layout(), bytes(&layout), 0)];
        ops.extend(first.iter().map(|sentinel| TxnOp::set(sentinel, Vec::new())));
        self.client().txn(&ops).await.map(drop)
    }

    async fn finish_layout(&self, layout: Layout, index: u64) -> Result<(), Error> {
        let (_, second) = self.sentinel_parts();
        let mut ops = vec![TxnOp::cas(self.keys().layout(), bytes(&Layout { complete: true, ..layout }), index)];
        ops.extend(second.iter().map(|sentinel| TxnOp::set(sentinel, Vec::new())));
        self.client().txn(&ops).await.map(drop)
    }

    /// The sentinels of the first and of the second transaction, of which each also holds the layout.
    fn sentinel_parts(&self) -> (Vec<String>, Vec<String>) {
        let mut first = self.keys().sentinels();
        let second = first.split_off(first.len().min(consul_client::MAX_TXN_OPS - 1));
        (first, second)
    }
}

fn parse(pair: &KvPair) -> Result<Layout, PeopleError> {
    serde_json::from_slice(&pair.value)
        .map_err(|error| PeopleError::Unreadable { key: pair.key.clone(), why: error.to_string() })
}

fn bytes(layout: &Layout) -> Vec<u8> {
    serde_json::to_vec(layout).unwrap_or_default()
}
