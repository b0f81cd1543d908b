//! The agent: one task for each instance, and around them the presence, the reports, the view of the assignments and the
//! local Consul agent.
//!
//! Whatever happens to Consul, the agent goes on: what it knows is on its disk, and every part tries again by itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use consul_client::Client;
use helium_crds::{
    ids::InstanceId,
    instance::{Assignment, InstancePhase, Report},
    keys::SENTINEL,
    variables::INHERITED,
};
use helium_runtime::{
    ports::Ports,
    pulse::{BEAT, Pulse},
    shutdown::Shutdown,
    snapshot::{BlindReason, Decode, InvalidRow, Trust, View},
    watcher::{WatchConfig, watch_prefix},
};
use tokio::{
    sync::watch,
    task::{Id, JoinError, JoinSet},
    time::MissedTickBehavior,
};

use crate::{
    config::{AgentConfig, StopMode},
    data::{DataDir, DataError, Loaded},
    features,
    instance::{
        apply::after_restart,
        record::Record,
        runner::{Ended, Runner},
        table::AssignedCell,
    },
    logs, maintenance, observer,
    presence::Presence,
    shared::Shared,
    telemetry::AgentHandle,
};

/// How long the last reports may take when the agent stops.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// How long after a watch broke the next one begins.
const WATCH_AGAIN: Duration = Duration::from_secs(1);
/// How often logs are tidied.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The local records.
    #[error("the local records cannot be read: {0}")]
    Records(#[from] std::io::Error),
}

/// One agent, which owns its data folder.
pub struct Agent {
    data: DataDir,
    loaded: Loaded,
    shared: Arc<Shared>,
    /// What is in maintenance was noted, or nothing ever was.
    knows_maintenance: bool,
}

/// An assignment as a row of the store.
struct Assigned(Arc<Assignment>);

impl Decode for Assigned {
    fn decode(_key: &str, bytes: &[u8]) -> Result<Self, InvalidRow> {
        serde_json::from_slice(bytes).map(|one| Self(Arc::new(one))).map_err(|error| InvalidRow::new("$", error))
    }
}

impl Agent {
    /// Takes the data folder and reads the local records; starts nothing yet.
    ///
    /// # Errors
    /// [`DataError::Locked`] if another agent owns the folder.
    pub fn new(mut config: AgentConfig, client: Client, ports: Ports) -> Result<Self, AgentError> {
        // Instances and hooks have working directories of their own, from which a relative path would lead elsewhere.
        config.data_dir = std::path::absolute(&config.data_dir)?;
        config.package_root = std::path::absolute(&config.package_root)?;
        config.cgroup = config.cgroup.map(std::path::absolute).transpose()?;
        let data = DataDir::take(&config.data_dir)?;
        let loaded = data.load()?;
        let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        let left_alone = loaded.unreadable.iter().map(|(id, _)| id.clone()).collect();
        let inherited: BTreeMap<_, _> = inherited.collect();
        let nix = helium_nix::tools::variables(std::env::vars_os().filter_map(|(name, value)| {
            // What is not UTF-8 is none of Nix's.
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }));
        let noted = data.maintenance()?;
        let knows_maintenance = noted.is_some();
        let maintenance = noted.unwrap_or_default();
        let shared = Shared::new(config, client, ports, (inherited, nix), left_alone, data.believed(), maintenance);
        Ok(Self { data, loaded, shared: Arc::new(shared), knows_maintenance })
    }

    /// What can be asked of it while it runs.
    pub fn handle(&self) -> AgentHandle {
        AgentHandle::new(Arc::clone(&self.shared))
    }

    /// Runs until `shutdown`, and then does to the instances what `mode` says.
    ///
    /// It never ends because Consul is away.
    pub async fn run(self, shutdown: Shutdown, mode: StopMode) {
        let Self { data, loaded, shared, knows_maintenance } = self;
        let (joined, has_joined) = watch::channel(false);
        let presence = Presence { shared: &shared, data: &data, joined: &joined };
        let (trigger, background) = Shutdown::new();
        shared.cgroups.prepare();
        if !knows_maintenance {
            maintenance::ask(&shared, &data).await;
        }
        let mut crew = Crew::new(&shared, &data);
        crew.start_all(loaded);
        let main = async {
            crew.serve(shutdown, has_joined, background).await;
            crew.stop(mode).await;
            shared.reporter.flush(FLUSH_LIMIT).await;
        };
        tokio::select! {
            biased;
            () = main => {}
            () = presence.run() => {}
            () = shared.reporter.run() => {}
            () = observer::run(&shared) => {}
            () = maintenance::follow(&shared, &data) => {}
            () = features::follow(&shared) => {}
            () = shared.lookups.run(|believed| data.note_believed(&believed)) => {}
            () = keep_tidy(&data) => {}
        }
        trigger.trigger();
        if mode == StopMode::StopInstances {
            let _ = tokio::time::timeout(FLUSH_LIMIT, presence.leave()).await;
        }
    }
}

