//! Packages that are paths of the Nix store, with a real Nix and a store of each test's own.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use helium_e2e::{Consul, Http, Hydra, eventually, ports, process};

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::canary,
};

/// The sample server, under the version that its rendered file says.
const PROGRAM: &str =
    "#!/bin/sh\nexec \"$HELIUM_BIN\" sample --port \"$PORT\" --version \"$(cat \"$HELIUM_PACKAGE/conf/version\")\"\n";

/// A Nix with a store of its own, which the agents of a fleet find.
pub(crate) struct Nix {
    pub(crate) folder: PathBuf,
    programs: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
}

impl Nix {
    pub(crate) fn new(folder: PathBuf) -> Self {
        let programs =
            env::var_os("NIX_BIN").map(PathBuf::from).expect("this test needs Nix: NIX_BIN=$(cargo xtask nix)");
        fs::create_dir_all(folder.join("etc")).unwrap();
        fs::write(folder.join("etc/nix.conf"), "sandbox = false\nbuild-users-group =\nsubstituters =\n").unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let variables = [
            ("NIX_STORE_DIR", at("store")),
            ("NIX_STATE_DIR", at("state")),
            ("NIX_LOG_DIR", at("log")),
            ("NIX_CONF_DIR", at("etc")),
            ("HOME", at("")),
            ("PATH", format!("{}:/usr/bin:/bin", programs.display())),
        ];
        let env = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Self { folder, programs, env }
    }

    /// A store path of a version, whose activation tells the version and then does what `activate` says.
    fn path(&self, version: &str, activate: &str) -> PathBuf {
        let said = format!("#!/bin/sh\necho {version} >> $HELIUM_PROFILE.said\n{activate}\n");
        self.path_of(&[
            ("bin/hello", PROGRAM),
            ("bin/activate", &said),
            ("conf/version.tera", "{{ VERSION }}-{{ colour }}"),
            ("helium/default.toml", "colour = \"grey\"\n"),
        ])
    }

