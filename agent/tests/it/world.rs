//! What the stories are told with: a node with its agent, assignments, and conditions that are waited for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use consul_client::{CheckStatus, Client, KvPair, Put, Read, ServiceHealth};
use consul_embedded::checks::NetProber;
use helium_agent::{Agent, AgentConfig, AgentHandle, StopMode};
use helium_crds::{
    InstanceId, NodeName, ObjectKey, Period, RevisionId,
    condition::{ConditionKind, ConditionStatus},
    deployment::StopSignal,
    instance::{Assignment, Desired, InstancePhase, Report, Role, ServiceEntry, service_id},
    keys::Keys,
    template::{Check, Driver, Exec, HttpCheck, Port, Template},
};
use helium_runtime::{
    ports::Ports,
    shutdown::{Shutdown, Trigger},
};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::{consul::Consul, processes, roles};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is so, and gives it.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut is_so: impl FnMut() -> F) -> T {
    let waiting = async {
        loop {
            if let Some(value) = is_so().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it never came to this: {what}"))
}

/// One node, whose data folder outlives its agents.
pub(crate) struct World {
    pub(crate) client: Client,
    /// The real Consul; none on the embedded server.
    consul: Option<Consul>,
    /// Told apart from the other worlds that tests run side by side by this.
    tag: String,
    pub(crate) keys: Keys,
    pub(crate) node: NodeName,
    folder: TempDir,
}

/// An agent in this process.
pub(crate) struct Running {
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Running {
    /// Stops it in the mode it was started with.
    pub(crate) async fn stop(self) {
        self.trigger.trigger();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the agent does not stop").unwrap();
    }
}

/// An agent in a process of its own, killed when it is dropped.
pub(crate) struct AgentProcess(Child);

impl AgentProcess {
    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for World {
    /// A test that fails leaves nothing running.
    fn drop(&mut self) {
        let instances = std::fs::read_dir(self.data().join("instances"));
        for instance in instances.into_iter().flatten().flatten() {
            for pid in processes::running(&instance.file_name().to_string_lossy()) {
                processes::kill(pid);
            }
        }
    }
}

/// Whether a report says that its instance is ready.
pub(crate) fn is_ready(report: &Report) -> bool {
    report.conditions.iter().any(|one| one.kind == ConditionKind::Ready && one.status == ConditionStatus::True)
}

impl World {
    /// On a real Consul.
    pub(crate) async fn new() -> Self {
        let consul = Consul::start().await;
        let (_, port) = consul.address.split_once(':').unwrap();
        Self::on(consul.client.clone(), port.to_owned(), Some(consul))
    }

    /// On the embedded server, without a socket.
    pub(crate) fn embedded() -> Self {
        let server = consul_embedded::Server::in_memory(&consul_embedded::Config::default());
        let checked = server.clone();
        tokio::spawn(async move { checked.run_checks(Arc::new(NetProber)).await });
        Self::on(Client::over(server.transport(), None), format!("e{}", std::process::id()), None)
    }

    fn on(client: Client, tag: String, consul: Option<Consul>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { client, consul, tag, keys: Keys::default(), node: NodeName::from("n1"), folder }
    }

    /// The real Consul.
    pub(crate) fn consul(&mut self) -> &mut Consul {
        self.consul.as_mut().unwrap()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    pub(crate) fn config(&self, data: &Path) -> AgentConfig {
        AgentConfig::new(self.node.clone(), data, env!("CARGO_BIN_EXE_helium-agent-supervise"))
    }

    /// Starts an agent in this process.
    pub(crate) fn agent(&self, mode: StopMode) -> Running {
        self.agent_over(&self.data(), mode)
    }

    pub(crate) fn agent_over(&self, data: &Path, mode: StopMode) -> Running {
        let (trigger, shutdown) = Shutdown::new();
        let agent = Agent::new(self.config(data), self.client.clone(), Ports::real()).unwrap();
        Running { trigger, task: tokio::spawn(agent.run(shutdown, mode)) }
    }

    /// Starts an agent in this process, with what can be asked of it.
    pub(crate) fn agent_and_handle(&self, mode: StopMode) -> (Running, AgentHandle) {
        let (trigger, shutdown) = Shutdown::new();
        let agent = Agent::new(self.config(&self.data()), self.client.clone(), Ports::real()).unwrap();
        let handle = agent.handle();
        (Running { trigger, task: tokio::spawn(agent.run(shutdown, mode)) }, handle)
    }

    /// Starts an agent in a process of its own.
    pub(crate) fn agent_process(&self) -> AgentProcess {
        let command = roles::command("agent");
        let child = Command::new(&command[0])
            .args(&command[1..])
            .env("TEST_NODE", self.node.as_str())
            .env("TEST_DATA", self.data())
            .env("TEST_CONSUL", &self.consul.as_ref().unwrap().address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        AgentProcess(child)
    }

    /// An assignment of a sample with an HTTP check. Its id is of this world only: tests run side by side.
    pub(crate) fn assignment(&self, name: &str) -> Assignment {
        assignment(InstanceId::new(format!("{name}-{}", self.tag)))
    }

    /// An assignment of a shell script without checks or ports.
    pub(crate) fn script(&self, name: &str, script: &str) -> Assignment {
        let mut assignment = self.assignment(name);
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        assignment.template.driver = Driver::Exec(Exec { command, ..Exec::default() });
        assignment.template.ports.clear();
        assignment.template.checks.clear();
        assignment
    }

    /// Writes an assignment.
    pub(crate) async fn assign(&self, assignment: &Assignment) {
        let key = self.keys.assignment(&self.node, &assignment.id);
        let value = serde_json::to_vec(assignment).unwrap();
        assert!(self.client.kv_put(&key, value, &Put::default()).await.unwrap());
    }

    /// Removes an assignment.
    pub(crate) async fn unassign(&self, id: &InstanceId) {
        self.client.kv_delete(&self.keys.assignment(&self.node, id), None).await.unwrap();
    }

    /// Stops an instance, and takes its assignment away once that is reported.
    pub(crate) async fn unassign_stopped(&self, assignment: &Assignment) {
        let stop = Assignment { desired: Desired::Stop, ..assignment.clone() };
        self.assign(&stop).await;
        self.reported(&stop.id, "stopped", |report| report.phase == InstancePhase::Stopped).await;
        self.unassign(&stop.id).await;
        until("forgotten", || async { self.report(&stop.id).await.is_none().then_some(()) }).await;
    }

    /// Waits until an agent that was just started holds the heartbeat.
    pub(crate) async fn joined_anew(&self) {
        let noted = || std::fs::read_to_string(self.data().join("session")).unwrap_or_default();
        until("joined", || async {
            let held = self.pair(&self.keys.heartbeat(&self.node)).await?.session?;
            (held == noted().trim()).then_some(())
        })
        .await;
    }

    pub(crate) async fn pair(&self, key: &str) -> Option<KvPair> {
        self.client.kv_get(key, &Read::default()).await.ok()?.value
    }

    /// Every key with the index of its last write, but for the heartbeat's.
    pub(crate) async fn all_but_the_heartbeat(&self) -> BTreeMap<String, u64> {
        let all = self.client.kv_list(self.keys.root(), &Read::default()).await.unwrap().value;
        let heartbeat = self.keys.heartbeat(&self.node);
        all.into_iter().filter(|pair| pair.key != heartbeat).map(|pair| (pair.key, pair.modify_index)).collect()
    }

    /// One key, whose name is given away, for closures.
    pub(crate) async fn pair_owned(&self, key: String) -> Option<KvPair> {
        self.pair(&key).await
    }

    pub(crate) async fn report(&self, id: &InstanceId) -> Option<Report> {
        let pair = self.pair(&self.keys.report(&self.node, id)).await?;
        Some(serde_json::from_slice(&pair.value).unwrap())
    }

    /// Waits for a report of which something is true.
    pub(crate) async fn reported(&self, id: &InstanceId, what: &str, is_so: impl Fn(&Report) -> bool) -> Report {
        until(what, || async { self.report(id).await.filter(&is_so) }).await
    }

    /// Waits until its report says that it is ready, after which nothing is left to be said of it.
    pub(crate) async fn ready(&self, id: &InstanceId) -> Report {
        self.reported(id, "ready", is_ready).await
    }

    pub(crate) async fn running(&self, id: &InstanceId) -> Report {
        self.reported(id, "running and registered", |report| {
            report.phase == InstancePhase::Running && !report.address.is_empty()
        })
        .await
    }

    /// The instance in Consul's health view.
    pub(crate) async fn health(&self, id: &InstanceId) -> Option<ServiceHealth> {
        let all = self.client.health_service("hello", &Read::default()).await.ok()?.value;
        all.into_iter().find(|one| one.service.id == service_id(id))
    }

    /// Waits until all checks of an instance pass.
    pub(crate) async fn healthy(&self, id: &InstanceId) -> ServiceHealth {
        until("healthy", || async {
            let health = self.health(id).await?;
            health.checks.iter().all(|check| check.status == CheckStatus::Passing).then_some(health)
        })
        .await
    }

    /// Waits until so many processes run for an instance.
    pub(crate) async fn copies(&self, id: &InstanceId, count: usize) -> Vec<u32> {
        until(&format!("{count} processes"), || async {
            Some(processes::running(id.as_str())).filter(|running| running.len() == count)
        })
        .await
    }
}

/// An assignment of a sample with an HTTP check.
fn assignment(id: InstanceId) -> Assignment {
    let own = [("helium-instance", id.as_str()), ("helium-node", "n1"), ("helium-version", "1.0.0")];
    Assignment {
        deployment: ObjectKey::new("default", "hello"),
        uid: "u1".to_owned(),
        revision: RevisionId::from("r1-00"),
        template: Template {
            package: None,
            config: serde_json::Map::new(),
            secrets: std::collections::BTreeMap::new(),
            config_update: <_>::default(),
            overrides: <_>::default(),
            resources: <_>::default(),
            jobs: std::collections::BTreeMap::new(),
            election: None,
            templates: None,
            version: "1.0.0".to_owned(),
            driver: Driver::Exec(Exec { command: roles::command("sample"), ..Exec::default() }),
            env: BTreeMap::new(),
            ports: vec![Port { name: "http".to_owned(), port: None }],
            checks: vec![Check {
                name: "up".to_owned(),
                http: Some(HttpCheck { port: None, path: "/health".to_owned() }),
                tcp: None,
                interval: Period::from_secs(1),
                timeout: Period::from_secs(1),
                success_before_passing: 0,
                failures_before_critical: 0,
            }],
        },
        desired: Desired::Run,
        role: Role::Stable,
        service: ServiceEntry {
            name: "hello".to_owned(),
            id: service_id(&id),
            tags: vec!["stable".to_owned()],
            meta: own.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            weight: None,
        },
        stop_signal: StopSignal::Term,
        drain: Period::from_secs(0),
        stop_after_disconnect: None,
        stop_grace_period: Period::from_secs(2),
        created_at: Timestamp::UNIX_EPOCH,
        id,
    }
}
