//! Keeps the table of [`health`](crate::health) up to date: long polls for services in motion, sweeps for all others.
//!
//! Design: a long poll costs a connection, of which there are few. So they go to services in motion, a canary's before a rolling
//! update's before a degraded one's, and only once an instance is registered: a poll on a service that does not exist wakes at every
//! change of the catalog. A long poll is never abandoned: Consul would hold its connection until the wait is over all the same, and
//! refuse new ones when too many are held so. A poll that is no longer wanted keeps its slot until its answer comes, which is why
//! these waits are short. All others are swept: those in motion every few seconds, those at rest once a minute. Two hints make
//! that minute short: when the set of critical checks or of Consul's nodes changes, the services that it touches are read at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use consul_client::{CheckStatus, Error, Read, Reply};
use helium_crds::ObjectKey;
use helium_runtime::{backoff::wait_after, shutdown::Shutdown};
use tokio::task::JoinSet;

use crate::{
    commit::lock,
    health::{Health, Motion},
    metrics::Metrics,
};

/// How often it is looked for services that are due.
const TICK: Duration = Duration::from_millis(500);
/// So many services are read before the controller's own entry is.
const ROUND: usize = 16;
/// The shortest time between two answers of one long poll, so that a flapping service costs no more than a slow sweep.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// The shortest time between two hints of one sort.
const HINT_INTERVAL: Duration = Duration::from_secs(1);
/// For each row of its answer a hint is asked for so much later: while ten thousand checks are critical, every six seconds.
const HINT_COST: Duration = Duration::from_micros(500);
/// Where nothing has to be read, it is still made sure this often that the catalog can be seen.
const PROOF_INTERVAL: Duration = Duration::from_secs(10);
/// The backoff after a failed read.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Told of each object about which the catalog says something new.
pub(crate) type Wake = Arc<dyn Fn(&ObjectKey) + Send + Sync>;

/// Runs sweeps, long polls and hints until `shutdown`.
pub(crate) async fn keep_up(health: Arc<Health>, metrics: Metrics, wake: Wake, shutdown: Shutdown) {
    let mut tasks = JoinSet::new();
    tasks.spawn(until(shutdown.clone(), sweep(Arc::clone(&health), Arc::clone(&wake))));
    tasks.spawn(until(shutdown.clone(), hint_by_critical(Arc::clone(&health))));
    tasks.spawn(until(shutdown.clone(), hint_by_nodes(Arc::clone(&health))));
    let mut polls = Polls::default();
    let mut answering = JoinSet::new();
    loop {
        assign_polls(&health, &mut polls, &mut answering, &wake, &shutdown);
        metrics.health_polls.set(i64::try_from(polls.len()).unwrap_or(i64::MAX));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = answering.join_next() => {
                if let Ok(Some(name)) = ended {
                    polls.remove(&name);
                }
            }
            () = health.changed.notified() => {}
            // Which services have an instance registered changes without a bell.
            () = tokio::time::sleep(TICK) => {}
        }
    }
    while tasks.join_next().await.is_some() {}
    while answering.join_next().await.is_some() {}
}

async fn until(shutdown: Shutdown, work: impl Future<Output = ()>) {
    shutdown.unless_cancelled(work).await;
}

/// The services that have a slot, and whether their poll is still wanted.
type Polls = BTreeMap<String, Arc<AtomicBool>>;

/// Lets the polls of services that are no longer among the most urgent end with their next answer, and gives the free slots to
/// services that are.
fn assign_polls(
    health: &Arc<Health>,
    polls: &mut Polls,
    tasks: &mut JoinSet<Option<String>>,
    wake: &Wake,
    shutdown: &Shutdown,
) {
    let chosen = choose(health);
    for (name, wanted) in polls.iter() {
        wanted.store(chosen.contains(name), Ordering::Relaxed);
    }
    for name in &chosen {
        if polls.len() < health.config.health_polls && !polls.contains_key(name) {
            let wanted = Arc::new(AtomicBool::new(true));
            polls.insert(name.clone(), Arc::clone(&wanted));
            let (health, name, wake, shutdown) = (Arc::clone(health), name.clone(), Arc::clone(wake), shutdown.clone());
            tasks.spawn(async move { shutdown.unless_cancelled(follow(health, name, wanted, wake)).await });
        }
    }
    for (name, watched) in &mut lock(&health.table).services {
        watched.polled = chosen.contains(name) && polls.contains_key(name);
    }
}

