//! The agents: what each node's own agent knows of its services and checks, and how it keeps the catalog in step.
//!
//! Here an agent carries every change to the catalog at once, under the same index. Two things stay as in
//! Consul: an output that changes while the status does not reaches the catalog only minutes later, so that chatty checks
//! wake nobody; and whoever writes to an agent's node behind its back is put right at its next full comparison.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, Registration};
use super::commands::Applied;
use super::records::{Check, Meta, Node, Service};
use super::timers::{Timer, Timers};
use super::{Refusal, State, Touched};

/// How long after a change of output alone the catalog learns of it.
const OUTPUT_DELAY: Duration = Duration::from_secs(5 * 60);
/// How long after a foreign write an agent compares its node's entries.
const ANTI_ENTROPY: Duration = Duration::from_secs(60);
/// The least time that a service stays although one of its checks is critical.
const REAP_FLOOR: Duration = Duration::from_secs(60);
/// Critical services are looked at this often.
const REAP_STEP: Duration = Duration::from_secs(30);
/// The check that says whether a node answers.
const SERF: &str = "serfHealth";
/// The service that servers register for themselves, which is no business of their agents.
const CONSUL: &str = "consul";

/// The agent of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The node as it registers itself.
    node: Node,
    /// Whether it is part of the cluster. One that is not keeps what it knows and answers nobody.
    connected: bool,
    services: BTreeMap<String, Service>,
    checks: BTreeMap<String, AgentCheck>,
}

/// A check that an agent runs or is told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCheck {
    /// Its state as the agent knows it.
    pub check: Check,
    /// How it is done.
    pub definition: CheckDefinition,
}

/// How a check is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDefinition {
    /// What is asked.
    pub kind: CheckKind,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many successes in a row make it pass; 0 and 1 mean the first.
    pub success_before_passing: u32,
    /// How many failures in a row make it critical; 0 and 1 mean the first.
    pub failures_before_critical: u32,
    /// After how long in critical state the service is deregistered.
    pub deregister_after: Option<Duration>,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckKind {
    /// Somebody must say that all is well, at least this often.
    Ttl(Duration),
    /// An HTTP request must be answered with 2xx (429 is a warning).
    Http {
        /// Where.
        url: String,
        /// `GET` if empty.
        method: String,
        /// Request headers.
        headers: BTreeMap<String, Vec<String>>,
        /// Request body.
        body: String,
    },
    /// A TCP connection must come about.
    Tcp(String),
    /// Nobody asks: a person put the service out of use.
    Maintenance,
}

impl CheckKind {
    /// As Consul names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ttl(_) => "ttl",
            Self::Http { .. } => "http",
            Self::Tcp(_) => "tcp",
            Self::Maintenance => "maintenance",
        }
    }
}

impl CheckDefinition {
    /// A check of a kind, with nothing else said.
    pub fn new(kind: CheckKind) -> Self {
        Self {
            kind,
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            success_before_passing: 0,
            failures_before_critical: 0,
            deregister_after: None,
        }
    }
}

impl Agent {
    /// The agent's services, by id.
    pub fn services(&self) -> &BTreeMap<String, Service> {
        &self.services
    }

    /// The agent's checks, by id.
    pub fn checks(&self) -> &BTreeMap<String, AgentCheck> {
        &self.checks
    }

    /// Whether the agent is part of the cluster.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The node as it registers itself.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

impl State {
    /// The agent of a node.
    ///
    /// # Errors
    /// [`Refusal::NoAgent`] if none runs there.
    pub fn agent(&self, node: &str) -> Result<&Agent, Refusal> {
        self.agents.get(node).ok_or_else(|| Refusal::NoAgent(node.to_owned()))
    }

    fn agent_mut(&mut self, node: &str) -> Result<&mut Agent, Refusal> {
        self.agents.get_mut(node).ok_or_else(|| Refusal::NoAgent(node.to_owned()))
    }

    /// A node joins; if its agent was here before, it comes back as after a restart: what must be asked counts as
    /// critical until it was asked again.
    pub(super) fn join(&mut self, node: &Node, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        let agent = self.agents.entry(node.node.clone()).or_default();
        agent.node = node.clone();
        agent.connected = true;
        for own in agent.checks.values_mut() {
            if matches!(own.definition.kind, CheckKind::Http { .. } | CheckKind::Tcp(_)) {
                own.check.status = "critical".into();
            }
        }
        touched.agents = true;
        self.rearm_agent(&node.node, now);
        self.set_reachable(&node.node, true, now, touched)?;
        self.sync_node(&node.node, now, touched)
    }

