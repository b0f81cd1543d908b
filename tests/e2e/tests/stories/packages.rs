//! Packages: brought onto the machine, rendered, with their hooks, through canaries, and out of the way when they are wrong.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use helium_e2e::{Http, eventually, holds_for, process};

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::canary,
};

/// The program of every package here: the sample server, under the version that its rendered file says.
const PROGRAM: &str =
    "#!/bin/sh\nexec \"$HELIUM_BIN\" sample --port \"$PORT\" --version \"$(cat \"$HELIUM_PACKAGE/conf/version\")\"\n";

/// A package that is being written.
pub(crate) struct Package(pub(crate) PathBuf);

impl Package {
    /// A package in a folder of its own, whose page says its version, a colour, and where the others of it are.
    pub(crate) fn new(fleet: &Fleet, name: &str) -> Self {
        let package = Self(fleet.helium.folder().join(name));
        package.program("bin/hello", PROGRAM);
        package.file("helium/package.yaml", "name: hello\nhooks: {install: {timeout: 90s}}\n");
        package.file("helium/default.toml", "colour = \"grey\"\n[page]\nsize = 1\n");
        package.file("conf/version.tera", "{{ VERSION }}-{{ colour }}-{{ page.size }}");
        package
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn program(&self, name: &str, text: &str) {
        fs::set_permissions(self.file(name, text), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn hook(&self, name: &str, script: &str) {
        self.program(&format!("helium/hooks/{name}"), &format!("#!/bin/sh\n{script}\n"));
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.0.display())
    }
}

/// A Deployment of a package; `more` are further fields of its template.
pub(crate) fn deployment(version: &str, replicas: u32, package: &str, more: &str) -> String {
    format!(
        r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: hello}}
spec:
  replicas: {replicas}
  template:
    version: "{version}"
    package: {package}
    exec: {{command: ["${{HELIUM_PACKAGE}}/bin/hello"]}}
    ports: [{{name: http}}]
    checks: [{{name: up, http: {{path: /health}}, interval: 1s, timeout: 1s}}]
    {more}
  minHealthyTime: 1s
  progressDeadline: 20s
"#
    )
}

/// What the instances say on their pages, in order.
pub(crate) fn pages(fleet: &Fleet) -> Vec<String> {
    let page = |pid: u32| {
        let port = process::variable(pid, "PORT")?.parse().ok()?;
        Some(Http::on(port).get("/").ok()?.text().trim().to_owned())
    };
    let mut pages: Vec<String> = fleet.instances().iter().filter_map(|instance| page(instance.pid)).collect();
    pages.sort();
    pages
}

fn current(fleet: &Fleet) -> Option<PathBuf> {
    fs::read_link(Path::new(&fleet.data_dir(1)).join("packages/hello/current")).ok()
}

#[test]
fn a_package_is_installed_and_rendered_and_a_new_one_goes_through_its_canary() {
    let fleet = Fleet::of(1);
    for version in ["1", "2"] {
        Package::new(&fleet, &format!("hello-{version}"));
    }
    let package = format!("{{url: \"file://{}/hello-${{VERSION}}\"}}", fleet.helium.folder().display());
    let config = "config: {page: {size: 7}}\n    env: {colour: red}";
    let steps = canary("hello", "[{setWeight: 50%}, {pause: {}}]");
    fleet.apply(&(deployment("1", 2, &package, config) + &steps)).ok();
    assert_eq!(pages(&fleet), ["hello from 1-red-7"; 2]);
    assert_eq!(current(&fleet), Some("1".into()));

    fleet.apply_only(&(deployment("2", 2, &package, config) + &steps));
    fleet.await_phase("hello", "Paused");
    assert_eq!(pages(&fleet), ["hello from 1-red-7", "hello from 2-red-7"]);
    assert_eq!(current(&fleet), Some("1".into()), "a canary is not what serves");

    fleet.helium.run_for(ROLLOUT, &["canary", "promote", "hello"]).ok();
    eventually("both are the second", ROLLOUT, || (pages(&fleet) == ["hello from 2-red-7"; 2]).then_some(()));
    eventually("the second is the current one", ROLLOUT, || (current(&fleet) == Some("2".into())).then_some(()));
}

