//! A supervisor with real processes.
//!
//! One loop takes what happens, asks [`Supervisor::step`] and carries out what it says; nothing in the loop waits for anybody. Processes, checks
//! and outputs have tasks of their own, and each queue between them and the loop is bounded. Ends of processes have a queue apart from what comes
//! from outside, so that no burst of events holds them up.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use helium_processes::Signal;
use helium_runtime::ports::Ports;
use tokio::{
    io::AsyncWrite,
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::{
    event::{Code, Event},
    set::JobSet,
    shell::{checks::Checks, lines, notes::Notes, runs::Runs, signals::Signals},
    supervisor::{Effect, Input, Supervisor, view::JobView},
};

/// How many inputs may wait for the loop; whoever brings more waits.
const INPUTS: usize = 1024;
/// How many ends of processes and checks may wait for the loop.
const REPORTS: usize = 256;
/// How many events a slow listener may be behind before it loses the oldest.
const EVENTS: usize = 1024;
/// How many results of checks a slow listener may be behind before it loses the oldest.
const CHECKS: usize = 256;
/// How long is waited, at the end, for outputs that somebody outside all groups holds open.
const LAST_LINES: Duration = Duration::from_millis(200);

/// What a runner is given beside its jobs.
pub struct Options {
    /// Time and randomness.
    pub ports: Ports,
    /// Where goes what jobs print as [`crate::Output::Lines`].
    pub output: Box<dyn AsyncWrite + Send + Unpin>,
    /// Whether signals that this process is sent are taken: SIGTERM and SIGINT shut down, SIGHUP and SIGUSR2 are events.
    pub signals: bool,
    /// Whether the second of SIGTERM and SIGINT kills. Else it counts as the first: for whoever is stopped by a program, which may say so twice, and
    /// which has SIGKILL.
    pub second_kills: bool,
    /// Signals that are passed on to the main job's process alone. Those that are events, too, are both.
    pub forward: Vec<Signal>,
    /// Before the names of variables that tell jobs and checks the process ids of jobs that run: `X` makes `X_<NAME>_PID`, the name in capitals with `_`
    /// for `-`.
    pub pid_variables: Option<String>,
    /// Variables of every process and check, as they are when it is started; they go before those of its command.
    pub variables: Option<watch::Receiver<BTreeMap<String, String>>>,
    /// A folder of its own, where processes are written down: if the supervisor is killed, the next one that is given the folder kills what is
    /// left of them before it starts any. Without one, only a [guardian](crate::guardian) does.
    pub notes: Option<PathBuf>,
}

impl Options {
    /// Those of a program that is a supervisor and nothing else.
    pub fn of_a_program() -> Self {
        Self {
            ports: Ports::real(),
            output: Box::new(tokio::io::stdout()),
            signals: true,
            second_kills: true,
            forward: vec![Signal::USR1, Signal::WINCH],
            pid_variables: None,
            variables: None,
            notes: None,
        }
    }
}

/// What a check found, with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// The name of the job.
    pub job: String,
    /// Whether the job is well.
    pub passed: bool,
    /// What the check printed, or why it could not be run.
    pub output: String,
}

/// The runner has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the supervisor has ended")]
pub struct Ended;

/// Speaks to a runner; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    inbox: mpsc::Sender<Input>,
    jobs: watch::Receiver<Vec<JobView>>,
    events: broadcast::WeakSender<Event>,
    checks: broadcast::WeakSender<CheckReport>,
}

impl Handle {
    /// From now on these jobs. While it shuts down nothing follows from that.
    pub async fn reload(&self, set: JobSet) -> Result<(), Ended> {
        self.send(Input::Reload(set)).await
    }

    /// Begins or ends maintenance.
    pub async fn maintenance(&self, on: bool) -> Result<(), Ended> {
        self.send(Input::Maintenance(on)).await
    }

    /// Something happened outside, such as [`Event::of_watch`].
    pub async fn happened(&self, event: Event) -> Result<(), Ended> {
        self.send(Input::Outside(event)).await
    }

    /// Ends it in order, within the grace.
    pub async fn shut_down(&self) -> Result<(), Ended> {
        self.send(Input::Shutdown).await
    }

