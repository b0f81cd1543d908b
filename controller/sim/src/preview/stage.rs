//! The simulated world of a preview: a Consul that holds what the snapshot holds, with the same nodes and the same instances on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use consul_client::{Behavior, CheckDefinition, CheckStatus, Client, Put, ServiceDefinition, SessionRequest, Weights};
use consul_embedded::{Config, Server};
use helium_crds::{
    NodeName,
    instance::{Assignment, Desired, Instance, InstancePhase, Report, check_id, nobody_listens},
    keys::Keys,
};
use helium_engine::people::{People, Who};
use helium_runtime::ports::Ports;
use serde::de::DeserializeOwned;

use super::{PreviewError, Snapshot, leaps::Leaping, machines::Standing, record::Recorder, tap::Tap};

/// The Consul node that the controller of a preview talks to.
pub(super) const OWN_NODE: &str = "helium-preview";
/// What decides all chance in a preview; any number would do, and always the same one.
const SEED: u64 = 1;
/// A check that nobody asks stays as it is for longer than any preview looks ahead.
const FOR_EVER: Duration = Duration::from_hours(24 * 3650);
/// What a check says that the controller saw failing without knowing more.
const UNKNOWN_FAILURE: &str = "failing already";

/// The world.
pub(super) struct Stage {
    pub(super) server: Server,
    pub(super) ports: Ports,
    /// Its wall clock.
    pub(super) clock: Arc<Leaping>,
    pub(super) recorder: Arc<Recorder>,
    /// The agent of each node that is there, as its machine uses it.
    pub(super) agents: BTreeMap<NodeName, Agent>,
    /// How the instances that are there stand.
    pub(super) standing: BTreeMap<helium_crds::InstanceId, Standing>,
}

/// The Consul agent of a node.
#[derive(Clone)]
pub(super) struct Agent {
    pub(super) client: Client,
    pub(super) address: String,
}

impl Stage {
    /// Makes the world of a snapshot. Must be called inside a runtime whose time is paused.
    pub(super) async fn build(snapshot: &Snapshot, fails_at: Option<u32>) -> Result<Self, PreviewError> {
        let (ports, clock) = Leaping::with(Ports::seeded(SEED, snapshot.now));
        let entropy = consul_embedded::seeded_entropy(SEED);
        let server = Server::in_memory(&Config { node: OWN_NODE.to_owned(), entropy, ..Config::default() });
        let objects = snapshot.objects.keys().cloned();
        let recorder = Arc::new(Recorder::new(ports.clone(), objects, fails_at));
        let (agents, standing) = (BTreeMap::new(), BTreeMap::new());
        let mut stage = Self { server, ports, clock, recorder, agents, standing };
        stage.people().initialise().await?;
        stage.join(snapshot).await?;
        let client = stage.client();
        for (key, value) in &snapshot.records {
            client.kv_put(key, value.clone(), &Put::default()).await?;
        }
        stage.register(snapshot).await?;
        Ok(stage)
    }

    /// A client of the controller's own Consul agent.
    pub(super) fn client(&self) -> Client {
        Tap::client(&self.server, OWN_NODE, &self.recorder)
    }

    /// The store of this world as people use it.
    pub(super) fn people(&self) -> People {
        let who = Who { by: "preview".to_owned(), tool: "helium-apply".to_owned() };
        People::new(self.client(), Keys::default(), self.ports.child("people"), who)
    }

    /// Has every node join, and those that are there hold their heartbeats.
    async fn join(&mut self, snapshot: &Snapshot) -> Result<(), PreviewError> {
        let mut joined = BTreeSet::new();
        for node in &snapshot.nodes {
            let record = &node.record;
            if joined.insert(&record.consul_node) {
                self.server.join(&record.consul_node, &record.address);
            }
            let client = Tap::client(&self.server, &record.consul_node, &self.recorder);
            client.kv_put(&Keys::default().node(&record.name), json(record), &Put::default()).await?;
            let Some(heartbeat) = &node.heartbeat else { continue };
            let request = SessionRequest {
                name: record.name.to_string(),
                lock_delay: Some(Duration::ZERO),
                behavior: Behavior::Delete,
                node_checks: Some(Vec::new()),
                ..SessionRequest::default()
            };
            let session = client.session_create(&request).await?;
            let key = Keys::default().heartbeat(&record.name);
            client.kv_put(&key, json(heartbeat), &Put::acquire(session)).await?;
            let agent = Agent { client, address: record.address.clone() };
            self.agents.insert(record.name.clone(), agent);
        }
        Ok(())
    }

