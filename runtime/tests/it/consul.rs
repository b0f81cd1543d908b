//! A real Consul for one test, that leads and knows itself, and clients of it.

use std::time::Duration;

use consul_client::{Client, Config, Read};
use helium_test_consul::{Mode, NODE};

/// A running agent.
pub(crate) struct Consul(helium_test_consul::Consul);

impl Consul {
    /// Starts an agent and waits until it leads and knows itself.
    pub(crate) async fn start() -> Self {
        let consul = Self(helium_test_consul::Consul::launch(Mode::Dev, ""));
        let client = consul.client();
        until("Consul knows itself", async || {
            let checks = client.health_node(NODE, &Read::default()).await;
            checks.is_ok_and(|reply| reply.value.iter().any(|check| check.check_id == "serfHealth"))
        })
        .await;
        consul
    }

    /// A client with connections of its own.
    pub(crate) fn client(&self) -> Client {
        Client::new(Config::at(self.0.address().parse().unwrap())).unwrap()
    }

    /// Stops the process in its tracks (SIGSTOP).
    pub(crate) fn freeze(&self) {
        self.0.freeze();
    }

    /// Lets it go on (SIGCONT).
    pub(crate) fn thaw(&self) {
        self.0.thaw();
    }
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
