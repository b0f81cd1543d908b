//! What one instance is: the driver that runs it, its environment, ports and checks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    job::{Condition, Job, is_false},
    package::{ConfigUpdate, Package, SecretSource, Templates},
    period::Period,
    resources::Resources,
};

/// What one instance of a Deployment is. A changed template is a new revision, and a new revision is a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", try_from = "TemplateFields", into = "TemplateFields")]
pub struct Template {
    /// The label people know this revision by; empty where `versionFrom` says where it comes from.
    pub version: String,
    /// What is brought onto the node before the instance starts.
    pub package: Option<Package>,
    /// Values for the templates of the package.
    pub config: Map<String, Value>,
    /// Secret values for the templates, by their dotted names.
    pub secrets: BTreeMap<String, SecretSource>,
    /// What a change of the values in Consul comes to.
    pub config_update: ConfigUpdate,
    /// The values in Consul as they were when the controller made this revision, by their names below `config/<namespace>/<deployment>/`. Nobody writes
    /// them into a spec: see [`Template::takes_overrides`].
    pub overrides: BTreeMap<String, String>,
    /// How these templates become files.
    pub templates: Option<Templates>,
    /// How the instance is run.
    pub driver: Driver,
    /// What it may use of its machine.
    pub resources: Resources,
    /// Environment variables of the instance.
    pub env: BTreeMap<String, String>,
    /// The ports that the instance listens on.
    pub ports: Vec<Port>,
    /// The health checks that Consul runs.
    pub checks: Vec<Check>,
    /// How one of the instances is elected to lead, if one is.
    pub election: Option<Election>,
    /// Commands that run beside the process of the instance, by name.
    pub jobs: BTreeMap<String, Job>,
}

impl Template {
    /// Whether the values in Consul are a part of its revisions, so that a change of them is rolled out.
    pub fn takes_overrides(&self) -> bool {
        self.package.is_some() && self.config_update == ConfigUpdate::Rollout
    }

    /// The template as people wrote it.
    #[must_use]
    pub fn as_written(&self) -> Self {
        Self { overrides: BTreeMap::new(), ..self.clone() }
    }
}

/// How an instance is run: exactly one driver a template. New drivers are new variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A process of the agent's own machine.
    Exec(Exec),
}

/// The template as it is written: the driver is the one field among the drivers' names that is given.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "Template", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["exec"] }]))]
struct TemplateFields {
    /// The label people know this revision by, such as `"1.0.0"`; in quotes where it looks like a number.
    /// At most 64 characters of letters, digits, `.`, `_`, `+` and `-`. Left out where `versionFrom` says where it comes from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"),
        extend(
            "x-allowed" = "at most 64 letters, digits, `.`, `_`, `+` and `-`, beginning with a letter or digit",
            "x-default" = "that of `versionFrom`"
        )
    )]
    version: String,
    /// What is brought onto the node before the instance starts. Default: nothing, what `exec` runs is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "nothing: what `exec` runs is there already"))]
    package: Option<Package>,
    /// Values for the templates of the package, nested as you like. They stand above the package's own defaults.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    config: Map<String, Value>,
    /// Secret values for the templates of the package, by their dotted names: `db.password` is `password` in the map `db`. They stand above `config`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {
        "pattern": r"^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62}){0,7}$",
        "x-allowed": "names of letters, digits and `_` with dots between them"
    }))]
    secrets: BTreeMap<String, SecretSource>,
    /// What a change of the values in Consul, below `config/<namespace>/<deployment>/`, comes to. Default `rollout`.
    #[serde(default, skip_serializing_if = "ConfigUpdate::is_rollout")]
    config_update: ConfigUpdate,
    /// What the controller found in Consul. It is no part of what people write.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(skip)]
    overrides: BTreeMap<String, String>,
    /// How the templates of the package become files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "without a check; a missing name fails"))]
    templates: Option<Templates>,
    /// Driver: run a process on the agent's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exec: Option<Exec>,
    /// What the instance may use of its machine.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    #[schemars(extend("x-default" = "no limits"))]
    resources: Resources,
    /// Environment variables of the instance. Values may use `${NAME}` as `command` does, also each other.
    /// `PATH: /opt/bin:${PATH}` puts something before what the agent passes on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = {
        "pattern": r"^[A-Za-z_][A-Za-z0-9_]{0,127}$",
        "x-allowed": "letters, digits and `_`, not beginning with a digit"
    }))]
    env: BTreeMap<String, String>,
    /// The ports that the instance listens on. The first is the one that is registered in Consul.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    ports: Vec<Port>,
    /// The health checks that Consul runs against each instance. Without any, an instance is healthy while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    checks: Vec<Check>,
    /// One of the healthy instances leads: it has the tag `leader` in Consul, a file `leader` with the fencing token in its own folder, and its package's
    /// hooks `leader-gained` and `leader-lost` run. Default: none leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "none leads"))]
    election: Option<Election>,
    /// Commands that run beside the process of `exec`, started by what happens: before it, with it, at intervals, on changes, at its stop. They are of
    /// the instance: they start and stop with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "propertyNames" = {
        "pattern": r"^[a-z][a-z0-9-]{0,31}$",
        "x-allowed": "at most 32 of `a-z`, `0-9` and `-`, beginning with a letter"
    }))]
    jobs: BTreeMap<String, Job>,
}

