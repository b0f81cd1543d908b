//! What a file says as jobs, services and watches; pure.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use helium_containerpilot::{
    Config, Event, EventCode, Signal as FileSignal, Source,
    config::{Condition, Exec, Health, InitialStatus, Job, Restarts, Starts, When},
    interfaces::{NoAddress, resolve},
};
use helium_processes::{Command, Signal};
use helium_supervisor::{
    self as supervisor, JobSet, Output, Periodic, SetError, Settings, Start,
    job::{Backoff, RunLimit, Stop},
};

use crate::registration::{Beat, Initial, Registration};

/// Before the names of the variables that jobs find.
pub const PREFIX: &str = "CONTAINERPILOT";
/// The service of the telemetry.
pub const TELEMETRY: &str = "containerpilot";
/// How many events of one kind a job is behind at most before it loses starts.
const EVENTS_BEHIND: u32 = 1000;
/// A check without a limit has this one.
const NO_LIMIT: Duration = Duration::from_hours(365 * 24);
/// The restarts of a job whose file says nothing of a delay: at once while its runs take this long, and rarer and rarer while they do not.
const STABLE: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
const TELEMETRY_TTL: Duration = Duration::from_secs(15);
const TELEMETRY_BEAT: Duration = Duration::from_secs(5);

/// What of this machine and process the jobs depend on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The name of the machine, in the ids of services.
    pub hostname: String,
    /// The addresses of its interfaces.
    pub addresses: Vec<(String, IpAddr)>,
    /// The environment of the jobs.
    pub environment: BTreeMap<String, String>,
    /// The working directory of the jobs.
    pub cwd: PathBuf,
    /// The process id of the supervisor.
    pub pid: u32,
}

/// What a file comes to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The jobs.
    pub jobs: JobSet,
    /// What of them does not fit and does no harm.
    pub misfits: Vec<SetError>,
    /// Variables of every process, which tell the addresses of services. They are none of a job's own, so that a job is the same when another one
    /// gets an address.
    pub variables: BTreeMap<String, String>,
    /// The services of jobs, and that of the telemetry.
    pub registrations: Vec<Registration>,
    /// Where the telemetry listens, if there is any.
    pub telemetry: Option<(IpAddr, u16)>,
    /// The job whose exit code is the supervisor's.
    pub main: Option<String>,
}

/// Why a file that is right cannot be run on this machine.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// No address for a service.
    #[error("{name}: {source}; `interfaces` says which is taken")]
    Address {
        /// The job, or the telemetry.
        name: String,
        /// What there is.
        source: NoAddress,
    },
    /// The jobs do not fit together.
    #[error(transparent)]
    Set(#[from] SetError),
}

/// What a file comes to on a machine.
///
/// # Errors
/// A service has no address; an interval is nothing.
pub fn plan(config: &Config, machine: &Machine) -> Result<Plan, MappingError> {
    let address = |name: &str, specs: &[_]| {
        resolve(specs, &machine.addresses).map_err(|source| MappingError::Address { name: name.to_owned(), source })
    };
    let mut environment = machine.environment.clone();
    environment.insert(format!("{PREFIX}_PID"), machine.pid.to_string());
    let mut registrations = Vec::new();
    let mut variables = BTreeMap::new();
    for job in &config.jobs {
        if let Some(service) = &job.service {
            let address = address(&job.name, &service.interfaces)?;
            let variable = job.name.to_uppercase().replace('-', "_");
            variables.insert(format!("{PREFIX}_{variable}_IP"), address.to_string());
            registrations.extend(registration(job, address, &machine.hostname));
        }
    }
    let telemetry = match &config.telemetry {
        Some(telemetry) => Some((address("telemetry", &telemetry.interfaces)?, telemetry.port)),
        None => None,
    };
    if let (Some(said), Some((address, port @ 1..))) = (&config.telemetry, telemetry) {
        registrations.push(of_telemetry(&said.tags, address, port, &machine.hostname));
    }
    let command = |exec: &Exec| Command {
        argv: std::iter::once(&exec.program).chain(&exec.args).cloned().collect(),
        env: environment.clone(),
        cwd: machine.cwd.clone(),
        user: None,
    };
    let mut jobs: Vec<supervisor::Job> =
        config.jobs.iter().map(|job| self::job(job, config.stop_timeout, &command)).collect();
    if jobs.is_empty() {
        // A supervisor without jobs stays until it is told to end.
        jobs.push(supervisor::Job::new(TELEMETRY, None));
    }
    let settings = Settings { main: None, grace: config.stop_timeout, every_check: true };
    let (jobs, misfits) = JobSet::lenient(jobs, settings)?;
    Ok(Plan { jobs, misfits, variables, registrations, telemetry, main: main(&config.jobs) })
}

