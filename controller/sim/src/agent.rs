//! A simulated agent: the real one's machine, in a simulated world.
//!
//! What to do for an instance is decided by [`helium_instance::machine`], as on a real machine; here its facts are gathered and its steps are
//! done, in the table of processes and over the wire. The agent may be killed before and after each of its effects. What it knows is lost when it
//! dies; the processes, and what it wrote on its machine's disk, are not.

mod hands;
mod standing;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use consul_client::{AgentService, Behavior, Client, Error, Put, Read, SessionRequest, TxnOp};
use helium_crds::{
    InstanceId, NodeName,
    instance::{Assignment, Report, service_id},
    keys::{Keys, SENTINEL},
    node::{Heartbeat, NodeRecord},
};
use helium_instance::{
    apply::after_restart,
    machine::{Assigned, Contact},
    record::Record,
};
use helium_runtime::ports::Clock;

use self::{hands::Hand, standing::Standing};
use crate::{
    defects::Defect,
    faults::FaultKind,
    fleet::Table,
    net::Net,
    rng::Rng,
    wire::{Actor, Call, Life, Wire},
};

/// How often it looks at its assignments.
const TICK: Duration = Duration::from_millis(500);
/// The time to live of its session.
const SESSION_TTL: Duration = Duration::from_secs(15);
/// Where every machine is.
const ADDRESS: &str = "10.0.0.1";
/// What is reported of an instance that runs and is not assigned any more.
pub(crate) const UNASSIGNED: &str = "its assignment is missing; it is kept running";

/// One agent, in one of its lives.
pub struct Agent {
    net: Arc<Net>,
    node: NodeName,
    consul_node: String,
    life: Arc<Life>,
    client: Client,
    keys: Keys,
    clock: Arc<dyn Clock>,
    rng: Rng,
    session: Option<String>,
    renew_at: Duration,
    joined: bool,
    contact: Contact,
    view: View,
    reports: BTreeMap<InstanceId, Report>,
    reports_read: bool,
    services_at: Duration,
    hands: BTreeMap<InstanceId, Hand>,
}

/// What it has seen of its assignments.
#[derive(Default)]
struct View {
    /// Whether what was seen last can be trusted.
    trusted: bool,
    /// Each with its index in the store.
    known: BTreeMap<InstanceId, (u64, Arc<Assignment>)>,
    /// Those that are there and cannot be read.
    unreadable: BTreeSet<InstanceId>,
}

impl View {
    fn of(&self, id: &InstanceId) -> Option<Arc<Assignment>> {
        self.known.get(id).map(|(_, assignment)| Arc::clone(assignment))
    }

    /// What is wanted of an instance whose assignment is `known`, or none.
    fn assigned<'a>(&self, id: &InstanceId, known: Option<&'a Assignment>) -> Assigned<'a> {
        match known {
            Some(assignment) => Assigned::Present(assignment),
            None if self.trusted && !self.unreadable.contains(id) => Assigned::Missing,
            None => Assigned::Unknown,
        }
    }
}

impl Agent {
    /// The agent number `number` at its Consul node, in a new life: with what the lives before have written down.
    pub fn new(net: &Arc<Net>, number: usize, consul_node: &str, life: Arc<Life>) -> Self {
        let wire = Wire::new(net, Actor::Agent(number), consul_node, Arc::clone(&life));
        let clock = net.clocks.begin(Actor::Agent(number), net.defect);
        let node = node_name(number);
        let now = clock.now();
        let adopt =
            |record: Record| (record.assignment.id.clone(), Hand::of(after_restart(record, now), Standing::new(false)));
        let remembered =
            if net.defect == Some(Defect::S4Forgetful) { Vec::new() } else { net.fleet.table().records(&node) };
        Self {
            net: Arc::clone(net),
            consul_node: consul_node.to_owned(),
            life,
            client: Client::over(wire, Some("agent".to_owned())),
            keys: Keys::default(),
            clock,
            rng: net.rng.child("agent").child(&number.to_string()),
            session: None,
            renew_at: Duration::ZERO,
            joined: false,
            contact: Contact::Unknown,
            view: View::default(),
            reports: BTreeMap::new(),
            reports_read: false,
            services_at: Duration::ZERO,
            hands: remembered.into_iter().map(adopt).collect(),
            node,
        }
    }

    /// Works for ever; ended from outside.
    pub async fn run(mut self) {
        loop {
            self.tick().await;
            let pause = self.rng.between(TICK * 4 / 5, TICK * 6 / 5);
            tokio::time::sleep(pause).await;
        }
    }

