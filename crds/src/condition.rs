//! Conditions: what an agent says of its node or of an instance in one word each, whether it is so, and since when.
//!
//! A condition is as old as its `status`, not as its words: what fails for another reason fails still.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence, where there is more to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When `status` last changed.
    pub since: Timestamp,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can tell.
    Unknown,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionKind {
    /// An instance serves, or a node has joined and does what it is told.
    Ready,
    /// Of a node: the local Consul agent, or the servers behind it, have answered the last call. Of an instance: the calls that register it are
    /// answered; there is none while there is nothing wrong.
    ConsulReachable,
    /// What the node is to run can be read and believed.
    AssignmentsKnown,
    /// The package of the instance is in place.
    PackageReady,
    /// Its files are those that its values and templates make now.
    ConfigValid,
    /// It is in Consul as it should be.
    Registered,
    /// The machine keeps the limits of its template.
    LimitsHold,
    /// Its process ends again and again, or cannot be started.
    CrashLoop,
    /// It leads its service.
    Leader,
    /// Somebody has taken it out of service for a while.
    Maintenance,
    /// One that a newer agent knows.
    #[serde(other)]
    Other,
}

/// The reasons that others than the agent look at.
pub mod reason {
    /// Of `PackageReady`: the last try to bring the package was in vain.
    pub const PACKAGE_FAILED: &str = "PackageFailed";
    /// Of `ConfigValid`: the last try to make the files was in vain.
    pub const CONFIG_INVALID: &str = "ConfigInvalid";
    /// Of `Registered`: Consul refuses it.
    pub const REFUSED: &str = "Refused";
    /// Of `Maintenance`: the instance, for itself.
    pub const ASKED: &str = "Asked";
    /// Of `Maintenance`: the node, with all that is on it.
    pub const NODE_ASKED: &str = "NodeAsked";
}

impl Condition {
    /// Whether a person should know of it: it is not as it should be, and that is more than a step on the way.
    ///
    /// That an instance is not `Ready` follows from something else that is told.
    pub fn is_trouble(&self) -> bool {
        use ConditionKind as Kind;
        let (holds, fails) = (self.status == ConditionStatus::True, self.status == ConditionStatus::False);
        match self.kind {
            Kind::CrashLoop | Kind::Maintenance => holds,
            Kind::ConsulReachable | Kind::AssignmentsKnown | Kind::ConfigValid | Kind::LimitsHold => fails,
            Kind::PackageReady => fails && self.reason == reason::PACKAGE_FAILED,
            Kind::Registered => fails && self.reason == reason::REFUSED,
            Kind::Ready | Kind::Leader | Kind::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: ConditionKind, status: ConditionStatus, reason: &str) -> Condition {
        Condition { kind, status, reason: reason.to_owned(), message: String::new(), since: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn what_is_on_its_way_is_no_trouble_and_what_was_in_vain_is() {
        use ConditionStatus::{False, True, Unknown};
        let is = |kind, status, reason| condition(kind, status, reason).is_trouble();
        assert!(!is(ConditionKind::PackageReady, False, "Fetching"));
        assert!(is(ConditionKind::PackageReady, False, reason::PACKAGE_FAILED));
        assert!(!is(ConditionKind::Registered, False, "Absent"));
        assert!(is(ConditionKind::Registered, False, reason::REFUSED));
        assert!(!is(ConditionKind::ConfigValid, Unknown, "NotRendered"));
        assert!(!is(ConditionKind::CrashLoop, False, "Ended"));
        assert!(is(ConditionKind::Maintenance, True, reason::ASKED));
    }

    #[test]
    fn a_condition_that_only_a_newer_agent_knows_is_read_and_is_no_trouble() {
        let text = r#"{"type":"DiskFull","status":"False","reason":"Full","since":"2026-03-01T12:00:00Z"}"#;
        let read: Condition = serde_json::from_str(text).unwrap();
        assert_eq!((read.kind, read.is_trouble()), (ConditionKind::Other, false));
    }
}
