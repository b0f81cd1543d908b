//! The status of a HydraJob: what its job has built, and how the last look at Hydra ended. Written only by the controller.
//!
//! Nothing here changes while Hydra says the same: looks that found nothing new are not counted.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The status of a HydraJob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HydraJobStatus {
    /// The uid of the object that this is the status of.
    pub uid: String,
    /// The generation of the spec that this status is an answer to.
    pub observed_generation: u64,
    /// The build whose version is taken; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<HydraBuild>,
    /// When Hydra was last seen to answer well, as of the last change of this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Timestamp>,
    /// Why the last look found nothing to take; none if it did, or found the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HydraError>,
    /// Finer points, each with the time of its last change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<HydraCondition>,
}

/// A build that has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HydraBuild {
    /// Its number.
    pub build: u64,
    /// The number of the evaluation that was whole, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<u64>,
    /// The path of its output `out` in the store.
    pub path: String,
    /// The version that it gives: the last part of the path.
    pub version: String,
    /// The address of the job that it is of.
    pub job: String,
    /// When it was found.
    pub found_at: Timestamp,
}

/// Why a look found nothing to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HydraError {
    /// In one word.
    pub reason: String,
    /// As a sentence.
    pub message: String,
    /// Whether Hydra could not be asked, and not: has nothing to take.
    #[serde(default)]
    pub unreachable: bool,
    /// Since when looks have ended so.
    pub since: Timestamp,
}

/// One finer point of the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HydraCondition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: HydraConditionKind,
    /// Whether it holds.
    pub status: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When `status` last changed. Never goes back.
    pub last_transition_time: Timestamp,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HydraConditionKind {
    /// There is a build whose version is taken.
    Ready,
    /// Hydra answers.
    Reachable,
}

impl fmt::Display for HydraConditionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl HydraJobStatus {
    /// The condition of a kind, if it is there.
    pub fn condition(&self, kind: HydraConditionKind) -> Option<&HydraCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}
