//! Files, and what they come to.

use helium_containerpilot::load;

use super::*;

fn machine() -> Machine {
    Machine {
        hostname: "host".to_owned(),
        addresses: vec![("eth0".to_owned(), [10, 0, 0, 5].into()), ("lo".to_owned(), [127, 0, 0, 1].into())],
        environment: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
        cwd: PathBuf::from("/"),
        pid: 42,
    }
}

fn planned(body: &str) -> Plan {
    let loaded = load(&format!("{{ consul: 'c:8500', {body} }}"), &BTreeMap::new());
    plan(&loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems)), &machine()).unwrap()
}

/// The job of a file with this one job.
fn one(job: &str) -> supervisor::Job {
    planned(&format!("jobs: [{{ name: 'a', exec: ['x', 'y z'], {job} }}]")).jobs.jobs()[0].clone()
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn what_a_job_waits_for() {
    use supervisor::{Code, Event as E};
    let startup = || E::global(Code::Startup);
    let each = Some(EVENTS_BEHIND);
    let rows: Vec<(&str, Start)> = vec![
        ("", Start::once(startup())),
        ("when: { source: 'b', once: 'exitSuccess' }", Start::once(E::of_job(Code::ExitSuccess, "b"))),
        ("when: { source: 'b', each: 'healthy' }", Start { each, ..Start::once(E::of_job(Code::Healthy, "b")) }),
        (
            "when: { source: 'watch.b', each: 'changed' }",
            Start { each, ..Start::once(E::of_watch(Code::Changed, "b")) },
        ),
        ("when: { source: 'SIGHUP' }", Start { each, ..Start::once(E::global(Code::Sighup)) }),
        ("when: { source: 'SIGUSR2', once: 'SIGUSR2' }", Start { each, ..Start::once(E::global(Code::Sigusr2)) }),
        ("when: { source: 'global', once: 'shutdown' }", Start::once(E::global(Code::Shutdown))),
        (
            "when: { source: 'b', once: 'stopped', timeout: '3s' }",
            Start { timeout: Some(ms(3000)), ..Start::once(E::of_job(Code::Stopped, "b")) },
        ),
        (
            "when: { interval: '500ms' }",
            Start { after: vec![startup()], ..Start::every(ms(500), supervisor::Restarts::Unlimited) },
        ),
        (
            "restarts: 5, when: { interval: '500ms' }",
            Start { after: vec![startup()], ..Start::every(ms(500), supervisor::Restarts::Times(5)) },
        ),
        (
            "when: { all: [{ source: 'b', once: 'healthy' }, { source: 'watch.c', each: 'changed' }] }",
            Start {
                after: vec![E::of_job(Code::Healthy, "b"), E::of_watch(Code::Changed, "c")],
                lasting: vec![E::of_job(Code::Healthy, "b")],
                each,
                ..Start::default()
            },
        ),
        (
            "when: { all: [{ source: 'b', once: 'healthy' }, { source: 'watch.c', once: 'healthy' }] }",
            Start {
                after: vec![E::of_job(Code::Healthy, "b"), E::of_watch(Code::Healthy, "c")],
                lasting: vec![E::of_job(Code::Healthy, "b"), E::of_watch(Code::Healthy, "c")],
                ..Start::default()
            },
        ),
    ];
    for (text, start) in rows {
        assert_eq!(one(text).start, start, "{text}");
    }
}

#[test]
fn what_never_happens_starts_nothing_and_what_is_startup_alone_is_no_such_thing() {
    for never in ["when: { once: 'startup' }", "when: { source: 'b', once: 'error' }", "when: { source: 'b' }"] {
        let job = one(never);
        assert_eq!(job.start.after, [supervisor::Event::of_job(supervisor::Code::Startup, "")], "{never}");
    }
}

#[test]
fn how_a_job_runs_is_restarted_and_stops() {
    let job = one("timeout: '2s', stopTimeout: '7s', restarts: 3, logging: { raw: true }");
    assert_eq!(job.command.as_ref().unwrap().argv, ["x", "y z"]);
    assert_eq!(job.run_limit, Some(RunLimit { after: ms(2000), kill: true }));
    assert_eq!(job.stop, Stop { signal: Signal::TERM, timeout: ms(5000), wait: Some(ms(7000)) });
    assert_eq!((job.restarts, job.output), (supervisor::Restarts::Times(3), Output::Raw));
    assert_eq!((job.backoff.first, job.backoff.most, job.backoff.stable), (ms(100), ms(10_000), ms(1000)));
    let job = one("restarts: 'unlimited', restartDelay: '1s', restartMaxDelay: '1m'");
    assert_eq!(job.restarts, supervisor::Restarts::Unlimited);
    assert_eq!((job.backoff.first, job.backoff.most), (ms(1000), ms(60_000)));
    assert_eq!(one("").restarts, supervisor::Restarts::Never);
    assert_eq!(one("when: { interval: '1s' }").restarts, supervisor::Restarts::Never, "its ticks are its restarts");
    assert_eq!(one("when: { interval: '1s' }").run_limit, Some(RunLimit { after: ms(1000), kill: true }));
}

#[test]
fn what_is_checked_and_what_is_only_beaten() {
    let health = one("health: { exec: 'check it', interval: 2, ttl: 9, timeout: '500ms' }").health.unwrap();
    assert_eq!(health.command.unwrap().argv, ["check", "it"]);
    assert_eq!((health.interval, health.ttl, health.timeout), (ms(2000), ms(9000), ms(500)));
    assert_eq!(one("health: { exec: 'c', interval: 2, ttl: 9 }").health.unwrap().timeout, ms(2000));
    assert_eq!(one("health: { interval: 2, ttl: 9 }").health, None);
}

#[test]
fn services_have_their_addresses_which_all_jobs_find_in_their_environment() {
    let plan = planned(
        "jobs: [{ name: 'my-app', exec: 'x', port: 80, health: { exec: 'c', interval: 1, ttl: 5 }, tags: ['t'],
                  initial_status: 'warning', consul: { enableTagOverride: true, deregisterCriticalServiceAfter: '10m' } },
                { name: 'quiet', exec: 'x', port: 81, interfaces: 'lo', health: { interval: 3, ttl: 9 } }],
         telemetry: { port: 9090 }",
    );
    let [app, quiet, telemetry] = &plan.registrations[..] else { panic!("{:?}", plan.registrations) };
    assert_eq!((app.id.as_str(), app.address.to_string().as_str(), app.port), ("my-app-host", "10.0.0.5", 80));
    assert_eq!((app.initial, app.beat, app.enable_tag_override), (Some(Initial::Warning), Beat::Checks, true));
    assert_eq!(app.deregister_after, Some(Duration::from_mins(10)));
    assert_eq!(app.check_id(), "service:my-app-host");
    assert_eq!((quiet.address.to_string().as_str(), quiet.beat), ("127.0.0.1", Beat::WhileItRuns(ms(3000))));
    assert_eq!((telemetry.name.as_str(), telemetry.beat), ("containerpilot", Beat::Always(ms(5000))));
    let environment = &plan.jobs.jobs()[1].command.as_ref().unwrap().env;
    assert_eq!(plan.variables["CONTAINERPILOT_MY_APP_IP"], "10.0.0.5");
    assert!(!environment.contains_key("CONTAINERPILOT_MY_APP_IP"), "another address makes no other job");
    assert_eq!(environment["CONTAINERPILOT_PID"], "42");
    assert_eq!(environment["PATH"], "/bin");
    assert_eq!(plan.main.as_deref(), Some("my-app"));
}

#[test]
fn a_service_without_an_address_is_refused_by_its_name() {
    let text = "{ consul: 'c', jobs: [{ name: 'app', exec: 'x', port: 80, interfaces: 'eth9', health: { interval: 1, ttl: 5 } }] }";
    let config = load(text, &BTreeMap::new()).config.unwrap();
    let error = plan(&config, &machine()).unwrap_err().to_string();
    assert!(error.starts_with("app: no address of this machine matches eth9:inet"), "{error}");
}

#[test]
fn the_main_job_is_the_advertised_one_or_else_the_first_that_waits_for_nobody() {
    let main = |jobs: &str| planned(&format!("jobs: [{jobs}]")).main;
    let (pre, app) = ("{ name: 'pre', exec: 'x', when: { interval: '1s' } }", "{ name: 'app', exec: 'x' }");
    assert_eq!(main(&format!("{pre}, {app}")).as_deref(), Some("app"));
    assert_eq!(main(pre).as_deref(), Some("pre"));
    assert_eq!(main(""), None);
    assert_eq!(planned("").jobs.jobs().len(), 1, "it stays until it is told to end");
}
