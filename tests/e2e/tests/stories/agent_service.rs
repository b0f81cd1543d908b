//! The agent as a service of its machine: what it tells systemd, what it serves over HTTP, what signals and broken configurations do.

use std::{fs, os::unix::net::UnixDatagram, time::Duration};

use helium_e2e::{Helium, Http, eventually, holds_for, ports, process};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    containerpilot::{STAYS, Scene, app},
    fleet::{Fleet, ROLLOUT},
    specs::deployment,
};

const SOON: Duration = Duration::from_secs(20);

/// A socket as systemd gives one to a unit of `Type=notify`.
struct Manager {
    heard: UnixDatagram,
    said: Vec<String>,
}

impl Manager {
    /// Has what a person starts from now on tell this one.
    fn of(helium: &mut Helium, watchdog: Option<Duration>) -> Self {
        let path = helium.folder().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        helium.set_variable("NOTIFY_SOCKET", path.to_str().unwrap());
        if let Some(within) = watchdog {
            helium.set_variable("WATCHDOG_USEC", &within.as_micros().to_string());
        }
        Self { heard, said: Vec::new() }
    }

    fn listen(&mut self) -> &[String] {
        let mut bytes = [0; 4096];
        while let Ok(length) = self.heard.recv(&mut bytes) {
            self.said.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        &self.said
    }

    fn count(&mut self, words: &str) -> usize {
        self.listen().iter().filter(|said| said.as_str() == words).count()
    }

    #[track_caller]
    fn await_words(&mut self, words: &str) {
        eventually(&format!("{words:?} is told"), SOON, || {
            self.listen().iter().any(|said| said.contains(words)).then_some(())
        });
    }
}

fn hang_up(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::HUP).unwrap();
}

#[test]
fn systemd_is_told_of_an_agent_that_it_is_ready_what_it_does_and_that_it_ends() {
    let mut fleet = Fleet::of(0);
    let mut manager = Manager::of(&mut fleet.helium, Some(Duration::from_secs(4)));
    fleet.start_agent(1);
    manager.await_words("READY=1");
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    manager.await_words("2 instances: 2 Running; Consul answers");
    let pids = fleet.pids();
    assert_eq!(pids.len(), 2);
    for pid in pids.values() {
        assert_eq!(process::variable(*pid, "NOTIFY_SOCKET"), None, "the agent's socket is for no instance");
    }
    let before = manager.count("WATCHDOG=1");
    eventually("the watchdog is told at half of its time", SOON, || {
        (manager.count("WATCHDOG=1") >= before + 3).then_some(())
    });

    fleet.consul.freeze();
    manager.await_words("Consul does not answer well");
    fleet.consul.thaw();

    // SIGHUP has everything looked at again, and abandons nothing.
    let agent = fleet.agent(1).pid();
    hang_up(agent);
    manager.await_words("RELOADING=1\nMONOTONIC_USEC=");
    eventually("it is ready again", SOON, || (manager.count("READY=1") == 2).then_some(()));
    holds_for("its services run on", Duration::from_secs(2), || {
        let now = fleet.pids();
        if now == pids { Ok(()) } else { Err(format!("{pids:?} became {now:?}")) }
    });
    assert!(fleet.agent(1).is_running());

    assert_eq!(fleet.agent(1).terminate(SOON), 0);
    manager.await_words("STOPPING=1");
    assert_eq!(fleet.pids(), pids, "its instances stay");
}

#[test]
fn a_controller_tells_systemd_too() {
    let mut fleet = Fleet::empty(helium_e2e::Consul::start());
    let mut manager = Manager::of(&mut fleet.helium, None);
    fleet.start_controller();
    manager.await_words("READY=1");
    manager.await_words("STATUS=ready");
    assert_eq!(fleet.controllers[0].daemon.terminate(SOON), 0);
    manager.await_words("STOPPING=1");
}

