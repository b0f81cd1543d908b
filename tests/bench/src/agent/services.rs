//! One service that a file of ContainerPilot describes: how soon its failure is known, how soon it is back, how soon it ends.

use std::{fs, path::PathBuf, time::Duration};

use consul_client::{CheckStatus, Client, Error, Read};
use helium_e2e::{Daemon, process, wait::pause};
use jiff::Timestamp;

use super::{
    Outcome,
    desk::{Desk, LIMIT},
    looks::{Memory, lasting_zombies},
    program::Program,
};
use crate::react::percentile;

/// How often a check fails, and how often the whole is ended.
const FAILURES: usize = 8;
const ENDS: usize = 5;
/// How often somebody deregisters the service.
const DEREGISTERED: usize = 3;
/// How many times a second children are looked at four times.
const LOOKS: usize = 40;
/// How long what runs is let alone before its memory is looked at.
const REST: Duration = Duration::from_secs(3);
/// The longest wait of a long poll.
const WAIT: Duration = Duration::from_secs(30);
/// Where each start of the service's process is noted.
const STARTS: &str = "starts";

/// What a program came to.
pub(super) struct Services {
    /// From the end of a check that failed to the catalog, the worst.
    pub(super) critical: Option<Duration>,
    /// From SIGTERM to the end of the whole.
    pub(super) stop: Option<Duration>,
    /// From a deregistration by hand to the registration, the worst.
    pub(super) back: Option<Duration>,
    /// The most zombies that were there at two looks, while each check left orphans.
    pub(super) zombies: f64,
    /// Of all its processes but the service's own.
    pub(super) memory: Memory,
    /// How many processes those are.
    pub(super) processes: usize,
}

/// Measures.
pub(super) fn measure(desk: &Desk, program: &Program) -> Outcome<Services> {
    let (daemon, app) = (start(desk, program)?, app(program));
    pause(REST);
    let own = own(&daemon);
    let memory = Memory::of(&own);
    let critical = program.figure("critical", || critical(desk, &app))?;
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let zombies = lasting_zombies(&own, LOOKS) as f64;
    let back = program.figure("back", || back(desk, &app))?;
    drop(daemon);
    // Whatever an earlier run has left in Consul.
    for (id, _) in desk.wait_for(desk.client.agent_services())? {
        desk.wait_for(desk.client.agent_deregister_service(&id))?;
    }
    let stop = program.figure("the end", || stops(desk, program))?;
    Ok(Services { critical, stop, back, zombies, memory, processes: own.len() })
}

/// The name of the service.
pub(super) fn app(program: &Program) -> String {
    format!("{}-app", program.name())
}

/// Where each start of the service's process is noted.
pub(super) fn starts(desk: &Desk, program: &Program) -> PathBuf {
    desk.path(&format!("{}-{STARTS}", app(program)))
}

/// The file: the check fails while `sick` is there, tells when it first did so, and leaves an orphan behind each time.
fn file(desk: &Desk, program: &Program) -> String {
    let (folder, app) = (desk.helium.folder().display().to_string(), app(program));
    let run = format!("echo $$ >> {}; exec sleep 3600", starts(desk, program).display());
    let check = "(sleep 0.3 &); if [ -e sick ]; then [ -e failed ] || date +%s%N > failed; exit 1; fi";
    let text = format!(
        "{{ consul: '{consul}', stopTimeout: 5, control: {{ socket: '{folder}/{app}.socket' }},
           jobs: [{{ name: '{app}', exec: ['sh', '-c', '{run}'], port: 8000, interfaces: ['static:127.0.0.1'],
                     health: {{ exec: ['sh', '-c', 'cd {folder}; {check}'], interval: 1, ttl: 5 }} }}] }}",
        consul = desk.consul.address(),
    );
    desk.helium.write(&format!("{app}.json5"), &text)
}

/// Starts it, and returns when its service is healthy.
pub(super) fn start(desk: &Desk, program: &Program) -> Outcome<Daemon> {
    let file = file(desk, program);
    let daemon = Daemon::start(program.name(), &mut program.pilot(desk, &file), desk.helium.folder());
    desk.wait_for(until_status(&desk.client, &app(program), CheckStatus::Passing))?;
    Ok(daemon)
}

/// The process that was started, and the one of the same program below it, if there is one.
pub(super) fn own(daemon: &Daemon) -> Vec<u32> {
    let program = process::arguments(daemon.pid());
    let below = process::children(daemon.pid());
    let same = below.into_iter().filter(|child| process::arguments(*child).first() == program.first());
    std::iter::once(daemon.pid()).chain(same).collect()
}

/// Waits by long polls until a check of a service in the catalog has this status.
pub(super) async fn until_status(client: &Client, service: &str, status: CheckStatus) -> Result<(), Error> {
    let mut index = 0;
    loop {
        let read = if index == 0 { Read::default() } else { Read::blocking(index, WAIT) };
        let reply = client.health_checks(service, &read).await?;
        if reply.value.iter().any(|check| check.status == status) {
            return Ok(());
        }
        index = reply.meta.index;
    }
}

/// From the moment at which a check says that it fails to the long poll that sees it in the catalog, the worst of some.
fn critical(desk: &Desk, app: &str) -> Outcome<Duration> {
    let mut worst = Duration::ZERO;
    for _ in 0..FAILURES {
        fs::remove_file(desk.path("failed")).ok();
        fs::write(desk.path("sick"), "")?;
        desk.wait_for(until_status(&desk.client, app, CheckStatus::Critical))?;
        let seen = desk.ports.wall();
        let failed = Timestamp::from_nanosecond(desk.text("failed").trim().parse()?)?;
        worst = worst.max(Duration::try_from(seen - failed).unwrap_or_default());
        fs::remove_file(desk.path("sick"))?;
        desk.wait_for(until_status(&desk.client, app, CheckStatus::Passing))?;
    }
    Ok(worst)
}

/// How long a service that somebody deregisters is away, the worst of some.
fn back(desk: &Desk, app: &str) -> Outcome<Duration> {
    let mut worst = Duration::ZERO;
    for _ in 0..DEREGISTERED {
        worst = worst.max(away(desk, app)?);
    }
    Ok(worst)
}

/// Deregisters a service of this name, and waits until it is registered again.
pub(super) fn away(desk: &Desk, name: &str) -> Outcome<Duration> {
    let registered = || {
        let all = desk.wait_for(desk.client.agent_services()).ok()?;
        all.into_values().find(|service| service.service == name).map(|service| service.id)
    };
    let id = registered().ok_or_else(|| format!("{name} is not registered"))?;
    let begun = desk.now();
    desk.wait_for(desk.client.agent_deregister_service(&id))?;
    desk.until("a service that was deregistered is back", LIMIT, || {
        pause(Duration::from_millis(20));
        registered()
    })?;
    Ok(desk.since(begun))
}

fn stops(desk: &Desk, program: &Program) -> Outcome<Duration> {
    let (mut times, app) = (Vec::new(), app(program));
    for _ in 0..ENDS {
        let mut daemon = start(desk, program)?;
        let begun = desk.now();
        process::terminate(daemon.pid());
        desk.until("it has ended by SIGTERM", LIMIT, || (!process::is_alive(daemon.pid())).then_some(()))?;
        times.push(desk.since(begun));
        daemon.wait(LIMIT);
        desk.until("its service is gone", LIMIT, || {
            pause(Duration::from_millis(20));
            desk.wait_for(desk.client.agent_services()).ok()?.values().all(|one| one.service != app).then_some(())
        })?;
    }
    times.sort_unstable();
    Ok(percentile(&times, 50))
}
