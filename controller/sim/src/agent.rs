//! A simulated agent: it makes its node's assignments true in the table of processes, as the real one does with real processes.
//!
//! What it knows is lost when it dies; the processes, and what it wrote down beside them, are not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use consul_client::{
    AgentService, Behavior, CheckDefinition, CheckStatus, Client, Error, Put, Read, ServiceDefinition, SessionRequest,
    TxnOp, Weights,
};
use helium_crds::{
    InstanceId, NodeName,
    instance::{Assignment, Desired, InstancePhase, Report, STANDBY_CHECK, check_id, service_id},
    keys::{Keys, SENTINEL},
    node::{Heartbeat, NodeRecord},
};
use helium_runtime::ports::Clock;
use jiff::Timestamp;

use crate::{
    checks,
    faults::FaultKind,
    fleet::{Behaviour, Process},
    net::Net,
    rng::Rng,
    wire::{Actor, Life, Wire},
};

/// How often it looks at its assignments.
const TICK: Duration = Duration::from_millis(500);
/// The time to live of its session.
const SESSION_TTL: Duration = Duration::from_secs(15);
/// How long a process takes to start.
const STARTING: Duration = Duration::from_millis(600);
/// What is reported of an instance that runs and is not assigned any more, in the words of the real agent.
pub(crate) const UNASSIGNED: &str = "its assignment is missing; it is kept running";

/// One agent, in one of its lives.
pub struct Agent {
    net: Arc<Net>,
    node: NodeName,
    consul_node: String,
    client: Client,
    keys: Keys,
    clock: Arc<dyn Clock>,
    rng: Rng,
    session: Option<String>,
    renew_at: Duration,
    joined: bool,
    assignments: BTreeMap<InstanceId, (u64, Assignment)>,
    reports: BTreeMap<InstanceId, Report>,
    reports_read: bool,
    services_at: Duration,
    services: BTreeMap<String, AgentService>,
    /// The instances that have the check of those on standby.
    standby: BTreeSet<InstanceId>,
}

impl Agent {
    /// The agent number `number` at its Consul node, in a new life.
    pub fn new(net: &Arc<Net>, number: usize, consul_node: &str, life: Arc<Life>) -> Self {
        let wire = Wire::new(net, Actor::Agent(number), consul_node, life);
        Self {
            net: Arc::clone(net),
            node: node_name(number),
            consul_node: consul_node.to_owned(),
            client: Client::over(wire, Some("agent".to_owned())),
            keys: Keys::default(),
            clock: net.clocks.begin(Actor::Agent(number), net.defect),
            rng: net.rng.child("agent").child(&number.to_string()),
            session: None,
            renew_at: Duration::ZERO,
            joined: false,
            assignments: BTreeMap::new(),
            reports: BTreeMap::new(),
            reports_read: false,
            services_at: Duration::ZERO,
            services: BTreeMap::new(),
            standby: BTreeSet::new(),
        }
    }

    /// Works for ever; ended from outside.
    pub async fn run(mut self) {
        loop {
            // What fails is tried again at the next tick; processes need no Consul to go on.
            let _tried_again = self.tick().await;
            let pause = self.rng.between(TICK * 4 / 5, TICK * 6 / 5);
            tokio::time::sleep(pause).await;
        }
    }

    async fn tick(&mut self) -> Result<(), Error> {
        self.presence().await?;
        self.read_reports().await?;
        self.read_assignments().await?;
        self.read_services().await?;
        for (id, assignment) in self.present() {
            match assignment.desired {
                Desired::Run => self.keep_running(&id, &assignment).await?,
                Desired::Stop => self.stop(&id, &assignment).await?,
            }
        }
        self.forget_gone().await
    }

    /// Keeps the session, the heartbeat and the node record.
    async fn presence(&mut self) -> Result<(), Error> {
        let now = self.net.now();
        if now < self.renew_at {
            return Ok(());
        }
        if !self.joined {
            self.join().await?;
        }
        let alive = match self.session.as_deref() {
            Some(id) => self.client.session_renew(id).await?.is_some(),
            None => false,
        };
        if !alive {
            self.session = None;
            let request = SessionRequest {
                name: format!("helium-agent-{}", self.node),
                ttl: Some(SESSION_TTL),
                lock_delay: Some(Duration::ZERO),
                behavior: Behavior::Delete,
                node_checks: Some(Vec::new()),
                ..SessionRequest::default()
            };
            self.session = Some(self.client.session_create(&request).await?);
        }
        let key = self.keys.heartbeat(&self.node);
        let session = self.session.clone().unwrap_or_default();
        let held = self.client.kv_get(&key, &Read::default()).await?.value;
        if held.and_then(|pair| pair.session).as_deref() != Some(session.as_str()) {
            let beat = Heartbeat { name: self.node.clone(), since: self.clock.now() };
            self.client.kv_put(&key, json(&beat), &Put::acquire(session)).await?;
        }
        self.renew_at = self.net.now() + SESSION_TTL / 3;
        self.joined = self.client.kv_get(&self.keys.node(&self.node), &Read::default()).await?.value.is_some();
        Ok(())
    }