    /// A store path of these files, all of which may be run.
    pub(crate) fn path_of(&self, files: &[(&str, &str)]) -> PathBuf {
        let source = self.folder.join("sources/hello");
        let _ = fs::remove_dir_all(&source);
        for (file, text) in files {
            let path = source.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        PathBuf::from(self.store(&["--add", &source.display().to_string()]).trim())
    }

    fn store(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(self.programs.join("nix-store"));
        let output = command.args(arguments).env_clear().envs(&self.env).output().unwrap();
        assert!(output.status.success(), "nix-store: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A fleet of one agent whose machine has a Nix.
fn fleet() -> (Fleet, Nix) {
    let mut fleet = Fleet::empty(Consul::start());
    let nix = Nix::new(fleet.helium.folder().join("nix"));
    for (name, value) in &nix.env {
        fleet.helium.set_variable(name, value);
    }
    fleet.start_controller();
    fleet.start_agent(1);
    fleet.await_ready();
    (fleet, nix)
}

/// A Deployment of a store path.
fn deployment(version: &str, path: &Path) -> String {
    format!(
        r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: hello}}
spec:
  replicas: 2
  template:
    version: "{version}"
    package: {{url: "nix://{}"}}
    exec: {{command: ["${{HELIUM_PACKAGE}}/bin/hello"]}}
    ports: [{{name: http}}]
    checks: [{{name: up, http: {{path: /health}}, interval: 1s, timeout: 1s}}]
    config: {{colour: red}}
  minHealthyTime: 1s
  progressDeadline: 20s
"#,
        path.display()
    )
}

fn packages(fleet: &Fleet) -> PathBuf {
    Path::new(&fleet.data_dir(1)).join("packages")
}

/// What the activations told so far.
fn said(fleet: &Fleet) -> Vec<String> {
    let said = fs::read_to_string(packages(fleet).join(".nix/hello.said")).unwrap_or_default();
    said.lines().map(str::to_owned).collect()
}

/// Where the profile leads.
fn profile(fleet: &Fleet) -> PathBuf {
    let link = packages(fleet).join(".nix/hello");
    fs::read_link(link.with_file_name(fs::read_link(&link).unwrap())).unwrap()
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

#[test]
fn a_store_path_is_rolled_out_and_one_whose_activation_fails_leaves_the_last_good_one_active() {
    let (fleet, nix) = fleet();
    let [one, two] = ["1", "2"].map(|version| nix.path(version, ""));
    let three = nix.path("3", "echo no room for this >&2; exit 3");
    for (version, path) in [("1", &one), ("2", &two)] {
        fleet.apply(&deployment(version, path)).ok();
        assert_eq!(pages(&fleet), [format!("hello from {version}-red"), format!("hello from {version}-red")]);
        assert_eq!(profile(&fleet), *path);
    }
    assert_eq!(said(&fleet), ["1", "2"], "once a machine");
    let before = fleet.pids();
    let outcome = fleet.apply(&deployment("3", &three)).expect_code(6);
    assert!(outcome.says("bin/activate: exit status 3: no room for this"), "{outcome}");
    assert!(outcome.says("the profile is back at"), "{outcome}");
    assert_eq!((fleet.pids(), profile(&fleet)), (before, two.clone()));
    assert_eq!(said(&fleet)[..4], ["1", "2", "3", "2"]);
    let hello = packages(&fleet).join("hello");
    assert!(!hello.join("3").exists());
    assert_eq!(fs::read_link(hello.join("current")).unwrap(), Path::new("2"));

    fleet.apply(&deployment("1", &one)).ok();
    eventually("the first is active again", ROLLOUT, || (profile(&fleet) == one).then_some(()));
    nix.store(&["--gc"]);
    let is_there = |path: &PathBuf| path.exists();
    assert!(is_there(&one) && is_there(&two), "what is installed here is kept from Nix's collector");
    assert_eq!(pages(&fleet), ["hello from 1-red"; 2]);
}

#[test]
fn a_build_of_hydra_is_fetched_and_activated_as_the_version_that_it_is() {
    let (fleet, nix) = fleet();
    let hydra = Hydra::on(ports::free(), "");
    let job = format!(
        "apiVersion: helium.dev/v1\nkind: HydraJob\nmetadata: {{name: web}}\nspec: {{url: {}, interval: 1s}}\n---\n",
        hydra.job()
    );
    let hello = deployment("", &nix.folder.join("store/${VERSION}")).replace("    version: \"\"\n", "");
    fleet.apply_only(&(job + &hello.replace("spec:\n", "spec:\n  versionFrom: {hydraJob: web}\n")));
    for (build, version) in [(1, "1"), (2, "2")] {
        let path = nix.path(version, "");
        let base = path.file_name().unwrap().to_string_lossy().into_owned();
        hydra.built(build, &base);
        eventually("the build serves", ROLLOUT, || {
            (pages(&fleet) == [format!("hello from {base}-red"), format!("hello from {base}-red")]).then_some(())
        });
        assert_eq!(profile(&fleet), path);
    }
    assert_eq!(said(&fleet), ["1", "2"]);
}

#[test]
fn a_canary_has_the_profile_while_it_is_tried_out_and_gives_it_back() {
    let (fleet, nix) = fleet();
    let [one, two] = ["1", "2"].map(|version| nix.path(version, ""));
    let steps = canary("hello", "[{setWeight: 50%}, {pause: {}}]");
    fleet.apply(&(deployment("1", &one) + &steps)).ok();
    fleet.apply_only(&(deployment("2", &two) + &steps));
    fleet.await_phase("hello", "Paused");
    assert_eq!(pages(&fleet), ["hello from 1-red", "hello from 2-red"]);
    assert_eq!((profile(&fleet), said(&fleet)), (two, vec!["1".to_owned(), "2".to_owned()]));
    assert_eq!(fs::read_link(packages(&fleet).join("hello/current")).unwrap(), Path::new("1"));
    // Whoever answers goes on from the files of its own version.
    for instance in fleet.instances() {
        process::kill(instance.pid);
    }
    eventually("both run again", ROLLOUT, || (pages(&fleet).len() == 2).then_some(()));
    assert_eq!(said(&fleet), ["1", "2"], "a start that is not the first activates nothing");

    fleet.helium.run(&["canary", "abort", "hello"]).ok();
    eventually("the first is active again", ROLLOUT, || (profile(&fleet) == one).then_some(()));
    eventually("the first alone runs", ROLLOUT, || (pages(&fleet) == ["hello from 1-red"; 2]).then_some(()));
    assert_eq!(said(&fleet), ["1", "2", "1"]);
}

#[test]
fn an_agent_that_is_killed_in_the_middle_of_an_activation_comes_to_its_end_after_all() {
    let (mut fleet, nix) = fleet();
    let go = nix.folder.join("go");
    let waits = format!("test -e {} || sleep 600", go.display());
    fleet.apply(&deployment("1", &nix.path("1", ""))).ok();
    let two = nix.path("2", &waits);
    fleet.apply_only(&deployment("2", &two));
    eventually("it is being activated", ROLLOUT, || (said(&fleet).len() == 2).then_some(()));
    fleet.agent(1).kill();
    fs::write(&go, "").unwrap();
    fleet.start_agent(1);
    eventually("the second runs", ROLLOUT, || (pages(&fleet) == ["hello from 2-red"; 2]).then_some(()));
    assert_eq!((profile(&fleet), said(&fleet)), (two, ["1", "2", "2"].map(str::to_owned).to_vec()));
}

#[test]
fn machines_without_nix_get_nothing_of_it_which_is_told_and_one_that_has_lost_it_keeps_what_runs() {
    let usual = ["/run/current-system/sw/bin", "/nix/var/nix/profiles/default/bin"];
    if usual.iter().any(|folder| Path::new(folder).exists()) {
        return;
    }
    let mut fleet = Fleet::empty(Consul::start());
    let nix = Nix::new(fleet.helium.folder().join("nix"));
    let one = deployment("1", &nix.path("1", ""));
    let nowhere = fleet.helium.folder().display().to_string();
    fleet.helium.set_variable("PATH", &nowhere);
    fleet.start_controller();
    fleet.start_agent(1);
    fleet.await_ready();
    fleet.apply_only(&one);
    let has_none = "1 of 1 live nodes has no Nix of 2.8 or later";
    let reason = |fleet: &Fleet| fleet.status("hello")["reason"].clone();
    eventually("there is no place", ROLLOUT, || (reason(&fleet) == "NoPlace").then_some(()));
    let explained = fleet.helium.run(&["explain", "deployment/hello"]).ok();
    assert!(explained.says(has_none), "{explained}");
    let file = fleet.helium.write("planned.yaml", &one.replace("name: hello}", "name: other}"));
    let planned = fleet.helium.run(&["plan", "-f", &file]);
    assert!(planned.says(has_none), "{planned}");
    let described = fleet.helium.run(&["describe", "deployment/hello"]).ok();
    assert!(described.says(has_none), "{described}");

    for (name, value) in &nix.env {
        fleet.helium.set_variable(name, value);
    }
    fleet.start_agent(2);
    let by_node = |fleet: &Fleet| {
        let mut nodes: Vec<String> = fleet.instances().into_iter().map(|instance| instance.node).collect();
        nodes.sort();
        nodes
    };
    let with = fleet.node(2);
    eventually("both run where Nix is", ROLLOUT, || (by_node(&fleet) == [with.as_str(); 2]).then_some(()));
    fleet.await_phase("hello", "Healthy");
    let version = |node: &str| fleet.consul.value(&format!("helium/v1/node/{node}"))["features"]["nix"].clone();
    let has = format!("nix {}", version(&with).as_str().unwrap());
    let listed = fleet.helium.run(&["node", "list"]).ok();
    assert!(version(&with).as_str().unwrap().starts_with("2.") && listed.says(&has), "{listed}");
    assert!(version(&fleet.node(1)).is_null(), "{listed}");

    // A machine that has lost its Nix.
    let before = fleet.pids();
    fleet.agent(2).kill();
    fleet.helium.set_variable("PATH", &nowhere);
    fleet.start_agent(2);
    let nix_of = |fleet: &Fleet| fleet.consul.value(&format!("helium/v1/node/{with}"))["features"]["nix"].clone();
    eventually("its record tells it", ROLLOUT, || nix_of(&fleet).is_null().then_some(()));
    fleet.helium.run(&["scale", "hello=3"]).ok();
    let explained = || fleet.helium.run(&["explain", "deployment/hello"]);
    let have_none = "2 of 2 live nodes have no Nix of 2.8 or later";
    eventually("the third has no place", ROLLOUT, || explained().says(have_none).then_some(()));
    assert_eq!(fleet.pids(), before, "what runs runs on");
}
