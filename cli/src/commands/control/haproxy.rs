//! `helium haproxy`: keep an HAProxy in step with Consul's catalog.

use std::{collections::BTreeSet, path::PathBuf, pin::pin};

use clap::{Args, ValueEnum};
use helium_crds::Period;
use helium_runtime::shutdown::Shutdown;
use helium_traffic::{
    Backend, Keeper, KeeperConfig, Reload, Socket, Trouble, file::Mode, keeper::SLOTS, store::CHECKED,
};

use crate::commands::serving::Signals;
use crate::{
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

/// How HAProxy comes to read the file.
const AFTER_HELP: &str = "\
The file holds one `backend` for each service. HAProxy reads it behind its own configuration, which has `defaults` and a frontend:
  global
      stats socket /run/haproxy/admin.sock mode 660 level admin expose-fd listeners
  frontend web
      bind :80
      default_backend web
and is started with both: haproxy -W -S /run/haproxy-master.sock -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/helium.cfg
(on Debian: EXTRAOPTS=\"-S /run/haproxy-master.sock -f /etc/haproxy/helium.cfg\" in /etc/default/haproxy).

Examples:
  helium haproxy --service web --file /etc/haproxy/helium.cfg --once        # the first file, before HAProxy starts
  helium haproxy --service web --file /etc/haproxy/helium.cfg --socket /run/haproxy/admin.sock \\
      --master-socket /run/haproxy-master.sock --check-command 'haproxy -c -f /etc/haproxy/haproxy.cfg -f {}'";

/// Options of `helium haproxy`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct HaproxyArgs {
    /// A service of Consul, and the backend that it becomes if that has another name; may be given several times
    #[arg(long = "service", value_name = "NAME[:BACKEND]", required_unless_present = "previews")]
    services: Vec<Backend>,
    /// The previews of a service as a backend of their own, `NAME-preview` unless it says otherwise: what is tried out beside the version that
    /// serves; may be given several times
    #[arg(long = "preview", value_name = "NAME[:BACKEND]", value_parser = Backend::of_previews)]
    previews: Vec<Backend>,
    /// The file of the backends, which HAProxy reads; whoever else writes into it loses that
    #[arg(long, value_name = "FILE", env = "HELIUM_HAPROXY_FILE")]
    file: PathBuf,
    /// HAProxy's runtime API, its `stats socket` of `level admin`; only `--once` does without, and writes the file alone
    #[arg(long, value_name = "PATH|HOST:PORT", env = "HELIUM_HAPROXY_SOCKET", required_unless_present = "once")]
    socket: Option<Socket>,
    /// A command that has HAProxy read its files again, for when the slots do not suffice
    #[arg(long, value_name = "COMMAND", conflicts_with = "master_socket")]
    reload: Option<String>,
    /// The same by the socket of HAProxy's master process (`haproxy -W -S SOCKET`)
    #[arg(long, value_name = "PATH|HOST:PORT")]
    master_socket: Option<Socket>,
    /// A command that says whether a new file, for which `{}` stands, may take its place
    #[arg(long, value_name = "COMMAND")]
    check_command: Option<String>,
    /// How many servers each backend has room for before HAProxy has to read its files again
    #[arg(long, value_name = "NUMBER", default_value_t = SLOTS, value_parser = clap::value_parser!(u16).range(1..=4095))]
    slots: u16,
    /// Whether the backends balance requests of HTTP or connections
    #[arg(long, value_name = "MODE", default_value = "http")]
    mode: ModeArg,
    /// How long Consul has to know nothing of a service, or to have gone back to an older state, before it is believed
    #[arg(long, value_name = "PERIOD", default_value = "2m")]
    patience: Period,
    /// Put everything right once and end, in place of staying
    #[arg(long)]
    pub(super) once: bool,
}

/// What a backend balances.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// Requests.
    Http,
    /// Connections.
    Tcp,
}

/// Runs `helium haproxy` until it is asked to stop, which leaves HAProxy as it is.
pub(crate) async fn run(args: HaproxyArgs, session: &Session, console: &mut Console) -> Outcome {
    let client = session.client()?;
    let once = args.once;
    let config = config(args)?;
    let words = format!("helium haproxy: {}", described(&config, &session.consul()?.address.to_string()));
    let mut keeper = Keeper::new(config, client, session.ports.clone());
    if once {
        return run_once(&mut keeper, console).await;
    }
    console.say(words);
    let mut signals = Signals::of_daemon()?;
    let (trigger, shutdown) = Shutdown::new();
    signals.obeyed_by(pin!(keeper.run(shutdown)), &trigger).await?.map(|()| Exit::Ok).map_err(failure)
}

