//! The stage of a story: a server, a controller or two, agents, and a person who applies YAML.

use std::{sync::Arc, time::Duration};

use consul_client::{Client, Read, Transport};
use consul_embedded::{Config, Server, seeded_entropy};
use helium_analysis::{Builds, Secrets, Sources};
use helium_crds::{
    DeploymentStatus, ObjectKey, Phase, Source,
    instance::{Assignment, Instance},
    keys::Keys,
};
use helium_engine::{
    Engine, EngineConfig, Readiness,
    metrics::Metrics,
    people::{ObjectRef, People, Who},
};
use helium_notify::{Announce, Nobody};
use helium_runtime::{
    ports::Ports,
    shutdown::{Shutdown, Trigger},
};
use tokio::task::JoinHandle;

use crate::agent::FakeAgent;

/// The Deployment that most stories are about.
pub(crate) const HELLO: &str = r#"
apiVersion: helium.dev/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 3
  template:
    version: "1.0.0"
    exec: {command: ["sample", "--port", "${PORT_http}"]}
    ports: [{name: http}]
    checks: [{name: up, http: {port: http, path: /health}, interval: 1s, timeout: 1s}]
  strategy: {rolling: {maxSurge: 1, maxUnavailable: 0}}
  minHealthyTime: 5s
  progressDeadline: 30s
"#;

/// A server and who works on it.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) ports: Ports,
    pub(crate) people: People,
    pub(crate) keys: Keys,
}

/// A controller that runs.
pub(crate) struct Controller {
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
    pub(crate) leading: tokio::sync::watch::Receiver<bool>,
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Controller {
    /// Stops it in order.
    pub(crate) async fn stop(self) {
        self.trigger.trigger();
        self.task.await.unwrap();
    }

    /// Kills it: nothing is given back.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let ports = Ports::seeded(7, "2026-01-01T00:00:00Z".parse().unwrap());
        let server = Server::in_memory(&Config { entropy: seeded_entropy(3), ..Config::default() });
        let client = Client::over(server.transport(), None);
        let who = Who { by: "alice@test".to_owned(), tool: "helium-apply".to_owned() };
        let keys = Keys::default();
        let people = People::new(client.clone(), keys.clone(), ports.clone(), who);
        Self { server, client, ports, people, keys }
    }

    pub(crate) fn controller(&self, name: &str) -> Controller {
        self.controller_over(name, self.server.transport(), |_| {})
    }

    pub(crate) fn controller_over(
        &self,
        name: &str,
        transport: Arc<dyn Transport>,
        change: impl FnOnce(&mut EngineConfig),
    ) -> Controller {
        let mut config = EngineConfig { name: name.to_owned(), ..EngineConfig::default() };
        change(&mut config);
        self.start(name, Client::over(transport, None), config)
    }

    pub(crate) fn controller_with_token(&self, name: &str, token: &str) -> Controller {
        let config = EngineConfig { name: name.to_owned(), ..EngineConfig::default() };
        self.start(name, Client::over(self.server.transport(), Some(token.to_owned())), config)
    }

    pub(crate) fn controller_announcing(&self, name: &str, announce: Arc<dyn Announce>) -> Controller {
        let config = EngineConfig { name: name.to_owned(), ..EngineConfig::default() };
        Self::run(self.engine(name, self.client.clone(), config).announcing(announce))
    }

    pub(crate) fn controller_following(&self, name: &str, builds: Arc<dyn Builds>) -> Controller {
        self.controller_following_and_announcing(name, builds, Arc::new(Nobody))
    }

    pub(crate) fn controller_following_and_announcing(
        &self,
        name: &str,
        builds: Arc<dyn Builds>,
        announce: Arc<dyn Announce>,
    ) -> Controller {
        let config = EngineConfig { name: name.to_owned(), ..EngineConfig::default() };
        Self::run(self.engine(name, self.client.clone(), config).following(builds).announcing(announce))
    }

    fn start(&self, name: &str, client: Client, config: EngineConfig) -> Controller {
        Self::run(self.engine(name, client, config))
    }

    fn engine(&self, name: &str, client: Client, config: EngineConfig) -> Engine {
        let secrets = Secrets::new(None, []);
        let measure = Sources::new(client.clone(), config.keys.clone(), secrets, self.ports.child(name)).unwrap();
        Engine::new(client, config, self.ports.child(name), Arc::new(measure))
    }