async fn keep_tidy(data: &DataDir) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        let root = data.root().to_owned();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || logs::tidy(&root)).await {
            tracing::warn!(%error, "the logs cannot be tidied");
        }
    }
}

/// The tasks of the instances.
struct Crew<'a> {
    shared: &'a Arc<Shared>,
    data: &'a DataDir,
    tasks: JoinSet<Ended>,
    names: BTreeMap<Id, InstanceId>,
    stop: watch::Sender<Option<StopMode>>,
    /// The view of the assignments, once there is one.
    view: Option<watch::Receiver<View<Assigned>>>,
    /// How often the store's index has gone back.
    resets: u64,
}

impl<'a> Crew<'a> {
    fn new(shared: &'a Arc<Shared>, data: &'a DataDir) -> Self {
        let (stop, _) = watch::channel(None);
        Self { shared, data, tasks: JoinSet::new(), names: BTreeMap::new(), stop, view: None, resets: 0 }
    }

    /// Starts the tasks of all records, whether Consul is there or not.
    fn start_all(&mut self, loaded: Loaded) {
        for (id, error) in loaded.unreadable {
            tracing::error!(instance = %id, %error, "its local record cannot be read; it is left alone");
            self.shared.reporter.set(&id, Some(self.lost_report(&id, &error)));
        }
        // Which version is the current one, and which the active one, follows from all of them: nobody begins before all are known.
        let now = self.shared.now();
        let records = loaded.records.into_iter().map(|record| after_restart(record, now));
        let runners: Vec<_> = records.map(|record| self.enter(record, AssignedCell::Unknown, false)).collect();
        for (id, runner) in runners {
            self.spawn(id, runner);
        }
    }

    fn lost_report(&self, id: &InstanceId, error: &std::io::Error) -> Report {
        let folder = self.data.instance(id);
        let words = format!("its local record cannot be read ({error}); remove {} by hand", folder.path().display());
        Report {
            id: id.clone(),
            deployment: helium_crds::ObjectKey::new(String::new(), String::new()),
            node: self.shared.config.node.clone(),
            phase: InstancePhase::Failed,
            message: Some(words),
            address: String::new(),
            ports: BTreeMap::new(),
            pid: None,
            restarts: 0,
            failing: BTreeMap::new(),
            checks: Vec::new(),
            unheld: BTreeMap::new(),
            jobs: BTreeMap::new(),
            conditions: Vec::new(),
            since: self.shared.began.0,
        }
    }

    fn start(&mut self, record: Record, assigned: AssignedCell, is_new: bool) {
        let (id, runner) = self.enter(record, assigned, is_new);
        self.spawn(id, runner);
    }

    /// Makes an instance known to all others.
    fn enter(&self, record: Record, assigned: AssignedCell, is_new: bool) -> (InstanceId, Runner) {
        let id = record.assignment.id.clone();
        self.shared.reporter.know(&id);
        self.shared.telemetry.expect(&id);
        let cells = self.shared.table.add(&record.assignment, assigned, record.ports.values().copied().collect());
        let dir = self.data.instance(&id);
        (id, Runner::new(Arc::clone(self.shared), dir, record, is_new, cells, self.stop.subscribe()))
    }

    fn spawn(&mut self, id: InstanceId, runner: Runner) {
        let task = self.tasks.spawn(runner.run());
        self.names.insert(task.id(), id);
    }

    /// Follows the assignments until `shutdown`. They are looked at only once the heartbeat is held: another agent of the same
    /// name may still be at work.
    async fn serve(&mut self, shutdown: Shutdown, mut has_joined: watch::Receiver<bool>, background: Shutdown) {
        let telemetry = self.shared.telemetry.clone();
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            telemetry.beat(self.shared.maintenance.of_node().as_deref());
            if self.view.is_none() && *has_joined.borrow_and_update() {
                let config = WatchConfig::new(&self.shared.config.keys.assignments(&self.shared.config.node));
                let Shared { client, ports, .. } = &**self.shared;
                self.view = Some(watch_prefix(client.clone(), config, ports.clone(), background.clone()));
                self.take_assignments();
            }
            let view = self.view.as_mut();
            let news = async {
                match view {
                    Some(view) => view.changed().await.is_ok(),
                    None => has_joined.changed().await.is_ok(),
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
                heard = news => {
                    if heard {
                        self.take_assignments();
                    } else {
                        // The watch broke. A new one begins after a while; until then nothing changes.
                        self.view = None;
                        tokio::time::sleep(WATCH_AGAIN).await;
                    }
                }
                () = telemetry.asked_again() => self.look_again(),
                _ = beats.tick() => {}
            }
        }
    }

