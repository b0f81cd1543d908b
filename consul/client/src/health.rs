//! Health: checks, and services together with theirs.

use serde::{Deserialize, Serialize};

use crate::{
    catalog::{Node, Service},
    client::{Call, Client},
    error::Error,
    lenient::null_default,
    path,
    read::{Read, Reply},
};

/// What a check says. Order: the worst is the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// All is well.
    Passing,
    /// Serves, but somebody should look.
    Warning,
    /// Must not be used; what a check is until it has been run.
    #[default]
    Critical,
}

impl CheckStatus {
    /// Consul's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A check as the catalog and an agent show it. An empty `service_id` makes it a check of the whole node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheck {
    /// The node.
    pub node: String,
    /// Unique on its node.
    #[serde(rename = "CheckID")]
    pub check_id: String,
    /// For people.
    pub name: String,
    /// What it says.
    #[serde(deserialize_with = "status")]
    pub status: CheckStatus,
    /// For people.
    pub notes: String,
    /// What the last run printed; reaches the catalog late (5 min) unless the status changes too.
    pub output: String,
    /// The service it belongs to.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// That service's name.
    pub service_name: String,
    /// That service's tags.
    #[serde(deserialize_with = "null_default")]
    pub service_tags: Vec<String>,
    /// `http`, `tcp`, `ttl`, ..., or empty.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What a catalog registration said about how to run it.
    #[serde(deserialize_with = "null_default")]
    pub definition: serde_json::Map<String, serde_json::Value>,
    /// The index of the creation; 0 in an agent's answers.
    pub create_index: u64,
    /// The index of the last change; 0 in an agent's answers.
    pub modify_index: u64,
}

/// Consul stores whatever status a registration gave; what is not known is not passing.
fn status<'de, D: serde::Deserializer<'de>>(from: D) -> Result<CheckStatus, D::Error> {
    Ok(match Option::<String>::deserialize(from)?.as_deref() {
        Some("passing") => CheckStatus::Passing,
        Some("warning") => CheckStatus::Warning,
        _ => CheckStatus::Critical,
    })
}

/// One instance of a service with its node and all checks that count for it: its own and its node's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceHealth {
    /// The node.
    pub node: Node,
    /// The instance.
    pub service: Service,
    /// The checks.
    #[serde(deserialize_with = "null_default")]
    pub checks: Vec<HealthCheck>,
}

impl Client {
    /// All instances of a service with their checks. Without rights the list is empty, not an error.
    pub async fn health_service(&self, name: &str, read: &Read) -> Result<Reply<Vec<ServiceHealth>>, Error> {
        self.ask_absent_empty(Call::get(format!("/v1/health/service/{}", path::segment(name)?)).read(read)).await
    }

    /// All checks with this status; `None` for any.
    pub async fn health_state(
        &self,
        status: Option<CheckStatus>,
        read: &Read,
    ) -> Result<Reply<Vec<HealthCheck>>, Error> {
        let status = status.map_or("any", CheckStatus::as_str);
        self.ask_absent_empty(Call::get(format!("/v1/health/state/{status}")).read(read)).await
    }

    /// All checks of a node.
    pub async fn health_node(&self, node: &str, read: &Read) -> Result<Reply<Vec<HealthCheck>>, Error> {
        self.ask_absent_empty(Call::get(format!("/v1/health/node/{}", path::segment(node)?)).read(read)).await
    }

    /// The checks of all instances of a service, without those of their nodes.
    pub async fn health_checks(&self, service: &str, read: &Read) -> Result<Reply<Vec<HealthCheck>>, Error> {
        self.ask_absent_empty(Call::get(format!("/v1/health/checks/{}", path::segment(service)?)).read(read)).await
    }
}
