//! The services of a node: each in a task of its own, those that are assigned and the roles that their packages name.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use consul_client::Client;
use helium_crds::variables::INHERITED;
use helium_lookups::{FollowerConfig, Local};
use helium_runtime::{ports::Ports, pulse::BEAT, shutdown::Shutdown};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior},
};

use super::{
    config::HeliosConfig,
    idle::look_while_idle,
    rendering::leader_key,
    service::{Ended, Service},
    showing::{HeliosHandle, Showing},
    watching::{Assignment, ServiceKeys, follow_node},
    wish,
};
use crate::{
    agent::AgentError,
    config::StopMode,
    data::{DataDir, DataError},
    package::{lookups::Lookups, packages::Packages},
};

/// The role that is this agent itself.
const SELF: &str = "helios";
/// The wait before a service whose record cannot be read is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(10);
/// How long a single run waits for Consul to tell the assignment before what is noted counts.
const TOLD_LIMIT: Duration = Duration::from_secs(10);

/// What all services of a node share.
pub(super) struct Common {
    pub(super) config: HeliosConfig,
    pub(super) client: Client,
    pub(super) ports: Ports,
    pub(super) packages: Packages,
    /// What is to be seen of all of it.
    pub(super) showing: Showing,
    /// What the templates of all services ask.
    pub(super) lookups: Arc<Lookups>,
    pub(super) inherited: BTreeMap<String, String>,
    /// Nobody stays to look after what was started.
    pub(super) once: bool,
    /// Told when Consul has taken the result of a script.
    pub(super) told: Notify,
    roles: watch::Sender<BTreeMap<String, Vec<String>>>,
    stops: AtomicBool,
    folder: PathBuf,
    began: (Timestamp, Duration),
}

/// What a service is to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The node has it, or nobody has said anything yet.
    Assigned,
    /// It is installed along with another, and never leads.
    Role,
    /// The node has others.
    Gone,
    /// The key that would say it is not there.
    Unsaid,
}

/// What a service is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orders {
    /// What it is to the node.
    pub(super) place: Place,
    /// It is to stop with the agent.
    pub(super) halt: bool,
}

impl Common {
    /// The present instant: within one run of the agent time does not jump.
    pub(super) fn now(&self) -> Timestamp {
        let passed = self.ports.monotonic().saturating_sub(self.began.1);
        self.began.0 + SignedDuration::try_from(passed).unwrap_or(SignedDuration::ZERO)
    }

    pub(super) fn prove_within(&self) -> SignedDuration {
        SignedDuration::try_from(self.config.prove_within).unwrap_or(SignedDuration::MAX)
    }

    pub(super) fn service_dir(&self, service: &str) -> PathBuf {
        self.folder.join("services").join(service)
    }

    /// Tells the roles that the package of a service names.
    pub(super) fn tell_roles(&self, service: &str, named: &[String]) {
        self.roles.send_if_modified(|roles| {
            let before = roles.get(service).cloned().unwrap_or_default();
            roles.insert(service.to_owned(), named.to_vec());
            before != named
        });
    }

    /// Whether what runs is to stop with the agent.
    pub(super) fn config_stops(&self) -> bool {
        self.stops.load(Ordering::SeqCst)
    }
}

/// The agent of a node over the layout of Helios, which owns its data folder.
pub struct HeliosAgent {
    common: Arc<Common>,
    _data: DataDir,
    roles: watch::Receiver<BTreeMap<String, Vec<String>>>,
    assignment: watch::Sender<Assignment>,
    running: Mutex<BTreeMap<String, Running>>,
    tasks: JoinSet<(String, Ended)>,
    /// Whether what is noted was taken up.
    ready: watch::Sender<bool>,
    /// Those of a single run that have ended well.
    settled: BTreeSet<String>,
}

