//! Instances of packages: their hooks over restarts of the agent, their checks and files while they run.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use consul_client::{CheckStatus, Put, Read};
use helium_agent::StopMode;
use helium_crds::{
    condition::{ConditionKind, ConditionStatus},
    instance::{Assignment, Desired, Report, check_id, service_id},
    package::{ConfigUpdate, Package, Templates},
};
use tempfile::TempDir;

use crate::{
    processes,
    world::{World, until},
};

/// A package that is being written, and a place where its hooks leave word.
struct Source(TempDir);

impl Source {
    fn new() -> Self {
        let source = Self(tempfile::tempdir().unwrap());
        source.write("package/helium/package.yaml", "name: hello\n");
        source
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A hook; `$TOLD` is the file in which it leaves word.
    fn hook(&self, name: &str, script: &str) {
        let told = self.path("told").display().to_string();
        self.write(&format!("package/helium/hooks/{name}"), &format!("#!/bin/sh\nTOLD={told}\n{script}\n"));
    }

    /// What hooks have said, word by word.
    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("told")).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    async fn told_is(&self, words: &[&str]) {
        until(&format!("told: {words:?}"), || async { (self.told() == words).then_some(()) }).await;
    }

    /// An assignment of this package, whose process sleeps.
    fn assignment(&self, world: &World, name: &str) -> Assignment {
        let mut assignment = world.script(name, "sleep 600 & wait");
        let url = format!("file://{}", self.path("package").display());
        assignment.template.package = Some(Package { url, sha256: None, signature: None });
        assignment
    }

    /// The same that stands for election.
    fn candidate(&self, world: &World, name: &str) -> Assignment {
        let mut assignment = self.assignment(world, name);
        let election = serde_json::json!({"sessionTtl": "14s", "stopWithin": "5s"});
        assignment.template.election = Some(serde_json::from_value(election).unwrap());
        assignment
    }
}

async fn put(world: &World, key: &str, value: &str) {
    assert!(world.client.kv_put(key, value.as_bytes().to_vec(), &Put::default()).await.unwrap());
}

fn is_alive(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, tail)| !tail.starts_with('Z'))
}

#[tokio::test]
async fn a_leader_that_stops_with_its_agent_has_told_its_package_to_the_end() {
    let (world, source) = (World::embedded(), Source::new());
    source.hook("leader-gained", "echo gained >> $TOLD");
    source.hook("leader-lost", "echo losing >> $TOLD; sleep 1; echo lost >> $TOLD");
    let agent = world.agent(StopMode::StopInstances);
    world.assign(&source.candidate(&world, "leader-0")).await;
    source.told_is(&["gained"]).await;
    agent.stop().await;
    assert_eq!(source.told(), ["gained", "losing", "lost"]);
}

#[tokio::test]
async fn a_hook_of_the_leader_that_was_cut_off_runs_again_and_one_that_has_run_does_not() {
    let (world, source) = (World::new().await, Source::new());
    source.hook("leader-gained", "echo begun >> $TOLD; [ -e $TOLD.go ] || sleep 600; echo done >> $TOLD");
    let first = world.agent_process();
    let assignment = source.candidate(&world, "leader-0");
    world.assign(&assignment).await;
    source.told_is(&["begun"]).await;
    first.kill();
    fs::write(source.path("told.go"), "").unwrap();
    let second = world.agent_process();
    source.told_is(&["begun", "begun", "done"]).await;
    let mark = world.data().join("instances").join(assignment.id.as_str()).join("state/leader-told");
    let marked = || async { fs::read_to_string(&mark).is_ok_and(|mark| mark.ends_with(" done")).then_some(()) };
    until("it is marked", marked).await;
    second.kill();
    // It leads on, and has been told already. The file with the token is the first thing that an agent does about that.
    let leader = mark.parent().unwrap().parent().unwrap().join("work/leader");
    fs::remove_file(&leader).unwrap();
    let third = world.agent(StopMode::StopInstances);
    until("it leads on", || async { leader.exists().then_some(()) }).await;
    third.stop().await;
    assert!(!leader.exists());
    assert_eq!(source.told(), ["begun", "begun", "done"]);
}

#[tokio::test]
async fn a_hook_of_a_stop_that_was_taken_back_while_no_agent_ran_is_ended() {
    let (world, source) = (World::new().await, Source::new());
    source.hook("drain", "echo $$ >> $TOLD; sleep 600");
    let first = world.agent_process();
    let assignment = source.assignment(&world, "drained-0");
    world.assign(&assignment).await;
    let before = world.running(&assignment.id).await;
    world.assign(&Assignment { desired: Desired::Stop, ..assignment.clone() }).await;
    let drain: u32 = until("it drains", || async { source.told().first()?.parse().ok() }).await;
    first.kill();
    assert!(is_alive(drain), "it was to be left behind");
    world.assign(&assignment).await;
    let second = world.agent(StopMode::LeaveRunning);
    until("what was left of the stop is ended", || async { (!is_alive(drain)).then_some(()) }).await;
    let health = || async { world.health(&assignment.id).await };
    until("it is registered again", health).await;
    assert_eq!(world.running(&assignment.id).await.pid, before.pid);
    second.stop().await;
}

