//! All of it together: a file run to its end.

mod consul;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex as SyncMutex, PoisonError},
    time::Duration,
};

use consul_client::{Client, ConfigError};
use helium_containerpilot::Config;
use helium_runtime::{notify::Notifier, ports::Ports};
use helium_supervisor::{Handle, JobSet, JobView, Options, Runner, SetError};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::{Mutex, broadcast::error::RecvError, watch},
    task::{AbortHandle, JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    control::{self, Socket, SocketError},
    file::{self, FileError, Taken},
    logging::{Log, LogError},
    mapping::{self, Machine, MappingError, Plan, plan},
    registration::Registrar,
    telemetry::{self, Metrics, Status},
    watches::{Counts, Watches},
};

/// How long the last lines of jobs may take into the log.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Why a file is not run, or not taken by a reload.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file is refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// It cannot be run on this machine.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// Consul cannot be spoken to in this way.
    #[error("consul: {0}")]
    Consul(#[from] ConfigError),
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The control socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The system refused something.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
    /// It is too late for a reload.
    #[error("the supervisor is about to end")]
    Ending,
}

impl RunError {
    /// Whether it is the file that is wrong.
    pub fn is_of_file(&self) -> bool {
        matches!(self, RunError::File(_) | RunError::Mapping(_) | RunError::Consul(_))
    }
}

/// Runs a file until all its jobs are over or it is told to end: the exit code of its main job, which is the first that is advertised, or else the
/// first that waits for nobody, or else the first. To be called where [`helium_supervisor::guardian::guard`] has said to go on.
///
/// # Errors
/// The file is refused, or the machine does not give what it needs. Nothing was started then.
pub async fn run(path: &Path, ports: Ports) -> Result<i32, RunError> {
    let (machine_name, environment) = (hostname(), file::environment());
    let Taken { config, warnings } = file::read(path, &environment)?;
    let plan = plan(&config, &machine(&machine_name, environment)?)?;
    let client = consul::client(&config.consul)?;
    let log = Log::start(&config.logging, ports.clone())?;
    let (socket, listener) = Socket::listen(Path::new(&config.control.socket))?;
    for warning in &warnings {
        tracing::warn!("{}", warning.brief);
    }
    tell_misfits(&plan.misfits);
    let begun = Pilot::begin(path, machine_name, config, plan, client, &log, ports);
    let code = begun.last(listener, &log).await;
    drop(socket);
    log.flush().await;
    Ok(code?)
}

/// A supervisor that is about to run.
struct Begun {
    pilot: Arc<Pilot>,
    runner: Runner,
    handle: Handle,
    /// Brings what jobs print into the log, and ends with the runner.
    printing: JoinHandle<()>,
}

impl Begun {
    async fn last(self, listener: UnixListener, log: &Log) -> io::Result<i32> {
        let Self { pilot, runner, handle, printing } = self;
        let mut beside = JoinSet::new();
        beside.spawn(control::serve(listener, Arc::clone(&pilot)));
        let notifier = Notifier::of_process();
        let mut ended = signal(SignalKind::terminate())?;
        let ending = notifier.clone();
        beside.spawn(async move {
            if ended.recv().await.is_some() {
                ending.stopping();
            }
        });
        let mut reopen = signal(SignalKind::user_defined1())?;
        let to_reopen = log.clone();
        beside.spawn(async move {
            while reopen.recv().await.is_some() {
                to_reopen.reopen().await;
            }
        });
        if let Ok(mut events) = handle.events() {
            let metrics = Arc::clone(&pilot.metrics);
            beside.spawn(async move {
                loop {
                    match events.recv().await {
                        Ok(event) => metrics.happened(&event),
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    }
                }
            });
        }
        notifier.ready();
        let code = runner.run().await;
        notifier.stopping();
        beside.abort_all();
        pilot.end().await;
        let _ = timeout(LAST_LINES, printing).await;
        let main = pilot.main.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let jobs = handle.jobs();
        let of_main = jobs.iter().find(|job: &&JobView| Some(&job.name) == main.as_ref()).and_then(|job| job.last_exit);
        code.map(|code| of_main.unwrap_or(code))
    }
}

