//! The status of a Deployment: written only by the controller, and all the memory that a rollout has.
//!
//! A phase is one total function of its [`Reason`]: no phase is ever written without one, and no reason belongs to two phases.
//! Nothing here changes while nothing happens: instants are kept, never "time left".

mod analysis;
mod hydra_job;
mod phase;
mod rollout;
mod waiting;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use analysis::{AnalysisState, GateState, MetricState, Sample, Verdict};
pub use hydra_job::{HydraBuild, HydraCondition, HydraConditionKind, HydraError, HydraJobStatus};
pub use phase::{Phase, Reason};
pub use rollout::{Abort, AbortCause, Hold, HoldKind, Rollout, RolloutKind, STABLE_WEIGHT, Stage, Weight};
pub use waiting::WaitingOn;

use crate::{control::ControlAnswer, ids::RevisionId, instance::Role};

/// The status of a Deployment and of the Canary of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// The uid of the object that this is the status of.
    pub uid: String,
    /// The generation of the spec that this status is an answer to.
    pub observed_generation: u64,
    /// Where things stand, in one word. Always `reason.phase()`.
    pub phase: Phase,
    /// Why the phase is what it is.
    pub reason: Reason,
    /// The same as a sentence, with its numbers.
    pub message: String,
    /// How many instances are wanted.
    pub wanted: u32,
    /// How many of them are healthy now.
    pub healthy: u32,
    /// Finer points, each with the time of its last change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The version that serves; none before the first rollout has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<VersionRef>,
    /// The version of the present template.
    pub current: VersionRef,
    /// The id of the template as it stands in the spec, where the present revision has more than that: values of Consul's, or the version of a build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<RevisionId>,
    /// The rollout that is under way, or that was aborted and waits for a fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Counts per version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionStatus>,
    /// What is not yet so, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_on: Vec<WaitingOn>,
    /// The answers to people's requests, newest last, at most [`DeploymentStatus::ANSWERS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control: Vec<ControlAnswer>,
    /// The ordinal that the next instance gets. The transaction that writes the instance's intent advances it.
    pub next_ordinal: u64,
    /// The number that the next revision gets.
    pub next_revision: u64,
    /// The revisions that have served, the last one last; at most one more than the history keeps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<RevisionId>,
    /// A lock that a person has put on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// Instances that were made before this are replaced: the last `restart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_before: Option<Timestamp>,
}

impl DeploymentStatus {
    /// How many answers to requests are kept.
    pub const ANSWERS: usize = 16;
}

/// Lets no rollout start or come forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    /// Who has put it on.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A version label and the revision it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionRef {
    /// The label that people know.
    pub version: String,
    /// The revision.
    pub revision: RevisionId,
}

/// One finer point of the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
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
pub enum ConditionKind {
    /// At least the wanted count less `maxUnavailable` is healthy.
    Available,
    /// A rollout is under way and not held.
    Progressing,
    /// `versions` sets the counts, so the Canary is suspended.
    ManualCounts,
    /// A lock, `suspend` or the schedule lets no rollout start or come forward.
    Locked,
}

impl ConditionKind {
    /// Every kind of condition.
    pub const ALL: [ConditionKind; 4] =
        [ConditionKind::Available, ConditionKind::Progressing, ConditionKind::ManualCounts, ConditionKind::Locked];
}

impl fmt::Display for ConditionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// One version that runs, is wanted, or serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionStatus {
    /// The label.
    pub version: String,
    /// The revision.
    pub revision: RevisionId,
    /// Its role now.
    pub role: Role,
    /// How many instances of it are wanted.
    pub desired: u32,
    /// How many are assigned to a node and wanted to run.
    pub assigned: u32,
    /// How many of those are in Consul's catalog.
    pub registered: u32,
    /// How many of those pass every check.
    pub healthy: u32,
    /// How many of those assigned are on standby: they run and serve nobody.
    #[serde(default, skip_serializing_if = "rollout::is_zero")]
    pub standby: u32,
}
