//! The key layout of Helios, followed as it is: `helium agent --helios` on nodes with a client agent of Consul each.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use helium_e2e::{Consul, Daemon, Helium, Http, Output, eventually, holds_for, ports, process};
use serde_json::{Value, json};

/// The longest that a change may take on a slow machine.
const CHANGE: Duration = Duration::from_mins(1);

/// A Consul with the keys of Helios, releases, and nodes.
struct Scene {
    consul: Consul,
    releases: PathBuf,
    nodes: Vec<Node>,
    _person: Helium,
}

/// A node: its client agent of Consul, and its agent of Helium.
struct Node {
    name: String,
    port: u16,
    consul: Consul,
    helium: Helium,
    agent: Option<Daemon>,
}

impl Scene {
    fn of(count: usize) -> Self {
        let consul = Consul::start();
        let person = Helium::on(&consul);
        let releases = person.folder().join("releases");
        fs::create_dir_all(&releases).unwrap();
        let mark = consul.port();
        let node = |number| {
            let name = format!("zone{number}-{mark}");
            let client = consul.client(&name);
            Node { name, port: ports::free(), helium: Helium::at(&client.address()), consul: client, agent: None }
        };
        let nodes: Vec<Node> = (1..=count).map(node).collect();
        for node in &nodes {
            fs::write(releases.join(format!("port-{}", node.name)), node.port.to_string()).unwrap();
        }
        Self { consul, releases, nodes, _person: person }
    }

    fn put(&self, key: &str, value: &str) {
        self.consul.http().put(&format!("/v1/kv/{key}"), value);
    }

    fn assign(&self, services: &str) {
        for node in &self.nodes {
            self.put(&format!("nodes/{}/services", node.name), services);
        }
    }

