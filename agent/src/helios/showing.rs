//! What is to be seen of an agent of Helios' layout while it runs: how each service stands, whether the node is in maintenance, what is counted.
//!
//! The services say what is so with them whenever they rest; whoever looks from outside asks a [`HeliosHandle`]. Nothing in here waits for anything.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use consul_client::AgentCheck;
use helium_crds::instance::InstancePhase;
use helium_runtime::{ports::Ports, pulse::Pulse};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    agent::Common,
    machine::{Green, Maintenance, Registered},
    record::{FAILED_AFTER, Record, Stage, Target},
    registration::Shown,
};
use crate::telemetry::{
    Telemetry,
    condition::{self, Conditions},
    metrics::Phase,
};

/// The check by which Consul takes a whole node out of service: `consul maint -enable`.
const NODE_MAINTENANCE: &str = "_node_maintenance";
/// A main loop that has not come round for so long is not well.
const STANDS_STILL: Duration = Duration::from_secs(10);

/// What the parts of the agent tell of what happens.
pub(super) struct Showing {
    pub(super) telemetry: Telemetry,
    pub(super) pulse: Pulse,
    ports: Ports,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    services: BTreeMap<String, ServiceState>,
    /// Why the node is in Consul's maintenance, as far as anybody has seen.
    maintenance: Option<String>,
    node: Conditions,
}

/// How a service stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceState {
    /// How far it is.
    phase: &'static str,
    /// The version whose files are in place, or that runs.
    version: Option<String>,
    /// The version that Consul wants.
    wanted: Option<String>,
    /// The version that served well last.
    good: Option<String>,
    /// The change that is under way.
    change: Option<Change>,
    /// Its process, if the agent runs it.
    pid: Option<u32>,
    /// When it was started.
    since: Option<Timestamp>,
    /// Troubles in a row.
    failures: u32,
    /// The last trouble.
    message: Option<String>,
    /// Whether it is in Consul as it should be; none before anybody has looked.
    registered: Option<bool>,
    /// Whether its checks pass; none while nobody can tell.
    passing: Option<bool>,
    /// Who has taken it out of service: `change` of its own, or `somebody`.
    maintenance: Option<&'static str>,
    /// It stands for the lead of its service, or leads.
    stands_for_lead: bool,
}

/// A change that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    version: String,
    stage: Stage,
    /// It is the way back from one that failed.
    back: bool,
}

impl ServiceState {
    /// What a record and the local Consul agent say.
    pub(super) fn of(
        record: &Record,
        shown: &Shown,
        wanted: Option<&Target>,
        (is_fetching, stands_for_lead): (bool, bool),
    ) -> Self {
        let version = |target: Option<&Target>| target.map(|target| target.version.clone());
        Self {
            phase: condition::phase(phase(record, is_fetching)),
            version: version(record.current.as_ref()),
            wanted: version(wanted),
            good: version(record.good.as_ref()),
            change: record.attempt.as_ref().map(|attempt| Change {
                version: attempt.target.version.clone(),
                stage: attempt.stage,
                back: attempt.back,
            }),
            pid: record.process.as_ref().map(|process| process.pid),
            since: record.started_at,
            failures: record.failures,
            message: record.message.clone(),
            registered: match shown.registered {
                Registered::Unknown => None,
                Registered::Same => Some(true),
                Registered::Absent | Registered::Retag | Registered::Anew => Some(false),
            },
            passing: match shown.green {
                Green::Unknown => None,
                Green::No => Some(false),
                Green::Yes => Some(true),
            },
            maintenance: match shown.maintenance {
                Maintenance::No => None,
                Maintenance::Ours => Some("change"),
                Maintenance::Theirs => Some("somebody"),
            },
            stands_for_lead,
        }
    }
}

/// How far a service is, in the phases of instances.
fn phase(record: &Record, is_fetching: bool) -> InstancePhase {
    match (&record.attempt, record.up) {
        _ if record.failures >= FAILED_AFTER => InstancePhase::Failed,
        (Some(attempt), _) if attempt.stage >= Stage::Rendered => InstancePhase::Starting,
        (Some(_), _) => InstancePhase::Installing,
        // The old version serves while the next one is fetched.
        (None, true) => InstancePhase::Running,
        (None, false) if is_fetching => InstancePhase::Fetching,
        (None, false) => InstancePhase::Stopped,
    }
}

