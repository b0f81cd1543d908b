//! The pure parts: a template as jobs, what is told as events, states as reports.

use std::{collections::BTreeMap, time::Duration};

use consul_client::CheckStatus;
use helium_crds::{
    instance::Assignment,
    job::{JobPhase, MAIN},
    template::Template,
};
use helium_supervisor::{Code, Event, Job, JobState, JobView, Output, Restarts};
use serde_json::{Value, json};

use super::{
    followed::{Followed, Follows},
    mapping::{hopeless, job_set},
    plan::{Plan, grace},
    protocol::{Doing, JobWords, Look, States, Told},
    standing::{reports, verdict},
};
use crate::{
    driver::environment,
    instance::{dir::InstanceDir, record::Record},
    testing,
};

#[allow(clippy::needless_pass_by_value, reason = "it is written down where it is called")]
fn template(exec: Value, jobs: Value) -> Template {
    let mut exec = exec;
    exec["command"] = json!(["serve", "${PORT}"]);
    let template =
        json!({"version": "1", "exec": exec, "jobs": jobs, "env": {"LEVEL": "info"}, "ports": [{"name": "http"}]});
    serde_json::from_value(template).unwrap()
}

fn plan_of(template: Template) -> Plan {
    let mut assignment: Assignment = testing::assignment("hello-0");
    assignment.template = template;
    let mut record = Record::admit(assignment, testing::instant(0));
    record.ports.insert("http".to_owned(), 20_001);
    let dir = InstanceDir::at("/one".into());
    let resolved =
        environment::resolve(&testing::config(), &record.assignment, &record.ports, &BTreeMap::new(), &dir).unwrap();
    Plan::of(&record, &dir, &resolved)
}

/// The jobs of a template with one job, as the supervisor gets them: the main process, and that one.
#[allow(clippy::needless_pass_by_value, reason = "it is written down where it is called")]
fn mapped(job: Value) -> (Job, Job) {
    let set = job_set(&plan_of(template(json!({}), json!({"one": job})))).unwrap();
    let [main, one] = <[Job; 2]>::try_from(set.jobs().to_vec()).unwrap();
    (main, one)
}

#[test]
fn what_starts_a_job_becomes_the_events_that_do() {
    let watch = Event::of_watch;
    for (condition, event, lasts) in [
        (json!({"job": "main", "is": "healthy"}), Event::of_job(Code::Healthy, "main"), true),
        (json!({"job": "main", "is": "unhealthy"}), Event::of_job(Code::Unhealthy, "main"), true),
        (json!({"job": "main", "is": "exitedSuccess"}), Event::of_job(Code::ExitSuccess, "main"), true),
        (json!({"job": "main", "is": "exitedFailed"}), Event::of_job(Code::ExitFailed, "main"), true),
        (json!({"job": "main", "is": "stopping"}), Event::of_job(Code::Stopping, "main"), false),
        (json!({"job": "main", "is": "stopped"}), Event::of_job(Code::Stopped, "main"), false),
        (json!({"service": "db", "is": "healthy"}), watch(Code::Healthy, "service db"), true),
        (json!({"service": "db", "tag": "v2", "is": "changed"}), watch(Code::Changed, "service db v2"), false),
        (json!({"keys": "flags/"}), watch(Code::Changed, "keys flags/"), false),
        (json!({"signal": "HUP"}), Event::global(Code::Sighup), false),
        (json!({"signal": "USR1"}), Event::global(Code::Sigusr1), false),
        (json!({"signal": "USR2"}), Event::global(Code::Sigusr2), false),
    ] {
        let (_, one) = mapped(json!({"command": ["a"], "start": "each", "when": [condition]}));
        assert_eq!(one.start.lasting, if lasts { one.start.after.clone() } else { vec![] }, "{condition}");
        assert_eq!(one.start.after, [event], "{condition}");
        assert_eq!(one.start.each, Some(1));
    }
}

