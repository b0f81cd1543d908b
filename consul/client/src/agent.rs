//! The Consul agent itself: who it is, and the services and checks that it keeps registered.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    catalog::{Service, TaggedAddress, Weights},
    client::{Call, Client},
    duration,
    error::Error,
    health::{CheckStatus, HealthCheck},
    lenient::{is_false, is_zero, null_default},
    path,
};

/// A service as its agent shows it (without indexes).
pub type AgentService = Service;

/// A check as its agent shows it (indexes are 0).
pub type AgentCheck = HealthCheck;

/// A service to register with an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ServiceDefinition {
    /// Unique on the agent; empty means the name.
    #[serde(rename = "ID", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The service's name.
    pub name: String,
    /// Its address; empty means the node's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Its address for each of `lan`, `wan`, ...
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: BTreeMap<String, TaggedAddress>,
    /// Its port; 0 is none.
    pub port: u16,
    /// Its tags.
    #[serde(deserialize_with = "null_default")]
    pub tags: Vec<String>,
    /// Words about it: at most 64, keys of at most 128 characters `[A-Za-z0-9_-]`, values of at most 512.
    #[serde(deserialize_with = "null_default")]
    pub meta: BTreeMap<String, String>,
    /// Its weights in DNS; none means 1 and 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Whether tags set in the catalog stay.
    #[serde(skip_serializing_if = "is_false")]
    pub enable_tag_override: bool,
    /// Its checks; none leaves those that are registered, and their state, as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<CheckDefinition>>,
    /// One check; the same as a list of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckDefinition>,
}

/// A check to register with an agent: alone, or inside a [`ServiceDefinition`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CheckDefinition {
    /// Unique on the agent; empty means derived from the service's id or the name.
    #[serde(rename = "CheckID", alias = "ID", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// The service it belongs to. Only for a check registered alone; empty there makes it a check of the node, and so of
    /// every service on it.
    #[serde(rename = "ServiceID", skip_serializing_if = "String::is_empty")]
    pub service_id: String,
    /// A URL to ask: 2xx passes, 429 warns, all else is critical.
    #[serde(rename = "HTTP", skip_serializing_if = "String::is_empty")]
    pub http: String,
    /// The method; empty means GET.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Headers to send.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, Vec<String>>,
    /// A body to send.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// Whether not to verify the certificate.
    #[serde(rename = "TLSSkipVerify", skip_serializing_if = "is_false")]
    pub tls_skip_verify: bool,
    /// A `host:port` to connect to.
    #[serde(rename = "TCP", skip_serializing_if = "String::is_empty")]
    pub tcp: String,
    /// Critical unless renewed within this time (see [`Client::agent_update_ttl`]).
    #[serde(rename = "TTL", with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// How often to run it; below 1 s counts as 1 s.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// How long one run may take.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What it says until it has been run; none means critical.
    #[serde(deserialize_with = "status", skip_serializing_if = "Option::is_none")]
    pub status: Option<CheckStatus>,
    /// How many passes in a row make it passing; 0 means 1. Since Consul 1.7.
    #[serde(skip_serializing_if = "is_zero")]
    pub success_before_passing: u64,
    /// How many failures in a row make it critical; its very first result counts at once. Since Consul 1.7.
    #[serde(skip_serializing_if = "is_zero")]
    pub failures_before_critical: u64,
    /// Deregister the service when it was critical for so long; at least about a minute.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub deregister_critical_service_after: Option<Duration>,
}

/// An empty text is Go's way to say "none".
fn status<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<CheckStatus>, D::Error> {
    let text = Option::<String>::deserialize(from)?.unwrap_or_default();
    match text.as_str() {
        "" => Ok(None),
        "passing" => Ok(Some(CheckStatus::Passing)),
        "warning" => Ok(Some(CheckStatus::Warning)),
        "critical" => Ok(Some(CheckStatus::Critical)),
        other => Err(serde::de::Error::custom(format!("unknown status {other:?}"))),
    }
}

/// Who the agent is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSelf {
    /// Consul's version, such as `1.8.7`.
    pub version: String,
    /// The agent's node name.
    pub node_name: String,
    /// The agent's node UUID.
    pub node_id: String,
    /// The datacenter.
    pub datacenter: String,
    /// Whether it is a server.
    pub server: bool,
    /// The address it is known by in the cluster.
    pub member_address: String,
}

/// The JSON of `agent/self`, as far as it is used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentSelfWire {
    /// The configuration.
    pub config: AgentConfigWire,
    /// The agent as a member of the cluster.
    pub member: AgentMemberWire,
}

