//! The commands, one file each: their options, and what they call and print.

#[cfg(feature = "control")]
pub(crate) mod acl;
pub(crate) mod agent;
mod agent_helios;
mod agent_http;
mod agent_verify;
#[cfg(feature = "control")]
pub(crate) mod apply;
#[cfg(feature = "control")]
pub(crate) mod canary;
#[cfg(feature = "control")]
mod canary_get;
mod containerpilot;
#[cfg(feature = "control")]
pub(crate) mod control;
#[cfg(feature = "control")]
pub(crate) mod controller;
#[cfg(feature = "control")]
mod controller_http;
#[cfg(feature = "control")]
pub(crate) mod delete;
#[cfg(feature = "control")]
pub(crate) mod describe;
#[cfg(feature = "control")]
pub(crate) mod dev;
#[cfg(feature = "control")]
mod dev_screen;
#[cfg(feature = "control")]
pub(crate) mod diff;
#[cfg(feature = "control")]
pub(crate) mod doctor;
pub(crate) mod elsewhere;
pub(crate) mod env;
#[cfg(feature = "control")]
pub(crate) mod events;
#[cfg(feature = "control")]
pub(crate) mod explain;
mod following;
#[cfg(feature = "control")]
pub(crate) mod get;
#[cfg(feature = "control")]
mod get_instances;
#[cfg(feature = "control")]
mod get_watch;
pub(crate) mod hail;
#[cfg(feature = "control")]
pub(crate) mod haproxy;
#[cfg(feature = "control")]
pub(crate) mod logs;
mod managed;
#[cfg(feature = "control")]
pub(crate) mod node;
#[cfg(feature = "control")]
mod node_maintenance;
#[cfg(feature = "control")]
mod notifying;
#[cfg(feature = "control")]
mod others;
pub(crate) mod package;
#[cfg(feature = "control")]
pub(crate) mod plan;
pub(crate) mod render;
#[cfg(feature = "control")]
pub(crate) mod request;
#[cfg(feature = "control")]
pub(crate) mod rollout;
#[cfg(feature = "control")]
pub(crate) mod sample;
#[cfg(feature = "control")]
pub(crate) mod scale;
#[cfg(feature = "control")]
pub(crate) mod schema;
mod serving;
#[cfg(feature = "control")]
pub(crate) mod set;
pub(crate) mod supervise;
#[cfg(feature = "control")]
pub(crate) mod validate;
pub(crate) mod version;
#[cfg(feature = "control")]
pub(crate) mod wait;
#[cfg(feature = "control")]
mod waiting;

use tokio::task::JoinError;

use crate::{
    Workers,
    args::Command,
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

/// Runs a supervisor, of a file of ContainerPilot or of an instance, if that is what the command asks for: the exit code. To be called first, while there is one thread.
pub(crate) fn supervise(command: &Command) -> Option<Result<u8, Failure>> {
    match command {
        Command::Agent(args) => args.containerpilot.supervise(),
        Command::Supervise(args) => Some(supervise::run(args)),
        _ => None,
    }
}

/// Which log lines a command prints unless `HELIUM_LOG` says otherwise. `dev` shows what happens in its own way.
pub(crate) fn usual_log(command: &Command) -> &'static str {
    match command {
        Command::Agent(args) if !args.stays() => "error",
        Command::Agent(_) | Command::Hail(_) => "info",
        Command::Render(args) if args.stays() => "info",
        Command::Env(args) if !args.once => "info",
        #[cfg(feature = "control")]
        Command::Control(command) => command.usual_log(),
        _ => "error",
    }
}

/// Whether a command runs until it is told to stop, and so deals with signals itself.
fn is_server(command: &Command) -> bool {
    match command {
        Command::Agent(args) => args.stays(),
        #[cfg(feature = "control")]
        Command::Control(command) => command.is_server(),
        Command::Hail(args) => args.stays(),
        Command::Render(args) => args.stays(),
        Command::Env(args) => !args.once,
        _ => false,
    }
}

/// How many threads a command needs. What runs beside every service of a machine has no more than it can use, however many cores there are.
pub(crate) fn workers(command: &Command) -> Workers {
    match command {
        Command::Render(args) if args.stays() => Workers::Own,
        Command::Env(args) if !args.once => Workers::Own,
        Command::Agent(_) | Command::Hail(_) => Workers::Two,
        #[cfg(feature = "control")]
        Command::Control(command) => command.workers(),
        _ => Workers::Cores,
    }
}

/// Whether a command's exit code is the verdict on something that it waits for.
fn is_verdict(command: &Command) -> bool {
    match command {
        #[cfg(feature = "control")]
        Command::Control(command) => command.is_verdict(),
        _ => false,
    }
}

/// Runs a command. Ctrl-C ends any that is no server at once: what was committed stays, what was not never happens.
pub(crate) async fn run(command: Command, session: Session, mut console: Console) -> Outcome {
    if is_verdict(&command) {
        console.outlive_its_reader();
    }
    let server = is_server(&command);
    // A task of its own: one that blocks, as on a terminal's stdin, must not keep Ctrl-C from being seen.
    let mut work = tokio::spawn(async move { dispatch(command, &session, &mut console).await });
    if server {
        return outcome(work.await);
    }
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err(Failure::new(Exit::Interrupted, ""))
        }
        ended = &mut work => outcome(ended),
    }
}

/// The outcome of a command's task. One that panicked has told where already.
fn outcome(ended: Result<Outcome, JoinError>) -> Outcome {
    ended.unwrap_or_else(|error| {
        let message = if error.is_panic() { "Helium has run into a fault of its own" } else { "the command was lost" };
        Err(Failure::internal(message).hint(
            "what it had written stays written; please report this to the makers of Helium, with the lines above and what \
             `helium version -o json` says",
        ))
    })
}

async fn dispatch(command: Command, session: &Session, console: &mut Console) -> Outcome {
    match command {
        #[cfg(feature = "control")]
        Command::Control(command) => control::run(command, session, console).await,
        Command::Agent(args) => Box::pin(agent::run(*args, session, console)).await,
        Command::Hail(args) => Box::pin(hail::run(args, session, console)).await,
        Command::Render(args) => render::run(*args, session, console).await,
        Command::Env(args) => env::run(args, session, console).await,
        Command::Package(command) => package::run(&command, console),
        Command::Version(args) => version::run(&args, console),
        // It has ended before there were threads.
        Command::Supervise(_) => Ok(Exit::Ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_with_a_word_about_where_to_report_it() {
        let ended = tokio::spawn(async { panic!("a fault") }).await;
        let failure = outcome(ended).unwrap_err();
        assert_eq!(failure.exit, Exit::Internal);
        assert!(failure.hint.unwrap().contains("please report this"));
    }
}