    /// Registers the instances that run, each as healthy or not as the controller saw it last.
    async fn register(&mut self, snapshot: &Snapshot) -> Result<(), PreviewError> {
        let keys = Keys::default();
        for object in snapshot.objects.keys() {
            for (key, value) in snapshot.records.range(keys.instances(object)..) {
                if !key.starts_with(&keys.instances(object)) {
                    break;
                }
                let instance: Instance = read(key, value)?;
                let Some(agent) = self.agents.get(&instance.node).cloned() else { continue };
                let report = found(snapshot, &keys.report(&instance.node, &instance.id))?;
                let assignment = found(snapshot, &keys.assignment(&instance.node, &instance.id))?;
                let (Some(report), Some(assignment)) = (report, assignment) else { continue };
                let Some(standing) = stands(&instance, &report) else { continue };
                register_as_it_was(&agent, &instance, &report, &assignment).await?;
                self.adopt_index(key, instance.clone()).await?;
                self.standing.insert(instance.id, standing);
            }
        }
        Ok(())
    }

    /// What the record knows of its checks' indexes is about another Consul: with that of this one it proves as much as before.
    async fn adopt_index(&self, key: &str, mut instance: Instance) -> Result<(), PreviewError> {
        let service = helium_crds::instance::service_id(&instance.id);
        let index = self.server.with_state(|state| {
            let own = state.catalog().all_checks().filter(|check| check.service_id == service);
            own.map(|check| check.modify_index).max()
        });
        if instance.healthy_since.is_some() {
            instance.check_index = index.flatten().unwrap_or(0);
            self.client().kv_put(key, json(&instance), &Put::default()).await?;
        }
        Ok(())
    }
}

/// How an instance stands that was there already; none if it is still on its way, so that its machine begins with it anew.
fn stands(instance: &Instance, report: &Report) -> Option<Standing> {
    let on_its_way = match report.phase {
        InstancePhase::Fetching | InstancePhase::Installing | InstancePhase::Starting => report.restarts == 0,
        InstancePhase::Running => {
            let nothing_worse = report.failing.values().all(|said| nobody_listens(said));
            instance.healthy_since.is_none() && !instance.has_been_healthy && nothing_worse
        }
        InstancePhase::Stopped | InstancePhase::Failed => false,
    };
    match (instance.desired, report.phase) {
        (Desired::Stop, InstancePhase::Stopped) => Some(Standing::Gone),
        _ if on_its_way => None,
        _ => Some(Standing::Up),
    }
}

/// Registers an instance with its checks as they were seen last.
async fn register_as_it_was(
    agent: &Agent,
    instance: &Instance,
    report: &Report,
    assignment: &Assignment,
) -> Result<(), PreviewError> {
    if report.phase != InstancePhase::Running {
        return Ok(());
    }
    let is_healthy = instance.healthy_since.is_some();
    let status = if is_healthy { CheckStatus::Passing } else { CheckStatus::Critical };
    register(agent, assignment, Some(status)).await?;
    let checks = assignment.template.checks.iter().filter(|_| !is_healthy && instance.has_been_healthy);
    for check in checks {
        let said = report.failing.get(&check.name).map_or(UNKNOWN_FAILURE, String::as_str);
        agent.client.agent_update_ttl(&check_id(&instance.id, &check.name), CheckStatus::Critical, said).await?;
    }
    Ok(())
}

/// Registers the service of an instance: with checks of this status, or with those that it has already.
pub(super) async fn register(
    agent: &Agent,
    assignment: &Assignment,
    status: Option<CheckStatus>,
) -> Result<(), consul_client::Error> {
    let entry = &assignment.service;
    let check = |check: &helium_crds::template::Check| CheckDefinition {
        id: check_id(&assignment.id, &check.name),
        name: check.name.clone(),
        ttl: Some(FOR_EVER),
        status,
        ..CheckDefinition::default()
    };
    let service = ServiceDefinition {
        id: entry.id.clone(),
        name: entry.name.clone(),
        address: agent.address.clone(),
        tags: entry.tags.clone(),
        meta: entry.meta.clone(),
        weights: entry.weight.map(|weight| Weights { passing: weight, warning: weight }),
        checks: status.map(|_| assignment.template.checks.iter().map(check).collect()),
        ..ServiceDefinition::default()
    };
    agent.client.agent_register_service(&service, false).await
}

fn found<T: DeserializeOwned>(snapshot: &Snapshot, key: &str) -> Result<Option<T>, PreviewError> {
    snapshot.records.get(key).map(|value| read(key, value)).transpose()
}

fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, PreviewError> {
    serde_json::from_slice(value)
        .map_err(|error| PreviewError::Unreadable { key: key.to_owned(), why: error.to_string() })
}

pub(super) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