/// The first job that is advertised, or else the first that waits for nobody and runs once, or else the first.
fn main(jobs: &[Job]) -> Option<String> {
    let at_startup = |job: &&Job| {
        matches!(&job.when, When::Event { condition, .. } if condition.event == Event::STARTUP) && job.exec.is_some()
    };
    let main = jobs.iter().find(|job| job.service.is_some());
    main.or_else(|| jobs.iter().find(at_startup)).or_else(|| jobs.first()).map(|job| job.name.clone())
}

fn job(job: &Job, grace: Duration, command: &impl Fn(&Exec) -> Command) -> supervisor::Job {
    let start = start(&job.when, job.restarts);
    let restarts = if start.every.is_some() { supervisor::Restarts::Never } else { restarts(job.restarts) };
    supervisor::Job {
        start,
        restarts,
        backoff: backoff(job),
        run_limit: job.timeout.map(|after| RunLimit { after, kill: true }),
        stop: Stop { signal: Signal::TERM, timeout: grace, wait: job.stop_timeout },
        health: job.health.as_ref().and_then(|health| checks(health, command)),
        output: output(job.raw_output),
        ..supervisor::Job::new(&job.name, job.exec.as_ref().map(command))
    }
}

fn backoff(job: &Job) -> Backoff {
    let delay = job.restart_delay;
    if delay.first.is_zero() {
        Backoff { first: Backoff::LEAST, most: LONGEST_DELAY, stable: STABLE, ..Backoff::default() }
    } else {
        Backoff { first: delay.first, most: delay.max.max(delay.first), ..Backoff::default() }
    }
}

fn restarts(restarts: Restarts) -> supervisor::Restarts {
    match restarts {
        Restarts::Limited(0) => supervisor::Restarts::Never,
        Restarts::Limited(times) => supervisor::Restarts::Times(u32::try_from(times).unwrap_or(u32::MAX)),
        Restarts::Unlimited => supervisor::Restarts::Unlimited,
    }
}

fn output(raw: bool) -> Output {
    if raw { Output::Raw } else { Output::Lines }
}

/// Where nothing is run nothing is checked: such a service is passing as long as its job runs, and no event tells so.
fn checks(health: &Health, command: &impl Fn(&Exec) -> Command) -> Option<supervisor::Health> {
    let exec = health.exec.as_ref()?;
    Some(supervisor::Health {
        command: Some(command(exec)),
        interval: health.interval,
        ttl: health.ttl,
        timeout: health.timeout.unwrap_or(NO_LIMIT),
        output: output(health.raw_output),
    })
}

fn start(when: &When, restarts: Restarts) -> Start {
    let never = || vec![supervisor::Event::of_job(supervisor::Code::Startup, "")];
    match when {
        When::Event { condition, timeout } => Start {
            after: event(&condition.event).map_or_else(never, |event| vec![event]),
            each: (condition.starts == Starts::Each).then_some(EVENTS_BEHIND),
            timeout: *timeout,
            ..Start::default()
        },
        When::Interval { every, after, timeout } => Start {
            after: event(after).map_or_else(never, |event| vec![event]),
            every: Some(Periodic { interval: *every, ticks: self::restarts(restarts) }),
            timeout: *timeout,
            ..Start::default()
        },
        When::All { conditions, timeout } => all(conditions, *timeout),
        When::Never { timeout } => Start { after: never(), timeout: *timeout, ..Start::default() },
    }
}

