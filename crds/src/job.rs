//! Jobs beside the main process of an instance, and the conditions that start them, as people write them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    deployment::StopSignal,
    period::Period,
    template::{Driver, Template},
};

/// The name by which conditions speak of the process of `exec`. No job has it.
pub const MAIN: &str = "main";

/// The name of the check in Consul by which an instance with jobs is critical until its main process runs, and while a job that it requires is
/// not well. No check of a template has such a name.
pub const JOBS_CHECK: &str = ".jobs";

/// A command that runs beside the main process of an instance, started by what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Job {
    /// The program and its arguments; no shell is involved. `${NAME}` is replaced as in the command of `exec`.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Environment variables of this job alone, beside those of the template and `HELIUM_JOB`, its name. Values may use `${NAME}` as `command` does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {
        "pattern": r"^[A-Za-z_][A-Za-z0-9_]{0,127}$",
        "x-allowed": "letters, digits and `_`, not beginning with a digit"
    }))]
    pub env: BTreeMap<String, String>,
    /// The working directory; `${NAME}` is replaced as in `command`. Default: that of `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "that of `exec`"))]
    pub cwd: Option<String>,
    /// Whom it runs as: `user` or `user:group`. The agent has to be root for that. Default: the user of `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^[a-z_][a-z0-9_-]{0,31}(:[a-z_][a-z0-9_-]{0,31})?$"),
        extend("x-allowed" = "`user` or `user:group`", "x-default" = "the user of `exec`")
    )]
    pub user: Option<String>,
    /// What has to have happened before it starts; all of it, in any order. Default: it starts with the instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-default" = "it starts with the instance"))]
    pub when: Vec<Condition>,
    /// How often what it waits for starts it. Default `once`.
    #[serde(default, skip_serializing_if = "StartKind::is_once")]
    pub start: StartKind,
    /// Runs it again at this interval, from its first start on. A run that still goes on then is let be, and that instant is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "100ms"))]
    pub every: Option<Period>,
    /// How long it waits for what is in `when`; after that it never starts, and has failed. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1s", "x-default" = "for ever"))]
    pub wait_timeout: Option<Period>,
    /// Whether it is started again after it has ended, however it did. Default `never`.
    #[serde(default, skip_serializing_if = "Restart::is_never")]
    pub restart: Restart,
    /// How often it is started again at most, of one that is to be. Default: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000), extend("x-default" = "without end"))]
    pub max_restarts: Option<u32>,
    /// How long is waited between two of these starts.
    #[serde(default, skip_serializing_if = "JobBackoff::is_default")]
    pub backoff: JobBackoff,
    /// How long one run may take; after that it is stopped, and has failed. Default: as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "100ms", "x-default" = "as long as it likes"))]
    pub run_limit: Option<Period>,
    /// How it is seen whether the job is well, for those that wait for it to be healthy. Default: nobody looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "nobody looks"))]
    pub check: Option<JobCheck>,
    /// Whether its process says by itself when it is healthy: by `READY=1` to the socket in `NOTIFY_SOCKET`, as `sd_notify` does. Default `false`.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("default" = false))]
    pub notify: bool,
    /// Whether the instance is critical in Consul while this job is in a crash loop, has failed, or fails its check. Default `false`.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("default" = false))]
    pub required: bool,
    /// The signal that asks it to stop. Default `TERM`.
    #[serde(default, skip_serializing_if = "is_term")]
    pub stop_signal: StopSignal,
    /// How long it may take to stop before it is killed, within the `stopGracePeriod` of the Deployment, which bounds all. Default `5s`.
    #[serde(default = "default_grace", skip_serializing_if = "is_default_grace")]
    #[schemars(extend("x-max" = "1h"))]
    pub stop_grace_period: Period,
}

/// How often what a job waits for starts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StartKind {
    /// The first time.
    #[default]
    Once,
    /// Each time. What comes while it runs starts it once more when it has ended.
    Each,
}

/// Whether a job is started again after it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Restart {
    /// No.
    #[default]
    Never,
    /// Yes, after a wait that grows while its runs are short.
    Always,
}

/// The wait before a restart: doubled each time while the runs are shorter than 10 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobBackoff {
    /// The first wait. Default `100ms`.
    #[serde(default = "default_initial")]
    #[schemars(extend("x-min" = "100ms", "x-max" = "1h"))]
    pub initial: Period,
    /// The longest wait. Default `30s`.
    #[serde(default = "default_max")]
    #[schemars(extend("x-min" = "100ms", "x-max" = "1d"))]
    pub max: Period,
}

/// A command that looks at a job while it runs; exit status 0 is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobCheck {
    /// The program and its arguments; `${NAME}` is replaced as in the command of the job, in whose environment it runs.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// How often it runs. Default `10s`.
    #[serde(default = "default_interval")]
    #[schemars(extend("x-min" = "100ms", "x-max" = "1h"))]
    pub interval: Period,
    /// How long one run may take. Default `5s`.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-min" = "10ms", "x-max" = "10m"))]
    pub timeout: Period,
}

