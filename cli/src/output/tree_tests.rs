//! A rollout as a tree.

use helium_crds::instance::{Desired, Instance, InstancePhase, Report, Role};
use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

fn status(more: &serde_json::Value) -> DeploymentStatus {
    let sample = |verdict: &str, why: &str| {
        json!({"samples": [{"at": "2026-01-01T00:09:48Z", "canary": {"is": "noData"}, "verdict": verdict, "why": why}],
               "query": "q", "good": 3, "taken": 4})
    };
    let mut rollout = json!({
        "id": "a", "revision": "r1-bb", "version": "2.0.0", "kind": "canary", "stage": "steps", "step": 1,
        "steps": [{"setWeight": "20%", "soak": "10s"}, {"gate": {"kv": {"key": "release/hello"}}}, {"setWeight": "50%"}],
        "stepStartedAt": "2026-01-01T00:08:30Z", "startedAt": "2026-01-01T00:00:00Z", "progressAt": "2026-01-01T00:00:00Z",
        "weight": {"requested": 20, "canary": 1, "stable": 3},
        "analysis": {"metrics": {"errors": sample("good", "0.2 (at most 1)"), "latency": sample("failed", "1.4 times stable (at most 1.2)")}},
    });
    rollout.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let version = |version: &str, revision: &str, role: &str, desired: u32, healthy: u32| {
        json!({"version": version, "revision": revision, "role": role, "desired": desired, "assigned": desired,
               "registered": desired, "healthy": healthy})
    };
    serde_json::from_value(json!({
        "uid": "u", "observedGeneration": 1, "phase": "Paused", "reason": "AtGate",
        "message": "2.0.0 at step 2/3 (gate: release/hello = open): canary 25% (1 of 4), 1 of 1 passing",
        "wanted": 4, "healthy": 4, "current": {"version": "2.0.0", "revision": "r1-bb"}, "rollout": rollout,
        "versions": [version("1.0.0", "r1-aa", "stable", 3, 3), version("2.0.0", "r1-bb", "canary", 1, 0)],
        "waitingOn": [{"on": "gate", "what": "release/hello = open", "seen": "there is no such key"}],
        "nextOrdinal": 1, "nextRevision": 1,
    }))
    .unwrap()
}

fn instance(id: &str, revision: &str, healthy: bool, failing: Option<&str>) -> InstanceView {
    let healthy_since = healthy.then(|| "2026-01-01T00:05:00Z".parse().unwrap());
    let created_at = "2026-01-01T00:00:00Z".parse().unwrap();
    let deployment = helium_crds::ObjectKey::new("default", "hello");
    let instance = Instance {
        id: id.into(),
        deployment: deployment.clone(),
        uid: "u".to_owned(),
        revision: revision.into(),
        version: String::new(),
        node: "n1".into(),
        desired: Desired::Run,
        role: Role::Stable,
        created_at,
        healthy_since,
        check_index: 0,
        has_been_healthy: healthy,
        serves_since: None,
        node_missing_since: None,
    };
    let report = Report {
        id: id.into(),
        deployment,
        node: "n1".into(),
        phase: InstancePhase::Running,
        message: None,
        address: String::new(),
        ports: std::collections::BTreeMap::new(),
        pid: None,
        restarts: 0,
        failing: failing.iter().map(|said| ("up".to_owned(), (*said).to_owned())).collect(),
        checks: Vec::new(),
        unheld: std::collections::BTreeMap::new(),
        jobs: std::collections::BTreeMap::new(),
        conditions: Vec::new(),
        since: created_at,
    };
    InstanceView { instance, report: Some(report) }
}

fn drawn(status: &DeploymentStatus) -> String {
    let instances = [
        instance("hello-1-aa", "r1-aa", true, None),
        instance("hello-5-bb", "r1-bb", false, Some("GET /health -> 500")),
    ];
    tree(status, &instances, now()).iter().map(|line| line.text.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_canary_is_shown_with_its_steps_its_instances_and_its_numbers() {
    insta::assert_snapshot!(drawn(&status(&json!({}))), @r"
    ├ 2.0.0 at step 2/3 (gate: release/hello = open): canary 25% (1 of 4), 1 of 1 passing
    │   stands at a gate (release/hello = open): there is no such key
    ├ steps
    │   ✓ 1 setWeight 20%, soak 10s
    │   ▶ 2 gate: release/hello = open  for 1m30s
    │     3 setWeight 50%
    ├ 1.0.0 stable  3/3 healthy
    │   hello-1-aa  n1  healthy for 5m
    ├ 2.0.0 canary  0/1 healthy, 25% (20% asked for)
    │   hello-5-bb  n1  GET /health -> 500
    └ metrics
        errors  0.2 (at most 1)  good; 3 of 4 good at this weight; 12s ago
        latency  1.4 times stable (at most 1.2)  failed; 3 of 4 good at this weight; 12s ago
    ");
}

#[test]
fn a_canary_that_was_given_up_shows_where() {
    let abort = json!({"stage": "rollingBack", "abort": {"cause": "MetricFailed", "message": "m", "step": 1, "steps": 3, "at": "2026-01-01T00:09:00Z"}});
    let shown = drawn(&status(&abort));
    assert!(shown.contains("✓ 1 setWeight 20%, soak 10s\n") && shown.contains("✗ 2 gate"), "{shown}");
}

#[test]
fn a_limit_that_does_not_hold_is_told_of_a_healthy_instance_too() {
    let mut view = instance("hello-1-aa", "r1-aa", true, None);
    let why = "this system shows the agent no control groups for memory".to_owned();
    view.report.as_mut().unwrap().unheld.insert("memory".to_owned(), why);
    let lines = tree(&status(&json!({})), &[view], now());
    let line = lines.iter().find(|line| line.text.contains("hello-1-aa")).unwrap();
    assert_eq!(
        line.text.trim_start_matches(['│', ' ']),
        "hello-1-aa  n1  healthy for 5m; its limit `memory` does not hold: this system shows the agent no control groups for memory"
    );
}