#[test]
fn a_job_of_few_words_runs_once_with_the_instance_and_one_of_many_as_it_says() {
    let (_, plain) = mapped(json!({"command": ["a"]}));
    let command = plain.command.clone();
    assert_eq!(plain, Job::new("one", command), "all defaults are the supervisor's own");

    let (_, full) = mapped(json!({
        "command": ["a"], "restart": "always", "maxRestarts": 3, "backoff": {"initial": "1s", "max": "5s"},
        "runLimit": "1m", "check": {"command": ["look"], "interval": "2s", "timeout": "1s"}, "notify": true,
        "stopSignal": "INT", "stopGracePeriod": "3s", "when": [{"signal": "HUP"}], "waitTimeout": "9s"
    }));
    let s = Duration::from_secs;
    assert_eq!((full.restarts, full.backoff.first, full.backoff.most), (Restarts::Times(3), s(1), s(5)));
    assert_eq!((full.run_limit.unwrap().after, full.start.timeout, full.start.each), (s(60), Some(s(9)), None));
    assert_eq!((full.stop.signal, full.stop.timeout, full.notify), (helium_processes::Signal::INT, s(3), true));
    let health = full.health.unwrap();
    assert_eq!((health.interval, health.timeout, health.ttl), (s(2), s(1), s(5)));
    assert_eq!(health.command.unwrap().argv, ["look"]);

    let (_, tick) = mapped(json!({"command": ["a"], "every": "10s"}));
    let every = tick.start.every.unwrap();
    assert_eq!((every.interval, every.ticks), (s(10), Restarts::Unlimited));
}

#[test]
fn the_main_process_is_never_restarted_and_is_healthy_by_whoever_looks_at_it() {
    let job = json!({"command": ["a"]});
    let (main, _) = mapped(job.clone());
    assert_eq!((main.restarts, main.output, main.health.is_some()), (Restarts::Never, Output::Raw, true));
    let mut plan = plan_of(template(json!({}), json!({"one": job})));
    plan.main.checked = true;
    assert_eq!(job_set(&plan).unwrap().jobs()[0].health, None, "the agent looks");
    let plan = plan_of(template(json!({"notify": true}), json!({})));
    let set = job_set(&plan).unwrap();
    assert!(set.jobs()[0].notify && set.jobs()[0].health.is_none(), "it says so by itself");
    assert_eq!(set.settings().main.as_deref(), Some(MAIN));
}

#[test]
fn a_job_has_the_environment_of_the_main_process_its_own_and_its_name() {
    let (main, one) = mapped(json!({
        "command": ["a", "${PORT}", "${HELIUM_JOB}", "${MINE}"], "env": {"MINE": "${LEVEL}-${HELIUM_JOB}", "LEVEL": "debug"},
        "cwd": "below", "check": {"command": ["look", "${MINE}"]}
    }));
    let (main, command) = (main.command.unwrap(), one.command.unwrap());
    assert_eq!(command.argv, ["a", "20001", "one", "info-one"]);
    assert_eq!((command.env["LEVEL"].as_str(), main.env["LEVEL"].as_str()), ("debug", "info"));
    assert_eq!((command.env["HELIUM_JOB"].as_str(), main.env["HELIUM_JOB"].as_str()), ("one", "main"));
    assert_eq!((&command.cwd, command.cwd.parent()), (&main.cwd.join("below"), Some(&*main.cwd)));
    assert_eq!(main.cwd, InstanceDir::at("/one".into()).work());
    assert_eq!(one.health.unwrap().command.unwrap().argv, ["look", "info-one"]);
}

#[test]
fn the_agent_kills_later_than_the_supervisor_gives_up() {
    for (whole, own) in [(10_000, 9_500), (2_000, 1_500), (1_000, 750), (0, 0)] {
        assert_eq!(grace(Duration::from_millis(whole)), Duration::from_millis(own), "{whole}");
    }
}