/// A template that names no driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a template needs a driver: `exec`")]
pub struct NoDriver;

impl TryFrom<TemplateFields> for Template {
    type Error = NoDriver;

    fn try_from(fields: TemplateFields) -> Result<Self, NoDriver> {
        let TemplateFields {
            version,
            package,
            config,
            secrets,
            config_update,
            overrides,
            templates,
            exec,
            resources,
            env,
            ports,
            checks,
            election,
            jobs,
        } = fields;
        let driver = exec.map(Driver::Exec).ok_or(NoDriver)?;
        Ok(Self {
            version,
            package,
            config,
            secrets,
            config_update,
            overrides,
            templates,
            driver,
            resources,
            env,
            ports,
            checks,
            election,
            jobs,
        })
    }
}

impl From<Template> for TemplateFields {
    fn from(template: Template) -> Self {
        let Template {
            version,
            package,
            config,
            secrets,
            config_update,
            overrides,
            templates,
            driver,
            resources,
            env,
            ports,
            checks,
            election,
            jobs,
        } = template;
        let exec = match driver {
            Driver::Exec(exec) => Some(exec),
        };
        Self {
            version,
            package,
            config,
            secrets,
            config_update,
            overrides,
            templates,
            exec,
            resources,
            env,
            ports,
            checks,
            election,
            jobs,
        }
    }
}

/// A process of the agent's own machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exec {
    /// The program and its arguments; no shell is involved. `${NAME}` is replaced by an environment variable of the instance:
    /// `PORT`, `PORT_<name>`, `VERSION`, `HELIUM_ADDRESS` (where the instance is registered and checked, and so has to listen),
    /// `HELIUM_PACKAGE` (the folder of the package), `HELIUM_WORK` (a folder of the instance's own), `HELIUM_BIN`, `HELIUM_INSTANCE`, `HELIUM_DEPLOYMENT`, `HELIUM_NAMESPACE`, `HELIUM_NODE`, one of `env`, or what an agent passes
    /// on, such as `PATH`. `$${NAME}` is the text `${NAME}`.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// The working directory; `${NAME}` is replaced as in `command`. Default: the instance's own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the instance's own folder"))]
    pub cwd: Option<String>,
    /// Whom it runs as: `user` or `user:group`, by the names that the agent's machine has for them. Its rendered files and its own folder
    /// are that user's. The agent has to be root for that. Hooks run as the agent. Default: the agent's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^[a-z_][a-z0-9_-]{0,31}(:[a-z_][a-z0-9_-]{0,31})?$"),
        extend("x-allowed" = "`user` or `user:group`", "x-default" = "the agent's user")
    )]
    pub user: Option<String>,
    /// What has to have happened before it starts; all of it, in any order. Until then the instance is critical in Consul. Default: it starts at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-default" = "it starts at once"))]
    pub when: Vec<Condition>,
    /// How long it waits for what is in `when`; after that the instance ends, and is started again as after any end. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1s", "x-default" = "for ever"))]
    pub wait_timeout: Option<Period>,
    /// Whether it says by itself when it is healthy, for jobs that wait for that: by `READY=1` to the socket in `NOTIFY_SOCKET`, as `sd_notify` does.
    /// Default `false`: `main` is healthy while the checks of the template pass, and without checks while it runs.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("default" = false))]
    pub notify: bool,
}

