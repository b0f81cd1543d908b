//! What happened to an object lately: a bounded list under one key.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Things go as they should.
    #[default]
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// How bad it is.
    pub severity: Severity,
    /// One word, in capitals and small letters: one of [`EventReason`], as text, since what an older or newer Helium wrote is kept too.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Defines the reasons, each with its meaning.
macro_rules! reasons {
    ($($variant:ident: $meaning:literal,)*) => {
        /// Why there is an event: every reason that Helium tells, and no other.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum EventReason {
            $(#[doc = $meaning] $variant,)*
        }

        impl EventReason {
            /// Every reason.
            pub const ALL: &[EventReason] = &[$(EventReason::$variant,)*];

            /// The word that an event bears.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(EventReason::$variant => stringify!($variant),)*
                }
            }

            /// What it means, as a sentence.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(EventReason::$variant => $meaning,)*
                }
            }
        }
    };
}

reasons! {
    RolloutStarted: "A rollout to another version has begun.",
    RolloutSuperseded: "The template has changed in mid-rollout; another rollout takes over.",
    RolloutComplete: "The new version serves alone.",
    RolloutPaused: "A person, or a failure under `onFailure: pause`, has paused a rollout.",
    RolloutHeld: "A lock, the schedule, a gate or an ailing stable version holds a rollout.",
    RolloutResumed: "A rollout goes on after a pause.",
    RolloutAborted: "A rollout was given up; the stable version takes over again.",
    RollbackComplete: "After an abort the stable version serves alone again.",
    RollbackFailed: "The way back has failed too; what runs is left as it is.",
    ProgressDeadlineExceeded: "The first rollout has made no progress for too long.",
    CanaryStepDone: "A step of a canary is done.",
    CanaryStepsEdited: "The steps of a canary were edited while it is under way.",
    CanaryPromoted: "A canary has passed its steps; its version takes the rest.",
    GatePassed: "A gate was shut for too long, and the canary goes on as `onTimeout` says.",
    InstancesMade: "Instances of a version were made.",
    InstancesServe: "Instances serve that were on standby.",
    InstancesWithdrawn: "Instances serve no more, and run on: on standby.",
    BakeStarted: "The new version serves alone, and the old one is on standby for the time of the bake.",
    InstanceLost: "The node of an instance has been away for too long.",
    Locked: "A person has locked a Deployment.",
    Unlocked: "A person has unlocked a Deployment.",
    LockEnded: "A lock has ended by itself.",
    ManualCounts: "Counts by hand have ended a rollout.",
    RestartRequested: "A person has asked for every instance to be replaced.",
    RequestRefused: "What a person has asked for cannot be done.",
    InvalidSpec: "What is stored cannot be followed.",
    VersionNotFound: "`versions` names a version that is not in the history.",
    BuildFound: "A HydraJob has a newer build; whoever takes its version from it goes on to that.",
    BuildGone: "The newest build of a HydraJob is no more, or has failed after all; an older one takes its place.",
    JobNotFollowed: "A HydraJob cannot be followed: Hydra does not answer, has nothing to take, or the spec is wrong.",
    JobFollowed: "A HydraJob that could not be followed can be followed again.",
    WeightNotPossible: "The canary asks for exact weights that whole instances cannot make.",
}

impl fmt::Display for EventReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The last events of an object, oldest first, at most [`EventLog::LIMIT`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventLog {
    /// The events, oldest first.
    pub events: Vec<Event>,
}

impl EventLog {
    /// How many events are kept.
    pub const LIMIT: usize = 64;

    /// Adds events and drops the oldest beyond the limit.
    pub fn extend(&mut self, events: impl IntoIterator<Item = Event>) {
        self.events.extend(events);
        let surplus = self.events.len().saturating_sub(Self::LIMIT);
        self.events.drain(..surplus);
    }
}
