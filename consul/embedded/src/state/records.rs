//! The rows of the catalog, in the form that Consul shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A map of short strings.
pub type Meta = BTreeMap<String, String>;

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// A UUID, or empty.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name.
    pub node: String,
    /// Where it is reached.
    pub address: String,
    /// The datacenter.
    pub datacenter: String,
    /// More addresses.
    pub tagged_addresses: Option<Meta>,
    /// Facts.
    pub meta: Option<Meta>,
    /// When it came to exist.
    pub create_index: u64,
    /// When it changed last.
    pub modify_index: u64,
}

/// How much of the traffic an instance should get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Weights {
    /// While it passes.
    pub passing: u32,
    /// While it warns.
    pub warning: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// An instance of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Service {
    /// Unique on its node.
    #[serde(rename = "ID")]
    pub id: String,
    /// The service's name.
    pub service: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Where it is reached, if not at its node's address.
    pub address: String,
    /// More addresses, as they were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tagged_addresses: Option<Value>,
    /// Facts.
    pub meta: Option<Meta>,
    /// The port; 0 for none.
    pub port: u16,
    /// Shares of traffic.
    pub weights: Weights,
    /// Whether others may change the tags.
    pub enable_tag_override: bool,
    /// When it came to exist.
    pub create_index: u64,
    /// When it changed last.
    pub modify_index: u64,
}

/// The state of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Check {
    /// The node.
    pub node: String,
    /// Unique on its node.
    #[serde(rename = "CheckID")]
    pub check_id: String,
    /// For people.
    pub name: String,
    /// `passing`, `warning` or `critical`; the catalog takes any word.
    pub status: String,
    /// For people.
    pub notes: String,
    /// What the check said last.
    pub output: String,
    /// The instance that it is about; empty for the whole node.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// The name of that service.
    pub service_name: String,
    /// The tags of that service when the check was registered.
    pub service_tags: Vec<String>,
    /// `http`, `tcp`, `ttl`, `maintenance`, or empty.
    #[serde(rename = "Type")]
    pub kind: String,
    /// When it came to exist.
    pub create_index: u64,
    /// When it changed last.
    pub modify_index: u64,
}

impl Service {
    /// As the agent shows its own services.
    pub fn agent_view(&self) -> Value {
        json!({
            "ID": self.id, "Service": self.service, "Tags": self.tags, "Meta": self.meta.clone().unwrap_or_default(),
            "Port": self.port, "Address": self.address, "Weights": self.weights,
            "EnableTagOverride": self.enable_tag_override,
        })
    }

    /// As the catalog shows an instance: flat, with its node.
    pub fn catalog_view(&self, node: &Node) -> Value {
        json!({
            "ID": node.id, "Node": node.node, "Address": node.address, "Datacenter": node.datacenter,
            "TaggedAddresses": node.tagged_addresses, "NodeMeta": node.meta, "ServiceKind": "",
            "ServiceID": self.id, "ServiceName": self.service, "ServiceTags": self.tags,
            "ServiceAddress": self.address, "ServiceWeights": self.weights, "ServiceMeta": self.meta,
            "ServicePort": self.port, "ServiceEnableTagOverride": self.enable_tag_override,
            "ServiceProxy": {"MeshGateway": {}, "Expose": {}}, "ServiceConnect": {},
            "CreateIndex": self.create_index, "ModifyIndex": self.modify_index,
        })
    }

    /// As health answers show an instance.
    pub fn health_view(&self) -> impl Serialize + '_ {
        HealthView { service: self, proxy: Proxy::default(), connect: Nothing {} }
    }
}

impl Check {
    /// As Consul shows a check.
    pub fn view(&self) -> impl Serialize + '_ {
        CheckView { check: self, definition: Nothing {} }
    }
}

/// Written as it is read, without a [`Value`] in between: these are the answers that a controller reads the most, and the longest.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthView<'a> {
    #[serde(flatten)]
    service: &'a Service,
    proxy: Proxy,
    connect: Nothing,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CheckView<'a> {
    #[serde(flatten)]
    check: &'a Check,
    definition: Nothing,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Proxy {
    mesh_gateway: Nothing,
    expose: Nothing,
}

/// `{}`.
#[derive(Default, Serialize)]
struct Nothing {}
