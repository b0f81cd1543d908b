//! The scripts of a running instance: each runs in a task of its own, so that one that hangs delays no other, and tells Consul at once.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use consul_client::{CheckStatus, Client};
use helium_processes::{Command, Exit, Finished, Run};
use tokio::task::JoinSet;

use super::{CheckKind, PackageCheck};
use crate::hooks::HookRun;

/// How long the group of a script may take to end when its time is over.
const GRACE: Duration = Duration::from_secs(1);
/// So many bytes of each output of a script are told.
const KEEP: usize = 4 * 1024;
/// How long one call to Consul may take.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// How soon a result is told again that Consul did not take: the check may not be registered yet.
const TELL_AGAIN: Duration = Duration::from_millis(250);

/// The scripts of one service. Dropping it ends them.
#[derive(Default)]
pub(crate) struct Scripts {
    /// Whose scripts they are: the process that they were begun for.
    of: Option<(u32, Vec<PackageCheck>)>,
    tasks: JoinSet<()>,
}

/// What scripts need to know of that which they look at.
pub(crate) struct Around {
    /// Whom the results are told.
    pub(crate) client: Client,
    /// The hook `health`.
    pub(crate) health: HookRun,
    /// The folder that scripts run in.
    pub(crate) view: PathBuf,
    /// Where the processes of scripts are noted.
    pub(crate) state: PathBuf,
    /// Their environment.
    pub(crate) env: BTreeMap<String, String>,
    /// The id in Consul of a check, by its name.
    pub(crate) id: Box<dyn Fn(&str) -> String + Send + Sync>,
    /// Called when Consul has taken a result.
    pub(crate) told: Box<dyn Fn() + Send + Sync>,
}

