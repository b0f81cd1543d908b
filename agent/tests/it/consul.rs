//! A real Consul for one test, that leads, and a client of it.

use std::time::Duration;

use consul_client::{Address, Client, Config};
use helium_test_consul::Mode;

use crate::world::until;

/// A running Consul, killed when it is dropped.
pub(crate) struct Consul {
    agent: helium_test_consul::Consul,
    pub(crate) address: String,
    pub(crate) client: Client,
}

pub(crate) fn client(address: &str) -> Client {
    let (host, port) = address.split_once(':').unwrap();
    let address = Address::Http { host: host.to_owned(), port: port.parse().unwrap() };
    Client::new(Config { address, request_timeout: Duration::from_secs(5), ..Config::default() }).unwrap()
}

impl Consul {
    /// Starts a Consul and waits until it leads.
    pub(crate) async fn start() -> Self {
        let agent = helium_test_consul::Consul::launch(Mode::Dev, "");
        let address = agent.address();
        let consul = Self { agent, client: client(&address), address };
        consul.leads().await;
        consul
    }

    /// Kills it and starts another in its place, which knows nothing.
    pub(crate) async fn replace(&mut self) {
        self.agent.replace();
        self.leads().await;
    }

    async fn leads(&self) {
        until("consul leads", || async {
            self.client.kv_put("ready", "yes", &consul_client::Put::default()).await.ok().filter(|done| *done)
        })
        .await;
    }

    /// Stops it, so that it answers nobody.
    pub(crate) fn pause(&self) {
        self.agent.freeze();
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.agent.thaw();
    }
}
