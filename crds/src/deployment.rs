//! The kind Deployment: a number of instances of a template, and how they are replaced.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    object::Object,
    period::{self, Period},
    quantity::{Amount, Percent},
    schedule::Schedule,
    template::Template,
    version_from::VersionFrom,
};

/// The annotation by which a person says of one revision whether the rollout to it takes the steps of the Canary: `skip <revision>` or
/// `take <revision>`. It says nothing of any other, so it need not be taken out.
pub const STEPS_ANNOTATION: &str = "helium.dev/steps";

/// The annotation that says why a person changed the object last.
pub const CAUSE_ANNOTATION: &str = "helium.dev/change-cause";

/// Keeps a number of instances of a template running.
pub type Deployment = Object<DeploymentSpec>;

/// What is wanted of a Deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend(
    "if" = { "not": { "required": ["versionFrom"] } },
    "then" = { "properties": { "template": { "description": "It says its version.", "required": ["version"] } } },
    "else" = { "properties": { "template": { "description": "It says none.", "not": { "required": ["version"] } } } }
))]
pub struct DeploymentSpec {
    /// How many instances are wanted. Default 1, where `versions` is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000), extend("x-default" = "1, where `versions` is not given"))]
    pub replicas: Option<u32>,
    /// In place of `replicas`: several versions at chosen counts. While it is given, the Canary of the same name is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub versions: Option<Vec<VersionCount>>,
    /// The name of the service in Consul. Default: the object's name, with `-<namespace>` appended outside `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
        extend(
            "x-allowed" = "at most 63 of `a-z`, `0-9` and `-`, with a letter or digit at both ends",
            "x-default" = "the object's name, with `-<namespace>` appended outside `default`"
        )
    )]
    pub service: Option<String>,
    /// Tags that every instance bears in Consul, beside the role (`stable` or `canary`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    pub tags: Vec<String>,
    /// Names and values that every instance bears as service meta in Consul, beside Helium's own `helium-*`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 58,
        "propertyNames" = { "pattern": r"^[A-Za-z0-9_-]{1,128}$", "x-allowed": "at most 128 letters, digits, `_` and `-`" },
        "additionalProperties" = { "type": "string", "maxLength": 512 }
    ))]
    pub meta: BTreeMap<String, String>,
    /// What one instance is. A changed template is a new revision, and a new revision is a rollout.
    pub template: Template,
    /// In place of `version` in the template: the version is that of a build. Default: the template says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the template says it"))]
    pub version_from: Option<VersionFrom>,
    /// How instances of an old revision are replaced by those of a new one. Default: rolling.
    #[serde(default)]
    pub strategy: Strategy,
    /// How long an instance must have been healthy before it counts as available. Default `10s`.
    #[serde(default = "default_min_healthy_time")]
    #[schemars(extend("x-max" = "1d"))]
    pub min_healthy_time: Period,
    /// How long a rollout may go without progress, pauses and soaks excluded, before it has failed. Default `10m`.
    #[serde(default = "default_progress_deadline")]
    #[schemars(extend("x-min" = "1s", "x-max" = "7d"))]
    pub progress_deadline: Period,
    /// What happens to a rollout that has failed. Default `rollback`.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// When a rollout may start or come forward. Default: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "at any time"))]
    pub schedule: Option<Schedule>,
    /// While it is given, no rollout starts or comes forward; one that fails still goes back. Default: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<Suspend>,
    /// A rollout back to one of the last versions takes no steps of the Canary. Default: every rollout takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "every rollout takes them"))]
    pub rollback_window: Option<RollbackWindow>,
    /// The signal that asks an instance to stop. Default `TERM`.
    #[serde(default)]
    pub stop_signal: StopSignal,
    /// How long an instance that was taken out of Consul goes on before it is asked to stop, so that balancers notice first. Default `0s`.
    #[serde(default, skip_serializing_if = "period::is_none")]
    #[schemars(extend("x-max" = "1h", "x-default" = "`0s`"))]
    pub drain: Period,
    /// How long an instance may take to stop before it is killed. Default `30s`.
    #[serde(default = "default_stop_grace_period")]
    #[schemars(extend("x-max" = "1h"))]
    pub stop_grace_period: Period,
    /// After its agent has had no answer from Consul for so long, an instance is stopped until there is one again: for what must not run where nobody can see
    /// it. Default: it runs on, however long Consul is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "10s", "x-default" = "it runs on"))]
    pub stop_after_disconnect: Option<Period>,
    /// How many past revisions are kept to return to. Default 10.
    #[serde(default = "default_revision_history_limit")]
    #[schemars(range(min = 0, max = 100))]
    pub revision_history_limit: u32,
}