/// What a reload changes.
struct Kept {
    config: Config,
    registrar: Option<Registrar>,
    watches: Watches,
    telemetry: Option<(IpAddr, u16, AbortHandle)>,
}

/// A supervisor that runs a file: what its control socket can ask of it.
pub struct Pilot {
    file: PathBuf,
    hostname: String,
    handle: Handle,
    ports: Ports,
    /// Variables that were put from outside.
    put: SyncMutex<BTreeMap<String, String>>,
    /// Those and the addresses of services, for whatever is started.
    variables: watch::Sender<BTreeMap<String, String>>,
    maintenance: watch::Sender<bool>,
    names: watch::Sender<BTreeSet<String>>,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    counts: Counts,
    main: SyncMutex<Option<String>>,
    kept: Mutex<Kept>,
}

impl Pilot {
    fn begin(
        path: &Path,
        hostname: String,
        config: Config,
        plan: Plan,
        client: Client,
        log: &Log,
        ports: Ports,
    ) -> Begun {
        let variables = watch::Sender::new(plan.variables.clone());
        let maintenance = watch::Sender::new(false);
        let names = watch::Sender::new(names(&plan.jobs));
        let (output, printing) = log.of_jobs(names.subscribe());
        let options = Options {
            ports: ports.clone(),
            output: Box::new(output),
            signals: true,
            second_kills: true,
            forward: vec![],
            pid_variables: Some(mapping::PREFIX.to_owned()),
            variables: Some(variables.subscribe()),
            notes: None,
        };
        let (runner, handle) = Runner::new(plan.jobs.clone(), options);
        let counts = Counts::new(BTreeMap::new());
        let metrics = Arc::new(Metrics::new(counts.clone()));
        let status = Arc::new(Status::new(handle.clone(), maintenance.subscribe()));
        let mut kept = Kept {
            registrar: Some(Registrar::new(client.clone(), handle.clone(), ports.clone(), maintenance.subscribe())),
            watches: Watches::new(client, handle.clone(), ports.clone(), counts.clone()),
            telemetry: None,
            config,
        };
        let pilot = |kept| Self {
            file: path.to_owned(),
            hostname,
            handle: handle.clone(),
            ports,
            put: SyncMutex::default(),
            variables,
            maintenance,
            names,
            metrics: Arc::clone(&metrics),
            status: Arc::clone(&status),
            counts,
            main: SyncMutex::default(),
            kept: Mutex::new(kept),
        };
        keep(&mut kept, plan.clone(), &metrics, &status);
        let pilot = pilot(kept);
        pilot.name_main(plan.main);
        Begun { pilot: Arc::new(pilot), runner, handle, printing }
    }

    /// Takes the file as it is now: jobs, services and watches that are the same go on as they are.
    ///
    /// # Errors
    /// The file is refused; nothing has changed then.
    pub async fn reload(&self) -> Result<(), RunError> {
        let notifier = Notifier::of_process();
        notifier.reloading();
        let reloaded = self.take_anew().await;
        // One that was refused has changed nothing: what ran is as ready as it was.
        notifier.ready();
        reloaded
    }

