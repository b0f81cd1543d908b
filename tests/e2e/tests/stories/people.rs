//! What people see and scripts can tell: exit codes, problems of files, waiting, logs.

use std::time::Duration;

use helium_e2e::{Helium, eventually};

use crate::{
    fleet::{Fleet, ROLLOUT, is_sentinel},
    specs::{deployment, with_flags},
};

#[test]
fn nothing_is_stored_when_any_document_is_wrong() {
    let fleet = Fleet::of(1);
    let wrong = deployment("bad", "1", 1, "").replace("replicas: 1", "replcias: 1");
    let output = fleet.apply(&(deployment("good", "1", 1, "") + "---\n" + &wrong)).expect_code(2);
    for words in ["replcias", "replicas", "applied.yaml"] {
        assert!(output.says(words), "{words:?} is missing\n{output}");
    }
    let specs = fleet.consul.keys("helium/v1/spec/");
    assert!(specs.iter().all(|key| is_sentinel(key)), "{specs:?}");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let nowhere = Helium::at("127.0.0.1:1");
    nowhere.run(&["get", "deployments"]).expect_code(8);
    nowhere.run(&["frobnicate"]).expect_code(2);
    let fleet = Fleet::of(1);
    fleet.helium.run(&["get", "deployment/none"]).expect_code(4);
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let wait = ["wait", "--for", "phase=Degraded", "deployment/web", "--timeout", "1s"];
    fleet.helium.run(&wait).expect_code(5);
    let never = fleet.helium.write("never.yaml", &with_flags("never", "1", 1, "--fail-health", ""));
    let output = fleet.helium.run(&["apply", "-f", &never, "--wait", "--timeout", "2s"]).expect_code(5);
    output.expect("deployment/never is not there after 2s").expect("helium explain deployment/never");
    fleet.helium.run(&["rollout", "status", "never", "--timeout", "1s"]).expect_code(5);
    fleet.helium.run(&["delete", "deployment/never", "--wait"]).ok();
    let file = fleet.helium.write("web.yaml", &deployment("web", "1", 2, ""));
    fleet.helium.run(&["diff", "-f", &file]).expect_code(1);
}

#[test]
fn a_version_that_never_becomes_healthy_is_rolled_back_at_its_deadline() {
    let fleet = Fleet::of(1);
    let short = |version: &str, flags: &str| {
        with_flags("web", version, 2, flags, "").replace("progressDeadline: 30s", "progressDeadline: 8s")
    };
    fleet.apply(&short("1", "")).ok();
    let output = fleet.apply(&short("2", "--fail-health")).expect_code(6);
    assert!(output.says("rolled back"), "{output}");
    assert_eq!((fleet.of_version("1").len(), fleet.of_version("2").len()), (2, 0));
    assert_eq!(fleet.consul.passing("web"), 2);
}

#[test]
fn an_aborted_canary_stays_aborted_until_a_person_retries() {
    let fleet = Fleet::of(1);
    let steps = crate::specs::canary("web", "[{setWeight: 50%}, {pause: {}}]");
    fleet.apply(&(deployment("web", "1", 2, "") + &steps)).ok();
    fleet.apply_only(&(deployment("web", "2", 2, "") + &steps));
    fleet.await_phase("web", "Paused");
    fleet.helium.run(&["canary", "abort", "web"]).ok();
    let status = fleet.await_phase("web", "Degraded");
    assert_eq!(status["reason"], "RolloutAborted");
    eventually("only version 1 runs", ROLLOUT, || {
        (fleet.of_version("2").is_empty() && fleet.of_version("1").len() == 2).then_some(())
    });
    fleet.helium.run(&["canary", "retry", "web"]).ok();
    fleet.await_phase("web", "Paused");
    fleet.helium.run(&["canary", "promote", "web"]).ok();
    fleet.await_phase("web", "Healthy");
    assert_eq!((fleet.of_version("1").len(), fleet.of_version("2").len()), (0, 2));
}

#[test]
fn a_controller_that_sees_no_agent_says_so() {
    let mut fleet = Fleet::empty(helium_e2e::Consul::start());
    fleet.start_controller();
    fleet.await_ready();
    fleet.apply_only(&deployment("web", "1", 1, ""));
    let status = fleet.await_phase("web", "Pending");
    assert_eq!(status["reason"], "NoAgents");
    let why = fleet.helium.run(&["explain", "deployment/web"]).ok();
    assert!(why.says("no agent has joined"), "{why}");
}

#[test]
fn what_an_instance_prints_can_be_followed() {
    let fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", 1, "")).ok();
    let mut logs = fleet.helium.start("logs", &["logs", "-f", "deployment/web", "--data-dir", &fleet.data_dir(1)]);
    logs.wait_to_say("1 | sample 1 serves on http://", Duration::from_secs(20));
    assert_eq!(logs.interrupt(Duration::from_secs(10)), 130);
}
