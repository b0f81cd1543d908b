//! The catalog: nodes and services as the servers know them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    client::{Call, Client},
    error::Error,
    health::HealthCheck,
    lenient::{is_false, is_zero, null_default},
    path,
    read::{Read, Reply},
};

/// A node of the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// A UUID, or empty; two nodes with the same one rename each other.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name.
    #[serde(rename = "Node")]
    pub node: String,
    /// Its address.
    pub address: String,
    /// Its datacenter.
    pub datacenter: String,
    /// Its address for each of `lan`, `wan`, ...
    #[serde(deserialize_with = "null_default")]
    pub tagged_addresses: BTreeMap<String, String>,
    /// Words about it.
    #[serde(deserialize_with = "null_default")]
    pub meta: BTreeMap<String, String>,
    /// The index of the creation.
    pub create_index: u64,
    /// The index of the last change.
    pub modify_index: u64,
}

/// What an instance weighs in DNS SRV answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Weights {
    /// While passing.
    pub passing: u32,
    /// While warning.
    pub warning: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// The address and port of a service under one tag (`lan`, `wan`, ...).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaggedAddress {
    /// The address.
    pub address: String,
    /// The port.
    pub port: u16,
}

/// A registered instance of a service, as health answers, nodes of the catalog, transactions and agents show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Service {
    /// Unique on its node.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name of the service.
    #[serde(rename = "Service")]
    pub service: String,
    /// Its tags.
    #[serde(deserialize_with = "null_default")]
    pub tags: Vec<String>,
    /// Its address; empty means its node's.
    pub address: String,
    /// Its address for each of `lan`, `wan`, ...
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: BTreeMap<String, TaggedAddress>,
    /// Words about it.
    #[serde(deserialize_with = "null_default")]
    pub meta: BTreeMap<String, String>,
    /// Its port; 0 is none.
    pub port: u16,
    /// Its weights in DNS.
    #[serde(deserialize_with = "null_default")]
    pub weights: Weights,
    /// Whether tags set in the catalog stay.
    pub enable_tag_override: bool,
    /// The index of the creation; absent in an agent's answers.
    #[serde(skip_serializing_if = "is_zero")]
    pub create_index: u64,
    /// The index of the last change; absent in an agent's answers.
    #[serde(skip_serializing_if = "is_zero")]
    pub modify_index: u64,
}

/// A row of `catalog/service`: an instance and its node in one flat record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogService {
    /// The node's UUID.
    #[serde(rename = "ID")]
    pub id: String,
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub address: String,
    /// The node's datacenter.
    pub datacenter: String,
    /// The node's tagged addresses.
    #[serde(deserialize_with = "null_default")]
    pub tagged_addresses: BTreeMap<String, String>,
    /// Words about the node.
    #[serde(deserialize_with = "null_default")]
    pub node_meta: BTreeMap<String, String>,
    /// Empty for plain services.
    pub service_kind: String,
    /// The instance's id.
    #[serde(rename = "ServiceID")]
    pub service_id: String,
    /// The service's name.
    pub service_name: String,
    /// Its tags.
    #[serde(deserialize_with = "null_default")]
    pub service_tags: Vec<String>,
    /// Its address; empty means its node's.
    pub service_address: String,
    /// Its weights in DNS.
    #[serde(deserialize_with = "null_default")]
    pub service_weights: Weights,
    /// Words about it.
    #[serde(deserialize_with = "null_default")]
    pub service_meta: BTreeMap<String, String>,
    /// Its port; 0 is none.
    pub service_port: u16,
    /// Whether tags set in the catalog stay.
    pub service_enable_tag_override: bool,
    /// The index of the creation.
    pub create_index: u64,
    /// The index of the last change.
    pub modify_index: u64,
}

/// A node with all its services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogNode {
    /// The node.
    pub node: Node,
    /// Its services by id.
    #[serde(deserialize_with = "null_default")]
    pub services: BTreeMap<String, Service>,
}

/// What `catalog/register` writes: a node, and with it a service and checks. Not for the node of an agent, whose
/// anti-entropy takes away what it does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogRegistration {
    /// The node's UUID; better left empty.
    #[serde(rename = "ID", skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub address: String,
    /// The datacenter to write to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datacenter: String,
    /// The node's tagged addresses.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: BTreeMap<String, String>,
    /// Words about the node.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub node_meta: BTreeMap<String, String>,
    /// Leave an existing node's own fields alone.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_node_update: bool,
    /// A service on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// A check on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<HealthCheck>,
    /// Checks on it.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<HealthCheck>,
}

/// What `catalog/deregister` removes: a check, or a service with its checks, or the whole node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CatalogDeregistration {
    /// The node.
    pub node: String,
    /// Only this service of it.
    #[serde(rename = "ServiceID", skip_serializing_if = "String::is_empty")]
    pub service_id: String,
    /// Only this check of it.
    #[serde(rename = "CheckID", skip_serializing_if = "String::is_empty")]
    pub check_id: String,
    /// The datacenter to write to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datacenter: String,
}

impl Client {
    /// Writes a node, and with it a service and checks, straight to the servers. The same again changes no index.
    pub async fn catalog_register(&self, registration: &CatalogRegistration) -> Result<(), Error> {
        self.tell(Call::put("/v1/catalog/register").json(registration)?).await
    }

    /// Removes from the catalog. What is not there counts as removed.
    pub async fn catalog_deregister(&self, deregistration: &CatalogDeregistration) -> Result<(), Error> {
        self.tell(Call::put("/v1/catalog/deregister").json(deregistration)?).await
    }

    /// All nodes. Without rights the list is short or empty, not an error.
    pub async fn catalog_nodes(&self, read: &Read) -> Result<Reply<Vec<Node>>, Error> {
        self.ask_absent_empty(Call::get("/v1/catalog/nodes").read(read)).await
    }

    /// The names of all services with all their tags. Costly in a large catalog: its index moves at every change.
    pub async fn catalog_services(&self, read: &Read) -> Result<Reply<BTreeMap<String, Vec<String>>>, Error> {
        self.ask_absent_empty(Call::get("/v1/catalog/services").read(read)).await
    }

    /// All instances of a service.
    pub async fn catalog_service(&self, name: &str, read: &Read) -> Result<Reply<Vec<CatalogService>>, Error> {
        self.ask_absent_empty(Call::get(format!("/v1/catalog/service/{}", path::segment(name)?)).read(read)).await
    }

    /// A node with all its services.
    pub async fn catalog_node(&self, name: &str, read: &Read) -> Result<Reply<Option<CatalogNode>>, Error> {
        self.ask_absent_empty(Call::get(format!("/v1/catalog/node/{}", path::segment(name)?)).read(read)).await
    }
}