#[test]
fn what_runs_a_file_of_containerpilot_tells_systemd_too_and_its_jobs_do_not_see_the_socket() {
    let mut scene = Scene::new();
    let mut manager = Manager::of(&mut scene.helium, None);
    let mut pilot = scene.run(&format!("jobs: [{}]", app(STAYS, "")));
    manager.await_words("READY=1");
    assert_eq!(process::variable(scene.pid("app.pid"), "NOTIFY_SOCKET"), None);
    scene.ask(&["--reload"]).ok();
    manager.await_words("RELOADING=1\nMONOTONIC_USEC=");
    eventually("it is ready again", SOON, || (manager.count("READY=1") == 2).then_some(()));
    pilot.terminate(SOON);
    manager.await_words("STOPPING=1");
}

#[test]
fn an_agent_serves_its_health_its_status_and_its_counts_only_where_it_is_told_to() {
    let mut fleet = Fleet::of(0);
    let port = ports::free();
    fleet.helium.set_variable("HELIUM_AGENT_HTTP_ADDR", &format!("127.0.0.1:{port}"));
    fleet.start_agent(1);
    let http = Http::on(port);
    eventually("it is ready", SOON, || http.get("/readyz").is_ok_and(|answer| answer.status == 200).then_some(()));
    assert_eq!(http.get("/healthz").unwrap().status, 200);
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let status = eventually("its instance is ready", SOON, || {
        let status = http.json("/status");
        let ready = status["instances"][0]["conditions"]
            .as_array()?
            .iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True");
        ready.then_some(status)
    });
    assert_eq!(status["node"], fleet.node(1));
    let page = http.get("/metrics").unwrap().text();
    assert!(page.contains("helium_agent_instances{phase=\"Running\"} 1\n") && page.ends_with("# EOF\n"), "{page}");
    let instance = status["instances"][0]["id"].as_str().unwrap();
    assert!(!page.contains(instance), "no series is of one instance: {page}");
    let written = http.request("PUT", "/status", b"").unwrap();
    assert_eq!(written.status, 405, "it reads and changes nothing");
}

#[test]
fn an_agent_refuses_a_broken_configuration_before_it_starts_anything() {
    let fleet = Fleet::of(0);
    for (flags, words) in [
        (["--node", "a/b"], "`a/b` is no name of a node"),
        (["--session-ttl", "3s"], "Consul takes 10s to 24h"),
        (["--netrc-file", "."], "`--netrc-file`: .: Is a directory"),
        (["--label", "zone"], "`zone` is not `name=value`"),
    ] {
        let arguments = [["agent", "--data-dir", "data"].as_slice(), &flags].concat();
        fleet.helium.run(&arguments).expect_code(2).expect(words);
        assert!(!fleet.helium.folder().join("data").exists(), "{flags:?}");
    }
}

#[test]
fn what_a_killed_agent_has_left_in_its_lock_keeps_no_other_one_out() {
    let mut fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let pids = fleet.pids();
    let lock = format!("{}/agent.lock", fleet.data_dir(1));
    let second = ["agent", "--node", "other", "--data-dir", &fleet.data_dir(1)];
    fleet.helium.run(&second).expect_code(7).expect(&format!("process {}", fleet.agent(1).pid()));
    // A process that is gone, one that is somebody else's, and words: it is the lock that counts, and not what is written there.
    for left in ["999999999\n".to_owned(), format!("{}\n", std::process::id()), "no number".to_owned()] {
        fleet.agent(1).kill();
        fs::write(&lock, &left).unwrap();
        fleet.start_agent(1);
        let own = fleet.agent(1).pid().to_string();
        eventually(&format!("it is the owner after {left:?}"), SOON, || {
            fs::read_to_string(&lock).is_ok_and(|written| written.trim() == own).then_some(())
        });
    }
    assert_eq!(fleet.pids(), pids, "what ran runs");
}

