//! The status of a Deployment: written only by the controller, and all the memory that a rollout has.
//!
//! A phase is one total function of its [`Reason`]: no phase is ever written without one, and no reason belongs to two phases.
//! Nothing here changes while nothing happens: instants are kept, never "time left".

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    canary::Step,
    control::ControlAnswer,
    ids::{InstanceId, NodeName, RevisionId},
    instance::Role,
};

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
    /// Instances that were made before this are replaced: the last `restart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_before: Option<Timestamp>,
}

impl DeploymentStatus {
    /// How many answers to requests are kept.
    pub const ANSWERS: usize = 16;
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

/// Where things stand, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Accepted; nothing runs yet.
    Pending,
    /// On the way to what is wanted.
    Progressing,
    /// Held, by a person or a step.
    Paused,
    /// Everything that is wanted is there and healthy.
    Healthy,
    /// Something failed and the controller will not mend it by itself.
    Degraded,
    /// On the way back to the stable version.
    RollingBack,
    /// Being taken down.
    Deleting,
    /// The spec cannot be followed; what runs is left alone.
    Invalid,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 8] = [
        Phase::Pending,
        Phase::Progressing,
        Phase::Paused,
        Phase::Healthy,
        Phase::Degraded,
        Phase::RollingBack,
        Phase::Deleting,
        Phase::Invalid,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Why a phase is what it is. Each reason belongs to exactly one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// No agent has joined, so nothing can be placed.
    NoAgents,
    /// No node can take an instance, and none runs.
    NoPlace,
    /// The first rollout is under way.
    FirstRollout,
    /// A new version replaces the old one, a few at a time.
    RollingUpdate,
    /// A canary is at one of its steps.
    CanaryStep,
    /// The canary is over; its version takes the rest.
    Promoting,
    /// The count has changed, or instances that were lost are being replaced.
    Scaling,
    /// Every instance is being replaced because a person asked for it.
    Restarting,
    /// Counts per version were asked for and are not reached yet.
    ManualCountsInProgress,
    /// A person asked for a pause.
    PausedByPerson,
    /// The canary is at a pause step.
    PausedAtStep,
    /// The canary is through its steps and waits for a person.
    AwaitingPromotion,
    /// The rollout failed, and `onFailure` is `pause`.
    PausedOnFailure,
    /// All that is wanted is healthy.
    AllHealthy,
    /// All that counts per version ask for is healthy.
    ManualCountsHeld,
    /// A rollout was aborted; the stable version serves.
    RolloutAborted,
    /// The first rollout made no progress for too long, and there is nothing to go back to.
    ProgressDeadlineExceeded,
    /// The way back failed too: what runs is left as it is.
    RollbackFailed,
    /// No rollout is under way, but too few instances are healthy.
    InstancesUnhealthy,
    /// The stable version takes over again after an abort.
    RollingBack,
    /// The template was set back to the stable version in mid-rollout.
    ReturningToStable,
    /// The object was marked for deletion.
    DeletionRequested,
    /// The stored spec does not parse or validate.
    InvalidSpec,
    /// `versions` names a version that is not in the history.
    VersionNotFound,
    /// The canary asks for exact weights that whole instances cannot make.
    WeightNotPossible,
}

impl Reason {
    /// The one phase that this reason belongs to.
    pub fn phase(self) -> Phase {
        match self {
            Reason::NoAgents | Reason::NoPlace => Phase::Pending,
            Reason::FirstRollout
            | Reason::RollingUpdate
            | Reason::CanaryStep
            | Reason::Promoting
            | Reason::Scaling
            | Reason::Restarting
            | Reason::ManualCountsInProgress => Phase::Progressing,
            Reason::PausedByPerson | Reason::PausedAtStep | Reason::AwaitingPromotion | Reason::PausedOnFailure => {
                Phase::Paused
            }
            Reason::AllHealthy | Reason::ManualCountsHeld => Phase::Healthy,
            Reason::RolloutAborted
            | Reason::ProgressDeadlineExceeded
            | Reason::RollbackFailed
            | Reason::InstancesUnhealthy => Phase::Degraded,
            Reason::RollingBack | Reason::ReturningToStable => Phase::RollingBack,
            Reason::DeletionRequested => Phase::Deleting,
            Reason::InvalidSpec | Reason::VersionNotFound | Reason::WeightNotPossible => Phase::Invalid,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
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
}

impl ConditionKind {
    /// Every kind of condition.
    pub const ALL: [ConditionKind; 3] =
        [ConditionKind::Available, ConditionKind::Progressing, ConditionKind::ManualCounts];
}

impl fmt::Display for ConditionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A rollout from one revision to another, from its first instance to its end. All its memory is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// What people's requests name it by; another rollout of the same revision has another id.
    pub id: String,
    /// Where it goes to.
    pub revision: RevisionId,
    /// The label of that revision.
    pub version: String,
    /// How it goes there.
    pub kind: RolloutKind,
    /// How far it is.
    pub stage: Stage,
    /// The present step of the canary, counted from 0; equal to the number of steps when all are done.
    #[serde(default)]
    pub step: u32,
    /// The steps as they were when `step` was last set; compared to the Canary's to see an edit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// When the present step or stage began.
    pub step_started_at: Timestamp,
    /// When the rollout began.
    pub started_at: Timestamp,
    /// What share of the instances the canary should have, and has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// What the analysis has seen.
    #[serde(default)]
    pub analysis: AnalysisState,
    /// When the rollout last came forward. The deadline runs from here.
    pub progress_at: Timestamp,
    /// The greatest number of available new instances so far in this stage: more of them is progress.
    #[serde(default)]
    pub progress_mark: u32,
    /// At this instant, without progress before it, the rollout has failed. None while it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Timestamp>,
    /// The hold that is on, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Why it was given up, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
}

/// How a rollout goes to its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RolloutKind {
    /// The first one: there is nothing to replace.
    First,
    /// A few at a time.
    Rolling,
    /// All old ones first.
    Recreate,
    /// By the steps of a Canary.
    Canary,
    /// Back to the stable version, because the template was set back to it in mid-rollout.
    Return,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// At the step `step` of a canary.
    Steps,
    /// The new version takes the whole count.
    Promoting,
    /// Given up: the stable version takes the whole count again.
    RollingBack,
    /// Given up, and the stable version serves alone. Stays until the template changes or a person retries.
    Aborted,
    /// Given up, and the way back failed too.
    RollbackFailed,
}

