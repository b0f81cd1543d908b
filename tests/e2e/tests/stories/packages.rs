//! Packages: brought onto the machine, rendered, with their hooks, through canaries, and out of the way when they are wrong.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
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
struct Package(PathBuf);

impl Package {
    /// A package in a folder of its own, whose page says its version, a colour, and where the others of it are.
    fn new(fleet: &Fleet, name: &str) -> Self {
        let package = Self(fleet.helium.folder().join(name));
        package.program("bin/hello", PROGRAM);
        package.file("helium/package.yaml", "name: hello\nhooks: {install: {timeout: 90s}}\n");
        package.file("helium/default.toml", "colour = \"grey\"\n[page]\nsize = 1\n");
        package.file("conf/version.tera", "{{ VERSION }}-{{ colour }}-{{ page.size }}");
        package
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn program(&self, name: &str, text: &str) {
        fs::set_permissions(self.file(name, text), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn hook(&self, name: &str, script: &str) {
        self.program(&format!("helium/hooks/{name}"), &format!("#!/bin/sh\n{script}\n"));
    }

    fn url(&self) -> String {
        format!("file://{}", self.0.display())
    }
}

/// A Deployment of a package; `more` are further fields of its template.
fn deployment(version: &str, replicas: u32, package: &str, more: &str) -> String {
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
fn pages(fleet: &Fleet) -> Vec<String> {
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
    assert!(outcome.says("one") && outcome.says("two.three"), "{outcome}");
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