    pub(super) fn leave(&mut self, node: &str, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        self.agent_mut(node)?.connected = false;
        touched.agents = true;
        self.timers.cancel(&Timer::AntiEntropy(node.to_owned()));
        let consequences = self.catalog.remove_node(node, self.index + 1, touched);
        self.follow(&consequences, now, touched);
        Ok(Applied::Done)
    }

    pub(super) fn set_reachable(
        &mut self,
        node: &str,
        alive: bool,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        let agent = self.agent_mut(node)?;
        let registration =
            Registration { node: agent.node.clone(), checks: vec![serf_check(node, alive)], ..Registration::default() };
        self.carry(&registration, now, touched)
    }

    pub(super) fn agent_register(
        &mut self,
        node: &str,
        service: &Service,
        checks: &[AgentCheck],
        replace_checks: bool,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        let agent = self.agent_mut(node)?;
        let named = |id: &String| checks.iter().any(|own| own.check.check_id == *id);
        let of_service = |own: &AgentCheck| own.check.service_id == service.id;
        let gone: Vec<String> =
            agent.checks.iter().filter(|(id, own)| replace_checks && of_service(own) && !named(id)).map(first).collect();
        if agent.services.get(&service.id) != Some(service) {
            touched.agents = true;
        }
        agent.services.insert(service.id.clone(), service.clone());
        let mut synced = Vec::new();
        for own in checks {
            synced.push(self.put_agent_check(node, own, Some(service), now, touched)?);
        }
        for id in gone {
            self.drop_agent_check(node, &id, touched)?;
            let consequences = self.catalog.remove_check(node, &id, self.index + 1, touched);
            self.follow(&consequences, now, touched);
        }
        let agent = self.agent(node)?;
        let registration = Registration {
            node: agent.node.clone(),
            service: Some(service.clone()),
            checks: synced,
            ..Registration::default()
        };
        self.carry(&registration, now, touched)
    }

    pub(super) fn agent_deregister(
        &mut self,
        node: &str,
        service: &str,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        let agent = self.agent_mut(node)?;
        touched.agents |= agent.services.remove(service).is_some();
        let checks: Vec<String> =
            agent.checks.iter().filter(|(_, own)| own.check.service_id == service).map(first).collect();
        for id in checks {
            self.drop_agent_check(node, &id, touched)?;
        }
        let consequences = self.catalog.remove_service(node, service, self.index + 1, touched);
        self.follow(&consequences, now, touched);
        Ok(Applied::Done)
    }

    pub(super) fn agent_register_check(
        &mut self,
        node: &str,
        own: &AgentCheck,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        let agent = self.agent(node)?;
        let service = agent.services.get(&own.check.service_id).cloned();
        if service.is_none() && !own.check.service_id.is_empty() {
            return Err(Refusal::NoSuchServiceId(own.check.service_id.clone()));
        }
        let check = self.put_agent_check(node, own, service.as_ref(), now, touched)?;
        let agent = self.agent(node)?;
        let registration =
            Registration { node: agent.node.clone(), service, checks: vec![check], ..Registration::default() };
        self.carry(&registration, now, touched)
    }

    pub(super) fn agent_deregister_check(
        &mut self,
        node: &str,
        id: &str,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        self.drop_agent_check(node, id, touched)?;
        let consequences = self.catalog.remove_check(node, id, self.index + 1, touched);
        self.follow(&consequences, now, touched);
        Ok(Applied::Done)
    }

    /// Takes a result of a check. The catalog learns of a new status at once, of a new output later.
    pub(super) fn update_check(
        &mut self,
        node: &str,
        id: &str,
        (status, output): (&str, &str),
        by_ttl: bool,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        let own = self.agent_mut(node)?.checks.get_mut(id).ok_or_else(|| Refusal::NotTtl(id.to_owned()))?;
        let ttl = match own.definition.kind {
            CheckKind::Ttl(ttl) => Some(ttl),
            _ => None,
        };
        if by_ttl != ttl.is_some() {
            return Err(Refusal::NotTtl(id.to_owned()));
        }
        if let Some(ttl) = ttl {
            self.timers.set(Timer::CheckTtl(node.to_owned(), id.to_owned()), now + ttl);
        }
        self.set_check(node, id, (status, output), now, touched)
    }

    pub(super) fn expire_check(
        &mut self,
        node: &str,
        id: &str,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        let Some(own) = self.agent_mut(node)?.checks.get(id) else { return Ok(Applied::Done) };
        let output = match own.check.output.as_str() {
            said if said.is_empty() || said.starts_with("TTL expired") => "TTL expired".to_owned(),
            said => format!("TTL expired (last output before timeout follows): {said}"),
        };
        self.set_check(node, id, ("critical", &output), now, touched)
    }