    async fn take_anew(&self) -> Result<(), RunError> {
        let mut kept = self.kept.lock().await;
        let mut environment = file::environment();
        let put = self.put.lock().unwrap_or_else(PoisonError::into_inner).clone();
        environment.extend(put.clone());
        let Taken { config, warnings } = file::read(&self.file, &environment)?;
        let plan = plan(&config, &machine(&self.hostname, environment)?)?;
        let client = consul::client(&config.consul)?;
        for warning in &warnings {
            tracing::warn!("{}", warning.brief);
        }
        tell_misfits(&plan.misfits);
        if config.control != kept.config.control || config.logging != kept.config.logging {
            tracing::warn!(
                "`control` and `logging` are taken at the start alone: what they say now holds from the next one on"
            );
        }
        self.variables.send_replace(plan.variables.clone().into_iter().chain(put).collect());
        self.names.send_modify(|names| names.extend(self::names(&plan.jobs)));
        self.handle.reload(plan.jobs.clone()).await.map_err(|_| RunError::Ending)?;
        if config.consul != kept.config.consul {
            let (handle, ports) = (self.handle.clone(), self.ports.clone());
            let registrar = Registrar::new(client.clone(), handle.clone(), ports.clone(), self.maintenance.subscribe());
            if let Some(old) = kept.registrar.replace(registrar) {
                old.end().await;
            }
            kept.watches = Watches::new(client, handle, ports, self.counts.clone());
        }
        kept.config = config;
        self.name_main(plan.main.clone());
        keep(&mut kept, plan, &self.metrics, &self.status);
        tracing::info!("the file was taken anew");
        Ok(())
    }

    fn name_main(&self, main: Option<String>) {
        *self.main.lock().unwrap_or_else(PoisonError::into_inner) = main;
    }

    /// Sets variables for what is started from now on, and for the next reload.
    pub fn put_variables(&self, variables: BTreeMap<String, String>) {
        self.put.lock().unwrap_or_else(PoisonError::into_inner).extend(variables.clone());
        self.variables.send_modify(|now| now.extend(variables));
    }

    /// Begins or ends maintenance: nothing is checked, and no service is in Consul, that of the telemetry included.
    pub async fn maintain(&self, on: bool) {
        self.maintenance.send_replace(on);
        let _ = self.handle.maintenance(on).await;
    }

    /// What is measured.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The page about jobs, services and watches.
    pub fn status(&self) -> String {
        self.status.page()
    }

    async fn end(&self) {
        let mut kept = self.kept.lock().await;
        if let Some((.., task)) = kept.telemetry.take() {
            task.abort();
        }
        if let Some(registrar) = kept.registrar.take() {
            registrar.end().await;
        }
    }
}

/// Brings all that stands beside the jobs to what a plan says.
fn keep(kept: &mut Kept, plan: Plan, metrics: &Arc<Metrics>, status: &Arc<Status>) {
    let watches = kept.config.watches.clone();
    let names = watches.iter().map(|watch| watch.name.clone()).collect();
    status.keep(&plan.registrations, names);
    metrics.keep(kept.config.telemetry.as_ref().map_or(&[], |telemetry| &telemetry.metrics));
    let listens = kept.telemetry.as_ref().map(|(address, port, _)| (*address, *port));
    if listens != plan.telemetry {
        if let Some((.., task)) = kept.telemetry.take() {
            task.abort();
        }
        kept.telemetry = plan.telemetry.map(|(address, port)| {
            let task = tokio::spawn(telemetry::serve(address, port, Arc::clone(metrics), Arc::clone(status)));
            (address, port, task.abort_handle())
        });
    }
    if let Some(registrar) = &mut kept.registrar {
        registrar.keep(plan.registrations);
    }
    kept.watches.keep(&watches);
}

fn names(jobs: &JobSet) -> BTreeSet<String> {
    jobs.jobs().iter().map(|job| job.name.clone()).collect()
}

/// Of a job that waits for nothing that can happen, the file's own warning has told.
fn tell_misfits(misfits: &[SetError]) {
    for misfit in misfits {
        if !matches!(misfit, SetError::NoSource { source_job, .. } if source_job.is_empty()) {
            tracing::warn!("{misfit}");
        }
    }
}

fn machine(hostname: &str, environment: BTreeMap<String, String>) -> io::Result<Machine> {
    let addresses = if_addrs::get_if_addrs()?.into_iter().map(|found| {
        let address = found.ip();
        (found.name, address)
    });
    Ok(Machine {
        hostname: hostname.to_owned(),
        addresses: addresses.collect(),
        environment,
        cwd: std::env::current_dir()?,
        pid: std::process::id(),
    })
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
