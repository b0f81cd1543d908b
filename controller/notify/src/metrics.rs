//! What became of notifications, in the text format of Prometheus.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver has taken it.
    Sent,
    /// The receiver has not, for as long as it was tried.
    Failed,
    /// It was not tried to the end: the queue was full, or the controller stopped.
    Dropped,
}

impl Outcome {
    const ALL: [Outcome; 3] = [Outcome::Sent, Outcome::Failed, Outcome::Dropped];

    fn as_str(self) -> &'static str {
        match self {
            Outcome::Sent => "sent",
            Outcome::Failed => "failed",
            Outcome::Dropped => "dropped",
        }
    }
}

/// Two labels: the receiver and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    name: String,
    outcome: &'static str,
}

/// Counts for all receivers; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes(Family<Labels, Counter>);

impl Outcomes {
    /// Shows a receiver with nothing counted: a rate needs a beginning.
    pub(crate) fn begin(&self, name: &str) {
        for outcome in Outcome::ALL {
            self.count(name, outcome, 0);
        }
    }

    pub(crate) fn count(&self, name: &str, outcome: Outcome, number: u64) {
        let labels = Labels { name: name.to_owned(), outcome: outcome.as_str() };
        self.0.get_or_create(&labels).inc_by(number);
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("helium");
        let help = "Events for a receiver of notifications: sent, failed, or dropped from its queue";
        registry.register("notifications", help, self.0.clone());
    }
}
