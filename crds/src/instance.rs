//! One instance in three records: what the controller intends (`inst/`), what its node's agent is told (`assign/`), and what the
//! agent says of it (`report/`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    deployment::StopSignal,
    ids::{InstanceId, NodeName, ObjectKey, RevisionId},
    job::{JobReport, MAIN},
    period::{self, Period},
    revision::short_hash,
    template::Template,
};

/// What is wanted of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Desired {
    /// Keep it running.
    Run,
    /// Stop it, then report `stopped`.
    Stop,
}

/// The role of an instance, which it bears as a tag in Consul.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Of the version that serves.
    Stable,
    /// Of the version that is being tried out.
    Canary,
    /// Of the version that is being tried out, and on standby: it runs, and serves nobody yet.
    Preview,
    /// Of the version that served, and on standby: it runs, and serves nobody any more, for an instant way back.
    Standby,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 4] = [Role::Stable, Role::Canary, Role::Preview, Role::Standby];

    /// The tag in Consul.
    pub fn tag(self) -> &'static str {
        match self {
            Role::Stable => "stable",
            Role::Canary => "canary",
            Role::Preview => "preview",
            Role::Standby => "standby",
        }
    }

    /// Whether it runs without serving anybody.
    pub fn is_standby(self) -> bool {
        matches!(self, Role::Preview | Role::Standby)
    }

    /// The role on standby of the same version, or the one that serves.
    #[must_use]
    pub fn on_standby(self, standby: bool) -> Self {
        match (self, standby) {
            (Role::Stable | Role::Standby, false) => Role::Stable,
            (Role::Stable | Role::Standby, true) => Role::Standby,
            (Role::Canary | Role::Preview, false) => Role::Canary,
            (Role::Canary | Role::Preview, true) => Role::Preview,
        }
    }
}

/// `inst/`: the controller's own record of an instance; the intent that was written before anything was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// The instance's id.
    pub id: InstanceId,
    /// The Deployment that it belongs to.
    pub deployment: ObjectKey,
    /// The uid of that Deployment, so that a re-created one of the same name does not take over foreign instances.
    pub uid: String,
    /// The revision that it runs.
    pub revision: RevisionId,
    /// The label of that revision.
    pub version: String,
    /// The node that it was placed on.
    pub node: NodeName,
    /// Run or stop.
    pub desired: Desired,
    /// The role, which becomes a tag in Consul.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when all its checks are passing without a break, as the controller has seen it; none while they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<Timestamp>,
    /// The highest `ModifyIndex` of its checks when `healthy_since` was written. Unchanged, it proves that nothing flapped unseen.
    #[serde(default)]
    pub check_index: u64,
    /// Whether it has ever been healthy: a critical check of one that has not may simply not have run yet.
    #[serde(default)]
    pub has_been_healthy: bool,
    /// When it was let serve, of one that was on standby before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves_since: Option<Timestamp>,
    /// Since when its node's heartbeat has been absent, as a trusted view showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_missing_since: Option<Timestamp>,
}

/// `assign/`: the same instance for the agent of its node, self-contained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The instance's id.
    pub id: InstanceId,
    /// The Deployment that it belongs to.
    pub deployment: ObjectKey,
    /// The uid of that Deployment.
    pub uid: String,
    /// The revision that it runs.
    pub revision: RevisionId,
    /// What to run, resolved.
    pub template: Template,
    /// Run or stop. A missing assignment means: keep running, and report.
    pub desired: Desired,
    /// The role, which becomes a tag in Consul.
    pub role: Role,
    /// How it is registered in Consul.
    pub service: ServiceEntry,
    /// The signal that asks it to stop.
    pub stop_signal: StopSignal,
    /// How long it goes on after it was taken out of Consul, before the signal.
    #[serde(default, skip_serializing_if = "period::is_none")]
    pub drain: Period,
    /// How long it may take to stop before it is killed.
    pub stop_grace_period: Period,
    /// After so long without Consul it is stopped, until Consul is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after_disconnect: Option<Period>,
    /// When the instance was made.
    pub created_at: Timestamp,
}

