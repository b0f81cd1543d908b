//! Whether an instance leads its service: it stands for election while it runs and is in Consul, and its package's hooks are told.
//!
//! Who leads has the tag `leader` in Consul, and in its own folder a file `leader` with the fencing token. The file goes first when the
//! leadership is lost, then the hook `leader-lost` runs, and only after that, or when its time is over, the lock is given back.

use std::{collections::BTreeMap, fs, future::Future, path::PathBuf, pin::Pin, time::Duration};

use consul_client::Client;
use helium_crds::{instance::Assignment, template::Election};
use helium_election::{
    Keys,
    leader::{Candidate, Elector, Event, Handle, Settings, Status},
};
use helium_runtime::ports::Ports;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    hooks::{Hook, HookRun},
    instance::{dir::InstanceDir, record::Record},
    package::preparation::hook_of,
    registration::{addressed, consul_checks},
    shared::Shared,
    telemetry::Telemetry,
};

/// The file in the instance's own folder that says that it leads.
pub(crate) const LEADER_FILE: &str = "leader";
/// The mark of how far the hooks were told: `<token> <pid>`, and `done` once `leader-gained` has run.
const MARK: &str = "leader-told";
/// The note of the election.
const NOTE: &str = "election";
/// The variable with the fencing token.
const TOKEN: &str = "HELIUM_LEADER_TOKEN";
/// How long the processes of a hook may take to end when its time is over.
const END_GRACE: Duration = Duration::from_secs(5);
/// How long the lock may take to be given back.
const GIVE_BACK: Duration = Duration::from_secs(3);
/// The tag of who leads.
pub(crate) const LEADER_TAG: &str = "leader";

/// The election of one instance. Dropped, it ends without giving anything back: the agent that comes next goes on with it.
#[derive(Default)]
pub(crate) struct Leading {
    of: Option<u32>,
    task: Option<JoinHandle<()>>,
    leave: Option<oneshot::Sender<()>>,
    leads: Option<watch::Receiver<Option<bool>>>,
    /// The election that is being ended, and how long that may take.
    ending: Option<JoinHandle<()>>,
    within: Duration,
}

impl Leading {
    /// True if it is the election for this process, or there is none and it is for none.
    pub(crate) fn is_of(&self, pid: Option<u32>) -> bool {
        self.of == pid
    }

    /// Whether the instance leads now; none before the election has told, or where there is none.
    pub(crate) fn leads(&self) -> Option<bool> {
        *self.leads.as_ref()?.borrow()
    }

    /// Waits until that changes. May be dropped and called again.
    pub(crate) async fn changed(&mut self) {
        let news = match &mut self.leads {
            Some(leads) => leads.changed().await.is_ok(),
            None => false,
        };
        if !news {
            std::future::pending::<()>().await;
        }
    }

    /// Gives the leadership back, if there is one, and stands for election no more. What has to be done for that is done beside.
    pub(crate) fn end(&mut self) {
        if let Some(leave) = self.leave.take() {
            let _ = leave.send(());
        }
        // It ends by itself once all is given back.
        let ending = self.task.take().or_else(|| self.ending.take());
        let within = self.within;
        *self = Self::default();
        (self.ending, self.within) = (ending, within);
    }

    /// Waits until an election that was [ended](Leading::end) has told the package and given all back, for as long as that may take.
    pub(crate) async fn ended(&mut self) {
        if let Some(ending) = self.ending.take()
            && tokio::time::timeout(self.within, ending).await.is_err()
        {
            tracing::warn!("an election was not given back in time; its session ends by itself");
        }
    }

    /// Stands for election, for a process.
    pub(crate) fn begin(
        &mut self,
        pid: u32,
        shared: &Shared,
        dir: &InstanceDir,
        record: &Record,
        env: BTreeMap<String, String>,
    ) {
        self.end();
        self.of = Some(pid);
        let Some(election) = &record.assignment.template.election else { return };
        let candidate = candidate(shared, dir, record, election);
        let stop_within = candidate.settings.stop_within;
        match start(&shared.client, candidate, &shared.ports) {
            Ok(handle) => {
                let (leads, told) = watch::channel(None);
                let (leave, asked) = oneshot::channel();
                let told_to = Told {
                    dir: dir.clone(),
                    env,
                    stop_within,
                    leads,
                    instance: record.assignment.clone(),
                    pid,
                    telemetry: shared.telemetry.clone(),
                };
                (self.leads, self.leave) = (Some(told), Some(leave));
                self.within = stop_within + END_GRACE + GIVE_BACK;
                self.task = Some(tokio::spawn(told_to.follow(handle, asked)));
            }
            Err(words) => tracing::error!(instance = %record.assignment.id, words, "it cannot stand for election"),
        }
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        if let (Some(task), Some(_)) = (&self.task, &self.leave) {
            task.abort();
        }
    }
}

fn start(client: &Client, candidate: Candidate, ports: &Ports) -> Result<Handle, String> {
    Elector::start(client.clone(), candidate, ports.clone()).map_err(|error| error.to_string())
}