async fn run_once(keeper: &mut Keeper, console: &mut Console) -> Outcome {
    let (round, wanted) = keeper.once().await.map_err(failure)?;
    for (backend, servers) in &round.servers {
        console.line(format!("backend {backend}: {servers} {}", if *servers == 1 { "server" } else { "servers" }))?;
        match wanted.get(backend).and_then(|wanted| wanted.doubt.as_ref()) {
            Some(doubt) if *servers == 0 => console.say(format!("backend {backend} has no servers: {doubt}")),
            Some(doubt) => console.say(format!("backend {backend} is in doubt, and no server was taken out: {doubt}")),
            None => {}
        }
    }
    // Words about each, and the first one for the exit code.
    let mut troubles = round.troubles.into_iter();
    let Some(first) = troubles.next() else { return Ok(Exit::Ok) };
    troubles.for_each(|trouble| console.say(trouble.to_string()));
    Err(failure(first))
}

fn config(args: HaproxyArgs) -> Result<KeeperConfig, Failure> {
    let mut names = BTreeSet::new();
    let backends: Vec<Backend> = args.services.into_iter().chain(args.previews).collect();
    if let Some(twice) = backends.iter().find(|backend| !names.insert(backend.name.as_str())) {
        let words = format!("two services would become the backend `{}`", twice.name);
        return Err(Failure::usage(words).hint("`--service NAME:BACKEND` gives one of them another name"));
    }
    if args.check_command.as_ref().is_some_and(|command| !command.contains(CHECKED)) {
        let words = format!("`--check-command` does not say where the new file stands in it: `{CHECKED}`");
        return Err(Failure::usage(words).hint("as in `haproxy -c -f /etc/haproxy/haproxy.cfg -f {}`"));
    }
    Ok(KeeperConfig {
        backends,
        file: args.file,
        mode: match args.mode {
            ModeArg::Http => Mode::Http,
            ModeArg::Tcp => Mode::Tcp,
        },
        slots: usize::from(args.slots),
        socket: args.socket,
        reload: args.reload.map(Reload::Command).or(args.master_socket.map(Reload::Master)),
        check: args.check_command,
        patience: args.patience.as_duration(),
    })
}

/// `web, api in /etc/haproxy/helium.cfg, HAProxy at /run/haproxy/admin.sock, Consul at http://127.0.0.1:8500`
fn described(config: &KeeperConfig, consul: &str) -> String {
    let names: Vec<String> = config.backends.iter().map(ToString::to_string).collect();
    let haproxy = config.socket.as_ref().map(|socket| format!(", HAProxy at {socket}")).unwrap_or_default();
    format!("{} in {}{haproxy}, Consul at {consul}", names.join(", "), config.file.display())
}

/// What stands in the way of `--once`, for people.
fn failure(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Consul(error) if error.is_denied() => Failure::new(Exit::NotAuthorised, error.to_string())
            .hint("`helium acl policy haproxy` prints the rights that this needs"),
        Trouble::Consul(error) => error.into(),
        trouble @ Trouble::HaProxy(_) => Failure::internal(trouble.to_string())
            .hint("the file was seen to; without `--socket`, `--once` needs no HAProxy that runs"),
        trouble => Failure::internal(trouble.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: HaproxyArgs,
    }

    fn read(line: &str) -> Result<Result<KeeperConfig, Failure>, clap::Error> {
        let words = ["haproxy"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| config(line.args))
    }

    #[test]
    fn only_once_needs_no_socket() {
        assert!(read("--service web --file f").unwrap_err().to_string().contains("--socket"));
        let once = read("--service web --file f --once").unwrap().unwrap();
        assert_eq!(
            (once.socket, once.slots, once.patience),
            (None, usize::from(SLOTS), helium_traffic::keeper::PATIENCE)
        );
    }

    #[test]
    fn two_services_of_one_backend_are_refused() {
        let failure = read("--service a:web --service web --file f --once").unwrap().unwrap_err();
        assert_eq!((failure.exit, failure.message.contains("`web`")), (Exit::Usage, true));
    }

    #[test]
    fn previews_are_a_backend_of_their_own() {
        let names = |line: &str| -> Vec<String> {
            read(line).unwrap().unwrap().backends.into_iter().map(|backend| backend.name).collect()
        };
        assert_eq!(names("--service web --preview web --file f --once"), ["web", "web-preview"]);
        assert_eq!(names("--preview web:next --file f --once"), ["next"]);
        assert!(read("--file f --once").unwrap_err().to_string().contains("--service"));
    }

    #[test]
    fn a_check_that_does_not_name_the_file_is_refused() {
        let failure = read("--service web --file f --once --check-command true").unwrap().unwrap_err();
        assert_eq!((failure.exit, failure.message.contains("`{}`")), (Exit::Usage, true));
    }

    #[test]
    fn there_is_one_way_to_reload() {
        let line = "--service web --file f --socket /s --master-socket /m";
        let config = read(line).unwrap().unwrap();
        assert_eq!(config.reload, Some(Reload::Master("/m".parse().unwrap())));
        assert!(read(&format!("{line} --reload true")).is_err());
    }
}
