//! `helium agent`: the agent of this machine.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use clap::{Args, Subcommand};
use consul_client::Client;
use helium_agent::{Agent, AgentConfig, AgentError, StopMode};
use helium_crds::{NodeName, Period};
use helium_packages::fetch::Netrc;
use helium_runtime::shutdown::Shutdown;
use tokio::task::JoinSet;

use super::{
    agent_http::{self, USUAL},
    agent_verify::{self, VerifyArgs},
    containerpilot::ContainerPilotArgs,
    managed,
    serving::{self, Signals},
};
use crate::{
    output::{Console, Exit, Failure, Outcome},
    session::{Session, hostname},
};

/// Where an agent keeps its records and logs unless told otherwise.
const DATA_DIR: &str = "/var/lib/helium";
/// Where an agent keeps packages unless told otherwise.
const PACKAGE_DIR: &str = helium_packages::store::ROOT;
/// Where `helium dev` keeps its own, and the folder of the agent within.
pub(super) const DEV_DATA_DIR: &str = ".helium";
pub(super) const DEV_AGENT: &str = "agent";
/// How long Consul may take to tell the address of this machine.
const ADDRESS_LIMIT: Duration = Duration::from_secs(5);
/// The file that remembers the address for a start without Consul.
const ADDRESS_FILE: &str = "address";
/// What Consul takes as the time that a session may be silent.
const SESSION_TTL: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(24);

/// Options of `helium agent`.
#[derive(Args, Debug)]
pub(crate) struct AgentArgs {
    /// The name of this node, which no other agent may bear [default: the host's name]
    #[arg(long, global = true, value_name = "NAME", env = "HELIUM_NODE")]
    pub(super) node: Option<String>,
    /// The folder of records and logs
    #[arg(long, global = true, value_name = "FOLDER", env = "HELIUM_DATA_DIR", default_value = DATA_DIR)]
    pub(super) data_dir: PathBuf,
    /// The address that instances are registered under and checked at [default: that of the Consul agent]
    #[arg(long, value_name = "ADDRESS", env = "HELIUM_ADDRESS")]
    pub(super) address: Option<String>,
    /// The folder that packages are unpacked to
    #[arg(long, global = true, value_name = "FOLDER", env = "HELIUM_PACKAGE_DIR", default_value = PACKAGE_DIR)]
    pub(super) package_dir: PathBuf,
    /// The netrc file with the logins for servers of packages
    #[arg(long, global = true, value_name = "FILE", env = "HELIUM_NETRC")]
    pub(super) netrc_file: Option<PathBuf>,
    /// A name and value to place by; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// How long the heartbeat may be silent before Consul drops it
    #[arg(long, value_name = "PERIOD", default_value = "15s", value_parser = session_ttl)]
    pub(super) session_ttl: Period,
    /// Serve /metrics, /healthz, /readyz and /status [default: not at all; without an address: 127.0.0.1:7576]
    #[arg(long, value_name = "ADDRESS:PORT", env = "HELIUM_AGENT_HTTP_ADDR", num_args = 0..=1, default_missing_value = USUAL)]
    pub(super) http_addr: Option<SocketAddr>,
    /// Stop the instances when the agent stops; otherwise they run on, and the next agent adopts them
    #[arg(long)]
    pub(super) stop_instances: bool,
    /// The folder of a control group of v2 to make those of instances in [default: the agent's own, or the one around it]; the agent over the keys of Helios and a file of ContainerPilot make none
    #[arg(long, value_name = "FOLDER", env = "HELIUM_CGROUP")]
    cgroup: Option<PathBuf>,
    #[command(flatten)]
    pub(super) containerpilot: ContainerPilotArgs,
    #[command(flatten)]
    pub(super) helios: super::agent_helios::HeliosArgs,
    #[command(subcommand)]
    command: Option<AgentCommand>,
}

/// What else there is to an agent.
#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Look for what would fail on this machine, and change nothing: exit code 1 if there is something
    Verify(VerifyArgs),
}

impl AgentArgs {
    /// Whether it runs until it is told to stop.
    pub(super) fn stays(&self) -> bool {
        self.command.is_none()
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not `name=value`"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A time to live that Consul takes; with another one no session would ever be made.
fn session_ttl(text: &str) -> Result<Period, String> {
    let ttl: Period = text.parse().map_err(|error: helium_crds::period::PeriodError| error.to_string())?;
    if SESSION_TTL.contains(&ttl.as_duration()) { Ok(ttl) } else { Err("Consul takes 10s to 24h".to_owned()) }
}

/// The data folder of this machine's agent: that of `helium dev` if it is here, else the usual one.
pub(super) fn usual_data_dir() -> PathBuf {
    let dev = Path::new(DEV_DATA_DIR).join(DEV_AGENT);
    if dev.is_dir() { dev } else { PathBuf::from(DATA_DIR) }
}

/// The agent's folder in what a person names: the folder itself, or the part of it that `helium dev` gives to its agent.
pub(super) fn agent_folder(data_dir: &Path) -> PathBuf {
    let within = data_dir.join(DEV_AGENT);
    if within.is_dir() { within } else { data_dir.to_owned() }
}

/// The `helium` program itself, for instances that ask for `HELIUM_BIN`.
pub(super) fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::internal(format!("cannot tell where this program is: {error}")))
}

