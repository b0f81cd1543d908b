//! The file of a supervisor: all that it is to run, with everything filled in.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_crds::{
    Period,
    deployment::StopSignal,
    instance::Assignment,
    job::{Condition, Job},
    template::Driver,
    variables::{HELIUM_INSTANCE, HELIUM_JOB},
};
use helium_processes::Command;
use serde::{Deserialize, Serialize};

use super::mapping::job_set;
use crate::{
    config::AgentConfig,
    driver::environment::Resolved,
    instance::{dir::InstanceDir, record::Record},
};

/// What the agent keeps of a stop's grace for itself: a supervisor that has all of it would be killed just before it is done.
const MARGIN: Duration = Duration::from_millis(500);
/// The job that the processes of the supervisor itself bear; no job of a template can have this name.
const OF_SUPERVISOR: &str = ".supervisor";

/// The file of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// How long a stop may take.
    pub(crate) grace: Duration,
    /// The main process.
    pub(crate) main: Main,
    /// The jobs, by name.
    #[serde(default)]
    pub(crate) jobs: BTreeMap<String, PlannedJob>,
    /// A folder in which the supervisor writes down what it has started.
    pub(crate) notes: PathBuf,
    /// Where it writes itself down.
    pub(crate) worker: PathBuf,
    /// The socket by which it is told and tells.
    pub(crate) socket: PathBuf,
}

/// The main process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Main {
    /// What is run.
    pub(crate) command: Command,
    /// What it waits for.
    #[serde(default)]
    pub(crate) when: Vec<Condition>,
    /// How long.
    #[serde(default)]
    pub(crate) wait_timeout: Option<Period>,
    /// The signal that asks it to stop.
    pub(crate) stop_signal: StopSignal,
    /// Whether it says by itself when it is ready.
    #[serde(default)]
    pub(crate) notify: bool,
    /// Whether there are checks by which the agent sees if it is healthy.
    #[serde(default)]
    pub(crate) checked: bool,
}

/// A job, as its template has it, and its commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlannedJob {
    /// As its template has it.
    pub(crate) spec: Job,
    /// What is run.
    pub(crate) command: Command,
    /// What looks at it.
    #[serde(default)]
    pub(crate) check: Option<Command>,
}

/// The names of a supervisor's files in the folder of its instance.
pub(crate) struct Files<'a>(pub(crate) &'a InstanceDir);

impl Files<'_> {
    /// The plan.
    pub(crate) fn plan(&self) -> PathBuf {
        self.0.state().join("jobs.json")
    }

    /// The notes of what runs.
    pub(crate) fn notes(&self) -> PathBuf {
        self.0.state().join("jobs")
    }

    /// The note of the supervisor's worker.
    pub(crate) fn worker(&self) -> PathBuf {
        self.0.state().join("supervisor.json")
    }

    /// The socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.state().join("jobs.sock")
    }
}

impl Plan {
    /// The plan of an instance.
    pub(crate) fn of(record: &Record, dir: &InstanceDir, resolved: &Resolved) -> Self {
        let Assignment { template, stop_signal, stop_grace_period, .. } = &record.assignment;
        let Driver::Exec(exec) = &template.driver;
        let files = Files(dir);
        let jobs = resolved.jobs.iter().filter_map(|(name, commands)| {
            let spec = template.jobs.get(name)?.clone();
            Some((name.clone(), PlannedJob { spec, command: commands.0.clone(), check: commands.1.clone() }))
        });
        Self {
            grace: grace(stop_grace_period.as_duration()),
            main: Main {
                command: of_job(&resolved.command, helium_crds::job::MAIN),
                when: exec.when.clone(),
                wait_timeout: exec.wait_timeout,
                stop_signal: *stop_signal,
                notify: exec.notify,
                checked: !template.checks.is_empty() || !record.checks.is_empty(),
            },
            jobs: jobs.collect(),
            notes: files.notes(),
            worker: files.worker(),
            socket: files.socket(),
        }
    }

    /// Reads a plan.
    pub(crate) fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    /// Writes it, all or nothing, and waits until the disk has it. It holds environments, which may be secret.
    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        let fresh = file.with_extension("new");
        let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        open.write_all(&serde_json::to_vec(self)?)?;
        open.sync_all()?;
        fs::rename(&fresh, file)?;
        file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// Writes the plan of an instance that is to have a supervisor, and gives the command of that. None for one that needs none.
///
/// # Errors
/// In words, what does not fit together, or why the plan cannot be written.
pub(crate) fn write(
    config: &AgentConfig,
    record: &Record,
    dir: &InstanceDir,
    resolved: &Resolved,
) -> Result<Option<Command>, String> {
    if !record.assignment.template.is_supervised() {
        return Ok(None);
    }
    let plan = Plan::of(record, dir, resolved);
    job_set(&plan).map_err(|error| error.to_string())?;
    let file = Files(dir).plan();
    plan.write(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Some(supervisor(config, record, dir, &resolved.command)))
}

/// What of a stop's grace is the supervisor's.
///
/// Example: of 10 s it is 9.5 s; of 1 s, 750 ms.
pub(crate) fn grace(whole: Duration) -> Duration {
    whole.saturating_sub(MARGIN.min(whole / 4))
}

/// The same command as a job.
fn of_job(command: &Command, name: &str) -> Command {
    let mut command = command.clone();
    command.env.insert(HELIUM_JOB.to_owned(), name.to_owned());
    command
}

/// The command of the supervisor itself. It has nothing of the instance's environment but what tells whose it is.
fn supervisor(config: &AgentConfig, record: &Record, dir: &InstanceDir, main: &Command) -> Command {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut env = BTreeMap::from([
        (HELIUM_INSTANCE.to_owned(), record.assignment.id.to_string()),
        (HELIUM_JOB.to_owned(), OF_SUPERVISOR.to_owned()),
    ]);
    env.extend(main.env.get("PATH").map(|path| ("PATH".to_owned(), path.clone())));
    Command {
        argv: vec![text(&config.helium_bin), "supervise".to_owned(), text(&Files(dir).plan())],
        env,
        cwd: dir.path().to_owned(),
        user: None,
    }
}
