//! The command line: what there is to say, in one place.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use helium_crds::{diagnose, object::DEFAULT_NAMESPACE};

use crate::commands::{
    acl, agent, apply, canary, controller, delete, describe, dev, diff, doctor, env, events, explain, get, hail,
    haproxy, logs, node, package, plan, render, request, rollout, sample, scale, schema, set, supervise, validate,
    version, wait,
};

/// Exit codes, as `helium --help` tells them.
const AFTER_HELP: &str = "\
Data goes to stdout and words to stderr. Progress (--wait, rollout status) is what a command was asked for and goes to stdout; with
-o it goes to stderr, and stdout holds the documents alone. Colours only on a terminal, never with NO_COLOR or TERM=dumb.

Exit codes: 0 ok; 1 differences (diff, plan); 2 usage or validation; 3 conflict; 4 not found; 5 timeout; 6 rollout failed;
7 refused by a lock, window or guard; 8 store unreachable; 9 not authorised; 10 internal; 130 interrupted";

/// Deployments and canaries over Consul, without Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "helium", version, after_help = AFTER_HELP, propagate_version = true, max_term_width = 120)]
pub(crate) struct Cli {
    /// What every command knows.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Where Consul is: `host:port`, or a URL of http, https or unix [default: `http://127.0.0.1:8500`]
    #[arg(long, global = true, value_name = "ADDR", env = "CONSUL_HTTP_ADDR", hide_env_values = true)]
    pub(crate) consul_addr: Option<String>,
    /// A file with the ACL token; `CONSUL_HTTP_TOKEN` and `CONSUL_HTTP_TOKEN_FILE` are read too
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The namespace of names that bear none
    #[arg(short, long, global = true, value_name = "NAME", env = "HELIUM_NAMESPACE", default_value = DEFAULT_NAMESPACE, value_parser = namespace)]
    pub(crate) namespace: String,
    /// The prefix of everything that Helium keeps in Consul KV
    #[arg(long, global = true, value_name = "PREFIX", env = "HELIUM_ROOT", default_value = helium_crds::keys::DEFAULT_ROOT)]
    pub(crate) root: String,
    /// How log lines look; `HELIUM_LOG` says which there are, as in `info,helium_engine=debug`
    #[arg(long, global = true, value_name = "FORMAT", env = "HELIUM_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// Reads a namespace. A variable that is exported but empty is as good as none.
fn namespace(text: &str) -> Result<String, String> {
    let exported_empty = || std::env::var_os("HELIUM_NAMESPACE").is_some_and(|value| value.is_empty());
    if text.is_empty() && exported_empty() {
        return Ok(DEFAULT_NAMESPACE.to_owned());
    }
    diagnose::namespace(text).map_err(|allowed| format!("a namespace (`-n`, or `HELIUM_NAMESPACE`) is {allowed}"))
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring objects into the store as files declare them
    Apply(apply::ApplyArgs),
    /// Show what apply would change; exit code 1 if there is something
    Diff(diff::DiffArgs),
    /// Foresee what apply would do, step by step, in a simulated world; exit code 1 if there is something
    Plan(plan::PlanArgs),
    /// Check files without any store
    Validate(validate::ValidateArgs),
    /// List objects
    Get(get::GetArgs),
    /// Show all that is known of objects
    Describe(describe::DescribeArgs),
    /// Tell what a field means (deployment.spec), or why an object is not there yet (deployment/hello)
    Explain(explain::ExplainArgs),
    /// Show what happened to objects lately
    Events(events::EventsArgs),
    /// Take objects down, then away
    Delete(delete::DeleteArgs),
    /// Set how many instances there are, in all or by version
    Scale(scale::ScaleArgs),
    /// Set the version, or variables, of a template
    Set(set::SetArgs),
    /// Let no rollout of a Deployment start or come forward; one that fails still goes back
    Lock(rollout::HoldArgs),
    /// End a lock
    Unlock(request::RequestArgs),
    /// Look at rollouts and steer them
    #[command(subcommand)]
    Rollout(rollout::RolloutCommand),
    /// Promote, skip, hold, abort or retry a canary
    #[command(subcommand)]
    Canary(canary::CanaryCommand),
    /// Show what instances print
    Logs(logs::LogsArgs),
    /// Wait until an object is as wanted
    Wait(wait::WaitArgs),
    /// Run everything on this machine alone, with a store of its own
    Dev(dev::DevArgs),
    /// Run a controller; of several, one leads
    Controller(controller::ControllerArgs),
    /// Run the agent of this machine
    Agent(Box<agent::AgentArgs>),
    /// Keep an HAProxy in step with the catalog
    Haproxy(haproxy::HaproxyArgs),
    /// Let a Nix profile follow a job of Hydra
    Hail(hail::HailArgs),
    /// Keep files as Consul has them: templates, again with each change
    Render(Box<render::RenderArgs>),
    /// Run a program with keys of Consul as its variables, again with each change
    Env(env::EnvArgs),
    /// Make packages, look into them, and check them
    #[command(subcommand)]
    Package(package::PackageCommand),
    /// Look at nodes, and take them out of service for a while
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Help with Consul's access rules
    #[command(subcommand)]
    Acl(acl::AclCommand),
    /// Look for what is wrong with the store
    Doctor(doctor::DoctorArgs),
    /// Print the JSON Schema of a kind
    Schema(schema::SchemaArgs),
    /// Print the version
    Version(version::VersionArgs),
    /// Be a small HTTP server to try deployments with
    Sample(sample::SampleArgs),
    /// Run the main process of an instance and its jobs; agents start this
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
}