#[test]
fn a_package_with_another_sha256_is_told_and_changes_nothing_of_what_runs() {
    let fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    fleet.apply(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), "")).ok();
    let before = fleet.pids();
    let digits = "0".repeat(64);
    let wrong = format!("{{url: \"{}\", sha256: \"{digits}\"}}", package.url());
    let outcome = fleet.apply(&deployment("2", 1, &wrong, "")).expect_code(6);
    assert!(outcome.says("the package was not installed: verify"), "{outcome}");
    assert!(outcome.says("has the sha256"), "{outcome}");
    assert_eq!((fleet.pids(), current(&fleet)), (before, Some("1".into())));
}

#[test]
fn an_install_hook_that_fails_keeps_the_version_out_and_is_told_with_its_last_line() {
    let fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    package.hook("install", "echo no room for this >&2; exit 3");
    let package = format!("{{url: \"{}\"}}", package.url());
    let outcome = fleet.apply(&deployment("1", 1, &package, "")).expect_code(6);
    assert!(outcome.says("the hook install failed with exit status 3: no room for this"), "{outcome}");
    assert_eq!(current(&fleet), None);
    assert!(!Path::new(&fleet.data_dir(1)).join("packages/hello/1").exists());
}

#[test]
fn names_that_a_template_lacks_are_all_told_at_once() {
    let fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    package.file("conf/other.mustache", "{{one}} {{two.three}}");
    let outcome = fleet.apply(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), "")).expect_code(6);
    outcome.expect("nobody gives `one` (conf/other.mustache:1:1), `two.three` (conf/other.mustache:1:9)");
    let logs = fleet.helium.run(&["logs", "hello", "--data-dir", &fleet.data_dir(1)]).ok();
    logs.expect("2 values are missing; give them");
}

#[test]
fn a_check_of_new_files_that_refuses_them_keeps_the_instance_from_starting() {
    let fleet = Fleet::of(1);
    let package = format!("{{url: \"{}\"}}", Package::new(&fleet, "hello").url());
    let check = "templates: {check: [grep, -q, green, \"{version}\"]}";
    let outcome = fleet.apply(&deployment("1", 1, &package, check)).expect_code(6);
    assert!(outcome.says("exit status 1"), "{outcome}");
    fleet.apply(&deployment("1", 1, &package, &format!("{check}\n    env: {{colour: green}}"))).ok();
    assert_eq!(pages(&fleet), ["hello from 1-green-1"]);
}

#[test]
fn an_agent_that_is_killed_while_a_hook_runs_leaves_none_behind_and_goes_on() {
    let mut fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    let (go, ran) = (fleet.helium.folder().join("go"), fleet.helium.folder().join("ran"));
    package
        .hook("install", &format!("echo $$ >> {}; until [ -e {} ]; do sleep 0.1; done", ran.display(), go.display()));
    fleet.apply_only(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), ""));
    let pids = || -> Vec<u32> {
        let text = fs::read_to_string(&ran).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    eventually("the hook runs", ROLLOUT, || (pids().len() == 1).then_some(()));
    fleet.agent(1).kill();
    fleet.start_agent(1);
    let runs = eventually("it runs again", ROLLOUT, || Some(pids()).filter(|pids| pids.len() == 2));
    assert!(!process::is_alive(runs[0]), "the hook of the agent that was killed runs still");
    fs::write(&go, "").unwrap();
    fleet.await_phase("hello", "Healthy");
    assert_eq!(pages(&fleet), ["hello from 1-grey-1"]);
}

#[test]
fn without_consul_an_instance_starts_again_with_the_values_and_answers_of_before() {
    let mut fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    package.file("conf/version.tera", "{{ colour }}-{{ key(path=\"team/motto\") }}");
    fleet.consul.http().put("/v1/kv/helium/v1/config/default/hello/colour", "blue");
    fleet.consul.http().put("/v1/kv/team/motto", "on");
    fleet.apply(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), "")).ok();
    assert_eq!(pages(&fleet), ["hello from blue-on"]);
    let before = fleet.instances()[0].pid;
    fleet.consul.freeze();
    fleet.agent(1).kill();
    process::kill(before);
    fleet.start_agent(1);
    eventually("it runs again", ROLLOUT, || (pages(&fleet) == ["hello from blue-on"]).then_some(()));
    assert_ne!(fleet.instances()[0].pid, before);
    fleet.consul.thaw();
    fleet.await_phase("hello", "Healthy");
}

