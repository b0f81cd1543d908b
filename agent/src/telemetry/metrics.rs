//! What an agent counts, in the text format of Prometheus. No label holds the name of an instance: how many series there are depends on
//! Helium alone, and not on what comes and goes on the machine.

use std::{
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

/// One label.
macro_rules! label {
    ($(#[$doc:meta])* $type:ident, $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(crate) struct $type {
            pub(crate) $name: &'static str,
        }
    };
}

label!(/** Instances by phase. */ Phase, phase);
label!(/** Checks by status. */ Status, status);
label!(/** Calls to Consul by what they were for. */ Part, part);
label!(/** Hooks by name. */ HookName, hook);
label!(/** Renderings by what became of them. */ Outcome, result);

/// Runs of a hook by name and by what became of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HookRuns {
    pub(crate) hook: &'static str,
    pub(crate) result: &'static str,
}

/// Every metric.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    pub(crate) instances: Family<Phase, Gauge>,
    pub(crate) leading: Gauge,
    pub(crate) restarts: Counter,
    pub(crate) renders: Family<Outcome, Counter>,
    pub(crate) render_seconds: Histogram,
    pub(crate) hook_runs: Family<HookRuns, Counter>,
    pub(crate) hook_seconds: Family<HookName, Histogram>,
    pub(crate) checks: Family<Status, Gauge>,
    pub(crate) consul_errors: Family<Part, Counter>,
    pub(crate) consul_contact: Gauge<f64, AtomicU64>,
    pub(crate) reports_pending: Gauge,
    pub(crate) packages: Gauge,
    pub(crate) versions: Gauge,
    pub(crate) maintenance: Gauge,
    pub(crate) ready: Gauge,
}

/// From 1 ms to 16 s.
fn short() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 8))
}

/// From 10 ms to 11 minutes: as long as a hook may usually take.
fn long() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 4.0, 9))
}

impl Metrics {
    /// All of them, at nothing.
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Mutex::default(),
            instances: Family::default(),
            leading: Gauge::default(),
            restarts: Counter::default(),
            renders: Family::default(),
            render_seconds: short(),
            hook_runs: Family::default(),
            hook_seconds: Family::new_with_constructor(long),
            checks: Family::default(),
            consul_errors: Family::default(),
            consul_contact: Gauge::default(),
            reports_pending: Gauge::default(),
            packages: Gauge::default(),
            versions: Gauge::default(),
            maintenance: Gauge::default(),
            ready: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let all = registry.sub_registry_with_prefix("helium_agent");
        all.register("build", "The agent's version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        all.register("ready", "1 once the first desired state was applied as far as it could be", self.ready.clone());
        all.register("instances", "Instances by phase", self.instances.clone());
        all.register("leading", "Instances here that lead their service", self.leading.clone());
        all.register("restarts", "Processes that ended though they were to run", self.restarts.clone());
        all.register("renders", "Renderings of all templates of an instance, by result", self.renders.clone());
        all.register(
            "render_seconds",
            "How long one takes, its check and its switch included",
            self.render_seconds.clone(),
        );
        all.register("hook_runs", "Runs of hooks, by hook and result", self.hook_runs.clone());
        all.register("hook_seconds", "How long a hook takes", self.hook_seconds.clone());
        all.register("checks", "Checks in Consul of the instances here, by status", self.checks.clone());
        all.register("consul_errors", "Calls to Consul that failed, by what they were for", self.consul_errors.clone());
        let contact = "When Consul last answered well, in seconds since 1970; 0 before the first time";
        all.register("consul_last_contact_timestamp_seconds", contact, self.consul_contact.clone());
        all.register("reports_pending", "Reports that Consul does not hold yet", self.reports_pending.clone());
        all.register("packages", "Services of which packages are kept here", self.packages.clone());
        all.register("package_versions", "Versions of packages that are installed", self.versions.clone());
        all.register("maintenance", "1 while the node is in maintenance", self.maintenance.clone());
    }

    /// A hook has run, or could not be.
    pub(crate) fn hook(&self, hook: &'static str, result: &'static str, took: Duration) {
        self.hook_runs.get_or_create(&HookRuns { hook, result }).inc();
        self.hook_seconds.get_or_create(&HookName { hook }).observe(took.as_secs_f64());
    }

    /// Templates were rendered, or could not be.
    pub(crate) fn render(&self, result: &'static str, took: Duration) {
        self.renders.get_or_create(&Outcome { result }).inc();
        self.render_seconds.observe(took.as_secs_f64());
    }

    /// The page.
    pub(crate) fn page(&self) -> String {
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String does not fail.
        let _ = text::encode(&mut page, &registry);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_was_counted() {
        let metrics = Metrics::new();
        metrics.hook("install", "ok", Duration::from_millis(50));
        metrics.hook("install", "failed", Duration::from_secs(3));
        metrics.render("changed", Duration::from_millis(2));
        metrics.instances.get_or_create(&Phase { phase: "Running" }).set(3);
        let page = metrics.page();
        for line in [
            "helium_agent_hook_runs_total{hook=\"install\",result=\"failed\"} 1",
            "helium_agent_hook_seconds_bucket{le=\"0.16\",hook=\"install\"} 1",
            "helium_agent_hook_seconds_count{hook=\"install\"} 2",
            "helium_agent_render_seconds_count 1",
            "helium_agent_instances{phase=\"Running\"} 3",
            "helium_agent_restarts_total 0",
            "# EOF",
        ] {
            assert!(page.lines().any(|have| have == line), "no {line} in\n{page}");
        }
    }
}