    async fn join(&mut self) -> Result<(), Error> {
        let key = self.keys.node(&self.node);
        if self.client.kv_get(&key, &Read::consistent()).await?.value.is_none() {
            let record = NodeRecord {
                name: self.node.clone(),
                consul_node: self.consul_node.clone(),
                address: "10.0.0.1".to_owned(),
                agent_version: "sim".to_owned(),
                platform: "sim".to_owned(),
                labels: BTreeMap::new(),
                features: None,
                maintenance: None,
                joined_at: self.clock.now(),
            };
            let sentinel = format!("{}{SENTINEL}", self.keys.assignments(&self.node));
            self.client.txn(&[TxnOp::set(sentinel, Vec::new()), TxnOp::cas(key, json(&record), 0)]).await?;
        }
        Ok(())
    }

    /// Learns once what an earlier life reported.
    async fn read_reports(&mut self) -> Result<(), Error> {
        if self.reports_read && !self.rng.chance(20) {
            return Ok(());
        }
        let rows = self.client.kv_list(&self.keys.reports(&self.node), &Read::default()).await?.value;
        let reports = rows.iter().filter_map(|row| serde_json::from_slice::<Report>(&row.value).ok());
        self.reports = reports.map(|report| (report.id.clone(), report)).collect();
        self.reports_read = true;
        Ok(())
    }

    async fn read_assignments(&mut self) -> Result<(), Error> {
        let prefix = self.keys.assignments(&self.node);
        let rows = self.client.kv_list(&prefix, &Read::default()).await?.value;
        if !rows.iter().any(|row| row.key.ends_with(SENTINEL)) {
            return Ok(()); // blind: what was known goes on
        }
        let mut found = BTreeMap::new();
        for row in rows {
            let id = InstanceId::from(row.key.strip_prefix(&prefix).unwrap_or_default());
            match self.assignments.remove(&id) {
                Some((index, known)) if index == row.modify_index => drop(found.insert(id, (index, known))),
                _ => {
                    if let Ok(assignment) = serde_json::from_slice(&row.value) {
                        found.insert(id, (row.modify_index, assignment));
                    }
                }
            }
        }
        self.assignments = found;
        Ok(())
    }

    async fn read_services(&mut self) -> Result<(), Error> {
        if self.net.now() >= self.services_at {
            self.services = self.client.agent_services().await?;
            let checks = self.client.agent_checks().await?;
            let ours = |id: &InstanceId| checks.contains_key(&check_id(id, STANDBY_CHECK));
            self.standby = self.present().into_keys().filter(ours).collect();
            self.services_at = self.net.now() + self.rng.between(Duration::from_secs(2), Duration::from_secs(4));
            self.deregister_leftovers().await?;
        }
        Ok(())
    }

    /// Takes out what it registered once and what no instance here stands for any more: its machine may have come back empty.
    async fn deregister_leftovers(&mut self) -> Result<(), Error> {
        let own: BTreeSet<String> = self.present().keys().map(service_id).collect();
        let is_ours = |service: &AgentService| {
            let node = service.meta.get("helium-node");
            node.is_some_and(|node| node == self.node.as_str()) && service.meta.contains_key("helium-instance")
        };
        let left: Vec<String> = self
            .services
            .values()
            .filter(|service| is_ours(service) && !own.contains(&service.id))
            .map(|service| service.id.clone())
            .collect();
        for id in left {
            self.client.agent_deregister_service(&id).await?;
            self.services.remove(&id);
        }
        Ok(())
    }

    /// What is assigned, and what runs although its assignment is gone: that goes on.
    fn present(&self) -> BTreeMap<InstanceId, Assignment> {
        let table = self.net.fleet.table();
        let kept = table.on(&self.node).map(|(id, process)| (id.clone(), process.assignment.clone()));
        let mut all: BTreeMap<InstanceId, Assignment> = kept.collect();
        all.extend(self.assignments.iter().map(|(id, (_, assignment))| (id.clone(), assignment.clone())));
        all
    }