/// The most urgent services that have an instance registered.
fn choose(health: &Health) -> BTreeSet<String> {
    let table = lock(&health.table);
    let mut urgent: Vec<(Motion, String)> = Vec::new();
    for (name, watched) in &table.services {
        let registered = watched.view.as_ref().is_some_and(|view| !view.entries.is_empty());
        urgent.extend(watched.motion.filter(|_| registered).map(|motion| (motion, name.clone())));
    }
    urgent.sort();
    urgent.truncate(health.config.health_polls);
    urgent.into_iter().map(|(_, name)| name).collect()
}

fn tell(wake: &Wake, news: &BTreeSet<ObjectKey>) {
    for object in news {
        wake(object);
    }
}

/// The long poll of one service, as long as it is wanted. Gives the name back, for its slot.
async fn follow(health: Arc<Health>, name: String, wanted: Arc<AtomicBool>, wake: Wake) -> String {
    let (mut index, mut failures) = (0, 0);
    while wanted.load(Ordering::Relaxed) {
        let begun = health.ports().monotonic();
        let pause = if let Ok((next, news)) = health.poll(&name, index).await {
            let took = health.ports().monotonic().saturating_sub(begun);
            // Nothing flaps where the wait was over without news, and what fails in a pause would be seen only after it.
            let pause = if next == index { MIN_INTERVAL.saturating_sub(took) } else { MIN_INTERVAL };
            (index, failures) = (next, 0);
            tell(&wake, &news);
            pause
        } else {
            (index, failures) = (0, failures + 1);
            MIN_INTERVAL + wait_after(failures, RETRY.0, RETRY.1, health.ports())
        };
        tokio::time::sleep(pause).await;
    }
    name
}

/// Reads whatever is due, over and over.
async fn sweep(health: Arc<Health>, wake: Wake) {
    let (mut failures, mut proven) = (0, Duration::ZERO);
    loop {
        let due = due(&health);
        let idle = due.is_empty() && health.ports().monotonic() < proven + PROOF_INTERVAL;
        let begun = health.ports().monotonic();
        let result = if idle { Ok(BTreeSet::new()) } else { health.round(&due, &Read::default()).await };
        if !idle {
            proven = health.ports().monotonic();
        }
        let pause = if let Ok(news) = result {
            failures = 0;
            tell(&wake, &news);
            // With many services in motion, half of the time at most goes into looking whether there is anything new.
            let took = health.ports().monotonic().saturating_sub(begun);
            if due.len() < ROUND { TICK.max(took) } else { took }
        } else {
            failures += 1;
            TICK + wait_after(failures, RETRY.0, RETRY.1, health.ports())
        };
        tokio::time::sleep(pause).await;
    }
}

/// The services that are due to be read, the longest overdue first, at most one round of them.
fn due(health: &Health) -> Vec<String> {
    let now = health.ports().monotonic();
    let mut due: Vec<(Duration, String)> = Vec::new();
    for (name, watched) in &lock(&health.table).services {
        let seen = watched.view.as_ref().map(|view| view.seen);
        let at = match (seen, watched.motion) {
            (None, _) => Duration::ZERO,
            _ if watched.hurry => Duration::ZERO,
            _ if watched.polled => continue,
            (Some(seen), Some(_)) => seen + health.config.quick_sweep,
            (Some(seen), None) => seen + health.config.sweep_interval,
        };
        if at <= now {
            due.push((at, name.clone()));
        }
    }
    due.sort();
    due.truncate(ROUND);
    due.into_iter().map(|(_, name)| name).collect()
}

/// Watches the critical checks of the whole catalog; a service whose set of them changes is read at once.
async fn hint_by_critical(health: Arc<Health>) {
    let mut before: Option<BTreeSet<(String, String)>> = None;
    let (mut index, mut rows) = (0, 0);
    loop {
        let read = Read::blocking(index, health.config.wait);
        let reply = health.client().health_state(Some(CheckStatus::Critical), &read).await;
        if let Some(reply) = taken(reply, &mut index) {
            let named = |check: consul_client::HealthCheck| {
                let owner = if check.service_name.is_empty() { check.node } else { check.service_name };
                (owner, check.check_id)
            };
            rows = u32::try_from(reply.len()).unwrap_or(u32::MAX);
            let now: BTreeSet<_> = reply.into_iter().map(named).collect();
            if let Some(before) = before.replace(now.clone()) {
                let owners = before.symmetric_difference(&now).map(|(owner, _)| owner.clone()).collect();
                hurry(&health, &owners);
            }
        }
        tokio::time::sleep(HINT_INTERVAL + HINT_COST.saturating_mul(rows)).await;
    }
}

