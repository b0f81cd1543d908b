//! The keys of Helios in Consul.

/// What the node has: one name as plain text, or a JSON list of names.
pub(super) fn services(node: &str) -> String {
    format!("nodes/{node}/services")
}

/// All about a node.
pub(super) fn of_node(node: &str) -> String {
    format!("nodes/{node}/")
}

/// All about a service.
pub(super) fn of_service(service: &str) -> String {
    format!("service/{service}/")
}

/// The lock of the leader.
pub(super) fn leader(service: &str) -> String {
    format!("service/{service}/leader")
}