impl Showing {
    /// Of an agent that begins now.
    pub(super) fn new(ports: Ports) -> Self {
        let (telemetry, pulse) = (Telemetry::new(ports.clone()), Pulse::new(ports.clone()));
        Self { telemetry, pulse, ports, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is so with a service.
    pub(super) fn show(&self, service: &str, state: ServiceState) {
        self.known().services.insert(service.to_owned(), state);
    }

    /// A service is here no more.
    pub(super) fn forget(&self, service: &str) {
        self.known().services.remove(service);
    }

    /// Whether no service says what is so with it.
    pub(super) fn is_idle(&self) -> bool {
        self.known().services.is_empty()
    }

    /// What the local Consul agent says of its checks: whether the whole node is in maintenance, and how those of the services here stand.
    pub(super) fn look(&self, checks: &BTreeMap<String, AgentCheck>) {
        let reason = checks.get(NODE_MAINTENANCE).map(|check| check.notes.clone());
        let mut known = self.known();
        if known.maintenance != reason {
            tracing::info!(reason, "the maintenance of this node in Consul has changed");
            known.maintenance = reason;
        }
        let (verdict, now) = (condition::maintenance(known.maintenance.as_deref()), self.ports.now());
        known.node.take(vec![verdict], now);
        self.telemetry.checks(checks.values().filter(|check| known.services.contains_key(&check.service_id)));
    }

    /// Whether the whole node is in maintenance.
    pub(super) fn is_in_maintenance(&self) -> bool {
        self.known().maintenance.is_some()
    }
}

/// What can be asked of a running agent of Helios' layout from outside; cheap to clone.
#[derive(Clone)]
pub struct HeliosHandle {
    common: Arc<Common>,
    ready: watch::Receiver<bool>,
}

impl HeliosHandle {
    pub(super) fn new(common: Arc<Common>, ready: watch::Receiver<bool>) -> Self {
        Self { common, ready }
    }

    /// Whether its main loop turns; if not, since when.
    ///
    /// # Errors
    /// The words for people.
    pub fn health(&self) -> Result<(), String> {
        let age = self.common.showing.pulse.age();
        if age < STANDS_STILL {
            return Ok(());
        }
        Err(format!("the main loop has stood still for {} s", age.as_secs()))
    }

    /// Whether every service that was noted on the disk has its orders.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// What it does, in a line: `node n1, over the keys of Helios; 2 services: 1 Running, 1 Installing`.
    pub fn words(&self) -> String {
        let known = self.common.showing.known();
        let total = known.services.len();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for state in known.services.values() {
            *counts.entry(state.phase).or_default() += 1;
        }
        let each: Vec<String> = counts.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
        let each = if each.is_empty() { String::new() } else { format!(": {}", each.join(", ")) };
        let maintenance = if known.maintenance.is_some() { "in maintenance; " } else { "" };
        let plural = if total == 1 { "" } else { "s" };
        format!("{maintenance}node {}, over the keys of Helios; {total} service{plural}{each}", self.common.config.node)
    }

    /// What it counts, in the text format of Prometheus, by the names that every agent of Helium has.
    pub fn metrics(&self) -> String {
        let showing = &self.common.showing;
        let metrics = showing.telemetry.metrics();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let known = showing.known();
        for phase in crate::telemetry::PHASES.map(condition::phase) {
            let count = known.services.values().filter(|state| state.phase == phase).count();
            metrics.instances.get_or_create(&Phase { phase }).set(gauge(count));
        }
        metrics.maintenance.set(i64::from(known.maintenance.is_some()));
        metrics.ready.set(i64::from(self.is_ready()));
        drop(known);
        let versions = self.common.packages.all_installed();
        metrics.packages.set(gauge(versions.len()));
        metrics.versions.set(gauge(versions.values().map(std::collections::BTreeSet::len).sum()));
        metrics.page()
    }

    /// All that is known of the node and of its services, as JSON.
    pub fn status(&self) -> Value {
        let Common { config, showing, packages, .. } = &*self.common;
        let (consul, packages) = (showing.telemetry.consul(), packages.all_installed());
        let known = showing.known();
        json!({
            "node": config.node,
            "address": config.address,
            "version": env!("CARGO_PKG_VERSION"),
            "ready": self.is_ready(),
            "consul": consul,
            "conditions": known.node.all(),
            "services": known.services,
            "packages": packages,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helios::{record::Attempt, registration::UNSEEN};

    fn target(version: &str) -> Target {
        Target { version: version.to_owned(), config: "c".to_owned() }
    }

    #[test]
    fn a_service_that_changes_is_in_the_phase_of_its_change_and_one_that_only_fetches_still_runs() {
        let mut record = Record { up: true, current: Some(target("1")), ..Record::default() };
        assert_eq!(phase(&record, true), InstancePhase::Running);
        let attempt = |stage| Attempt { target: target("2"), stage, live: false, back: false, since: None };
        for (stage, named) in [
            (Stage::Begun, InstancePhase::Installing),
            (Stage::Switched, InstancePhase::Installing),
            (Stage::Rendered, InstancePhase::Starting),
            (Stage::Started, InstancePhase::Starting),
        ] {
            record.attempt = Some(attempt(stage));
            assert_eq!(phase(&record, false), named);
        }
        record.failures = FAILED_AFTER;
        assert_eq!(phase(&record, false), InstancePhase::Failed);
    }

    #[test]
    fn what_nobody_has_looked_at_is_told_as_unknown() {
        let state = ServiceState::of(&Record::default(), &UNSEEN, Some(&target("1")), (true, false));
        let told = serde_json::to_value(&state).unwrap();
        assert_eq!(
            (&told["registered"], &told["passing"], &told["phase"]),
            (&Value::Null, &Value::Null, &json!("Fetching"))
        );
        assert_eq!(told["wanted"], "1");
    }

    #[test]
    fn the_node_is_in_maintenance_while_consul_bears_its_mark() {
        let showing = Showing::new(Ports::seeded(1, crate::testing::instant(0)));
        let mark = AgentCheck { notes: "a new disk".to_owned(), ..AgentCheck::default() };
        showing.look(&BTreeMap::from([(NODE_MAINTENANCE.to_owned(), mark)]));
        assert!(showing.is_in_maintenance());
        let told = serde_json::to_value(showing.known().node.all()).unwrap();
        assert_eq!((&told[0]["status"], &told[0]["message"]), (&json!("True"), &json!("a new disk")));
        showing.look(&BTreeMap::new());
        assert!(!showing.is_in_maintenance());
    }
}
