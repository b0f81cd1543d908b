//! Steering: what people ask of rollouts and canaries, what they are told, and what comes of it.

use std::time::Duration;

use helium_e2e::{Output, eventually};

use crate::{
    fleet::{Fleet, ROLLOUT},
    specs::{canary, deployment},
};

/// `web` in a version, of two instances, whose canary of one waits for a person.
fn web(version: &str) -> String {
    deployment("web", version, 2, "") + &canary("web", "[{setWeight: 50%}, {pause: {}}]")
}

/// Tries a version out until its canary waits for a person.
#[track_caller]
fn try_out(fleet: &Fleet, version: &str) {
    fleet.apply_only(&web(version));
    waits(fleet, version);
}

/// Waits until the canary of a version waits for a person.
#[track_caller]
fn waits(fleet: &Fleet, version: &str) {
    eventually(&format!("the canary of {version} waits"), ROLLOUT, || {
        let status = fleet.status("web");
        (status["reason"] == "PausedAtStep" && status["rollout"]["version"] == version).then_some(())
    });
}

#[test]
fn a_canary_is_held_let_go_promoted_aborted_and_tried_again() {
    let fleet = Fleet::of(1);
    let run = |arguments: &[&str]| -> Output { fleet.helium.run(arguments) };
    let says = |arguments: &[&str], line: &str| assert_eq!(run(arguments).ok().stdout, format!("{line}\n"));
    // What follows may have come further by the time of the answer.
    let begins = |arguments: &[&str], line: &str| {
        let said = run(arguments).ok().stdout;
        assert!(said.starts_with(line), "{said}");
    };
    fleet.apply(&web("1")).ok();
    says(&["canary", "abort", "web"], "deployment/web unchanged: no rollout is under way");
    run(&["canary", "promote", "web"]).expect_code(7).expect("no rollout is under way");
    run(&["rollout", "pause", "none"]).expect_code(4);

    try_out(&fleet, "2");
    run(&["canary", "retry", "web"]).expect_code(7).expect("was not aborted");
    says(&["rollout", "pause", "web", "--reason", "lunch"], "deployment/web paused: 2 stays at step 2/2 (pause)");
    let held = run(&["rollout", "status", "web", "--no-watch"]).ok();
    assert!(held.says("deployment/web Paused: ") && held.says("lunch"), "{held}");
    says(&["rollout", "resume", "web"], "deployment/web resumed: 2 goes on at step 2/2 (pause)");
    says(&["canary", "promote", "web"], "deployment/web: step 2/2 (pause) is ended; 2 takes the whole count");
    fleet.helium.run_for(ROLLOUT, &["rollout", "status", "web"]).ok().expect("2/2 healthy");
    assert_eq!(fleet.of_version("2").len(), 2);

    try_out(&fleet, "3");
    says(&["canary", "promote", "web", "--full"], "deployment/web promoted: 3 takes the whole count");
    fleet.helium.run_for(ROLLOUT, &["rollout", "status", "web"]).ok();
    assert_eq!(fleet.of_version("3").len(), 2);

    try_out(&fleet, "4");
    begins(&["canary", "abort", "web"], "deployment/web aborted: 4 is given up, and 3 ");
    fleet.await_phase("web", "Degraded");
    says(&["canary", "abort", "web"], "deployment/web unchanged: 4 is aborted already; 3 serves");
    run(&["canary", "promote", "web"]).expect_code(7).expect("retry it first");
    let late = fleet.helium.run_for(ROLLOUT, &["rollout", "status", "web"]).expect_code(6);
    assert!(late.says("rolled back: 3 is 2/2 healthy\n") && !late.says("throughout"), "{late}");
    begins(&["canary", "retry", "web"], "deployment/web started again: 4 is at step ");
    fleet.await_phase("web", "Paused");
    begins(&["canary", "abort", "web"], "deployment/web aborted: 4 is given up, and 3 ");
    fleet.await_phase("web", "Degraded");

    // The way back is a new version to the Canary, too.
    says(&["rollout", "undo", "web", "--to-revision", "2"], "deployment/web returned to revision 2 (4 -> 2)");
    waits(&fleet, "2");
    says(&["canary", "promote", "web"], "deployment/web: step 2/2 (pause) is ended; 2 takes the whole count");
    fleet.helium.run_for(ROLLOUT, &["rollout", "status", "web"]).ok().expect("promoted 2: 2/2 healthy");
    assert_eq!(fleet.of_version("2").len(), 2);
}

#[test]
fn waiting_ends_when_what_is_waited_for_has_come() {
    let fleet = Fleet::of(1);
    let mut created =
        fleet.helium.start("created", &["wait", "deployment/web", "--for", "created", "--timeout", "60s"]);
    let file = fleet.helium.write("web.yaml", &deployment("web", "1", 1, ""));
    fleet.helium.run(&["apply", "-f", &file]).ok();
    assert_eq!(created.wait(Duration::from_secs(20)), 0);
    let wait = |what: &str| {
        fleet.helium.run_for(ROLLOUT, &["wait", "deployment/web", "--timeout", "60s", "--for", what]).ok().stdout
    };
    assert_eq!(wait("healthy"), "deployment/web Healthy\n");
    assert_eq!(wait("condition=Available"), "deployment/web Available\n");
    assert_eq!(wait("condition=ManualCounts=false"), "deployment/web not ManualCounts\n");
    let mut deleted =
        fleet.helium.start("deleted", &["wait", "deployment/web", "--for", "deleted", "--timeout", "60s"]);
    fleet.helium.run(&["delete", "deployment/web"]).ok();
    assert_eq!(deleted.wait(Duration::from_mins(1)), 0);
    fleet.helium.run(&["wait", "deployment/web", "--for", "healthy"]).expect_code(4);
}