    /// Looks at everything again: whatever was lost without a word comes back.
    fn look_again(&mut self) {
        tracing::info!("looking at everything again, as it was asked to");
        self.shared.look.notify_one();
        self.shared.look_at_node.notify_one();
        self.shared.reporter.read_soon();
        self.take_assignments();
    }

    /// Tells the instances what the view says, and starts the tasks of new ones.
    fn take_assignments(&mut self) {
        let Some(view) = self.view.as_mut().map(|view| view.borrow_and_update().clone()) else { return };
        if std::mem::replace(&mut self.resets, view.resets) != view.resets {
            // An older state was restored, it seems: what this agent wrote may be gone.
            self.shared.look_at_node.notify_one();
            self.shared.reporter.read_soon();
        }
        if let Trust::Blind { reason, .. } = view.trust {
            // A view that was not read yet says nothing at all.
            if reason != BlindReason::NotRead {
                self.shared.telemetry.assignments(Err(reason.as_str().to_owned()));
            }
        }
        let Some(snapshot) = view.trusted() else {
            self.shared.look_at_node.notify_one();
            self.shared.table.unassign();
            return;
        };
        let prefix = self.shared.config.keys.assignments(&self.shared.config.node);
        let mut all = BTreeMap::new();
        for (key, row) in &snapshot.rows {
            let name = key.strip_prefix(&prefix).unwrap_or_default();
            match row.value.as_ref() {
                _ if name == SENTINEL => {}
                Ok(Assigned(one)) if one.id.as_str() == name => {
                    all.insert(one.id.clone(), Arc::clone(one));
                }
                Ok(_) => tracing::error!(key, "an assignment under the name of another instance"),
                Err(error) => tracing::error!(key, %error, "an assignment that cannot be read"),
            }
        }
        let unreadable = snapshot.rows.iter().filter(|(_, row)| row.get().is_none());
        let unreadable = unreadable.filter_map(|(key, _)| key.strip_prefix(&prefix)).map(InstanceId::from).collect();
        for new in self.shared.table.assign(&all, &unreadable) {
            if !self.shared.left_alone.contains(&new.id) {
                tracing::info!(instance = %new.id, version = new.template.version, "assigned");
                let record = Record::admit(new.as_ref().clone(), self.shared.now());
                self.start(record, AssignedCell::Present(new), true);
            }
        }
        self.shared.telemetry.assignments(Ok(()));
    }

    /// Clears up after a task. One that panicked is started again from its record; it adopts its process.
    async fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let task = ended.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        let Some(id) = self.names.remove(&task) else { return };
        self.shared.table.remove(&id);
        if let Err(error) = ended {
            tracing::error!(instance = %id, %error, "the task of an instance broke; starting it again");
            tokio::time::sleep(Duration::from_secs(1)).await;
            if let Ok(Some(record)) = self.data.instance(&id).load() {
                self.start(after_restart(record, self.shared.now()), AssignedCell::Unknown, false);
            }
        } else {
            tracing::info!(instance = %id, "forgotten");
        }
        self.take_assignments();
    }

    /// Ends all tasks. However long that takes, the loop turns meanwhile.
    async fn stop(&mut self, mode: StopMode) {
        if mode == StopMode::StopInstances && !self.tasks.is_empty() {
            tracing::info!(instances = self.tasks.len(), "stopping");
        }
        self.stop.send_replace(Some(mode));
        let handle = AgentHandle::new(Arc::clone(self.shared));
        join_all(&mut self.tasks, handle.pulse()).await;
    }
}

/// Waits until all tasks have ended.
async fn join_all<T: 'static>(tasks: &mut JoinSet<T>, pulse: &Pulse) {
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            joined = tasks.join_next() => if joined.is_none() { return },
            _ = beats.tick() => pulse.beat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_waits_for_its_instances_to_stop_is_alive_meanwhile() {
        let pulse = Pulse::new(Ports::seeded(1, crate::testing::instant(0)));
        let mut tasks = JoinSet::new();
        tasks.spawn(tokio::time::sleep(Duration::from_mins(1)));
        let seen = pulse.clone();
        let oldest = tokio::spawn(async move {
            let mut oldest = Duration::ZERO;
            for _ in 0..59 {
                tokio::time::sleep(Duration::from_millis(990)).await;
                oldest = oldest.max(seen.age());
            }
            oldest
        });
        join_all(&mut tasks, &pulse).await;
        let oldest = oldest.await.unwrap();
        assert!(oldest <= BEAT, "{oldest:?}");
    }
}