/// How an instance is registered in Consul.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntry {
    /// The service's name.
    pub name: String,
    /// The service's id on its Consul node: `helium-<instance id>`.
    pub id: String,
    /// Tags, the role among them.
    pub tags: Vec<String>,
    /// Meta: the user's, and Helium's own `helium-*`.
    pub meta: BTreeMap<String, String>,
    /// Its weight while it passes, 1 to 65535; none leaves Consul's own, which is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// `report/`: what the agent of a node says of one instance. It is written only when something changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The instance's id.
    pub id: InstanceId,
    /// The Deployment that it belongs to.
    pub deployment: ObjectKey,
    /// The node whose agent speaks.
    pub node: NodeName,
    /// How far the instance is.
    pub phase: InstancePhase,
    /// Why, in words, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The address that it is registered under; empty before it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The port numbers that it was given, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// The process id, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How often it was started again after it ended by itself.
    #[serde(default)]
    pub restarts: u32,
    /// Checks that have run and are failing, with the head of their output: `GET /health -> 500`.
    /// Consul syncs a check's output late, its agent knows it at once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failing: BTreeMap<String, String>,
    /// The names of the checks that its package brings, beside those of the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// Limits of the template's `resources` that do not hold on this node, by the names of their fields, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unheld: BTreeMap<String, String>,
    /// Its jobs, by name; none while nothing is known of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<String, JobReport>,
    /// Its conditions. Of themselves they are written at most a few times a minute, so that they may be a little old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// When the phase was entered.
    pub since: Timestamp,
}

impl Report {
    /// Its conditions that a person should know of.
    pub fn troubles(&self) -> impl Iterator<Item = &Condition> {
        self.conditions.iter().filter(|condition| condition.is_trouble())
    }

    /// Whether it says the same as another, whatever the conditions of both are.
    pub fn says_as_much_as(&self, other: &Self) -> bool {
        let bare = |report: &Self| Self { conditions: Vec::new(), ..report.clone() };
        bare(self) == bare(other)
    }

    /// What people should know of its jobs, one line each: what is wrong with them, and what the main process waits for. What a failing check says
    /// already is not said again.
    pub fn words_of_jobs(&self) -> impl Iterator<Item = String> {
        let troubles = self.jobs.iter().filter_map(|(name, job)| job.trouble(name));
        let untold = troubles.filter(|words| !self.failing.values().any(|failing| failing.contains(words.as_str())));
        let main = self.jobs.get(MAIN).and_then(|main| Some(format!("{MAIN} {}", main.message.as_ref()?)));
        main.into_iter().chain(untold)
    }
}

/// What a report says of a check at whose address no process listens, after the question: `GET /health -> connection refused`.
pub const NOBODY_LISTENS: &str = "connection refused";

/// Whether what a report says of a failing check is that nobody listens: an instance that has never been healthy may only be starting.
pub fn nobody_listens(said: &str) -> bool {
    said.ends_with(NOBODY_LISTENS)
}

/// How far an instance is, by the word of its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InstancePhase {
    /// Its package is being fetched.
    Fetching,
    /// Its package is being installed.
    Installing,
    /// Its process is being started, or waits to be started again.
    Starting,
    /// Its process runs and is registered.
    Running,
    /// Its process has ended because that was wanted.
    Stopped,
    /// It cannot be run; the message says why. The agent goes on trying, slower and slower.
    Failed,
}

/// Consul's longest service id on this side: DNS labels end at 63 characters.
const ID_LENGTH: usize = 63;

/// The id of the `ordinal`-th instance of a Deployment: name, ordinal, and eight hex digits of a hash over uid, revision and
/// ordinal. `("default/hello", uid, r1-ab.., 3)` gives `hello-3-5f0c9a1e`. The same arguments give the same id, always.
pub fn instance_id(deployment: &ObjectKey, uid: &str, revision: &RevisionId, ordinal: u64) -> InstanceId {
    let hash = short_hash(&format!("{uid}\n{revision}\n{ordinal}"), 8);
    let tail = format!("-{ordinal}-{hash}");
    let mut head = deployment.name.clone();
    head.truncate(ID_LENGTH - tail.len());
    InstanceId::new(format!("{}{tail}", head.trim_end_matches('-')))
}

/// The service id of an instance on its Consul node.
pub fn service_id(instance: &InstanceId) -> String {
    format!("helium-{instance}")
}

/// The name of the check by which an instance on standby is kept out of whatever asks Consul for those that pass: Helium's own, critical as
/// long as it is there. No check of a template has such a name.
pub const STANDBY_CHECK: &str = ".standby";

/// The id in Consul of one check of an instance; unique on the Consul node, since the service id is.
pub fn check_id(instance: &InstanceId, check: &str) -> String {
    format!("{}:{check}", service_id(instance))
}
