//! `helium dev`: everything on this machine alone, with a store of its own.
//!
//! Design: the embedded server, the controller and the agent are the very parts that run apart in production; they speak to the
//! server through its in-process transport, and everybody else through its HTTP face. Ctrl-C stops the controller first, so that it
//! does not mend what the agent is taking down.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use consul_client::Client;
use consul_embedded::{Durability, OpenError, Server, checks::NetProber};
use helium_agent::{Agent, AgentConfig, StopMode};
use helium_analysis::Sources;
use helium_crds::{AnyObject, NodeName, notification::Notifications};
use helium_engine::{Engine, EngineConfig};
use helium_runtime::shutdown::{Shutdown, Trigger};
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinHandle},
};

use super::{
    apply::result_line,
    controller_http::metric_sources,
    dev_screen::Screen,
    notifying::{self, Telling},
};
use crate::commands::{
    agent::{DEV_AGENT, DEV_DATA_DIR, own_program, refused},
    serving::Signals,
};
use crate::{
    documents::{self, Files},
    output::{Console, Exit, Failure, Outcome, console::redraws},
    session::Session,
};

/// The only node of `helium dev`.
const NODE: &str = "local";
/// The folder of secrets within that of the data.
const SECRETS: &str = "secrets";
/// The port of Consul's API, and how many after it are tried before any free one is taken.
const PORT: u16 = 8500;
const PORTS: u16 = 10;

/// Options of `helium dev`.
#[derive(Args, Debug)]
pub(crate) struct DevArgs {
    /// Files or folders of documents to apply at the start, or `-` for stdin
    #[arg(short, long = "filename", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Go into folders within folders
    #[arg(short = 'R', long, requires = "files")]
    recursive: bool,
    /// The folder of the store, of records and logs; `helium logs --data-dir` takes the same
    #[arg(long, value_name = "FOLDER", default_value = DEV_DATA_DIR)]
    data_dir: PathBuf,
    /// The folder of the files that metric sources and gates name as secrets [default: `secrets` in the data folder]
    #[arg(long, value_name = "FOLDER", env = "HELIUM_SECRETS_DIR")]
    secrets_dir: Option<PathBuf>,
    /// A file that says who is told of which events [default: nobody is]
    #[arg(long, value_name = "FILE", env = "HELIUM_NOTIFICATIONS")]
    notifications: Option<PathBuf>,
    /// Stop what an earlier run left, and forget everything
    #[arg(long)]
    fresh: bool,
}

/// The parts that run.
struct Parts {
    /// The HTTP face of the store.
    http: JoinHandle<std::io::Result<()>>,
    /// What asks the health checks.
    checks: JoinHandle<()>,
    controller: (Trigger, JoinHandle<Result<(), helium_engine::Error>>),
    telling: Telling,
    agent: (Trigger, JoinHandle<()>),
}

impl Parts {
    /// Waits until a part ends that nobody has asked to, and says which. What is left of Helium then would only look alive.
    async fn ended_early(&mut self) -> Failure {
        let (part, why) = tokio::select! {
            biased;
            ended = &mut self.http => ("the HTTP face of the store", reason(ended.map(|served| served.map_err(|e| e.to_string())))),
            ended = &mut self.checks => ("the health checks", reason(ended.map(Ok))),
            ended = &mut self.controller.1 => ("the controller", reason(ended.map(|ran| ran.map_err(|e| e.to_string())))),
            ended = &mut self.agent.1 => ("the agent", reason(ended.map(Ok))),
        };
        Failure::internal(format!("{part} ended: {why}")).hint("what it keeps is on the disk; start `helium dev` again")
    }
}

/// Why a task ended, for people.
fn reason(ended: Result<Result<(), String>, JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "nobody asked it to".to_owned(),
        Ok(Err(error)) => error,
        Err(error) => error.to_string(),
    }
}

