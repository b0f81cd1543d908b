//! The elector: drives an [`Election`] over Consul, keeps the heartbeat going, and publishes who leads.
//!
//! One task does everything in turn: the duty that is due, or else two long polls (the lock, and for a standby the health of
//! the controllers' service). The poll of the lock is dropped and begun anew whenever a duty may have changed the lock, so no
//! answer older than our own deeds is ever believed. Only the heartbeat runs beside it: it must not wait for anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use consul_client::{Behavior, CheckStatus, Client, Error, KvPair, Put, Read, ServiceHealth, SessionRequest};
use futures::future::{self, BoxFuture, FutureExt};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    Fence, Holder, Leadership, Lease,
    election::{Duty, Election, Lock, Times},
    heartbeat::Heartbeat,
};
use crate::{ports::Ports, shutdown::Shutdown, watch::MAX_WAIT};

/// Who stands for election, and where.
#[derive(Clone, Debug)]
pub struct ElectorConfig {
    /// The id of this process among the controllers: `[a-z0-9-]`, and another one for each process that is started.
    pub id: String,
    /// Where this controller can be reached, such as `10.0.0.7:9180`; kept in the lock for people.
    pub address: String,
    /// The port registered with the service; 0 is none.
    pub port: u16,
    /// The key to hold as a lock.
    pub lock_key: String,
    /// The service that every controller registers.
    pub service: String,
    /// Words about this controller for its registration.
    pub meta: BTreeMap<String, String>,
    /// The times.
    pub times: Times,
    /// A session that an earlier life of this very process held. Two processes must never be given the same one: they would
    /// both lead.
    pub resume: Option<String>,
}

impl ElectorConfig {
    /// A candidate for the lock `lock_key` with the default times.
    pub fn new(service: &str, id: &str, lock_key: &str) -> Self {
        Self {
            id: id.to_owned(),
            address: String::new(),
            port: 0,
            lock_key: lock_key.to_owned(),
            service: service.to_owned(),
            meta: BTreeMap::new(),
            times: Times::default(),
            resume: None,
        }
    }

    /// The id of this controller's own service: `<service>-<id>`.
    pub fn service_id(&self) -> String {
        format!("{}-{}", self.service, self.id)
    }

    /// The id of its heartbeat check.
    pub fn check_id(&self) -> String {
        check_id(&self.service, &self.id)
    }
}

fn check_id(service: &str, id: &str) -> String {
    format!("{service}-{id}-alive")
}

/// A candidate at work. Dropping it is dying: nothing is given back, and the others must notice by themselves.
#[derive(Debug)]
pub struct Elector {
    leadership: watch::Receiver<Leadership>,
    task: JoinHandle<()>,
}

impl Elector {
    /// Registers this controller and stands for election, until `shutdown`; then gives the lock back and deregisters.
    pub fn start(client: Client, config: ElectorConfig, ports: Ports, shutdown: Shutdown) -> Self {
        let (sender, leadership) = watch::channel(Leadership::Standby { leader: None });
        let span = info_span!("elector", id = %config.id);
        let election = Election::new(config.times.clone(), config.resume.clone());
        let mut candidate =
            Candidate { client, config, ports, election, sender, lease: None, lock_index: 0, health_index: 0 };
        let task = tokio::spawn(async move { candidate.stand(shutdown).await }.instrument(span));
        Self { leadership, task }
    }

    /// Who leads, always up to date. It changes when leadership is won or lost, not with each renewal.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Waits until the lock was given back after the shutdown; it takes a few seconds at most.
    pub async fn stopped(mut self) {
        // A task that panicked or was aborted has nothing left to give back either.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Elector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Candidate {
    client: Client,
    config: ElectorConfig,
    ports: Ports,
    election: Election,
    sender: watch::Sender<Leadership>,
    lease: Option<Lease>,
    /// The index of the last look at the lock; 0 reads it at once.
    lock_index: u64,
    /// The index of the last look at the controllers' health; 0 reads it at once.
    health_index: u64,
}

/// The long polls under way. They outlive the duties that cannot change what they wait for.
#[derive(Default)]
struct Polls {
    lock: Option<BoxFuture<'static, News>>,
    health: Option<BoxFuture<'static, News>>,
}

/// What a long poll brought.
enum News {
    Lock(Result<(u64, Lock), Error>),
    Health(Result<(u64, BTreeSet<String>), Error>),
    Due,
}

/// How long the hand-over at a shutdown may take, all requests together.
const HAND_OVER: Duration = Duration::from_secs(5);

impl Candidate {
    async fn stand(&mut self, shutdown: Shutdown) {
        let heartbeat = Heartbeat::new(&self.client, &self.config, &self.ports);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = heartbeat.beat_for_ever() => {}
            () = async {
                // A leader without a check could die unnoticed.
                heartbeat.registered.notified().await;
                self.elect_for_ever().await;
            } => {}
        }
        if timeout(HAND_OVER, self.hand_over()).await.is_err() {
            warn!("gave up handing over; the others will notice by the missing heartbeat");
        }
    }

