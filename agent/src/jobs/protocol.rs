//! What an agent and a supervisor tell each other: one JSON object a line, each the whole of what is so at that moment, so that none may be missed and
//! none comes too often. What is not known is left out, and what is not understood passed over, since the two may be of different versions.

use std::collections::BTreeMap;

use helium_crds::job::Condition;
use helium_supervisor::{JobState, JobView};
use serde::{Deserialize, Serialize};

/// What an agent tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Told {
    /// What Consul shows, by the [name](watch_name) of what is watched.
    pub(crate) watched: BTreeMap<String, Look>,
    /// Whether all checks of the instance pass; none while nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healthy: Option<bool>,
}

/// How something in Consul looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look {
    /// Words that are the same if and only if it looks the same.
    pub(crate) print: String,
    /// Whether there is any of it: a healthy instance, a key.
    pub(crate) present: bool,
}

/// What a supervisor tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct States {
    /// The main process and the jobs, by name.
    pub(crate) jobs: BTreeMap<String, JobWords>,
}

/// The state of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct JobWords {
    /// What it does; none for what this agent does not know.
    pub(crate) state: Option<Doing>,
    /// Whether it is well; none before its first check.
    pub(crate) healthy: Option<bool>,
    /// Which of its conditions have come true, in their order, while it waits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) seen: Vec<bool>,
    /// How often it was started.
    pub(crate) starts: u64,
    /// The exit code of its last run that ended.
    pub(crate) last_exit: Option<i32>,
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Doing {
    /// It waits for what starts it.
    Waiting,
    /// It runs, or is about to be started again.
    Running,
    /// It ends too soon again and again.
    CrashLoop,
    /// It waits for its next interval.
    Resting,
    /// It is about to stop.
    Stopping,
    /// It is over.
    Done,
}

impl From<&[JobView]> for States {
    fn from(jobs: &[JobView]) -> Self {
        let one = |job: &JobView| {
            let state = match job.state {
                JobState::Waiting => Doing::Waiting,
                JobState::Delayed | JobState::Running => Doing::Running,
                JobState::CrashLoop => Doing::CrashLoop,
                JobState::Resting => Doing::Resting,
                JobState::Stopping => Doing::Stopping,
                JobState::Done => Doing::Done,
            };
            // Of one that runs this would be told again and again, and nobody asks.
            let seen = if state == Doing::Waiting && job.starts == 0 { job.seen.clone() } else { Vec::new() };
            let JobView { healthy, starts, last_exit, .. } = *job;
            let words = JobWords { state: Some(state), healthy, seen, starts, last_exit };
            (job.name.clone(), words)
        };
        Self { jobs: jobs.iter().map(one).collect() }
    }
}

/// The name of what a condition watches in Consul, if it does.
///
/// Example: `service db v2`, `keys flags/`.
pub(crate) fn watch_name(condition: &Condition) -> Option<String> {
    match (&condition.service, &condition.tag, &condition.keys) {
        (Some(service), Some(tag), _) => Some(format!("service {service} {tag}")),
        (Some(service), None, _) => Some(format!("service {service}")),
        (None, _, Some(keys)) => Some(format!("keys {keys}")),
        (None, _, None) => None,
    }
}