    /// Ends it now.
    pub async fn kill(&self) -> Result<(), Ended> {
        self.send(Input::Kill).await
    }

    /// Somebody outside has looked whether a job is well; it counts as a check of it.
    pub async fn observed(&self, job: impl Into<String>, healthy: bool) -> Result<(), Ended> {
        self.send(Input::Observed { job: job.into(), healthy }).await
    }

    /// All jobs as they are.
    pub fn jobs(&self) -> Vec<JobView> {
        self.jobs.borrow().clone()
    }

    /// Waits until the jobs are as `wanted` says.
    pub async fn until(&mut self, wanted: impl FnMut(&Vec<JobView>) -> bool) -> Result<Vec<JobView>, Ended> {
        self.jobs.wait_for(wanted).await.map(|jobs| jobs.clone()).map_err(|_| Ended)
    }

    /// All events from now on. A listener that is far behind loses the oldest.
    pub fn events(&self) -> Result<broadcast::Receiver<Event>, Ended> {
        self.events.upgrade().map(|events| events.subscribe()).ok_or(Ended)
    }

    /// The result of every check that comes to its end from now on. A listener that is far behind loses the oldest.
    pub fn checks(&self) -> Result<broadcast::Receiver<CheckReport>, Ended> {
        self.checks.upgrade().map(|checks| checks.subscribe()).ok_or(Ended)
    }

    async fn send(&self, input: Input) -> Result<(), Ended> {
        self.inbox.send(input).await.map_err(|_| Ended)
    }
}

/// Kills what a supervisor that is gone has left, by its [notes](Options::notes). Nothing is done about a folder that is not there.
///
/// # Errors
/// The supervisor still runs, or the system does not let its notes be read.
pub fn end_what_is_left(notes: &Path) -> io::Result<()> {
    if notes.is_dir() { Notes::take(notes).map(drop) } else { Ok(()) }
}

/// A supervisor with real processes. Dropped while it runs, it kills them.
pub struct Runner {
    supervisor: Supervisor,
    ports: Ports,
    notes: Option<PathBuf>,
    signals: Vec<i32>,
    forward: Vec<Signal>,
    inbox: mpsc::Receiver<Input>,
    reports: mpsc::Receiver<Input>,
    runs: Runs,
    checks: Checks,
    outputs: TaskTracker,
    writer: JoinHandle<()>,
    jobs: watch::Sender<Vec<JobView>>,
    events: broadcast::Sender<Event>,
    second_kills: bool,
    asked_to_end: bool,
    code: Option<i32>,
}

impl Runner {
    /// A runner of these jobs, to be begun by [`Runner::run`]. Called inside a runtime.
    pub fn new(set: JobSet, options: Options) -> (Self, Handle) {
        let (to_inbox, inbox) = mpsc::channel(INPUTS);
        let (to_reports, reports) = mpsc::channel(REPORTS);
        let supervisor = Supervisor::new(set);
        let (jobs, see_jobs) = watch::channel(supervisor.jobs());
        let events = broadcast::Sender::new(EVENTS);
        let checks = broadcast::Sender::new(CHECKS);
        let (lines, writer) = lines::writer(options.output);
        let outputs = TaskTracker::new();
        let ours = [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR2];
        // Each once: a signal that is heard twice would be passed on twice.
        let taken: BTreeSet<i32> = ours.iter().chain(&options.forward).map(|signal| signal.as_raw()).collect();
        let handle = Handle { inbox: to_inbox, jobs: see_jobs, events: events.downgrade(), checks: checks.downgrade() };
        let runner = Self {
            supervisor,
            notes: options.notes,
            signals: taken.into_iter().filter(|_| options.signals).collect(),
            forward: options.forward,
            inbox,
            reports,
            runs: Runs::new(
                to_reports.clone(),
                lines.clone(),
                outputs.clone(),
                options.ports.clone(),
                options.pid_variables,
                options.variables,
            ),
            ports: options.ports,
            checks: Checks::new(to_reports, checks, lines),
            outputs,
            writer,
            jobs,
            events,
            second_kills: options.second_kills,
            asked_to_end: false,
            code: None,
        };
        (runner, handle)
    }

