//! How checks are done: what an agent is told when one is registered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::records::Check;

/// A check that an agent runs or is told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCheck {
    /// Its state as the agent knows it.
    pub check: Check,
    /// How it is done.
    pub definition: CheckDefinition,
    /// Whether the agent knows an output that the catalog does not know yet.
    #[serde(default)]
    pub held_back: bool,
}

/// How a check is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDefinition {
    /// What is asked.
    pub kind: CheckKind,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many successes in a row make it pass; 0 and 1 mean the first.
    pub success_before_passing: u32,
    /// How many failures in a row make it critical; 0 and 1 mean the first.
    pub failures_before_critical: u32,
    /// After how long in critical state the service is deregistered.
    pub deregister_after: Option<Duration>,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckKind {
    /// Somebody must say that all is well, at least this often.
    Ttl(Duration),
    /// An HTTP request must be answered with 2xx (429 is a warning).
    Http {
        /// Where.
        url: String,
        /// `GET` if empty.
        method: String,
        /// Request headers.
        headers: BTreeMap<String, Vec<String>>,
        /// Request body.
        body: String,
    },
    /// A TCP connection must come about.
    Tcp(String),
    /// Nobody asks: a person put the service out of use.
    Maintenance,
}

impl CheckKind {
    /// Whether the agent asks something, and is not told.
    pub fn asks(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::Tcp(_))
    }

    /// As Consul names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ttl(_) => "ttl",
            Self::Http { .. } => "http",
            Self::Tcp(_) => "tcp",
            Self::Maintenance => "maintenance",
        }
    }
}

impl CheckDefinition {
    /// A check of a kind, with nothing else said.
    pub fn new(kind: CheckKind) -> Self {
        Self {
            kind,
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            success_before_passing: 0,
            failures_before_critical: 0,
            deregister_after: None,
        }
    }
}

impl AgentCheck {
    /// A check that has not run yet.
    pub fn new(check: Check, definition: CheckDefinition) -> Self {
        Self { check, definition, held_back: false }
    }
}