/// What share of the instances a canary should have, and what whole instances make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Weight {
    /// What the step asks for, in percent; for `setReplicas` the share of the counts.
    pub requested: u32,
    /// Canary instances that this makes.
    pub canary: u32,
    /// Stable instances beside them.
    pub stable: u32,
}

impl Weight {
    /// The share that the counts make, in percent, to the nearest: 1 of 4 is 25.
    pub fn achieved(self) -> u32 {
        let total = self.canary + self.stable;
        (self.canary * 100 + total / 2).checked_div(total).unwrap_or(0)
    }
}

/// What the analysis of a canary has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A hold: something that keeps a rollout where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// What holds.
    pub kind: HoldKind,
    /// Since when.
    pub since: Timestamp,
    /// Who asked for it, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the count has changed since: the instances follow it then, and the rollout comes no further by that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rescaled: bool,
}

/// What holds a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HoldKind {
    /// A person asked for a pause.
    Person,
    /// A failure, with `onFailure: pause`.
    Failure,
}

/// Why and when a rollout was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// What kind of cause.
    pub cause: AbortCause,
    /// The cause as a sentence, with its numbers.
    pub message: String,
    /// The step that it was at, counted from 0.
    pub step: u32,
    /// How many steps there were.
    pub steps: u32,
    /// When.
    pub at: Timestamp,
    /// Who asked for it, where somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What made a rollout be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbortCause {
    /// A person asked for it.
    Requested,
    /// Too many samples of the canary's health failed in a row.
    CanaryUnhealthy,
    /// No progress within the deadline.
    ProgressDeadlineExceeded,
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
}

/// Something that is not yet so, and what it hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "on", rename_all_fields = "camelCase")]
pub enum WaitingOn {
    /// No agent has joined.
    Agents,
    /// So many instances have no node that can take them.
    Place {
        /// How many.
        instances: u32,
        /// Why not, node by node in short.
        why: String,
    },
    /// Instances of a version are being started.
    Starting {
        /// The version.
        version: String,
        /// How many are not healthy yet.
        count: u32,
        /// Some of them, at most [`WaitingOn::EXAMPLES`].
        instances: Vec<InstanceId>,
    },
    /// An instance fails its checks or cannot run.
    Unhealthy {
        /// The version.
        version: String,
        /// The instance.
        instance: InstanceId,
        /// What its agent or its checks say.
        why: String,
    },
    /// Instances have not been healthy for `minHealthyTime` yet.
    MinHealthyTime {
        /// How many.
        instances: u32,
        /// When the last of them will have been.
        until: Timestamp,
    },
    /// The soak of a canary step.
    Soak {
        /// When it ends, if nothing flaps.
        until: Timestamp,
    },
    /// A timed pause, or an open one that ends by itself.
    Pause {
        /// When it ends.
        until: Timestamp,
    },
    /// A person: `helium canary promote`, or `helium rollout resume`.
    Person {
        /// The command that goes on.
        command: String,
    },
    /// Instances of an older version that was never stable have to go before a newer one is begun.
    Superseded {
        /// The older version.
        version: String,
        /// How many of it are left.
        instances: u32,
    },
    /// So many instances of a version are stopping.
    Stopping {
        /// The version.
        version: String,
        /// How many.
        instances: u32,
    },
    /// Too few canary instances pass to go on.
    Canary {
        /// How many pass.
        passing: u32,
        /// How many there are.
        instances: u32,
        /// How many must pass.
        needed: u32,
    },
    /// The stop of old instances waits until new ones are available: `maxUnavailable` forbids it now.
    Available {
        /// How many are available.
        available: u32,
        /// How many must stay.
        needed: u32,
    },
    /// An instance's node or catalog entry cannot be seen at the moment.
    Sight {
        /// The instance.
        instance: InstanceId,
        /// Its node.
        node: NodeName,
        /// When the node counts as lost, if it stays away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost_at: Option<Timestamp>,
    },
    /// A rollout was aborted: a new template or a retry.
    Fix {
        /// The version that was aborted.
        version: String,
    },
    /// Another Deployment or a person has to change the spec.
    Spec {
        /// What is wrong with it.
        problem: String,
    },
}

impl WaitingOn {
    /// No more instances than this are named for the same reason: a status has to stay small, and people read the first few.
    pub const EXAMPLES: usize = 8;
}