    async fn keep_running(&mut self, id: &InstanceId, assignment: &Assignment) -> Result<(), Error> {
        let mut report = self.turn(id, assignment);
        let phase = report.phase;
        if !self.assignments.contains_key(id) {
            report.message.get_or_insert_with(|| UNASSIGNED.to_owned());
        }
        self.say(report).await?;
        let is_new = !self.services.contains_key(&assignment.service.id);
        if phase == InstancePhase::Running && !(is_new && self.strikes(FaultKind::SeenLate)) {
            self.register(id, assignment).await?;
        }
        Ok(())
    }

    /// Whether something goes wrong this time.
    fn strikes(&mut self, kind: FaultKind) -> bool {
        let drawn = self.rng.below(1000);
        let mut faults = self.net.faults();
        let strikes = faults.draws(kind, drawn);
        if strikes {
            faults.strike(kind);
        }
        strikes
    }

    /// Starts the process if it does not run, and says how it is.
    fn turn(&mut self, id: &InstanceId, assignment: &Assignment) -> Report {
        let now = self.net.now();
        let is_due = |process: &Process| !process.alive && process.restart_at <= now;
        let due = self.net.fleet.table().get(&self.node, id).is_none_or(is_due);
        if due && self.strikes(FaultKind::StartRefused) {
            return self.report(assignment, InstancePhase::Failed, Some("no room for a process".to_owned()), 0);
        }
        let unseen = due && self.strikes(FaultKind::StartUnseen);
        let mut table = self.net.fleet.table();
        let mut twice = Vec::new();
        if due {
            twice = table.spawn(&self.node, assignment, now);
        }
        let Some(process) = table.get_mut(&self.node, id) else {
            return self.report(assignment, InstancePhase::Failed, Some("no process".to_owned()), 0);
        };
        process.assignment = assignment.clone();
        let age = now.saturating_sub(process.started);
        let behaviour = Behaviour::of(&assignment.template.version);
        // Once all is healed it fails without ending, so that nothing keeps changing.
        let ends = behaviour == Behaviour::Crashing && !self.net.faults().is_healed();
        if process.alive && ends && age >= Duration::from_secs(1) {
            table.kill(&self.node, id, now);
        }
        let (alive, restarts) =
            table.get(&self.node, id).map_or((false, 0), |process| (process.alive, process.restarts));
        drop(table);
        if !twice.is_empty() {
            self.net.check(|checkers, _| checkers.two_copies(id, &twice, &self.node));
        }
        if unseen {
            return self.report(assignment, InstancePhase::Failed, Some("its start was not answered".to_owned()), 0);
        }
        match (alive, age >= STARTING) {
            (false, _) => {
                self.report(assignment, InstancePhase::Failed, Some("exited with status 1".to_owned()), restarts)
            }
            (true, false) => self.report(assignment, InstancePhase::Starting, None, restarts),
            (true, true) => {
                let mut report = self.report(assignment, InstancePhase::Running, None, restarts);
                let healed = self.net.faults().is_healed();
                if age >= Duration::from_secs(2) && !behaviour.passes(age, healed) {
                    let said =
                        |check: &helium_crds::template::Check| (check.name.clone(), "GET /health -> 500".to_owned());
                    report.failing = assignment.template.checks.iter().map(said).collect();
                }
                report
            }
        }
    }

    /// Takes the service out of Consul, stops the process, and says so once it is gone.
    async fn stop(&mut self, id: &InstanceId, assignment: &Assignment) -> Result<(), Error> {
        let service = service_id(id);
        if self.services.contains_key(&service) {
            self.client.agent_deregister_service(&service).await?;
            self.services.remove(&service);
        }
        let now = self.net.now();
        let lingers = self.strikes(FaultKind::StopLingers);
        let gone = {
            let mut table = self.net.fleet.table();
            match table.get_mut(&self.node, id) {
                None => true,
                Some(process) if !process.alive => true,
                Some(process) => {
                    process.assignment = assignment.clone();
                    let asked = *process.stopping.get_or_insert(now);
                    !lingers && now.saturating_sub(asked) >= Duration::from_millis(1500)
                }
            }
        };
        if gone {
            self.net.fleet.table().processes.remove(&(self.node.clone(), id.clone()));
            let report = self.report(assignment, InstancePhase::Stopped, None, 0);
            self.say(report).await?;
        }
        Ok(())
    }