/// Runs `helium agent` until it is asked to stop.
pub(crate) async fn run(args: AgentArgs, session: &Session, console: &mut Console) -> Outcome {
    if args.containerpilot.is_asked_for() {
        return args.containerpilot.ask(console).await;
    }
    if args.helios.is_asked_for() {
        return super::agent_helios::run(args, session, console).await;
    }
    let client = session.client()?;
    let node = NodeName::new(args.node.clone().unwrap_or_else(hostname));
    let mut config = AgentConfig::new(node, &args.data_dir, own_program()?);
    config.keys = session.keys();
    config.package_root = args.package_dir;
    config.netrc = args.netrc_file;
    config.cgroup = args.cgroup;
    config.labels = args.labels.into_iter().collect::<BTreeMap<_, _>>();
    config.session_ttl = args.session_ttl.as_duration();
    check(&config)?;
    if let Some(AgentCommand::Verify(args)) = args.command {
        return agent_verify::run(args, &config, session, console).await;
    }
    let name = config.node.clone();
    config.address = match args.address {
        Some(address) => address,
        None => find_address(&client, &args.data_dir).await,
    };
    let address = config.address.clone();
    let listener = match args.http_addr {
        Some(address) => Some(agent_http::listen(address).await?),
        None => None,
    };
    let agent = Agent::new(config, client, session.ports.clone()).map_err(|error| refused(&error))?;
    console.say(format!("helium agent: node {name} at {address}, data in {}", args.data_dir.display()));
    let mode = if args.stop_instances { StopMode::StopInstances } else { StopMode::LeaveRunning };
    let (mut signals, hangups) = (Signals::listen()?, serving::hangups()?);
    let (trigger, shutdown) = Shutdown::new();
    let handle = agent.handle();
    let mut beside = JoinSet::new();
    if let Some(listener) = listener {
        if let Ok(address) = listener.local_addr() {
            console.say(format!("helium agent: its state on http://{address}/status"));
        }
        beside.spawn(agent_http::serve(listener, handle.clone(), shutdown.clone()));
    }
    managed::agent(&mut beside, &handle, hangups, &shutdown);
    signals.obeyed_by(pin!(agent.run(shutdown, mode)), &trigger).await?;
    Ok(Exit::Ok)
}

/// What can be told of a configuration before anything is started with it.
fn check(config: &AgentConfig) -> Result<(), Failure> {
    let node = config.node.as_str();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if node.is_empty() || node.len() > 128 || !node.bytes().all(allowed) {
        return Err(Failure::usage(format!("`--node`: `{node}` is no name of a node"))
            .hint("letters, digits, `-`, `_` and `.`, at most 128 of them"));
    }
    if let Some(file) = &config.netrc {
        Netrc::load(file).map_err(|error| Failure::usage(format!("`--netrc-file`: {}: {error}", file.display())))?;
    }
    Ok(())
}

/// Why an agent cannot start, for people.
pub(super) fn refused(error: &AgentError) -> Failure {
    match error {
        AgentError::Data(helium_agent::DataError::Locked { .. }) => Failure::new(Exit::Refused, error.to_string())
            .hint("one agent owns a data folder; `--data-dir` names another"),
        _ => Failure::internal(error.to_string()),
    }
}

/// The address of the Consul agent's node; if Consul is away, the one that was found the last time.
pub(super) async fn find_address(client: &Client, data_dir: &Path) -> String {
    let file = data_dir.join(ADDRESS_FILE);
    let asked = tokio::time::timeout(ADDRESS_LIMIT, client.agent_self()).await;
    if let Ok(Ok(agent)) = asked
        && !agent.member_address.is_empty()
    {
        let address = agent.member_address;
        let noted = fs::create_dir_all(data_dir).and_then(|()| fs::write(&file, format!("{address}\n")));
        if let Err(error) = noted {
            tracing::warn!(%error, "the address of this machine cannot be noted");
        }
        return address;
    }
    if let Ok(text) = fs::read_to_string(&file) {
        return text.trim().to_owned();
    }
    tracing::warn!("Consul does not tell the address of this machine; 127.0.0.1 is taken (--address sets it)");
    "127.0.0.1".to_owned()
}
