//! Files of ContainerPilot 3, run by the binary beside a real Consul: jobs, events, signals, and how it all ends.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_e2e::{Consul, Daemon, Helium, Output, eventually, holds_for, process, wait};

/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A person with a Consul and a file of ContainerPilot.
pub(crate) struct Scene {
    pub(crate) consul: Consul,
    pub(crate) helium: Helium,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let consul = Consul::start();
        let helium = Helium::on(&consul);
        Self { consul, helium }
    }

    /// Writes the file: `{dir}` in it is the folder of the scene.
    pub(crate) fn write(&self, body: &str) -> String {
        let dir = self.helium.folder().display().to_string();
        let text = format!(
            "{{\n  consul: '{}',\n  control: {{ socket: '{dir}/control.socket' }},\n{}\n}}\n",
            self.consul.address(),
            body.replace("{dir}", &dir)
        );
        self.helium.write("app.json5", &text)
    }

    /// Runs a file.
    pub(crate) fn run(&self, body: &str) -> Daemon {
        let file = self.write(body);
        self.helium.start("pilot", &["agent", "--containerpilot", &file])
    }

    /// Asks the supervisor.
    pub(crate) fn ask(&self, more: &[&str]) -> Output {
        let file = self.path("app.json5").to_str().unwrap().to_owned();
        self.helium.run(&[&["agent", "--containerpilot", &file], more].concat())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.helium.folder().join(name)
    }

    /// What a file of the scene holds, if it is there.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits until a file of the scene holds this.
    #[track_caller]
    pub(crate) fn holds(&self, name: &str, text: &str) {
        eventually(&format!("{name} holds {text:?}"), LONG, || self.read(name).contains(text).then_some(()));
    }

    /// The status of a service's check by the agent of Consul; none if it has none.
    pub(crate) fn check(&self, service: &str) -> Option<(String, String)> {
        let checks = self.consul.http().json("/v1/agent/checks");
        let check = checks.as_object()?.values().find(|check| check["ServiceName"] == service)?.clone();
        Some((check["Status"].as_str()?.to_owned(), check["Output"].as_str()?.to_owned()))
    }

    #[track_caller]
    pub(crate) fn passes(&self, service: &str) {
        let passes = || self.check(service).is_some_and(|(status, _)| status == "passing");
        eventually(&format!("{service} passes"), LONG, || passes().then_some(()));
    }

    #[track_caller]
    pub(crate) fn is_gone(&self, service: &str) {
        eventually(&format!("{service} is gone"), LONG, || self.check(service).is_none().then_some(()));
    }

    /// The process id that a job wrote into a file.
    #[track_caller]
    pub(crate) fn pid(&self, name: &str) -> u32 {
        eventually(&format!("{name} has a pid"), LONG, || self.read(name).trim().parse().ok())
    }
}

/// A job that is a script of the shell; `more` are further keys.
pub(crate) fn job(name: &str, script: &str, more: &str) -> String {
    format!("{{ name: '{name}', exec: ['/bin/sh', '-c', '{script}'], {more} }}")
}

/// An advertised job whose check passes while a file `sick` is not there.
pub(crate) fn app(script: &str, more: &str) -> String {
    let health = "health: { exec: ['/bin/sh', '-c', 'if [ -e {dir}/sick ]; then echo unwell; exit 1; fi'], interval: 1, ttl: 5 }";
    job("app", script, &format!("port: 8000, interfaces: ['static:127.0.0.1'], {health}, {more}"))
}

pub(crate) const STAYS: &str = "echo $$ > {dir}/app.pid; exec sleep 600";

#[test]
fn what_acts_on_stopping_runs_while_the_app_lives_and_what_acts_on_stopped_after_it_and_the_service_goes() {
    let scene = Scene::new();
    let jobs = [
        app(STAYS, ""),
        job(
            "preStop",
            "kill -0 $(cat {dir}/app.pid) && echo alive >> {dir}/order",
            "when: { source: 'app', once: 'stopping' }",
        ),
        job(
            "postStop",
            "kill -0 $(cat {dir}/app.pid) || echo dead >> {dir}/order",
            "when: { source: 'app', once: 'stopped' }",
        ),
    ];
    let mut pilot = scene.run(&format!("  jobs: [{}]", jobs.join(",\n")));
    scene.passes("app");
    let app = scene.pid("app.pid");
    let began = wait::now();
    let code = pilot.terminate(LONG);
    assert!((wait::now() - began) < Duration::from_secs(5), "well within the stop timeout");
    assert_eq!(code, 143, "the app's own, which ended by TERM");
    assert_eq!(scene.read("order"), "alive\ndead\n");
    assert!(!process::is_alive(app));
    assert_eq!(scene.check("app"), None);
    assert!(!scene.path("control.socket").exists());
}

