//! A Helium node: one agent, its durable facts and its heartbeat.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{features::Features, ids::NodeName, maintenance::Mark};

/// `node/<node>`: durable facts of a node, written by its agent when it joins and when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRecord {
    /// The node's name.
    pub name: NodeName,
    /// The name of the Consul node that the agent registers with.
    pub consul_node: String,
    /// The address that instances are registered under.
    pub address: String,
    /// The version of the agent.
    pub agent_version: String,
    /// The operating system and processor: `linux/x86_64`.
    pub platform: String,
    /// Names and values to place by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What its machine has; none of an agent that does not say, and then nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// While it is in maintenance: it gets no new instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Mark>,
    /// When the node first joined.
    pub joined_at: Timestamp,
}

/// `alive/<node>`: the value of the heartbeat key, which is held by the session of the node's agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// The node's name.
    pub name: NodeName,
    /// When this run of the agent began.
    pub since: Timestamp,
}
