//! `helium supervise`, which agents start and no person does: the main process of an instance and its jobs.

use std::path::PathBuf;

use clap::Args;
use helium_agent::jobs::{self, SuperviseError};

use crate::{
    args::LogFormat,
    logging,
    output::{Exit, Failure},
};

/// Options of `helium supervise`.
#[derive(Args, Debug)]
pub(crate) struct SuperviseArgs {
    /// What is to be run, as an agent has written it down
    file: PathBuf,
}

/// Runs `helium supervise`, while there is one thread: the exit code of the main process.
pub(crate) fn run(args: &SuperviseArgs) -> Result<u8, Failure> {
    // Its log is that of the instance.
    logging::start(LogFormat::Text, "warn")?;
    jobs::supervise(&args.file).map_err(|error| {
        let exit = if matches!(error, SuperviseError::System(_)) { Exit::Internal } else { Exit::Usage };
        Failure::new(exit, error.to_string())
    })
}
