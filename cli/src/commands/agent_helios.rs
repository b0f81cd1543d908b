//! `helium agent --helios`: the agent over the key layout of Helios, for good or, with `--once`, until it has converged.

use std::{fs, num::NonZeroUsize, path::Path, pin::pin};

use clap::Args;
use helium_agent::{
    StopMode,
    helios::{HeliosAgent, HeliosConfig},
};
use helium_crds::Period;
use helium_runtime::shutdown::Shutdown;

use tokio::task::JoinSet;

use super::{
    agent::{AgentArgs, find_address, own_program, refused},
    agent_http, managed,
    serving::{self, Signals},
};
use crate::{
    output::{Console, Exit, Failure, Outcome},
    session::{Session, hostname},
};

/// Where the zones of a machine are told. Within a zone it names that zone alone, besides `global`.
const ZONES: &str = "/etc/zones/index";

/// Options of `helium agent --helios`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Over the keys of Helios")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct HeliosArgs {
    /// Follow the keys of Helios: `nodes/<node>/services`, `service/<service>/version` and `config/*`
    #[arg(long)]
    helios: bool,
    /// Converge and end: 0 if everything is as it should be, 1 if something is not, which is told
    #[arg(long, requires = "helios")]
    once: bool,
    /// How long `--once` may take
    #[arg(long, value_name = "PERIOD", default_value = "10m", requires = "once")]
    once_limit: Period,
    /// Where packages are: `{service}` and `{version}` are filled in
    #[arg(long, value_name = "URL", env = "HELIUM_HELIOS_ARTIFACT", requires = "helios")]
    helios_artifact: Option<String>,
    /// Take packages of which neither Consul nor a `.sha256` beside them tells the SHA-256
    #[arg(long, requires = "helios")]
    helios_insecure: bool,
    /// Keys below `config/` make maps and typed values, not texts under their last part
    #[arg(long, requires = "helios")]
    helios_nested: bool,
    /// A name that a template uses and nobody gives is an error, not empty
    #[arg(long, requires = "helios")]
    helios_strict: bool,
    /// How long a service stays in maintenance before it is stopped
    #[arg(long, value_name = "PERIOD", default_value = "2s", requires = "helios")]
    helios_drain: Period,
    /// How long a service may take to end before it is killed
    #[arg(long, value_name = "PERIOD", default_value = "30s", requires = "helios")]
    helios_stop_grace: Period,
    /// How long a new version may take until its checks pass
    #[arg(long, value_name = "PERIOD", default_value = "5m", requires = "helios")]
    helios_deadline: Period,
    /// How many nodes change a service at a time
    #[arg(long, value_name = "COUNT", default_value = "1", requires = "helios")]
    helios_max_upgrades: NonZeroUsize,
    /// How long a place in the upgrade lock is held before others may pass
    #[arg(long, value_name = "PERIOD", default_value = "1h", requires = "helios")]
    helios_max_hold: Period,
}

impl HeliosArgs {
    /// Whether the layout of Helios is to be followed.
    pub(super) fn is_asked_for(&self) -> bool {
        self.helios
    }
}

/// Runs the agent.
pub(super) async fn run(args: AgentArgs, session: &Session, console: &mut Console) -> Outcome {
    let client = session.client()?;
    let given = args.helios;
    let Some(artifact) = given.helios_artifact else {
        return Err(Failure::new(Exit::Usage, "`--helios` has to be told where packages are")
            .hint("--helios-artifact 'https://files.example/releases/{service}/{service}-{version}.tgz'"));
    };
    let address = match args.address {
        Some(address) => address,
        None => find_address(&client, &args.data_dir).await,
    };
    let node = match args.node {
        Some(node) => node,
        None => zone_name().await.unwrap_or_else(hostname),
    };
    let config = HeliosConfig {
        node,
        package_root: args.package_dir,
        netrc: args.netrc_file,
        address,
        helium_bin: own_program()?,
        artifact,
        insecure: given.helios_insecure,
        nested: given.helios_nested,
        strict: given.helios_strict,
        drain: given.helios_drain.as_duration(),
        stop_grace: given.helios_stop_grace.as_duration(),
        prove_within: given.helios_deadline.as_duration(),
        max_upgrades: given.helios_max_upgrades.get(),
        max_hold: given.helios_max_hold.as_duration(),
        session_ttl: args.session_ttl.as_duration(),
        data_dir: args.data_dir,
    };
    let said = format!("helium agent: node {} at {}, over the keys of Helios", config.node, config.address);
    // A run that does not stay has nobody who could look at it.
    let listener = match args.http_addr.filter(|_| !given.once) {
        Some(address) => Some(agent_http::listen(address).await?),
        None => None,
    };
    let agent = HeliosAgent::new(config, client, session.ports.clone(), given.once).map_err(|error| refused(&error))?;
    console.say(said);
    let mut signals = Signals::of_daemon()?;
    let (trigger, shutdown) = Shutdown::new();
    if given.once {
        let limit = given.once_limit.as_duration();
        let unfit = signals.obeyed_by(pin!(agent.once(shutdown, limit)), &trigger).await?;
        for words in &unfit {
            console.say(words);
        }
        if unfit.is_empty() {
            console.say("converged");
            return Ok(Exit::Ok);
        }
        return Ok(Exit::Different);
    }
    let mode = if args.stop_instances { StopMode::StopInstances } else { StopMode::LeaveRunning };
    let mut beside = JoinSet::new();
    if let Some(listener) = listener {
        if let Ok(address) = listener.local_addr() {
            console.say(format!("helium agent: its state on http://{address}/status"));
        }
        beside.spawn(agent_http::serve(listener, agent.handle(), shutdown.clone()));
    }
    beside.spawn(managed::helios(agent.ready(), serving::hangups()?, shutdown.clone()));
    signals.obeyed_by(pin!(agent.run(shutdown, mode)), &trigger).await?;
    Ok(Exit::Ok)
}

/// The name of the zone that this is, where there are zones.
async fn zone_name() -> Option<String> {
    let asked = tokio::process::Command::new("zonename").output().await;
    let told = asked.ok().filter(|output| output.status.success());
    let told = told.and_then(|output| String::from_utf8(output.stdout).ok());
    let told = told.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    told.or_else(|| zone_of_index(&fs::read_to_string(Path::new(ZONES)).ok()?))
}

/// The only zone besides `global` in an index, whose lines are `name:state:path:uuid`.
fn zone_of_index(index: &str) -> Option<String> {
    let lines = index.lines().filter(|line| !line.starts_with('#'));
    let mut names =
        lines.filter_map(|line| line.split(':').next()).filter(|name| !name.is_empty() && *name != "global");
    let name = names.next()?;
    names.next().is_none().then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_zone_of_an_index_is_this_one() {
        let index = "# a comment\nglobal:installed:/\nweb01:installed:/zones/web01:1a-2b\n";
        assert_eq!(zone_of_index(index).as_deref(), Some("web01"));
        assert_eq!(zone_of_index(&format!("{index}web02:installed:/zones/web02:3c\n")), None);
        assert_eq!(zone_of_index("global:installed:/\n"), None);
    }
}