#[test]
fn the_hooks_of_an_instance_run_in_their_order_and_a_stop_waits_for_them() {
    let fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    let told = fleet.helium.folder().join("told");
    for hook in ["install", "init", "pre-start", "post-start", "drain", "pre-stop", "post-stop"] {
        package.hook(hook, &format!("echo $HELIUM_HOOK >> {}", told.display()));
    }
    package.hook("config-pre", &format!("echo config-pre >> {}; echo '{{\"colour\": \"gold\"}}'", told.display()));
    fleet.apply(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), "")).ok();
    assert_eq!(pages(&fleet), ["hello from 1-gold-1"]);
    let hooks = || fs::read_to_string(&told).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(hooks(), ["install", "config-pre", "init", "pre-start", "post-start"]);
    process::kill(fleet.instances()[0].pid);
    eventually("it is started again", ROLLOUT, || (hooks().last()? == "post-start" && hooks().len() > 5).then_some(()));
    assert_eq!(hooks()[5..], ["post-stop", "config-pre", "pre-start", "post-start"]);
    fleet.helium.run(&["scale", "hello=0"]).ok();
    eventually("it has stopped", ROLLOUT, || fleet.instances().is_empty().then_some(()));
    eventually("all hooks ran", ROLLOUT, || (hooks().len() == 12).then_some(()));
    assert_eq!(hooks()[9..], ["drain", "pre-stop", "post-stop"]);
    holds_for("nothing more runs", Duration::from_secs(1), || match hooks().len() {
        12 => Ok(()),
        _ => Err(format!("{:?}", hooks())),
    });
}

#[test]
fn a_package_s_script_is_run_by_the_agent_and_its_failure_is_told_at_once() {
    let fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    let ill = fleet.helium.folder().join("ill");
    package.file(
        "helium/checks/disk.json.tera",
        r#"{"check": {"name": "disk", "args": ["helium/checks/look", "{{ ill }}"], "interval": "1s"}}"#,
    );
    package.program("helium/checks/look", "#!/bin/sh\n[ -e \"$1\" ] || exit 0\necho \"no room for $PORT\"; exit 2\n");
    package.hook("health", "exit 0");
    let env = format!("env: {{ill: \"{}\"}}", ill.display());
    fleet.apply(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), &env)).ok();
    let id = fleet.instances()[0].id.clone();
    let disk = || {
        fleet
            .consul
            .http()
            .json("/v1/health/checks/hello")
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["CheckID"] == format!("helium-{id}:disk"))
            .cloned()
            .unwrap()
    };
    assert_eq!(disk()["Status"], "passing");
    fs::write(&ill, "").unwrap();
    let told = eventually("Consul knows", Duration::from_secs(5), || {
        Some(disk()).filter(|check| check["Status"] == "critical")
    });
    assert!(told["Output"].as_str().unwrap().starts_with("no room for "), "{told}");
    let status = eventually("it is degraded", ROLLOUT, || {
        Some(fleet.status("hello")).filter(|status| status["phase"] == "Degraded")
    });
    assert_eq!(status["versions"][0]["healthy"], 0);
    eventually("what it printed is told", ROLLOUT, || {
        let described = fleet.helium.run(&["describe", "deployment", "hello"]).ok();
        described.says("script disk -> no room for #").then_some(())
    });
    fs::remove_file(&ill).unwrap();
    fleet.await_phase("hello", "Healthy");
}

/// Sends HUP to the page that reads its file again: a program that serves what its file holds, until it is told otherwise.
const READS_ON_HUP: &str = r#"import http.server, os, signal
page = b""
def read(*_):
    global page
    page = open(os.environ["HELIUM_PACKAGE"] + "/conf/page", "rb").read()
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(page)
    def log_message(self, *_):
        pass
read()
signal.signal(signal.SIGHUP, read)
http.server.ThreadingHTTPServer((os.environ["HELIUM_ADDRESS"], int(os.environ["PORT"])), Page).serve_forever()
"#;

/// A Deployment `front` of a package whose page comes from `template`.
pub(crate) fn front(fleet: &Fleet, template: &str, more: &str) -> String {
    let package = Package(fleet.helium.folder().join("front"));
    package.file("conf/page.tera", template);
    package.file("serve.py", READS_ON_HUP);
    let url = format!("{{url: \"{}\"}}", package.url());
    let text = deployment("1", 1, &url, more).replace("name: hello", "name: front");
    text.replace(
        "[\"${HELIUM_PACKAGE}/bin/hello\"]",
        "[python3, \"${HELIUM_PACKAGE}/serve.py\", --version, \"${VERSION}\"]",
    )
}