fn candidate(shared: &Shared, dir: &InstanceDir, record: &Record, election: &Election) -> Candidate {
    let Assignment { id, deployment, .. } = &record.assignment;
    let keys = Keys::helium(&deployment.namespace, &deployment.name);
    Candidate {
        who: id.to_string(),
        address: addressed(&shared.config, record),
        keys: Keys { leader: shared.config.keys.service_lock(&deployment.namespace, &deployment.name), ..keys },
        settings: Settings {
            ttl: election.session_ttl.as_duration(),
            lock_delay: election.lock_delay.as_duration(),
            stop_within: election.stop_within.as_duration(),
            service_checks: consul_checks(record),
            ..Settings::default()
        },
        note: dir.state().join(NOTE),
    }
}

/// What is told of the events of an election, and to whom.
struct Told {
    dir: InstanceDir,
    env: BTreeMap<String, String>,
    stop_within: Duration,
    /// Whether it leads; none before that is known.
    leads: watch::Sender<Option<bool>>,
    instance: Assignment,
    pid: u32,
    /// Who counts its hooks.
    telemetry: Telemetry,
}

/// A hook that runs.
type Doing = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Told {
    /// Follows the election until all is given back.
    async fn follow(self, mut handle: Handle, mut asked: oneshot::Receiver<()>) {
        let mut left = false;
        let mut status = handle.status();
        if self.is_lost_unseen() {
            // The agent before was killed between the loss and the telling.
            self.lose().await;
        }
        let mut doing: Doing = Box::pin(std::future::pending());
        loop {
            tokio::select! {
                biased;
                event = handle.event() => match event {
                    Some(Event::Gained { token, kept, .. }) => {
                        let token = token.number.to_string();
                        tracing::info!(instance = %self.instance.id, token, kept, "leads its service");
                        self.note(Some(&token));
                        self.leads.send_replace(Some(true));
                        // Kept over a restart of the agent, and told already: then nothing has changed for the instance.
                        doing = if kept && self.is_told(&token) { Box::pin(std::future::pending()) } else { self.gain(&token) };
                    }
                    Some(Event::Lost { why, .. }) => {
                        tracing::info!(instance = %self.instance.id, ?why, "leads its service no more");
                        // What was begun for a leader ends with it.
                        doing = Box::pin(std::future::pending());
                        self.leads.send_replace(Some(false));
                        self.lose().await;
                        handle.stopped().await;
                    }
                    None => return,
                },
                _ = &mut asked, if !left => {
                    left = true;
                    handle.leave().await;
                }
                Ok(()) = status.changed(), if self.leads.borrow().is_none() => self.look(&status.borrow_and_update()),
                () = &mut doing => doing = Box::pin(std::future::pending()),
            }
        }
    }

    /// Where another leads, it does not. That nobody does may change in a moment, and that it does itself is an event.
    fn look(&self, status: &Status) {
        let leader = status.leader.as_ref();
        if leader.is_some_and(|leader| leader.who != self.instance.id.as_str()) {
            self.leads.send_replace(Some(false));
        }
    }

    /// Tells the hook that it leads. A mark says that this is under way, and then that it is done.
    fn gain(&self, token: &str) -> Doing {
        let (mark, words) = (self.dir.state().join(MARK), format!("{token} {}", self.pid));
        if let Err(error) = fs::write(&mark, &words) {
            tracing::warn!(instance = %self.instance.id, %error, "the mark of the leader cannot be written");
        }
        let hook = self.hook(Hook::LeaderGained, token);
        Box::pin(async move {
            hook.await;
            let _ = fs::write(&mark, words + " done");
        })
    }

    /// Takes the file away, and tells the hook that it leads no more.
    async fn lose(&self) {
        self.note(None);
        self.hook(Hook::LeaderLost, "").await;
        let _ = fs::remove_file(self.dir.state().join(MARK));
    }

    fn is_told(&self, token: &str) -> bool {
        fs::read_to_string(self.dir.state().join(MARK)).is_ok_and(|mark| mark == format!("{token} {} done", self.pid))
    }

    /// Whether it led once, and the election has forgotten that without the hook having been told.
    fn is_lost_unseen(&self) -> bool {
        self.dir.state().join(MARK).exists() && !self.dir.state().join(NOTE).exists()
    }

    fn hook(&self, hook: Hook, token: &str) -> Doing {
        let mut env = self.env.clone();
        env.insert(TOKEN.to_owned(), token.to_owned());
        let run = hook_of(&self.dir, hook, env).counted_by(&self.telemetry);
        let limit = if hook == Hook::LeaderLost { self.stop_within } else { run.limit };
        let (run, id) = (HookRun { limit, ..run }, self.instance.id.clone());
        Box::pin(async move {
            if let Err(words) = run.to_success().await {
                tracing::warn!(instance = %id, words, "a hook failed");
            }
        })
    }

    /// The file that tells a process of its leadership; whole or not there.
    fn note(&self, token: Option<&str>) {
        let note: PathBuf = self.dir.work().join(LEADER_FILE);
        let done = match token {
            Some(token) => {
                let fresh = note.with_extension("new");
                fs::write(&fresh, format!("{token}\n")).and_then(|()| fs::rename(&fresh, &note))
            }
            None => fs::remove_file(&note),
        };
        if let Err(error) = done
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(instance = %self.instance.id, %error, "the file `leader` cannot be changed");
        }
    }
}

#[cfg(test)]
#[path = "leading_tests.rs"]
mod tests;