    async fn tick(&mut self) {
        self.view.trusted = false;
        self.contact = match (self.look().await, self.contact) {
            (Ok(()), _) => Contact::Answers,
            (Err(_), Contact::AwaySince(since)) => Contact::AwaySince(since),
            // What fails is tried again at the next tick; processes need no Consul to go on.
            (Err(_), _) => Contact::AwaySince(self.clock.now()),
        };
        self.net.fleet.table().pass(self.net.now(), self.net.faults().is_healed());
        let all: Vec<InstanceId> = self.hands.keys().cloned().collect();
        for id in all {
            if let Some(hand) = self.hands.remove(&id) {
                let kept = self.attend(hand).await;
                self.hands.extend(kept.map(|hand| (id, hand)));
            }
        }
        // Tried again at the next tick, too.
        let _tried_again = self.forget_reports().await;
    }

    /// Does one thing to what outlives this agent, which may be killed right before or right after it.
    async fn effect<T>(&self, what: &str, act: impl FnOnce(&mut Table) -> T) -> T {
        let arriving = Call { writes: true, index: self.net.server.index() };
        let ends = self.life.affect(arriving);
        if ends == Some(false) {
            self.die(&format!("before it {what}")).await;
        }
        self.net.mention(&format!("{} {what}", self.node));
        let done = act(&mut self.net.fleet.table());
        if ends == Some(true) {
            self.die(&format!("after it {what}")).await;
        }
        done
    }

    async fn die(&self, when: &str) {
        self.net.tell(&format!("{} crashes {when}", self.node));
        self.net.faults().strike(FaultKind::AgentCrash);
        self.life.end();
        pending::<()>().await;
    }

    /// Keeps itself known, and learns what is wanted and what is so.
    async fn look(&mut self) -> Result<(), Error> {
        self.presence().await?;
        self.read_reports().await?;
        self.read_assignments().await?;
        self.take_on();
        self.read_services().await
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
                address: ADDRESS.to_owned(),
                agent_version: "sim".to_owned(),
                platform: "sim".to_owned(),
                labels: BTreeMap::new(),
                maintenance: None,
                features: None,
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
        let mut view = View { trusted: true, ..View::default() };
        for row in rows.iter().filter(|row| !row.key.ends_with(SENTINEL)) {
            let id = InstanceId::from(row.key.strip_prefix(&prefix).unwrap_or_default());
            let known = self.view.known.remove(&id).filter(|(index, _)| *index == row.modify_index);
            let read = || serde_json::from_slice(&row.value).ok().map(|read| (row.modify_index, Arc::new(read)));
            match known.or_else(read) {
                Some(known) => drop(view.known.insert(id, known)),
                None => drop(view.unreadable.insert(id)),
            }
        }
        self.view = view;
        Ok(())
    }

    /// Whatever is assigned here and has no record yet is new.
    fn take_on(&mut self) {
        let now = self.clock.now();
        for (id, (_, assignment)) in &self.view.known {
            if !self.hands.contains_key(id) {
                let record = Record::admit(assignment.as_ref().clone(), now);
                self.hands.insert(id.clone(), Hand::of(record, Standing::new(true)));
            }
        }
    }

    async fn read_services(&mut self) -> Result<(), Error> {
        if self.net.now() >= self.services_at {
            let services = self.client.agent_services().await?;
            let checks = self.client.agent_checks().await?;
            let mut by_service: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
            for (id, check) in &checks {
                by_service.entry(check.service_id.as_str()).or_default().insert(id.clone());
            }
            for (id, hand) in &mut self.hands {
                let id = service_id(id);
                let checks = by_service.remove(id.as_str()).unwrap_or_default();
                hand.standing.see(services.get(&id), checks);
            }
            self.services_at = self.net.now() + self.rng.between(Duration::from_secs(2), Duration::from_secs(4));
            self.deregister_leftovers(&services).await?;
        }
        Ok(())
    }

    /// Takes out what it registered once and what no instance here stands for any more: its machine may have come back empty.
    async fn deregister_leftovers(&self, services: &BTreeMap<String, AgentService>) -> Result<(), Error> {
        let own: BTreeSet<String> = self.hands.keys().map(service_id).collect();
        let is_ours = |service: &AgentService| {
            let node = service.meta.get("helium-node");
            node.is_some_and(|node| node == self.node.as_str()) && service.meta.contains_key("helium-instance")
        };
        for service in services.values().filter(|service| is_ours(service) && !own.contains(&service.id)) {
            self.client.agent_deregister_service(&service.id).await?;
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

    /// Writes a report if it says anything new.
    async fn say(&mut self, report: Report) -> Result<(), Error> {
        if self.reports.get(&report.id) != Some(&report) {
            let key = self.keys.report(&self.node, &report.id);
            self.client.kv_put(&key, json(&report), &Put::default()).await?;
            self.reports.insert(report.id.clone(), report);
        }
        Ok(())
    }

    /// Takes back what was reported of what is forgotten.
    async fn forget_reports(&mut self) -> Result<(), Error> {
        let forgotten = |id: &&InstanceId| !self.hands.contains_key(*id) && !self.view.known.contains_key(*id);
        let gone: Vec<InstanceId> = self.reports.keys().filter(forgotten).cloned().collect();
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

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
