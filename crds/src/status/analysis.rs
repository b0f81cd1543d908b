//! What the analysis of a canary has seen: its health, its metrics, its gate.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::measurement::{GateReading, Reading};

/// What the analysis of a canary has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisState {
    /// When the last failed sample was taken; none while samples are good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Timestamp>,
    /// Failed samples in a row.
    #[serde(default)]
    pub in_row: u32,
    /// Failed samples in all.
    #[serde(default)]
    pub total: u32,
    /// What was seen of each metric, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, MetricState>,
    /// What was seen of the present step's gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateState>,
}

/// What was seen of one metric in this rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricState {
    /// The last samples, newest last, at most [`MetricState::SAMPLES`].
    pub samples: Vec<Sample>,
    /// What was asked last, with all variables replaced.
    pub query: String,
    /// Good samples since the present weight was reached, or the present step of analysis began.
    #[serde(default)]
    pub good: u32,
    /// Samples since then, whatever they were.
    #[serde(default)]
    pub taken: u32,
    /// Good samples in a row, up to the last one.
    #[serde(default)]
    pub good_in_a_row: u32,
    /// Failed samples in all.
    #[serde(default)]
    pub failed: u32,
    /// Failed samples in a row, up to the last one.
    #[serde(default)]
    pub failed_in_a_row: u32,
    /// Samples in a row that could not be taken, up to the last one.
    #[serde(default)]
    pub errors_in_a_row: u32,
    /// Inconclusive samples in all.
    #[serde(default)]
    pub inconclusive: u32,
}

impl MetricState {
    /// So many samples of a metric are kept.
    pub const SAMPLES: usize = 10;

    /// The last sample.
    pub fn last(&self) -> Option<&Sample> {
        self.samples.last()
    }
}

/// One sample, as it was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When it was taken.
    pub at: Timestamp,
    /// What was read of the canary.
    pub canary: Reading,
    /// What was read of the stable version, where the two are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Reading>,
    /// What it counts as.
    pub verdict: Verdict,
    /// Why, with the numbers: `12.5 (at most 5)`.
    pub why: String,
}

/// What a sample counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// All that the criterion asks for holds.
    Good,
    /// It does not.
    Failed,
    /// It cannot be told, or is marginal.
    Inconclusive,
    /// It counts as if it had not been taken.
    Ignored,
}

/// What was seen of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateState {
    /// When this was seen first.
    pub at: Timestamp,
    /// What was seen.
    pub seen: GateReading,
}
