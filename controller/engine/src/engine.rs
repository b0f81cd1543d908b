//! The engine: wires sources, health, queue, leader and reconciler into one controller.

use std::sync::{Arc, atomic::AtomicU64};

use consul_client::Client;
use helium_analysis::{Builds, Measure};
use helium_crds::ObjectKey;
use helium_notify::{Announce, Nobody};
use helium_runtime::{
    controller::Controller,
    leader::{Elector, ElectorConfig},
    ports::Ports,
    queue::{Limits, Priority},
    runner::{self, Action, Handle, Run, RunnerConfig},
    shutdown::{Shutdown, Trigger},
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    builds::{
        follower::{self, Follower},
        versions::Versions,
    },
    commit::{Committer, lock},
    config::EngineConfig,
    health::{CONTROLLER_SERVICE, Health},
    layout::LayoutKeeper,
    measuring::Measuring,
    memory::Memory,
    metrics::{Kind, Metrics, SharedRegistry},
    polls,
    readiness::Readiness,
    reconcile::{ReconcileError, Reconciler},
    reread::Reader,
    sources::Sources,
    upkeep, wakes,
};

/// The longest backoff of a failing object: what it failed on may be gone at any time.
const RETRY_CAP: std::time::Duration = std::time::Duration::from_secs(15);

/// How long an object rests after a reconcile, so that the reports of ten instances that start together do not cost ten reconciles. What
/// happens later than this after a reconcile is answered at once.
const REST: std::time::Duration = std::time::Duration::from_millis(200);

/// How long the start waits for an unused store to be made ready.
const PREPARE: std::time::Duration = std::time::Duration::from_secs(3);

/// Why a controller cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting makes no sense.
    #[error("{0}")]
    Config(String),
    /// One of the tasks beside the queue has panicked: it is a bug, and nothing can be relied on any more.
    #[error("a part of the controller has failed: {0}")]
    Failed(String),
}

/// One controller: made with [`Engine::new`], run with [`Engine::run`].
pub struct Engine {
    client: Client,
    config: EngineConfig,
    ports: Ports,
    readiness: Readiness,
    metrics: Metrics,
    registry: SharedRegistry,
    leadership: watch::Sender<bool>,
    measure: Arc<dyn Measure>,
    announce: Arc<dyn Announce>,
    builds: Option<Arc<dyn Builds>>,
}

impl Engine {
    /// A controller that will work on the store behind `client`, and ask `measure` about metrics and gates. Nothing happens before
    /// [`Engine::run`].
    pub fn new(client: Client, mut config: EngineConfig, ports: Ports, measure: Arc<dyn Measure>) -> Self {
        config.name = match config.name.as_str() {
            "" => ports.random_hex(12),
            // One that is started again under its name must not keep the check, and with it the lock, of its dead life alive. The
            // instant of the start sets the two apart without a number drawn, so that no simulated world is another one for it.
            name => format!("{name}-{:x}", ports.now().as_millisecond()),
        };
        let (metrics, registry) = (Metrics::default(), SharedRegistry::default());
        metrics.register(&mut lock(&registry));
        let (readiness, leadership) = (Readiness::starting(), watch::Sender::new(false));
        let announce = Arc::new(Nobody);
        let builds = None;
        Self { client, config, ports, readiness, metrics, registry, leadership, measure, announce, builds }
    }

    /// The same, which tells `announce` of each event that it has committed.
    #[must_use]
    pub fn announcing(self, announce: Arc<dyn Announce>) -> Self {
        Self { announce, ..self }
    }

    /// The same, which asks `builds` what the jobs of HydraJobs have built. Without it, nobody is asked.
    #[must_use]
    pub fn following(self, builds: Arc<dyn Builds>) -> Self {
        Self { builds: Some(builds), ..self }
    }

    /// Whether the world can be seen, and why not. May be asked at any time.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// What is counted. Others may put theirs into it too.
    pub fn metrics_registry(&self) -> SharedRegistry {
        Arc::clone(&self.registry)
    }

