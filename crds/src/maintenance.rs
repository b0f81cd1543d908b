//! Maintenance: what people have taken out of service for a while, a node with all that runs on it, or single instances.
//!
//! Nothing is stopped, moved or replaced by it. The record of a node is one key, so that a key that is missing is no word at all: the agent
//! goes on as it was told last. It ends by a record that does not name it any more.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;

/// `maintenance/<node>`: what of a node is in maintenance. Written by people; its agent makes it where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    /// The whole node, with whatever comes to run on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Mark>,
    /// Single instances.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<InstanceId, Mark>,
}

/// Who has taken something out of service, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Why, for people; not empty.
    pub reason: String,
    /// Who: `alice@laptop`.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

impl Maintenance {
    /// Why an instance is in maintenance: for itself, or with its node.
    pub fn of(&self, instance: &InstanceId) -> Option<&Mark> {
        self.instances.get(instance).or(self.node.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_in_maintenance_for_itself_or_with_its_node() {
        let mark = |reason: &str| Mark { reason: reason.to_owned(), by: "a".to_owned(), since: Timestamp::UNIX_EPOCH };
        let (one, other) = (InstanceId::from("web-0"), InstanceId::from("web-1"));
        let mut all = Maintenance { node: None, instances: [(one.clone(), mark("odd"))].into() };
        assert_eq!((all.of(&one), all.of(&other)), (Some(&mark("odd")), None));
        all.node = Some(mark("a new disk"));
        assert_eq!((all.of(&one), all.of(&other)), (Some(&mark("odd")), Some(&mark("a new disk"))));
    }

    #[test]
    fn nothing_in_maintenance_is_an_empty_record_and_not_a_missing_one() {
        assert_eq!(serde_json::to_string(&Maintenance::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Maintenance>("{}").unwrap(), Maintenance::default());
    }
}
