//! What Consul's catalog says of every service that Helium runs, and whether that can be believed.
//!
//! Design: without rights a token sees an empty catalog and no error. So each round of reads ends with a read of this controller's
//! own entry, which must be there: it shows that the token could see and that the catalog was served. A round without it blinds the
//! whole table until one succeeds. A view that is too old for what it is wanted for is read again there and then; who keeps the
//! views young without being asked is [`polls`](crate::polls).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use consul_client::{Client, Error, Read, Reply, ServiceHealth};
use helium_crds::{InstanceId, ObjectKey};
use helium_planner::CatalogEntry;
use helium_runtime::ports::Ports;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{catalog, commit::lock, config::EngineConfig, proof::Proof, readiness::Readiness};

/// The service that every controller registers itself as.
pub const CONTROLLER_SERVICE: &str = "helium-controller";

/// How much later than planned a sweep may come before whoever wants to look does not wait for it.
const SLACK: Duration = Duration::from_secs(5);
/// Who has nothing to read, since nothing of an object runs yet, believes that it could be seen for so long.
const RECENT: Duration = Duration::from_secs(1);
/// How long a failed look at the catalog stands for all others.
const RETRY_BLIND: Duration = Duration::from_secs(1);

/// What the catalog says of the instances of one service.
pub type Entries = Arc<BTreeMap<InstanceId, CatalogEntry>>;

/// How urgently a service has to be watched, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Motion {
    /// A canary is out.
    Canary,
    /// A rollout is under way.
    Rolling,
    /// Something is not as it should be.
    Degraded,
}

/// The last answer about one service.
#[derive(Clone, Debug)]
pub struct HealthView {
    /// The instances.
    pub entries: Entries,
    /// The Consul nodes that they are on, or have been on since this controller looked.
    pub consul_nodes: BTreeSet<String>,
    /// When it was read, on the monotonic clock.
    pub seen: Duration,
}

/// What a look at the catalog showed.
#[derive(Clone, Debug)]
pub struct Look {
    /// The instances.
    pub entries: BTreeMap<InstanceId, CatalogEntry>,
    /// Whether all of it was read for this look, past every cache.
    pub fresh: bool,
}

/// One service that somebody wants to know about.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// The objects whose instances bear its name.
    pub objects: BTreeSet<ObjectKey>,
    /// How urgent it is; none for one at rest.
    pub motion: Option<Motion>,
    /// Whether something hints that the view is out of date.
    pub hurry: bool,
    /// Whether a long poll of its own keeps it up to date.
    pub polled: bool,
    /// The last answer.
    pub view: Option<HealthView>,
}

/// The table of all services, and the reads that fill it.
pub struct Health {
    client: Client,
    ports: Ports,
    readiness: Readiness,
    pub(crate) config: EngineConfig,
    proof: Proof,
    pub(crate) table: Mutex<Table>,
    /// Rung when a service begins or ceases to be in motion.
    pub(crate) changed: Notify,
}

/// The services, and whether the catalog can be believed at all.
pub(crate) struct Table {
    pub(crate) services: BTreeMap<String, Watched>,
    /// The names under which each object has instances.
    names: BTreeMap<ObjectKey, BTreeSet<String>>,
    /// Why the catalog cannot be believed, and when that was last found, on the monotonic clock.
    blind: Option<(String, Duration)>,
    since: Timestamp,
}

impl Health {
    /// An empty table.
    pub fn new(client: Client, config: EngineConfig, ports: Ports, readiness: Readiness) -> Self {
        let table = Table { services: BTreeMap::new(), names: BTreeMap::new(), blind: None, since: ports.now() };
        let (proof, table, changed) = (Proof::new(ports.clone()), Mutex::new(table), Notify::new());
        Self { client, ports, readiness, config, proof, table, changed }
    }

    /// Since when the catalog has been seen without a break.
    pub fn since(&self) -> Timestamp {
        lock(&self.table).since
    }

