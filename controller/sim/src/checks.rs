//! What Consul's own runner of checks is told when it asks a process how it is; and the looks from time to time of whoever watches.

use std::{sync::Arc, time::Duration};

use consul_client::CheckStatus;
use consul_embedded::{
    checks::{Probe, Prober},
    state::{CheckDefinition, CheckKind},
};
use futures::future::{BoxFuture, FutureExt as _, ready};
use helium_crds::{InstanceId, NodeName};

use crate::{fleet::Behaviour, net::Net};

/// How often the checkers look.
const TICK: Duration = Duration::from_millis(500);
/// How often, in seconds, a check's output changes although its status does not.
const CHATTER: u64 = 4;

/// Asks for ever; ended from outside.
pub(crate) async fn run(net: Arc<Net>) {
    let prober: Arc<dyn Prober> = Arc::new(Processes(Arc::clone(&net)));
    let server = net.server.clone();
    tokio::select! {
        biased;
        () = look(&net) => {}
        () = server.run_checks(prober) => {}
    }
}

async fn look(net: &Net) {
    let mut round = 0_u64;
    loop {
        tokio::time::sleep(TICK).await;
        round += 1;
        let healed = net.faults().is_healed();
        net.fleet.table().pass(net.now(), healed);
        net.check(crate::checkers::Checkers::tick);
        if round.is_multiple_of(2) {
            net.remember();
        }
    }
}

/// Where a check of a process is asked: its node and its name stand for an address and a port.
pub(crate) fn url(node: &NodeName, id: &InstanceId, path: &str) -> String {
    format!("http://{node}/{id}{path}")
}

/// The processes of the fleet, as they answer.
struct Processes(Arc<Net>);

impl Prober for Processes {
    fn probe<'a>(&'a self, _node: &'a str, definition: &'a CheckDefinition) -> BoxFuture<'a, Probe> {
        ready(self.answer(definition)).boxed()
    }
}

impl Processes {
    fn answer(&self, definition: &CheckDefinition) -> Probe {
        let Self(net) = self;
        let (now, healed) = (net.now(), net.faults().is_healed());
        let passes = asked(definition).and_then(|(node, id)| {
            let table = net.fleet.table();
            let process = table.get(&node, &id)?;
            let age = now.saturating_sub(process.started);
            Some(Behaviour::of(&process.version).passes(age, healed))
        });
        let took = now.as_secs() / CHATTER;
        let (status, output) = match passes {
            Some(true) => (CheckStatus::Passing, format!("GET /health -> 200 in {took} ms")),
            Some(false) => (CheckStatus::Critical, format!("GET /health -> 500 in {took} ms")),
            None => (CheckStatus::Critical, "connection refused".to_owned()),
        };
        Probe { status, output }
    }
}

/// The process that a check asks.
fn asked(definition: &CheckDefinition) -> Option<(NodeName, InstanceId)> {
    let CheckKind::Http { url, .. } = &definition.kind else { return None };
    let mut parts = url.strip_prefix("http://")?.split('/');
    Some((NodeName::from(parts.next()?), InstanceId::from(parts.next()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_check_names_its_process() {
        let (node, id) = (NodeName::from("n1"), InstanceId::from("web-1-ab"));
        let kind = CheckKind::Http {
            url: url(&node, &id, "/health"),
            method: String::new(),
            headers: std::collections::BTreeMap::new(),
            body: String::new(),
        };
        assert_eq!(asked(&CheckDefinition::new(kind)), Some((node, id)));
    }
}