    /// Releases a version of a service: what it serves is told by its check, and `change` makes it another one.
    fn release(&self, service: &str, version: &str, change: impl FnOnce(&Path)) {
        let folder = self.releases.join(format!("{service}-{version}"));
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        };
        let run = "exec \\\"$HELIUM_BIN\\\" sample --port $(cat conf/port) --version $(cat conf/text)";
        write(
            "helios/package.json",
            &format!(r#"{{"name": "{service}", "run": "{run}", "artifact": "x", "roles": []}}"#),
        );
        write("helios/default.json", r#"{"colour": "grey"}"#);
        write("conf/port.mustache", "{{port}}");
        write("conf/text.mustache", &format!("{version}-{{{{colour}}}}{{{{no_such_name}}}}"));
        write(
            "helios/checks/http.json.mustache",
            r#"{"name": "http", "serviceid": "x", "http": "http://127.0.0.1:{{port}}/health", "interval": "1s", "timeout": "1s"}"#,
        );
        let told = self.releases.display();
        write("helios/hooks/install.sh", &format!("echo {service} {version} $HELIUM_NODE >> {told}/installed\n"));
        write("helios/hooks/config-pre.sh", &format!("echo \"{{\\\"port\\\": $(cat {told}/port-$HELIUM_NODE)}}\"\n"));
        write("helios/hooks/uninstall.sh", &format!("echo {service} $HELIUM_NODE >> {told}/uninstalled\n"));
        change(&folder);
        let archive = self.releases.join(service).join(format!("{service}-{version}.tgz"));
        fs::create_dir_all(archive.parent().unwrap()).unwrap();
        let packed = Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(&folder).arg(".").status().unwrap();
        assert!(packed.success());
        let sum = Command::new("sha256sum").arg(&archive).output().unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        self.put(&format!("service/{service}/sha256/{version}"), &sum[..64]);
    }

    fn arguments(&self, index: usize) -> Vec<String> {
        let node = &self.nodes[index];
        let data = node.helium.folder().join("data");
        let artifact = format!("file://{}/{{service}}/{{service}}-{{version}}.tgz", self.releases.display());
        let packages = format!("{}/packages", data.display());
        let data = data.display().to_string();
        [
            "agent",
            "--helios",
            "--node",
            &node.name,
            "--data-dir",
            &data,
            "--package-dir",
            &packages,
            "--helios-artifact",
            &artifact,
            "--helios-drain",
            "100ms",
            "--helios-deadline",
            "8s",
            "--address",
            "127.0.0.1",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn start(&mut self, index: usize) {
        self.start_with(index, &[]);
    }

    /// The same with further flags.
    fn start_with(&mut self, index: usize, flags: &[&str]) {
        let arguments = self.arguments(index);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let node = &mut self.nodes[index];
        node.agent = Some(node.helium.start("agent", &arguments));
    }

    fn start_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.start(index);
        }
    }

    fn once(&self, index: usize) -> Output {
        let arguments = self.arguments(index);
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(["--once", "--once-limit", "40s"]);
        self.nodes[index].helium.run_for(CHANGE, &arguments)
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.releases.join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn agent_said(&self, index: usize) -> String {
        self.nodes[index].agent.as_ref().map(Daemon::said).unwrap_or_default()
    }

    #[track_caller]
    fn await_pages(&self, page: &str) {
        let all = || self.nodes.iter().all(|node| node.page().as_deref() == Some(page)).then_some(());
        eventually(&format!("all say {page}: {}", self.agent_said(0)), CHANGE, all);
    }

    #[track_caller]
    fn await_passing(&self, service: &str, count: usize) {
        eventually(&format!("{count} of {service} pass"), CHANGE, || {
            (self.consul.passing(service) == count).then_some(())
        });
    }

    /// Who holds a place in the upgrade lock.
    fn upgrading(&self) -> Vec<String> {
        let queue = self.consul.value("service/web/upgrade");
        let holders = queue["holders"].as_array().cloned().unwrap_or_default();
        holders.iter().filter_map(|hold| hold["who"].as_str().map(str::to_owned)).collect()
    }

    fn held(&self, key: &str) -> Option<String> {
        let found = self.consul.http().json(&format!("/v1/kv/{key}"));
        found[0]["Session"].as_str().map(str::to_owned)
    }
}

impl Node {
    /// What its service says.
    fn page(&self) -> Option<String> {
        let text = Http::on(self.port).get("/").ok()?.text();
        Some(text.trim().trim_start_matches("hello from ").to_owned())
    }

    fn registered(&self, service: &str) -> Value {
        self.consul.http().json("/v1/agent/services")[service].clone()
    }

    fn pids(&self) -> Vec<u32> {
        process::with_argument("sample")
            .into_iter()
            .filter(|pid| process::variable(*pid, "HELIUM_NODE").as_deref() == Some(&self.name))
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.agent.take());
        for pid in self.pids() {
            process::kill(pid);
        }
    }
}

#[test]
fn a_node_of_helios_gets_its_service_serves_it_and_leads() {
    let mut scene = Scene::of(1);
    scene.release("web", "1", |_| {});
    scene.put("service/web/version", "1\n");
    scene.put("service/web/config/ui/colour", "blue");
    scene.assign("web");
    scene.start_all();
    scene.await_pages("1-blue");
    scene.await_passing("web", 1);
    let node = &scene.nodes[0];
    let registered = node.registered("web");
    let tags: Vec<&str> = registered["Tags"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(tags[0], "version-1");
    assert!(tags[1].starts_with("config-") && tags[1].len() == 47, "{tags:?}");
    let leader = || scene.held("service/web/leader");
    let session = eventually("it leads", CHANGE, leader);
    // The session is told once the lock is there.
    let told = || scene.consul.http().get(&format!("/v1/kv/sessions/{}/web?raw", node.name)).unwrap().text();
    eventually("its session is told", CHANGE, || (told() == session).then_some(()));
    assert_eq!(scene.consul.http().get("/v1/kv/service/web/leader?raw").unwrap().text(), node.name);
    let current = fs::read_link(node.helium.folder().join("data/packages/web/current")).unwrap();
    assert_eq!(current, Path::new("1"));
    let record = node.helium.folder().join("data/helios/services/web/wish.json");
    assert_eq!(fs::metadata(record).unwrap().permissions().mode() & 0o777, 0o600);

    // New values reach it, with a restart, since its package has no hook that could tell it.
    scene.put("service/web/config/ui/colour", "red");
    scene.await_pages("1-red");
    scene.await_passing("web", 1);
    assert_eq!(scene.lines("installed").len(), 1);
}

#[test]
fn a_new_version_is_taken_by_one_node_at_a_time_and_a_broken_one_stops_at_the_first() {
    let mut scene = Scene::of(3);
    for version in ["1", "2"] {
        scene.release("web", version, |_| {});
    }
    scene.release("web", "3", |folder| {
        fs::write(folder.join("helios/package.json"), r#"{"name": "web", "run": "sleep 600"}"#).unwrap();
    });
    scene.put("service/web/version", "1");
    scene.assign("web");
    scene.start_all();
    scene.await_pages("1-grey");
    scene.await_passing("web", 3);

    scene.put("service/web/version", "2");
    let mut fewest = 3;
    eventually("all have the second version", CHANGE, || {
        fewest = fewest.min(scene.consul.passing("web"));
        scene.nodes.iter().all(|node| node.page().as_deref() == Some("2-grey")).then_some(())
    });
    scene.await_passing("web", 3);
    assert_eq!(fewest, 2, "one node at a time");
    eventually("the lock is free", CHANGE, || scene.upgrading().is_empty().then_some(()));

    scene.put("service/web/version", "3");
    let bad = eventually("it is marked bad", CHANGE, || {
        let mark = scene.consul.value("service/web/bad/3");
        (!mark.is_null()).then_some(mark)
    });
    assert!(bad["why"].as_str().unwrap().contains("did not pass in time"), "{bad}");
    scene.await_pages("2-grey");
    scene.await_passing("web", 3);
    let third: Vec<String> = scene.lines("installed").into_iter().filter(|line| line.starts_with("web 3")).collect();
    assert_eq!(third.len(), 1, "{third:?}");
    holds_for("nobody tries it again", Duration::from_secs(5), || match scene.consul.passing("web") {
        3 => Ok(()),
        count => Err(format!("{count} pass")),
    });
}

#[test]
fn a_node_that_dies_while_it_upgrades_holds_nobody_up_and_a_mark_that_people_take_away_is_gone() {
    let mut scene = Scene::of(3);
    let told = scene.releases.display().to_string();
    scene.release("web", "1", |_| {});
    scene.release("web", "2", |folder| {
        let wait = format!("while test -e {told}/wait; do sleep 0.1; done\n");
        fs::write(folder.join("helios/hooks/install.sh"), wait).unwrap();
    });
    // What is wrong with the third version is not in it.
    scene.release("web", "3", |folder| {
        let run = format!("test -e {told}/database || exec sleep 600; exec \\\"$HELIUM_BIN\\\" sample --port $(cat conf/port) --version 3");
        let package = format!(r#"{{"name": "web", "run": "{run}"}}"#);
        fs::write(folder.join("helios/package.json"), package).unwrap();
    });
    scene.put("service/web/version", "1");
    scene.assign("web");
    for index in 0..3 {
        scene.start_with(index, &["--session-ttl", "10s"]);
    }
    scene.await_pages("1-grey");
    scene.await_passing("web", 3);

    fs::write(scene.releases.join("wait"), "").unwrap();
    scene.put("service/web/version", "2");
    let holder = eventually("one upgrades and two wait", CHANGE, || {
        let waiting = scene.consul.value("service/web/upgrade")["waiting"].as_array().map_or(0, Vec::len);
        match scene.upgrading().as_slice() {
            [holder] if waiting == 2 && scene.consul.passing("web") == 2 => Some(holder.clone()),
            holders => {
                assert!(holders.len() <= 1, "{holders:?}");
                None
            }
        }
    });
    let dead = scene.nodes.iter().position(|node| node.name == holder).unwrap();
    scene.nodes[dead].agent.as_mut().unwrap().kill();
    scene.nodes[dead].consul.kill();
    fs::remove_file(scene.releases.join("wait")).unwrap();
    eventually("the others upgrade, one after the other", CHANGE, || {
        let holders = scene.upgrading();
        assert!(holders.len() <= 1, "{holders:?}");
        let others = scene.nodes.iter().enumerate().filter(|(index, _)| *index != dead);
        others.into_iter().all(|(_, node)| node.page().as_deref() == Some("2-grey")).then_some(())
    });
    scene.nodes[dead].consul.start_again();
    scene.start_with(dead, &["--session-ttl", "10s"]);
    scene.await_pages("2-grey");
    scene.await_passing("web", 3);

    scene.put("service/web/version", "3");
    let bad = eventually("it is marked bad", CHANGE, || {
        let mark = scene.consul.value("service/web/bad/3");
        (!mark.is_null()).then_some(mark)
    });
    assert!(scene.nodes.iter().any(|node| bad["by"] == node.name), "{bad}");
    scene.await_passing("web", 3);
    scene.await_pages("2-grey");
    let installed: Vec<String> =
        scene.lines("installed").into_iter().filter(|line| line.starts_with("web 3")).collect();
    assert_eq!(installed.len(), 1, "{installed:?}");
    eventually("nobody waits for it", CHANGE, || {
        let queue = scene.consul.value("service/web/upgrade");
        (queue["holders"] == Value::Array(vec![]) && queue["waiting"] == Value::Array(vec![])).then_some(())
    });

    fs::write(scene.releases.join("database"), "").unwrap();
    scene.consul.http().delete("/v1/kv/service/web/bad/3");
    scene.await_pages("3");
    scene.await_passing("web", 3);
}

#[test]
fn an_install_hook_that_fails_is_taken_back_and_what_cannot_be_fetched_touches_nothing() {
    let mut scene = Scene::of(1);
    scene.release("web", "1", |_| {});
    scene.release("web", "2", |folder| {
        fs::write(folder.join("helios/hooks/install.sh"), "echo no room >&2; exit 3\n").unwrap();
    });
    scene.release("web", "4", |_| {});
    scene.put("service/web/sha256/4", &"0".repeat(64));
    scene.put("service/web/version", "1");
    scene.assign("web");
    scene.start_all();
    scene.await_passing("web", 1);

    scene.put("service/web/version", "2");
    let bad = eventually("it is marked bad", CHANGE, || {
        let mark = scene.consul.value("service/web/bad/2");
        (!mark.is_null()).then_some(mark)
    });
    assert!(bad["why"].as_str().unwrap().contains("no room"), "{bad}");
    scene.await_pages("1-grey");
    scene.await_passing("web", 1);

    let before = scene.nodes[0].pids();
    for (version, words) in [("3", "nobody tells the SHA-256"), ("4", "and it should be 0000")] {
        scene.put("service/web/version", version);
        eventually("it is told", CHANGE, || scene.agent_said(0).contains(words).then_some(()));
    }
    assert_eq!((scene.nodes[0].pids(), scene.consul.passing("web")), (before, 1));
}

#[test]
fn another_assignment_is_followed_at_once_and_a_wiped_store_stops_nothing() {
    let mut scene = Scene::of(1);
    for service in ["web", "log"] {
        scene.release(service, "1", |_| {});
        scene.put(&format!("service/{service}/version"), "1");
    }
    scene.assign("web");
    scene.start_all();
    scene.await_passing("web", 1);

    scene.assign(r#"["log"]"#);
    scene.await_passing("log", 1);
    eventually("the other is gone", CHANGE, || scene.nodes[0].registered("web").is_null().then_some(()));
    eventually("its hook ran", CHANGE, || (scene.lines("uninstalled").len() == 1).then_some(()));

    let before = scene.nodes[0].pids();
    scene.consul.http().delete("/v1/kv/service/?recurse");
    scene.consul.http().delete("/v1/kv/nodes/?recurse");
    holds_for("a wiped store stops nothing", Duration::from_secs(4), || {
        let now = scene.nodes[0].pids();
        if now == before { Ok(()) } else { Err(format!("{now:?}, before {before:?}")) }
    });
    scene.put("service/log/version", "1");
    eventually("an assignment that is gone is believed with its service there", CHANGE, || {
        scene.nodes[0].pids().is_empty().then_some(())
    });
}

#[test]
fn a_registration_that_is_lost_comes_back_and_nothing_is_installed_again() {
    let mut scene = Scene::of(1);
    scene.release("web", "1", |_| {});
    scene.put("service/web/version", "1");
    scene.assign("web");
    scene.start_all();
    scene.await_passing("web", 1);
    let before = scene.nodes[0].pids();
    scene.nodes[0].consul.http().put("/v1/agent/service/deregister/web", "");
    eventually("it is away", CHANGE, || scene.nodes[0].registered("web").is_null().then_some(()));
    scene.await_passing("web", 1);
    assert_eq!((scene.nodes[0].pids(), scene.lines("installed").len()), (before, 1));
}

#[test]
fn from_cron_it_converges_and_ends_and_says_what_did_not() {
    let scene = Scene::of(1);
    scene.release("web", "1", |_| {});
    scene.release("web", "2", |folder| {
        fs::write(folder.join("helios/package.json"), r#"{"name": "web", "run": "exit 7"}"#).unwrap();
    });
    scene.put("service/web/version", "1");
    scene.assign("web");
    for _ in 0..2 {
        let output = scene.once(0).ok();
        assert!(output.says("converged"), "{output}");
        assert_eq!(scene.nodes[0].page().as_deref(), Some("1-grey"));
    }
    assert_eq!(scene.lines("installed").len(), 1);
    let pids = scene.nodes[0].pids();
    process::kill(pids[0]);
    scene.once(0).ok();
    assert_eq!(scene.nodes[0].page().as_deref(), Some("1-grey"), "what died is started by the next run");

    scene.put("service/web/version", "2");
    let output = scene.once(0).expect_code(1);
    assert!(output.says("the version 2 is marked bad: it ended by itself"), "{output}");
    assert_eq!(scene.nodes[0].page().as_deref(), Some("1-grey"));
    assert!(scene.upgrading().is_empty());

    scene.assign("[]");
    scene.once(0).ok();
    assert!(scene.nodes[0].pids().is_empty() && scene.nodes[0].registered("web").is_null());
}

#[test]
fn killed_at_any_moment_of_an_upgrade_it_goes_on() {
    let mut scene = Scene::of(1);
    for version in ["1", "2", "3", "4", "5", "6"] {
        scene.release("web", version, |_| {});
    }
    scene.put("service/web/version", "1");
    scene.assign("web");
    scene.start_all();
    scene.await_passing("web", 1);
    for (version, after) in [("2", 100), ("3", 400), ("4", 800), ("5", 1500), ("6", 2500)] {
        scene.put("service/web/version", version);
        helium_e2e::wait::pause(Duration::from_millis(after));
        scene.nodes[0].agent.as_mut().unwrap().kill();
        scene.start(0);
        scene.await_pages(&format!("{version}-grey"));
        scene.await_passing("web", 1);
        assert_eq!(scene.nodes[0].pids().len(), 1, "there is one copy");
    }
    eventually("the lock is free", CHANGE, || scene.upgrading().is_empty().then_some(()));
}

#[test]
fn without_consul_the_last_good_version_comes_up_from_the_disk() {
    let mut scene = Scene::of(1);
    scene.release("web", "1", |_| {});
    scene.put("service/web/version", "1");
    scene.assign("web");
    scene.start_all();
    scene.await_passing("web", 1);
    eventually("it has proved itself", CHANGE, || scene.agent_said(0).contains("it serves").then_some(()));
    let node = &mut scene.nodes[0];
    node.agent.as_mut().unwrap().kill();
    node.consul.kill();
    process::kill(node.pids()[0]);
    scene.start(0);
    scene.await_pages("1-grey");
    scene.nodes[0].consul.start_again();
    scene.await_passing("web", 1);
    assert_eq!(scene.lines("installed").len(), 1);
}

#[test]
fn roles_come_along_a_service_of_hooks_alone_is_started_by_them_and_a_script_is_run_by_the_agent() {
    let mut scene = Scene::of(1);
    let told = scene.releases.display().to_string();
    scene.release("web", "1", |folder| {
        fs::write(folder.join("helios/package.json"), r#"{"name": "web", "roles": ["helios", "log"]}"#).unwrap();
        fs::remove_file(folder.join("helios/checks/http.json.mustache")).unwrap();
        let script = format!(r#"{{"name": "up", "script": "test -e {told}/up", "interval": "1s", "timeout": "1s"}}"#);
        fs::write(folder.join("helios/checks/up.json"), script).unwrap();
        let hook = |name: &str, script: String| fs::write(folder.join("helios/hooks").join(name), script).unwrap();
        hook("config.sh", format!("cat conf/text >> {told}/configured; echo >> {told}/configured\n"));
        hook("post-start.sh", format!("touch {told}/up\n"));
        hook("pre-stop.sh", format!("rm {told}/up\n"));
    });
    scene.release("log", "1", |_| {});
    for service in ["web", "log"] {
        scene.put(&format!("service/{service}/version"), "1");
    }
    scene.assign("web");
    scene.start_all();
    scene.await_passing("web", 1);
    scene.await_passing("log", 1);
    assert_eq!(scene.lines("configured"), ["1-grey"]);
    eventually("it leads", CHANGE, || scene.held("service/web/leader"));
    assert_eq!(scene.held("service/log/leader"), None, "a role never leads");

    // New values reach it by its hook alone.
    scene.put("service/web/config/colour", "red");
    eventually("it is told", CHANGE, || (scene.lines("configured") == ["1-grey", "1-red"]).then_some(()));
    scene.await_passing("web", 1);
    fs::remove_file(scene.releases.join("up")).unwrap();
    scene.await_passing("web", 0);
    fs::write(scene.releases.join("up"), "").unwrap();
    scene.await_passing("web", 1);

    scene.assign("[]");
    eventually("both are gone", CHANGE, || {
        let node = &scene.nodes[0];
        (node.registered("web").is_null() && node.registered("log").is_null()).then_some(())
    });
    eventually("it was stopped by its hook", CHANGE, || (!scene.releases.join("up").exists()).then_some(()));
}

#[test]
fn an_agent_that_stops_gives_the_lead_up_and_leaves_the_service_running_unless_it_is_to_stop_too() {
    let mut scene = Scene::of(1);
    scene.release("web", "1", |_| {});
    scene.put("service/web/version", "1");
    scene.assign("web");
    scene.start(0);
    scene.await_passing("web", 1);
    eventually("it leads", CHANGE, || scene.held("service/web/leader"));
    let before = scene.nodes[0].pids();
    assert_eq!(scene.nodes[0].agent.as_mut().unwrap().terminate(CHANGE), 0);
    assert_eq!((scene.nodes[0].pids(), scene.held("service/web/leader")), (before.clone(), None));

    scene.start_with(0, &["--stop-instances"]);
    eventually("it leads again", CHANGE, || scene.held("service/web/leader"));
    assert_eq!(scene.nodes[0].pids(), before, "what ran was taken over");
    assert_eq!(scene.nodes[0].agent.as_mut().unwrap().terminate(CHANGE), 0);
    assert!(scene.nodes[0].pids().is_empty() && scene.nodes[0].registered("web").is_null());
}

#[test]
fn an_agent_over_the_keys_of_helios_shows_how_its_services_stand_and_knows_consul_s_maintenance() {
    let mut scene = Scene::of(1);
    scene.release("web", "1", |folder| {
        fs::write(folder.join("conf/text.mustache"), "1-{{colour}}-").unwrap();
        fs::write(folder.join("conf/asked.tera"), "{{ key(path=\"shared/motto\") }} {{ address() }}").unwrap();
    });
    scene.put("shared/motto", "onwards");
    scene.put("service/web/version", "1");
    scene.assign("web");
    let port = ports::free();
    scene.start_with(0, &["--http-addr", &format!("127.0.0.1:{port}")]);
    scene.await_passing("web", 1);
    eventually("it leads", CHANGE, || scene.held("service/web/leader"));
    let asked = scene.nodes[0].helium.folder().join("data/packages/web/1/conf/asked");
    assert_eq!(fs::read_to_string(asked).unwrap(), "onwards 127.0.0.1");

    let http = Http::on(port);
    assert_eq!(http.get("/healthz").unwrap().status, 200);
    let ready = http.get("/readyz").unwrap();
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("over the keys of Helios; 1 service: 1 Running"), "{}", ready.text());
    let web = eventually("it is told that it serves", CHANGE, || {
        let status = http.json("/status");
        (status["services"]["web"]["passing"] == true).then(|| status["services"]["web"].clone())
    });
    assert_eq!((&web["version"], &web["wanted"], &web["good"]), (&"1".into(), &"1".into(), &"1".into()), "{web:#}");
    assert_eq!((&web["registered"], &web["change"]), (&Value::Bool(true), &Value::Null), "{web:#}");
    let page = http.get("/metrics").unwrap().text();
    assert!(page.contains("helium_agent_instances{phase=\"Running\"} 1\n"), "{page}");
    for hook in ["install", "config-pre"] {
        let run = format!("helium_agent_hook_runs_total{{hook=\"{hook}\",result=\"ok\"}} 1\n");
        assert!(page.contains(&run), "{page}");
    }
    assert!(page.contains("helium_agent_renders_total{result=\"changed\"} 1\n"), "{page}");
    eventually("its one check is counted", CHANGE, || {
        let page = http.get("/metrics").ok()?.text();
        page.contains("helium_agent_checks{status=\"passing\"} 1\n").then_some(())
    });

    let before = scene.nodes[0].pids();
    let consul = scene.nodes[0].consul.http();
    consul.put("/v1/agent/maintenance?enable=true&reason=a+new+disk", "");
    eventually("it leads no more", CHANGE, || scene.held("service/web/leader").is_none().then_some(()));
    let status = http.json("/status");
    assert_eq!(status["conditions"][0]["type"], "Maintenance", "{status:#}");
    assert_eq!(
        (&status["conditions"][0]["status"], &status["conditions"][0]["message"]),
        (&"True".into(), &"a new disk".into())
    );
    assert!(http.get("/readyz").unwrap().text().starts_with("in maintenance; "));
    consul.put("/v1/agent/maintenance?enable=false", "");
    eventually("it leads again", CHANGE, || scene.held("service/web/leader"));
    assert_eq!(scene.nodes[0].pids(), before, "what ran has run on");
}

#[test]
fn a_node_without_services_of_helios_knows_consul_s_maintenance_too() {
    let mut scene = Scene::of(1);
    scene.release("web", "1", |_| {});
    scene.put("service/web/version", "1");
    scene.assign("");
    let port = ports::free();
    scene.start_with(0, &["--http-addr", &format!("127.0.0.1:{port}")]);
    let http = Http::on(port);
    let consul = scene.nodes[0].consul.http();
    let is_told = |is_in: bool| {
        eventually(&format!("it says that it is in maintenance: {is_in}"), CHANGE, || {
            let told = http.get("/readyz").ok()?.text();
            (told.starts_with("in maintenance; ") == is_in).then_some(())
        });
    };
    is_told(false);
    consul.put("/v1/agent/maintenance?enable=true&reason=a+new+disk", "");
    is_told(true);
    consul.put("/v1/agent/maintenance?enable=false", "");
    is_told(false);

    // Its last service takes with it neither the mark nor who looks at it.
    scene.assign("web");
    scene.await_passing("web", 1);
    consul.put("/v1/agent/maintenance?enable=true&reason=a+new+disk", "");
    is_told(true);
    scene.assign("");
    eventually("its service is gone", CHANGE, || {
        let page = http.get("/metrics").ok()?.text();
        (page.contains("helium_agent_checks{status=\"passing\"} 0\n") && http.json("/status")["services"] == json!({}))
            .then_some(())
    });
    is_told(true);
    consul.put("/v1/agent/maintenance?enable=false", "");
    is_told(false);
}