impl Scripts {
    /// True if these scripts run for this process, or there is none and they do not run.
    pub(crate) fn are_of(&self, pid: Option<u32>, checks: &[PackageCheck]) -> bool {
        match (&self.of, pid) {
            (Some((of, run)), Some(pid)) => *of == pid && run == checks,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Ends the scripts.
    pub(crate) fn end(&mut self) {
        self.of = None;
        self.tasks.abort_all();
    }

    /// Begins the scripts of a process.
    pub(crate) fn begin(&mut self, pid: u32, checks: &[PackageCheck], around: Around) {
        self.end();
        self.of = Some((pid, checks.to_vec()));
        self.tasks = JoinSet::new();
        let around = Arc::new(around);
        for check in checks.iter().filter(|check| check.is_script()) {
            self.tasks.spawn(run(check.clone(), Arc::clone(&around)));
        }
    }
}

/// Runs a script again and again. The next run begins an interval after the last one began, and never before that has ended.
async fn run(check: PackageCheck, around: Arc<Around>) {
    let mut row = Row::default();
    let mut ticks = tokio::time::interval(check.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (status, output) = once(&check, &around).await;
        let status = row.next(status, &check);
        tokio::select! {
            biased;
            () = tell(&check, &around, status, &output) => {}
            // Not taken for a whole interval: the next result is the better one to tell.
            () = tokio::time::sleep(check.interval) => {}
        }
    }
}

async fn once(check: &PackageCheck, around: &Around) -> (CheckStatus, String) {
    let finished = match &check.kind {
        CheckKind::Health => around.health.to_end().await.map(|finished| finished.unwrap_or_else(nothing)),
        CheckKind::Script(argv) => script(check, argv, around).await,
        CheckKind::Http { .. } | CheckKind::Tcp(_) | CheckKind::Ttl(_) => return (CheckStatus::Passing, String::new()),
    };
    match finished {
        Ok(finished) => (status(&finished), output(&finished, check.timeout)),
        Err(words) => (CheckStatus::Critical, words),
    }
}

/// The hook is gone from the package that runs: there is nothing that it could say against the instance.
fn nothing() -> Finished {
    Finished { exit: Exit::Status(0), timed_out: false, stdout: Vec::new(), truncated: false, stderr: Vec::new() }
}

async fn script(check: &PackageCheck, argv: &[String], around: &Around) -> Result<Finished, String> {
    let command = Command { argv: argv.to_vec(), env: around.env.clone(), cwd: around.view.clone(), user: None };
    let note: PathBuf = around.state.join(format!("check-{}", check.name));
    let run = Run { limit: check.timeout, grace: GRACE, log: None, keep: KEEP, note: Some(&note) };
    run.to_end(&command).await.map_err(|error| error.to_string())
}

/// As Consul has it: 0 is passing, 1 is a warning, whatever else is critical.
fn status(finished: &Finished) -> CheckStatus {
    match finished.exit {
        _ if finished.timed_out => CheckStatus::Critical,
        Exit::Status(0) => CheckStatus::Passing,
        Exit::Status(1) => CheckStatus::Warning,
        Exit::Status(_) | Exit::Signal(_) | Exit::Unseen => CheckStatus::Critical,
    }
}

/// Results in a row, as Consul counts them for the checks that it runs itself.
#[derive(Default)]
struct Row {
    told: Option<CheckStatus>,
    length: u64,
}

impl Row {
    /// What is to be told after a result. The very first one counts at once. With `failures_before_critical: 3` the third failure in a row is told.
    fn next(&mut self, status: CheckStatus, check: &PackageCheck) -> CheckStatus {
        let needed = match status {
            CheckStatus::Critical => check.failures_before_critical,
            CheckStatus::Passing | CheckStatus::Warning => check.success_before_passing,
        };
        match self.told {
            Some(told) if told == status => self.length = 0,
            Some(told) if self.length + 1 < needed => {
                self.length += 1;
                return told;
            }
            _ => *self = Self { told: Some(status), length: 0 },
        }
        status
    }
}

/// What is told besides. It is never empty: a check without a word has not been asked.
fn output(finished: &Finished, limit: Duration) -> String {
    let said = String::from_utf8_lossy(&finished.stdout).into_owned() + &String::from_utf8_lossy(&finished.stderr);
    match said.trim() {
        said if finished.timed_out => format!("timed out after {limit:?} {said}").trim().to_owned(),
        "" => finished.exit.to_string(),
        said => said.to_owned(),
    }
}

/// Tells Consul, again and again until it is taken.
async fn tell(check: &PackageCheck, around: &Around, status: CheckStatus, output: &str) {
    let id = (around.id)(&check.name);
    loop {
        let call = around.client.agent_update_ttl(&id, status, output);
        if let Ok(Ok(())) = tokio::time::timeout(CALL_LIMIT, call).await {
            (around.told)();
            return;
        }
        tokio::time::sleep(TELL_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(exit: Exit, stdout: &str, timed_out: bool) -> Finished {
        Finished { exit, timed_out, stdout: stdout.into(), truncated: false, stderr: Vec::new() }
    }

    #[test]
    fn exit_statuses_mean_what_they_mean_to_consul() {
        for (exit, timed_out, wanted) in [
            (Exit::Status(0), false, CheckStatus::Passing),
            (Exit::Status(1), false, CheckStatus::Warning),
            (Exit::Status(2), false, CheckStatus::Critical),
            (Exit::Signal(9), false, CheckStatus::Critical),
            (Exit::Status(0), true, CheckStatus::Critical),
        ] {
            assert_eq!(status(&finished(exit, "", timed_out)), wanted, "{exit}");
        }
    }

    #[test]
    fn a_result_counts_once_it_has_come_often_enough_in_a_row() {
        use CheckStatus::{Critical, Passing};
        let check = PackageCheck {
            failures_before_critical: 3,
            success_before_passing: 2,
            ..super::super::read::of_health(Duration::ZERO)
        };
        let mut row = Row::default();
        let results = [Passing, Critical, Critical, Passing, Critical, Critical, Critical, Passing, Passing];
        let told = results.map(|result| row.next(result, &check));
        assert_eq!(told, [Passing, Passing, Passing, Passing, Passing, Passing, Critical, Critical, Passing]);
    }

    #[test]
    fn there_is_always_something_to_tell() {
        let told = |stdout, timed_out| output(&finished(Exit::Status(3), stdout, timed_out), Duration::from_secs(5));
        assert_eq!(told("", false), "exit status 3");
        assert_eq!(told("no disk\n", false), "no disk");
        assert_eq!(told("no disk\n", true), "timed out after 5s no disk");
    }
}
