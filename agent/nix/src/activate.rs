//! `bin/activate` and `bin/deactivate` of a profile: run within a limit, with a log of their own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_processes::{Command, Run};

use crate::{
    program::reason,
    record::{Generation, beside},
};

/// How long a script may take to end once it was asked to.
const GRACE: Duration = Duration::from_secs(10);
/// How many bytes of what it prints are kept to tell why it failed.
const KEEP: usize = 4096;
/// A log that is longer than this is put aside before more is written; one is kept.
const LONGEST_LOG: u64 = 1 << 20;

/// How scripts of a profile are run.
#[derive(Clone, Debug)]
pub struct Scripts {
    /// The profile, which the script is looked for below.
    pub profile: PathBuf,
    /// The whole environment, to which `HELIUM_PROFILE`, `HELIUM_GENERATION` and `HELIUM_STORE_PATH` are added.
    pub env: BTreeMap<String, String>,
    /// How long one may take.
    pub limit: Duration,
    /// How long it may take to end once its time is over, before its whole group is killed; 10 s by default.
    pub grace: Duration,
    /// Where all that it prints is appended.
    pub log: PathBuf,
    /// The file that names a process of ours while it runs.
    pub note: PathBuf,
}

/// What became of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// It has succeeded.
    Well,
    /// The profile has none.
    None,
    /// It has failed, could not be started, or was ended since its time was over.
    Badly(String),
}

impl Scripts {
    /// Those of a profile, with their files beside `state`.
    pub fn new(profile: &Path, state: &Path, env: BTreeMap<String, String>, limit: Duration) -> Self {
        let (log, note) = (beside(state, ".log"), beside(state, ".note"));
        Self { profile: profile.to_owned(), env, limit, grace: GRACE, log, note }
    }

    /// Runs one, such as `bin/activate`, of the generation that the profile is at.
    pub async fn run(&self, name: &str, generation: &Generation) -> Ran {
        let script = self.profile.join(name);
        // A link to nowhere is a script that cannot be started, and not none.
        if fs::symlink_metadata(&script).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ran::None;
        }
        put_aside(&self.log);
        let mut env = self.env.clone();
        env.extend([
            ("HELIUM_PROFILE".to_owned(), self.profile.display().to_string()),
            ("HELIUM_GENERATION".to_owned(), generation.number.to_string()),
            ("HELIUM_STORE_PATH".to_owned(), generation.path.clone()),
        ]);
        let argv = vec![script.to_string_lossy().into_owned()];
        let command = Command { argv, env, cwd: PathBuf::from("/"), user: None };
        let run =
            Run { limit: self.limit, grace: self.grace, log: Some(&self.log), keep: KEEP, note: Some(&self.note) };
        match run.to_end(&command).await {
            Ok(finished) if finished.is_success() => Ran::Well,
            Ok(finished) if finished.timed_out => {
                Ran::Badly(format!("{name} was ended after {} s: {}", self.limit.as_secs_f64(), reason(&finished)))
            }
            Ok(finished) => Ran::Badly(format!("{name}: {}", reason(&finished))),
            Err(error) => Ran::Badly(format!("{name} cannot be run: {error}")),
        }
    }
}

fn put_aside(log: &Path) {
    if fs::metadata(log).is_ok_and(|log| log.len() > LONGEST_LOG)
        && let Err(error) = fs::rename(log, beside(log, ".1"))
    {
        tracing::warn!(%error, "the log of activations cannot be put aside");
    }
}
