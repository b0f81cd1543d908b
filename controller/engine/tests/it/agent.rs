//! An agent without processes: it registers what it is assigned, reports it, and keeps the checks as the test wants them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use consul_client::{CheckDefinition, CheckStatus, Client, Put, Read, ServiceDefinition, SessionRequest};
use helium_crds::{
    InstanceId, NodeName,
    instance::{Assignment, Desired, InstancePhase, Report, check_id},
    keys::Keys,
    node::{Heartbeat, NodeRecord},
};
use helium_runtime::ports::Ports;
use tokio::task::JoinHandle;

/// How often the agent looks at its assignments.
const LOOK: Duration = Duration::from_millis(500);
/// Long enough for no test to run into it.
const NEVER: Duration = Duration::from_secs(100_000);

/// An agent of one node. Dropping it is killing it.
pub(crate) struct FakeAgent {
    /// Versions whose instances fail their checks.
    pub(crate) broken: Arc<Mutex<BTreeSet<String>>>,
    session: Arc<Mutex<Option<String>>>,
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeAgent {
    pub(crate) fn start(client: Client, keys: Keys, ports: Ports, node: &str) -> Self {
        let broken = Arc::new(Mutex::new(BTreeSet::new()));
        let session = Arc::new(Mutex::new(None));
        let mut hand = Hand {
            client: client.clone(),
            keys,
            ports,
            node: NodeName::from(node),
            broken: Arc::clone(&broken),
            session: Arc::clone(&session),
            passing: BTreeMap::new(),
            reported: BTreeMap::new(),
        };
        let task = tokio::spawn(async move {
            hand.join().await;
            loop {
                hand.look().await;
                tokio::time::sleep(LOOK).await;
            }
        });
        Self { broken, session, client, task }
    }

    /// From now on the instances of a version fail their checks, or pass them again.
    pub(crate) fn set_broken(&self, version: &str, broken: bool) {
        let mut versions = self.broken.lock().unwrap();
        if broken {
            versions.insert(version.to_owned());
        } else {
            versions.remove(version);
        }
    }
}

impl FakeAgent {
    /// The machine is gone: nobody answers, and the store ends the session in the end.
    pub(crate) async fn vanish(self) {
        self.task.abort();
        let session = self.session.lock().unwrap().take().unwrap();
        self.client.session_destroy(&session).await.unwrap();
    }
}

struct Hand {
    client: Client,
    keys: Keys,
    ports: Ports,
    node: NodeName,
    broken: Arc<Mutex<BTreeSet<String>>>,
    session: Arc<Mutex<Option<String>>>,
    passing: BTreeMap<InstanceId, bool>,
    reported: BTreeMap<InstanceId, InstancePhase>,
}

impl Hand {
    async fn join(&mut self) {
        let record = NodeRecord {
            name: self.node.clone(),
            consul_node: "localhost".to_owned(),
            address: "127.0.0.1".to_owned(),
            agent_version: "test".to_owned(),
            platform: "linux/x86_64".to_owned(),
            labels: BTreeMap::new(),
            features: None,
            maintenance: None,
            joined_at: self.ports.now(),
        };
        let value = serde_json::to_vec(&record).unwrap();
        self.client.kv_put(&self.keys.node(&self.node), value, &Put::default()).await.unwrap();
        let request = SessionRequest {
            name: self.node.to_string(),
            ttl: Some(Duration::from_hours(24)),
            lock_delay: Some(Duration::ZERO),
            node_checks: Some(Vec::new()),
            ..SessionRequest::default()
        };
        let session = self.client.session_create(&request).await.unwrap();
        *self.session.lock().unwrap() = Some(session.clone());
        let beat = serde_json::to_vec(&Heartbeat { name: self.node.clone(), since: self.ports.now() }).unwrap();
        let put = Put { acquire: Some(session), ..Put::default() };
        assert!(self.client.kv_put(&self.keys.heartbeat(&self.node), beat, &put).await.unwrap());
    }

    async fn look(&mut self) {
        let prefix = self.keys.assignments(&self.node);
        let Ok(reply) = self.client.kv_list(&prefix, &Read::default()).await else { return };
        let mut seen = BTreeSet::new();
        for pair in reply.value {
            let Ok(assignment) = serde_json::from_slice::<Assignment>(&pair.value) else { continue };
            seen.insert(assignment.id.clone());
            match assignment.desired {
                Desired::Run => self.run(&assignment).await,
                Desired::Stop => self.stop(&assignment).await,
            }
        }
        let stopped = self.reported.iter().filter(|(_, phase)| **phase == InstancePhase::Stopped);
        let gone = stopped.map(|(id, _)| id).filter(|id| !seen.contains(*id));
        let gone: Vec<InstanceId> = gone.cloned().collect();
        for id in gone {
            self.client.kv_delete(&self.keys.report(&self.node, &id), None).await.unwrap();
            self.reported.remove(&id);
        }
    }

    async fn run(&mut self, assignment: &Assignment) {
        let id = &assignment.id;
        let check = |name: &str| CheckDefinition {
            id: check_id(id, name),
            name: name.to_owned(),
            ttl: Some(NEVER),
            status: Some(CheckStatus::Critical),
            ..CheckDefinition::default()
        };
        if !self.passing.contains_key(id) {
            let definition = ServiceDefinition {
                id: assignment.service.id.clone(),
                name: assignment.service.name.clone(),
                tags: assignment.service.tags.clone(),
                meta: assignment.service.meta.clone(),
                checks: Some(assignment.template.checks.iter().map(|own| check(&own.name)).collect()),
                ..ServiceDefinition::default()
            };
            if self.client.agent_register_service(&definition, true).await.is_err() {
                return;
            }
            self.passing.insert(id.clone(), false);
        }
        self.report(assignment, InstancePhase::Running).await;
        let pass = !self.broken.lock().unwrap().contains(&assignment.template.version);
        if self.passing[id] != pass {
            let status = if pass { CheckStatus::Passing } else { CheckStatus::Critical };
            for own in &assignment.template.checks {
                self.client.agent_update_ttl(&check_id(id, &own.name), status, "").await.unwrap();
            }
            self.passing.insert(id.clone(), pass);
        }
    }

    async fn stop(&mut self, assignment: &Assignment) {
        if self.passing.remove(&assignment.id).is_some() {
            self.client.agent_deregister_service(&assignment.service.id).await.unwrap();
        }
        self.report(assignment, InstancePhase::Stopped).await;
    }

    async fn report(&mut self, assignment: &Assignment, phase: InstancePhase) {
        if self.reported.get(&assignment.id) == Some(&phase) {
            return;
        }
        let report = Report {
            id: assignment.id.clone(),
            deployment: assignment.deployment.clone(),
            node: self.node.clone(),
            phase,
            message: None,
            address: "127.0.0.1".to_owned(),
            ports: BTreeMap::new(),
            pid: None,
            restarts: 0,
            failing: BTreeMap::new(),
            checks: Vec::new(),
            unheld: BTreeMap::new(),
            jobs: BTreeMap::new(),
            conditions: Vec::new(),
            since: self.ports.now(),
        };
        let value = serde_json::to_vec(&report).unwrap();
        self.client.kv_put(&self.keys.report(&self.node, &assignment.id), value, &Put::default()).await.unwrap();
        self.reported.insert(assignment.id.clone(), phase);
    }
}