#[test]
fn a_plan_survives_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.json");
    let plan =
        plan_of(template(json!({"when": [{"signal": "HUP"}]}), json!({"one": {"command": ["a"], "every": "1s"}})));
    plan.write(&file).unwrap();
    assert_eq!(Plan::read(&file).unwrap(), plan);
}

#[test]
fn what_is_told_again_has_no_consequence_and_what_differs_is_an_event() {
    let mut followed = Followed::default();
    let mut codes = |print: &str, present| {
        let look = Look { print: print.to_owned(), present };
        let told = Told { watched: BTreeMap::from([("keys a/".to_owned(), look)]), healthy: None };
        let follows = followed.take(told).into_iter().map(|follows| match follows {
            Follows::Happened(event) => event.code,
            Follows::Main(_) => panic!("nobody spoke of it"),
        });
        follows.collect::<Vec<_>>()
    };
    assert_eq!(codes("none", false), [Code::Unhealthy], "what is not there has not changed");
    assert_eq!(codes("none", false), []);
    assert_eq!(codes("one", true), [Code::Changed, Code::Healthy]);
    assert_eq!(codes("one", true), []);
    assert_eq!(codes("two", true), [Code::Changed]);
    assert_eq!(codes("none", false), [Code::Changed, Code::Unhealthy]);
    let mut fresh = Followed::default();
    let look = Look { print: "one".to_owned(), present: true };
    let told = Told { watched: BTreeMap::from([("keys a/".to_owned(), look)]), healthy: Some(true) };
    let first = |code| Follows::Happened(Event::of_watch(code, "keys a/"));
    assert_eq!(fresh.take(told), [first(Code::Changed), first(Code::Healthy), Follows::Main(true)]);
}

fn words(state: Doing, starts: u64, last_exit: Option<i32>) -> JobWords {
    JobWords { state: Some(state), starts, last_exit, healthy: None, seen: Vec::new() }
}

#[test]
fn a_job_is_reported_by_what_lasts_and_not_at_each_run() {
    let once = json!({"command": ["a"], "when": [{"job": "main", "is": "healthy"}]});
    let always = json!({"command": ["a"], "restart": "always"});
    let every = json!({"command": ["a"], "every": "1s"});
    let each = json!({"command": ["a"], "start": "each", "when": [{"signal": "HUP"}]});
    let both =
        json!({"command": ["a"], "when": [{"job": "main", "is": "healthy"}, {"service": "db", "is": "healthy"}]});
    for (job, state, phase, message) in [
        (&once, words(Doing::Waiting, 0, None), JobPhase::Waiting, Some("waits for job main healthy")),
        (&once, words(Doing::Running, 1, None), JobPhase::Running, None),
        (&once, words(Doing::Done, 1, Some(0)), JobPhase::Done, None),
        (&once, words(Doing::Done, 1, Some(3)), JobPhase::Failed, Some("exit status 3")),
        (&once, words(Doing::Done, 0, None), JobPhase::Failed, Some("waited too long for job main healthy")),
        (&always, words(Doing::Running, 7, Some(1)), JobPhase::Running, None),
        (&always, words(Doing::CrashLoop, 7, Some(137)), JobPhase::CrashLoop, Some("killed by signal 9")),
        (&every, words(Doing::Resting, 7, Some(0)), JobPhase::Running, None),
        (&every, words(Doing::Running, 8, Some(0)), JobPhase::Running, None),
        (&every, words(Doing::Resting, 9, Some(1)), JobPhase::Failed, Some("exit status 1")),
        (&every, words(Doing::Running, 10, Some(1)), JobPhase::Failed, Some("exit status 1")),
        (&each, words(Doing::Waiting, 0, None), JobPhase::Waiting, Some("waits for signal HUP")),
        (&each, words(Doing::Waiting, 3, Some(0)), JobPhase::Running, None),
        (
            &both,
            JobWords { seen: vec![true, false], ..words(Doing::Waiting, 0, None) },
            JobPhase::Waiting,
            Some("waits for service db healthy"),
        ),
        (
            &always,
            JobWords { healthy: Some(false), ..words(Doing::Running, 1, None) },
            JobPhase::Unhealthy,
            Some("its check fails"),
        ),
    ] {
        let template = template(json!({}), json!({"one": job}));
        let states = States { jobs: BTreeMap::from([("one".to_owned(), state.clone())]) };
        let report = &reports(&template, &states)["one"];
        assert_eq!((report.phase, report.message.as_deref()), (phase, message), "{job} {state:?}");
    }
}