/// The configuration in `agent/self`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentConfigWire {
    /// The datacenter.
    pub datacenter: String,
    /// The node's name.
    pub node_name: String,
    /// The node's UUID.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// The revision of the build.
    pub revision: String,
    /// Whether it is a server.
    pub server: bool,
    /// The version.
    pub version: String,
}

/// The member in `agent/self`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentMemberWire {
    /// The node's name.
    pub name: String,
    /// The address.
    pub addr: String,
    /// The Serf port.
    pub port: u16,
    /// Words about it.
    #[serde(deserialize_with = "null_default")]
    pub tags: BTreeMap<String, String>,
}

/// The body of `agent/check/update`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TtlUpdateWire {
    /// The new status.
    pub status: CheckStatus,
    /// Words for people.
    pub output: String,
}

impl From<AgentSelfWire> for AgentSelf {
    fn from(wire: AgentSelfWire) -> Self {
        let AgentConfigWire { datacenter, node_name, node_id, server, version, .. } = wire.config;
        Self { version, node_name, node_id, datacenter, server, member_address: wire.member.addr }
    }
}

impl Client {
    /// Who the agent is.
    pub async fn agent_self(&self) -> Result<AgentSelf, Error> {
        self.ask_value::<AgentSelfWire>(Call::get("/v1/agent/self")).await.map(AgentSelf::from)
    }

    /// Registers a service, or changes it. With `replace_existing_checks` its checks that are not in the definition go.
    pub async fn agent_register_service(
        &self,
        service: &ServiceDefinition,
        replace_existing_checks: bool,
    ) -> Result<(), Error> {
        let call = Call::put("/v1/agent/service/register").json(service)?;
        self.tell(if replace_existing_checks { call.with("replace-existing-checks", "true") } else { call }).await
    }

    /// Removes a service and its checks. One that is not there counts as removed.
    pub async fn agent_deregister_service(&self, id: &str) -> Result<(), Error> {
        absent_is_gone(self.tell(Call::put(format!("/v1/agent/service/deregister/{}", path::segment(id)?))).await)
    }

    /// The services of this agent by id.
    pub async fn agent_services(&self) -> Result<BTreeMap<String, AgentService>, Error> {
        self.ask_value(Call::get("/v1/agent/services")).await
    }

    /// The checks of this agent by id.
    pub async fn agent_checks(&self) -> Result<BTreeMap<String, AgentCheck>, Error> {
        self.ask_value(Call::get("/v1/agent/checks")).await
    }

    /// Registers a check, or changes it; a change starts it anew.
    pub async fn agent_register_check(&self, check: &CheckDefinition) -> Result<(), Error> {
        // Alone, a check's id is called `ID`, and Consul refuses fields that it does not know.
        let mut body = serde_json::to_value(check).unwrap_or_default();
        if let Some(fields) = body.as_object_mut()
            && let Some(id) = fields.remove("CheckID")
        {
            fields.insert("ID".to_owned(), id);
        }
        self.tell(Call::put("/v1/agent/check/register").json(&body)?).await
    }

    /// Removes a check. One that is not there counts as removed.
    pub async fn agent_deregister_check(&self, id: &str) -> Result<(), Error> {
        absent_is_gone(self.tell(Call::put(format!("/v1/agent/check/deregister/{}", path::segment(id)?))).await)
    }

    /// Renews a TTL check.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the agent has no TTL check with this id.
    pub async fn agent_update_ttl(&self, check_id: &str, status: CheckStatus, output: &str) -> Result<(), Error> {
        let body = TtlUpdateWire { status, output: output.to_owned() };
        self.tell(Call::put(format!("/v1/agent/check/update/{}", path::segment(check_id)?)).json(&body)?).await
    }

    /// Puts a service into maintenance (a critical check `_service_maintenance:<id>` appears) or takes it out.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the agent has no such service.
    pub async fn agent_service_maintenance(&self, id: &str, enable: bool, reason: &str) -> Result<(), Error> {
        let call = Call::put(format!("/v1/agent/service/maintenance/{}", path::segment(id)?));
        let call = call.with("enable", if enable { "true" } else { "false" });
        self.tell(call.maybe("reason", Some(reason).filter(|reason| !reason.is_empty()))).await
    }
}

/// Newer servers answer 404 to the removal of what is not there; older ones 200.
fn absent_is_gone(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::NotFound { .. }) => Ok(()),
        other => other,
    }
}
