//! What `helium explain` says of statuses.

use helium_crds::{
    DeploymentStatus, RevisionId,
    control::{ControlAnswer, Verb},
    status::{Condition, ConditionKind, Reason, VersionRef, WaitingOn},
};
use jiff::{SignedDuration, Timestamp};

use super::explain;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn status(reason: Reason, message: &str, waiting_on: Vec<WaitingOn>) -> DeploymentStatus {
    let current = VersionRef { version: "3.0.0".to_owned(), revision: RevisionId::from("r1-3") };
    DeploymentStatus {
        uid: "u".to_owned(),
        observed_generation: 3,
        phase: reason.phase(),
        reason,
        message: message.to_owned(),
        wanted: 3,
        healthy: 3,
        conditions: Vec::new(),
        stable: None,
        current,
        rollout: None,
        versions: Vec::new(),
        waiting_on,
        control: Vec::new(),
        next_ordinal: 1,
        next_revision: 1,
        written: None,
        served: Vec::new(),
        lock: None,
        restart_before: None,
    }
}

fn text(generation: u64, status: Option<&DeploymentStatus>) -> String {
    explain("hello", generation, status, now()).join("\n")
}

#[test]
fn an_aborted_rollout_says_what_failed_and_what_can_be_done() {
    let message = "3.0.0 aborted at step 1/4: 0 of 1 canary passing (needs 1)";
    let status = status(Reason::RolloutAborted, message, vec![WaitingOn::Fix { version: "3.0.0".to_owned() }]);
    insta::assert_snapshot!(text(3, Some(&status)), @r"
    Degraded: 3.0.0 aborted at step 1/4: 0 of 1 canary passing (needs 1).
    Next: apply a fix, or helium canary retry hello
    ");
}

#[test]
fn a_request_that_cannot_be_read_is_told_for_as_long_as_it_stands() {
    let mut status = status(Reason::AllHealthy, "1.0.0: 3/3 healthy", Vec::new());
    let answer = ControlAnswer {
        id: "a".to_owned(),
        verb: None,
        by: "bob".to_owned(),
        reason: None,
        at: now(),
        refused: Some(
            "helium/v1/spec/0/default/deployment/hello/control: requests[0]: missing field `verb`".to_owned(),
        ),
    };
    let answered = ControlAnswer { id: "b".to_owned(), verb: Some(Verb::Promote), ..answer.clone() };
    status.control.extend([answer, answered]);
    insta::assert_snapshot!(text(3, Some(&status)), @r"
    Healthy: 1.0.0: 3/3 healthy.
      refused: a request by bob cannot be read: helium/v1/spec/0/default/deployment/hello/control: requests[0]: missing field `verb`
    ");
}

#[test]
fn a_lock_is_told_while_nothing_is_under_way() {
    let mut status = status(Reason::AllHealthy, "1.0.0: 3/3 healthy", Vec::new());
    status.conditions.push(Condition {
        kind: ConditionKind::Locked,
        status: true,
        reason: "Shut".to_owned(),
        message: "locked by alice: audit".to_owned(),
        last_transition_time: now(),
    });
    insta::assert_snapshot!(text(3, Some(&status)), @r"
    Healthy: 1.0.0: 3/3 healthy.
      no rollout may start: locked by alice: audit
    ");
}

#[test]
fn every_wait_is_told_with_its_numbers() {
    let soon = now() + SignedDuration::from_secs(7);
    let id = |text: &str| text.into();
    let version = || "3.0.0".to_owned();
    let waiting = vec![
        WaitingOn::Place { instances: 2, why: "web1: port 80 is taken".to_owned() },
        WaitingOn::Starting { version: version(), count: 2, instances: vec![id("hello-4-aa"), id("hello-5-bb")] },
        WaitingOn::Unhealthy { version: version(), instance: id("hello-6-cc"), why: "GET /health -> 500".to_owned() },
        WaitingOn::MinHealthyTime { instances: 1, until: soon },
        WaitingOn::Soak { until: soon },
        WaitingOn::Canary { passing: 0, instances: 1, needed: 1 },
        WaitingOn::Available { available: 2, needed: 3 },
        WaitingOn::Weights { weighed: 3, instances: 4 },
        WaitingOn::Stopping { version: version(), instances: 1 },
        WaitingOn::Sight { instance: id("hello-7-dd"), node: "web2".into(), lost_at: Some(soon) },
    ];
    insta::assert_snapshot!(text(3, Some(&status(Reason::CanaryStep, "canary of 3.0.0 at step 1/4", waiting))), @r"
    Progressing: canary of 3.0.0 at step 1/4.
      waits for a place for 2 instances: web1: port 80 is taken
      waits for 2 instances of 3.0.0 to become healthy: hello-4-aa, hello-5-bb
      hello-6-cc (3.0.0) is unhealthy: GET /health -> 500
      waits until 1 instance has been healthy for minHealthyTime: 7s to go
      soaks: 7s to go
      0 of 1 canary passing (needs 1)
      keeps old instances until new ones are available: 2 available, 3 must stay
      waits for Consul to have the weights of all: 3 of 4
      waits for 1 instance of 3.0.0 to stop
      cannot see hello-7-dd on web2, which counts as lost in 7s
    Next: wait, or helium canary promote hello, or helium canary abort hello
    ");
}

#[test]
fn what_is_kept_on_a_way_back_are_not_the_old_instances() {
    let waiting = vec![WaitingOn::Available { available: 2, needed: 3 }];
    let mut status = status(Reason::RollingBack, "3.0.0 aborted: alice asked for it", waiting);
    status.stable = Some(VersionRef { version: "2.0.0".to_owned(), revision: RevisionId::from("r1-2") });
    let rollout = |kind: &str, stage: &str| {
        serde_json::from_value(serde_json::json!({
            "id": "r", "revision": "r1-3", "version": "3.0.0", "kind": kind, "stage": stage, "step": 0, "steps": [],
            "stepStartedAt": now(), "startedAt": now(), "progressAt": now(),
        }))
        .unwrap()
    };
    let back = "  keeps the others until those of 2.0.0 are available: 2 available, 3 must stay";
    let forth = "  keeps old instances until new ones are available: 2 available, 3 must stay";
    for (kind, stage, line) in
        [("canary", "rollingBack", back), ("return", "promoting", back), ("canary", "promoting", forth)]
    {
        status.rollout = Some(rollout(kind, stage));
        assert_eq!(explain("hello", 3, Some(&status), now())[1], line, "{kind} {stage}");
    }
}

#[test]
fn an_answer_to_an_older_spec_says_so() {
    let status = status(Reason::AllHealthy, "3 of 3 healthy", Vec::new());
    insta::assert_snapshot!(text(4, Some(&status)), @r"
    No controller has seen generation 4 yet; this is its answer to generation 3:
    Healthy: 3 of 3 healthy.
    ");
}

#[test]
fn an_object_that_no_controller_has_seen_says_how_to_get_one() {
    insta::assert_snapshot!(text(1, None), @r"
    Pending: no controller has looked at it yet.
    Next: start one with helium controller, or look at helium doctor
    ");
}
