//! The commands, one file each: their options, and what they call and print.

pub(crate) mod agent;
mod agent_helios;
mod agent_http;
mod agent_verify;
mod containerpilot;
#[cfg(feature = "control")]
pub(crate) mod control;
pub(crate) mod elsewhere;
pub(crate) mod env;
mod following;
pub(crate) mod hail;
mod managed;
pub(crate) mod package;
pub(crate) mod render;
mod serving;
pub(crate) mod supervise;
pub(crate) mod version;

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
