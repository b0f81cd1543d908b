//! S19: whoever is told to stop takes no traffic any more.

use std::time::Duration;

use helium_crds::{InstanceId, NodeName, instance::service_id};

use super::Checkers;
use crate::net::Net;

/// For so long after an older snapshot was restored, what was taken out of Consul before may be in it again, and its agent not know of it.
const RESTORED: Duration = Duration::from_secs(30);

impl Checkers {
    /// An agent sends an instance its stop signal. One whose calls to Consul fail is excused: it has waited as long as it should.
    pub(crate) fn signalled(&mut self, net: &Net, node: &NodeName, id: &InstanceId, excused: bool) {
        let restored = self.restored_at.is_some_and(|at| net.now() < at + RESTORED);
        let is_there =
            |state: &consul_embedded::state::State| state.catalog().service(node.as_str(), &service_id(id)).is_some();
        if !excused && !restored && net.server.with_state(is_there) == Some(true) {
            self.fail("S19", format!("{id} is told to stop on {node} while Consul still sends traffic to it"));
        }
    }
}
