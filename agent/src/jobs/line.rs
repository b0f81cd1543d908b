//! The agent's end of the socket to a supervisor: what Consul shows goes there, the states of jobs come from there, and Consul is told what they mean.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use helium_crds::{
    ids::InstanceId,
    instance::check_id,
    job::{Condition, JOBS_CHECK, JobReport},
    template::Template,
};
use helium_runtime::backoff::wait_after;
use helium_templates::lookup::{Answer, Lookup as _, Question};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::{Mutex, Notify, watch},
    task::JoinSet,
};

use super::{
    plan::Files,
    protocol::{Look, States, Told, watch_name},
    socket,
    standing::{reports, required_trouble},
    telling::Telling,
};
use crate::{
    instance::{dir::InstanceDir, record::Record, standing::Standing},
    package::lookups::InstanceLookup,
    shared::Shared,
};

/// The wait after the first vain try to connect, at most, and after many: a supervisor that has just been started does not listen yet.
const RETRY: (Duration, Duration) = (Duration::from_millis(40), Duration::from_secs(1));
/// How long the first word of a supervisor is waited for with a report. The next look at Consul's agent, seconds later, does not wait any more.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one call to Consul may take.
const CALL_LIMIT: Duration = Duration::from_secs(3);

/// The line to the supervisor of one instance, while it has one.
#[derive(Default)]
pub(crate) struct Line {
    /// The supervisor that it is to.
    of: Option<u32>,
    _tasks: JoinSet<()>,
    states: Option<watch::Receiver<Option<States>>>,
    /// When it was begun, by the monotonic clock.
    since: Duration,
    healthy: Option<watch::Sender<Option<bool>>>,
    is_registered: Option<watch::Sender<bool>>,
    anew: Arc<Notify>,
}

impl Line {
    /// Speaks with the supervisor of an instance that has one, while it runs, and says there whether all checks of the instance pass. Consul is
    /// told of the jobs while the instance stands there.
    pub(crate) fn follow(&mut self, shared: &Arc<Shared>, dir: &InstanceDir, record: &Record, standing: &Standing) {
        let passes = standing.passes;
        let pid = record.process.as_ref().map(|process| process.pid);
        let pid = pid.filter(|_| record.assignment.template.is_supervised());
        match pid {
            _ if self.of == pid => {}
            None => self.end(shared, &record.assignment.id),
            Some(pid) => self.begin(pid, shared, dir, record),
        }
        if let Some(states) = &mut self.states {
            states.mark_unchanged();
        }
        if let Some(healthy) = &self.healthy {
            healthy.send_if_modified(|known| std::mem::replace(known, passes) != passes);
        }
        if let Some(known) = &self.is_registered {
            let is_known = standing.is_known();
            known.send_if_modified(|known| std::mem::replace(known, is_known) != is_known);
        }
    }

    /// Ends it.
    pub(crate) fn end(&mut self, shared: &Shared, instance: &InstanceId) {
        *self = Self::default();
        shared.lookups.forget(&asker(instance));
    }

    /// Begins it anew.
    fn begin(&mut self, pid: u32, shared: &Arc<Shared>, dir: &InstanceDir, record: &Record) {
        let template = &record.assignment.template;
        let (states, seen) = watch::channel(None);
        let (healthy, sees_health) = watch::channel(None);
        let watched = questions(template.conditions());
        shared.lookups.ask(&asker(&record.assignment.id), &watched.values().cloned().collect());
        let mut tasks = JoinSet::new();
        tasks.spawn(
            Talk {
                shared: Arc::clone(shared),
                socket: Files(dir).socket(),
                namespace: record.assignment.deployment.namespace.clone(),
                watched,
                healthy: sees_health,
                states,
            }
            .run(),
        );
        let check = check_id(&record.assignment.id, JOBS_CHECK);
        let (is_registered, sees_registered) = watch::channel(false);
        let anew = Arc::new(Notify::new());
        let telling = Telling {
            ports: shared.ports.clone(),
            template: template.clone(),
            states: seen.clone(),
            is_registered: sees_registered,
            anew: Arc::clone(&anew),
        };
        tasks.spawn(tell(Arc::clone(shared), check, telling));
        *self = Self {
            of: Some(pid),
            _tasks: tasks,
            states: Some(seen),
            since: shared.ports.monotonic(),
            healthy: Some(healthy),
            is_registered: Some(is_registered),
            anew,
        };
    }

    /// The service was registered: its checks begin critical.
    pub(crate) fn registered(&self) {
        self.anew.notify_one();
    }

    /// Whether the supervisor is about to say how its jobs are: a report without them would be written for nothing.
    pub(crate) fn is_expected(&self, shared: &Shared) -> bool {
        let silent = self.states.as_ref().is_some_and(|states| states.borrow().is_none());
        silent && shared.ports.monotonic() < self.since + PATIENCE
    }

