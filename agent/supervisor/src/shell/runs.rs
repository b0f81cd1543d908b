//! The processes of jobs: started behind their gate, signalled, attended until they end.

use std::{collections::BTreeMap, process::Stdio, sync::Arc};

use helium_processes::{Command, Gated, ProcessIdentity, Signal, StartError, gate};
use helium_runtime::ports::Ports;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::{lines::Lines, notes::Notes, notify::Notify};
use crate::{
    job::{Job, Output},
    supervisor::{Input, JobId},
};

/// A process of a job.
struct Run {
    job: JobId,
    name: String,
    identity: ProcessIdentity,
}

/// All processes of jobs; dropped, it kills them with all that they started.
pub(crate) struct Runs {
    running: BTreeMap<u64, Run>,
    pub(crate) notes: Notes,
    reports: mpsc::Sender<Input>,
    lines: Lines,
    outputs: TaskTracker,
    ports: Ports,
    /// Before the name of a variable that tells the process id of a job.
    pid_variables: Option<String>,
    variables: Option<watch::Receiver<BTreeMap<String, String>>>,
}

impl Runs {
    pub(crate) fn new(
        reports: mpsc::Sender<Input>,
        lines: Lines,
        outputs: TaskTracker,
        ports: Ports,
        pid_variables: Option<String>,
        variables: Option<watch::Receiver<BTreeMap<String, String>>>,
    ) -> Self {
        Self {
            running: BTreeMap::new(),
            notes: Notes::default(),
            reports,
            lines,
            outputs,
            ports,
            pid_variables,
            variables,
        }
    }

    /// Starts the command of a job. Its end will be reported.
    pub(crate) fn start(&mut self, job: JobId, run: u64, spec: &Arc<Job>) -> Result<(), StartError> {
        let mut command = self.with_pids(spec.command.as_ref().ok_or(StartError::Empty)?);
        let notify = spec.notify.then(|| Notify::new(&self.ports)).transpose()?;
        if let Some(notify) = &notify {
            command.env.insert("NOTIFY_SOCKET".to_owned(), notify.address());
        }
        let output = || match spec.output {
            Output::Lines => Stdio::piped(),
            Output::Raw => Stdio::inherit(),
            Output::Nowhere => Stdio::null(),
        };
        let mut gated = gate::start_with(&command, output(), output())?;
        for limit in &spec.limits {
            gated.limit(limit)?;
        }
        self.copy_outputs(&mut gated, &spec.name);
        let identity = gated.identity().clone();
        self.notes.write(run, &identity)?;
        self.running.insert(run, Run { job, name: spec.name.clone(), identity: identity.clone() });
        tokio::spawn(attend(gated, identity, notify, job, run, self.reports.clone()));
        Ok(())
    }

    fn copy_outputs(&self, gated: &mut Gated, name: &str) {
        let (stdout, stderr) = gated.outputs();
        if let Some(stdout) = stdout {
            let (lines, name) = (self.lines.clone(), name.to_owned());
            self.outputs.spawn(async move { lines.copy(&name, stdout).await });
        }
        if let Some(stderr) = stderr {
            let (lines, name) = (self.lines.clone(), name.to_owned());
            self.outputs.spawn(async move { lines.copy(&name, stderr).await });
        }
    }

    /// The command with its whole environment: the variables of the moment, and the process ids of all jobs that run.
    pub(crate) fn with_pids(&self, command: &Command) -> Command {
        let mut command = command.clone();
        if let Some(variables) = &self.variables {
            command.env.extend(variables.borrow().clone());
        }
        if let Some(prefix) = &self.pid_variables {
            for run in self.running.values() {
                let name = run.name.to_uppercase().replace('-', "_");
                command.env.insert(format!("{prefix}_{name}_PID"), run.identity.pid.to_string());
            }
        }
        command
    }

    pub(crate) fn signal(&self, run: u64, signal: Signal, group: bool) {
        let Some(Run { identity, name, .. }) = self.running.get(&run) else { return };
        let sent = if group { identity.signal_group(signal) } else { identity.signal(signal) };
        if let Err(error) = sent {
            tracing::warn!(job = %name, pid = identity.pid, ?signal, %error, "a signal was refused");
        }
    }

    /// A run was reported to have ended.
    pub(crate) fn forget(&mut self, run: u64) {
        self.running.remove(&run);
        self.notes.remove(run);
    }

    /// The process id of a job that runs.
    pub(crate) fn pid_of(&self, job: JobId) -> Option<u32> {
        self.running.values().find(|run| run.job == job).map(|run| run.identity.pid)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        for run in self.running.values() {
            let _ = run.identity.signal_group(Signal::KILL);
            run.identity.sweep_group();
        }
    }
}

/// Lets a process through its gate and waits for its end. What it leaves in its group goes with it.
async fn attend(
    gated: Gated,
    identity: ProcessIdentity,
    notify: Option<Notify>,
    job: JobId,
    run: u64,
    reports: mpsc::Sender<Input>,
) {
    let mut process = gated.open().await;
    let exit = tokio::select! {
        biased;
        exit = process.ended() => exit,
        () = tell_when_ready(notify, job, run, &reports) => process.ended().await,
    };
    identity.sweep_group();
    let _ = reports.send(Input::Exited { job, run, exit }).await;
}

/// Reports once that a process is ready; never ends where it cannot say so.
async fn tell_when_ready(notify: Option<Notify>, job: JobId, run: u64, reports: &mpsc::Sender<Input>) {
    let Some(notify) = notify else { return std::future::pending().await };
    if notify.ready().await.is_ok() {
        let _ = reports.send(Input::Ready { job, run }).await;
    }
}
