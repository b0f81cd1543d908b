//! What a file that is taken means: defaults, conversions, and Helium's own keys.

use std::time::Duration;

use helium_containerpilot::{
    Event, EventCode, Signal, Source,
    config::*,
    interfaces::{Spec, default_specs},
    load,
};

use crate::{env, taken, with_jobs};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn job(text: &str) -> Job {
    taken(&with_jobs(text)).jobs.remove(0)
}

fn event(code: EventCode, source: Source) -> Event {
    Event { code, source }
}

#[test]
fn the_smallest_file_has_every_default() {
    let config = taken("{consul: 'consul:8500'}");
    assert_eq!(
        config,
        Config {
            consul: Consul {
                address: "consul:8500".to_owned(),
                scheme: Scheme::Http,
                token: None,
                tls: Tls::default()
            },
            logging: Logging { level: LogLevel::Info, format: LogFormat::Default, output: LogOutput::Stdout },
            stop_timeout: s(5),
            control: Control { socket: "/var/run/containerpilot.socket".to_owned() },
            jobs: Vec::new(),
            watches: Vec::new(),
            telemetry: None,
        }
    );
}

#[test]
fn the_smallest_job_has_every_default() {
    assert_eq!(
        job("{name: 'a_b', exec: '/bin/app -p 80'}"),
        Job {
            name: "a_b".to_owned(),
            exec: Some(Exec { program: "/bin/app".to_owned(), args: vec!["-p".to_owned(), "80".to_owned()] }),
            service: None,
            health: None,
            timeout: None,
            stop_timeout: None,
            restarts: Restarts::Limited(0),
            restart_delay: RestartDelay::default(),
            when: When::Event { condition: Condition { event: Event::STARTUP, starts: Starts::Once }, timeout: None },
            raw_output: false,
        }
    );
}

#[test]
fn a_text_to_run_is_trimmed_and_split_on_single_spaces_and_nothing_else() {
    let exec = job(r#"{name: 'x', exec: " run  'a b'\tc "}"#).exec.unwrap();
    assert_eq!((exec.program.as_str(), exec.args), ("run", ["", "'a", "b'\tc"].map(str::to_owned).to_vec()));
}

#[test]
fn a_service_has_its_health_and_its_defaults() {
    let job =
        job("{name: 'app', port: '0x50', exec: ['app', 1, true], health: {exec: 'check', interval: 5, ttl: '15'}}");
    assert_eq!(job.exec.unwrap().args, ["1", "true"]);
    assert_eq!(
        job.service,
        Some(Service {
            port: 80,
            initial_status: None,
            interfaces: default_specs(),
            tags: Vec::new(),
            enable_tag_override: false,
            deregister_critical_service_after: None,
        })
    );
    assert_eq!(
        job.health,
        Some(Health {
            exec: Some(Exec { program: "check".to_owned(), args: Vec::new() }),
            interval: s(5),
            ttl: s(15),
            timeout: Some(s(5)),
            raw_output: false,
        })
    );
}

#[test]
fn what_a_service_may_say_is_read() {
    let text = "{name: 'app', port: 80, initial_status: 'warning', interfaces: ['eth0[1]', 'inet6', '10.0.0.0/8'], tags: ['a', 2],
        consul: {enableTagOverride: 'true', deregisterCriticalServiceAfter: '10m'}, logging: {raw: 1},
        health: {interval: 1, ttl: 5, timeout: '100ms', logging: {raw: true}}}";
    let job = job(text);
    let service = job.service.unwrap();
    assert_eq!(service.initial_status, Some(InitialStatus::Warning));
    assert_eq!(service.interfaces[0], Spec::Index { name: "eth0".to_owned(), index: 1 });
    assert_eq!(service.tags, ["a", "2"]);
    assert!(service.enable_tag_override && job.raw_output);
    assert_eq!(service.deregister_critical_service_after.as_deref(), Some("10m"));
    let health = job.health.unwrap();
    assert_eq!((health.exec, health.timeout, health.raw_output), (None, Some(Duration::from_millis(100)), true));
}

#[test]
fn a_periodic_job_is_repeated_without_end_and_killed_at_its_next_time() {
    let job = job("{name: 'task', exec: 'x', when: {interval: '500ms'}}");
    let every = Duration::from_millis(500);
    assert_eq!(job.when, When::Interval { every, after: Event::STARTUP, timeout: None });
    assert_eq!((job.restarts, job.timeout), (Restarts::Unlimited, Some(every)));
    assert_eq!(self::job("{name: 'task', exec: 'x', when: {interval: 1}, timeout: ''}").timeout, Some(s(1)));
}

#[test]
fn restarts_are_read_in_all_their_forms() {
    let restarts = |text: &str| job(&format!("{{name: 'x', exec: 'x', restarts: {text}}}")).restarts;
    assert_eq!(restarts("'unlimited'"), Restarts::Unlimited);
    assert_eq!(restarts("'never'"), Restarts::Limited(0));
    assert_eq!(restarts("'3'"), Restarts::Limited(3));
    assert_eq!(restarts("1.9"), Restarts::Limited(1));
    assert_eq!(restarts("null"), Restarts::Limited(0));
}

