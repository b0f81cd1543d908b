//! What these tests share: jobs that are scripts, a runner, and what it printed.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use helium_processes::{Command, ProcessIdentity};
use helium_runtime::ports::Ports;
use helium_supervisor::{Event, Handle, Job, JobSet, JobView, Options, Restarts, Runner, Settings};
use tokio::{
    io::{AsyncReadExt as _, DuplexStream},
    sync::broadcast,
    task::JoinHandle,
    time::{Instant, timeout},
};

/// Longer than anything here takes on the slowest machine.
const FOR_EVER: Duration = Duration::from_secs(30);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A job that is a script of the shell, with `$DIR` the folder.
pub(crate) fn job(folder: &Path, name: &str, script: &str) -> Job {
    Job::new(name, Some(command(folder, script)))
}

pub(crate) fn unlimited(job: Job) -> Job {
    Job { restarts: Restarts::Unlimited, ..job }
}

pub(crate) fn command(folder: &Path, script: &str) -> Command {
    let env = [("PATH", "/usr/bin:/bin"), ("DIR", folder.to_str().unwrap())];
    Command {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>(),
        cwd: folder.to_owned(),
        user: None,
    }
}

pub(crate) fn settings(main: Option<&str>, grace: Duration) -> Settings {
    Settings { main: main.map(str::to_owned), grace, every_check: false }
}

/// A runner that runs.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) events: broadcast::Receiver<Event>,
    pub(crate) printed: Arc<Mutex<String>>,
    task: JoinHandle<i32>,
}

impl Running {
    pub(crate) fn of(jobs: Vec<Job>, settings: Settings) -> Self {
        let (sink, mut source) = tokio::io::duplex(1 << 20);
        let running = Self::with_output(jobs, settings, sink);
        let copy = Arc::clone(&running.printed);
        tokio::spawn(async move {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = source.read(&mut chunk).await {
                copy.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        });
        running
    }

    /// One whose output is never read.
    pub(crate) fn unread(jobs: Vec<Job>, settings: Settings) -> Self {
        let (sink, source) = tokio::io::duplex(16);
        std::mem::forget(source);
        Self::with_output(jobs, settings, sink)
    }

    fn with_output(jobs: Vec<Job>, settings: Settings, sink: DuplexStream) -> Self {
        let options = Options {
            ports: Ports::real(),
            output: Box::new(sink),
            signals: false,
            second_kills: true,
            forward: vec![],
            pid_variables: Some("CONTAINERPILOT".to_owned()),
            variables: None,
            notes: None,
        };
        let (runner, handle) = Runner::new(JobSet::new(jobs, settings).unwrap(), options);
        let events = handle.events().unwrap();
        let task = tokio::spawn(async move { runner.run().await.unwrap() });
        Self { handle, events, printed: Arc::default(), task }
    }

    /// Waits for a job to be as wanted.
    pub(crate) async fn until(&mut self, name: &str, wanted: impl Fn(&JobView) -> bool) -> JobView {
        let found = |jobs: &[JobView]| jobs.iter().find(|job| job.name == name).filter(|job| wanted(job)).cloned();
        let seen = timeout(FOR_EVER, self.handle.until(|jobs| found(jobs).is_some())).await;
        let jobs = seen.unwrap_or_else(|_| panic!("{name}: {:?}", self.handle.jobs())).expect("it has ended");
        found(&jobs).unwrap()
    }

    /// Waits for the process of a job.
    pub(crate) async fn pid(&mut self, name: &str) -> u32 {
        self.until(name, |job| job.pid.is_some()).await.pid.unwrap()
    }

    /// Waits until this was printed.
    pub(crate) async fn prints(&self, wanted: &str) {
        until(wanted, || self.printed.lock().unwrap().contains(wanted)).await;
    }

    /// Waits for an event.
    pub(crate) async fn event(&mut self, wanted: Event) {
        let found = async { while self.events.recv().await.expect("it has ended") != wanted {} };
        timeout(FOR_EVER, found).await.unwrap_or_else(|_| panic!("{wanted} did not come"));
    }

    /// Waits for the end: the exit code, and how long it took from here.
    pub(crate) async fn ends(self) -> (i32, Duration, String) {
        let begun = Instant::now();
        let code = timeout(FOR_EVER, self.task).await.expect("it does not end").unwrap();
        let took = begun.elapsed();
        let printed = self.printed.lock().unwrap().clone();
        (code, took, printed)
    }

    /// Drops the runner in the middle.
    pub(crate) fn drop_runner(self) {
        self.task.abort();
    }

    /// Shuts it down.
    pub(crate) async fn shut_down(self) -> (i32, Duration, String) {
        self.handle.shut_down().await.unwrap();
        self.ends().await
    }
}

/// Waits for a condition that nobody tells of.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let holds = async {
        while !holds() {
            tokio::time::sleep(ms(2)).await;
        }
    };
    timeout(FOR_EVER, holds).await.unwrap_or_else(|_| panic!("it never came: {what}"));
}

/// Waits until a process is gone.
pub(crate) async fn gone(pid: u32) {
    until("the end of a process", || ProcessIdentity::of(pid).is_none()).await;
}

/// The number that a file comes to hold.
pub(crate) async fn number_in(file: &Path) -> u32 {
    let read = || std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    until("a number in a file", || read().is_some()).await;
    read().unwrap()
}
