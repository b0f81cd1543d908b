//! Consul's runner of checks: asks every registered process how it is, and tells its Consul agent. Agents of ours take no part in it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use consul_client::{CheckStatus, Client, Transport};
use consul_embedded::state::State;
use helium_crds::{InstanceId, NodeName};

use crate::{
    fleet::Behaviour,
    net::Net,
    wire::{Actor, Life, Wire},
};

/// How often every process is asked.
const TICK: Duration = Duration::from_millis(500);
/// How often a check's output changes although its status does not.
const CHATTER: u64 = 8;

/// Asks for ever; ended from outside.
pub(crate) async fn run(net: Arc<Net>) {
    let life = Life::until(None);
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let mut round = 0_u64;
    loop {
        tokio::time::sleep(TICK).await;
        round += 1;
        let due = net.server.with_state(|state| due(&net, state, round)).unwrap_or_default();
        for (node, check, status, output) in due {
            let client = clients.entry(node.clone()).or_insert_with(|| {
                let wire: Arc<dyn Transport> = Wire::new(&net, Actor::Checks, &node, Arc::clone(&life));
                Client::over(wire, Some("checks".to_owned()))
            });
            // A check that is gone by now needs no status.
            let _gone = client.agent_update_ttl(&check, status, &output).await;
        }
        net.check(crate::checkers::Checkers::tick);
        if round.is_multiple_of(2) {
            net.remember();
        }
    }
}

type Due = (String, String, CheckStatus, String);

/// The checks whose status is not what their process would answer now, and those that chatter.
fn due(net: &Net, state: &State, round: u64) -> Vec<Due> {
    let (now, healed) = (net.now(), net.faults().is_healed());
    let table = net.fleet.table();
    let mut due = Vec::new();
    for (consul_node, agent) in state.agents().iter().filter(|(_, agent)| agent.is_connected()) {
        for (id, check) in agent.checks() {
            let Some(service) = agent.services().get(&check.check.service_id) else { continue };
            let meta = |key: &str| service.meta.as_ref().and_then(|meta| meta.get(key)).map(String::as_str);
            let (Some(node), Some(instance)) = (meta("helium-node"), meta("helium-instance")) else { continue };
            let process = table.get(&NodeName::from(node), &InstanceId::from(instance));
            let process = process.filter(|process| process.alive);
            let passes = process.is_some_and(|process| {
                let age = now.saturating_sub(process.started);
                Behaviour::of(&process.assignment.template.version).passes(age, healed)
            });
            let status = if passes { CheckStatus::Passing } else { CheckStatus::Critical };
            let chatters = round.is_multiple_of(CHATTER);
            if check.check.status != status.as_str() || chatters {
                let words = if passes { "200" } else { "500" };
                due.push((consul_node.clone(), id.clone(), status, format!("GET /health -> {words} in {round} ms")));
            }
        }
    }
    due
}