pub(crate) fn page_of(fleet: &Fleet, deployment: &str) -> Option<String> {
    let of = |id: &str| id.strip_prefix(deployment).is_some_and(|rest| rest.starts_with('-'));
    let instance = fleet.instances().into_iter().find(|instance| of(&instance.id))?;
    let port = process::variable(instance.pid, "PORT")?.parse().ok()?;
    Some(Http::on(port).get("/").ok()?.text())
}

#[test]
fn files_follow_the_instances_of_another_service_and_the_process_is_told_and_goes_on() {
    let fleet = Fleet::of(1);
    let template = "{% for one in services(name=\"back\") %}{{ one.port }} {% endfor %}";
    let back = crate::specs::deployment("back", "1", 2, "");
    fleet.apply(&(back + "---\n" + &front(&fleet, template, "templates: {reload: HUP}"))).ok();
    let ports = || {
        let backs = fleet.instances().into_iter().filter(|instance| instance.id.starts_with("back-"));
        let mut ports: Vec<u16> =
            backs.filter_map(|back| process::variable(back.pid, "PORT_http")?.parse().ok()).collect();
        ports.sort_unstable();
        ports.iter().fold(String::new(), |all, port| format!("{all}{port} "))
    };
    let shown = || {
        let page = page_of(&fleet, "front")?;
        let mut ports: Vec<&str> = page.split_whitespace().collect();
        ports.sort_unstable();
        Some(ports.iter().fold(String::new(), |all, port| format!("{all}{port} ")))
    };
    eventually("both are on the page", ROLLOUT, || (shown()? == ports() && ports().len() > 10).then_some(()));
    let pid = fleet.pids().into_iter().find(|(id, _)| id.starts_with("front-")).unwrap();
    fleet.helium.run(&["scale", "back=4"]).ok();
    eventually("four are on the page", ROLLOUT, || (shown()? == ports() && ports().len() > 20).then_some(()));
    assert_eq!(fleet.pids().get(&pid.0), Some(&pid.1), "the process was not started again");
}

#[test]
fn live_values_reach_a_running_instance_and_those_of_a_rollout_a_new_one() {
    let fleet = Fleet::of(1);
    let key = "/v1/kv/helium/v1/config/default/front/motto";
    fleet.consul.http().put(key, "one");
    let live = "configUpdate: live\n    templates: {reload: HUP, check: [grep, -v, bad, \"{}\"]}";
    fleet.apply(&front(&fleet, "{{ motto }}", live)).ok();
    assert_eq!(page_of(&fleet, "front").as_deref(), Some("one"));
    fleet.consul.http().put(key, "two");
    eventually("it has the second", ROLLOUT, || (page_of(&fleet, "front")? == "two").then_some(()));

    // What the check refuses changes nothing, and is told.
    fleet.consul.http().put(key, "bad");
    eventually("the refusal is told", ROLLOUT, || {
        fleet.helium.run(&["describe", "deployment", "front"]).ok().says("exit status 1").then_some(())
    });
    assert_eq!(page_of(&fleet, "front").as_deref(), Some("two"));
    fleet.consul.http().put(key, "three");
    eventually("it has the third", ROLLOUT, || (page_of(&fleet, "front")? == "three").then_some(()));

    // The whole folder gone looks like a Consul that has lost its data.
    fleet.consul.http().delete(key);
    holds_for("it keeps what it has", Duration::from_secs(3), || match page_of(&fleet, "front").as_deref() {
        Some("three") => Ok(()),
        other => Err(format!("{other:?}")),
    });

    fleet.consul.http().put(key, "four");
    fleet.apply(&front(&fleet, "{{ motto }}", "").replace("version: \"1\"", "version: \"2\"")).ok();
    assert_eq!(page_of(&fleet, "front").as_deref(), Some("four"));
    let before = fleet.pids();
    fleet.consul.http().put(key, "five");
    eventually("another instance has them", ROLLOUT, || (page_of(&fleet, "front")? == "five").then_some(()));
    let after = fleet.pids();
    assert!(after.keys().all(|id| !before.contains_key(id)), "{before:?} {after:?}");
}