    async fn elect_for_ever(&mut self) {
        let mut polls = Polls::default();
        loop {
            match self.election.duty(self.ports.monotonic()) {
                Duty::Wait { until } => match self.news(&mut polls, until).await {
                    News::Lock(news) => self.take_lock(news).await,
                    News::Health(news) => self.take_health(news).await,
                    News::Due => {}
                },
                duty => {
                    if !matches!(duty, Duty::Renew { .. } | Duty::Inspect) {
                        polls.lock = None;
                    }
                    self.perform(duty).await;
                }
            }
            self.publish();
        }
    }

    /// Does one thing that is due. A request that says nothing in time counts as failed.
    async fn perform(&mut self, duty: Duty) {
        let sent = self.ports.monotonic();
        let limit = self.config.times.request;
        let outcome = timeout(limit, self.ask(duty, sent)).await;
        let now = self.ports.monotonic();
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error @ Error::Invalid { .. })) => {
                debug!(%error, "the session was refused");
                self.election.session_doubtful(now);
            }
            Ok(Err(error)) => {
                debug!(%error, "the store could not be asked");
                self.election.failed(now);
            }
            Err(_) => {
                debug!("the store did not answer in time");
                self.election.failed(now);
            }
        }
    }

    async fn ask(&mut self, duty: Duty, sent: Duration) -> Result<(), Error> {
        match duty {
            Duty::CreateSession => {
                let id = self.client.session_create(&self.session_request()).await?;
                self.election.created(id, sent);
            }
            Duty::Renew { session } => {
                if self.client.session_renew(&session).await?.is_some() {
                    self.election.renewed(sent);
                } else {
                    warn!("the store has ended our session");
                    self.election.session_gone();
                }
            }
            Duty::ReadLock => {
                let reply = self.client.kv_get(&self.config.lock_key, &Read::consistent()).await?;
                self.lock_index = reply.meta.index;
                self.election.lock_seen(lock_of(reply.value.as_ref()), self.ports.monotonic());
            }
            Duty::Acquire { session } => {
                let taken = self.client.kv_put(&self.config.lock_key, self.claim(), &Put::acquire(session)).await?;
                self.election.acquired(taken, self.ports.monotonic());
            }
            Duty::Inspect => {
                let reply = self.client.health_service(&self.config.service, &Read::consistent()).await?;
                let critical = critical_of(&self.config.service, &reply.value);
                self.election.health_seen(critical, true, self.ports.monotonic());
            }
            Duty::Depose { session } => {
                warn!(%session, "the leader's heartbeat is gone; ending its session");
                self.client.session_destroy(&session).await?;
                self.election.deposed();
            }
            Duty::Wait { .. } => {}
        }
        Ok(())
    }

    /// Waits for news of the lock and, as a standby, of the controllers' health; at most until `until`.
    async fn news(&self, polls: &mut Polls, until: Duration) -> News {
        if self.election.leads() {
            // A leader need not know how it is itself.
            polls.health = None;
        } else if polls.health.is_none() {
            polls.health = Some(self.poll_health());
        }
        let (lock, health) = (polls.lock.get_or_insert_with(|| self.poll_lock()), &mut polls.health);
        let health = async {
            match health {
                Some(poll) => poll.await,
                None => future::pending().await,
            }
        };
        let news = tokio::select! {
            biased;
            news = lock => news,
            news = health => news,
            () = self.ports.sleep_until(until) => News::Due,
        };
        match news {
            News::Lock(_) => polls.lock = None,
            News::Health(_) => polls.health = None,
            News::Due => {}
        }
        news
    }

    fn poll_lock(&self) -> BoxFuture<'static, News> {
        let (client, key) = (self.client.clone(), self.config.lock_key.clone());
        let read = Read::blocking(self.lock_index, MAX_WAIT);
        async move {
            let reply = client.kv_get(&key, &read).await;
            News::Lock(reply.map(|reply| (reply.meta.index, lock_of(reply.value.as_ref()))))
        }
        .boxed()
    }

    fn poll_health(&self) -> BoxFuture<'static, News> {
        let (client, service) = (self.client.clone(), self.config.service.clone());
        let read = Read::blocking(self.health_index, MAX_WAIT);
        async move {
            let reply = client.health_service(&service, &read).await;
            News::Health(reply.map(|reply| (reply.meta.index, critical_of(&service, &reply.value))))
        }
        .boxed()
    }

    async fn take_lock(&mut self, news: Result<(u64, Lock), Error>) {
        match news {
            Ok((index, lock)) => {
                self.lock_index = next_index(self.lock_index, index);
                if lock != *self.election.lock() {
                    self.election.lock_seen(lock, self.ports.monotonic());
                }
            }
            Err(error) => {
                self.lock_index = 0;
                self.poll_failed(&error).await;
            }
        }
    }

    async fn take_health(&mut self, news: Result<(u64, BTreeSet<String>), Error>) {
        match news {
            Ok((index, critical)) => {
                self.health_index = next_index(self.health_index, index);
                self.election.health_seen(critical, false, self.ports.monotonic());
            }
            Err(error) => {
                self.health_index = 0;
                self.poll_failed(&error).await;
            }
        }
    }

    /// A failed poll says nothing; the pause keeps it from being asked in a tight loop.
    async fn poll_failed(&self, error: &Error) {
        debug!(%error, "a poll failed");
        tokio::time::sleep(self.ports.jittered(self.config.times.retry, 50)).await;
    }

    /// Lets the readers know when leadership was won or lost, and extends the lease.
    fn publish(&mut self) {
        let session = self.election.session().filter(|_| self.election.leads());
        match (session, &self.lease) {
            (Some(session), Some(lease)) if lease.fence.session == session => {
                lease.extend(self.election.deadline());
                return;
            }
            (Some(session), _) => {
                let fence = Fence { lock_key: self.config.lock_key.clone(), session: session.to_owned() };
                let since = self.holder().map_or_else(|| self.ports.now(), |holder| holder.since);
                info!(%since, "this controller leads");
                let lease = Lease::new(fence, since, self.election.deadline());
                self.replace_lease(Some(lease));
            }
            // What a try or a re-read leaves unknown for a moment is not lost: the fence guards the writes meanwhile.
            (None, Some(_)) if *self.election.lock() == Lock::Unknown && self.election.session().is_some() => return,
            (None, Some(_)) => {
                warn!("this controller does not lead any more");
                self.replace_lease(None);
            }
            (None, None) if *self.election.lock() == Lock::Unknown => return,
            (None, None) => {}
        }
        let next = match &self.lease {
            Some(lease) => Leadership::Leading(lease.clone()),
            None => Leadership::Standby { leader: self.holder().cloned() },
        };
        self.sender.send_if_modified(|now| {
            let same = match (&*now, &next) {
                (Leadership::Standby { leader: one }, Leadership::Standby { leader: other }) => one == other,
                _ => false,
            };
            *now = next;
            !same
        });
    }

    fn replace_lease(&mut self, lease: Option<Lease>) {
        if let Some(old) = std::mem::replace(&mut self.lease, lease) {
            old.end();
        }
    }

    fn holder(&self) -> Option<&Holder> {
        match self.election.lock() {
            Lock::Held { holder, .. } => holder.as_ref(),
            Lock::Free | Lock::Unknown => None,
        }
    }

    /// Gives everything back, in the order in which the next leader can begin soonest.
    async fn hand_over(&mut self) {
        let led = self.election.leads();
        self.replace_lease(None);
        self.sender.send_replace(Leadership::Standby { leader: None });
        if let Some(session) = self.election.session() {
            if led {
                let released = self.client.kv_put(&self.config.lock_key, self.claim(), &Put::release(session)).await;
                report("release the lock", released.map(drop));
            }
            report("end the session", self.client.session_destroy(session).await);
        }
        report("deregister", self.client.agent_deregister_service(&self.config.service_id()).await);
        info!(led, "handed over");
    }

    fn session_request(&self) -> SessionRequest {
        SessionRequest {
            name: self.config.service_id(),
            ttl: Some(self.config.times.ttl),
            lock_delay: Some(Duration::ZERO),
            behavior: Behavior::Release,
            node_checks: Some(Vec::new()),
            ..SessionRequest::default()
        }
    }

    /// The lock's value if we took it now.
    fn claim(&self) -> Vec<u8> {
        let ElectorConfig { id, address, .. } = &self.config;
        let holder = Holder { id: id.clone(), address: address.clone(), since: self.ports.now() };
        serde_json::to_vec(&holder).unwrap_or_default()
    }
}

/// The ids of the controllers whose own heartbeat check is critical.
fn critical_of(service: &str, instances: &[ServiceHealth]) -> BTreeSet<String> {
    let ids = instances.iter().filter_map(|instance| {
        let id = instance.service.id.strip_prefix(service)?.strip_prefix('-')?;
        let own = instance.checks.iter().find(|check| check.check_id == check_id(service, id))?;
        (own.status == CheckStatus::Critical).then(|| id.to_owned())
    });
    ids.collect()
}

/// Consul's rule for the index of the next poll: one that fell begins anew.
fn next_index(before: u64, now: u64) -> u64 {
    if now < before { 0 } else { now }
}

fn lock_of(pair: Option<&KvPair>) -> Lock {
    match pair.and_then(|pair| Some((pair.session.clone()?, &pair.value))) {
        None => Lock::Free,
        Some((session, value)) => Lock::Held { session, holder: serde_json::from_slice(value).ok() },
    }
}

fn report(what: &str, outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        warn!(%error, "could not {what}");
    }
}
