//! What the templates of all instances ask, followed in Consul by one follower, so that an agent has few connections however many they are.
//!
//! An instance [asks](Lookups::ask) its questions; the union of all is followed. Whoever prepares a start reads the [latest](Lookups::latest)
//! answers; who runs waits until they rest, for as long as its template says (see [`crate::instance::freshness`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use consul_client::Client;
use helium_crds::ids::InstanceId;
use helium_lookups::{Answers, Follower, FollowerConfig, Local};
use helium_runtime::ports::Ports;
use helium_templates::{
    guard::Believed,
    lookup::{Answer, Instance, Lookup, Question},
    quiet::{Quiet, Wait},
};
use tokio::sync::{Notify, watch};

use crate::config::AgentConfig;

/// What is to be remembered is noted when nothing has changed for so long, at most ten times so long after the first change.
const QUIET: Duration = Duration::from_millis(200);

/// What the templates of all instances ask.
pub(crate) struct Lookups {
    wanted: Mutex<BTreeMap<InstanceId, BTreeSet<Question>>>,
    asked: Notify,
    latest: watch::Sender<Arc<Answers>>,
    ports: Ports,
    follower: Mutex<Option<Follower>>,
}

impl Lookups {
    /// Nothing is followed yet. `believed` is what an earlier run of the agent knew of emptiness.
    pub(crate) fn new(
        client: Client,
        ports: Ports,
        config: &AgentConfig,
        believed: BTreeMap<String, Believed>,
    ) -> Self {
        let keys = config.keys.clone();
        let local = Local {
            address: Some(config.address.clone()),
            environment: BTreeMap::new(),
            files: true,
            secret_prefixes: vec![config.keys.secrets()],
            secret_variables: Vec::new(),
        };
        let leader_key = Arc::new(move |service: &str| {
            // Who asks has put its namespace in front.
            let (namespace, name) = service.split_once('/').unwrap_or(("default", service));
            keys.service_lock(namespace, name)
        });
        Self::over(client, ports, FollowerConfig { believed, leader_key, local, ..FollowerConfig::default() })
    }

    /// Nothing is followed yet; this is how it will be.
    pub(crate) fn over(client: Client, ports: Ports, config: FollowerConfig) -> Self {
        let clock = ports.clone();
        let follower = Follower::new(client, ports, config);
        let (latest, _) = watch::channel(follower.answers());
        Self {
            wanted: Mutex::default(),
            asked: Notify::new(),
            latest,
            ports: clock,
            follower: Mutex::new(Some(follower)),
        }
    }

    /// Follows what an instance asks from now on, in place of what it asked before.
    pub(crate) fn ask(&self, instance: &InstanceId, questions: &BTreeSet<Question>) {
        let before = self.wanted().insert(instance.clone(), questions.clone());
        if before.as_ref() != Some(questions) {
            self.asked.notify_one();
        }
    }

    /// Follows these too.
    pub(crate) fn ask_too(&self, instance: &InstanceId, questions: &BTreeSet<Question>) {
        let mut all = questions.clone();
        all.extend(self.wanted().get(instance).into_iter().flatten().cloned());
        self.ask(instance, &all);
    }

    /// An instance asks nothing any more.
    pub(crate) fn forget(&self, instance: &InstanceId) {
        if self.wanted().remove(instance).is_some() {
            self.asked.notify_one();
        }
    }

    /// The answers as they come.
    pub(crate) fn latest(&self) -> watch::Receiver<Arc<Answers>> {
        self.latest.subscribe()
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, BTreeMap<InstanceId, BTreeSet<Question>>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows, until it is dropped. `keep` is told what is to be remembered over a restart of the agent.
    pub(crate) async fn run(&self, keep: impl Fn(BTreeMap<String, Believed>)) {
        let taken = self.follower.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut follower) = taken else { return };
        let mut burst = Quiet::new(Wait::of(QUIET).at_most(QUIET * 10));
        loop {
            let due = burst.due();
            let over = async {
                match due {
                    Some(due) => self.ports.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.asked.notified() => {
                    let all = self.wanted().values().flatten().cloned().collect();
                    follower.follow(&all);
                }
                () = follower.changed() => {
                    self.latest.send_replace(follower.answers());
                    burst.changed(self.ports.monotonic(), &self.ports);
                }
                () = over => {
                    if burst.take(self.ports.monotonic()) {
                        keep(follower.believed());
                    }
                }
            }
        }
    }
}

/// The answers as one instance gets them: with its own environment, and leaders by its own namespace.
#[derive(Clone)]
pub(crate) struct InstanceLookup {
    pub(crate) answers: Arc<Answers>,
    pub(crate) namespace: String,
    pub(crate) env: Arc<BTreeMap<String, String>>,
}

impl InstanceLookup {
    /// A question in the form in which all instances may ask it.
    pub(crate) fn shared_form(&self, question: &Question) -> Question {
        match question {
            Question::Leader(service) => Question::Leader(self.leader_of(service)),
            other => other.clone(),
        }
    }

    fn leader_of(&self, service: &str) -> String {
        if service.contains('/') { service.to_owned() } else { format!("{}/{service}", self.namespace) }
    }

    /// What is known of a question, in words that are the same if and only if the answers are. None while it is not known.
    pub(crate) fn fingerprint(&self, question: &Question) -> Option<String> {
        let said = match question {
            Question::Services { name, tag } => shown(self.services(name, tag.as_deref())),
            Question::Key(key) => shown(self.key(key)),
            Question::Keys(prefix) => shown(self.keys(prefix)),
            Question::Leader(service) => shown(self.leader(service)),
            Question::Address => shown(self.address()),
            Question::File(path) => shown(self.file(path)),
            Question::Environment(name) => shown(self.environment(name)),
        };
        said.map(|said| helium_packages::digest::Digest::of(said.as_bytes()).to_string())
    }
}

fn shown<T: serde::Serialize>(answer: Answer<T>) -> Option<String> {
    match answer {
        Answer::Known(known) => serde_json::to_string(&known).ok(),
        Answer::NotYet => None,
    }
}

impl Lookup for InstanceLookup {
    fn services(&self, name: &str, tag: Option<&str>) -> Answer<Vec<Instance>> {
        match self.answers.services(name, tag) {
            Answer::Known(mut found) => {
                // The order of an answer is nobody's wish.
                found.sort();
                Answer::Known(found)
            }
            Answer::NotYet => Answer::NotYet,
        }
    }

    fn key(&self, key: &str) -> Answer<Option<String>> {
        self.answers.key(key)
    }

    fn keys(&self, prefix: &str) -> Answer<BTreeMap<String, String>> {
        self.answers.keys(prefix)
    }

    fn leader(&self, service: &str) -> Answer<Option<String>> {
        match self.answers.leader(&self.leader_of(service)) {
            // The lock holds more than a template wants to know.
            Answer::Known(Some(held)) => {
                let holder = helium_election::leader::Holder::decode(held.as_bytes());
                let address = holder.map(|holder| holder.address).filter(|address| !address.is_empty());
                Answer::Known(Some(address.unwrap_or(held)))
            }
            answer => answer,
        }
    }

    fn address(&self) -> Answer<Option<String>> {
        self.answers.address()
    }

    fn file(&self, path: &Path) -> Answer<Option<String>> {
        self.answers.file(path)
    }

    fn environment(&self, name: &str) -> Answer<Option<String>> {
        Answer::Known(self.env.get(name).cloned())
    }

    fn is_secret(&self, question: &Question) -> bool {
        self.answers.is_secret(question)
    }
}