struct Running {
    orders: watch::Sender<Orders>,
    following: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl HeliosAgent {
    /// An agent that has its data folder. With `once` it converges and ends.
    ///
    /// # Errors
    /// The folder cannot be had, or what is noted in it cannot be read.
    pub fn new(mut config: HeliosConfig, client: Client, ports: Ports, once: bool) -> Result<Self, AgentError> {
        // Services and hooks have working directories of their own, from which a relative path would lead elsewhere.
        config.data_dir = std::path::absolute(&config.data_dir)?;
        config.package_root = std::path::absolute(&config.package_root)?;
        let data = DataDir::take(&config.data_dir)?;
        let folder = data.root().join("helios");
        let services = folder.join("services");
        // What hooks print may be secret.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&services);
        made.map_err(|source| DataError::Io { path: services, source })?;
        let noted = wish::load(&folder.join("assigned.json"))?.unwrap_or_default();
        let (roles_told, roles) = watch::channel(BTreeMap::new());
        let inherited: BTreeMap<String, String> =
            std::env::vars().filter(|(name, _)| INHERITED.contains(&name.as_str())).collect();
        let (root, netrc) = (config.package_root.clone(), config.netrc.clone());
        let local = Local { address: Some(config.address.clone()), files: true, ..Local::default() };
        // A service is stopped while its files are made: it waits for no answer to be believed, and what is empty is empty, as Helios had it.
        // An index that has gone back, as it does when Consul forgets what was deleted, is no reason to wait either.
        let following = FollowerConfig {
            allow_empty: true,
            patience: Duration::ZERO,
            local,
            leader_key: Arc::new(leader_key),
            ..FollowerConfig::default()
        };
        let showing = Showing::new(ports.clone());
        let counted = Some(showing.telemetry.clone());
        let common = Common {
            lookups: Arc::new(Lookups::over(client.clone(), ports.clone(), following)),
            packages: Packages::new(root, netrc, (inherited.clone(), BTreeMap::new()), ports.clone(), counted),
            inherited,
            showing,
            told: Notify::new(),
            began: (ports.now(), ports.monotonic()),
            roles: roles_told,
            stops: AtomicBool::new(false),
            folder,
            config,
            client,
            ports,
            once,
        };
        Ok(Self {
            common: Arc::new(common),
            _data: data,
            roles,
            assignment: watch::channel(Assignment { services: noted, told: false }).0,
            running: Mutex::default(),
            ready: watch::channel(false).0,
            tasks: JoinSet::new(),
            settled: BTreeSet::new(),
        })
    }

    /// What can be asked of it while it runs.
    pub fn handle(&self) -> HeliosHandle {
        HeliosHandle::new(Arc::clone(&self.common), self.ready())
    }

    /// Turns true once every service that was noted on the disk has its orders, whether Consul answers or not.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Looks after the services of the node until it is asked to stop.
    pub async fn run(mut self, shutdown: Shutdown, mode: StopMode) {
        self.common.stops.store(mode == StopMode::StopInstances, Ordering::SeqCst);
        let (following, answering, looking) = (self.follow(), self.answer(), self.look());
        self.tend(&shutdown).await;
        following.abort();
        looking.abort();
        if mode == StopMode::StopInstances {
            for running in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
                running.orders.send_modify(|orders| orders.halt = true);
            }
        }
        self.join_all().await;
        answering.abort();
    }

