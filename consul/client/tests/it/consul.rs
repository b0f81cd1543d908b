//! Consul agents for the tests; the one that all share ends when the test program does.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use consul_client::{Address, Client, Config, Read};
use helium_test_consul::{Mode, NODE};

/// A running agent; it stops when this value or the test program ends.
pub(crate) struct Consul {
    agent: helium_test_consul::Consul,
    pub(crate) socket: PathBuf,
}

impl Consul {
    /// Starts an agent in dev mode with additional configuration in HCL.
    pub(crate) fn start(hcl: &str) -> Self {
        Self::launch(Mode::Dev, hcl)
    }

    /// Starts one server of two: it never gets a leader.
    pub(crate) fn start_leaderless() -> Self {
        Self::launch(Mode::Leaderless, "")
    }

    /// Starts an agent that knows no server.
    pub(crate) fn start_serverless() -> Self {
        Self::launch(Mode::Serverless, "")
    }

    fn launch(mode: Mode, hcl: &str) -> Self {
        let agent = helium_test_consul::Consul::launch(mode, hcl);
        Self { socket: agent.socket(), agent }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Address {
        self.agent.address().parse().unwrap()
    }

    /// A client over TCP.
    pub(crate) fn client(&self) -> Client {
        Client::new(Config::at(self.address())).unwrap()
    }

    /// Waits until there is a leader.
    pub(crate) async fn led(&self) -> &Self {
        let client = self.client();
        until("Consul has a leader", async || client.status_leader().await.is_ok_and(|leader| !leader.is_empty()))
            .await;
        self
    }
}

/// The agent that all tests share, ready, with its node registered.
pub(crate) async fn shared() -> Client {
    let client = instance().led().await.client();
    let read = Read::default();
    until("the node is registered", async || {
        client.health_node(NODE, &read).await.is_ok_and(|reply| reply.value.iter().any(|c| c.check_id == "serfHealth"))
    })
    .await;
    client
}

/// The agent that all tests share.
pub(crate) fn instance() -> &'static Consul {
    static SHARED: OnceLock<Consul> = OnceLock::new();
    SHARED.get_or_init(|| Consul::start(""))
}

/// Waits for a condition, at most 20 s.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited 20 s in vain until {what}");
}
