//! What whoever looks after an agent can ask of it, and have it do, while it runs.

use std::{sync::Arc, time::Duration};

use helium_runtime::pulse::Pulse;
use serde_json::{Value, json};

use super::{Shown, Telemetry, condition::phase, metrics::Phase};
use crate::shared::Shared;
use helium_crds::instance::InstancePhase;

/// A main loop that has not come round for so long is not well.
const STANDS_STILL: Duration = Duration::from_secs(10);
/// Every phase, so that one that no instance is in shows as 0.
pub(crate) const PHASES: [InstancePhase; 6] = [
    InstancePhase::Fetching,
    InstancePhase::Installing,
    InstancePhase::Starting,
    InstancePhase::Running,
    InstancePhase::Stopped,
    InstancePhase::Failed,
];

/// What can be asked of a running agent from outside; cheap to clone.
#[derive(Clone)]
pub struct AgentHandle {
    shared: Arc<Shared>,
}

impl AgentHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn telemetry(&self) -> &Telemetry {
        &self.shared.telemetry
    }

    /// The pulse of its main loop.
    pub fn pulse(&self) -> &Pulse {
        &self.telemetry().0.pulse
    }

    /// Waits until the first desired state was applied as far as it could be at once. While Consul is away that is what is on the disk.
    pub async fn ready(&self) {
        let mut ready = self.telemetry().0.ready.subscribe();
        // The sender lives as long as this handle.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// Whether that is so by now.
    pub fn is_ready(&self) -> bool {
        *self.telemetry().0.ready.borrow()
    }

    /// Has everything looked at again at once: what the node is to run, the local Consul agent, the node's record and the reports.
    pub fn look_again(&self) {
        self.telemetry().0.again.notify_one();
    }

    /// Whether its main loop turns; if not, since when.
    ///
    /// # Errors
    /// The words for people.
    pub fn health(&self) -> Result<(), String> {
        let age = self.pulse().age();
        if age < STANDS_STILL {
            return Ok(());
        }
        Err(format!("the main loop has stood still for {} s", age.as_secs()))
    }

    /// What it does, in a line: `joined as n1; 3 instances: 2 Running, 1 Starting; Consul answers`.
    pub fn words(&self) -> String {
        let (counts, total) = (self.counts(), self.shared.table.ids().len());
        let known = self.telemetry().known();
        let joined = if known.joined { "joined as" } else { "not joined as" };
        let each = counts.iter().filter(|(_, count)| *count > 0).map(|(phase, count)| format!("{count} {phase}"));
        let each = each.collect::<Vec<_>>().join(", ");
        let each = if each.is_empty() { String::new() } else { format!(": {each}") };
        let plural = if total == 1 { "" } else { "s" };
        let consul = match known.consul.failing.values().map(|(since, _)| *since).min() {
            Some(since) => format!("Consul does not answer well since {since:.0}; everything runs on"),
            None if known.consul.last.is_some() => "Consul answers".to_owned(),
            None => "Consul has not answered yet".to_owned(),
        };
        let maintenance = if self.shared.maintenance.of_node().is_some() { "in maintenance; " } else { "" };
        format!("{maintenance}{joined} {}; {total} instance{plural}{each}; {consul}", self.shared.config.node)
    }

    /// How many instances are in each phase.
    fn counts(&self) -> Vec<(&'static str, usize)> {
        let known = self.telemetry().known();
        let of = |one: InstancePhase| known.instances.values().filter(|shown| shown.report.phase == one).count();
        PHASES.into_iter().map(|one| (phase(one), of(one))).collect()
    }

    /// What it counts, in the text format of Prometheus. Looks at the disk for the versions that are installed.
    pub fn metrics(&self) -> String {
        let metrics = self.telemetry().metrics();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (phase, count) in self.counts() {
            metrics.instances.get_or_create(&Phase { phase }).set(gauge(count));
        }
        metrics.leading.set(gauge(self.telemetry().known().instances.values().filter(|shown| shown.leads).count()));
        metrics.reports_pending.set(gauge(self.shared.reporter.backlog()));
        let versions = self.shared.packages.all_installed();
        metrics.packages.set(gauge(versions.len()));
        metrics.versions.set(gauge(versions.values().map(std::collections::BTreeSet::len).sum()));
        metrics.maintenance.set(i64::from(self.shared.maintenance.of_node().is_some()));
        metrics.page()
    }

    /// All that is known of the node and of its instances, as JSON.
    pub fn status(&self) -> Value {
        let telemetry = self.telemetry();
        let conditions = telemetry.node_conditions(self.shared.maintenance.of_node().as_deref()).all();
        let packages = self.shared.packages.all_installed();
        let consul = telemetry.consul();
        let known = telemetry.known();
        let instances: Vec<Value> = known.instances.values().map(of_instance).collect();
        json!({
            "node": self.shared.config.node,
            "address": self.shared.config.address,
            "version": env!("CARGO_PKG_VERSION"),
            "since": self.shared.began.0,
            "ready": *telemetry.0.ready.borrow(),
            "consul": consul,
            "conditions": conditions,
            "instances": instances,
            "packages": packages,
        })
    }
}

fn of_instance(shown: &Shown) -> Value {
    let report = &shown.report;
    json!({
        "id": report.id,
        "deployment": report.deployment.to_string(),
        "service": shown.service,
        "version": shown.version,
        "phase": phase(report.phase),
        "message": report.message,
        "pid": report.pid,
        "ports": report.ports,
        "address": report.address,
        "restarts": report.restarts,
        "failing": report.failing,
        "since": report.since,
        "conditions": shown.conditions.all(),
    })
}