    /// The metrics themselves.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Whether this controller leads, as it changes.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leadership.subscribe()
    }

    /// Runs until `shutdown`: running reconciles end, then the lock is given back.
    ///
    /// # Errors
    /// [`Error::Config`] at once, [`Error::Failed`] after a bug; nothing that can go wrong with the store ends it.
    pub async fn run(&self, shutdown: Shutdown) -> Result<(), Error> {
        if self.config.concurrency == 0 {
            return Err(Error::Config("concurrency must be at least 1".to_owned()));
        }
        // The lock outlives the work: what still runs at the shutdown is committed under it.
        let (give_back, lock_shutdown) = Shutdown::new();
        let elector = Elector::start(self.client.clone(), self.elector_config(), self.ports.clone(), lock_shutdown);
        self.prepare(&shutdown).await;
        let (stop_watching, watching) = Shutdown::new();
        let reconciler = Arc::new(self.reconciler(&watching));
        let controller = Controller::with_config(self.runner_config(), elector.leadership(), self.ports.clone());
        let controller = wakes::wire(controller, &reconciler);
        let mut helpers = self.helpers(&reconciler, &controller.handle(), &elector, &watching);
        let (give_up, working) = shutdown.child();
        let outcome = beside(&mut helpers, &shutdown, &give_up, controller.run(Job(reconciler), working)).await;
        stop_watching.trigger();
        while helpers.join_next().await.is_some() {}
        give_back.trigger();
        elector.stopped().await;
        outcome
    }

    /// Makes an unused store ready before it is watched, lest every watch begins with a complaint. Whatever is in the way is told,
    /// and tried again, later.
    async fn prepare(&self, shutdown: &Shutdown) {
        let layout = LayoutKeeper::new(self.client.clone(), self.config.keys.clone(), self.ports.clone());
        let prepared = tokio::time::timeout(PREPARE, layout.prepare());
        if let Some(Ok(Err(error))) = shutdown.unless_cancelled(prepared).await {
            tracing::debug!(%error, "the store is not ready yet");
        }
    }

    /// Everything that runs beside the queue.
    fn helpers(
        &self,
        reconciler: &Arc<Reconciler>,
        handle: &Handle<ObjectKey>,
        elector: &Elector,
        shutdown: &Shutdown,
    ) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let all = || (Arc::clone(reconciler), handle.clone(), shutdown.clone());
        let (shared, keys, until) = all();
        tasks.spawn(wakes::follow_nodes(reconciler.sources.nodes.views.clone(), shared, keys, until));
        let (shared, keys, until) = all();
        tasks.spawn(wakes::follow_nodes(reconciler.sources.heartbeats.views.clone(), shared, keys, until));
        let (shared, keys, until) = all();
        tasks.spawn(wakes::follow_overrides(shared, keys, until));
        let (shared, _, until) = all();
        tasks.spawn(wakes::follow_leader(elector.leadership(), shared, self.leadership.clone(), until));
        let (shared, _, until) = all();
        tasks.spawn(upkeep::prepare(shared, until));
        let (shared, keys, until) = all();
        tasks.spawn(upkeep::resync(shared, keys, until));
        let (shared, keys, until) = all();
        tasks.spawn(upkeep::measure(shared, keys, elector.leadership(), until));
        let (shared, keys, until) = all();
        tasks.spawn(async move {
            shared.measuring.run(|object| keys.add(object, Priority::CHANGE, "Measured"), until).await;
        });
        let (shared, keys, until) = all();
        let wake: polls::Wake = Arc::new(move |object| keys.add(object, Priority::CHANGE, "HealthChanged"));
        tasks.spawn(polls::keep_up(Arc::clone(&shared.health), self.metrics.clone(), wake, until));
        if let Some(builds) = &self.builds {
            let (shared, keys, until) = all();
            let wake = Arc::new(move |object: &ObjectKey| keys.add(object, Priority::CHANGE, "BuildFound"));
            let follower = self.follower(&shared, builds, wake);
            tasks.spawn(follower.run(elector.leadership(), until));
        }
        tasks
    }

    fn follower(&self, reconciler: &Reconciler, builds: &Arc<dyn Builds>, wake: follower::Wake) -> Follower {
        Follower {
            client: self.client.clone(),
            keys: self.config.keys.clone(),
            ports: self.ports.clone(),
            sources: reconciler.sources.clone(),
            committer: Arc::clone(&reconciler.committer),
            builds: Arc::clone(builds),
            wake,
            announce: Arc::clone(&self.announce),
        }
    }

    fn runner_config(&self) -> RunnerConfig {
        RunnerConfig {
            concurrency: self.config.concurrency,
            run_timeout: self.config.reconcile_timeout,
            resync: self.config.resync,
            limits: Limits { retry_cap: RETRY_CAP, rest: REST, ..Limits::default() },
            ..RunnerConfig::default()
        }
    }

    fn elector_config(&self) -> ElectorConfig {
        let config = ElectorConfig::new(CONTROLLER_SERVICE, &self.config.name, &self.config.keys.controller_lock());
        ElectorConfig { address: self.config.address.clone(), port: self.config.port, ..config }
    }

    fn reconciler(&self, shutdown: &Shutdown) -> Reconciler {
        let Self { client, config, ports, metrics, readiness, .. } = self;
        let keys = config.keys.clone();
        let reader = Reader::new(client.clone(), keys.clone());
        let layout = LayoutKeeper::new(client.clone(), keys, ports.clone());
        Reconciler {
            sources: Sources::watch(client, config, ports, shutdown),
            health: Arc::new(Health::new(client.clone(), config.clone(), ports.clone(), readiness.clone())),
            announce: Arc::clone(&self.announce),
            measuring: Measuring::new(Arc::clone(&self.measure), ports.clone()),
            memory: Memory::new(reader, layout, ports.clone(), metrics.clone()),
            committer: Arc::new(Committer::new(client.clone(), config, ports.clone(), metrics.clone())),
            versions: Versions::new(client.clone(), config.keys.clone()),
            config: config.clone(),
            ports: ports.clone(),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            resyncs: AtomicU64::new(0),
            lane: tokio::sync::Mutex::new(()),
            without_place: std::sync::Mutex::default(),
            phases: std::sync::Mutex::default(),
            blind: std::sync::Mutex::default(),
            refused: std::sync::Mutex::default(),
        }
    }
}

