//! A program of Nix, run to its end.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_processes::{Command, Finished, Run, StartError};

/// How long a program may take to end once it was asked to.
const GRACE: Duration = Duration::from_secs(10);
/// How many bytes of what it says are kept.
const KEEP: usize = 4096;

/// How a program of Nix is run.
pub(crate) struct Program<'a> {
    /// Its whole environment.
    pub(crate) env: &'a BTreeMap<String, String>,
    /// The login file that it is told of, for what it fetches.
    pub(crate) netrc: Option<&'a Path>,
    /// How long it may take.
    pub(crate) limit: Duration,
    /// The file that names its process while it runs.
    pub(crate) note: &'a Path,
}

/// A program of Nix cannot be started, or has not done what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be started.
    #[error("`{command}` cannot be started: {source}")]
    Start {
        /// The command, without what is the same in all.
        command: String,
        /// Why.
        source: StartError,
    },
    /// It has failed, or was ended since its time was over.
    #[error("`{command}`: {reason}")]
    Failed {
        /// The command, without what is the same in all.
        command: String,
        /// Why.
        reason: String,
    },
}

impl Program<'_> {
    /// Runs `argv`; `said` is what people are told of it.
    pub(crate) async fn run(&self, mut argv: Vec<String>, said: String) -> Result<(), Error> {
        if let Some(netrc) = self.netrc {
            argv.extend(["--option".to_owned(), "netrc-file".to_owned(), netrc.display().to_string()]);
        }
        let command = Command { argv, env: self.env.clone(), cwd: PathBuf::from("/"), user: None };
        let run = Run { limit: self.limit, grace: GRACE, log: None, keep: KEEP, note: Some(self.note) };
        let finished = run.to_end(&command).await.map_err(|source| Error::Start { command: said.clone(), source })?;
        if finished.is_success() { Ok(()) } else { Err(Error::Failed { command: said, reason: reason(&finished) }) }
    }
}

/// What a program says that is asked something and changes nothing; `said` is what people are told of it.
pub(crate) async fn answer(command: &Command, limit: Duration, said: &str) -> Result<String, Error> {
    let run = Run { limit, grace: Duration::ZERO, log: None, keep: KEEP, note: None };
    let finished = run.to_end(command).await.map_err(|source| Error::Start { command: said.to_owned(), source })?;
    if finished.is_success() {
        Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
    } else {
        Err(Error::Failed { command: said.to_owned(), reason: reason(&finished) })
    }
}

/// How a command failed, for people.
pub(crate) fn reason(finished: &Finished) -> String {
    let how = if finished.timed_out { "its time was over".to_owned() } else { finished.exit.to_string() };
    finished.last_line().map_or(how.clone(), |line| format!("{how}: {line}"))
}
