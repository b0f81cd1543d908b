//! The store's layout: made ready once, and watched over ever after.
//!
//! Whoever makes the layout writes the sentinels ([`people::layout`](crate::people::layout)); after that a layout or a sentinel that
//! is missing means that something was lost, and the controller is blind until a person says `helium doctor --repair`. A store that
//! holds records but no layout has lost it: no new one is made then.

use consul_client::Client;
use helium_crds::keys::Keys;
use helium_runtime::ports::Ports;

use crate::people::{People, PeopleError, Who, layout::Layout};

/// Why the layout cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It could not be read or made.
    #[error(transparent)]
    People(#[from] PeopleError),
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
    keys: Keys,
    people: People,
}

impl LayoutKeeper {
    /// A keeper of the layout under `keys`.
    pub fn new(client: Client, keys: Keys, ports: Ports) -> Self {
        let who = Who { by: "helium-controller".to_owned(), tool: "helium-controller".to_owned() };
        let people = People::new(client, keys.clone(), ports, who);
        Self { keys, people }
    }

    /// Makes an unused store ready, and reads the layout of one that is ready.
    pub async fn prepare(&self) -> Result<Layout, LayoutError> {
        self.people.initialise().await.map_err(|error| match error {
            PeopleError::LayoutLost { key } => LayoutError::Lost { key },
            other => other.into(),
        })
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
}