    /// What is known of the jobs.
    pub(crate) fn reports(&self, template: &Template) -> BTreeMap<String, JobReport> {
        let states = self.states.as_ref().and_then(|states| states.borrow().clone());
        states.map(|states| reports(template, &states)).unwrap_or_default()
    }

    /// What is wrong with the jobs that the instance requires.
    pub(crate) fn trouble(&self, template: &Template) -> Option<String> {
        required_trouble(template, &self.reports(template))
    }

    /// Waits until something else is known of the jobs. May be dropped and called again.
    pub(crate) async fn changed(&mut self) {
        if let Some(states) = &mut self.states
            && states.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// Who asks what the jobs of an instance wait for: what its templates ask is another matter.
fn asker(instance: &InstanceId) -> InstanceId {
    InstanceId::new(format!("{instance}{JOBS_CHECK}"))
}

/// What conditions watch in Consul, by name.
fn questions<'a>(conditions: impl Iterator<Item = &'a Condition>) -> BTreeMap<String, Question> {
    let question = |condition: &Condition| match (&condition.service, &condition.keys) {
        (Some(name), _) => Some(Question::Services { name: name.clone(), tag: condition.tag.clone() }),
        (None, Some(keys)) => Some(Question::Keys(keys.clone())),
        (None, None) => None,
    };
    conditions.filter_map(|condition| Some((watch_name(condition)?, question(condition)?))).collect()
}

/// The conversation with one supervisor.
struct Talk {
    shared: Arc<Shared>,
    socket: PathBuf,
    namespace: String,
    watched: BTreeMap<String, Question>,
    healthy: watch::Receiver<Option<bool>>,
    states: watch::Sender<Option<States>>,
}

impl Talk {
    /// Goes on for ever: a connection that is lost is made again.
    async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            if let Ok(stream) = socket::connect(&self.socket).await {
                failures = 0;
                self.talk(stream).await;
            }
            failures = failures.saturating_add(1);
            tokio::time::sleep(RETRY.0 + wait_after(failures, RETRY.0, RETRY.1, &self.shared.ports)).await;
        }
    }

    async fn talk(&mut self, stream: UnixStream) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let mut latest = self.shared.lookups.latest();
        latest.mark_changed();
        loop {
            tokio::select! {
                biased;
                line = lines.next_line() => {
                    let Ok(Some(line)) = line else { return };
                    let Ok(states) = serde_json::from_str::<States>(&line) else { continue };
                    self.states.send_if_modified(|known| known.replace(states.clone()).as_ref() != Some(&states));
                }
                changed = self.healthy.changed() => if changed.is_err() { return },
                changed = latest.changed() => if changed.is_err() { return },
            }
            // Said again after each word of the supervisor: what it could not use a moment ago, as the health of what did not run yet, it may use now.
            let answers = Arc::clone(&latest.borrow_and_update());
            let lookup = InstanceLookup { answers, namespace: self.namespace.clone(), env: Arc::default() };
            let told = Told { watched: look(&self.watched, &lookup), healthy: *self.healthy.borrow_and_update() };
            let Ok(mut line) = serde_json::to_vec(&told) else { return };
            line.push(b'\n');
            if writer.write_all(&line).await.is_err() {
                return;
            }
        }
    }
}

/// How what is watched looks now; what is not known is left out.
fn look(watched: &BTreeMap<String, Question>, lookup: &InstanceLookup) -> BTreeMap<String, Look> {
    let looks = watched.iter().filter_map(|(name, question)| {
        let present = match question {
            Question::Services { name, tag } => is_any(&lookup.services(name, tag.as_deref()), Vec::is_empty),
            Question::Keys(prefix) => is_any(&lookup.keys(prefix), BTreeMap::is_empty),
            _ => None,
        };
        Some((name.clone(), Look { print: lookup.fingerprint(question)?, present: present? }))
    });
    looks.collect()
}

fn is_any<T>(answer: &Answer<T>, is_empty: impl Fn(&T) -> bool) -> Option<bool> {
    match answer {
        Answer::Known(known) => Some(!is_empty(known)),
        Answer::NotYet => None,
    }
}

/// Tells Consul what the states of the jobs mean.
async fn tell(shared: Arc<Shared>, check: String, telling: Telling) {
    // Who looks is told of news alone.
    let told = Mutex::new(None);
    let (shared, check, told) = (&shared, &check, &told);
    telling
        .run(|verdict, words| async move {
            let call = shared.client.agent_update_ttl(check, verdict, &words);
            let taken = matches!(tokio::time::timeout(CALL_LIMIT, call).await, Ok(Ok(())));
            if taken && told.lock().await.replace(verdict) != Some(verdict) {
                shared.look.notify_one();
            }
            taken
        })
        .await;
}
