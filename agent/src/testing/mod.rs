//! What the tests of this crate share.

use helium_crds::NodeName;
pub(crate) use helium_instance::testing::{assignment, instant};

use crate::config::AgentConfig;

/// The configuration of node `n1`.
pub(crate) fn config() -> AgentConfig {
    AgentConfig::new(NodeName::from("n1"), "/nowhere", "/opt/helium")
}