/// Why and until when no rollout starts or comes forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Suspend {
    /// Why, for people.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
    /// The instant at which it ends by itself, such as `2026-12-24T18:00:00Z`. Default: when the field is taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "when the field is taken out"))]
    pub until: Option<Timestamp>,
}

/// Which rollouts back take no steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackWindow {
    /// Those to a revision with fewer than this many others between it and the stable one in the history.
    #[schemars(range(min = 1, max = 100))]
    pub revisions: u32,
}

/// One version at a chosen count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VersionCount {
    /// A version label, which means its newest revision, or `label@hash`, which picks the revision whose hash so begins.
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}(@[0-9a-f]{4,64})?$"),
        extend("x-allowed" = "a version label, or `label@` and at least four hex digits of a revision's hash")
    )]
    pub version: String,
    /// How many instances of it are wanted.
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: u32,
}

/// How instances of an old revision are replaced by those of a new one. Exactly one of `rolling` and `recreate` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// A few at a time, within the bounds of `maxSurge` and `maxUnavailable`.
    Rolling(Rolling),
    /// All old instances are stopped before the first new one starts.
    Recreate(Recreate),
}

/// The bounds of a rolling update. They may not both be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rolling {
    /// How many instances beyond the wanted count there may be, as a count or a share rounded up. Default `25%`.
    #[serde(default = "default_max_surge")]
    pub max_surge: Amount,
    /// How many of the wanted count may be unhealthy, as a count or a share rounded down. Default 0.
    #[serde(default = "default_max_unavailable")]
    pub max_unavailable: Amount,
}

/// Recreate has no settings yet: `recreate: {}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recreate {}

/// What happens to a rollout that has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// The stable version takes over again.
    #[default]
    Rollback,
    /// Everything stays as it is until a person decides.
    Pause,
}

/// A signal that asks a process to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// SIGTERM.
    #[default]
    Term,
    /// SIGINT.
    Int,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

impl Default for Strategy {
    fn default() -> Self {
        Strategy::Rolling(Rolling::default())
    }
}

impl Default for Rolling {
    fn default() -> Self {
        Self { max_surge: default_max_surge(), max_unavailable: default_max_unavailable() }
    }
}

impl DeploymentSpec {
    /// How many instances are wanted in all.
    pub fn wanted(&self) -> u32 {
        match &self.versions {
            Some(versions) => versions.iter().map(|version| version.replicas).sum(),
            None => self.replicas.unwrap_or(1),
        }
    }
}

/// The name of a Deployment's service in Consul.
pub fn service_name(deployment: &Deployment) -> String {
    let metadata = &deployment.metadata;
    match &deployment.spec.service {
        Some(service) => service.clone(),
        None if metadata.namespace == crate::object::DEFAULT_NAMESPACE => metadata.name.clone(),
        None => format!("{}-{}", metadata.name, metadata.namespace),
    }
}

const fn default_max_surge() -> Amount {
    match Percent::new(25) {
        Some(share) => Amount::Share(share),
        None => Amount::Count(1),
    }
}

const fn default_max_unavailable() -> Amount {
    Amount::Count(0)
}

fn default_min_healthy_time() -> Period {
    Period::from_secs(10)
}

fn default_progress_deadline() -> Period {
    Period::from_secs(600)
}

fn default_stop_grace_period() -> Period {
    Period::from_secs(30)
}

fn default_revision_history_limit() -> u32 {
    10
}