/// Runs `helium dev` until it is asked to stop.
pub(crate) async fn run(args: DevArgs, session: &Session, console: &mut Console) -> Outcome {
    let objects = declared(&args, session, console)?;
    let notifications = notifying::settings(args.notifications.as_deref(), console)?;
    if args.fresh {
        forget(&args.data_dir, session).await?;
    }
    let (server, port) = start_store(&args.data_dir).await?;
    let listener = port.listener;
    greet(port.number, &args.data_dir, console)?;
    let people = session.people_over(client_of(&server), "dev");
    // Before anybody watches: a watcher would be blind until it finds the sentinels.
    people.initialise().await?;
    let mut signals = Signals::listen()?;
    let mut parts = start(&server, listener, &args, notifications, session)?;
    let work = async {
        if !objects.is_empty() {
            for applied in people.apply(&objects).await? {
                for warning in &applied.warnings {
                    console.warn(format!("{}: {warning}", applied.object));
                }
                console.line(result_line(&applied))?;
            }
        }
        Screen::new(redraws()).show(&people, session, console).await
    };
    let ended = tokio::select! {
        biased;
        _ = signals.next() => Ok(()),
        early = parts.ended_early() => Err(early),
        shown = work => shown,
    };
    console.say("stopping what runs; Ctrl-C again ends it at once");
    tokio::select! {
        biased;
        () = stop(parts) => {}
        _ = signals.next() => return Err(Failure::new(Exit::Interrupted, "not everything was stopped")),
    }
    ended.map(|()| Exit::Ok)
}

fn declared(args: &DevArgs, session: &Session, console: &mut Console) -> Result<Vec<AnyObject>, Failure> {
    if args.files.is_empty() {
        return Ok(Vec::new());
    }
    let files = Files { files: args.files.clone(), recursive: args.recursive };
    documents::sound(&files, session.namespace(), console)
}

/// A port that is ours.
struct Port {
    listener: TcpListener,
    number: u16,
}

/// Takes 8500 if it is free, else the next that is.
async fn take_port() -> Result<Port, Failure> {
    for number in (PORT..PORT + PORTS).chain([0]) {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).await {
            let number = listener.local_addr().map_or(number, |address| address.port());
            return Ok(Port { listener, number });
        }
    }
    Err(Failure::internal("no port is free on 127.0.0.1"))
}

fn greet(port: u16, folder: &Path, console: &mut Console) -> Result<(), Failure> {
    let folder = if folder.is_relative() && !folder.starts_with(".") {
        format!("./{}", folder.display())
    } else {
        folder.display().to_string()
    };
    console.line(format!(
        "Helium dev: Consul API on http://127.0.0.1:{port}, data in {folder} (one machine only; for more, run Consul)"
    ))?;
    console.line("Ctrl-C stops everything; state is kept (--fresh forgets it)")?;
    if port != PORT {
        console.line(format!(
            "Port {PORT} is taken. In other terminals: export CONSUL_HTTP_ADDR=http://127.0.0.1:{port}"
        ))?;
    }
    Ok(())
}

async fn start_store(folder: &Path) -> Result<(Server, Port), Failure> {
    let server = open(folder).map_err(|error| {
        Failure::new(Exit::Refused, format!("cannot open the store in `{}`: {error}", folder.display()))
            .hint("does another `helium dev` run here? `--data-dir` names another folder")
    })?;
    Ok((server, take_port().await?))
}

fn open(folder: &Path) -> Result<Server, OpenError> {
    Server::open(&folder.join("consul"), &store_config(), Durability::Disk)
}

fn store_config() -> consul_embedded::Config {
    consul_embedded::Config { node: NODE.to_owned(), ..consul_embedded::Config::default() }
}

fn client_of(server: &Server) -> Client {
    Client::over(server.transport(), None)
}

fn agent_config(folder: &Path, session: &Session) -> Result<AgentConfig, Failure> {
    let mut config = AgentConfig::new(NodeName::from(NODE), folder.join(DEV_AGENT), own_program()?);
    config.keys = session.keys();
    Ok(config)
}

