//! The server as its users see it: through a client over the direct transport, mostly under paused time.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod durable;
mod fleet;
mod rights;
mod time;

use std::time::Duration;

use consul_client::{CheckDefinition, Client, ServiceDefinition, SessionRequest};
use consul_embedded::{Config, Server, seeded_entropy};

/// A server in memory, always the same.
fn server() -> Server {
    Server::in_memory(&config())
}

fn config() -> Config {
    Config { node: "one".into(), entropy: seeded_entropy(7), ..Config::default() }
}

/// A client of the server's own agent.
fn client(server: &Server) -> Client {
    Client::over(server.transport(), None)
}

/// A service with one TTL check of a minute, whose id is `check-` and the service's name.
fn service(name: &str) -> ServiceDefinition {
    let check = CheckDefinition {
        id: format!("check-{name}"),
        ttl: Some(Duration::from_mins(1)),
        ..CheckDefinition::default()
    };
    ServiceDefinition { name: name.into(), check: Some(check), ..ServiceDefinition::default() }
}

/// A session of 10 s without lock delay.
fn session() -> SessionRequest {
    let (ttl, lock_delay) = (Some(Duration::from_secs(10)), Some(Duration::ZERO));
    SessionRequest { ttl, lock_delay, ..SessionRequest::default() }
}
