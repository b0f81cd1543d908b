//! Files of ContainerPilot 3 while they run: registration, reload, maintenance, log and telemetry.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use helium_e2e::{Http, eventually, ports, process, wait};

use crate::containerpilot::{LONG, STAYS, Scene, app, job, signal};

#[test]
fn a_failing_check_is_told_at_once_with_its_words() {
    let scene = Scene::new();
    let mut pilot = scene.run(&format!("  jobs: [{}]", app(STAYS, "").replace("ttl: 5", "ttl: 60")));
    scene.passes("app");
    fs::write(scene.path("sick"), "").unwrap();
    let began = wait::now();
    eventually("it is critical", LONG, || {
        (scene.check("app")? == ("critical".into(), "unwell\n".into())).then_some(())
    });
    assert!((wait::now() - began) < Duration::from_secs(4), "after a check, and not after the TTL");
    pilot.terminate(LONG);
}

#[test]
fn a_service_that_somebody_deregistered_is_back_by_the_next_check_and_one_without_checks_too() {
    let scene = Scene::new();
    let unchecked = job(
        "quiet",
        "exec sleep 600",
        "port: 8001, interfaces: ['static:127.0.0.1'], health: { interval: 1, ttl: 30 }, tags: ['blue']",
    );
    let mut pilot = scene.run(&format!("  jobs: [{}, {unchecked}]", app(STAYS, "")));
    for service in ["app", "quiet"] {
        scene.passes(service);
        let http = scene.consul.http();
        let services = http.json("/v1/agent/services");
        let id = services.as_object().unwrap().values().find(|s| s["Service"] == service).unwrap()["ID"].clone();
        http.put(&format!("/v1/agent/service/deregister/{}", id.as_str().unwrap()), "");
        scene.passes(service);
    }
    pilot.terminate(LONG);
}

#[test]
fn a_consul_that_comes_back_empty_gets_its_services_again_and_the_app_runs_on() {
    let mut scene = Scene::new();
    let mut pilot = scene.run(&format!("  jobs: [{}]", app(STAYS, "")));
    scene.passes("app");
    let pid = scene.pid("app.pid");
    scene.consul.kill();
    scene.consul.start_again();
    scene.passes("app");
    assert!(process::is_alive(pid));
    let complaints = pilot.said().matches("Consul cannot be told").count();
    assert!(complaints <= 1, "one line a change of state:\n{}", pilot.said());
    pilot.terminate(LONG);
}

#[test]
fn a_reload_starts_what_changed_and_keeps_what_did_not_and_many_at_once_are_answered() {
    let scene = Scene::new();
    let helper = |word: &str| job("helper", &format!("echo {word} >> {{dir}}/helper; exec sleep 600"), "");
    let mut pilot = scene.run(&format!("  jobs: [{}, {}]", app(STAYS, ""), helper("one")));
    scene.passes("app");
    let pid = scene.pid("app.pid");
    let added = "port: 8001, interfaces: ['static:127.0.0.1'], health: { interval: 1, ttl: 5 }";
    let added = job("added", "echo $CONTAINERPILOT_ADDED_IP > {dir}/added; exec sleep 600", added);
    scene.write(&format!("  jobs: [{}, {}, {added}]", app(STAYS, "tags: ['new']"), helper("two")));
    scene.ask(&["--reload"]).ok();
    scene.holds("helper", "one\ntwo\n");
    scene.holds("added", "127.0.0.1");
    eventually("the tag is there, in place", LONG, || {
        let services = scene.consul.http().json("/v1/agent/services");
        services.as_object()?.values().any(|service| service["Tags"][0] == "new").then_some(())
    });
    scene.passes("app");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| scene.ask(&["--reload"]).ok());
            scope.spawn(|| {
                for _ in 0..25 {
                    let said = reload_by_hand(&scene);
                    assert!(said.starts_with("HTTP/1.0 200"), "{said}");
                }
            });
        }
    });
    scene.ask(&["--ping"]).ok();
    assert_eq!(scene.pid("app.pid"), pid, "the app was never started again");
    assert!(process::is_alive(pid));
    assert_eq!(scene.read("helper"), "one\ntwo\n");
    pilot.terminate(LONG);
    scene.ask(&["--ping"]).expect_code(4).expect("no supervisor answers");
}

