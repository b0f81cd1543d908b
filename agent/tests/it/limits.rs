//! What an instance may use of the real machine. Where it has no control groups a variable leaves out what needs them.

use std::{env, fs, path::PathBuf};

use helium_agent::StopMode;
use helium_crds::{
    InstanceId,
    instance::{Assignment, InstancePhase, Report},
    resources::Resources,
};

use crate::{
    processes,
    world::{World, until},
};

/// A shell that holds more and more: 40 MiB in the end.
const HOG: &str = "x=0123456789; i=0; while [ $i -lt 22 ]; do x=$x$x; i=$((i+1)); done; sleep 600";

fn limited(world: &World, name: &str, script: &str, resources: serde_json::Value) -> Assignment {
    let mut assignment = world.script(name, script);
    assignment.template.resources = serde_json::from_value::<Resources>(resources).unwrap();
    assignment
}

/// The group of a process in the hierarchy of a controller, by what the system says of the process.
fn group_of(pid: u32, controller: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mut lines = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let own = lines.find(|(names, _)| names.split(',').any(|name| name == controller) || names.is_empty());
    own.unwrap().1.to_owned()
}

/// The folders of a group on this machine.
fn folders(id: &InstanceId) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = helium_cgroups::hierarchies::Hierarchies::read(&mounts, &cgroup);
    for controller in helium_cgroups::Controller::ALL {
        if let Some((_, folder)) = own.of(controller) {
            let beside = folder.parent().filter(|_| folder.ends_with("agent"));
            found.push(beside.unwrap_or(folder).join("helium").join(id.as_str()));
        }
    }
    found.retain(|folder| folder.exists());
    found
}

/// Leaves out what needs control groups, on a machine that has none.
const WITHOUT: &str = "HELIUM_TESTS_WITHOUT_CGROUPS";

/// Whether all limits hold on this machine; if not, the report has said why, and that must be allowed here.
fn holds(report: &Report) -> bool {
    let holds = report.unheld.is_empty();
    if !holds {
        let why = &report.unheld;
        let may_lack = env::var_os(WITHOUT).is_some_and(|set| set == "1");
        assert!(may_lack, "limits do not hold here: {why:?}; {WITHOUT}=1 leaves out what needs them");
        println!("left out on this machine: {why:?}");
        assert!(report.unheld.values().all(|why| why.len() > 10));
    }
    holds
}

async fn ran(world: &World, id: &InstanceId) -> Report {
    world.reported(id, "running", |report| report.phase == InstancePhase::Running && report.pid.is_some()).await
}

#[tokio::test]
async fn who_needs_more_memory_than_it_may_is_started_again_and_the_report_says_what_it_died_of() {
    let world = World::embedded();
    let agent = world.agent(StopMode::StopInstances);
    let assignment = limited(&world, "hog-0", HOG, serde_json::json!({"memory": "8Mi"}));
    world.assign(&assignment).await;
    let words = "killed for lack of memory (its limit is 8Mi)";
    let id = &assignment.id;
    let told =
        |report: &Report| report.message.as_ref().is_some_and(|said| said.contains(words)) || !report.unheld.is_empty();
    let report = world.reported(id, words, told).await;
    if holds(&report) {
        assert_eq!(report.message.unwrap(), format!("ended by itself: {words}"));
        assert!(report.restarts >= 1);
        let failed = |report: &Report| report.phase == InstancePhase::Failed;
        let report = world.reported(id, "failed", failed).await;
        assert_eq!(report.message.unwrap(), format!("ended 3 times in a row, last: {words}"));
    }
    world.unassign_stopped(&assignment).await;
    assert_eq!(folders(id), Vec::<PathBuf>::new());
    agent.stop().await;
}

