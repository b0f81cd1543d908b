//! The loop that asks Hydra while this controller leads, commits what is new, and has Deployments planned anew.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use consul_client::{Client, Read, TxnOp};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use helium_analysis::Builds;
use helium_crds::{
    HydraJob, Kind, ObjectKey,
    event::{Event, EventLog},
    keys::Keys,
    status::HydraJobStatus,
};
use helium_notify::Announce;
use helium_runtime::{
    leader::{Fence, Leadership, Lease},
    ports::Ports,
    shutdown::Shutdown,
};
use jiff::Timestamp;
use tokio::sync::watch::Receiver;

use super::machine::{Outcome, call_invalid, judge, pause, told};
use crate::{
    commit::{CommitError, Committer, lock},
    rows::InvalidSpec,
    sources::{JobRow, Sources},
};

/// How often it is looked whether anything is due.
const TICK: Duration = Duration::from_secs(1);
/// How often it is looked whether what is said of a spec that cannot be followed is in the store still.
const INVALID_LOOK: Duration = Duration::from_mins(5);
/// So many servers are asked at the same time.
const AT_ONCE: usize = 16;
/// By how many percent a wait differs from what was asked for.
const JITTER: u32 = 10;

/// Has a Deployment looked at again.
pub(crate) type Wake = Arc<dyn Fn(&ObjectKey) + Send + Sync>;

/// What the follower works with.
pub(crate) struct Follower {
    pub(crate) client: Client,
    pub(crate) keys: Keys,
    pub(crate) ports: Ports,
    pub(crate) sources: Sources,
    pub(crate) committer: Arc<Committer>,
    pub(crate) builds: Arc<dyn Builds>,
    pub(crate) wake: Wake,
    pub(crate) announce: Arc<dyn Announce>,
}

/// A look that has ended: whose, which generation of its spec it was for, and how.
type Ended = (ObjectKey, HydraJob, Outcome);

/// Which spec is meant: one that says something else is another one.
#[derive(Clone, Copy, Debug)]
struct Meant<'a> {
    uid: &'a str,
    generation: u64,
    follows: bool,
}

/// What is remembered of a job between two looks. All of it may be lost.
struct Entry {
    uid: String,
    generation: u64,
    /// Whether the spec can be followed.
    follows: bool,
    /// The `ModifyIndex` of the spec.
    index: u64,
    stored: Stored,
    /// Whether `stored` may be something else than what is in the store.
    doubtful: bool,
    /// On [`Ports::monotonic`].
    due: Duration,
    failures: u32,
    under_way: bool,
    last_success: Option<Timestamp>,
}

/// Status and events as they are in the store, each with its `ModifyIndex`; 0 for what is not there.
#[derive(Default)]
struct Stored {
    status: Option<HydraJobStatus>,
    status_index: u64,
    events: EventLog,
    events_index: u64,
}

impl<'a> Meant<'a> {
    fn of(job: &'a HydraJob) -> Self {
        Self { uid: &job.metadata.uid, generation: job.metadata.generation, follows: true }
    }

    fn invalid(spec: &'a InvalidSpec) -> Self {
        Self { uid: &spec.uid, generation: spec.generation, follows: false }
    }

    fn is(self, entry: &Entry) -> bool {
        (self.uid, self.generation, self.follows) == (entry.uid.as_str(), entry.generation, entry.follows)
    }
}

