//! Limits of instances, with the real binary: what they do, and that people see what becomes of them.

use std::{env, fs, time::Duration};

use helium_e2e::{eventually, process};

use crate::fleet::{Fleet, ROLLOUT, is_sentinel};

/// A Deployment of one shell script within these limits. A fleet knows its instances by their argument `--version`.
fn limited(script: &str, resources: &str) -> String {
    let command = serde_json::json!(["sh", "-c", script, "--version", "1"]);
    format!(
        "apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: small}}
spec:
  replicas: 1
  template:
    version: \"1\"
    exec: {{command: {command}}}
    resources: {{{resources}}}
  minHealthyTime: 1s
  progressDeadline: 20s
"
    )
}

/// The groups of a process, by controller.
fn groups(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// Leaves out what needs control groups, on a machine that has none.
const WITHOUT: &str = "HELIUM_TESTS_WITHOUT_CGROUPS";

/// Whether this machine lets the agent keep the limits; if not, that must be allowed here.
fn holds(fleet: &Fleet) -> bool {
    let described = fleet.helium.run(&["describe", "deployment", "small"]).ok();
    let holds = !described.says("does not hold");
    if !holds {
        let may_lack = env::var_os(WITHOUT).is_some_and(|set| set == "1");
        assert!(may_lack, "limits do not hold here; {WITHOUT}=1 leaves out what needs them: {described}");
    }
    holds
}

/// Deletes the Deployment, so that an agent which is killed at the end of a story leaves no group on this machine.
fn delete(fleet: &Fleet) {
    fleet.helium.run_for(ROLLOUT, &["delete", "deployment", "small"]).ok();
    eventually("all are gone", ROLLOUT, || {
        let keys = fleet.consul.keys("helium/v1/assign/");
        keys.iter().all(|key| is_sentinel(key)).then_some(())
    });
}

#[test]
fn an_instance_runs_within_its_limits_over_a_restart_of_its_agent_and_another_limit_is_a_rollout() {
    let mut fleet = Fleet::of(1);
    fleet.apply(&limited("sleep 600 & wait", "memory: 64Mi, cpu: 0.5, processes: 30")).ok();
    let before = fleet.instances()[0].clone();
    let own = groups(before.pid);
    if holds(&fleet) {
        assert_eq!(own.matches(&format!("/helium/{}\n", before.id)).count(), 3, "{own}");
    }
    fleet.agent(1).kill();
    fleet.start_agent(1);
    fleet.await_phase("small", "Healthy");
    assert_eq!((fleet.instances()[0].clone(), groups(before.pid)), (before.clone(), own));

    fleet.apply(&limited("sleep 600 & wait", "memory: 64Mi, cpu: 250m, processes: 30")).ok();
    let after = eventually("another instance took its place", ROLLOUT, || {
        fleet.instances().first().filter(|one| one.id != before.id).cloned()
    });
    eventually("the first has ended", ROLLOUT, || (groups(before.pid).is_empty()).then_some(()));
    assert!(process::variable(after.pid, "HELIUM_INSTANCE").is_some());
    delete(&fleet);
}

#[test]
fn who_dies_for_lack_of_memory_is_told_as_such_and_goes_back_to_what_ran_before() {
    let fleet = Fleet::of(1);
    fleet.apply(&limited("sleep 600 & wait", "memory: 64Mi")).ok();
    let before = fleet.pids();
    assert_eq!(before.len(), 1);
    if !holds(&fleet) {
        return delete(&fleet);
    }
    let hog = "x=0123456789; i=0; while [ $i -lt 22 ]; do x=$x$x; i=$((i+1)); done; sleep 600";
    fleet.apply_only(&limited(hog, "memory: 8Mi"));
    let words = "killed for lack of memory (its limit is 8Mi)";
    eventually("the reason is told", ROLLOUT, || {
        let told = |what: &[&str]| fleet.helium.run(what).ok().says(words);
        (told(&["describe", "deployment", "small"]) || told(&["explain", "deployment/small"])).then_some(())
    });
    eventually("it went back", ROLLOUT, || {
        (fleet.pids() == before && fleet.status("small")["rollout"]["stage"] != "progressing").then_some(())
    });
    delete(&fleet);
}

#[test]
fn a_limit_that_a_machine_cannot_keep_is_seen_wherever_people_look_and_keeps_nothing_from_running() {
    let fleet = Fleet::of(1);
    // More open files than any kernel allows unless somebody has raised that.
    fleet.apply(&limited("sleep 600", "openFiles: 1073741816")).ok();
    let words = "its limit `openFiles` does not hold: the agent cannot set it: ";
    for what in [["describe", "deployment", "small"].as_slice(), &["explain", "deployment/small"]] {
        eventually("it is told", Duration::from_secs(10), || fleet.helium.run(what).ok().says(words).then_some(()));
    }
}