#[tokio::test]
async fn all_that_an_instance_starts_is_in_its_group_which_is_gone_once_it_has_stopped() {
    let world = World::embedded();
    let agent = world.agent(StopMode::StopInstances);
    let script = "setsid sleep 600 & setsid sleep 600 & wait";
    let resources =
        serde_json::json!({"memory": "64Mi", "cpu": 0.5, "processes": 20, "openFiles": 77, "coreDump": "0B"});
    let assignment = limited(&world, "family-0", script, resources);
    let id = &assignment.id;
    world.assign(&assignment).await;
    let report = ran(&world, id).await;
    let all = world.copies(id, 3).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", report.pid.unwrap())).unwrap();
    let bounds = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((bounds("Max open files").as_str(), bounds("Max core file size").as_str()), ("77 77", "0 0"));
    if holds(&report) {
        for (pid, controller) in all.iter().flat_map(|pid| ["memory", "cpu", "pids"].map(|one| (pid, one))) {
            let group = group_of(*pid, controller);
            assert!(group.ends_with(&format!("/helium/{id}")), "{controller} of {pid}: {group}");
        }
        let read = |file: &str| folders(id).iter().find_map(|folder| fs::read_to_string(folder.join(file)).ok());
        let cpu = read("cpu.cfs_quota_us").or_else(|| read("cpu.max")).unwrap();
        assert!(cpu.starts_with("50000"), "{cpu}");
    }
    // A process that has left the group of its parent's signals is ended with the group that it cannot leave.
    world.unassign_stopped(&assignment).await;
    assert_eq!(folders(id), Vec::<PathBuf>::new());
    if report.unheld.is_empty() {
        world.copies(id, 0).await;
    }
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_is_killed_leaves_the_group_intact_and_the_next_one_goes_on_with_it() {
    let world = World::new().await;
    let first = world.agent_process();
    let assignment = limited(&world, "adopted-0", "sleep 600 & wait", serde_json::json!({"memory": "64Mi"}));
    let id = &assignment.id;
    world.assign(&assignment).await;
    let report = ran(&world, id).await;
    let pid = report.pid.unwrap();
    let before = (group_of(pid, "memory"), folders(id));
    first.kill();
    let second = world.agent(StopMode::LeaveRunning);
    world.joined_anew().await;
    assert_eq!((group_of(pid, "memory"), folders(id)), before);
    assert_eq!(world.running(id).await.pid, Some(pid));
    if holds(&report) {
        assert!(before.0.ends_with(&format!("/helium/{id}")), "{}", before.0);
        // It ends under the second agent, which knows its group all the same.
        processes::kill(pid);
        let again = |report: &Report| report.restarts == 1 && report.pid.is_some_and(|new| new != pid);
        let report = world.reported(id, "started again", again).await;
        assert!(group_of(report.pid.unwrap(), "memory").ends_with(&format!("/helium/{id}")));
        world.copies(id, 2).await;
    }
    world.unassign_stopped(&assignment).await;
    assert_eq!(folders(id), Vec::<PathBuf>::new());
    second.stop().await;
}

#[tokio::test]
async fn a_group_whose_process_has_ended_while_no_agent_ran_is_removed_by_the_next_one() {
    let world = World::embedded();
    let first = world.agent(StopMode::LeaveRunning);
    let assignment = limited(&world, "orphan-0", "setsid sleep 600 & wait", serde_json::json!({"memory": "64Mi"}));
    let id = &assignment.id;
    world.assign(&assignment).await;
    let report = ran(&world, id).await;
    let all = world.copies(id, 2).await;
    first.stop().await;
    processes::kill(report.pid.unwrap());
    let second = world.agent(StopMode::StopInstances);
    world.reported(id, "started again", |report| report.restarts == 1 && report.pid.is_some()).await;
    if holds(&report) {
        let left = all.iter().find(|pid| Some(**pid) != report.pid).unwrap();
        until("what was left in the group is gone", || async {
            processes::running(id.as_str()).iter().all(|one| one != left).then_some(())
        })
        .await;
    }
    world.unassign_stopped(&assignment).await;
    assert_eq!(folders(id), Vec::<PathBuf>::new());
    second.stop().await;
}

#[tokio::test]
async fn a_limit_that_cannot_be_set_keeps_nothing_from_running_and_is_told() {
    let world = World::embedded();
    let agent = world.agent(StopMode::StopInstances);
    // More than any kernel allows unless somebody has raised that.
    let assignment = limited(&world, "open-0", "sleep 600", serde_json::json!({"openFiles": 1_073_741_816}));
    world.assign(&assignment).await;
    let report = ran(&world, &assignment.id).await;
    let why = &report.unheld["openFiles"];
    assert!(why.starts_with("the agent cannot set it: "), "{why}");
    world.unassign_stopped(&assignment).await;
    agent.stop().await;
}

#[tokio::test]
async fn an_instance_has_not_stopped_while_what_it_left_in_its_group_does_not_end() {
    let world = World::embedded();
    let first = world.agent(StopMode::LeaveRunning);
    let assignment = world.script("stuck-0", "sleep 600 & wait");
    let id = &assignment.id;
    world.assign(&assignment).await;
    ran(&world, id).await;
    first.stop().await;
    // A group whose process cannot be killed, which no test can make, is one whose process is nobody's.
    let folder = world.data().join("group");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("cgroup.procs"), "4194305\n").unwrap();
    let file = world.data().join(format!("instances/{id}/record.json"));
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    record["group"] = serde_json::json!({"folders": [folder]});
    fs::write(&file, serde_json::to_vec(&record).unwrap()).unwrap();
    let second = world.agent(StopMode::LeaveRunning);
    world.joined_anew().await;
    let mut stopped = assignment.clone();
    stopped.desired = helium_crds::instance::Desired::Stop;
    world.assign(&stopped).await;
    let left = format!("1 processes in {} do not end, though they were killed", folder.display());
    let told = |report: &Report| {
        assert_ne!(report.phase, InstancePhase::Stopped);
        report.message.as_ref().is_some_and(|said| said.contains(&left))
    };
    world.reported(id, "what is left is told", told).await;
    world.copies(id, 0).await;
    fs::remove_file(folder.join("cgroup.procs")).unwrap();
    world.reported(id, "stopped", |report| report.phase == InstancePhase::Stopped).await;
    assert!(!folder.exists());
    world.unassign(id).await;
    second.stop().await;
}
