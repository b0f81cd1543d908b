//! Keeping the catalog in step with what agents know: joining, leaving, carrying changes, and comparing all.

use std::time::Duration;

use super::catalog::{Catalog, Registration};
use super::checks::AgentCheck;
use super::commands::Applied;
use super::records::{Check, Meta, Node};
use super::timers::Timer;
use super::{Refusal, State, Touched};

/// How long after a foreign write an agent compares its node's entries.
const ANTI_ENTROPY: Duration = Duration::from_mins(1);
/// The check that says whether a node answers.
const SERF: &str = "serfHealth";
/// The service that servers register for themselves, which is no business of their agents.
const CONSUL: &str = "consul";

impl State {
    /// A node joins; if its agent was here before, it comes back as after a restart: what must be asked counts as
    /// critical and has nothing to say until it was asked again.
    pub(super) fn join(&mut self, node: &Node, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        let agent = self.agents.entry(node.node.clone()).or_default();
        let before = agent.clone();
        agent.node = node.clone();
        agent.connected = true;
        let asking = agent.checks.values_mut().filter(|own| own.definition.kind.asks());
        let forgotten: Vec<String> = asking.map(forget_answer).collect();
        touched.agents |= *agent != before;
        for id in forgotten {
            // The clocks of an agent end with it.
            for timer in [Timer::CheckOutput, Timer::CheckReap] {
                self.timers.cancel(&timer(node.node.clone(), id.clone()));
            }
        }
        self.rearm_agent(&node.node, now);
        self.set_reachable(&node.node, true, now, touched)?;
        // It looks at all there is, and takes out what it does not know.
        self.anti_entropy(&node.node, now, touched)
    }

    pub(super) fn leave(&mut self, node: &str, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        let agent = self.agent_mut(node)?;
        (agent.connected, agent.failed) = (false, false);
        touched.agents = true;
        self.timers.cancel(&Timer::AntiEntropy(node.to_owned()));
        let consequences = self.catalog.remove_node(node, self.index + 1, touched);
        self.follow(&consequences, now, touched);
        Ok(Applied::Done)
    }

    pub(super) fn crash(&mut self, node: &str, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        self.agent_mut(node)?.connected = false;
        touched.agents = true;
        self.set_reachable(node, false, now, touched)
    }

    pub(super) fn set_reachable(
        &mut self,
        node: &str,
        alive: bool,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        let agent = self.agent_mut(node)?;
        touched.agents |= agent.failed == alive;
        agent.failed = !alive;
        self.tell_liveness(node, now, touched)
    }

    /// Writes to the catalog what the cluster knows of a node: whether it answers; one that left is in it no more.
    fn tell_liveness(&mut self, node: &str, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        let (agent, index) = (self.agent(node)?, self.index + 1);
        let consequences = if agent.connected || agent.failed {
            let checks = vec![serf_check(node, !agent.failed)];
            let registration = Registration { node: agent.node.clone(), checks, ..Registration::default() };
            self.catalog.register(&registration, index, touched)?
        } else {
            self.catalog.remove_node(node, index, touched)
        };
        self.follow(&consequences, now, touched);
        Ok(Applied::Done)
    }

    /// Makes the catalog's entries of a node what the cluster knows of it, and its agent.
    pub(super) fn anti_entropy(
        &mut self,
        node: &str,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        self.tell_liveness(node, now, touched)?;
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

    /// The catalog is another: every agent will look, and whoever keeps the list of nodes.
    pub(super) fn expect_all(&mut self, now: Duration) {
        for node in self.agents.keys() {
            self.timers.set_if_idle(Timer::AntiEntropy(node.clone()), now + ANTI_ENTROPY);
        }
    }

    /// Registers everything that an agent knows.
    pub(super) fn sync_node(&mut self, node: &str, now: Duration, touched: &mut Touched) -> Result<Applied, Refusal> {
        let agent = self.agent(node)?.clone();
        let liveness = self.catalog.check(node, SERF).cloned().unwrap_or_else(|| serf_check(node, true));
        let mut registration =
            Registration { node: agent.node.clone(), checks: vec![liveness], ..Registration::default() };
        let of = |catalog: &Catalog, id: &str| -> Vec<Check> {
            let own = agent.checks.values().filter(|own| own.check.service_id == id);
            own.map(|own| settled(catalog, own)).collect()
        };
        registration.checks.extend(of(&self.catalog, ""));
        self.carry(&registration, now, touched)?;
        for service in agent.services.values() {
            let registration = Registration {
                node: agent.node.clone(),
                service: Some(service.clone()),
                checks: of(&self.catalog, &service.id),
                ..Registration::default()
            };
            self.carry(&registration, now, touched)?;
        }
        Ok(Applied::Done)
    }

    /// Writes to the catalog in an agent's name; an agent that is not connected does it when it comes back.
    pub(super) fn carry(
        &mut self,
        wanted: &Registration,
        now: Duration,
        touched: &mut Touched,
    ) -> Result<Applied, Refusal> {
        if self.agent(&wanted.node.node)?.connected {
            let consequences = self.catalog.register(wanted, self.index + 1, touched)?;
            self.follow(&consequences, now, touched);
        }
        Ok(Applied::Done)
    }
}

/// Makes a check one that was not asked yet, and gives its id.
fn forget_answer(own: &mut AgentCheck) -> String {
    "critical".clone_into(&mut own.check.status);
    own.check.output.clear();
    own.held_back = false;
    own.check.check_id.clone()
}

/// A check as the catalog is to hold it: an output that is still held back stays so.
fn settled(catalog: &Catalog, own: &AgentCheck) -> Check {
    let mut check = own.check.clone();
    if let Some(known) = catalog.check(&check.node, &check.check_id).filter(|_| own.held_back) {
        check.output.clone_from(&known.output);
    }
    check
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
