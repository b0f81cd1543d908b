//! The store's layout: made ready once, and watched over ever after.
//!
//! Whoever makes the layout writes the sentinels ([`people::layout`](crate::people::layout)); after that a layout or a sentinel that
//! is missing means that something was lost, and the controller is blind until a person says `helium doctor --repair`. A store that
//! holds records but no layout has lost it: no new one is made then.

use consul_client::{Client, Read};
use helium_crds::keys::{Keys, SENTINEL};
use helium_runtime::ports::Ports;

use crate::people::{People, PeopleError, Who, layout::Layout};

/// Why the layout cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It could not be read or made.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] consul_client::Error),
    /// The layout is gone, but records are there.
    #[error("the key {key} is missing although records are there: something was lost (see helium doctor)")]
    Lost {
        /// The key.
        key: String,
    },
    /// This is another store than before.
    #[error("the store was wiped and made anew under a running controller (it was {before}, it is {now})")]
    Replaced {
        /// The uid that this controller knows.
        before: String,
        /// The uid that was found.
        now: String,
    },
}

/// Watches over one store's layout.
#[derive(Clone)]
pub struct LayoutKeeper {
    client: Client,
    keys: Keys,
    people: People,
}

impl LayoutKeeper {
    /// A keeper of the layout under `keys`.
    pub fn new(client: Client, keys: Keys, ports: Ports) -> Self {
        let who = Who { by: "helium-controller".to_owned(), tool: "helium-controller".to_owned() };
        let people = People::new(client.clone(), keys.clone(), ports, who);
        Self { client, keys, people }
    }

    /// Makes an unused store ready, and reads the layout of one that is ready.
    pub async fn prepare(&self) -> Result<Layout, LayoutError> {
        match self.people.layout().await? {
            Some(layout) if layout.complete => Ok(layout),
            None if self.holds_records().await? => Err(LayoutError::Lost { key: self.keys.layout() }),
            _ => Ok(self.people.initialise().await?),
        }
    }

    /// The layout is still the one that this controller found when it started.
    pub async fn check(&self, known: &str) -> Result<(), LayoutError> {
        match self.people.layout().await? {
            None => Err(LayoutError::Lost { key: self.keys.layout() }),
            Some(layout) if layout.uid != known => {
                Err(LayoutError::Replaced { before: known.to_owned(), now: layout.uid })
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether the store holds anything that only a store with a layout can hold. Agents may come before the first controller, so
    /// what they write does not count.
    async fn holds_records(&self) -> Result<bool, consul_client::Error> {
        for room in ["spec/", "status/", "inst/", "assign/"] {
            let prefix = format!("{}{room}", self.keys.root());
            let found = self.client.kv_keys(&prefix, None, &Read::consistent()).await?.value;
            if found.iter().any(|key| !key.ends_with(SENTINEL)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
