//! `helium agent --containerpilot`: a file of ContainerPilot 3, run, and what can be asked of the one that runs it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clap::{ArgGroup, Args, ValueEnum};
use helium_pilot::{
    control::{self, ClientError},
    file::{self, FileError},
    run::{self, RunError},
};
use helium_runtime::ports::Ports;
use serde_json::json;

use crate::{
    Workers,
    output::{Console, Exit, Failure, Outcome},
    runtime,
};

/// The variable with the path of the file.
const VARIABLE: &str = "CONTAINERPILOT";
/// The options of a node's agent, which mean nothing here.
const OF_NODES: [&str; 8] =
    ["node", "data_dir", "address", "package_dir", "netrc_file", "labels", "session_ttl", "stop_instances"];

/// Options of `helium agent --containerpilot`.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("asked").multiple(false), next_help_heading = "ContainerPilot")]
pub(crate) struct ContainerPilotArgs {
    /// Run this file of ContainerPilot 3 in place of a node's agent; without FILE the one that `CONTAINERPILOT` names
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = OF_NODES)]
    #[allow(clippy::option_option, reason = "clap's word for an option whose value may be left out")]
    containerpilot: Option<Option<PathBuf>>,
    /// Only say whether the file is taken (0) or refused (2), and why
    #[arg(long, group = "asked", requires = "containerpilot")]
    check: bool,
    /// Only render the file as a template over the environment
    #[arg(long, group = "asked", requires = "containerpilot")]
    template: bool,
    /// Where the rendered file goes [default: stdout]
    #[arg(long, value_name = "FILE", requires = "template")]
    out: Option<PathBuf>,
    /// Have the supervisor take the file as it is now; a file that is refused changes nothing
    #[arg(long, group = "asked", requires = "containerpilot")]
    reload: bool,
    /// Begin or end maintenance: nothing is checked, and the services are not in Consul
    #[arg(long, group = "asked", value_name = "WHICH", requires = "containerpilot")]
    maintenance: Option<Maintenance>,
    /// Set a variable for what is started from now on, and for the next reload; may be given several times
    #[arg(long, group = "asked", value_name = "NAME=VALUE", value_parser = pair, requires = "containerpilot")]
    putenv: Vec<(String, String)>,
    /// Record a measurement; may be given several times
    #[arg(long, group = "asked", value_name = "NAME=NUMBER", value_parser = measurement, requires = "containerpilot")]
    putmetric: Vec<(String, f64)>,
    /// See whether the supervisor answers
    #[arg(long, group = "asked", requires = "containerpilot")]
    ping: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Maintenance {
    /// Begin.
    Enable,
    /// End.
    Disable,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not `name=value`"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn measurement(text: &str) -> Result<(String, f64), String> {
    let (name, value) = pair(text)?;
    let number = value.parse().ok().filter(|number: &f64| number.is_finite());
    Ok((name, number.ok_or_else(|| format!("`{value}` is no number"))?))
}

impl ContainerPilotArgs {
    /// Whether the agent is to be this one.
    pub(super) fn is_asked_for(&self) -> bool {
        self.containerpilot.is_some()
    }

    /// Whether the file is to be run, and nothing asked of one that runs.
    fn is_run(&self) -> bool {
        let asked = self.check || self.template || self.reload || self.ping || self.maintenance.is_some();
        self.is_asked_for() && !asked && self.putenv.is_empty() && self.putmetric.is_empty()
    }

    fn file(&self) -> Result<PathBuf, Failure> {
        let given = self.containerpilot.clone().flatten();
        let named = || std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        given.or_else(named).ok_or_else(|| {
            Failure::usage("which file of ContainerPilot?").hint(format!("`--containerpilot FILE`, or `{VARIABLE}`"))
        })
    }

    /// Runs the file, if that is asked for: the exit code.
    pub(super) fn supervise(&self) -> Option<Result<u8, Failure>> {
        self.is_run().then(|| self.file().and_then(|file| supervise(&file)))
    }

    /// Does what else is asked for.
    pub(super) async fn ask(self, console: &mut Console) -> Outcome {
        let path = self.file()?;
        if self.template {
            return render(&path, self.out.as_deref(), console);
        }
        let taken = file::read(&path, &file::environment()).map_err(|error| refused(&error))?;
        if self.check {
            taken.warnings.iter().for_each(|warning| console.say(&warning.whole));
            console.line(format!("{} is taken", path.display()))?;
            return Ok(Exit::Ok);
        }
        let socket = PathBuf::from(taken.config.control.socket);
        if self.ping {
            return send(socket, "GET", "/v3/ping", String::new()).await;
        }
        let (route, body) = self.request();
        send(socket, "POST", route, body).await
    }

    fn request(self) -> (&'static str, String) {
        if !self.putenv.is_empty() {
            return ("/v3/environ", json!(self.putenv.into_iter().collect::<BTreeMap<_, _>>()).to_string());
        }
        if !self.putmetric.is_empty() {
            return ("/v3/metric", json!(self.putmetric.into_iter().collect::<BTreeMap<_, _>>()).to_string());
        }
        match self.maintenance {
            Some(Maintenance::Enable) => ("/v3/maintenance/enable", String::new()),
            Some(Maintenance::Disable) => ("/v3/maintenance/disable", String::new()),
            None => ("/v3/reload", String::new()),
        }
    }
}

fn supervise(file: &Path) -> Result<u8, Failure> {
    let guarded = helium_pilot::guard().map_err(|error| Failure::internal(format!("cannot start: {error}")))?;
    if let Some(code) = guarded {
        return Ok(code);
    }
    let runtime = runtime(Workers::Two)?;
    let code = runtime.block_on(run::run(file, Ports::real())).map_err(|error| not_run(&error));
    runtime.shutdown_background();
    Ok(u8::try_from(code?).unwrap_or(u8::MAX))
}

fn not_run(error: &RunError) -> Failure {
    let exit = match error {
        _ if error.is_of_file() => Exit::Usage,
        RunError::Socket(control::SocketError::Taken(_)) => Exit::Refused,
        _ => Exit::Internal,
    };
    Failure::new(exit, error.to_string())
}

fn refused(error: &FileError) -> Failure {
    Failure::usage(error.to_string())
}

fn render(path: &Path, out: Option<&Path>, console: &mut Console) -> Outcome {
    let text = file::rendered(path, &file::environment()).map_err(|error| refused(&error))?;
    match out {
        Some(out) => fs::write(out, text)
            .map_err(|error| Failure::internal(format!("cannot write `{}`: {error}", out.display())))?,
        None => console.data(text)?,
    }
    Ok(Exit::Ok)
}

async fn send(socket: PathBuf, method: &str, path: &str, body: String) -> Outcome {
    let answer = control::ask(socket, method, path, body).await.map_err(|error| match error {
        ClientError::Nobody { .. } => Failure::new(Exit::NotFound, error.to_string()),
        _ => Failure::internal(error.to_string()),
    })?;
    if answer.is_ok() {
        return Ok(Exit::Ok);
    }
    Err(Failure::usage(format!("the supervisor refused it: {}", answer.text)))
}
