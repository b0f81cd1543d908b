//! The store as people use it, and in whose name.

use consul_client::Client;
use helium_engine::people::{People, Who};

use crate::{
    output::Failure,
    session::{Session, hostname},
};

impl Session {
    /// The store as people use it; `command` goes into `metadata.managers` with what is written.
    pub(crate) fn people(&self, command: &str) -> Result<People, Failure> {
        Ok(self.people_over(self.client()?, command))
    }

    /// The same over a client that is there already.
    pub(crate) fn people_over(&self, client: Client, command: &str) -> People {
        let who = Who { by: whoami(), tool: format!("helium-{command}") };
        People::new(client, self.keys(), self.ports.clone(), who)
    }
}

/// The person and the machine: `alice@laptop`.
fn whoami() -> String {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = var("USER").or_else(|| var("LOGNAME")).unwrap_or_else(|| "unknown".to_owned());
    format!("{user}@{}", hostname())
}