    fn run(engine: Engine) -> Controller {
        let (trigger, shutdown) = Shutdown::new();
        let (readiness, metrics, leading) = (engine.readiness(), engine.metrics(), engine.leading());
        let task = tokio::spawn(async move { engine.run(shutdown).await.unwrap() });
        Controller { readiness, metrics, leading, trigger, task }
    }

    pub(crate) fn agent(&self, node: &str) -> FakeAgent {
        FakeAgent::start(self.client.clone(), self.keys.clone(), self.ports.clone(), node)
    }

    /// An agent that talks to the Consul agent of another node.
    pub(crate) fn agent_on(&self, node: &str, consul_node: &str) -> FakeAgent {
        let client = Client::over(self.server.transport_as(consul_node), None);
        FakeAgent::start(client, self.keys.clone(), self.ports.clone(), node)
    }

    /// Applies YAML, as a person would.
    pub(crate) async fn apply(&self, yaml: &str) {
        let parsed = helium_crds::parse_all(&[Source::new("test.yaml", yaml)]).unwrap();
        let objects: Vec<_> = parsed.into_iter().map(|parsed| parsed.object).collect();
        self.people.initialise().await.unwrap();
        self.people.apply(&objects).await.unwrap();
    }

    pub(crate) async fn status(&self, name: &str) -> Option<DeploymentStatus> {
        self.people.status(&ObjectKey::new("default", name)).await.unwrap()
    }

    pub(crate) async fn instances(&self, name: &str) -> Vec<Instance> {
        let views = self.people.instances(&ObjectKey::new("default", name)).await.unwrap();
        views.into_iter().map(|view| view.instance).collect()
    }

    pub(crate) async fn assignments(&self) -> Vec<Assignment> {
        let pairs = self.client.kv_list(&self.keys.assignments_root(), &Read::default()).await.unwrap().value;
        pairs.iter().filter_map(|pair| serde_json::from_slice(&pair.value).ok()).collect()
    }

    /// Waits until the status of `name` is as wanted; fails with the last one after `limit`.
    pub(crate) async fn until(
        &self,
        name: &str,
        limit: u64,
        wanted: impl Fn(&DeploymentStatus) -> bool,
    ) -> DeploymentStatus {
        let mut last = None;
        for _ in 0..limit * 4 {
            last = self.status(name).await;
            if let Some(status) = last.as_ref().filter(|status| wanted(status)) {
                return status.clone();
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let instances = self.instances(name).await;
        panic!("not within {limit} s; last: {last:#?}\ninstances: {instances:#?}");
    }

    pub(crate) async fn until_healthy(&self, name: &str, limit: u64) -> DeploymentStatus {
        self.until(name, limit, |status| status.phase == Phase::Healthy).await
    }

    /// Waits until something is so; fails after `limit` seconds.
    pub(crate) async fn eventually<F: Future<Output = bool>>(&self, what: &str, limit: u64, so: impl Fn() -> F) {
        for _ in 0..limit * 4 {
            if so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("not within {limit} s: {what}");
    }

    /// Every key but the locks, with its `ModifyIndex`.
    pub(crate) async fn written(&self) -> Vec<(String, u64)> {
        let pairs = self.client.kv_list(self.keys.root(), &Read::default()).await.unwrap().value;
        let no_lock = pairs.into_iter().filter(|pair| pair.key != self.keys.controller_lock());
        no_lock
            .map(|pair| (pair.key, pair.modify_index))
            .filter(|(key, _)| !key.ends_with(helium_crds::keys::SENTINEL))
            .collect()
    }

    /// The index of the last change of a key of Helium's; heartbeats of controllers and agents do not count.
    pub(crate) async fn kv_index(&self) -> u64 {
        let pairs = self.client.kv_list(self.keys.root(), &Read::default()).await.unwrap().value;
        pairs.iter().map(|pair| pair.modify_index).max().unwrap_or(0)
    }

    /// Marks an object for deletion.
    pub(crate) async fn delete(&self, name: &ObjectRef) {
        self.people.delete(std::slice::from_ref(name)).await.unwrap();
    }
}

/// So many simulated seconds.
pub(crate) async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

/// Shows the log of a test that is run with `HELIUM_LOG` set.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HELIUM_LOG").unwrap_or_default();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}
