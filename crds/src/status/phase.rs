//! Where things stand, in one word, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// The version comes from a build, and there is none yet.
    NoVersion,
    /// The first rollout is under way.
    FirstRollout,
    /// A new version replaces the old one, a few at a time.
    RollingUpdate,
    /// A canary is at one of its steps.
    CanaryStep,
    /// The canary is over; its version takes the rest.
    Promoting,
    /// The new version serves alone, and the old one is on standby until the bake is over.
    Baking,
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
    /// The canary is at a gate that is shut.
    AtGate,
    /// Samples of metrics have said neither yes nor no for too long: a person decides.
    Inconclusive,
    /// A lock, or `suspend` in the spec, lets the rollout not go on.
    Locked,
    /// The schedule lets the rollout not go on now.
    OutsideWindow,
    /// Too few instances of the stable version are healthy, and the Canary says that it waits for them.
    StableUnhealthy,
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
            Reason::NoAgents | Reason::NoPlace | Reason::NoVersion => Phase::Pending,
            Reason::FirstRollout
            | Reason::RollingUpdate
            | Reason::CanaryStep
            | Reason::Promoting
            | Reason::Baking
            | Reason::Scaling
            | Reason::Restarting
            | Reason::ManualCountsInProgress => Phase::Progressing,
            Reason::PausedByPerson
            | Reason::PausedAtStep
            | Reason::AtGate
            | Reason::Inconclusive
            | Reason::Locked
            | Reason::OutsideWindow
            | Reason::StableUnhealthy
            | Reason::AwaitingPromotion
            | Reason::PausedOnFailure => Phase::Paused,
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