    /// Carries a check as the agent knows it to the catalog.
    pub(super) fn sync_check(
        &mut self,
        node: &str,
        id: &str,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        self.timers.cancel(&Timer::CheckOutput(node.to_owned(), id.to_owned()));
        let agent = self.agent(node)?;
        let Some(own) = agent.checks.get(id) else { return Ok(Applied::Done) };
        let registration = Registration {
            node: agent.node.clone(),
            service: agent.services.get(&own.check.service_id).cloned(),
            checks: vec![own.check.clone()],
            ..Registration::default()
        };
        self.carry(&registration, now, touched)
    }

    pub(super) fn reap_critical(
        &mut self,
        node: &str,
        id: &str,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        let Some(own) = self.agent(node)?.checks.get(id) else { return Ok(Applied::Done) };
        let service = own.check.service_id.clone();
        if own.check.status != "critical" || service.is_empty() {
            return Ok(Applied::Done);
        }
        self.agent_deregister(node, &service, now, touched)
    }

    /// Makes the catalog's entries of a node what its agent knows.
    pub(super) fn anti_entropy(&mut self, node: &str, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        let agent = self.agent(node)?;
        if !agent.connected {
            return Ok(Applied::Done);
        }
        let foreign_services: Vec<String> = self
            .catalog
            .services_of(node)
            .filter(|service| service.id != CONSUL && !agent.services.contains_key(&service.id))
            .map(|service| service.id.clone())
            .collect();
        let foreign_checks: Vec<String> = self
            .catalog
            .checks_of(node)
            .filter(|check| check.check_id != SERF && !agent.checks.contains_key(&check.check_id))
            .map(|check| check.check_id.clone())
            .collect();
        let index = self.index + 1;
        for id in foreign_services {
            let consequences = self.catalog.remove_service(node, &id, index, touched);
            self.follow(&consequences, now, touched);
        }
        for id in foreign_checks {
            let consequences = self.catalog.remove_check(node, &id, index, touched);
            self.follow(&consequences, now, touched);
        }
        self.sync_node(node, now, touched)
    }

    /// A foreign write touched a node: if an agent lives there, it will look.
    pub(super) fn expect_anti_entropy(&mut self, node: &str, now: Duration, touched: &Touched) {
        if touched.takes_index() && self.agents.get(node).is_some_and(|agent| agent.connected) {
            self.timers.set_if_idle(Timer::AntiEntropy(node.to_owned()), now + ANTI_ENTROPY);
        }
    }

    /// Starts the clocks of an agent's checks.
    pub(super) fn rearm_agent(&mut self, node: &str, now: Duration) {
        let Some(agent) = self.agents.get(node) else { return };
        let checks: Vec<AgentCheck> = agent.checks.values().cloned().collect();
        for own in checks {
            self.arm_check(node, &own, now);
        }
    }

    /// Registers everything that an agent knows.
    fn sync_node(&mut self, node: &str, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        let agent = self.agent(node)?.clone();
        let serf = self.catalog.check(node, SERF).cloned().unwrap_or_else(|| serf_check(node, true));
        let mut registration =
            Registration { node: agent.node.clone(), checks: vec![serf], ..Registration::default() };
        let of = |catalog: &Catalog, timers: &Timers, id: &str| -> Vec<Check> {
            let own = agent.checks.values().filter(|own| own.check.service_id == id);
            own.map(|own| settled(catalog, timers, &own.check)).collect()
        };
        registration.checks.extend(of(&self.catalog, &self.timers, ""));
        self.carry(&registration, now, touched)?;
        for service in agent.services.values() {
            let registration = Registration {
                node: agent.node.clone(),
                service: Some(service.clone()),
                checks: of(&self.catalog, &self.timers, &service.id),
                ..Registration::default()
            };
            self.carry(&registration, now, touched)?;
        }
        Ok(Applied::Done)
    }

