//! Lines of the shell that people give: checks of new files, and what is run when files have changed.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use helium_processes::{Command, Run};
use helium_runtime::shutdown::Shutdown;
use helium_templates::{
    hidden::Hidden,
    output::Output,
    transaction::{Check, Staged, command_line},
};
use tokio::runtime::Handle;

/// How many bytes of what a command prints are kept: its last line is told.
const KEEP: usize = 16 * 1024;

/// Where and how long lines are run.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The whole environment.
    pub environment: BTreeMap<String, String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Whom commands run as: user and group id; none for the one who runs this.
    pub user: Option<(u32, u32)>,
    /// How long a command may take.
    pub limit: Duration,
    /// How long it may take to end when its time is over, before it is killed.
    pub grace: Duration,
}

impl Surroundings {
    /// Runs a line by the shell. The error says what became of it, with its last line, and holds no secret.
    pub async fn run(&self, line: &str, hidden: &Hidden) -> Result<(), String> {
        let argv = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
        let command = Command { argv, env: self.environment.clone(), cwd: self.cwd.clone(), user: self.user };
        let run = Run { limit: self.limit, grace: self.grace, log: None, keep: KEEP, note: None };
        let told = |what: String| Err(hidden.mask(&format!("`{line}`: {what}")));
        let finished = match run.to_end(&command).await {
            Ok(finished) => finished,
            Err(error) => return told(error.to_string()),
        };
        let last = finished.last_line().map(|line| format!(": {line}")).unwrap_or_default();
        match (finished.timed_out, finished.exit) {
            (false, exit) if exit.is_success() => Ok(()),
            (false, exit) => told(format!("{exit}{last}")),
            (true, _) => told(format!("took longer than {:?} and was ended{last}", self.limit)),
        }
    }
}

/// Checks new files by lines of the shell, and notes what is owed once they pass.
pub(crate) struct Checks<'a, N> {
    pub(crate) lines: &'a [String],
    pub(crate) outputs: &'a [Output],
    pub(crate) hidden: &'a Hidden,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) handle: Handle,
    pub(crate) shutdown: Shutdown,
    /// Called when all have passed, right before the files are put in place.
    pub(crate) passed: N,
}

impl<N: Fn(&[Staged]) -> Result<(), String>> Check for Checks<'_, N> {
    /// Waits for the commands: to be called where waiting is allowed.
    fn check(&self, staged: &[Staged]) -> Result<(), String> {
        for line in self.lines {
            let line = command_line(line, self.outputs, staged);
            let run = self.shutdown.unless_cancelled(self.surroundings.run(&line, self.hidden));
            self.handle.block_on(run).unwrap_or_else(|| Err("stopped in the middle of the check".to_owned()))?;
        }
        (self.passed)(staged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(limit: Duration) -> Surroundings {
        let environment = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        Surroundings { environment, cwd: "/".into(), user: None, limit, grace: Duration::from_millis(200) }
    }

    #[tokio::test]
    async fn what_a_command_says_is_told_without_secrets() {
        let mut hidden = Hidden::default();
        hidden.add("hunter2");
        let surroundings = surroundings(Duration::from_secs(20));
        assert_eq!(surroundings.run("true && exit 0", &hidden).await, Ok(()));
        let error = surroundings.run("echo password hunter2 is wrong >&2; exit 3", &hidden).await.unwrap_err();
        assert!(error.ends_with(": exit status 3: password (secret) is wrong"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended() {
        let error = surroundings(Duration::from_millis(100)).run("sleep 600", &Hidden::default()).await.unwrap_err();
        assert_eq!(error, "`sleep 600`: took longer than 100ms and was ended");
    }
}