/// Does the `work` until `shutdown`. If one of the `helpers` panics before, the work is given up: without that helper nothing that it
/// does can be relied on.
async fn beside(
    helpers: &mut JoinSet<()>,
    shutdown: &Shutdown,
    give_up: &Trigger,
    work: impl Future<Output = ()>,
) -> Result<(), Error> {
    let watch = async {
        while let Some(ended) = shutdown.unless_cancelled(helpers.join_next()).await.flatten() {
            if let Err(panicked) = ended {
                tracing::error!(%panicked, "a part of the controller has failed");
                give_up.trigger();
                return Err(Error::Failed(panicked.to_string()));
            }
        }
        Ok(())
    };
    tokio::join!(work, watch).1
}

/// The reconciler as the runner sees it.
struct Job(Arc<Reconciler>);

impl runner::Reconciler for Job {
    type Key = ObjectKey;
    type Error = ReconcileError;

    async fn reconcile(&self, object: ObjectKey, run: Run) -> Result<Action, ReconcileError> {
        let Self(reconciler) = self;
        let started = reconciler.ports.monotonic();
        let result = reconciler.reconcile(&object, run.leadership.lease()).await;
        let metrics = &reconciler.metrics;
        metrics.seconds.0.observe(reconciler.ports.monotonic().saturating_sub(started).as_secs_f64());
        let Err(error) = result else {
            metrics.reconciles.inc();
            reconciler.succeeded(&object);
            return result;
        };
        metrics.errors.get_or_create(&Kind::of(error.name())).inc();
        if let ReconcileError::Blind(reason) = &error {
            reconciler.is_blind(&object, reason);
        }
        reconciler.try_again_in(&object, &error).map(Action::RequeueAfter).ok_or(error)
    }

    fn reason(error: &ReconcileError) -> &'static str {
        error.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_helper_that_panics_ends_the_controller_and_one_that_is_done_does_not() {
        let (stop, shutdown) = Shutdown::new();
        let (give_up, working) = shutdown.child();
        let mut helpers = JoinSet::new();
        helpers.spawn(async { panic!("what nobody had thought of") });
        let outcome = beside(&mut helpers, &shutdown, &give_up, working.cancelled()).await;
        assert!(outcome.unwrap_err().to_string().contains("what nobody had thought of"));

        let (give_up, working) = shutdown.child();
        let asked = shutdown.clone();
        helpers.spawn(async {});
        helpers.spawn(async move { asked.cancelled().await });
        stop.trigger();
        assert!(beside(&mut helpers, &shutdown, &give_up, working.cancelled()).await.is_ok());
    }
}
