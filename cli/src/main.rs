//! The binary `helium`: parse, call, print.
//!
//! The feature `control` is all that people and controllers do; without it there is the agent alone, for machines and images that run nothing else.

#![cfg_attr(
    not(feature = "control"),
    allow(dead_code, reason = "what only the other commands print with is left out by the linker")
)]

mod args;
mod commands;
#[cfg(feature = "control")]
mod documents;
mod logging;
#[cfg(feature = "control")]
mod names;
mod output;
#[cfg(feature = "control")]
mod people;
mod session;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::Cli,
    output::{Console, Exit, Failure},
    session::Session,
};

/// A controller of a large fleet reads and writes small records on all cores at once, a third of its time in the allocator of libc.
/// An agent does little at once, and that of libc gives back what is not needed any more.
#[cfg(feature = "control")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
            if let Some(failure) = commands::elsewhere::asked(&error, &words) {
                return said(&failure);
            }
            // Help and version are data on stdout, everything else is words on stderr; clap knows which is which.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    if let Some(ended) = commands::supervise(&cli.command) {
        return ended.map_or_else(|failure| said(&failure), ExitCode::from);
    }
    match start(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => said(&failure),
    }
}

fn said(failure: &Failure) -> ExitCode {
    Console::of_process().failure(failure);
    failure.exit.into()
}

fn start(cli: Cli) -> output::Outcome {
    logging::start(cli.global.log_format, commands::usual_log(&cli.command))?;
    let runtime = runtime(commands::workers(&cli.command))?;
    let session = Session::new(cli.global);
    let outcome = runtime.block_on(commands::run(cli.command, session, Console::of_process()));
    // A task that hangs in a blocking call must not keep the process from ending.
    runtime.shutdown_background();
    outcome
}

/// How many threads a command's tasks run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    /// The one that is there: what it needs is memory, and it blocks in nothing.
    Own,
    /// Two: while one is in a blocking call, as on stdin, the other sees signals.
    Two,
    /// One for each core, and at least two.
    Cores,
}

pub(crate) fn runtime(workers: Workers) -> Result<tokio::runtime::Runtime, Failure> {
    use tokio::runtime::Builder;
    let cores = || std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let built = match workers {
        Workers::Own => Builder::new_current_thread().enable_all().build(),
        Workers::Two => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        Workers::Cores => Builder::new_multi_thread().worker_threads(cores()).enable_all().build(),
    };
    built.map_err(|error| Failure::internal(format!("cannot start: {error}")))
}
