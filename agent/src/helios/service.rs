//! One service of this node: what is seen goes to the [machine](super::machine), and what it decides is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use helium_processes::Supervised;
use helium_runtime::{backoff::wait_after, shutdown::Shutdown};
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    agent::{Common, Orders, Place},
    artifact::Artifacts,
    leader::Leader,
    machine::{Assigned, Facts, Green, Lock, Process, SETTLED_AFTER, Step, decide, goal},
    record::{Event, FAILED_AFTER, Record, Target, after_restart, apply},
    registration::{self, Shown, UNSEEN, compare},
    showing::ServiceState,
    upgrade::{self, Upgrade},
    watching::{Seen, ServiceKeys},
    wish,
};
use crate::checks::Scripts;

/// How soon the local Consul agent is looked at again while something is to happen there, and at rest.
pub(super) const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long one call to Consul may take.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(3);
/// The wait after the first failure, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// What the calls to Consul are for, where they are counted.
pub(super) const LOOKS: &str = "observer";
/// The wait before a package is fetched again, at most: the first, and after many.
const FETCH_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(2));
/// How often a fetch is looked at.
const FETCH_LOOK: Duration = Duration::from_millis(50);
/// The wait after the disk refused a record.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The service is not of this node any more, and forgotten.
    Forgotten,
    /// The agent stops.
    Left,
    /// It is as it should be, and nobody stays to look after it.
    Converged,
    /// It is not, and this is why.
    Unfit(String),
}

/// One service of this node.
pub(super) struct Service {
    pub(super) common: Arc<Common>,
    pub(super) name: String,
    /// Its records, notes and logs.
    pub(super) dir: PathBuf,
    pub(super) record: Record,
    pub(super) process: Option<Supervised>,
    pub(super) scripts: Scripts,
    pub(super) keys: Arc<ServiceKeys>,
    pub(super) seen: watch::Receiver<Seen>,
    pub(super) orders: watch::Receiver<Orders>,
    pub(super) lock: Option<Upgrade>,
    pub(super) leader: Option<Leader>,
    /// Whether the keys were read since the lock is held: who had it before may have marked what we are about to take.
    pub(super) fresh: bool,
    pub(super) artifacts: Arc<Artifacts>,
    pub(super) here: BTreeSet<String>,
    pub(super) fetch: Failures,
    pub(super) fetch_words: String,
    /// The version that is being fetched, beside everything else.
    pub(super) fetching: Option<(String, JoinHandle<Result<(), String>>)>,
    pub(super) consul: Failures,
    pub(super) seen_since: Option<Timestamp>,
    pub(super) shown: Shown,
    /// When the local Consul agent is looked at next; none for now.
    look_at: Option<Timestamp>,
}

/// Failures in a row, and when it is tried again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    count: u32,
    after: Option<Timestamp>,
}

