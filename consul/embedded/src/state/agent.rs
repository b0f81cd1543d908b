//! The agents: what each node's own agent knows of its services and checks, and how it keeps the catalog in step.
//!
//! Here an agent carries every change to the catalog at once, under the same index. Two things stay as in
//! Consul: an output that changes while the status does not reaches the catalog only minutes later, so that chatty checks
//! wake nobody; and whoever writes to an agent's node behind its back is put right at its next full comparison.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::catalog::Registration;
use super::checks::{AgentCheck, CheckKind};
use super::commands::Applied;
use super::records::{Check, Node, Service};
use super::timers::Timer;
use super::{Refusal, State, Touched};

/// How long after a change of output alone the catalog learns of it.
const OUTPUT_DELAY: Duration = Duration::from_mins(5);
/// The least time that a service stays although one of its checks is critical.
const REAP_FLOOR: Duration = Duration::from_mins(1);
/// Critical services are looked at this often.
const REAP_STEP: Duration = Duration::from_secs(30);

/// The agent of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The node as it registers itself.
    pub(super) node: Node,
    /// Whether it is part of the cluster. One that is not keeps what it knows and answers nobody.
    pub(super) connected: bool,
    /// Whether its peers get no answer from it: its `serfHealth` is critical.
    #[serde(default)]
    pub(super) failed: bool,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) checks: BTreeMap<String, AgentCheck>,
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

    pub(super) fn agent_mut(&mut self, node: &str) -> Result<&mut Agent, Refusal> {
        self.agents.get_mut(node).ok_or_else(|| Refusal::NoAgent(node.to_owned()))
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
        let gone: Vec<String> = agent
            .checks
            .iter()
            .filter(|(id, own)| replace_checks && of_service(own) && !named(id))
            .map(first)
            .collect();
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
        let agent = self.agent_mut(node)?;
        let Some(own) = agent.checks.get_mut(id) else { return Ok(Applied::Done) };
        touched.outputs |= own.held_back;
        own.held_back = false;
        let own = own.clone();
        let registration = Registration {
            node: agent.node.clone(),
            service: agent.services.get(&own.check.service_id).cloned(),
            checks: vec![own.check],
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

    /// Starts the clocks of an agent's checks.
    pub(super) fn rearm_agent(&mut self, node: &str, now: Duration) {
        let Some(agent) = self.agents.get(node) else { return };
        let checks: Vec<AgentCheck> = agent.checks.values().cloned().collect();
        for own in checks {
            self.arm_check(node, &own, now);
        }
    }

    /// Keeps a check in the agent; what is known of it from before (status and output) stays. Gives what the catalog is
    /// to hold.
    pub(super) fn put_agent_check(
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
        self.timers.cancel(&Timer::CheckOutput(node.to_owned(), check.check_id.clone()));
        self.arm_check(node, &own, now);
        Ok(check)
    }

    pub(super) fn drop_agent_check(&mut self, node: &str, id: &str, touched: &mut Touched) -> Result<(), Refusal> {
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
        touched.outputs |= new_status || new_output;
        if new_status {
            let own = own.clone();
            self.arm_reap(node, &own, now);
            return self.sync_check(node, id, now, touched);
        }
        if new_output {
            own.held_back = true;
            self.timers.set_if_idle(Timer::CheckOutput(node.to_owned(), id.to_owned()), now + OUTPUT_DELAY);
        }
        Ok(Applied::Done)
    }

    pub(super) fn arm_check(&mut self, node: &str, own: &AgentCheck, now: Duration) {
        let id = own.check.check_id.clone();
        if let CheckKind::Ttl(ttl) = own.definition.kind {
            self.timers.set(Timer::CheckTtl(node.to_owned(), id), now + ttl);
        }
        if own.held_back {
            self.timers.set(Timer::CheckOutput(node.to_owned(), own.check.check_id.clone()), now + OUTPUT_DELAY);
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
}

fn first<K: Clone, V>((key, _): (&K, V)) -> K {
    key.clone()
}