#[test]
fn versions_that_nobody_needs_any_more_go_after_their_uninstall_hook() {
    let fleet = Fleet::of(1);
    let told = fleet.helium.folder().join("told");
    for version in 1..=5 {
        let package = Package::new(&fleet, &format!("hello-{version}"));
        package.hook("uninstall", &format!("echo $VERSION >> {}", told.display()));
    }
    let package = format!("{{url: \"file://{}/hello-${{VERSION}}\"}}", fleet.helium.folder().display());
    for version in 1..=5 {
        fleet.apply(&deployment(&version.to_string(), 1, &package, "")).ok();
    }
    let store = Path::new(&fleet.data_dir(1)).join("packages/hello");
    let versions = (1..=5).filter(|version| store.join(version.to_string()).exists()).collect::<Vec<_>>();
    assert_eq!((versions, current(&fleet)), (vec![3, 4, 5], Some("5".into())));
    assert_eq!(fs::read_to_string(&told).unwrap(), "1\n2\n");
}

#[test]
fn an_instance_runs_as_its_user_who_alone_may_read_its_secrets() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("not run: only root can run somebody as another user");
        return;
    }
    let fleet = Fleet::of(1);
    // The folder of the tests is root's alone.
    let temporary = std::env::temp_dir();
    let own =
        fleet.helium.folder().ancestors().take_while(|folder| folder.starts_with(&temporary) && **folder != *temporary);
    for folder in own {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).unwrap();
    }
    fleet.consul.http().put("/v1/kv/helium/v1/secret/db", "hunter2");
    let package = front(&fleet, "{{ key(path=\"helium/v1/secret/db\") }}", "");
    fleet.apply(&package.replace("exec: {", "exec: {user: nobody, ")).ok();
    assert_eq!(page_of(&fleet, "front").as_deref(), Some("hunter2"));
    let instance = fleet.instances().remove(0);
    let nobody = fs::metadata(format!("/proc/{}", instance.pid)).unwrap().uid();
    let page = Path::new(&fleet.data_dir(1)).join("instances").join(&instance.id).join("package/conf/page");
    let meta = fs::metadata(page).unwrap();
    assert_eq!((meta.uid(), meta.permissions().mode() & 0o777), (nobody, 0o600));
    assert_ne!(nobody, 0);
}

/// The instances that have the tag `leader` in Consul.
fn leaders(fleet: &Fleet) -> Vec<String> {
    let services = fleet.consul.http().json("/v1/health/service/hello?tag=leader");
    let ids = services
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["Service"]["Meta"]["helium-instance"].as_str().unwrap().to_owned());
    ids.collect()
}