    /// Keeps a check in the agent; what is known of it from before (status and output) stays. Gives what the catalog is
    /// to hold.
    fn put_agent_check(
        &mut self,
        node: &str,
        wanted: &AgentCheck,
        service: Option<&Service>,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Check, Refusal> {
        let agent = self.agent_mut(node)?;
        let mut own = wanted.clone();
        node.clone_into(&mut own.check.node);
        if let Some(service) = service {
            own.check.service_name.clone_from(&service.service);
            own.check.service_tags.clone_from(&service.tags);
        }
        if let Some(before) = agent.checks.get(&own.check.check_id) {
            own.check.status.clone_from(&before.check.status);
            own.check.output.clone_from(&before.check.output);
        }
        let check = own.check.clone();
        let before = agent.checks.insert(check.check_id.clone(), own.clone());
        touched.agents |= before.as_ref() != Some(&own);
        self.arm_check(node, &own, now);
        Ok(check)
    }

    fn drop_agent_check(&mut self, node: &str, id: &str, touched: &mut Touched) -> Result<(), Refusal> {
        touched.agents |= self.agent_mut(node)?.checks.remove(id).is_some();
        for timer in [Timer::CheckTtl, Timer::CheckOutput, Timer::CheckReap] {
            self.timers.cancel(&timer(node.to_owned(), id.to_owned()));
        }
        Ok(())
    }

    fn set_check(
        &mut self,
        node: &str,
        id: &str,
        (status, output): (&str, &str),
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        let Some(own) = self.agent_mut(node)?.checks.get_mut(id) else { return Ok(Applied::Done) };
        let new_status = own.check.status != status;
        let new_output = own.check.output != output;
        status.clone_into(&mut own.check.status);
        output.clone_into(&mut own.check.output);
        if new_status {
            let own = own.clone();
            self.arm_reap(node, &own, now);
            return self.sync_check(node, id, now, touched);
        }
        if new_output {
            touched.outputs = true;
            self.timers.set_if_idle(Timer::CheckOutput(node.to_owned(), id.to_owned()), now + OUTPUT_DELAY);
        }
        Ok(Applied::Done)
    }

    fn arm_check(&mut self, node: &str, own: &AgentCheck, now: Duration) {
        let id = own.check.check_id.clone();
        if let CheckKind::Ttl(ttl) = own.definition.kind {
            self.timers.set(Timer::CheckTtl(node.to_owned(), id), now + ttl);
        }
        self.arm_reap(node, own, now);
    }

    /// Looks at a critical service again when its time is over, at the next of the steps in which that is done.
    /// Example: critical at 10 s with 5 s allowed: 10 s + 60 s (the floor), so at 90 s.
    fn arm_reap(&mut self, node: &str, own: &AgentCheck, now: Duration) {
        let timer = Timer::CheckReap(node.to_owned(), own.check.check_id.clone());
        match own.definition.deregister_after {
            Some(after) if own.check.status == "critical" => {
                let steps = (now + after.max(REAP_FLOOR)).as_secs_f64() / REAP_STEP.as_secs_f64();
                self.timers.set_if_idle(timer, REAP_STEP.mul_f64(steps.ceil()));
            }
            _ => self.timers.cancel(&timer),
        }
    }

    /// Writes to the catalog in an agent's name; an agent that is not connected does it when it comes back.
    fn carry(&mut self, wanted: &Registration, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        if self.agent(&wanted.node.node)?.connected {
            let consequences = self.catalog.register(wanted, self.index + 1, touched)?;
            self.follow(&consequences, now, touched);
        }
        Ok(Applied::Done)
    }
}

/// A check as the catalog is to hold it: an output that is still held back stays so.
fn settled(catalog: &Catalog, timers: &Timers, check: &Check) -> Check {
    let mut check = check.clone();
    let held_back = timers.is_set(&Timer::CheckOutput(check.node.clone(), check.check_id.clone()));
    if let Some(known) = catalog.check(&check.node, &check.check_id).filter(|_| held_back) {
        check.output.clone_from(&known.output);
    }
    check
}

fn first<K: Clone, V>((key, _): (&K, V)) -> K {
    key.clone()
}

/// The check that says whether a node answers.
fn serf_check(node: &str, alive: bool) -> Check {
    let (status, output) =
        if alive { ("passing", "Agent alive and reachable") } else { ("critical", "Agent not live or unreachable") };
    Check {
        node: node.to_owned(),
        check_id: SERF.to_owned(),
        name: "Serf Health Status".to_owned(),
        status: status.to_owned(),
        output: output.to_owned(),
        ..Check::default()
    }
}

/// A node as an agent registers itself.
pub(crate) fn own_node(name: &str, id: &str, address: &str, datacenter: &str) -> Node {
    let addresses: Meta =
        ["lan", "lan_ipv4", "wan", "wan_ipv4"].into_iter().map(|kind| (kind.to_owned(), address.to_owned())).collect();
    Node {
        id: id.to_owned(),
        node: name.to_owned(),
        address: address.to_owned(),
        datacenter: datacenter.to_owned(),
        tagged_addresses: Some(addresses),
        meta: Some(Meta::from([("consul-network-segment".to_owned(), String::new())])),
        ..Node::default()
    }
}