#[test]
fn signals_start_their_jobs_and_leave_the_app_alone() {
    let scene = Scene::new();
    let jobs = [
        app(STAYS, ""),
        job("onHup", "echo hup >> {dir}/signals", "when: { source: 'SIGHUP' }"),
        job("onUsr2", "echo usr2 >> {dir}/signals", "when: { source: 'SIGUSR2' }"),
    ];
    let pilot = scene.run(&format!("  jobs: [{}]", jobs.join(",\n")));
    scene.passes("app");
    let app = scene.pid("app.pid");
    signal("HUP", pilot.pid());
    scene.holds("signals", "hup\n");
    signal("USR2", pilot.pid());
    scene.holds("signals", "usr2\n");
    assert_eq!(scene.read("signals"), "hup\nusr2\n");
    assert!(process::is_alive(app) && scene.pid("app.pid") == app);
    scene.passes("app");
}

pub(crate) fn signal(name: &str, pid: u32) {
    std::process::Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
}

#[test]
fn tasks_run_at_their_interval_and_never_two_at_once() {
    let scene = Scene::new();
    let task = |name: &str, work: &str, more: &str| {
        let script = format!("echo begun >> {{dir}}/{name}; sleep {work}; echo ended >> {{dir}}/{name}");
        job(name, &script, &format!("when: {{ interval: '500ms' }}, {more}"))
    };
    let jobs = [
        task("short", "0.2", "restarts: 5, timeout: '5s'"),
        task("cut", "2", "restarts: 5, timeout: '100ms'"),
        task("long", "1", "restarts: 'unlimited', timeout: '5s'"),
        job("stays", "exec sleep 600", ""),
    ];
    let port = helium_e2e::ports::free();
    let telemetry = format!("telemetry: {{ port: {port}, interfaces: ['static:127.0.0.1'] }}");
    let mut pilot = scene.run(&format!("  jobs: [{}],\n  {telemetry}", jobs.join(",\n")));
    let count = |job: usize, what: &str| helium_e2e::Http::on(port).json("/status")["Jobs"][job][what].as_u64();
    let ended = |name: &str| scene.read(name).lines().filter(|line| *line == "ended").count();
    eventually("the tasks with a limit are through", LONG, || {
        let through = count(0, "Starts") == Some(6) && count(1, "Timeouts") == Some(6);
        (through && ended("short") == 6 && ended("long") >= 2).then_some(())
    });
    holds_for("none runs again", Duration::from_secs(1), || {
        let counts = (count(0, "Starts"), count(0, "Timeouts"), count(1, "Starts"), ended("cut"));
        if counts == (Some(6), Some(0), Some(6), 0) { Ok(()) } else { Err(format!("{counts:?}")) }
    });
    let long = scene.read("long");
    assert!(long.lines().zip(["begun", "ended"].iter().cycle()).all(|(line, wanted)| line == *wanted), "{long}");
    pilot.terminate(LONG);
}

#[test]
fn jobs_find_the_addresses_and_processes_of_the_others_in_their_environment() {
    let scene = Scene::new();
    let jobs =
        [app(STAYS, ""), job("look", "env > {dir}/env; exec sleep 600", "when: { source: 'app', once: 'healthy' }")];
    let pilot = scene.run(&format!("  jobs: [{}]", jobs.join(",\n")));
    scene.holds("env", "CONTAINERPILOT_APP_IP=127.0.0.1\n");
    scene.holds("env", &format!("CONTAINERPILOT_APP_PID={}\n", scene.pid("app.pid")));
    let worker = process::children(pilot.pid())[0];
    scene.holds("env", &format!("CONTAINERPILOT_PID={worker}\n"));
    assert!(!scene.read("env").contains("HELIUM_GUARDIAN"));
}

#[test]
fn a_job_that_waits_in_vain_gives_up_and_others_hear_of_it() {
    let scene = Scene::new();
    fs::write(scene.path("sick"), "").unwrap();
    let jobs = [
        app(STAYS, ""),
        job("late", "echo late >> {dir}/late", "when: { source: 'app', once: 'healthy', timeout: '1s' }"),
        job("instead", "echo gave-up >> {dir}/instead", "when: { source: 'late', once: 'timerExpired' }"),
    ];
    let mut pilot = scene.run(&format!("  jobs: [{}]", jobs.join(",\n")));
    scene.holds("instead", "gave-up");
    fs::remove_file(scene.path("sick")).unwrap();
    scene.passes("app");
    assert_eq!(scene.read("late"), "", "it has quit");
    pilot.terminate(LONG);
}

