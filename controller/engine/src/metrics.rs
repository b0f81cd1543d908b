//! What the engine counts, in the text format of Prometheus.

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::rollout_metrics::RolloutMetrics;

/// One label: the variant's name of an error, a phase or a source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// The name.
    pub kind: String,
}

impl Kind {
    /// A label of this name.
    pub fn of(name: impl Into<String>) -> Self {
        Self { kind: name.into() }
    }
}

/// Two labels: a sort of source, and what was counted of its watches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Watched {
    /// `spec`, `report`, `node` or `alive`.
    pub source: String,
    /// What: `snapshots`, `alive`, `failures`, `blind`, `resets`, `suspicious`, `missed` or `decoded`.
    pub what: String,
}

/// Every metric of the engine; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Reconciles that ended well.
    pub reconciles: Counter,
    /// Reconciles that did not, by the error's name.
    pub errors: Family<Kind, Counter>,
    /// How long a reconcile takes, in seconds.
    pub seconds: Duration,
    /// Keys in the work queue.
    pub queue_depth: Gauge,
    /// Transactions that were committed.
    pub writes: Counter,
    /// Keys that those transactions wrote or removed.
    pub written_keys: Counter,
    /// Plans that wanted to write something while another controller leads.
    pub plans_dropped: Counter,
    /// Rereads that found what no watch had told.
    pub missed_changes: Counter,
    /// What the watches have counted.
    pub watches: Family<Watched, Counter>,
    /// 1 for a source that cannot be seen, by source; under `objects` the number of objects.
    pub blind: Family<Kind, Gauge>,
    /// 1 while this controller leads.
    pub leader: Gauge,
    /// Deployments by phase.
    pub phases: Family<Kind, Gauge>,
    /// Instance records.
    pub instances: Gauge,
    /// Services with a long poll of their own.
    pub health_polls: Gauge,
    /// Bytes of the values that were committed.
    pub written_bytes: Counter<u64, AtomicU64>,
    /// From the look at the world to the commit of a plan that brings a rollout forward or gives it up, in seconds.
    pub decision_seconds: Duration,
    /// Where each rollout stands.
    pub rollouts: Arc<RolloutMetrics>,
}

/// A histogram with buckets from 1 ms to 16 s.
#[derive(Clone, Debug)]
pub struct Duration(pub Histogram);

impl Default for Duration {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.001, 4.0, 8)))
    }
}

/// The registry that `/metrics` prints; shared, so that other rooms can add theirs.
pub type SharedRegistry = Arc<Mutex<Registry>>;

impl Metrics {
    /// Puts every metric into `registry` under names that begin with `helium_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("helium");
        registry.register("reconciles", "Reconciles that ended well", self.reconciles.clone());
        registry.register("reconcile_errors", "Reconciles that failed, by the error's name", self.errors.clone());
        registry.register("reconcile_seconds", "How long a reconcile takes", self.seconds.0.clone());
        registry.register("queue_depth", "Keys in the work queue", self.queue_depth.clone());
        registry.register("writes", "Transactions that were committed", self.writes.clone());
        registry.register("written_keys", "Keys that transactions wrote or removed", self.written_keys.clone());
        registry.register("written_bytes", "Bytes of the values that were committed", self.written_bytes.clone());
        let dropped = "Plans that wanted to write while another controller leads";
        registry.register("plans_dropped", dropped, self.plans_dropped.clone());
        let missed = "Rereads that found what no watch had told";
        registry.register("missed_changes", missed, self.missed_changes.clone());
        let watches = "What the watches have counted, by source: snapshots, failures, falls of the index, missed changes and more";
        registry.register("watch_events", watches, self.watches.clone());
        registry.register(
            "blind",
            "1 for a source that cannot be seen; the number of objects that cannot",
            self.blind.clone(),
        );
        registry.register("leader", "1 while this controller leads", self.leader.clone());
        registry.register("deployments", "Deployments by phase", self.phases.clone());
        registry.register("instances", "Instance records", self.instances.clone());
        let decision = "From the look at the world to the commit of what advances, promotes or gives up a rollout";
        registry.register("decision_seconds", decision, self.decision_seconds.0.clone());
        self.rollouts.register(registry);
        registry.register("health_polls", "Services with a long poll of their own", self.health_polls.clone());
    }
}

impl Metrics {
    /// The watches of a sort of source have counted so many of something since they began.
    pub fn watched(&self, source: &str, what: &str, total: u64) {
        let labels = Watched { source: source.to_owned(), what: what.to_owned() };
        let counter = self.watches.get_or_create(&labels);
        counter.inc_by(total.saturating_sub(counter.get()));
    }
}

/// Prints a registry in the text format of Prometheus.
pub fn render(registry: &SharedRegistry) -> String {
    let mut page = String::new();
    let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
    // Writing to a String does not fail.
    let _ = text::encode(&mut page, &registry);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_was_counted() {
        let metrics = Metrics::default();
        let registry = SharedRegistry::default();
        metrics.register(&mut registry.lock().unwrap());
        metrics.plans_dropped.inc();
        metrics.blind.get_or_create(&Kind::of("spec")).set(1);
        metrics.watched("spec", "resets", 2);
        metrics.watched("spec", "resets", 3);
        let page = render(&registry);
        assert!(page.contains("helium_plans_dropped_total 1"), "{page}");
        let resets = "helium_watch_events_total{source=\"spec\",what=\"resets\"} 3";
        assert!(page.contains(resets), "the highest count is the count\n{page}");
        assert!(page.contains("helium_blind{kind=\"spec\"} 1"), "{page}");
    }
}
