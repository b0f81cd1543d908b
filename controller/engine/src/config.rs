//! What an engine can be told: where the store keeps things, and how long to wait for what.

use std::time::Duration;

use helium_crds::keys::Keys;
use helium_planner::{Decision, World};

/// The settings of an [`Engine`](crate::Engine). `EngineConfig::default()` is what production uses.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where everything lives in Consul KV.
    pub keys: Keys,
    /// This controller's name in its service registration and in the lock, where the instant of its start is appended: unique among the
    /// controllers that run. Empty: a random one.
    pub name: String,
    /// Where this controller's metrics can be asked for, for people: `10.0.0.7:9180`.
    pub address: String,
    /// The port that it registers with; 0 is none.
    pub port: u16,
    /// How long a node's heartbeat may be absent, in a view that can be trusted, before the node is lost.
    pub lost_after: Duration,
    /// The longest wait of one long poll. Consul adds up to a sixteenth; at most 25 s is safe on every version.
    pub wait: Duration,
    /// The longest wait of a long poll for the health of a service: its slot is free for another one so soon.
    pub health_wait: Duration,
    /// How many services may be watched by a long poll of their own at the same time. With all others that makes as many as the
    /// client lets wait at once (72 of 90 connections), so that none has to wait for its turn, which its deadline would not know of.
    pub health_polls: usize,
    /// Every service that has no long poll is read at least this often.
    pub sweep_interval: Duration,
    /// A service in motion that has no long poll (yet) is read at least this often.
    pub quick_sweep: Duration,
    /// Everything is read again and looked at again about this often, whatever has happened.
    pub resync: Duration,
    /// How many objects are reconciled at the same time.
    pub concurrency: usize,
    /// How many transactions are under way at the same time; who has something to write meanwhile shares the next one.
    pub transactions: usize,
    /// How long one reconcile may take.
    pub reconcile_timeout: Duration,
    /// A source that has not been heard of for this long is stale, and nothing is decided on it.
    pub stale_after: Duration,
    /// For tests: forget everything that is kept in memory before each reconcile. The outcome must be the same.
    pub forget_between_reconciles: bool,
    /// What decides. For tests: another planner, to see that what it does wrong is noticed.
    pub planner: fn(&World) -> Decision,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            name: String::new(),
            address: String::new(),
            port: 0,
            lost_after: Duration::from_mins(1),
            wait: Duration::from_secs(25),
            health_wait: Duration::from_secs(5),
            health_polls: 34,
            sweep_interval: Duration::from_mins(1),
            quick_sweep: Duration::from_secs(2),
            resync: Duration::from_mins(5),
            concurrency: 32,
            transactions: 4,
            reconcile_timeout: Duration::from_mins(1),
            stale_after: Duration::from_secs(45),
            forget_between_reconciles: false,
            planner: helium_planner::plan,
        }
    }
}

impl EngineConfig {
    /// The id of this controller's own service in Consul's catalog.
    pub fn service_id(&self) -> String {
        format!("helium-controller-{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_long_poll_of_a_controller_finds_a_connection() {
        let shards = helium_crds::keys::shards().count();
        // Specs and reports by shard; nodes, heartbeats; the lock and the other controllers; critical checks and Consul's nodes.
        let others = 2 * shards + 2 + 2 + 2;
        assert!(others + EngineConfig::default().health_polls <= 72);
    }
}
