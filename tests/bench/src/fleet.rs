//! Agents that run nothing: each answers its assignments with a report and a healthy registration.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use consul_client::{
    CheckStatus, Client, Error, HealthCheck, Node, Put, Service, SessionRequest, TxnOp, txn::CatalogVerb,
};
use helium_crds::{
    NodeName,
    instance::{Assignment, Desired, InstancePhase, Report, check_id},
    keys::Keys,
    node::{Heartbeat, NodeRecord},
};
use helium_runtime::{
    ports::Ports,
    shutdown::Shutdown,
    snapshot::{Decode, InvalidRow},
    watcher::{WatchConfig, watch_prefix},
};
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::{bare::MAX_OPS, world::Size};

/// A report, a service and a check.
pub(crate) const OPS_AN_INSTANCE: usize = 3;
/// How long after a failure an agent tries again.
const RETRY: Duration = Duration::from_millis(250);

/// Starts an agent a node; they end when the set is dropped.
pub(crate) async fn start(
    client: &Client,
    size: Size,
    ports: &Ports,
) -> Result<JoinSet<()>, Box<dyn std::error::Error>> {
    let nodes: Vec<NodeName> = size.nodes().collect();
    join(client, &nodes).await?;
    let mut agents = JoinSet::new();
    for node in nodes {
        present(client, &node, ports).await?;
        agents.spawn(live(client.clone(), node, ports.clone()));
    }
    Ok(agents)
}

/// Puts the nodes into Consul's catalog, where their services will be.
pub(crate) async fn join(client: &Client, nodes: &[NodeName]) -> Result<(), Error> {
    let ops: Vec<TxnOp> = nodes
        .iter()
        .map(|name| {
            let node = Node { node: name.to_string(), address: "127.0.0.1".to_owned(), ..Node::default() };
            TxnOp::Node { verb: CatalogVerb::Set, node }
        })
        .collect();
    for batch in ops.chunks(MAX_OPS) {
        client.txn(batch).await?;
    }
    Ok(())
}

/// The node's record and its heartbeat, held by a session that does not end within a run.
async fn present(client: &Client, node: &NodeName, ports: &Ports) -> Result<(), Box<dyn std::error::Error>> {
    let keys = Keys::default();
    let record = NodeRecord {
        name: node.clone(),
        consul_node: node.to_string(),
        address: "127.0.0.1".to_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        platform: "bench".to_owned(),
        labels: std::collections::BTreeMap::new(),
        features: None,
        maintenance: None,
        joined_at: ports.now(),
    };
    client.kv_put(&keys.node(node), serde_json::to_vec(&record)?, &Put::default()).await?;
    client.kv_put(&format!("{}.keep", keys.assignments(node)), "", &Put::default()).await?;
    let request = SessionRequest { name: node.to_string(), node_checks: Some(Vec::new()), ..SessionRequest::default() };
    let session = client.session_create(&request).await?;
    let heartbeat = Heartbeat { name: node.clone(), since: ports.now() };
    let put = Put { acquire: Some(session), ..Put::default() };
    client.kv_put(&keys.heartbeat(node), serde_json::to_vec(&heartbeat)?, &put).await?;
    Ok(())
}

/// Watches the assignments of a node, as a real agent does, and answers each that is new.
async fn live(client: Client, node: NodeName, ports: Ports) {
    let keys = Keys::default();
    // The watch ends with its reader.
    let (_stop, shutdown) = Shutdown::new();
    let config = WatchConfig::new(&keys.assignments(&node));
    let mut views = watch_prefix::<Assigned>(client.clone(), config, ports.clone(), shutdown);
    let mut answered: BTreeMap<String, Desired> = BTreeMap::new();
    while views.changed().await.is_ok() {
        let snapshot = Arc::clone(&views.borrow_and_update().snapshot);
        let rows = snapshot.rows.iter().filter_map(|(key, row)| Some((key, &row.get()?.0)));
        let new: Vec<(&String, &Assignment)> =
            rows.filter(|(key, assignment)| answered.get(*key) != Some(&assignment.desired)).collect();
        while write(&client, &keys, &node, &ports, &new).await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        answered.extend(new.into_iter().map(|(key, assignment)| (key.clone(), assignment.desired)));
    }
}