/// Something that has to have happened. Exactly one of `job`, `service`, `keys` and `signal` is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["job"] }, { "required": ["service"] }, { "required": ["keys"] }, { "required": ["signal"] }
]))]
pub struct Condition {
    /// To a job of this instance; `main` is the process of `exec`, which is healthy while all checks of the template pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^[a-z][a-z0-9-]{0,31}$"),
        extend("x-allowed" = "at most 32 of `a-z`, `0-9` and `-`, beginning with a letter")
    )]
    pub job: Option<String>,
    /// To a service in Consul; it is healthy while an instance of it passes, and changes when the passing ones do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"),
        extend("x-allowed" = "the name of a service in Consul")
    )]
    pub service: Option<String>,
    /// To the keys in Consul below this prefix, of which one changes, comes or goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 512),
        regex(pattern = r"^[^/\s][^\s]*$"),
        extend("x-allowed" = "a prefix of keys without blanks that does not begin with `/`")
    )]
    pub keys: Option<String>,
    /// This signal was sent to the instance. It is passed on to the main process all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<JobSignal>,
    /// Only instances of the service that have this tag count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub tag: Option<String>,
    /// What happened to the job or service. Keys can only change, and of a signal there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<Happening>,
}

/// What can happen to a job or a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Happening {
    /// It is well: the check of the job passes, or it has said `READY=1`; some instance of the service passes.
    Healthy,
    /// It is not well any more.
    Unhealthy,
    /// Other instances of the service pass than before. The first ones that are seen are a change, too.
    Changed,
    /// The job has ended with status 0.
    ExitedSuccess,
    /// The job has ended in any other way, or could not be started.
    ExitedFailed,
    /// The job is about to be stopped, or is over; it waits for those that act on that.
    Stopping,
    /// The job has stopped for good.
    Stopped,
}

/// What an agent reports of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobReport {
    /// What it does.
    pub phase: JobPhase,
    /// Why, in words, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a job does, as far as it is worth a report: a job that runs again and again is not reported at each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobPhase {
    /// It has not been started yet.
    Waiting,
    /// It runs, or it has run well and goes on to be started by what happens or at its interval.
    Running,
    /// It ends too soon again and again. It goes on to be restarted, slower and slower.
    CrashLoop,
    /// It runs, and is not healthy.
    Unhealthy,
    /// Its last run has failed.
    Failed,
    /// It is over, and its last run was well.
    Done,
}

impl JobPhase {
    /// Whether something is wrong with the job.
    pub fn is_trouble(self) -> bool {
        matches!(self, JobPhase::CrashLoop | JobPhase::Unhealthy | JobPhase::Failed)
    }
}

impl JobReport {
    /// What is wrong with the job of this name, in words: `job worker is in a crash loop: exit status 1`. None while nothing is.
    pub fn trouble(&self, name: &str) -> Option<String> {
        let state = match self.phase {
            JobPhase::CrashLoop => "is in a crash loop",
            JobPhase::Unhealthy => "is not healthy",
            JobPhase::Failed => "has failed",
            JobPhase::Waiting | JobPhase::Running | JobPhase::Done => return None,
        };
        let why = self.message.as_ref().map_or(String::new(), |why| format!(": {why}"));
        Some(format!("job {name} {state}{why}"))
    }
}

/// A signal that jobs can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobSignal {
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

impl Happening {
    /// Every one, with its name.
    pub const ALL: [(Happening, &'static str); 7] = [
        (Happening::Healthy, "healthy"),
        (Happening::Unhealthy, "unhealthy"),
        (Happening::Changed, "changed"),
        (Happening::ExitedSuccess, "exitedSuccess"),
        (Happening::ExitedFailed, "exitedFailed"),
        (Happening::Stopping, "stopping"),
        (Happening::Stopped, "stopped"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    /// Whether it can happen to a job.
    pub fn is_of_job(self) -> bool {
        self != Happening::Changed
    }

    /// Whether it can happen to a service.
    pub fn is_of_service(self) -> bool {
        matches!(self, Happening::Healthy | Happening::Unhealthy | Happening::Changed)
    }

    /// Whether only what stops tells of it.
    pub fn is_of_stop(self) -> bool {
        matches!(self, Happening::Stopping | Happening::Stopped)
    }
}

impl Template {
    /// Whether the instance is run by a supervisor of its own: it has jobs, or its main process waits for something, or says when it is ready.
    pub fn is_supervised(&self) -> bool {
        let Driver::Exec(exec) = &self.driver;
        !self.jobs.is_empty() || !exec.when.is_empty() || exec.notify
    }

    /// All conditions of the main process and of the jobs.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let Driver::Exec(exec) = &self.driver;
        exec.when.iter().chain(self.jobs.values().flat_map(|job| &job.when))
    }
}

impl StartKind {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
    fn is_once(&self) -> bool {
        *self == StartKind::Once
    }
}

impl Restart {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
    fn is_never(&self) -> bool {
        *self == Restart::Never
    }
}

impl Default for JobBackoff {
    fn default() -> Self {
        Self { initial: default_initial(), max: default_max() }
    }
}

impl JobBackoff {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn default_initial() -> Period {
    Period::from_millis(100)
}

fn default_max() -> Period {
    Period::from_secs(30)
}

fn default_interval() -> Period {
    Period::from_secs(10)
}

fn default_timeout() -> Period {
    Period::from_secs(5)
}

fn default_grace() -> Period {
    Period::from_secs(5)
}

fn is_default_grace(grace: &Period) -> bool {
    *grace == default_grace()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
pub(crate) fn is_false(flag: &bool) -> bool {
    !*flag
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_term(signal: &StopSignal) -> bool {
    *signal == StopSignal::Term
}
