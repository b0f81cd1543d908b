//! The kind Canary: how a new template of a Deployment is tried out before it takes over.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{metric::Metric, object::Object, period::Period, quantity::Percent, step::Step};

/// Says how a new template of the Deployment of the same name is tried out.
pub type Canary = Object<CanarySpec>;

/// What is wanted of a Canary. While one exists, a new template starts a canary in place of a plain roll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CanarySpec {
    /// The steps, taken in order. After the last one the new version is promoted.
    #[schemars(length(min = 1, max = 100))]
    pub steps: Vec<Step>,
    /// What is looked at while the canary runs.
    #[serde(default)]
    pub analysis: Analysis,
    /// Whether the last step leads to promotion by itself. If false, a person promotes. Default true.
    #[serde(default = "default_auto_promote")]
    pub auto_promote: bool,
    /// What happens to a canary while too few instances of the stable version are healthy: the new one may be the fix. Default `proceed`.
    #[serde(default)]
    pub if_stable_unhealthy: IfStableUnhealthy,
    /// Whether a weight that whole instances cannot make is refused. If false, the nearest count is taken. Default false.
    #[serde(default)]
    pub exact: bool,
}

/// What is looked at while the canary runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    /// The health of the canary instances in Consul.
    #[serde(default)]
    pub health: HealthAnalysis,
    /// Metrics: measured while the canary runs, through all steps or in steps of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub metrics: Vec<Metric>,
}

/// What happens to a canary while too few instances of the stable version are healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum IfStableUnhealthy {
    /// It goes on.
    #[default]
    Proceed,
    /// It waits until they are healthy again.
    Pause,
}

impl CanarySpec {
    /// The metric of a name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.analysis.metrics.iter().find(|metric| metric.name == name)
    }
}

/// When the health of the canary instances is bad enough to abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthAnalysis {
    /// The least share of canary instances that must be passing, rounded up. Default `100%`.
    #[serde(default = "default_min_passing")]
    #[schemars(extend("x-min" = "1%"))]
    pub min_passing: Percent,
    /// So many failed samples in a row abort the canary. Default 2.
    #[serde(default = "default_failures_in_a_row")]
    #[schemars(range(min = 1, max = 1000))]
    pub failures_in_a_row: u32,
    /// The time from one sample to the next. Default `2s`.
    #[serde(default = "default_sample_interval")]
    #[schemars(extend("x-min" = "1s", "x-max" = "1h"))]
    pub interval: Period,
}

impl Default for HealthAnalysis {
    fn default() -> Self {
        Self {
            min_passing: default_min_passing(),
            failures_in_a_row: default_failures_in_a_row(),
            interval: default_sample_interval(),
        }
    }
}

fn default_auto_promote() -> bool {
    true
}

fn default_min_passing() -> Percent {
    Percent::FULL
}

fn default_failures_in_a_row() -> u32 {
    2
}

fn default_sample_interval() -> Period {
    Period::from_secs(2)
}