async fn write(
    client: &Client,
    keys: &Keys,
    node: &NodeName,
    ports: &Ports,
    new: &[(&String, &Assignment)],
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for batch in new.chunks(MAX_OPS / OPS_AN_INSTANCE) {
        let mut ops = Vec::with_capacity(batch.len() * OPS_AN_INSTANCE);
        for (_, assignment) in batch {
            match assignment.desired {
                Desired::Run => ops.extend(answer(keys, node, assignment, ports.now())?),
                Desired::Stop => ops.extend(farewell(keys, node, assignment, ports.now())?),
            }
        }
        client.txn(&ops).await?;
    }
    Ok(())
}

/// A row of a node's assignments.
struct Assigned(Assignment);

impl Decode for Assigned {
    fn decode(_: &str, bytes: &[u8]) -> Result<Self, InvalidRow> {
        serde_json::from_slice(bytes).map(Self).map_err(|error| InvalidRow::new("$", error))
    }
}

/// What an agent writes about one instance that runs and is healthy.
pub(crate) fn answer(
    keys: &Keys,
    node: &NodeName,
    assignment: &Assignment,
    now: Timestamp,
) -> Result<[TxnOp; OPS_AN_INSTANCE], serde_json::Error> {
    let Assignment { id, service: entry, .. } = assignment;
    let report = report(node, assignment, InstancePhase::Running, now);
    let service = Service {
        id: entry.id.clone(),
        service: entry.name.clone(),
        tags: entry.tags.clone(),
        meta: entry.meta.clone(),
        address: "127.0.0.1".to_owned(),
        port: 20_000,
        ..Service::default()
    };
    let check = HealthCheck {
        node: node.to_string(),
        check_id: check_id(id, "up"),
        name: "up".to_owned(),
        status: CheckStatus::Passing,
        service_id: entry.id.clone(),
        service_name: entry.name.clone(),
        ..HealthCheck::default()
    };
    Ok([
        TxnOp::set(keys.report(node, id), serde_json::to_vec(&report)?),
        TxnOp::Service { verb: CatalogVerb::Set, node: node.to_string(), service },
        TxnOp::Check { verb: CatalogVerb::Set, check },
    ])
}

/// What an agent writes about one instance that it has stopped. The check goes with its service.
fn farewell(
    keys: &Keys,
    node: &NodeName,
    assignment: &Assignment,
    now: Timestamp,
) -> Result<[TxnOp; 2], serde_json::Error> {
    let Assignment { id, service: entry, .. } = assignment;
    let service = Service { id: entry.id.clone(), service: entry.name.clone(), ..Service::default() };
    let report = report(node, assignment, InstancePhase::Stopped, now);
    Ok([
        TxnOp::Service { verb: CatalogVerb::Delete, node: node.to_string(), service },
        TxnOp::set(keys.report(node, id), serde_json::to_vec(&report)?),
    ])
}

fn report(node: &NodeName, assignment: &Assignment, phase: InstancePhase, now: Timestamp) -> Report {
    Report {
        id: assignment.id.clone(),
        deployment: assignment.deployment.clone(),
        node: node.clone(),
        phase,
        message: None,
        address: "127.0.0.1".to_owned(),
        ports: [("http".to_owned(), 20_000)].into(),
        pid: (phase == InstancePhase::Running).then_some(1),
        restarts: 0,
        failing: BTreeMap::new(),
        checks: Vec::new(),
        unheld: BTreeMap::new(),
        jobs: BTreeMap::new(),
        conditions: Vec::new(),
        since: now,
    }
}
