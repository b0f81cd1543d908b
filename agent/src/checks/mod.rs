//! The checks that a package brings: `helium/checks/*.json` in Consul's own format, and its hook `health`.
//!
//! What Consul can look at by itself (HTTP, TCP) it does. Scripts are run by the agent, which tells Consul what came of them by a check with a
//! time to live: so Consul needs no right to run scripts, and a failure is told at once.

mod read;
mod scripts;

use std::{collections::BTreeMap, time::Duration};

use consul_client::{CheckDefinition, CheckStatus};
use helium_crds::{ids::InstanceId, instance::check_id};
use serde::{Deserialize, Serialize};

pub(crate) use read::{of_health, read};
pub(crate) use scripts::{Around, Scripts};

/// What is added to the time that two runs of a script may be apart, before Consul calls a silent agent's script critical.
const TTL_MARGIN: Duration = Duration::from_secs(10);

/// A check of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PackageCheck {
    /// Its name, unique among the checks of the instance.
    pub(crate) name: String,
    /// What it does.
    pub(crate) kind: CheckKind,
    /// How often it runs.
    pub(crate) interval: Duration,
    /// How long one run may take.
    pub(crate) timeout: Duration,
    /// So many successes in a row turn it passing; 0 for every result.
    #[serde(default)]
    pub(crate) success_before_passing: u64,
    /// So many failures in a row turn it critical; 0 for every result.
    #[serde(default)]
    pub(crate) failures_before_critical: u64,
    /// Words for people.
    #[serde(default)]
    pub(crate) notes: String,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CheckKind {
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
    pub(crate) fn is_script(&self) -> bool {
        matches!(self.kind, CheckKind::Script(_) | CheckKind::Health)
    }

    /// How it is registered. It begins critical.
    pub(crate) fn definition(&self, instance: &InstanceId) -> CheckDefinition {
        self.definition_as(check_id(instance, &self.name))
    }

    /// The same under an id in Consul.
    pub(crate) fn definition_as(&self, id: String) -> CheckDefinition {
        let mut definition = CheckDefinition {
            id,
            name: self.name.clone(),
            notes: self.notes.clone(),
            status: Some(CheckStatus::Critical),
            ..CheckDefinition::default()
        };
        match &self.kind {
            CheckKind::Script(_) | CheckKind::Health => {
                definition.ttl = Some(self.interval.saturating_mul(2) + self.timeout + TTL_MARGIN);
                return definition;
            }
            CheckKind::Ttl(ttl) => {
                definition.ttl = Some(*ttl);
                return definition;
            }
            CheckKind::Http { url, method, header, tls_skip_verify } => {
                definition.http.clone_from(url);
                definition.method.clone_from(method);
                definition.header.clone_from(header);
                definition.tls_skip_verify = *tls_skip_verify;
            }
            CheckKind::Tcp(address) => definition.tcp.clone_from(address),
        }
        definition.interval = Some(self.interval);
        definition.timeout = Some(self.timeout);
        definition.success_before_passing = self.success_before_passing;
        definition.failures_before_critical = self.failures_before_critical;
        definition
    }

    /// What it asks, in words.
    pub(crate) fn question(&self) -> String {
        match &self.kind {
            CheckKind::Script(_) => format!("script {}", self.name),
            CheckKind::Health => "the hook health".to_owned(),
            CheckKind::Http { url, .. } => format!("GET {url}"),
            CheckKind::Tcp(address) => format!("TCP {address}"),
            CheckKind::Ttl(_) => self.name.clone(),
        }
    }
}