    fn report(&self, assignment: &Assignment, phase: InstancePhase, message: Option<String>, restarts: u32) -> Report {
        Report {
            id: assignment.id.clone(),
            deployment: assignment.deployment.clone(),
            node: self.node.clone(),
            phase,
            message,
            address: "10.0.0.1".to_owned(),
            ports: BTreeMap::new(),
            pid: None,
            restarts,
            failing: BTreeMap::new(),
            checks: Vec::new(),
            unheld: BTreeMap::new(),
            jobs: BTreeMap::new(),
            conditions: Vec::new(),
            since: Timestamp::UNIX_EPOCH,
        }
    }

    /// Writes a report if it says anything new.
    async fn say(&mut self, mut report: Report) -> Result<(), Error> {
        let before = self.reports.get(&report.id);
        report.since = match before {
            Some(before) if before.phase == report.phase => before.since,
            _ => self.clock.now(),
        };
        if before != Some(&report) {
            let key = self.keys.report(&self.node, &report.id);
            self.client.kv_put(&key, json(&report), &Put::default()).await?;
            self.reports.insert(report.id.clone(), report);
        }
        Ok(())
    }

    async fn register(&mut self, id: &InstanceId, assignment: &Assignment) -> Result<(), Error> {
        let entry = &assignment.service;
        let there = self.services.get(&entry.id);
        let weights = entry.weight.map(|weight| Weights { passing: weight, warning: weight });
        let is_so = |there: &AgentService| {
            there.tags == entry.tags
                && there.meta == entry.meta
                && there.service == entry.name
                && there.weights == weights.unwrap_or_default()
        };
        if there.is_some_and(is_so) {
            return self.stand_by(id, assignment).await;
        }
        let anew = there.is_none_or(|there| there.service != entry.name);
        let standby = assignment.role.is_standby();
        // Nobody is to be told of it in between: it is on standby before it is known under another tag.
        if !anew && standby {
            self.stand_by(id, assignment).await?;
        }
        let check = |check: &helium_crds::template::Check| CheckDefinition {
            id: check_id(id, &check.name),
            name: check.name.clone(),
            http: checks::url(&self.node, id, check.http.as_ref().map_or("/", |http| http.path.as_str())),
            interval: Some(check.interval.as_duration()),
            timeout: Some(check.timeout.as_duration()),
            status: Some(CheckStatus::Critical),
            success_before_passing: u64::from(check.success_before_passing),
            failures_before_critical: u64::from(check.failures_before_critical),
            ..CheckDefinition::default()
        };
        let inline = assignment.template.checks.iter().map(check).chain(standby.then(|| standby_check(id)));
        let service = ServiceDefinition {
            id: entry.id.clone(),
            name: entry.name.clone(),
            tags: entry.tags.clone(),
            meta: entry.meta.clone(),
            weights,
            // A change of tags leaves the checks out, which keeps their state.
            checks: anew.then(|| inline.collect()),
            ..ServiceDefinition::default()
        };
        self.client.agent_register_service(&service, false).await?;
        self.services_at = Duration::ZERO;
        if anew {
            self.standby.remove(id);
            self.standby.extend(standby.then(|| id.clone()));
        }
        Ok(())
    }

    /// Takes an instance out of what passes, or lets it pass.
    async fn stand_by(&mut self, id: &InstanceId, assignment: &Assignment) -> Result<(), Error> {
        let standby = assignment.role.is_standby();
        if standby == self.standby.contains(id) {
            return Ok(());
        }
        let check = CheckDefinition { service_id: service_id(id), ..standby_check(id) };
        if standby {
            self.client.agent_register_check(&check).await?;
            self.standby.insert(id.clone());
        } else {
            self.client.agent_deregister_check(&check.id).await?;
            self.standby.remove(id);
        }
        Ok(())
    }

    /// Forgets what was stopped and is assigned no more.
    async fn forget_gone(&mut self) -> Result<(), Error> {
        let running: BTreeSet<InstanceId> = self.net.fleet.table().on(&self.node).map(|(id, _)| id.clone()).collect();
        let gone: Vec<InstanceId> = self
            .reports
            .keys()
            .filter(|id| !self.assignments.contains_key(*id) && !running.contains(*id))
            .cloned()
            .collect();
        for id in gone {
            self.client.kv_delete(&self.keys.report(&self.node, &id), None).await?;
            self.reports.remove(&id);
        }
        Ok(())
    }
}

/// The name of a node.
pub fn node_name(number: usize) -> NodeName {
    NodeName::from(format!("n{number}").as_str())
}

fn standby_check(id: &InstanceId) -> CheckDefinition {
    CheckDefinition {
        id: check_id(id, STANDBY_CHECK),
        name: "on standby".to_owned(),
        ttl: Some(Duration::from_hours(24 * 365)),
        status: Some(CheckStatus::Critical),
        ..CheckDefinition::default()
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