fn all(conditions: &[Condition], timeout: Option<Duration>) -> Start {
    let of = |condition: &Condition| {
        event(&condition.event).unwrap_or_else(|| supervisor::Event::of_job(supervisor::Code::Startup, ""))
    };
    let each = conditions.iter().any(|condition| condition.starts == Starts::Each);
    Start {
        after: conditions.iter().map(of).collect(),
        lasting: conditions.iter().filter(|condition| condition.starts == Starts::Once).map(of).collect(),
        each: each.then_some(EVENTS_BEHIND),
        timeout,
        ..Start::default()
    }
}

/// The event for the supervisor; none for one that is never sent.
fn event(event: &Event) -> Option<supervisor::Event> {
    use supervisor::{Code, Source as To};
    let code = match event.code {
        EventCode::ExitSuccess => Code::ExitSuccess,
        EventCode::ExitFailed => Code::ExitFailed,
        EventCode::Stopping => Code::Stopping,
        EventCode::Stopped => Code::Stopped,
        EventCode::Healthy => Code::Healthy,
        EventCode::Unhealthy => Code::Unhealthy,
        EventCode::Changed => Code::Changed,
        EventCode::TimerExpired => Code::TimerExpired,
        EventCode::EnterMaintenance => Code::EnterMaintenance,
        EventCode::ExitMaintenance => Code::ExitMaintenance,
        EventCode::Startup => Code::Startup,
        EventCode::Shutdown => Code::Shutdown,
        EventCode::Error | EventCode::Quit => return None,
        EventCode::Signal => match event.source {
            Source::Signal(FileSignal::Hup) => Code::Sighup,
            Source::Signal(FileSignal::Usr2) => Code::Sigusr2,
            _ => return None,
        },
    };
    let source = match &event.source {
        Source::Job(name) => To::Job(name.clone()),
        Source::Watch(name) => To::Watch(name.clone()),
        Source::Global | Source::Signal(_) => To::Global,
    };
    Some(supervisor::Event { code, source })
}

fn registration(job: &Job, address: IpAddr, hostname: &str) -> Option<Registration> {
    let (service, health) = (job.service.as_ref()?, job.health.as_ref()?);
    let after = service.deregister_critical_service_after.as_deref();
    Some(Registration {
        job: job.name.clone(),
        id: format!("{}-{hostname}", job.name),
        name: job.name.clone(),
        address,
        port: service.port,
        tags: service.tags.clone(),
        enable_tag_override: service.enable_tag_override,
        deregister_after: after.and_then(consul_client::duration::parse),
        ttl: health.ttl,
        initial: service.initial_status.map(|status| match status {
            InitialStatus::Passing => Initial::Passing,
            InitialStatus::Warning => Initial::Warning,
            InitialStatus::Critical => Initial::Critical,
        }),
        beat: if health.exec.is_some() { Beat::Checks } else { Beat::WhileItRuns(health.interval) },
    })
}

fn of_telemetry(tags: &[String], address: IpAddr, port: u16, hostname: &str) -> Registration {
    let version = concat!("helium-", env!("CARGO_PKG_VERSION")).to_owned();
    Registration {
        job: String::new(),
        id: format!("{TELEMETRY}-{hostname}"),
        name: TELEMETRY.to_owned(),
        address,
        port,
        tags: tags.iter().cloned().chain([version]).collect(),
        enable_tag_override: false,
        deregister_after: None,
        ttl: TELEMETRY_TTL,
        initial: Some(Initial::Passing),
        beat: Beat::Always(TELEMETRY_BEAT),
    }
}

#[cfg(test)]
mod tests;
