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

/// The lock that one node at a time holds while it changes a service.
pub(super) fn upgrade(service: &str) -> String {
    format!("service/{service}/upgrade")
}

/// The lock of the leader.
pub(super) fn leader(service: &str) -> String {
    format!("service/{service}/leader")
}

/// The session of a node's service.
pub(super) fn session(node: &str, service: &str) -> String {
    format!("sessions/{node}/{service}")
}

/// The mark of a version, or of values by `config-<digest>`, that failed.
pub(super) fn bad(service: &str, what: &str) -> String {
    format!("service/{service}/bad/{what}")
}
