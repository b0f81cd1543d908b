//! The command line: what there is to say, in one place.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use helium_crds::{diagnose, object::DEFAULT_NAMESPACE};

#[cfg(feature = "control")]
use crate::commands::control::ControlCommand;
use crate::commands::{agent, env, hail, package, render, supervise, version};

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
    // It is sound, and to look that up costs every agent half a megabyte: the whole schema is made for it.
    if text == DEFAULT_NAMESPACE {
        return Ok(text.to_owned());
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

/// Every command of this build.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What people and controllers do; a build of the agent alone has none of it.
    #[cfg(feature = "control")]
    #[command(flatten)]
    Control(ControlCommand),
    /// Run the agent of this machine
    Agent(Box<agent::AgentArgs>),
    /// Let a Nix profile follow a job of Hydra
    Hail(hail::HailArgs),
    /// Keep files as Consul has them: templates, again with each change
    Render(Box<render::RenderArgs>),
    /// Run a program with keys of Consul as its variables, again with each change
    Env(env::EnvArgs),
    /// Make packages, look into them, and check them
    #[command(subcommand)]
    Package(package::PackageCommand),
    /// Print the version
    Version(version::VersionArgs),
    /// Run the main process of an instance and its jobs; agents start this
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
}