impl Follower {
    /// Runs until `shutdown`.
    pub(crate) async fn run(self, leadership: Receiver<Leadership>, shutdown: Shutdown) {
        let table: Mutex<BTreeMap<ObjectKey, Entry>> = Mutex::default();
        let (mut session, mut next) = (None, self.ports.monotonic());
        let mut asking: FuturesUnordered<BoxFuture<'_, Ended>> = FuturesUnordered::new();
        loop {
            let ended = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(ended) = asking.next(), if !asking.is_empty() => Some(ended),
                () = self.ports.sleep_until(next) => None,
            };
            let lease = leadership.borrow().lease().cloned();
            if session != lease.as_ref().map(|lease| lease.fence.session.clone()) {
                session = lease.as_ref().map(|lease| lease.fence.session.clone());
                lock(&table).clear();
                asking.clear();
            }
            let Some(Lease { fence, .. }) = lease else {
                next = self.ports.monotonic() + TICK;
                continue;
            };
            if let Some((object, job, outcome)) = ended {
                self.enter(&table, &fence, &object, &job, &outcome).await;
                continue;
            }
            next = self.ports.monotonic() + TICK;
            for (object, job, known) in self.tick(&table, &fence, AT_ONCE.saturating_sub(asking.len())).await {
                let builds = &self.builds;
                asking.push(Box::pin(async move {
                    let outcome = Outcome::Looked(builds.look(&job.spec, known.as_ref()).await);
                    (object, job, outcome)
                }));
            }
        }
    }

    /// Does what is due, and gives whom to ask now, of `room` at most.
    async fn tick(
        &self,
        table: &Mutex<BTreeMap<ObjectKey, Entry>>,
        fence: &Fence,
        room: usize,
    ) -> Vec<(ObjectKey, HydraJob, Option<helium_crds::status::HydraBuild>)> {
        let Ok(jobs) = self.sources.hydra_jobs() else { return Vec::new() };
        lock(table).retain(|object, _| jobs.contains_key(object));
        let mut due = Vec::new();
        for (object, row) in jobs {
            if row.is_deleting() {
                self.remove(fence, &object, &row).await;
                lock(table).remove(&object);
                continue;
            }
            let job = match row.job {
                Ok(job) => job,
                Err(spec) => {
                    self.enter_invalid(table, fence, &object, &spec, row.index).await;
                    continue;
                }
            };
            if !self.is_known(table, &object, Meant::of(&job), row.index).await {
                continue;
            }
            if job.spec.suspend {
                if !self.is_said(table, &object) {
                    self.enter(table, fence, &object, &job, &Outcome::Suspended).await;
                }
                continue;
            }
            let mut table = lock(table);
            let Some(entry) = table.get_mut(&object) else { continue };
            if !entry.under_way && entry.due <= self.ports.monotonic() {
                let known = entry.stored.status.as_ref().filter(|status| status.uid == job.metadata.uid);
                due.push((entry.due, object, job, known.and_then(|status| status.newest.clone())));
            }
        }
        // Who has waited longest goes first, so that servers that never answer keep no other out for good.
        due.sort_by_key(|(since, ..)| *since);
        due.truncate(room);
        let mut table = lock(table);
        due.into_iter()
            .map(|(_, object, job, newest)| {
                if let Some(entry) = table.get_mut(&object) {
                    entry.under_way = true;
                }
                (object, job, newest)
            })
            .collect()
    }

    /// Whether what is stored of a job is at hand; it is read if the job is new here, or its spec has changed.
    async fn is_known(
        &self,
        table: &Mutex<BTreeMap<ObjectKey, Entry>>,
        object: &ObjectKey,
        meant: Meant<'_>,
        index: u64,
    ) -> bool {
        let same = |entry: &Entry| meant.is(entry);
        let now = self.ports.monotonic();
        let is_at_hand = |entry: &Entry| same(entry) && (!entry.doubtful || entry.due > now || entry.under_way);
        if let Some(entry) = lock(table).get_mut(object).filter(|entry| is_at_hand(entry)) {
            entry.index = index;
            return true;
        }
        let stored = match self.read(object).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::debug!(%object, %error, "the status of a HydraJob cannot be read");
                return false;
            }
        };
        let mut table = lock(table);
        if let Some(entry) = table.get_mut(object).filter(|entry| same(entry)) {
            let is_other = entry.stored.status != stored.status;
            (entry.index, entry.stored, entry.doubtful) = (index, stored, false);
            if is_other {
                self.wake_those_of(object);
            }
            return true;
        }
        let Meant { uid, generation, follows } = meant;
        let (uid, due) = (uid.to_owned(), self.ports.monotonic());
        let (doubtful, failures, under_way, last_success) = (false, 0, false, None);
        let entry = Entry { uid, generation, follows, index, stored, doubtful, due, failures, under_way, last_success };
        table.insert(object.clone(), entry);
        true
    }

    /// Whether what there is to be said of a job that is not asked for was said, and need not be looked at yet.
    fn is_said(&self, table: &Mutex<BTreeMap<ObjectKey, Entry>>, object: &ObjectKey) -> bool {
        let now = self.ports.monotonic();
        lock(table).get(object).is_some_and(|entry| entry.doubtful && entry.due > now)
    }

    /// Commits what an outcome comes to, if that is anything new.
    async fn enter(
        &self,
        table: &Mutex<BTreeMap<ObjectKey, Entry>>,
        fence: &Fence,
        object: &ObjectKey,
        job: &HydraJob,
        outcome: &Outcome,
    ) {
        let Some(mut entry) = lock(table).remove(object) else { return };
        if !Meant::of(job).is(&entry) {
            // The spec has changed since it was asked for: what it says now was asked for anew, or will be.
            lock(table).insert(object.clone(), entry);
            return;
        }
        let judged = judge(job, entry.stored.status.as_ref(), outcome, entry.last_success, self.ports.now());
        entry.under_way = false;
        let mut failures = 0;
        if let Outcome::Looked(looked) = outcome {
            // Who answers, and has nothing to take, is asked again at its interval.
            let is_away = looked.as_ref().is_err_and(|missed| missed.unreachable);
            failures = if is_away { entry.failures.saturating_add(1) } else { 0 };
            entry.last_success = if looked.is_ok() { Some(self.ports.now()) } else { entry.last_success };
        }
        let interval = job.spec.interval.as_duration();
        self.rest(&mut entry, failures, interval);
        self.write(fence, object, &mut entry, judged, interval).await;
        lock(table).insert(object.clone(), entry);
    }

    /// Says of a HydraJob that it cannot be followed.
    async fn enter_invalid(
        &self,
        table: &Mutex<BTreeMap<ObjectKey, Entry>>,
        fence: &Fence,
        object: &ObjectKey,
        spec: &InvalidSpec,
        index: u64,
    ) {
        if !self.is_known(table, object, Meant::invalid(spec), index).await || self.is_said(table, object) {
            return;
        }
        let Some(mut entry) = lock(table).remove(object) else { return };
        let judged = call_invalid(spec, entry.stored.status.as_ref(), self.ports.now());
        self.rest(&mut entry, 0, INVALID_LOOK);
        self.write(fence, object, &mut entry, judged, INVALID_LOOK).await;
        lock(table).insert(object.clone(), entry);
    }

    /// The next look is due in a while, after so many failures in a row. What is in the store is read again before it: it may have been
    /// restored, or deleted.
    fn rest(&self, entry: &mut Entry, failures: u32, interval: Duration) {
        (entry.doubtful, entry.failures) = (true, failures);
        entry.due = self.ports.monotonic() + self.ports.jittered(pause(interval, failures), JITTER);
    }

    /// Commits a status and tells of it, if it is another one than is stored.
    async fn write(
        &self,
        fence: &Fence,
        object: &ObjectKey,
        entry: &mut Entry,
        (status, events): (HydraJobStatus, Vec<Event>),
        interval: Duration,
    ) {
        if entry.stored.status.as_ref() == Some(&status) {
            return;
        }
        match self.commit(fence, object, entry, &status, &events).await {
            Ok(stored) => {
                let before = std::mem::replace(&mut entry.stored, stored).status;
                for event in &events {
                    tracing::info!(hydrajob = %object, reason = event.reason, "{}", event.message);
                }
                let deployments = self.sources.taking_versions_of(object);
                for event in told(before.as_ref(), &status, &events, self.ports.now()) {
                    self.announce.announce_job(object, &deployments, &status, &event);
                }
                for deployment in &deployments {
                    (self.wake)(deployment);
                }
            }
            Err(error) => {
                tracing::debug!(%object, %error, "the status of a HydraJob was not committed");
                // Whatever became of it, it is read again, and then Hydra is asked again.
                self.wake_those_of(object);
                self.rest(entry, entry.failures.saturating_add(1), interval);
            }
        }
    }

    /// The Deployments that take their version from a job are looked at again.
    fn wake_those_of(&self, object: &ObjectKey) {
        self.sources.taking_versions_of(object).iter().for_each(|deployment| (self.wake)(deployment));
    }

    async fn read(&self, object: &ObjectKey) -> Result<Stored, consul_client::Error> {
        let get = async |key: String| self.client.kv_get(&key, &Read::consistent()).await.map(|read| read.value);
        let status = get(self.keys.status(Kind::HydraJob, object)).await?;
        let events = get(self.keys.events(Kind::HydraJob, object)).await?;
        // What cannot be read is written anew: the newest build is asked for again.
        Ok(Stored {
            status: status.as_ref().and_then(|pair| serde_json::from_slice(&pair.value).ok()),
            status_index: status.map_or(0, |pair| pair.modify_index),
            events: events.as_ref().and_then(|pair| serde_json::from_slice(&pair.value).ok()).unwrap_or_default(),
            events_index: events.map_or(0, |pair| pair.modify_index),
        })
    }

    /// Writes status and events under the fence, if the spec is the one that was looked at.
    async fn commit(
        &self,
        fence: &Fence,
        object: &ObjectKey,
        Entry { index, stored, .. }: &Entry,
        status: &HydraJobStatus,
        events: &[Event],
    ) -> Result<Stored, CommitError> {
        let spec = self.keys.spec(Kind::HydraJob, object);
        let mut log = stored.events.clone();
        log.extend(events.iter().cloned());
        let key = self.keys.status(Kind::HydraJob, object);
        let mut ops = vec![
            fence.op(),
            TxnOp::CheckIndex { key: spec, index: *index },
            TxnOp::cas(&key, encode(status), stored.status_index),
        ];
        let events_key = self.keys.events(Kind::HydraJob, object);
        if !events.is_empty() {
            ops.push(TxnOp::cas(&events_key, encode(&log), stored.events_index));
        }
        let results = self.committer.write(ops).await?;
        let index = |key: &str, before| {
            results.pairs.iter().find(|pair| pair.key == key).map_or(before, |pair| pair.modify_index)
        };
        Ok(Stored {
            status: Some(status.clone()),
            status_index: index(&key, stored.status_index),
            events_index: index(&events_key, stored.events_index),
            events: log,
        })
    }

    /// Removes a HydraJob that is marked for deletion, and all that is kept about it. Whoever has its version from it keeps that.
    async fn remove(&self, fence: &Fence, object: &ObjectKey, row: &JobRow) {
        let kind = Kind::HydraJob;
        let spec = self.keys.spec(kind, object);
        let all = [self.keys.control(kind, object), self.keys.status(kind, object), self.keys.events(kind, object)];
        let mut ops = vec![fence.op(), TxnOp::CheckIndex { key: spec.clone(), index: row.index }];
        ops.extend([spec].into_iter().chain(all).map(|key| TxnOp::Delete { key }));
        match self.committer.write(ops).await {
            Ok(_) => tracing::info!(hydrajob = %object, "removed"),
            Err(error) => tracing::debug!(%object, %error, "a HydraJob was not removed yet"),
        }
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}
