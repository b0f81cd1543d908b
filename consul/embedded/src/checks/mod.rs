//! The runner of checks: asks what agents' checks say to ask, and reports what came of it.
//!
//! How a question is asked is behind the port [`Prober`]: `NetProber` opens real sockets. Counting successes and failures in a row
//! happens here, and until a count is reached nothing is reported, as in Consul.

#[cfg(feature = "http")]
mod net;

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::Duration;

use consul_client::CheckStatus;
use futures::future::BoxFuture;
use tokio::task::{AbortHandle, JoinSet};

#[cfg(feature = "http")]
pub use net::NetProber;

use crate::Server;
use crate::state::{CheckDefinition, Command, State};

/// A new check is asked for the first time within this.
const FIRST_PROBE: Duration = Duration::from_millis(200);

/// Asks one question.
pub trait Prober: Send + Sync {
    /// Asks, as the agent of `node`, and gives an answer within `definition.timeout`.
    fn probe<'a>(&'a self, node: &'a str, definition: &'a CheckDefinition) -> BoxFuture<'a, Probe>;
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// How the service fares.
    pub status: CheckStatus,
    /// Words about it.
    pub output: String,
}

/// node and check id.
type Key = (String, String);

impl Server {
    /// Runs the http and tcp checks of all agents until the future is dropped.
    pub async fn run_checks(&self, prober: Arc<dyn Prober>) {
        let mut changed = self.shared().agents_changed();
        let mut tasks = JoinSet::new();
        let mut running: BTreeMap<Key, (CheckDefinition, AbortHandle)> = BTreeMap::new();
        loop {
            let wanted = self.with_state(askable).unwrap_or_default();
            running.retain(|key, (definition, task)| {
                let stays = wanted.get(key) == Some(definition);
                if !stays {
                    task.abort();
                }
                stays
            });
            for (key, definition) in wanted {
                running.entry(key).or_insert_with_key(|key| {
                    let task = ask(self.clone(), Arc::clone(&prober), key.clone(), definition.clone());
                    (definition, tasks.spawn(task))
                });
            }
            while tasks.try_join_next().is_some() {}
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The checks that ask something, of all agents that run.
fn askable(state: &State) -> BTreeMap<Key, CheckDefinition> {
    let agents = state.agents().iter().filter(|(_, agent)| agent.is_connected());
    let checks = agents.flat_map(|(node, agent)| agent.checks().iter().map(move |(id, own)| (node, id, own)));
    let checks = checks.filter(|(_, _, own)| own.definition.kind.asks());
    checks.map(|(node, id, own)| ((node.clone(), id.clone()), own.definition.clone())).collect()
}

/// Spreads the first probes, always the same way for the same check, so that a run can be repeated.
fn stagger((node, id): &Key) -> Duration {
    let mut hash = std::hash::DefaultHasher::new();
    hash.write(node.as_bytes());
    hash.write(id.as_bytes());
    let thousandths = u32::try_from(hash.finish() % 1000).unwrap_or(0);
    FIRST_PROBE * thousandths / 1000
}

/// Asks again and again.
async fn ask(server: Server, prober: Arc<dyn Prober>, key: Key, definition: CheckDefinition) {
    tokio::time::sleep(stagger(&key)).await;
    let mut counts = Counts::new(&definition);
    loop {
        let probe = prober.probe(&key.0, &definition).await;
        if counts.says(probe.status, &definition) {
            let command = Command::UpdateCheck {
                node: key.0.clone(),
                check: key.1.clone(),
                status: probe.status.as_str().to_owned(),
                output: probe.output,
                by_ttl: false,
            };
            server.report(&command);
        }
        tokio::time::sleep(definition.interval).await;
    }
}

/// Successes and failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    successes: u32,
    failures: u32,
}

impl Counts {
    /// As if enough of both had come already: the very first result is reported, whatever it is, as in Consul.
    fn new(definition: &CheckDefinition) -> Self {
        Self { successes: definition.success_before_passing, failures: definition.failures_before_critical }
    }

    /// Counts a result, and says whether it is to be reported. Example: with `failures_before_critical: 3`, two failures
    /// are not, the third is.
    fn says(&mut self, status: CheckStatus, definition: &CheckDefinition) -> bool {
        if status == CheckStatus::Critical {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            self.failures >= definition.failures_before_critical
        } else {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            self.successes >= definition.success_before_passing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::CheckKind;

    #[test]
    fn results_are_reported_when_enough_came_in_a_row() {
        let mut definition = CheckDefinition::new(CheckKind::Tcp("x".into()));
        definition.success_before_passing = 2;
        definition.failures_before_critical = 3;
        let mut counts = Counts::new(&definition);
        let mut row = |status| counts.says(status, &definition);
        assert!(row(CheckStatus::Passing));
        assert!(!row(CheckStatus::Critical));
        assert!(!row(CheckStatus::Critical));
        assert!(row(CheckStatus::Critical));
        assert!(!row(CheckStatus::Passing));
        assert!(row(CheckStatus::Warning));
        assert!(!row(CheckStatus::Critical));
        assert!(!row(CheckStatus::Passing));
    }
}