    /// Waits until all services have ended. However long that takes, the loop turns meanwhile.
    async fn join_all(&mut self) {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                joined = self.tasks.join_next() => if joined.is_none() { return },
                _ = beats.tick() => self.common.showing.pulse.beat(),
            }
        }
    }

    /// Converges once, for at most so long. What did not is told, each in words.
    pub async fn once(mut self, shutdown: Shutdown, limit: Duration) -> Vec<String> {
        let (following, answering) = (self.follow(), self.answer());
        let mut told = self.assignment.subscribe();
        let asked = tokio::time::timeout(TOLD_LIMIT.min(limit), told.wait_for(|assignment| assignment.told));
        let asked = asked.await.is_ok_and(|told| told.is_ok());
        let mut unfit = Vec::new();
        if !asked {
            unfit.push("Consul does not tell what this node is assigned".to_owned());
        }
        let (stop, stopped) = shutdown.child();
        let converging = tokio::time::timeout(limit, self.converge(&stopped, &mut unfit)).await;
        if converging.is_err() {
            unfit.push(format!("it took longer than {limit:?}; what was begun goes on with the next run"));
        }
        stop.trigger();
        following.abort();
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok((_, Ended::Unfit(words))) = ended {
                unfit.push(words);
            }
        }
        answering.abort();
        unfit
    }

    fn follow(&self) -> AbortHandle {
        let (common, seen) = (Arc::clone(&self.common), self.assignment.clone());
        let note = self.common.folder.join("assigned.json");
        let following = async move {
            follow_node(&common.client, &common.ports, &common.config.node, &note, &seen).await;
        };
        tokio::spawn(following).abort_handle()
    }

    /// Has what templates ask answered for as long as anybody may ask.
    fn answer(&self) -> AbortHandle {
        let common = Arc::clone(&self.common);
        tokio::spawn(async move { common.lookups.run(drop).await }).abort_handle()
    }

    /// Has the node looked at while no service does it.
    fn look(&self) -> AbortHandle {
        let common = Arc::clone(&self.common);
        tokio::spawn(async move { look_while_idle(&common).await }).abort_handle()
    }

    /// Gives every service its orders whenever they change.
    async fn tend(&mut self, shutdown: &Shutdown) {
        let mut assignment = self.assignment.subscribe();
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut again, mut is_news) = (false, true);
        let mut open_at = Instant::now();
        loop {
            self.common.showing.pulse.beat();
            if is_news {
                again = !self.give_orders(shutdown);
                open_at = Instant::now() + OPEN_AGAIN;
                self.ready.send_replace(true);
            }
            is_news = true;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = assignment.changed() => {}
                _ = self.roles.changed() => {}
                Some(ended) = self.tasks.join_next() => drop(self.ended(ended)),
                () = tokio::time::sleep_until(open_at), if again => {}
                _ = beats.tick() => is_news = false,
            }
        }
    }

    /// The same until every service has come to an end.
    async fn converge(&mut self, shutdown: &Shutdown, unfit: &mut Vec<String>) {
        loop {
            if !self.give_orders(shutdown) {
                unfit.push("the records of a service cannot be read".to_owned());
            }
            let Some(ended) = self.tasks.join_next().await else { return };
            match self.ended(ended) {
                Some((name, Ended::Unfit(words))) => {
                    unfit.push(words);
                    self.settled.insert(name);
                }
                Some((name, Ended::Converged)) => drop(self.settled.insert(name)),
                Some((_, Ended::Forgotten)) => {}
                Some((_, Ended::Left)) | None => return,
            }
        }
    }

    fn ended(&self, ended: Result<(String, Ended), tokio::task::JoinError>) -> Option<(String, Ended)> {
        match ended {
            Ok((name, ended)) => {
                self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
                Some((name, ended))
            }
            Err(error) => {
                // Which one it was is not told: all are given their orders anew, and those that run already stay.
                tracing::error!(%error, "a service's task broke off");
                let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                running.retain(|_, running| !running.orders.is_closed());
                None
            }
        }
    }

    /// Begins what is not running and tells all what they are; false if one could not be begun.
    fn give_orders(&mut self, shutdown: &Shutdown) -> bool {
        let orders = self.orders();
        let mut all = true;
        for (name, orders) in orders {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(running) = running.get(&name) {
                running.orders.send_if_modified(|before| {
                    let changed = *before != orders;
                    *before = orders;
                    changed
                });
                continue;
            }
            drop(running);
            if !self.settled.contains(&name) {
                all &= self.begin(name, orders, shutdown);
            }
        }
        all
    }

    fn begin(&mut self, name: String, orders: Orders, shutdown: &Shutdown) -> bool {
        let dir = self.common.service_dir(&name);
        let note = dir.join("wish.json");
        let keys = Arc::new(ServiceKeys {
            client: self.common.client.clone(),
            ports: self.common.ports.clone(),
            service: name.clone(),
            seen: watch::channel(ServiceKeys::noted(&note)).0,
            note,
            turn: Mutex::default(),
        });
        let (sender, receiver) = watch::channel(orders);
        let service = match Service::open(Arc::clone(&self.common), name.clone(), Arc::clone(&keys), receiver) {
            Ok(service) => service,
            Err(error) => {
                tracing::error!(service = name, %error, "its record cannot be read, and nothing of it is touched");
                return false;
            }
        };
        let following = tokio::spawn(async move { keys.follow().await }).abort_handle();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(name.clone(), Running { orders: sender, following });
        let shutdown = shutdown.clone();
        self.tasks.spawn(async move { (name, Box::pin(service.run(&shutdown)).await) });
        true
    }

    /// What each service of the node is: those assigned, their roles, the roles of those, and whatever has a record and is none of them.
    fn orders(&self) -> BTreeMap<String, Orders> {
        let Assignment { services, told } = self.assignment.borrow().clone();
        let roles = self.roles.borrow().clone();
        let mut all = BTreeMap::new();
        for name in services.iter().flatten() {
            all.insert(name.clone(), Orders { place: Place::Assigned, halt: false });
        }
        let mut open: Vec<String> = all.keys().cloned().collect();
        while let Some(name) = open.pop() {
            for role in roles.get(&name).into_iter().flatten().filter(|role| role.as_str() != SELF) {
                if role.parse::<helium_packages::store::Name>().is_ok() && !all.contains_key(role) {
                    all.insert(role.clone(), Orders { place: Place::Role, halt: false });
                    open.push(role.clone());
                }
            }
        }
        // What is not named any more ends; before Consul has said anything in this life of the agent nothing does.
        let place = match (told, services.is_some()) {
            (false, _) => Place::Assigned,
            (true, true) => Place::Gone,
            (true, false) => Place::Unsaid,
        };
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for name in self.recorded().into_iter().chain(running.keys().cloned()) {
            all.entry(name).or_insert(Orders { place, halt: false });
        }
        all
    }

    /// The services with a record.
    fn recorded(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.common.folder.join("services")).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().join("record.json").exists());
        folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}