    /// What the catalog says of the instances of `object`, which are registered as `services`. Read from the store where the last
    /// answer is too old, or if `fresh`; and then past every cache, so that it need not be read again for what relies on health.
    /// Without any service there is nothing to read, and it is proven that it could be. The error says why it cannot be seen.
    pub async fn look(&self, object: &ObjectKey, services: &BTreeSet<String>, fresh: bool) -> Result<Look, String> {
        self.enlist(object, services);
        self.still_blind()?;
        let due: Vec<String> = services.iter().filter(|name| fresh || self.is_too_old(name)).cloned().collect();
        if services.is_empty() && lock(&self.table).blind.is_none() {
            self.proof.lately(RECENT, self.read_own_entry()).await?;
        } else if services.is_empty() || !due.is_empty() {
            self.round(&due, &Read::consistent()).await?;
        }
        let table = lock(&self.table);
        let views = services.iter().filter_map(|name| table.services.get(name)?.view.as_ref());
        let entries =
            views.flat_map(|view| view.entries.iter()).map(|(id, entry)| (id.clone(), entry.clone())).collect();
        Ok(Look { entries, fresh: due.len() == services.len() })
    }

    /// Says under which names `object` has instances from now on, and how urgently these have to be watched.
    pub fn settle(&self, object: &ObjectKey, services: &BTreeSet<String>, motion: Option<Motion>) {
        let mut table = lock(&self.table);
        let before = if services.is_empty() {
            table.names.remove(object).unwrap_or_default()
        } else {
            table.names.insert(object.clone(), services.clone()).unwrap_or_default()
        };
        let mut changed = false;
        for name in before.difference(services) {
            changed = true;
            table.strike(object, name);
        }
        for name in services {
            if let Some(watched) = table.services.get_mut(name) {
                changed |= watched.motion != motion;
                watched.motion = motion;
            }
        }
        drop(table);
        if changed {
            self.changed.notify_one();
        }
    }

    /// Has these services read as soon as may be: something hints that the last answer is out of date.
    pub fn hurry(&self, services: &BTreeSet<String>) {
        let mut table = lock(&self.table);
        for name in services {
            if let Some(watched) = table.services.get_mut(name) {
                watched.hurry = true;
            }
        }
    }

    /// Forgets every view, as a controller that was just started has none.
    pub fn forget_views(&self) {
        for watched in lock(&self.table).services.values_mut() {
            watched.view = None;
        }
    }

    /// Reads some services one after another, and then this controller's own entry. Publishes what came, and gives the objects
    /// about which it says something new.
    pub async fn round(&self, services: &[String], read: &Read) -> Result<BTreeSet<ObjectKey>, String> {
        let mut answers = Vec::with_capacity(services.len());
        for name in services {
            let reply = self.client.health_service(name, read).await;
            answers.push((name.clone(), self.judged(reply)?.value));
        }
        self.prove().await?;
        Ok(self.publish(&answers))
    }

    /// One long poll of a service. Gives the next index and the objects about which it says something new.
    pub(crate) async fn poll(&self, name: &str, index: u64) -> Result<(u64, BTreeSet<ObjectKey>), String> {
        let read = if index == 0 { Read::default() } else { Read::blocking(index, self.config.health_wait) };
        let reply = self.judged(self.client.health_service(name, &read).await)?;
        self.prove().await?;
        // An index that went back begins anew: the next read then does not block.
        let next = if reply.meta.index < index { 0 } else { reply.meta.index.max(1) };
        Ok((next, self.publish(&[(name.to_owned(), reply.value)])))
    }

    /// The catalog's nodes and critical checks, by which polls are hurried. No decision rests on them.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The clock.
    pub(crate) fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Notes that `object` has instances under these names.
    fn enlist(&self, object: &ObjectKey, services: &BTreeSet<String>) {
        let mut table = lock(&self.table);
        for name in services {
            let watched = table.services.entry(name.clone()).or_default();
            if watched.objects.insert(object.clone()) {
                table.names.entry(object.clone()).or_default().insert(name.clone());
            }
        }
    }