fn start(
    server: &Server,
    listener: TcpListener,
    args: &DevArgs,
    notifications: Option<Notifications>,
    session: &Session,
) -> Result<Parts, Failure> {
    let folder = &args.data_dir;
    let agent = Agent::new(agent_config(folder, session)?, client_of(server), session.ports.clone())
        .map_err(|error| refused(&error))?;
    let http = {
        let server = server.clone();
        tokio::spawn(async move { server.serve_http(listener).await })
    };
    let checks = {
        let server = server.clone();
        tokio::spawn(async move { server.run_checks(Arc::new(NetProber)).await })
    };
    let config = EngineConfig { keys: session.keys(), ..EngineConfig::default() };
    let secrets = args.secrets_dir.clone().unwrap_or_else(|| folder.join(SECRETS));
    let measure = metric_sources(client_of(server), Some(secrets), session)?;
    let telling = Telling::start(notifications, &measure, session);
    let engine =
        telling.wired(Engine::new(client_of(server), config, session.ports.clone(), Arc::<Sources>::clone(&measure)));
    let engine = engine.following(measure);
    let (stop_controller, shutdown) = Shutdown::new();
    let controller = (stop_controller, tokio::spawn(async move { engine.run(shutdown).await }));
    let (stop_agent, shutdown) = Shutdown::new();
    let agent = (stop_agent, tokio::spawn(agent.run(shutdown, StopMode::StopInstances)));
    Ok(Parts { http, checks, controller, telling, agent })
}

async fn stop(parts: Parts) {
    let (trigger, controller) = parts.controller;
    trigger.trigger();
    // One that has ended has been waited for already, and told.
    if !controller.is_finished()
        && let Ok(Err(error)) = controller.await
    {
        tracing::error!(%error, "the controller ended badly");
    }
    // Receivers get their time while the agent takes down what runs.
    let (trigger, agent) = parts.agent;
    trigger.trigger();
    parts.telling.stop().await;
    if !agent.is_finished()
        && let Err(error) = agent.await
    {
        tracing::error!(%error, "the agent ended badly");
    }
    parts.checks.abort();
    parts.http.abort();
}

/// Stops the instances that an earlier run left, and removes everything it knew.
async fn forget(folder: &Path, session: &Session) -> Result<(), Failure> {
    if !folder.exists() {
        return Ok(());
    }
    // Holding the store's lock shows that no other `helium dev` runs here.
    drop(
        open(folder)
            .map_err(|error| Failure::new(Exit::Refused, format!("cannot forget `{}`: {error}", folder.display())))?,
    );
    let nowhere = Server::in_memory(&store_config());
    let agent = Agent::new(agent_config(folder, session)?, client_of(&nowhere), session.ports.clone())
        .map_err(|error| refused(&error))?;
    let (trigger, shutdown) = Shutdown::new();
    trigger.trigger();
    agent.run(shutdown, StopMode::StopInstances).await;
    for part in ["consul", DEV_AGENT] {
        let path = folder.join(part);
        if path.exists() {
            std::fs::remove_dir_all(&path)
                .map_err(|error| Failure::internal(format!("cannot remove `{}`: {error}", path.display())))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_early_is_named_with_its_reason_and_the_others_are_still_stopped() {
        let (stop_controller, shutdown) = Shutdown::new();
        let controller = tokio::spawn(async move {
            shutdown.cancelled().await;
            Ok(())
        });
        let (stop_agent, _) = Shutdown::new();
        let mut parts = Parts {
            http: tokio::spawn(std::future::pending()),
            checks: tokio::spawn(std::future::pending()),
            controller: (stop_controller, controller),
            telling: Telling::nobody(),
            agent: (stop_agent, tokio::spawn(async { panic!("out of luck") })),
        };
        let failure = parts.ended_early().await;
        assert_eq!(failure.exit, Exit::Internal);
        assert!(
            failure.message.starts_with("the agent ended: ") && failure.message.contains("out of luck"),
            "{failure:?}"
        );
        stop(parts).await;
    }
}