/// Asks the supervisor for a reload at its socket, and gives what it answers.
fn reload_by_hand(scene: &Scene) -> String {
    let mut socket = UnixStream::connect(scene.path("control.socket")).unwrap();
    socket.write_all(b"POST /v3/reload HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_reload_of_a_broken_file_is_refused_and_changes_nothing() {
    let scene = Scene::new();
    let mut pilot = scene.run(&format!("  jobs: [{}]", app(STAYS, "")));
    scene.passes("app");
    let pid = scene.pid("app.pid");
    scene.write("  jobs: [{ name: 'app', exec: 'true', restart: 1 }]");
    scene.ask(&["--reload"]).expect_code(2).expect("did you mean `restarts`?");
    let said = reload_by_hand(&scene);
    assert!(said.starts_with("HTTP/1.0 422"), "{said}");
    assert!(said.contains("did you mean `restarts`?"), "the supervisor itself says so: {said}");
    assert!(pilot.is_running() && process::is_alive(pid));
    scene.passes("app");
    pilot.terminate(LONG);
}

#[test]
fn variables_that_are_put_are_there_for_what_starts_later_and_for_the_file() {
    let scene = Scene::new();
    let file = format!(
        "  jobs: [{}, {}]",
        job("app", "exec sleep 600", ""),
        job("look", "echo $COLOUR {{ .COLOUR }} >> {dir}/look", "when: { source: 'SIGHUP' }")
    );
    let mut pilot = scene.run(&file);
    eventually("the supervisor answers", LONG, || (scene.ask(&["--ping"]).code == 0).then_some(()));
    scene.ask(&["--putenv", "COLOUR=a=b"]).ok();
    signal("HUP", pilot.pid());
    scene.holds("look", "a=b\n");
    scene.ask(&["--reload"]).ok();
    signal("HUP", pilot.pid());
    scene.holds("look", "a=b a=b\n");
    pilot.terminate(LONG);
}

#[test]
fn in_maintenance_nothing_is_checked_and_the_service_is_gone_and_afterwards_it_is_back() {
    let scene = Scene::new();
    let jobs = [
        app(STAYS, "").replace("if [ -e", "echo x >> {dir}/checks; if [ -e"),
        job("enter", "echo enter >> {dir}/maintenance", "when: { source: 'global', each: 'enterMaintenance' }"),
        job("leave", "echo leave >> {dir}/maintenance", "when: { source: 'global', each: 'exitMaintenance' }"),
    ];
    let mut pilot = scene.run(&format!("  jobs: [{}]", jobs.join(",\n")));
    scene.passes("app");
    scene.ask(&["--maintenance", "enable"]).ok();
    scene.is_gone("app");
    scene.holds("maintenance", "enter\n");
    let before = scene.read("checks");
    wait::pause(Duration::from_millis(2500));
    assert_eq!(scene.read("checks"), before, "nothing is checked");
    assert_eq!(scene.check("app"), None);
    scene.ask(&["--maintenance", "disable"]).ok();
    scene.passes("app");
    scene.holds("maintenance", "enter\nleave\n");
    pilot.terminate(LONG);
}

#[test]
fn metrics_are_recorded_and_scraped_and_the_telemetry_is_a_service_until_it_ends() {
    let scene = Scene::new();
    let port = ports::free();
    let metrics = "metrics: [{ namespace: 'app', subsystem: 'web', name: 'load', help: 'load', type: 'gauge' }]";
    let telemetry = format!("telemetry: {{ port: {port}, interfaces: ['static:127.0.0.1'], tags: ['t'], {metrics} }}");
    let watches = "watches: [{ name: 'app', interval: 1 }]";
    let mut pilot = scene.run(&format!("  jobs: [{}],\n  {watches},\n  {telemetry}", app(STAYS, "")));
    scene.passes("app");
    scene.passes("containerpilot");
    scene.ask(&["--putmetric", "app_web_load=1.5"]).ok();
    scene.ask(&["--putmetric", "nobody=1"]).expect_code(2).expect("the file has no metric `nobody`");
    eventually("all is on the page", LONG, || {
        let page = Http::on(port).get("/metrics").ok()?.text();
        let lines = [
            "app_web_load 1.5",
            "containerpilot_control_http_requests{code=\"200\",path=\"/v3/metric\"} 1",
            "containerpilot_watch_instances{service=\"app\"} 1",
        ];
        let whole = lines.iter().all(|line| page.lines().any(|found| found == *line));
        (whole && page.contains("containerpilot_events{code=\"healthy\",source=\"app\"}")).then_some(())
    });
    let status = Http::on(port).json("/status");
    assert_eq!(status["Jobs"][0]["Status"], "healthy");
    assert_eq!(status["Services"][0]["Port"], 8000);
    assert_eq!(status["Watches"][0], "app");
    pilot.terminate(LONG);
    assert_eq!((scene.check("app"), scene.check("containerpilot")), (None, None));
}

#[test]
fn lines_are_wrapped_unless_they_are_raw_and_a_log_that_was_moved_is_opened_anew() {
    let scene = Scene::new();
    let checked = |port: u16, says: &str, more: &str| {
        let health = format!("health: {{ exec: 'echo {says}', interval: 1, ttl: 5{more} }}");
        format!("port: {port}, interfaces: ['static:127.0.0.1'], {health}")
    };
    let jobs = [
        job("wrapped", "while :; do echo wrapped; sleep 0.1; done", ""),
        job("plain", "echo plain; exec sleep 600", "logging: { raw: true }"),
        job("one", "exec sleep 600", &checked(8001, "check-wrapped", "")),
        job("two", "exec sleep 600", &checked(8002, "check-raw", ", logging: { raw: true }")),
    ];
    let logging = "logging: { format: 'json', output: '{dir}/log' }";
    let mut pilot = scene.run(&format!("  {logging},\n  jobs: [{}]", jobs.join(",\n")));
    scene.holds("log", "\"job\":\"wrapped\"");
    eventually("raw output is the supervisor's own", LONG, || {
        pilot.said().lines().any(|line| line == "plain").then_some(())
    });
    assert!(!scene.read("log").contains("plain"));
    scene.holds("log", "\"msg\":\"check-wrapped\"");
    scene.holds("log", "\ncheck-raw\n");
    for line in scene.read("log").lines().filter(|line| line.ends_with('}')) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["msg"].is_string() && line["time"].is_string() && line["level"].is_string(), "{line}");
    }
    fs::rename(scene.path("log"), scene.path("log.1")).unwrap();
    signal("USR1", pilot.pid());
    scene.holds("log", "wrapped");
    pilot.terminate(LONG);
}