    /// Whether the last answer about a service is too old to decide anything on.
    fn is_too_old(&self, name: &str) -> bool {
        let now = self.ports.monotonic();
        let table = lock(&self.table);
        let Some(watched) = table.services.get(name) else { return true };
        let limit = if watched.polled { self.config.stale_after } else { self.config.sweep_interval + SLACK };
        let old = watched.view.as_ref().is_none_or(|view| now.saturating_sub(view.seen) > limit);
        old || watched.hurry || table.blind.is_some()
    }

    /// While the catalog cannot be believed, it is asked no more often than this by those who want to look.
    fn still_blind(&self) -> Result<(), String> {
        match &lock(&self.table).blind {
            Some((reason, at)) if self.ports.monotonic().saturating_sub(*at) < RETRY_BLIND => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    /// An answer that a server with a leader gave to a token that could see all of it.
    fn judged<T>(&self, reply: Result<Reply<T>, Error>) -> Result<Reply<T>, String> {
        let reply = reply.map_err(|error| self.blind(describe(&error)))?;
        if !reply.meta.known_leader || reply.meta.last_contact > self.config.stale_after {
            return Err(self.blind("Consul has no leader".to_owned()));
        }
        if reply.meta.filtered_by_acls {
            return Err(self.blind("the token cannot see all of the catalog".to_owned()));
        }
        Ok(reply)
    }

    /// Proves that the catalog could be seen, by a read that began after this was called: this controller's own service is in it.
    async fn prove(&self) -> Result<(), String> {
        self.proof.after_now(self.read_own_entry()).await
    }

    async fn read_own_entry(&self) -> Result<(), String> {
        let reply = self.judged(self.client.health_service(CONTROLLER_SERVICE, &Read::consistent()).await)?;
        let own = reply.value.iter().any(|row| row.service.id == self.config.service_id());
        if own { Ok(()) } else { Err(self.blind("the controller's own entry is not in the catalog".to_owned())) }
    }

    fn blind(&self, reason: String) -> String {
        if self.readiness.report("health", &reason) {
            tracing::warn!(%reason, "the catalog cannot be seen");
        }
        lock(&self.table).blind = Some((reason.clone(), self.ports.monotonic()));
        reason
    }

    fn publish(&self, answers: &[(String, Vec<ServiceHealth>)]) -> BTreeSet<ObjectKey> {
        let mut table = lock(&self.table);
        if table.blind.take().is_some() {
            table.since = self.ports.now();
        }
        self.readiness.clear("health");
        let mut news = BTreeSet::new();
        for (name, rows) in answers {
            let Some(watched) = table.services.get_mut(name) else { continue };
            let entries = catalog::entries(rows);
            if watched.view.as_ref().is_none_or(|view| *view.entries != entries) {
                news.extend(watched.objects.iter().cloned());
            }
            let mut consul_nodes = watched.view.take().map(|view| view.consul_nodes).unwrap_or_default();
            consul_nodes.extend(rows.iter().map(|row| row.node.node.clone()));
            watched.view = Some(HealthView { entries: Arc::new(entries), consul_nodes, seen: self.ports.monotonic() });
            watched.hurry = false;
        }
        news
    }
}

impl Table {
    /// `object` has no instances under this name any more. A service that nobody wants to know about is dropped.
    fn strike(&mut self, object: &ObjectKey, name: &str) {
        let Some(watched) = self.services.get_mut(name) else { return };
        watched.objects.remove(object);
        if watched.objects.is_empty() {
            self.services.remove(name);
        }
    }
}

fn describe(error: &Error) -> String {
    if error.is_denied() { format!("denied: {error}") } else { error.to_string() }
}
