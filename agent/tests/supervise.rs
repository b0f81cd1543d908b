//! A program that is a supervisor of an instance's jobs and nothing else, for tests: `helium-agent-supervise supervise FILE`.

use std::{error::Error, path::PathBuf, process::ExitCode};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let file = std::env::args().nth(2).map(PathBuf::from).ok_or("which file?")?;
    Ok(helium_agent::jobs::supervise(&file)?.into())
}