#[test]
fn an_instance_is_critical_until_its_main_process_runs_and_while_a_required_job_is_in_trouble() {
    let exec = json!({"when": [{"service": "db", "is": "healthy"}]});
    let template = template(
        exec,
        json!({
            "must": {"command": ["a"], "restart": "always", "required": true}, "may": {"command": ["a"], "restart": "always"}
        }),
    );
    let said = |main: u64, must: Doing, may: Doing| {
        let main = words(if main == 0 { Doing::Waiting } else { Doing::Running }, main, None);
        let jobs = [(MAIN, main), ("must", words(must, 9, Some(1))), ("may", words(may, 9, Some(1)))];
        let jobs = jobs.map(|(name, words)| (name.to_owned(), words));
        verdict(&template, &States { jobs: jobs.into() })
    };
    let waits = "the main process waits for service db healthy";
    assert_eq!(said(0, Doing::Running, Doing::Running), (CheckStatus::Critical, waits.to_owned()));
    assert_eq!(said(1, Doing::Running, Doing::CrashLoop).0, CheckStatus::Passing);
    let trouble = "job must is in a crash loop: exit status 1";
    assert_eq!(said(1, Doing::CrashLoop, Doing::Running), (CheckStatus::Critical, trouble.to_owned()));
    assert_eq!(verdict(&template, &States::default()).0, CheckStatus::Critical, "nothing is known of the main process");
}

#[test]
fn a_main_process_that_can_never_start_is_given_up_at_once() {
    let plan = plan_of(template(
        json!({"when": [{"job": "migrate", "is": "exitedSuccess"}, {"job": "proxy", "is": "healthy"}]}),
        json!({
            "migrate": {"command": ["a"], "when": [{"job": "fetch", "is": "exitedSuccess"}]},
            "fetch": {"command": ["a"]},
            "proxy": {"command": ["a"], "restart": "always", "notify": true},
        }),
    ));
    let set = job_set(&plan).unwrap();
    let seen = |changes: &[(&str, JobState, u64, Option<i32>)]| {
        let mut jobs: Vec<JobView> = helium_supervisor::Supervisor::new(set.clone()).jobs();
        for (name, state, starts, last_exit) in changes {
            let job = jobs.iter_mut().find(|job| job.name == *name).unwrap();
            (job.state, job.starts, job.last_exit) = (*state, *starts, *last_exit);
        }
        hopeless(&plan, &jobs)
    };
    assert_eq!(seen(&[]), None);
    assert_eq!(seen(&[("fetch", JobState::Done, 1, Some(0))]), None);
    assert_eq!(seen(&[("fetch", JobState::Running, 1, None), ("proxy", JobState::CrashLoop, 9, Some(1))]), None);
    let fetch = seen(&[("fetch", JobState::Done, 1, Some(4))]);
    assert_eq!(fetch.as_deref(), Some("the job fetch ended with exit status 4"), "who waits for it waits in vain");
    let late = seen(&[(MAIN, JobState::Done, 0, None)]).unwrap();
    assert_eq!(late, "it has waited too long for job migrate exitedSuccess, job proxy healthy");
    assert_eq!(seen(&[(MAIN, JobState::Running, 1, None), ("fetch", JobState::Done, 1, Some(4))]), None);
}