/// A port that the instance listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// The port's name: the instance finds the number in `PORT_<name>`.
    #[schemars(
        regex(pattern = r"^[a-z][a-z0-9_]{0,31}$"),
        extend("x-allowed" = "at most 32 of `a-z`, `0-9` and `_`, beginning with a letter")
    )]
    pub name: String,
    /// A fixed port number, 1 to 65535. Default: a free one, chosen by the agent. A fixed port allows one instance a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535), extend("x-default" = "a free one, chosen by the agent"))]
    pub port: Option<u16>,
}

/// A health check. Exactly one of `http` and `tcp` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["http"] }, { "required": ["tcp"] }]))]
pub struct Check {
    /// The check's name, unique in the template.
    #[schemars(
        regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,62}$"),
        extend("x-allowed" = "at most 63 of `a-z`, `0-9`, `_` and `-`, beginning with a letter or digit")
    )]
    pub name: String,
    /// Passing while an HTTP GET is answered with a 2xx status; `429` is a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// Passing while a TCP connection can be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,
    /// How often the check runs, at least `1s`. Default `10s`.
    #[serde(default = "default_interval")]
    #[schemars(extend("x-min" = "1s", "x-max" = "1h"))]
    pub interval: Period,
    /// How long one run may take. Default `5s`.
    #[serde(default = "default_timeout")]
    #[schemars(extend("x-min" = "10ms", "x-max" = "10m"))]
    pub timeout: Period,
    /// So many successes in a row turn a critical check to passing; its very first result counts at once. Default 0: every result counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 100), extend("default" = 0))]
    pub success_before_passing: u32,
    /// So many failures in a row turn a passing check to critical; its very first result counts at once. Default 0: every result counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 100), extend("default" = 0))]
    pub failures_before_critical: u32,
}

/// How one of the instances is elected. Where the lock is in Consul: `lock/service/<namespace>/<deployment>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Election {
    /// How long a leader may be silent before Consul ends its session, which may take twice as long. Default `30s`.
    #[serde(default = "default_session_ttl")]
    #[schemars(extend("x-min" = "10s", "x-max" = "24h"))]
    pub session_ttl: Period,
    /// How long nobody can lead after a leader's session was ended by force, as by a failing check. Default `15s`.
    #[serde(default = "default_lock_delay")]
    #[schemars(extend("x-min" = "1s", "x-max" = "60s"))]
    pub lock_delay: Period,
    /// How long what only a leader does may take to stop: the hook `leader-lost` at most. Default `5s`. The shorter of `sessionTtl` and `lockDelay` has to be longer than this by 7 s.
    #[serde(default = "default_stop_within")]
    #[schemars(extend("x-min" = "0s", "x-max" = "10m"))]
    pub stop_within: Period,
}

/// An HTTP GET against the instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpCheck {
    /// The name of one of the template's ports. Default: the first port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the first port"))]
    pub port: Option<String>,
    /// The path and query, beginning with `/`. Default `/`.
    #[serde(default = "default_path")]
    #[schemars(
        regex(pattern = r"^/[^\s]*$"),
        extend("x-allowed" = "a path that begins with `/` and holds no spaces")
    )]
    pub path: String,
}

/// A TCP connection to the instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpCheck {
    /// The name of one of the template's ports. Default: the first port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the first port"))]
    pub port: Option<String>,
}

impl Template {
    /// The fixed ports of this template; a node can host one instance for each.
    pub fn fixed_ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.ports.iter().filter_map(|port| port.port)
    }
}

fn default_interval() -> Period {
    Period::from_secs(10)
}

fn default_timeout() -> Period {
    Period::from_secs(5)
}

fn default_session_ttl() -> Period {
    Period::from_secs(30)
}

fn default_lock_delay() -> Period {
    Period::from_secs(15)
}

fn default_stop_within() -> Period {
    Period::from_secs(5)
}

fn default_path() -> String {
    "/".to_owned()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
