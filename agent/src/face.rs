//! What whoever watches over an agent from outside can ask of it, whichever keys it follows.

use serde_json::Value;

use crate::{AgentHandle, helios::HeliosHandle};

/// An agent as it is seen from outside; cheap to clone. Nothing of it waits for Consul.
pub trait Face: Clone + Send + Sync + 'static {
    /// What it counts, in the text format of Prometheus. May look at the disk.
    fn metrics(&self) -> String;

    /// All that is known of the node and of what runs on it, as JSON. May look at the disk.
    fn status(&self) -> Value;

    /// Whether its main loop turns.
    ///
    /// # Errors
    /// Since when it does not, in words for people.
    fn health(&self) -> Result<(), String>;

    /// Whether it has applied the first desired state as far as it could be at once.
    fn is_ready(&self) -> bool;

    /// What it does, in a line.
    fn words(&self) -> String;
}

impl Face for AgentHandle {
    fn metrics(&self) -> String {
        self.metrics()
    }

    fn status(&self) -> Value {
        self.status()
    }

    fn health(&self) -> Result<(), String> {
        self.health()
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn words(&self) -> String {
        self.words()
    }
}

impl Face for HeliosHandle {
    fn metrics(&self) -> String {
        self.metrics()
    }

    fn status(&self) -> Value {
        self.status()
    }

    fn health(&self) -> Result<(), String> {
        self.health()
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }

    fn words(&self) -> String {
        self.words()
    }
}