#[test]
fn a_consul_that_hangs_delays_the_end_by_a_moment_only() {
    let scene = Scene::new();
    let mut pilot = scene.run(&format!("  jobs: [{}]", app(STAYS, "")));
    scene.passes("app");
    scene.consul.freeze();
    let began = wait::now();
    assert_eq!(pilot.terminate(LONG), 143);
    let took = wait::now() - began;
    scene.consul.thaw();
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_coprocess_is_started_again_as_often_as_it_may_and_anew_once_a_reload_changed_it() {
    let scene = Scene::new();
    let helper = |word: &str| job("helper", &format!("echo $$ > {{dir}}/{word}; exec sleep 600"), "restarts: 1");
    let stays = job("stays", "exec sleep 600", "");
    let mut pilot = scene.run(&format!("  jobs: [{stays}, {}]", helper("one")));
    let first = scene.pid("one");
    process::kill(first);
    let second = eventually("it is started again", LONG, || {
        Some(scene.pid("one")).filter(|pid| *pid != first && process::is_alive(*pid))
    });
    process::kill(second);
    helium_e2e::holds_for("it is not started a third time", Duration::from_secs(1), || {
        if scene.pid("one") == second { Ok(()) } else { Err(scene.read("one")) }
    });
    scene.write(&format!("  jobs: [{stays}, {}]", helper("two")));
    scene.ask(&["--reload"]).ok();
    let third = scene.pid("two");
    process::kill(third);
    eventually("its count begins anew", LONG, || {
        Some(scene.pid("two")).filter(|pid| *pid != third && process::is_alive(*pid))
    });
    pilot.terminate(LONG);
}

#[test]
fn a_socket_has_one_supervisor_and_the_next_one_may_take_it_when_that_was_killed() {
    let scene = Scene::new();
    let file = format!("  jobs: [{}]", app(STAYS, ""));
    let mut pilot = scene.run(&file);
    scene.passes("app");
    let path = scene.path("app.json5").to_str().unwrap().to_owned();
    scene.helium.run(&["agent", "--containerpilot", &path]).expect_code(7).expect("another supervisor answers");
    let app = scene.pid("app.pid");
    let worker = process::children(pilot.pid())[0];
    process::kill(worker);
    pilot.wait(LONG);
    assert!(!process::is_alive(app), "nothing is left of one that was killed");
    let mut next = scene.run(&file);
    eventually("the next one answers", LONG, || (scene.ask(&["--ping"]).code == 0).then_some(()));
    scene.passes("app");
    next.terminate(LONG);
}

#[test]
fn a_reload_that_names_another_consul_brings_the_services_there() {
    let mut scene = Scene::new();
    let mut pilot = scene.run(&format!("  jobs: [{}]", app(STAYS, "")));
    scene.passes("app");
    let pid = scene.pid("app.pid");
    let other = helium_e2e::Consul::start();
    let first = std::mem::replace(&mut scene.consul, other);
    scene.write(&format!("  jobs: [{}]", app(STAYS, "")));
    scene.ask(&["--reload"]).ok();
    scene.passes("app");
    assert_eq!(first.http().json("/v1/agent/services"), serde_json::json!({}));
    assert_eq!(scene.pid("app.pid"), pid);
    pilot.terminate(LONG);
}