    /// Runs the jobs until all is over; the exit code is the main job's, or the first one's where none is named.
    ///
    /// # Errors
    /// The system does not let it wait for signals; the notes cannot be read or written, or are another supervisor's. Nothing was started then.
    pub async fn run(mut self) -> io::Result<i32> {
        let mut signals = Signals::listen(std::mem::take(&mut self.signals))?;
        if let Some(notes) = self.notes.take() {
            self.runs.notes = Notes::take(&notes)?;
        }
        self.step(Input::Start);
        loop {
            if let Some(code) = self.code {
                self.last_lines().await;
                return Ok(code);
            }
            let input = self.next(&mut signals).await;
            self.step(input);
        }
    }

    async fn next(&mut self, signals: &mut Signals) -> Input {
        let wake = self.supervisor.next_wake();
        let ports = self.ports.clone();
        let mut timer = pin!(ports.sleep_until(wake.unwrap_or_default()));
        tokio::select! {
            biased;
            number = signals.next() => self.signal(number),
            Some(report) = self.reports.recv() => report,
            () = &mut timer, if wake.is_some() => Input::Timer,
            Some(input) = self.inbox.recv() => input,
        }
    }

    fn signal(&mut self, number: i32) -> Input {
        let events = [(Signal::HUP, Code::Sighup), (Signal::USR1, Code::Sigusr1), (Signal::USR2, Code::Sigusr2)];
        let event = events.iter().find(|(signal, _)| signal.as_raw() == number);
        let event = event.map(|(_, code)| Input::Outside(Event::global(*code)));
        if let Some(signal) = self.forward.iter().find(|signal| signal.as_raw() == number).copied() {
            let Some(event) = event else { return Input::Forward(signal) };
            self.step(Input::Forward(signal));
            return event;
        }
        if let Some(event) = event {
            return event;
        }
        let is_second = std::mem::replace(&mut self.asked_to_end, true);
        if is_second && self.second_kills { Input::Kill } else { Input::Shutdown }
    }

    /// Takes an input, and what follows from it at once.
    fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            match &input {
                Input::Exited { run, .. } => self.runs.forget(*run),
                Input::Checked { check, .. } => self.checks.forget(*check),
                _ => {}
            }
            for effect in self.supervisor.step(self.ports.monotonic(), self.ports.entropy.next_u64(), input) {
                inputs.extend(self.carry_out(effect));
            }
        }
        let mut jobs = self.supervisor.jobs();
        for job in &mut jobs {
            job.pid = self.runs.pid_of(job.id);
        }
        self.jobs.send_if_modified(|seen| {
            let changed = *seen != jobs;
            *seen = jobs;
            changed
        });
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Spawn { job, run, spec } => {
                if let Err(error) = self.runs.start(job, run, &spec) {
                    tracing::warn!(job = %spec.name, %error, "a job could not be started");
                    return Some(Input::NotStarted { job, run });
                }
            }
            Effect::Signal { run, signal, group, .. } => self.runs.signal(run, signal, group),
            Effect::Check { job, check, spec } => {
                if let Some((health, command)) = spec.health.as_ref().and_then(|h| Some((h, h.command.as_ref()?))) {
                    let what = (self.runs.with_pids(command), self.runs.notes.of_check(check));
                    self.checks.start(job, check, spec.name.clone(), health, what);
                }
            }
            Effect::AbortCheck { check, .. } => self.checks.abort(check),
            Effect::Tell(event) => {
                tracing::info!(%event, "event");
                let _ = self.events.send(event);
            }
            Effect::Finish { code } => self.code = Some(code),
        }
        None
    }

    /// Waits a little for what is still in pipes, and ends the writer.
    async fn last_lines(self) {
        let Self { runs, checks, outputs, mut writer, .. } = self;
        drop((runs, checks));
        outputs.close();
        let _ = timeout(LAST_LINES, outputs.wait()).await;
        if timeout(LAST_LINES, &mut writer).await.is_err() {
            writer.abort();
        }
    }
}
