//! What people do to the store: apply, delete, scale, undo, requests to a rollout, and reading all of it back.
//!
//! These are the writes of the CLI and of every other front door; none of them holds the controller's lock, so each is a
//! compare-and-set on exactly what was read:
//!
//! - [`apply`]: whole documents in, all or nothing as far as one transaction goes; an unchanged document writes nothing;
//! - [`delete`], [`scale`], [`set`], [`undo`]: small edits of a spec that is there, tried again when somebody else was faster;
//! - [`control`]: requests to the rollout that is under way, and the controller's answers;
//! - [`maintenance`]: a node, or instances, out of service for a while;
//! - [`layout`]: the first use of an empty store, and the repair of a damaged one;
//! - [`read`] and [`follow`]: looking, once or as things change.
//!
//! A write whose answer was lost is never sent again blindly: [`commit`] reads back what it wrote first.

pub mod apply;
mod checks;
mod commit;
pub mod control;
pub mod delete;
mod edit;
mod error;
pub mod follow;
pub mod layout;
pub mod maintenance;
pub mod manifest;
pub mod read;
pub mod scale;
pub mod set;
mod stock;
#[cfg(test)]
mod tests;
pub mod undo;
mod versions;
pub mod weights;

use consul_client::Client;
use helium_crds::{Metadata, keys::Keys, object::Manager};
use helium_runtime::ports::Ports;

pub use apply::{Applied, Outcome};
pub use control::Asked;
pub use delete::Deleted;
pub use error::PeopleError;
pub use layout::Condition;
pub use maintenance::{MaintenanceError, Whom};
pub use manifest::{ObjectRef, Stored};
pub use read::Row;
pub use scale::Scaled;
pub use set::Setting;
pub use undo::Way;

/// Who writes, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The person or machine account: `alice@laptop`.
    pub by: String,
    /// The tool, which is the key under `metadata.managers`: `helium-apply`.
    pub tool: String,
}

/// The store as people use it: one namespace of keys in one Consul, in the name of one person. Cheap to clone.
#[derive(Clone)]
pub struct People {
    client: Client,
    keys: Keys,
    ports: Ports,
    who: Who,
}

impl People {
    /// The store behind `client` under `keys`, used in the name of `who`.
    pub fn new(client: Client, keys: Keys, ports: Ports, who: Who) -> Self {
        Self { client, keys, ports, who }
    }

    /// The client that everything goes through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where everything lives.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The clock and the randomness.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Writes down in `metadata` who is about to change it, and when.
    fn sign(&self, metadata: &mut Metadata) {
        let manager = Manager { by: self.who.by.clone(), at: self.ports.now() };
        metadata.managers.insert(self.who.tool.clone(), manager);
    }
}