#[test]
fn one_instance_leads_over_a_restart_of_its_agent_and_when_it_ends_another_does_with_a_higher_token() {
    let mut fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    let told = fleet.helium.folder().join("told");
    for hook in ["leader-gained", "leader-lost"] {
        package.hook(hook, &format!("echo $HELIUM_INSTANCE $HELIUM_HOOK $HELIUM_LEADER_TOKEN >> {}", told.display()));
    }
    fleet.apply(&deployment("1", 2, &format!("{{url: \"{}\"}}", package.url()), "election: {sessionTtl: 14s}")).ok();
    let first = eventually("one leads", ROLLOUT, || leaders(&fleet).first().cloned());
    let lines = || -> Vec<Vec<String>> {
        let text = fs::read_to_string(&told).unwrap_or_default();
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    eventually("its hook ran", ROLLOUT, || (lines().len() == 1).then_some(()));
    let held = fleet.consul.value("helium/v1/lock/service/default/hello");
    assert_eq!(
        (held["who"].as_str(), lines()[0][0].as_str(), lines()[0][1].as_str()),
        (Some(first.as_str()), first.as_str(), "leader-gained")
    );

    fleet.agent(1).kill();
    fleet.start_agent(1);
    fleet.await_phase("hello", "Healthy");
    holds_for("it leads on", Duration::from_secs(3), || match lines().len() {
        1 => Ok(()),
        _ => Err(format!("{:?}", lines())),
    });
    eventually("it has its tag", ROLLOUT, || (leaders(&fleet) == [first.clone()]).then_some(()));

    process::kill(fleet.pids()[&first]);
    let second = eventually("the other leads", ROLLOUT, || leaders(&fleet).into_iter().find(|id| *id != first));
    eventually("all hooks ran", ROLLOUT, || (lines().len() == 3).then_some(()));
    let token = |line: &Vec<String>| line[2].parse::<u64>().unwrap();
    let of = |hook: &str| lines().into_iter().filter(|line| line[1] == hook).collect::<Vec<_>>();
    assert_eq!(
        (of("leader-lost")[0][0].as_str(), of("leader-gained")[1][0].as_str()),
        (first.as_str(), second.as_str())
    );
    assert!(token(&of("leader-gained")[1]) > token(&of("leader-gained")[0]), "{:?}", lines());
    assert_eq!(leaders(&fleet), [second]);
}

#[test]
fn secrets_of_every_source_are_in_private_files_and_nowhere_else() {
    let fleet = Fleet::of(1);
    let file = fleet.helium.write("password", "from-a-file-1\n");
    let printed = fleet.helium.write("printed", "from-a-program-3");
    fleet.consul.http().put("/v1/kv/helium/v1/secret/team/token", "from-a-key-2");
    let more = format!(
        "templates: {{reload: HUP}}\n    secrets: {{db.password: {{file: \"{file}\"}}, token: {{kv: team/token}}, made: {{exec: [cat, \"{printed}\"]}}}}"
    );
    fleet.apply(&front(&fleet, "{{ db.password }} {{ token }} {{ made }}", &more)).ok();
    assert_eq!(page_of(&fleet, "front").as_deref(), Some("from-a-file-1 from-a-key-2 from-a-program-3"));
    let id = fleet.instances().remove(0).id;
    let folder = Path::new(&fleet.data_dir(1)).join("instances").join(&id);
    assert_eq!(fs::metadata(folder.join("package/conf/page")).unwrap().permissions().mode() & 0o777, 0o600);
    fleet.consul.http().put("/v1/kv/helium/v1/secret/team/token", "another-2");
    eventually("it follows the key", ROLLOUT, || page_of(&fleet, "front")?.contains("another-2").then_some(()));
    for place in ["helium/v1/assign/", "helium/v1/report/", "helium/v1/revision/", "helium/v1/status/"] {
        for key in fleet.consul.keys(place) {
            let text = fleet.consul.value(&key).to_string();
            assert!(
                !["file-1", "key-2", "program-3", "another-2"].iter().any(|secret| text.contains(secret)),
                "{key}: {text}"
            );
        }
    }
    assert!(!fleet.agent_said(1).contains("another-2"));
}

#[test]
fn what_was_started_without_consul_follows_it_again_once_it_is_back() {
    let mut fleet = Fleet::of(1);
    fleet.consul.http().put("/v1/kv/team/motto", "before");
    fleet.apply(&front(&fleet, "{{ key(path=\"team/motto\") }}", "templates: {reload: HUP}")).ok();
    let before = fleet.instances().remove(0).pid;
    fleet.consul.freeze();
    fleet.agent(1).kill();
    process::kill(before);
    fleet.start_agent(1);
    eventually("it runs with its old file", ROLLOUT, || (page_of(&fleet, "front")? == "before").then_some(()));
    let pid = fleet.instances().remove(0).pid;
    fleet.consul.thaw();
    fleet.consul.http().put("/v1/kv/team/motto", "after");
    eventually("it has the new one", ROLLOUT, || (page_of(&fleet, "front")? == "after").then_some(()));
    assert_eq!(fleet.instances().remove(0).pid, pid, "it was not started again for that");
}

#[test]
fn a_file_of_an_installed_version_that_was_changed_since_is_told_by_its_name() {
    let fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello-1");
    package.hook("install", "echo made by the hook > made");
    fleet.apply(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), "")).ok();
    let (data, packages) = (fleet.data_dir(1), format!("{}/packages", fleet.data_dir(1)));
    let verify = || {
        fleet.helium.run(&["agent", "verify", "--data-dir", &data, "--package-dir", &packages, "--service", "hello"])
    };
    verify().ok().expect("every file is as it was installed");
    let file = Path::new(&packages).join("hello/1/bin/hello");
    fs::write(&file, "#!/bin/sh\necho something else\n").unwrap();
    verify().expect_code(1).expect("bin/hello was changed");
}