#[tokio::test]
async fn the_report_says_that_an_instance_was_started_again_with_the_files_of_before_and_why() {
    let (world, source) = (World::embedded(), Source::new());
    source.write("package/conf/page.tera", "{{ colour }}");
    let ill = source.path("ill").display().to_string();
    source.hook(
        "config-pre",
        &format!("[ -e {ill} ] && {{ echo no colour today >&2; exit 3; }}; echo '{{\"colour\": \"red\"}}'"),
    );
    let agent = world.agent(StopMode::StopInstances);
    let assignment = source.assignment(&world, "behind-0");
    world.assign(&assignment).await;
    let before = world.running(&assignment.id).await;
    assert_eq!(before.message, None);
    fs::write(source.path("ill"), "").unwrap();
    processes::kill(before.pid.unwrap());
    let said =
        "runs with the files that were rendered last: the hook config-pre failed with exit status 3: no colour today";
    let again =
        |report: &Report| report.restarts == 1 && report.message.as_ref().is_some_and(|words| words.starts_with(said));
    world.reported(&assignment.id, said, again).await;
    // The next start finds all well again.
    fs::remove_file(source.path("ill")).unwrap();
    let pid = world.report(&assignment.id).await.unwrap().pid.unwrap();
    processes::kill(pid);
    let well = |report: &Report| report.restarts == 2 && report.pid.is_some() && report.message.is_none();
    world.reported(&assignment.id, "well again", well).await;
    agent.stop().await;
}

#[tokio::test]
async fn checks_that_change_while_an_instance_runs_change_in_consul_and_its_process_goes_on() {
    let (world, source) = (World::embedded(), Source::new());
    source.write(
        "package/helium/checks/it.json.tera",
        r#"{"check": {"name": "{{ name }}", "args": ["sh", "-c", "echo {{ name }}; exit {{ status }}"], "interval": "1s"}}"#,
    );
    let agent = world.agent(StopMode::StopInstances);
    let mut assignment = source.assignment(&world, "checked-0");
    assignment.template.config_update = ConfigUpdate::Live;
    let at = |name: &str| format!("{}{name}", world.keys.overrides(&assignment.deployment));
    let (name, status) = (at("name"), at("status"));
    put(&world, &name, "first").await;
    put(&world, &status, "0").await;
    world.assign(&assignment).await;
    let pid = world.running(&assignment.id).await.pid;
    let checks = |wanted: &'static str, is: CheckStatus| {
        let (client, id) = (world.client.clone(), assignment.id.clone());
        let what = format!("{wanted} is {is:?}, and the only one");
        async move {
            until(&what, || async {
                let all = client.health_service("hello", &Read::default()).await.ok()?.value;
                let own = all.into_iter().find(|one| one.service.id == service_id(&id))?;
                let of_it: Vec<_> = own.checks.iter().filter(|check| check.service_id == own.service.id).collect();
                let [only] = of_it.as_slice() else { return None };
                (only.check_id == check_id(&id, wanted) && only.status == is).then_some(())
            })
            .await;
        }
    };
    checks("first", CheckStatus::Passing).await;
    put(&world, &name, "second").await;
    checks("second", CheckStatus::Passing).await;
    put(&world, &status, "2").await;
    checks("second", CheckStatus::Critical).await;
    assert_eq!(world.report(&assignment.id).await.unwrap().pid, pid);
    agent.stop().await;
}

#[tokio::test]
async fn the_hook_config_runs_once_for_all_that_changes_before_a_rest() {
    let (world, source) = (World::embedded(), Source::new());
    source.write("package/conf/page.tera", "{{ colour }}");
    source.hook("config", "cat conf/page >> $TOLD; echo >> $TOLD");
    let agent = world.agent(StopMode::StopInstances);
    let mut assignment = source.assignment(&world, "quiet-0");
    assignment.template.config_update = ConfigUpdate::Live;
    let quiet = serde_json::json!({"quiet": {"min": "1500ms", "max": "1m"}});
    assignment.template.templates = Some(serde_json::from_value::<Templates>(quiet).unwrap());
    let key = format!("{}colour", world.keys.overrides(&assignment.deployment));
    put(&world, &key, "c0").await;
    world.assign(&assignment).await;
    world.running(&assignment.id).await;
    for number in 1..=10 {
        put(&world, &key, &format!("c{number}")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    source.told_is(&["c10"]).await;
    put(&world, &key, "c11").await;
    source.told_is(&["c10", "c11"]).await;
    assert_eq!(read(&world.data(), &assignment), "c11");
    agent.stop().await;
}

fn read(data: &Path, assignment: &Assignment) -> String {
    fs::read_to_string(data.join("instances").join(assignment.id.as_str()).join("package/conf/page")).unwrap()
}

#[tokio::test]
async fn a_hook_that_fails_before_a_start_is_no_trouble_of_its_package() {
    let (world, source) = (World::embedded(), Source::new());
    source.hook("init", "exit 1");
    let agent = world.agent(StopMode::StopInstances);
    let assignment = source.assignment(&world, "packaged-0");
    world.assign(&assignment).await;
    let holds = |report: &Report, kind| {
        report.conditions.iter().any(|one| one.kind == kind && one.status == ConditionStatus::True)
    };
    let is_in_place = |report: &Report| {
        let kinds = [ConditionKind::PackageReady, ConditionKind::ConfigValid];
        report.pid.is_none() && report.message.is_some() && kinds.into_iter().all(|kind| holds(report, kind))
    };
    let report = world.reported(&assignment.id, "the package is in place and init fails", is_in_place).await;
    assert!(report.message.as_deref().unwrap_or_default().contains("init"), "{report:?}");
    agent.stop().await;
}
