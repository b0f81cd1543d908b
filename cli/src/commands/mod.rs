//! The commands, one file each: their options, and what they call and print.

pub(crate) mod acl;
pub(crate) mod agent;
mod agent_helios;
mod agent_http;
mod agent_verify;
pub(crate) mod apply;
pub(crate) mod canary;
mod canary_get;
mod containerpilot;
pub(crate) mod controller;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod dev;
mod dev_screen;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod env;
pub(crate) mod events;
pub(crate) mod explain;
mod following;
pub(crate) mod get;
mod get_instances;
mod get_watch;
pub(crate) mod hail;
pub(crate) mod haproxy;
pub(crate) mod logs;
mod managed;
pub(crate) mod node;
mod node_maintenance;
mod notifying;
mod others;
pub(crate) mod package;
pub(crate) mod plan;
pub(crate) mod render;
pub(crate) mod request;
pub(crate) mod rollout;
pub(crate) mod sample;
pub(crate) mod scale;
pub(crate) mod schema;
mod serving;
pub(crate) mod set;
pub(crate) mod supervise;
pub(crate) mod validate;
pub(crate) mod version;
pub(crate) mod wait;
mod waiting;

use helium_crds::control::Verb;
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
        Command::Controller(_) | Command::Agent(_) | Command::Haproxy(_) | Command::Hail(_) => "info",
        Command::Render(args) if args.stays() => "info",
        Command::Env(args) if !args.once => "info",
        Command::Dev(_) => "warn",
        _ => "error",
    }
}

/// Whether a command runs until it is told to stop, and so deals with signals itself.
fn is_server(command: &Command) -> bool {
    match command {
        Command::Dev(_) | Command::Controller(_) | Command::Sample(_) => true,
        Command::Agent(args) => args.stays(),
        Command::Haproxy(args) => !args.once,
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
        Command::Agent(_) | Command::Hail(_) | Command::Haproxy(_) => Workers::Two,
        _ => Workers::Cores,
    }
}

/// Whether a command's exit code is the verdict on something that it waits for.
fn is_verdict(command: &Command) -> bool {
    match command {
        Command::Apply(args) => args.wait,
        Command::Delete(args) => args.wait,
        Command::Set(args) => args.wait,
        Command::Rollout(command) => command.waits(),
        Command::Wait(_) => true,
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
        Command::Apply(args) => apply::run(args, session, console).await,
        Command::Diff(args) => diff::run(args, session, console).await,
        Command::Plan(args) => plan::run(args, session, console).await,
        Command::Validate(args) => validate::run(&args, session, console),
        Command::Get(args) => get::run(args, session, console).await,
        Command::Describe(args) => describe::run(args, session, console).await,
        Command::Explain(args) => explain::run(args, session, console).await,
        Command::Events(args) => events::run(args, session, console).await,
        Command::Delete(args) => delete::run(args, session, console).await,
        Command::Scale(args) => scale::run(args, session, console).await,
        Command::Set(args) => set::run(args, session, console).await,
        Command::Lock(args) => rollout::hold(args, Verb::Lock, "locked", session, console).await,
        Command::Unlock(args) => request::send(args, Verb::Unlock, "unlocked", session, console).await,
        Command::Rollout(command) => rollout::run(command, session, console).await,
        Command::Canary(command) => canary::run(command, session, console).await,
        Command::Logs(args) => logs::run(args, session, console).await,
        Command::Wait(args) => wait::run(args, session, console).await,
        Command::Dev(args) => dev::run(args, session, console).await,
        Command::Controller(args) => controller::run(args, session, console).await,
        Command::Agent(args) => Box::pin(agent::run(*args, session, console)).await,
        Command::Haproxy(args) => haproxy::run(args, session, console).await,
        Command::Hail(args) => Box::pin(hail::run(args, session, console)).await,
        Command::Render(args) => render::run(*args, session, console).await,
        Command::Env(args) => env::run(args, session, console).await,
        Command::Package(command) => package::run(&command, console),
        Command::Node(command) => node::run(command, session, console).await,
        Command::Acl(command) => acl::run(&command, session, console),
        Command::Doctor(args) => doctor::run(args, session, console).await,
        Command::Schema(args) => schema::run(&args, console),
        Command::Version(args) => version::run(&args, console),
        Command::Sample(args) => sample::run(args, console).await,
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
