//! What both runs have in common: the size, the documents, the clients.

use std::time::Duration;

use consul_client::{Address, Client, Config};
use helium_crds::{AnyObject, Deployment, DeploymentStatus, Kind, Metadata, NodeName, ObjectKey, Phase, keys::Keys};
use helium_e2e::Consul;
use helium_engine::people::{People, Who};
use helium_runtime::ports::Ports;

/// How many documents one apply takes.
pub(crate) const APPLY_BATCH: usize = 50;
/// The longest that a run may take.
const LIMIT: Duration = Duration::from_mins(20);
/// How long to wait before looking at a status again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How large the run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Deployments.
    pub(crate) deployments: usize,
    /// Instances of each.
    pub(crate) replicas: u32,
    /// Simulated nodes.
    pub(crate) nodes: usize,
}

impl Size {
    /// `[DEPLOYMENTS [REPLICAS [NODES]]]`; 1,000 Deployments of 10 instances on 20 nodes unless given.
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, std::num::ParseIntError> {
        let numbers: Vec<u32> = arguments.map(|argument| argument.parse()).collect::<Result<_, _>>()?;
        let number = |place: usize, default: u32| numbers.get(place).copied().unwrap_or(default);
        Ok(Self { deployments: number(0, 1000) as usize, replicas: number(1, 10), nodes: number(2, 20) as usize })
    }

    /// The names of the nodes.
    pub(crate) fn nodes(self) -> impl Iterator<Item = NodeName> {
        (0..self.nodes).map(|number| NodeName::new(format!("bench-{number}")))
    }
}

/// A client of a test's Consul.
pub(crate) fn client(consul: &Consul) -> Result<Client, Box<dyn std::error::Error>> {
    let address: Address = consul.address().parse()?;
    Ok(Client::new(Config::at(address))?)
}

/// The store as the person who applies uses it.
pub(crate) fn people(client: Client, ports: &Ports) -> People {
    let who = Who { by: "bench".to_owned(), tool: "helium-bench".to_owned() };
    People::new(client, Keys::default(), ports.clone(), who)
}

/// The documents.
pub(crate) fn manifests(size: Size) -> Result<Vec<AnyObject>, serde_json::Error> {
    (0..size.deployments).map(|number| deployment(number, size.replicas).map(AnyObject::Deployment)).collect()
}

/// One document.
pub(crate) fn deployment(number: usize, replicas: u32) -> Result<Deployment, serde_json::Error> {
    let spec = serde_json::from_value(serde_json::json!({
        "replicas": replicas,
        "minHealthyTime": "0s",
        "template": {
            "version": "1.0.0",
            "exec": { "command": ["/usr/bin/serve", "--port", "${PORT_http}"] },
            "env": { "GREETING": "hi" },
            "ports": [{ "name": "http" }],
            "checks": [{ "name": "up", "http": { "port": "http", "path": "/health" }, "interval": "10s" }],
        },
    }))?;
    Ok(Deployment::new(Kind::Deployment, Metadata::named("default", &format!("app-{number}")), spec))
}

/// Waits until every status says `Healthy`. All of them are looked at once, and again when the last one that was not has become so: to
/// look at each would cost the store time that is measured.
pub(crate) async fn until_all_healthy(
    people: &People,
    size: Size,
    ports: &Ports,
) -> Result<(), Box<dyn std::error::Error>> {
    let deadline = ports.monotonic() + LIMIT;
    let is_healthy = |status: &DeploymentStatus| status.phase == Phase::Healthy;
    loop {
        let statuses = people.statuses().await?;
        let mut keys = (0..size.deployments).rev().map(|number| ObjectKey::new("default", format!("app-{number}")));
        let Some(key) = keys.find(|key| !statuses.get(key).is_some_and(is_healthy)) else { return Ok(()) };
        while !people.status(&key).await?.as_ref().is_some_and(is_healthy) {
            if ports.monotonic() > deadline {
                return Err(format!("{key} is not healthy after {LIMIT:?}").into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
