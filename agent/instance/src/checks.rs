//! The checks that a package brings, as they are remembered.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

/// A check of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageCheck {
    /// Its name, unique among the checks of the instance.
    pub name: String,
    /// What it does.
    pub kind: CheckKind,
    /// How often it runs.
    pub interval: Duration,
    /// How long one run may take.
    pub timeout: Duration,
    /// So many successes in a row turn it passing; 0 for every result.
    #[serde(default)]
    pub success_before_passing: u64,
    /// So many failures in a row turn it critical; 0 for every result.
    #[serde(default)]
    pub failures_before_critical: u64,
    /// Words for people.
    #[serde(default)]
    pub notes: String,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CheckKind {
    /// The agent runs a program.
    Script(Vec<String>),
    /// The agent runs the hook `health`.
    Health,
    /// Consul asks an address.
    Http {
        /// The address.
        url: String,
        /// By which method; empty for GET.
        method: String,
        /// With these headers.
        header: BTreeMap<String, Vec<String>>,
        /// Whether any certificate will do.
        tls_skip_verify: bool,
    },
    /// Consul connects to an address.
    Tcp(String),
    /// The application tells its state by itself, at least as often as this.
    Ttl(Duration),
}

impl PackageCheck {
    /// Whether the agent runs it.
    pub fn is_script(&self) -> bool {
        matches!(self.kind, CheckKind::Script(_) | CheckKind::Health)
    }

    /// What it asks, in words.
    pub fn question(&self) -> String {
        match &self.kind {
            CheckKind::Script(_) => format!("script {}", self.name),
            CheckKind::Health => "the hook health".to_owned(),
            CheckKind::Http { url, .. } => format!("GET {url}"),
            CheckKind::Tcp(address) => format!("TCP {address}"),
            CheckKind::Ttl(_) => self.name.clone(),
        }
    }
}