#[test]
fn a_service_that_comes_goes_and_comes_again_starts_whoever_watches_it() {
    let scene = Scene::new();
    let seen = "when: { source: 'watch.upstream', each: ";
    let jobs = [
        job("render", "echo changed >> {dir}/upstream", &format!("{seen}'changed' }}")),
        job("down", "echo down >> {dir}/upstream", &format!("{seen}'unhealthy' }}")),
        job("flag", "echo flag >> {dir}/flag", "when: { source: 'watch.config/flag', each: 'changed' }"),
        job("stays", "exec sleep 600", ""),
    ];
    let watches = "watches: [{ name: 'upstream', interval: 3600 }, { key: 'config/flag' }]";
    let mut pilot = scene.run(&format!("  jobs: [{}],\n  {watches}", jobs.join(",\n")));
    eventually("the supervisor answers", LONG, || (scene.ask(&["--ping"]).code == 0).then_some(()));
    holds_for("no instance at the first look is no event", Duration::from_secs(1), || {
        if scene.path("upstream").exists() { Err(scene.read("upstream")) } else { Ok(()) }
    });
    let http = scene.consul.http();
    let began = wait::now();
    http.put("/v1/agent/service/register", r#"{"ID": "u1", "Name": "upstream", "Port": 1}"#);
    scene.holds("upstream", "changed\n");
    assert!((wait::now() - began) < Duration::from_secs(5), "at once, whatever the interval says");
    http.put("/v1/agent/service/deregister/u1", "");
    scene.holds("upstream", "down\n");
    http.put("/v1/kv/config/flag", "on");
    scene.holds("flag", "flag\n");
    pilot.terminate(LONG);
}

#[test]
fn an_app_that_crashes_is_started_again_more_and_more_rarely_and_is_seen_to_be_in_a_crash_loop() {
    let scene = Scene::new();
    let crashes = job("app", "echo run >> {dir}/runs; exit 3", "restarts: 'unlimited'");
    let telemetry = helium_e2e::ports::free();
    let more = format!("telemetry: {{ port: {telemetry}, interfaces: ['static:127.0.0.1'] }}");
    let mut pilot = scene.run(&format!("  jobs: [{crashes}],\n  {more}"));
    let status = || helium_e2e::Http::on(telemetry).json("/status");
    eventually("a crash loop is seen", LONG, || (status()["Jobs"][0]["State"] == "crashLoop").then_some(()));
    let runs = || scene.read("runs").lines().count();
    let before = runs();
    wait::pause(Duration::from_secs(3));
    let within = runs() - before;
    assert!(within <= 4, "{within} runs in 3 s");
    assert_eq!(pilot.terminate(LONG), 3);
}

#[test]
fn when_all_jobs_are_over_it_ends_at_once_with_the_code_of_the_advertised_one() {
    let scene = Scene::new();
    let jobs = [job("setup", "true", ""), app("sleep 1; exit 7", "when: { source: 'setup', once: 'exitSuccess' }")];
    let mut pilot = scene.run(&format!("  jobs: [{}]", jobs.join(",\n")));
    assert_eq!(pilot.wait(LONG), 7);
    scene.is_gone("app");
}

#[test]
fn with_nothing_to_run_it_stays_and_a_term_ends_it() {
    let scene = Scene::new();
    let mut pilot = scene.run("  jobs: []");
    eventually("the supervisor answers", LONG, || (scene.ask(&["--ping"]).code == 0).then_some(()));
    assert!(pilot.is_running());
    let began = wait::now();
    assert_eq!(pilot.terminate(LONG), 0);
    assert!((wait::now() - began) < Duration::from_secs(2));
}

#[test]
fn what_acts_before_the_stop_for_too_long_does_not_outlast_the_stop_timeout() {
    let scene = Scene::new();
    let jobs = [app(STAYS, ""), job("preStop", "sleep 600", "when: { source: 'app', once: 'stopping' }")];
    let mut pilot = scene.run(&format!("  stopTimeout: 2,\n  jobs: [{}]", jobs.join(",\n")));
    scene.passes("app");
    let began = wait::now();
    pilot.terminate(LONG);
    let took = wait::now() - began;
    assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(3500), "{took:?}");
    assert!(!process::is_alive(scene.pid("app.pid")));
}

#[test]
fn a_file_is_only_judged_when_that_is_asked_for() {
    let scene = Scene::new();
    let file = scene.write("  jobs: [{ name: 'app', exec: 'true', restart: 'never' }]");
    scene
        .ask(&["--check"])
        .expect_code(2)
        .expect("jobs[0].restart")
        .expect("app.json5:4:")
        .expect("did you mean `restarts`?");
    scene.helium.run(&["agent", "--containerpilot", &file]).expect_code(2).expect("did you mean `restarts`?");
    scene.write("  jobs: [{ name: 'app', exec: 'true', when: { once: 'startup' } }]");
    scene.ask(&["--check"]).ok().expect("write `source: \"global\"`");
    scene.write("  jobs: [{ name: '{{ .HOME }}', exec: 'true' }]");
    scene.ask(&["--template"]).ok().expect(&format!("name: '{}'", std::env::var("HOME").unwrap_or_default()));
    let mut helium = Helium::nowhere();
    helium.run(&["agent", "--containerpilot", "--check"]).expect_code(2).expect("which file");
    helium.set_variable("CONTAINERPILOT", &file);
    helium.run(&["agent", "--containerpilot", "--check"]).ok();
    assert!(Path::new(&file).is_file());
}
