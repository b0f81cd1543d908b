//! Follows in Consul what templates ask: keeps the planned queries open and gives what they find as snapshots.
//!
//! Each query of the [`plan`](crate::plan) is a task of its own; those that found no room are read in turn by one more. A poll that is no longer
//! wanted is never cut off: Consul would hold it, and its connection, until its wait is over. It runs to its end, and is the same poll
//! again if it is wanted again before that. So the number of connections is bounded by [`FollowerConfig::most`], one for the sweep, and one
//! for a question that does not wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use consul_client::{Blocking, Client, Error, Meta, Read, Reply};
use helium_runtime::ports::Ports;
use helium_templates::{
    guard::Believed,
    lookup::{Instance, Question},
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{
    answers::{Answers, Data, Local, Row, Source, Trouble},
    plan::{LeaderKey, Plan, Query, Terms, folder_of_prefix, plan_queries},
    poll::{Ask, Meaning, Poll},
};

/// How long the sweep rests after it has read all it has to, before jitter.
const SWEEP: Duration = Duration::from_secs(5);
/// An answer of a server that has not heard of a leader for this long is none.
const OLDEST: Duration = Duration::from_secs(10);
/// A folder that nobody named and that holds more keys than this, and ten for each that is wanted, is not read as a whole any more.
const TOO_MANY: usize = 1000;

/// How a follower works.
#[derive(Clone)]
pub struct FollowerConfig {
    /// How many queries may be open at once. Together with the sweep and a question that does not wait, 8 make 10 connections.
    pub most: usize,
    /// How long what became empty, or whose index went back, has to stay so until it is believed.
    pub patience: Duration,
    /// Whether what became empty is believed at once.
    pub allow_empty: bool,
    /// What is remembered of an earlier run, by [`Follower::believed`].
    pub believed: BTreeMap<String, Believed>,
    /// The key of the lock that a service's leader holds.
    pub leader_key: LeaderKey,
    /// What is known of this machine.
    pub local: Local,
}

impl Default for FollowerConfig {
    fn default() -> Self {
        Self {
            most: 8,
            patience: Duration::from_mins(1),
            allow_empty: false,
            believed: BTreeMap::new(),
            leader_key: Arc::new(|service| format!("service/{service}/leader")),
            local: Local::default(),
        }
    }
}

/// Follows Consul. Its queries end when it is dropped.
pub struct Follower {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    questions: BTreeSet<Question>,
    refused: BTreeSet<String>,
    seen: watch::Receiver<Arc<Answers>>,
    version: u64,
}

struct Shared {
    client: Client,
    ports: Ports,
    config: FollowerConfig,
    room: Semaphore,
    answers: watch::Sender<Arc<Answers>>,
    state: Mutex<State>,
}

/// What came of a question.
struct Asked {
    /// How long to wait before the next one.
    pause: Duration,
    /// Whether there is nobody who answers.
    away: bool,
}

/// What the tasks have in common.
#[derive(Default)]
struct State {
    /// The queries that are open, and whether somebody still wants them.
    open: BTreeMap<Query, bool>,
    sweep: BTreeSet<Query>,
    sweeping: bool,
    believed: BTreeMap<String, Believed>,
    /// Those that have no answer at the moment.
    failing: BTreeSet<Query>,
}

impl Follower {
    /// A follower that has nothing to follow yet.
    pub fn new(client: Client, ports: Ports, config: FollowerConfig) -> Self {
        let answers = Answers::new(Arc::new(config.local.clone()), Arc::clone(&config.leader_key));
        let (answers, seen) = watch::channel(Arc::new(answers));
        let state = State { believed: config.believed.clone(), ..State::default() };
        let room = Semaphore::new(config.most.max(1));
        let shared = Arc::new(Shared { client, ports, room, answers, state: Mutex::new(state), config });
        Self { shared, tasks: JoinSet::new(), questions: BTreeSet::new(), refused: BTreeSet::new(), seen, version: 0 }
    }

    /// Follows these questions from now on, and no others. Queries that stay are not disturbed.
    pub fn follow(&mut self, questions: &BTreeSet<Question>) {
        if self.questions != *questions {
            self.questions.clone_from(questions);
            self.open();
        }
    }

    /// What is known now.
    pub fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.seen.borrow())
    }

    /// Waits until more or something else is known than at the last call. May be dropped and called again.
    pub async fn changed(&mut self) {
        loop {
            self.review();
            {
                let now = self.seen.borrow_and_update();
                if now.version() != self.version {
                    self.version = now.version();
                    return;
                }
            }
            // The sender lives as long as this.
            if self.seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What has to be remembered, so that a restart is no way around the guard.
    pub fn believed(&self) -> BTreeMap<String, Believed> {
        self.shared.state().believed.clone()
    }

    /// How questions are asked at present.
    pub fn plan(&self) -> Plan {
        let terms =
            Terms { most: self.shared.config.most, refused: &self.refused, leader_key: &self.shared.config.leader_key };
        plan_queries(&self.questions, &terms)
    }

    fn open(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        let plan = self.plan();
        let mut state = self.shared.state();
        state.open.values_mut().for_each(|wanted| *wanted = false);
        let mut fresh = Vec::new();
        for query in plan.follow {
            if state.open.insert(query.clone(), true).is_none() {
                fresh.push(query);
            }
        }
        state.sweep = plan.sweep.into_iter().collect();
        let begin_sweep = !state.sweep.is_empty() && !state.sweeping;
        state.sweeping |= begin_sweep;
        drop(state);
        for query in fresh {
            self.tasks.spawn(follow(Arc::clone(&self.shared), query));
        }
        if begin_sweep {
            self.tasks.spawn(sweep(Arc::clone(&self.shared)));
        }
        self.shared.forget();
    }

    /// Folders that nobody named and that turn out to be no good are gone around.
    fn review(&mut self) {
        let asked = |folder: &str| {
            self.questions
                .iter()
                .any(|question| matches!(question, Question::Keys(prefix) if folder_of_prefix(prefix) == folder))
        };
        let unfit: Vec<String> = {
            let answers = self.seen.borrow();
            let unfit = answers.sources.iter().filter_map(|(query, source)| match query {
                Query::Keys(folder) if !asked(folder) && !self.refused.contains(folder) => {
                    let denied = matches!(source.trouble, Some((_, Trouble::Unanswered { denied: true, .. })));
                    let wanted = self.questions.iter().filter(|question| is_below(question, folder)).count();
                    let rows = source.data.as_ref().map_or(0, |data| data.len());
                    (denied || rows > TOO_MANY + 10 * wanted).then(|| folder.clone())
                }
                _ => None,
            });
            unfit.collect()
        };
        if !unfit.is_empty() {
            tracing::info!(folders = ?unfit, "these folders are not read as a whole: the token may not, or they hold far more than is asked for");
            self.refused.extend(unfit);
            self.open();
        }
    }
}

fn is_below(question: &Question, folder: &str) -> bool {
    matches!(question, Question::Key(path) | Question::Keys(path) if path.trim_start_matches('/').starts_with(folder))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a query is still wanted; if not, it is closed.
    fn goes_on(&self, query: &Query) -> bool {
        let mut state = self.state();
        let wanted = state.open.get(query).copied().unwrap_or(false);
        if !wanted {
            state.open.remove(query);
        }
        drop(state);
        if !wanted {
            self.forget();
        }
        wanted
    }

    /// Lets go what no query keeps up to date any more.
    fn forget(&self) {
        let mut state = self.state();
        let kept: BTreeSet<Query> = state.open.keys().chain(&state.sweep).cloned().collect();
        state.failing.retain(|query| kept.contains(query));
        drop(state);
        self.answers.send_if_modified(|answers| {
            if answers.sources.keys().all(|query| kept.contains(query)) {
                return false;
            }
            Arc::make_mut(answers).sources.retain(|query, _| kept.contains(query));
            true
        });
    }

    fn poll(&self, query: &Query) -> Poll {
        let believed = self.state().believed.get(&query.to_string()).copied().unwrap_or_default();
        let known = self.answers.borrow().sources.get(query).and_then(|source| source.data.clone());
        Poll::new(self.config.patience, self.config.allow_empty, believed, known)
    }

    /// Asks once, and takes the answer.
    async fn ask(&self, query: &Query, poll: &mut Poll, ask: Ask) -> Asked {
        let begun = self.ports.monotonic();
        let answer = match ask {
            Ask::Now => self.read(query, &Read::default()).await,
            Ask::Behind { index, wait } => {
                let read = Read { blocking: Some(Blocking { index, wait }), ..Read::default() };
                // Of a semaphore that nobody closes.
                let permit = self.room.acquire().await;
                let answer = self.read(query, &read).await;
                drop(permit);
                answer
            }
        };
        let now = self.ports.monotonic();
        match answer.and_then(|reply| fit(query, reply)) {
            Ok(reply) => {
                let meaning = poll.page(now, reply.meta.index, reply.value);
                self.state().believed.insert(query.to_string(), poll.believed());
                self.answered(query);
                let pause = poll.rest(&meaning, now.saturating_sub(begun));
                self.publish(query, meaning);
                Asked { pause, away: false }
            }
            Err(error) => {
                self.unanswered(query, &error);
                Asked { pause: poll.failed(&self.ports), away: error.is_unreachable() }
            }
        }
    }

    async fn read(&self, query: &Query, read: &Read) -> Result<Reply<Data>, Error> {
        match query {
            Query::Keys(prefix) => {
                let rows = self.client.kv_list(prefix, read).await?;
                Ok(rows.map(|rows| Data::Keys(rows.into_iter().map(row).collect())))
            }
            Query::Key(key) => {
                let found = self.client.kv_get(key, read).await?;
                Ok(found.map(|found| Data::Keys(found.into_iter().map(row).collect())))
            }
            Query::Service(name) => {
                let read = Read { passing: true, ..read.clone() };
                let found = self.client.health_service(name, &read).await?;
                Ok(found.map(|found| Data::Instances(instances(found))))
            }
        }
    }

    fn publish(&self, query: &Query, meaning: Meaning) {
        let since = self.ports.now();
        self.answers.send_if_modified(|answers| {
            let old = answers.sources.get(query).cloned().unwrap_or_default();
            let old_trouble = old.trouble.as_ref().map(|(_, trouble)| trouble.clone());
            let (data, trouble) = match meaning {
                Meaning::Same if old_trouble.is_none() => return false,
                Meaning::Same => (None, None),
                Meaning::Changed(data) => (Some(data), None),
                Meaning::Doubtful(doubt) if old_trouble == Some(Trouble::Doubtful(doubt)) => return false,
                Meaning::Doubtful(doubt) => {
                    tracing::warn!(%query, %doubt, "what Consul shows is not believed yet, and what was known stands");
                    (None, Some((since, Trouble::Doubtful(doubt))))
                }
            };
            let answers = Arc::make_mut(answers);
            answers.version += u64::from(data.is_some());
            answers.sources.insert(query.clone(), Source { data: data.or(old.data), trouble });
            true
        });
    }

    fn answered(&self, query: &Query) {
        let mut state = self.state();
        if state.failing.remove(query) && state.failing.is_empty() {
            tracing::info!("Consul answers again");
        }
    }

    fn unanswered(&self, query: &Query, error: &Error) {
        let first = {
            let mut state = self.state();
            let first = state.failing.is_empty();
            state.failing.insert(query.clone());
            first
        };
        if first {
            tracing::warn!(%query, %error, "Consul does not answer this; what was known stands");
        }
        let trouble = Trouble::Unanswered { error: error.to_string(), denied: error.is_denied() };
        let since = self.ports.now();
        self.answers.send_if_modified(|answers| {
            let old = answers.sources.get(query).and_then(|source| source.trouble.as_ref());
            if old.is_some_and(|(_, old)| *old == trouble) {
                return false;
            }
            let since = match old {
                Some((since, Trouble::Unanswered { .. })) => *since,
                _ => since,
            };
            Arc::make_mut(answers).sources.entry(query.clone()).or_default().trouble = Some((since, trouble.clone()));
            true
        });
    }
}

/// Keeps one query open for as long as it is wanted.
async fn follow(shared: Arc<Shared>, query: Query) {
    let mut poll = shared.poll(&query);
    while shared.goes_on(&query) {
        let ask = poll.ask(shared.ports.monotonic(), &shared.ports);
        let asked = shared.ask(&query, &mut poll, ask).await;
        tokio::time::sleep(asked.pause).await;
    }
}

/// Reads in turn what found no room, for as long as there is anything.
async fn sweep(shared: Arc<Shared>) {
    let mut polls: BTreeMap<Query, Poll> = BTreeMap::new();
    loop {
        let wanted = {
            let mut state = shared.state();
            if state.sweep.is_empty() {
                state.sweeping = false;
                return;
            }
            state.sweep.clone()
        };
        polls.retain(|query, _| wanted.contains(query));
        let mut pause = shared.ports.jittered(SWEEP, 20);
        for query in wanted {
            let poll = polls.entry(query.clone()).or_insert_with(|| shared.poll(&query));
            let asked = shared.ask(&query, poll, Ask::Now).await;
            if asked.away {
                // Whoever does not answer this will not answer the next one.
                pause = pause.max(asked.pause);
                break;
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// An answer of a server that knows no leader, or has not heard of one for long, is none.
fn fit(query: &Query, reply: Reply<Data>) -> Result<Reply<Data>, Error> {
    let Meta { known_leader, last_contact, .. } = reply.meta;
    if known_leader && last_contact <= OLDEST {
        return Ok(reply);
    }
    Err(Error::NoLeader { call: query.to_string(), message: "the server that answers knows no leader".to_owned() })
}

fn row(pair: consul_client::KvPair) -> (String, Row) {
    let leads = pair.session.is_some() || pair.lock_index == 0;
    (pair.key, Row { value: String::from_utf8_lossy(&pair.value).into_owned(), leads })
}

fn instances(found: Vec<consul_client::ServiceHealth>) -> Vec<Instance> {
    let instance = |found: consul_client::ServiceHealth| {
        let (node, service) = (found.node, found.service);
        Instance {
            id: service.id,
            // Without an address of its own a service is where its node is.
            address: if service.address.is_empty() { node.address } else { service.address },
            port: service.port,
            node: node.node,
            tags: service.tags,
            meta: service.meta,
        }
    };
    let mut list: Vec<Instance> = found.into_iter().map(instance).collect();
    list.sort();
    list
}