impl Service {
    /// Takes up a service where its record says that it is.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub(super) fn open(
        common: Arc<Common>,
        name: String,
        keys: Arc<ServiceKeys>,
        orders: watch::Receiver<Orders>,
    ) -> io::Result<Self> {
        let dir = common.service_dir(&name);
        std::fs::create_dir_all(dir.join("state"))?;
        let record: Record = wish::load(&dir.join("record.json"))?.unwrap_or_default();
        let record = after_restart(record, common.ports.now());
        let process = record.process.clone().map(Supervised::adopt);
        common.tell_roles(&name, &record.found.roles);
        let mut service = Self {
            artifacts: Arc::new(Artifacts::new(dir.join("fetched"))),
            seen: keys.seen.subscribe(),
            process,
            scripts: Scripts::default(),
            keys,
            orders,
            lock: None,
            leader: None,
            fresh: false,
            here: BTreeSet::new(),
            fetch: Failures::default(),
            fetch_words: String::new(),
            fetching: None,
            consul: Failures::default(),
            seen_since: None,
            shown: UNSEEN,
            look_at: None,
            common,
            name,
            dir,
            record,
        };
        if let Some(what) = Upgrade::noted(&service.upgrade_note()) {
            service.ask_lock(what);
        }
        service.refresh_here();
        Ok(service)
    }

    /// Looks after the service until it is forgotten or the agent stops.
    pub(super) async fn run(mut self, shutdown: &Shutdown) -> Ended {
        loop {
            let Some(step) = shutdown.unless_cancelled(Box::pin(self.turn())).await else {
                return Box::pin(self.leave()).await;
            };
            match step {
                Step::Forget if self.forget().await => {
                    self.common.showing.forget(&self.name);
                    return Ended::Forgotten;
                }
                Step::Leave => return Ended::Left,
                Step::Rest(at) => {
                    self.show();
                    if let Some(ended) = self.is_over(at) {
                        self.give_back().await;
                        return ended;
                    }
                    tokio::select! {
                        biased;
                        () = shutdown.cancelled() => {}
                        () = self.something(at) => {}
                    }
                }
                _ => {}
            }
        }
    }

    /// Says what is so with it.
    fn show(&self) {
        let target = self.seen.borrow().wish.target();
        let busy = (self.fetching.is_some(), self.leader.is_some());
        let state = ServiceState::of(&self.record, &self.shown, target.as_ref(), busy);
        self.common.showing.show(&self.name, state);
    }

    /// What was held for the service is given back when nobody stays who could renew it.
    async fn give_back(&mut self) {
        if let Some(lock) = self.lock.take() {
            lock.release().await;
        }
    }

    /// The agent stops: what runs runs on, unless it is to stop too.
    async fn leave(mut self) -> Ended {
        if self.common.once {
            self.give_back().await;
            return Ended::Unfit(self.unfit());
        }
        if self.common.config_stops() {
            let limit = self.common.config.stop_grace + Duration::from_secs(10);
            let closing = async {
                while !matches!(self.turn().await, Step::Leave) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let _ = tokio::time::timeout(limit, closing).await;
        }
        if let Some(leader) = self.leader.take() {
            leader.release().await;
        }
        Ended::Left
    }

    /// Looks, decides, and does it.
    async fn turn(&mut self) -> Step {
        self.look().await;
        self.look_at_lock().await;
        self.look_at_fetch().await;
        self.look_after_scripts();
        self.look_after_leader().await;
        let seen = self.seen.borrow_and_update().clone();
        let target = seen.wish.target();
        let orders = *self.orders.borrow_and_update();
        let step = decide(&self.facts(&seen, target.as_ref(), orders));
        if !matches!(step, Step::Rest(_)) {
            tracing::debug!(service = self.name, ?step, "next");
            self.perform(step.clone(), &seen).await;
        }
        step
    }

    fn facts<'a>(&'a self, seen: &'a Seen, target: Option<&'a Target>, orders: Orders) -> Facts<'a> {
        let process = match (&self.record.process, self.process.as_ref().map(Supervised::exit)) {
            (None, _) => Process::None,
            (Some(_), Some(None)) => Process::Running,
            (Some(_), Some(Some(exit))) => Process::Ended(exit),
            (Some(_), None) => Process::Ended(helium_processes::Exit::Unseen),
        };
        let lock = match self.lock.as_ref().map(Upgrade::place) {
            Some(upgrade::Place::Held) if self.fresh => Lock::Held,
            Some(_) => Lock::Asked,
            None => Lock::Free,
        };
        Facts {
            record: &self.record,
            now: self.common.now(),
            assigned: match orders.place {
                Place::Gone => Assigned::No,
                Place::Unsaid if seen.there => Assigned::No,
                Place::Assigned | Place::Role | Place::Unsaid => Assigned::Yes,
            },
            wish: target,
            bad: &seen.wish.bad,
            here: &self.here,
            fetch_after: self.fetch_after(target),
            process,
            registered: self.shown.registered,
            maintenance: self.shown.maintenance,
            green: self.shown.green,
            lock,
            asked_for: self.lock.as_ref().map(Upgrade::what),
            consul_after: self.consul.after,
            prove_within: self.common.prove_within(),
            seen_since: self.seen_since,
            halt: orders.halt,
        }
    }

    /// Whether Consul did not answer, and is asked again later.
    pub(super) fn consul_waits(&self) -> bool {
        self.consul.after.is_some_and(|after| after > self.common.now())
    }

    /// When a package is fetched again. What is being fetched at the moment is asked for soon enough.
    fn fetch_after(&self, target: Option<&Target>) -> Option<Timestamp> {
        match (&self.fetching, target) {
            (Some((version, _)), Some(target)) if *version == target.version => {
                Some(self.common.now() + SignedDuration::from_secs(1))
            }
            (Some(_), _) => None,
            (None, _) => self.fetch.after,
        }
    }

    /// Whether a run that does not stay is over, once there is nothing to do at the moment.
    fn is_over(&self, at: Option<Timestamp>) -> Option<Ended> {
        if !self.common.once {
            return None;
        }
        let seen = self.seen.borrow().clone();
        let target = seen.wish.target();
        let facts = self.facts(&seen, target.as_ref(), *self.orders.borrow());
        let unfit = |words: String| Some(Ended::Unfit(format!("{}: {words}", self.name)));
        if self.shown.registered == super::machine::Registered::Unknown && self.consul.after.is_none() {
            return None;
        }
        if let (Some(at), Some(message)) = (self.record.next_try, &self.record.message)
            && at > facts.now
            && self.record.failures >= FAILED_AFTER
        {
            return unfit(message.clone());
        }
        if self.fetching.is_some() {
            return None;
        }
        if self.fetch.after.is_some_and(|after| after > facts.now) {
            return unfit(self.fetch_words.clone());
        }
        if self.consul.after.is_some() {
            return unfit("Consul does not answer; what was known runs".to_owned());
        }
        if !seen.told || facts.assigned == Assigned::No || self.record.attempt.is_some() || facts.lock == Lock::Asked {
            return None;
        }
        match (target.as_ref(), goal(&facts)) {
            (None, _) => unfit(format!("service/{}/version is not in Consul", self.name)),
            (Some(wish), goal) if Some(wish) != goal => {
                let marks = [wish.version.clone(), wish.config_mark()];
                let why = marks.iter().find_map(|mark| seen.wish.reasons.get(mark)).map_or("", String::as_str);
                unfit(format!("the version {} is marked bad: {why}", wish.version))
            }
            // What Consul shows of one that has just been started may be of the one before it.
            _ if self.record.started_at.is_some_and(|since| facts.now < since + SETTLED_AFTER) => None,
            _ if self.record.up && at.is_none() && self.shown.green == Green::Yes => Some(Ended::Converged),
            _ => None,
        }
    }

    /// Why the service is not as it should be, for a run whose time is over.
    fn unfit(&self) -> String {
        let waits = self.lock.as_ref().is_some_and(|lock| lock.place() == upgrade::Place::Asked);
        let words = match (&self.record.message, &self.record.attempt) {
            (Some(message), _) => message.clone(),
            (None, _) if waits => "it waits for the upgrade lock".to_owned(),
            (None, Some(attempt)) => {
                format!("the version {} has not proved itself: its checks do not pass", attempt.target.version)
            }
            (None, None) => "it is not as it should be".to_owned(),
        };
        format!("{}: {words}", self.name)
    }

    /// Waits until there is something new to know.
    async fn something(&mut self, at: Option<Timestamp>) {
        let now = self.common.now();
        let at = at.into_iter().chain(self.look_at).min().unwrap_or(now);
        let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default().max(Duration::from_millis(10));
        let process = async {
            match &mut self.process {
                Some(process) if process.exit().is_none() => drop(process.ended().await),
                _ => std::future::pending().await,
            }
        };
        let lock = async {
            match &mut self.lock {
                Some(lock) => lock.changed().await,
                None => std::future::pending().await,
            }
        };
        let fetching = async {
            match &mut self.fetching {
                // What has come of it is taken up in the next turn.
                Some((_, task)) if !task.is_finished() => {
                    while !task.is_finished() {
                        tokio::time::sleep(FETCH_LOOK).await;
                    }
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.seen.changed() => {}
            () = fetching => {}
            _ = self.orders.changed() => {}
            () = process => {}
            () = lock => {}
            () = self.common.told.notified() => self.look_at = None,
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// Has the local Consul agent looked at before the next decision.
    pub(super) fn look_soon(&mut self) {
        self.look_at = None;
    }

    async fn look(&mut self) {
        let now = self.common.now();
        if self.look_at.is_some_and(|at| at > now) {
            return;
        }
        let client = &self.common.client;
        let asked = async { Ok((client.agent_services().await?, client.agent_checks().await?)) };
        let shown: Result<_, consul_client::Error> = match tokio::time::timeout(CALL_LIMIT, asked).await {
            Ok(asked) => asked,
            Err(_) => return self.consul_failed("no answer"),
        };
        match shown {
            Ok((services, checks)) => {
                self.common.showing.look(&checks);
                self.common.showing.telemetry.heard(LOOKS, Ok(()));
                let wanted = registration::wanted(&self.common.config.node, &self.name, &self.record, self.common.once);
                self.shown = compare(&wanted, &services, &checks);
                self.consul = Failures::default();
                self.seen_since.get_or_insert(now);
                let busy = self.common.once || self.record.attempt.is_some() || self.shown.green != Green::Yes;
                let wait = self.common.ports.jittered(if busy { LOOK.0 } else { LOOK.1 }, 20);
                self.look_at = Some(now + SignedDuration::try_from(wait).unwrap_or_default());
                self.remove_surplus().await;
            }
            Err(error) => self.consul_failed(&error.to_string()),
        }
    }

    /// Checks of the service that no package asks for any more go.
    async fn remove_surplus(&mut self) {
        if self.record.current.is_none() || self.shown.registered != super::machine::Registered::Same {
            return;
        }
        for id in std::mem::take(&mut self.shown.surplus) {
            let removing = tokio::time::timeout(CALL_LIMIT, self.common.client.agent_deregister_check(&id)).await;
            if !matches!(removing, Ok(Ok(()))) {
                tracing::warn!(service = self.name, id, "a check that is not wanted any more cannot be removed");
            }
        }
    }

    /// A call to Consul failed: it is asked again later, and everything runs on.
    pub(super) fn consul_failed(&mut self, words: &str) {
        self.common.showing.telemetry.heard(LOOKS, Err(words.to_owned()));
        if self.consul.count == 0 {
            tracing::warn!(service = self.name, words, "Consul does not answer; what runs runs on");
        }
        let after = self.failed_at(&mut self.consul.clone(), RETRY);
        self.consul = after;
        self.look_at = self.consul.after;
        self.seen_since = None;
        self.shown.green = Green::Unknown;
    }

    /// A fetch failed.
    pub(super) fn fetch_failed(&mut self, words: String) {
        if self.fetch_words != words {
            tracing::error!(service = self.name, words, "a package cannot be fetched");
        }
        self.fetch_words = words;
        self.fetch = self.failed_at(&mut self.fetch.clone(), FETCH_AGAIN);
    }

    fn failed_at(&self, failures: &mut Failures, waits: (Duration, Duration)) -> Failures {
        let count = failures.count.saturating_add(1);
        let wait = wait_after(count, waits.0, waits.1, &self.common.ports);
        let after = self.common.now() + SignedDuration::try_from(wait).unwrap_or_default();
        Failures { count, after: Some(after) }
    }

    /// What is on this machine of the service.
    pub(super) fn refresh_here(&mut self) {
        let installed = self.common.packages.installed(&self.name).unwrap_or_else(|words| {
            tracing::error!(service = self.name, words, "its packages cannot be read");
            BTreeSet::new()
        });
        self.here = installed.into_iter().chain(self.artifacts.versions()).collect();
    }

    /// Notes an event on the disk; nothing goes on before that.
    pub(super) async fn note(&mut self, event: Event) {
        let next = apply(&self.record, event, self.common.now());
        if let Some(message) = next.message.as_ref().filter(|_| next.message != self.record.message) {
            tracing::warn!(service = self.name, message, "trouble");
        }
        if next == self.record {
            return;
        }
        while let Err(error) = wish::save(&self.dir.join("record.json"), &next) {
            tracing::error!(service = self.name, %error, "the record cannot be written; waiting for the disk");
            tokio::time::sleep(DISK_RETRY).await;
        }
        self.record = next;
    }

    /// The environment of hooks, checks and the process.
    pub(super) fn env(&self, version: &str) -> BTreeMap<String, String> {
        let config = &self.common.config;
        let mut env = self.common.inherited.clone();
        env.entry("PATH".to_owned()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
        let folder = self.common.packages.folder(&self.name, version).unwrap_or_default();
        env.extend(
            [
                ("HELIUM_NODE", config.node.clone()),
                ("HELIUM_ADDRESS", config.address.clone()),
                ("HELIUM_BIN", config.helium_bin.display().to_string()),
                ("HELIUM_SERVICE", self.name.clone()),
                ("HELIUM_PACKAGE", folder.display().to_string()),
                ("VERSION", version.to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        env
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.fetching {
            task.abort();
        }
    }
}
