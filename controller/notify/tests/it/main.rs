//! Notifications to real HTTP servers: what they are told, when they fail, and what is told of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail like the tests themselves")]

mod delivery;
mod quiet;
mod receiver;

use std::{path::PathBuf, sync::Arc, time::Duration};

use consul_client::Client;
use consul_embedded::{Config, Server as Consul, seeded_entropy};
use helium_analysis::{Secrets, Sources};
use helium_crds::{
    DeploymentStatus, ObjectKey, Source,
    event::{Event, EventReason, Severity},
    keys::Keys,
    notification::Notifications,
    status::HydraJobStatus,
};
use helium_notify::{Announce as _, Notifier};
use helium_runtime::{
    ports::Ports,
    shutdown::{Shutdown, Trigger},
};
use prometheus_client::{encoding::text, registry::Registry};
use serde_json::json;
use tokio::task::JoinHandle;

/// The longest that anything here may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A notifier at work, and a store for secrets.
struct World {
    notifier: Arc<Notifier>,
    consul: Client,
    registry: Registry,
    stop: Trigger,
    running: JoinHandle<()>,
}

impl World {
    /// With these settings, and a folder for secrets.
    fn new(settings: &str, secrets: Option<PathBuf>) -> Self {
        let settings = Notifications::parse(&Source::new("notify.yaml", settings));
        let settings = settings.unwrap_or_else(|report| panic!("{}", report.render(false)));
        let server = Consul::in_memory(&Config { entropy: seeded_entropy(1), ..Config::default() });
        let (consul, ports) = (Client::over(server.transport(), None), Ports::real());
        let sources = Sources::new(consul.clone(), Keys::default(), Secrets::new(secrets, []), ports.clone()).unwrap();
        let notifier = Arc::new(Notifier::new(settings, &Arc::new(sources), &ports));
        let mut registry = Registry::default();
        notifier.register(&mut registry);
        let (stop, shutdown) = Shutdown::new();
        let running = Arc::clone(&notifier);
        let running = tokio::spawn(async move { running.run(shutdown).await });
        Self { notifier, consul, registry, stop, running }
    }

    fn announce(&self, severity: Severity, reason: EventReason, message: &str) {
        let event =
            Event { at: Ports::real().now(), severity, reason: reason.to_string(), message: message.to_owned() };
        self.notifier.announce(&ObjectKey::new("default", "web"), &status(), &event);
    }

    fn announce_job(&self, status: &HydraJobStatus, reason: EventReason, message: &str) {
        let (at, severity) = (Ports::real().now(), Severity::Warning);
        let event = Event { at, severity, reason: reason.to_string(), message: message.to_owned() };
        self.notifier.announce_job(&ObjectKey::new("default", "main"), &[], status, &event);
    }

    /// So many events, told apart by their message.
    fn announce_many(&self, numbers: std::ops::Range<usize>) {
        numbers.for_each(|number| self.announce(Severity::Normal, EventReason::InstancesMade, &number.to_string()));
    }

    /// How often something became of what was for a receiver.
    fn counted(&self, name: &str, outcome: &str) -> u64 {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).unwrap();
        let begin = format!("helium_notifications_total{{name=\"{name}\",outcome=\"{outcome}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&begin)?.parse().ok()).unwrap()
    }

    async fn until_counted(&self, name: &str, outcome: &str, number: u64) {
        until(&format!("{name} {outcome} {number}"), || self.counted(name, outcome) >= number).await;
        assert_eq!(self.counted(name, outcome), number);
    }

    /// Asks it to end, and says how long that took.
    async fn end(mut self) -> (Duration, Self) {
        let ports = Ports::real();
        self.stop.trigger();
        (&mut self.running).await.unwrap();
        (ports.monotonic(), self)
    }
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// A canary that was given up at the second of its four steps.
fn status() -> DeploymentStatus {
    let at = "2026-03-01T12:00:00Z";
    let steps = json!([{ "setWeight": "25%" }, { "soak": "1m" }, { "setWeight": "50%" }, { "soak": "1m" }]);
    let abort = json!({ "cause": "CanaryUnhealthy", "message": "", "step": 1, "steps": 4, "at": at });
    let rollout = json!({
        "id": "5b1f0c2e", "revision": "r2", "version": "2.0.0", "kind": "canary", "stage": "rollingBack", "step": 1, "steps": steps,
        "stepStartedAt": at, "startedAt": at, "progressAt": at, "abort": abort,
    });
    let status = json!({
        "uid": "u", "observedGeneration": 2, "phase": "RollingBack", "reason": "RollingBack", "message": "", "wanted": 4, "healthy": 4,
        "stable": { "version": "1.0.0", "revision": "r1" }, "current": { "version": "2.0.0", "revision": "r2" },
        "nextOrdinal": 6, "nextRevision": 3, "rollout": rollout,
    });
    serde_json::from_value(status).unwrap()
}

fn one(name: &str, webhook: &str) -> String {
    format!("notifications: [{{name: {name}, webhook: {{{webhook}}}}}]")
}
