//! `helium env`: run a program with keys of Consul as its variables.

use std::{collections::BTreeMap, os::unix::process::CommandExt as _, pin::pin, process, time::Duration};

use clap::Args;
use helium_crds::Period;
use helium_lookups::{
    Local, Order, child,
    environment::{Environment, EnvironmentError, Naming, Sources},
};
use helium_processes::StartError;
use helium_runtime::shutdown::Shutdown;
use helium_templates::quiet::Wait;

use super::{
    following::{self, ChildArgs, FollowArgs},
    serving::Signals,
};
use crate::{
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

const AFTER_HELP: &str = "\
A key below a prefix is a variable, named without the prefix; of several prefixes the later ones win. The command is restarted when its
variables change, and its exit code is this one's. While Consul is away it runs on. SIGHUP, SIGUSR1 and SIGUSR2 are passed on to it.

Examples:
  helium env --prefix config/app --upcase --sanitize -- ./server --port 80
  helium env --prefix config/app --once --pristine -- env      # becomes the command, with nothing of this environment";

/// How long changes are waited for unless it is said: each one is a restart.
const RESTART: Wait = Wait { min: Duration::from_millis(100), max: Duration::from_millis(400), splay: Duration::ZERO };

/// Options of `helium env`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct EnvArgs {
    /// A prefix in Consul; may be given several times
    #[arg(short, long = "prefix", value_name = "PREFIX", required = true)]
    prefixes: Vec<String>,
    #[command(flatten)]
    naming: NamingArgs,
    /// Only these variables, and none of this environment
    #[arg(long)]
    pristine: bool,
    /// Read once and become the command, in place of staying beside it
    #[arg(long)]
    pub(super) once: bool,
    /// How long to wait for Consul at the start [default: with `--once` 30s, otherwise for ever]
    #[arg(long, value_name = "PERIOD")]
    timeout: Option<Period>,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    child: ChildArgs,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// How keys become names.
#[derive(Args, Debug)]
struct NamingArgs {
    /// Names in capitals
    #[arg(long)]
    upcase: bool,
    /// `_` for whatever no shell takes in a name: `db/max-conns` is `db_max_conns`
    #[arg(long)]
    sanitize: bool,
}

/// Runs `helium env`.
pub(crate) async fn run(args: EnvArgs, session: &Session, console: &mut Console) -> Outcome {
    let inherited = if args.pristine { BTreeMap::new() } else { following::environment() };
    let naming = Naming { upcase: args.naming.upcase, sanitize: args.naming.sanitize };
    let told = args.prefixes.join(", ");
    let sources = Sources { prefixes: args.prefixes, naming, inherited };
    let plan = args.child.plan(args.command)?;
    let follower = args.follow.follower(session, Local::default(), BTreeMap::new(), None)?;
    let mut environment = Environment::new(sources, plan, args.follow.wait(RESTART), follower, session.ports.clone());
    let limit = args.timeout.map(Period::as_duration);
    if args.once {
        let limit = limit.unwrap_or(Period::from_secs(30).as_duration());
        let command = environment.once(Some(limit), &Shutdown::never()).await?;
        drop(environment);
        return Err(become_it(&command));
    }
    console.say(format!("helium env: the keys below {told}, Consul at {}", session.consul()?.address));
    let mut signals = Signals::listen()?;
    let (trigger, shutdown) = Shutdown::new();
    let hangup = child::signal("HUP").map_err(Failure::internal)?;
    let mut orders = following::orders(true, move || Some(Order::Forward(hangup)))?;
    following::to_end(&mut signals, pin!(environment.run(limit, &mut orders, &shutdown)), &trigger).await
}

/// Becomes the command. What comes back is why not.
fn become_it(command: &helium_processes::Command) -> Failure {
    let Some((program, arguments)) = command.argv.split_first() else {
        return EnvironmentError::Child(StartError::Empty).into();
    };
    let error = process::Command::new(program).args(arguments).env_clear().envs(&command.env).exec();
    Failure::new(Exit::Child(127), format!("the command cannot be started: {program}: {error}"))
}

impl From<EnvironmentError> for Failure {
    fn from(error: EnvironmentError) -> Self {
        let exit = match &error {
            EnvironmentError::Lacking { .. } => Exit::Timeout,
            EnvironmentError::Child(_) => Exit::Child(127),
            EnvironmentError::Stopped => Exit::Interrupted,
        };
        Failure::new(exit, error.to_string())
    }
}