#[test]
fn what_jobs_wait_for_is_read() {
    let when = |text: &str| job(&format!("{{name: 'x', exec: 'x', when: {text}}}, {{name: 'db', exec: 'db'}}")).when;
    assert_eq!(
        when("{source: 'db', once: 'exitSuccess', timeout: '2m'}"),
        When::Event {
            condition: Condition {
                event: event(EventCode::ExitSuccess, Source::Job("db".to_owned())),
                starts: Starts::Once
            },
            timeout: Some(s(120)),
        }
    );
    assert_eq!(
        when("{source: 'watch.a-b', each: 'changed'}"),
        When::Event {
            condition: Condition {
                event: event(EventCode::Changed, Source::Watch("a-b".to_owned())),
                starts: Starts::Each
            },
            timeout: None,
        }
    );
    assert_eq!(
        when("{source: 'SIGHUP'}"),
        When::Event {
            condition: Condition { event: event(EventCode::Signal, Source::Signal(Signal::Hup)), starts: Starts::Each },
            timeout: None,
        }
    );
    assert_eq!(when("{once: 'startup', timeout: 3}"), When::Never { timeout: Some(s(3)) });
    assert_eq!(when("{}"), When::Never { timeout: None });
}

#[test]
fn the_own_keys_are_read() {
    let text = "{name: 'x', exec: 'x', restarts: 'unlimited', restartDelay: '1s', restartMaxDelay: 30,
        when: {all: [{source: 'db', once: 'healthy'}, {source: 'watch.conf', each: 'changed'}], timeout: 60}}, {name: 'db'}";
    let job = job(text);
    assert_eq!(job.restart_delay, RestartDelay { first: s(1), max: s(30) });
    let conditions = vec![
        Condition { event: event(EventCode::Healthy, Source::Job("db".to_owned())), starts: Starts::Once },
        Condition { event: event(EventCode::Changed, Source::Watch("conf".to_owned())), starts: Starts::Each },
    ];
    assert_eq!(job.when, When::All { conditions, timeout: Some(s(60)) });

    let job =
        self::job("{name: 'x', exec: 'x', when: {interval: '1m', once: 'exitSuccess', source: 'db', timeout: 5}}");
    let after = event(EventCode::ExitSuccess, Source::Job("db".to_owned()));
    assert_eq!(job.when, When::Interval { every: s(60), after, timeout: Some(s(5)) });
    assert_eq!(job.restarts, Restarts::Unlimited);
}

#[test]
fn watches_of_services_and_of_keys_are_read() {
    let text = "{consul: 'c', watches: [{name: 'db', interval: 3, tag: 'x', dc: 'eu'}, {key: 'a/b'}, {name: 'conf', prefix: 'c/', interval: 9}]}";
    let watches = taken(text).watches;
    let watch = |name: &str, what, interval, datacenter: Option<&str>| Watch {
        name: name.to_owned(),
        what,
        interval,
        datacenter: datacenter.map(str::to_owned),
    };
    assert_eq!(
        watches,
        [
            watch("db", Watched::Service { tag: Some("x".to_owned()) }, Some(s(3)), Some("eu")),
            watch("a/b", Watched::Key("a/b".to_owned()), None, None),
            watch("conf", Watched::Prefix("c/".to_owned()), Some(s(9)), None),
        ]
    );
}

#[test]
fn telemetry_is_read() {
    let text = "{consul: 'c', telemetry: {interfaces: ['inet'], tags: ['dev'],
        metrics: [{namespace: 'org', subsystem: 'app', name: 'zed', help: 'zeds', type: 'gauge'}]}}";
    assert_eq!(
        taken(text).telemetry,
        Some(Telemetry {
            port: 9090,
            interfaces: vec![Spec::Any { v6: false }],
            tags: vec!["dev".to_owned()],
            metrics: vec![Metric {
                key: "org_app_zed".to_owned(),
                exposed_name: "org_app_zed".to_owned(),
                help: "zeds".to_owned(),
                kind: MetricKind::Gauge,
            }],
        })
    );
}

#[test]
fn the_environment_goes_before_the_file_and_a_token_is_never_printed() {
    let text = "{consul: {address: 'c:8501', scheme: 'https', token: 'of the file', tls: {cafile: 'a', verify: true}}}";
    let set =
        env(&[("CONSUL_HTTP_TOKEN", "of the environment"), ("CONSUL_CACERT", "b"), ("CONSUL_HTTP_SSL_VERIFY", "0")]);
    let consul = load(text, &set).config.unwrap().consul;
    assert_eq!(consul.token.as_ref().unwrap().0, "of the environment");
    assert_eq!((consul.tls.ca_file.as_deref(), consul.tls.verify), (Some("b"), false));
    assert!(!format!("{consul:?}").contains("of the environment"));
    assert_eq!(taken(text).consul.token.unwrap().0, "of the file");
}

#[test]
fn the_address_of_consul_is_read_in_all_its_forms() {
    let consul = |text: &str| {
        let consul = taken(&format!("{{consul: {text}}}")).consul;
        (consul.address, consul.scheme)
    };
    assert_eq!(consul("'http://a:1'"), ("a:1".to_owned(), Scheme::Http));
    assert_eq!(consul("'https://a:1'"), ("a:1".to_owned(), Scheme::Https));
    assert_eq!(consul("{address: 'unix:///run/c.sock'}"), ("/run/c.sock".to_owned(), Scheme::Unix));
    assert_eq!(consul("{}"), ("127.0.0.1:8500".to_owned(), Scheme::Http));
}

#[test]
fn a_file_is_a_template_over_the_environment() {
    let text = "{consul: '{{ .CONSUL | default \"localhost\" }}:8500', jobs: [
        {{- range $i, $name := split \",\" .JOBS }}
        {name: '{{ $name }}', exec: ['run', '{{ $i }}']},{{ end }}]}";
    let config = load(text, &env(&[("JOBS", "a,b")])).config.unwrap();
    assert_eq!(config.consul.address, "localhost:8500");
    let jobs: Vec<(String, Vec<String>)> =
        config.jobs.into_iter().map(|job| (job.name, job.exec.unwrap().args)).collect();
    assert_eq!(jobs, [("a".to_owned(), vec!["0".to_owned()]), ("b".to_owned(), vec!["1".to_owned()])]);
}
