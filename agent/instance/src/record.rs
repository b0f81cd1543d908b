//! The local record of one instance: all that its agent must remember over a crash.
//!
//! Every timer of the [machine](super::machine) is an instant in here, none lives in memory.

use std::collections::{BTreeMap, BTreeSet};

use helium_crds::instance::{Assignment, InstancePhase};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    checks::PackageCheck,
    hooks::Hook,
    process::{Group, ProcessIdentity},
};

/// All that the agent remembers of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The last assignment that was seen. It goes on to hold while Consul is away, or the assignment is missing.
    pub assignment: Assignment,
    /// The number of each port, by name; it is kept over restarts.
    #[serde(default)]
    pub ports: BTreeMap<String, u16>,
    /// The process that was started last, until its end has been noted.
    #[serde(default)]
    pub process: Option<ProcessIdentity>,
    /// When that process was started.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// How often it was started again after it had ended by itself.
    #[serde(default)]
    pub restarts: u32,
    /// How often in a row it ended, or could not be started, without having run long enough to be called stable.
    #[serde(default)]
    pub failures: u32,
    /// Not to be started before this instant.
    #[serde(default)]
    pub next_start: Option<Timestamp>,
    /// How far the stop is, once one has begun.
    #[serde(default)]
    pub stopping: Option<Stopping>,
    /// When Consul had been away for longer than the instance may run without it, until it is known to have answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<Timestamp>,
    /// What a start needs of the package is done, and no start has come of it yet.
    #[serde(default)]
    pub prepared: bool,
    /// The hook `init`, which runs once in the life of an instance, has run.
    #[serde(default)]
    pub initialised: bool,
    /// The hooks that the package has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hooks: BTreeSet<Hook>,
    /// The checks that the package brings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<PackageCheck>,
    /// When the hook `post-start` is due, until it has run.
    #[serde(default)]
    pub post_start_at: Option<Timestamp>,
    /// Since when the hook `post-stop` is due: a process has ended, and it has not run since.
    #[serde(default)]
    pub post_stop_at: Option<Timestamp>,
    /// The control group of its process, noted before it is made and until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Limits that do not hold for its process, by the names of their fields, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unheld: BTreeMap<String, String>,
    /// How many processes of its last group were killed for lack of memory; until its end is noted.
    #[serde(skip)]
    pub memory_kills: u64,
    /// Why the process runs with files that were rendered before, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// Whether it leads its service, as far as this run of the agent knows.
    #[serde(skip)]
    pub leads: bool,
    /// Why it is in maintenance, if it is.
    #[serde(skip)]
    pub maintenance: Option<String>,
    /// The phase that is reported.
    pub phase: InstancePhase,
    /// When that phase was entered.
    pub since: Timestamp,
    /// The words that go with the phase.
    #[serde(default)]
    pub message: Option<String>,
}

/// How far a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopping {
    /// When it began: the instance is taken out of Consul from here on.
    pub since: Timestamp,
    /// When it was out of Consul; the time that balancers have to notice runs from here. Only noted where they have any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<Timestamp>,
    /// The hook `drain` has run.
    #[serde(default)]
    pub drained: bool,
    /// When the hook `pre-stop` began, of an instance that has one; the grace period runs from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<Timestamp>,
    /// The hook `pre-stop` has run.
    #[serde(default)]
    pub pre_stopped: bool,
    /// When the stop signal was sent; the grace period runs from here if it does not yet.
    #[serde(default)]
    pub signalled: Option<Timestamp>,
}

impl Stopping {
    /// A stop that begins now.
    pub fn begun(now: Timestamp) -> Self {
        Self { since: now, out: None, drained: false, closing: None, pre_stopped: false, signalled: None }
    }
}

impl Record {
    /// The record of an instance that has just been assigned.
    pub fn admit(assignment: Assignment, now: Timestamp) -> Self {
        Self {
            assignment,
            ports: BTreeMap::new(),
            process: None,
            started_at: None,
            restarts: 0,
            failures: 0,
            next_start: None,
            stopping: None,
            cut_off: None,
            prepared: false,
            initialised: false,
            hooks: BTreeSet::new(),
            checks: Vec::new(),
            post_start_at: None,
            post_stop_at: None,
            group: None,
            unheld: BTreeMap::new(),
            memory_kills: 0,
            behind: None,
            leads: false,
            maintenance: None,
            phase: InstancePhase::Starting,
            since: now,
            message: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn an_instance_that_was_never_cut_off_has_the_record_that_it_always_had() {
        let record = Record::admit(testing::assignment("hello-0"), testing::instant(0));
        let mut json = serde_json::to_value(&record).unwrap();
        assert_eq!(json.get("cutOff"), None);
        assert_eq!(serde_json::from_value::<Record>(json.clone()).unwrap(), record);
        json["cutOff"] = "2026-01-02T03:04:05Z".into();
        assert!(serde_json::from_value::<Record>(json).unwrap().cut_off.is_some());
    }
}
