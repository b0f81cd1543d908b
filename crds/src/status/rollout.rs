//! A rollout: all the memory that it has.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::AnalysisState;
use crate::{ids::RevisionId, step::Step};

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
    /// When the present weight was reached: samples of metrics are of the time since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramped_at: Option<Timestamp>,
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
    /// The new version serves alone, and the old one is on standby until `scaleDownDelay` is over and the analysis has nothing against it.
    Baking,
    /// Given up: the stable version takes the whole count again.
    RollingBack,
    /// Given up, and the stable version serves alone. Stays until the template changes or a person retries.
    Aborted,
    /// Given up, and the way back failed too.
    RollbackFailed,
}

impl Stage {
    /// Whether it still goes to its revision: at its steps, while it is promoted, and in the bake behind that.
    pub fn is_under_way(self) -> bool {
        matches!(self, Stage::Steps | Stage::Promoting | Stage::Baking)
    }
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
    /// Instances of the new version that run beside these and serve nobody yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub preview: u32,
    /// What each canary instance weighs in Consul beside stable ones of [`STABLE_WEIGHT`]; none where the counts alone make the share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_weight: Option<u32>,
}

/// What an instance weighs in Consul that is no canary, under a Canary that routes by weights.
pub const STABLE_WEIGHT: u32 = 100;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Weight {
    /// How many instances of the new version there should be, those on standby included.
    pub fn of_new(self) -> u32 {
        self.canary + self.preview
    }

    /// The share that the counts and the weights make, in percent, to the nearest: 1 of 4 is 25, and 5 where it weighs 16.
    pub fn achieved(self) -> u32 {
        let (canary, total) = self.parts();
        u32::try_from((canary * 100 + total / 2).checked_div(total).unwrap_or(0)).unwrap_or(100)
    }

    /// `1 of 4`, and with weights in Consul `1 of 4, weight 16`.
    pub fn in_words(self) -> String {
        let weighs = self.service_weight.map(|weight| format!(", weight {weight}")).unwrap_or_default();
        format!("{} of {}{weighs}", self.canary, self.canary + self.stable)
    }

    /// The canaries' part, and the whole that it is a part of.
    pub fn parts(self) -> (u64, u64) {
        let canary = u64::from(self.canary) * u64::from(self.service_weight.unwrap_or(STABLE_WEIGHT));
        (canary, canary + u64::from(self.stable) * u64::from(STABLE_WEIGHT))
    }
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
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
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
    /// Too many samples were inconclusive: a person decides.
    Inconclusive,
    /// A gate has been shut for too long, and says that a person decides then.
    Gate,
    /// A lock, or `suspend` in the spec.
    Lock,
    /// The schedule.
    Schedule,
    /// Too few instances of the stable version are healthy, and the Canary says that it waits for them.
    StableUnhealthy,
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
    /// Whether it had been promoted, and baked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub baking: bool,
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
    /// Too many samples of a metric failed.
    MetricFailed,
    /// Too many samples of a metric in a row could not be taken.
    MetricUnreadable,
    /// A step was not over within its own deadline.
    StepDeadlineExceeded,
    /// A gate stayed shut for too long.
    GateShut,
}