/// Watches the nodes of the catalog; when one comes or goes, the services on it are read at once.
async fn hint_by_nodes(health: Arc<Health>) {
    let mut before: Option<BTreeSet<String>> = None;
    let mut index = 0;
    loop {
        let read = Read::blocking(index, health.config.wait);
        if let Some(reply) = taken(health.client().catalog_nodes(&read).await, &mut index) {
            let now: BTreeSet<String> = reply.into_iter().map(|node| node.node).collect();
            if let Some(before) = before.replace(now.clone()) {
                hurry(&health, &before.symmetric_difference(&now).cloned().collect());
            }
        }
        tokio::time::sleep(HINT_INTERVAL).await;
    }
}

/// The value of an answer, if it is one; keeps the index of the poll.
fn taken<T>(reply: Result<Reply<T>, Error>, index: &mut u64) -> Option<T> {
    let Ok(reply) = reply else {
        *index = 0;
        return None;
    };
    *index = if reply.meta.index < *index { 0 } else { reply.meta.index };
    Some(reply.value)
}

/// Has these services, and those on these Consul nodes, read at once; and every one in motion that lacks instances.
fn hurry(health: &Health, owners: &BTreeSet<String>) {
    if owners.is_empty() {
        return;
    }
    for (name, watched) in &mut lock(&health.table).services {
        let on_node = watched.view.as_ref().is_some_and(|view| !view.consul_nodes.is_disjoint(owners));
        watched.hurry |= owners.contains(name) || on_node || watched.motion == Some(Motion::Degraded);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use consul_client::{Client, Transport, TransportError};
    use futures::future::{BoxFuture, FutureExt};
    use helium_crds::InstanceId;
    use helium_planner::CatalogEntry;
    use helium_runtime::ports::Ports;

    use super::*;
    use crate::{
        config::EngineConfig,
        health::{HealthView, Watched},
        readiness::Readiness,
    };

    /// A transport that nothing goes through: the choice of polls asks nobody.
    struct Nowhere;

    impl Transport for Nowhere {
        fn send(
            &self,
            _: http::Request<bytes::Bytes>,
        ) -> BoxFuture<'_, Result<http::Response<bytes::Bytes>, TransportError>> {
            async { Err(TransportError::NotSent("nowhere".to_owned())) }.boxed()
        }
    }

    fn table(polls: usize, services: &[(&str, Option<Motion>, bool)]) -> Health {
        let config = EngineConfig { health_polls: polls, ..EngineConfig::default() };
        let client = Client::over(Arc::new(Nowhere), None);
        let health = Health::new(client, config, Ports::real(), Readiness::default());
        for (name, motion, registered) in services {
            let entry = (InstanceId::from("i"), CatalogEntry::default());
            let entries: BTreeMap<_, _> = registered.then_some(entry).into_iter().collect();
            let nodes = BTreeSet::from(["machine".to_owned()]);
            let view = HealthView { entries: Arc::new(entries), consul_nodes: nodes, seen: Duration::ZERO };
            let watched = Watched { motion: *motion, view: Some(view), ..Watched::default() };
            lock(&health.table).services.insert((*name).to_owned(), watched);
        }
        health
    }

    #[tokio::test]
    async fn a_canary_is_polled_before_a_rolling_update_before_a_degraded_service_and_rest_is_swept() {
        let services = [
            ("a-degraded", Some(Motion::Degraded), true),
            ("b-rolling", Some(Motion::Rolling), true),
            ("c-canary", Some(Motion::Canary), true),
            ("d-steady", None, true),
            ("e-canary-that-is-not-registered-yet", Some(Motion::Canary), false),
        ];
        for (polls, chosen) in
            [(1, &["c-canary"][..]), (2, &["b-rolling", "c-canary"]), (9, &["a-degraded", "b-rolling", "c-canary"])]
        {
            let health = table(polls, &services);
            assert_eq!(choose(&health), chosen.iter().map(|&name| name.to_owned()).collect(), "{polls} polls");
        }
    }

    #[tokio::test]
    async fn a_hint_about_a_service_or_its_node_has_it_read_at_once() {
        let health = table(0, &[("steady", None, true)]);
        lock(&health.table).services.values_mut().for_each(|watched| {
            watched.view.as_mut().unwrap().seen = health.ports().monotonic() + Duration::from_hours(1);
        });
        assert_eq!(due(&health), Vec::<String>::new());
        hurry(&health, &BTreeSet::from(["other".to_owned()]));
        assert_eq!(due(&health), Vec::<String>::new());
        hurry(&health, &BTreeSet::from(["machine".to_owned()]));
        assert_eq!(due(&health), ["steady"]);
    }
}