#[test]
fn a_node_in_maintenance_keeps_what_it_has_gets_nothing_new_and_comes_back_at_once() {
    let mut fleet = Fleet::of(2);
    fleet.apply(&deployment("web", "1", 2, "")).ok();
    let (node, pids) = (fleet.node(1), fleet.pids());
    let helium = |arguments: &[&str]| fleet.helium.run(arguments);
    helium(&["node", "maintenance", "on", "nowhere"]).expect_code(4).expect("no node `nowhere` has joined");
    helium(&["node", "maintenance", "on", &node, "--instance", "web-9"]).expect_code(4).expect("no instance `web-9`");
    helium(&["node", "maintenance", "on", &node, "--reason", "a new disk"]).ok().expect("in maintenance: a new disk");
    helium(&["node", "maintenance", "on", &node, "--reason", "a new disk"]).ok().expect("already");
    eventually("only the other node's instance is in discovery", SOON, || {
        (fleet.consul.passing("web") == 1).then_some(())
    });
    eventually("people see it", SOON, || helium(&["node", "list"]).says("Maintenance").then_some(()));
    helium(&["node", "maintenance", "status", &node]).ok().expect("a new disk");

    // A third and a fourth instance go to the other node, and nothing is replaced.
    fleet.apply_only(&deployment("web", "1", 4, ""));
    let on = |node: &str| fleet.instances().iter().filter(|one| one.node == node).count();
    eventually("the other node has three", ROLLOUT, || (on(&fleet.node(2)) == 3).then_some(()));
    assert_eq!(on(&node), 1);
    fleet.agent(1).kill();
    fleet.start_agent(1);
    eventually("the other node's three are in discovery", SOON, || (fleet.consul.passing("web") == 3).then_some(()));
    holds_for("an agent that is new does not forget it", Duration::from_secs(3), || {
        match fleet.consul.passing("web") {
            0..=3 => Ok(()),
            more => Err(format!("{more} are in discovery")),
        }
    });

    fleet.helium.run(&["node", "maintenance", "off", &node]).ok().expect("back in service");
    eventually("all are in discovery", Duration::from_secs(3), || (fleet.consul.passing("web") == 4).then_some(()));
    fleet.helium.run(&["node", "maintenance", "status", &node]).ok().expect("is in service");
    fleet.await_phase("web", "Healthy");
    for (id, pid) in pids {
        assert_eq!(fleet.pids().get(&id), Some(&pid), "{id} has run all the time");
    }
}

#[test]
fn verify_tells_what_would_fail_and_changes_nothing() {
    let fleet = Fleet::of(0);
    let verify = |flags: &[&str]| {
        let arguments =
            [["agent", "--data-dir", "data", "--package-dir", "packages", "verify"].as_slice(), flags].concat();
        fleet.helium.run(&arguments)
    };
    verify(&[]).ok().expect("nothing fails").expect("may be written");
    assert!(!fleet.helium.folder().join("data").exists());

    let hooks = fleet.helium.folder().join("package/helium/hooks");
    fs::create_dir_all(&hooks).unwrap();
    fs::write(hooks.join("install.sh"), "echo again >> log.txt\n").unwrap();
    verify(&["--package", "package"]).ok();
    verify(&["--package", "package", "--hooks"]).expect_code(1).expect("log.txt was changed");
    let document = verify(&["--package", "package", "--hooks", "-o", "json"]).expect_code(1).stdout;
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let failed: Vec<&str> = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["state"] == "failed")
        .filter_map(|one| one["area"].as_str())
        .collect();
    assert_eq!((failed, &document["ok"]), (vec!["hooks"], &serde_json::Value::Bool(false)));

    let helium = helium_e2e::Helium::at("127.0.0.1:1");
    helium.run(&["agent", "verify", "--data-dir", "data"]).expect_code(1).expect("the local Consul agent");
    helium.run(&["agent", "verify", "--package", "nowhere"]).expect_code(2).expect("is no folder");
}
