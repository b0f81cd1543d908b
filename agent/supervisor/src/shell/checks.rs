//! Checks of jobs, each in a task of its own, so that none waits for another.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use helium_processes::{Command, Finished, Run, StartError};
use tokio::{
    sync::{broadcast, mpsc},
    task::AbortHandle,
};

use super::lines::Lines;
use crate::{
    job::{Health, Output},
    runner::CheckReport,
    supervisor::{Input, JobId},
};

/// How long a check may take to end once its time is over.
const GRACE: Duration = Duration::from_millis(500);
/// How many bytes of each output of a check are passed on.
const KEEP: usize = 64 * 1024;

/// The checks that are under way; dropped, it ends them.
pub(crate) struct Checks {
    under_way: BTreeMap<u64, AbortHandle>,
    reports: mpsc::Sender<Input>,
    told: broadcast::Sender<CheckReport>,
    lines: Lines,
}

impl Checks {
    pub(crate) fn new(reports: mpsc::Sender<Input>, told: broadcast::Sender<CheckReport>, lines: Lines) -> Self {
        Self { under_way: BTreeMap::new(), reports, told, lines }
    }

    /// Starts a check, which is this command and is written down there. Its end will be reported.
    pub(crate) fn start(
        &mut self,
        job: JobId,
        check: u64,
        name: String,
        health: &Health,
        what: (Command, Option<PathBuf>),
    ) {
        let (reports, lines, limit, output) = (self.reports.clone(), self.lines.clone(), health.timeout, health.output);
        let told = self.told.clone();
        let (command, note) = what;
        let task = tokio::spawn(async move {
            let run = Run { limit, grace: GRACE, log: None, keep: KEEP, note: note.as_deref() };
            let finished = run.to_end(&command).await;
            let passed = finished.as_ref().is_ok_and(Finished::is_success);
            // First what was found: whoever does not read what is printed holds only that up.
            let _ = told.send(CheckReport { job: name.clone(), passed, output: words(&finished) });
            let _ = reports.send(Input::Checked { job, check, passed }).await;
            match finished {
                Ok(finished) => print(&lines, &name, output, finished).await,
                Err(error) => tracing::warn!(job = %name, %error, "a check could not be started"),
            }
        });
        self.under_way.insert(check, task.abort_handle());
    }

    /// Ends a check with all that it started.
    pub(crate) fn abort(&mut self, check: u64) {
        if let Some(task) = self.under_way.remove(&check) {
            task.abort();
        }
    }

    /// A check was reported to have ended.
    pub(crate) fn forget(&mut self, check: u64) {
        self.under_way.remove(&check);
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.under_way.values().for_each(AbortHandle::abort);
    }
}

/// What a check has to say for itself.
fn words(finished: &Result<Finished, StartError>) -> String {
    match finished {
        Ok(finished) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let late = if finished.timed_out { "the check took too long\n" } else { "" };
            let words = format!("{late}{}{}", text(&finished.stdout), text(&finished.stderr));
            if words.is_empty() && !finished.is_success() {
                format!("the check ended with {}", finished.exit.code())
            } else {
                words
            }
        }
        Err(error) => format!("the check could not be started: {error}"),
    }
}

async fn print(lines: &Lines, name: &str, output: Output, finished: Finished) {
    for bytes in [finished.stdout, finished.stderr].into_iter().filter(|bytes| !bytes.is_empty()) {
        match output {
            Output::Lines => lines.clone().copy(name, bytes.as_slice()).await,
            Output::Raw => lines.write(bytes).await,
            Output::Nowhere => {}
        }
    }
}
