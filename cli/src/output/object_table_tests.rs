//! Objects as rows, as people see them.

use helium_crds::status::{Reason, Weight};
use serde_json::{Value, json};

use super::*;
use crate::output::Console;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn stored(kind: &str, namespace: &str, name: &str, spec: &Value) -> Stored {
    serde_json::from_value(json!({
        "apiVersion": "helium.dev/v1", "kind": kind,
        "metadata": {"namespace": namespace, "name": name, "uid": "u", "createdAt": "2026-03-01T11:58:30Z"},
        "spec": spec,
    }))
    .unwrap()
}

fn deployment_of(namespace: &str, name: &str) -> Stored {
    let template = json!({"version": "1.0.0", "exec": {"command": ["run"]}});
    stored("Deployment", namespace, name, &json!({"replicas": 3, "template": template}))
}

/// A status of three wanted instances of 1.0.0.
fn status(reason: Reason, healthy: u32, rollout: Option<Rollout>) -> DeploymentStatus {
    let version = json!({"version": "1.0.0", "revision": "r1-1"});
    let mut status: DeploymentStatus = serde_json::from_value(json!({
        "uid": "u", "observedGeneration": 1, "phase": reason.phase(), "reason": reason, "message": "the planner's words",
        "wanted": 3, "healthy": healthy, "stable": version, "current": version, "nextOrdinal": 1, "nextRevision": 1,
    }))
    .unwrap();
    status.rollout = rollout;
    status
}

/// A rollout of 2.0.0 by a Canary of four steps.
fn rollout(step: u32, stage: Stage, weight: Option<Weight>) -> Rollout {
    let mut rollout: Rollout = serde_json::from_value(json!({
        "id": "r", "revision": "r1-2", "version": "2.0.0", "kind": "canary", "stage": "steps", "step": step,
        "steps": [{"setWeight": "25%"}, {"soak": "10s"}, {"setWeight": "50%"}, {"pause": {}}],
        "stepStartedAt": "2026-03-01T11:59:00Z", "startedAt": "2026-03-01T11:59:00Z", "progressAt": "2026-03-01T11:59:00Z",
    }))
    .unwrap();
    (rollout.stage, rollout.weight) = (stage, weight);
    rollout
}

fn shown(kind: Kind, rows: &[(Stored, Option<DeploymentStatus>)], wide: bool, namespace: bool) -> String {
    let objects: Vec<&Stored> = rows.iter().map(|(stored, _)| stored).collect();
    let of = |(stored, status): &(Stored, Option<DeploymentStatus>)| Some((stored.key(), status.clone()?));
    let statuses: BTreeMap<ObjectKey, DeploymentStatus> = rows.iter().filter_map(of).collect();
    let columns = Columns { wide, namespace, now: now() };
    table(kind, &objects, &statuses, &BTreeMap::new(), columns).lines(&Console::plain()).join("\n")
}

/// A status under counts by hand, of so many instances of each version.
fn by_hand(counts: &[(&str, u32)]) -> DeploymentStatus {
    let version = |(version, count): &(&str, u32)| {
        json!({
            "version": version, "revision": format!("r1-{version}"), "role": "stable", "desired": count, "assigned": count,
            "registered": count, "healthy": count,
        })
    };
    let mut status = status(Reason::ManualCountsHeld, 3, None);
    status.versions = serde_json::from_value(counts.iter().map(version).collect()).unwrap();
    status.conditions = serde_json::from_value(json!([{
        "type": "ManualCounts", "status": true, "reason": "VersionsGiven", "message": "", "lastTransitionTime": now(),
    }]))
    .unwrap();
    status
}

#[test]
fn under_counts_by_hand_every_version_that_runs_is_told_with_its_count() {
    let rows = [
        (deployment_of("default", "hello"), Some(by_hand(&[("1.0.0", 2), ("2.0.0", 1), ("3.0.0", 0)]))),
        (deployment_of("default", "none"), Some(by_hand(&[("1.0.0", 0)]))),
    ];
    insta::assert_snapshot!(shown(Kind::Deployment, &rows, false, false), @r"
    NAME    PHASE     HEALTHY   VERSION              AGE
    hello   Healthy   3/3       1.0.0 x2, 2.0.0 x1   1m30s
    none    Healthy   3/3       1.0.0                1m30s
    ");
}

fn deployments() -> Vec<(Stored, Option<DeploymentStatus>)> {
    let weight = Some(Weight { requested: 25, canary: 1, stable: 3, preview: 0, service_weight: None });
    vec![
        (deployment_of("default", "hello"), Some(status(Reason::AllHealthy, 3, None))),
        (deployment_of("default", "new"), None),
        (deployment_of("team", "web"), Some(status(Reason::CanaryStep, 4, Some(rollout(1, Stage::Steps, weight))))),
        (
            deployment_of("team", "worse"),
            Some(status(Reason::RolloutAborted, 3, Some(rollout(1, Stage::Aborted, weight)))),
        ),
    ]
}

#[test]
fn deployments_are_told_by_phase_count_and_version() {
    insta::assert_snapshot!(shown(Kind::Deployment, &deployments(), false, false), @r"
    NAME    PHASE         HEALTHY   VERSION          AGE
    hello   Healthy       3/3       1.0.0            1m30s
    new     Pending       0/3       1.0.0            1m30s
    web     Progressing   4/3       1.0.0 -> 2.0.0   1m30s
    worse   Degraded      3/3       1.0.0            1m30s
    ");
}

#[test]
fn wide_rows_tell_why_and_under_which_service() {
    insta::assert_snapshot!(shown(Kind::Deployment, &deployments(), true, true), @r"
    NAMESPACE   NAME    PHASE         HEALTHY   VERSION          AGE     REASON           SERVICE      MESSAGE
    default     hello   Healthy       3/3       1.0.0            1m30s   AllHealthy       hello        the planner's words
    default     new     Pending       0/3       1.0.0            1m30s                    new
    team        web     Progressing   4/3       1.0.0 -> 2.0.0   1m30s   CanaryStep       web-team     the planner's words
    team        worse   Degraded      3/3       1.0.0            1m30s   RolloutAborted   worse-team   the planner's words
    ");
}

#[test]
fn canaries_are_told_by_step_and_by_the_weight_that_was_asked_for_and_had() {
    let steps = json!({"steps": [{"setWeight": "10%"}, {"soak": "10s"}, {"setReplicas": 2}, {"pause": {"promoteAfter": "1h"}}]});
    let canary = |name: &str| stored("Canary", "default", name, &steps);
    let of = |stage, step, weight| Some(status(Reason::CanaryStep, 4, Some(rollout(step, stage, weight))));
    let rows = [
        (canary("idle"), Some(status(Reason::AllHealthy, 3, None))),
        (
            canary("exact"),
            of(Stage::Steps, 1, Some(Weight { requested: 25, canary: 1, stable: 3, preview: 0, service_weight: None })),
        ),
        (
            canary("rounded"),
            of(Stage::Steps, 0, Some(Weight { requested: 10, canary: 1, stable: 3, preview: 0, service_weight: None })),
        ),
        (canary("through"), of(Stage::Promoting, 4, None)),
        (canary("given-up"), of(Stage::Aborted, 1, None)),
    ];
    insta::assert_snapshot!(shown(Kind::Canary, &rows, true, false), @r"
    NAME       STEP        WEIGHT              VERSION   AGE     STEPS
    idle       -           -                   -         1m30s   setWeight 10%, soak 10s, setReplicas 2, pause, promoteAfter 1h
    exact      2/4         25% (1 of 4)        2.0.0     1m30s   setWeight 10%, soak 10s, setReplicas 2, pause, promoteAfter 1h
    rounded    1/4         10% (1 of 4, 25%)   2.0.0     1m30s   setWeight 10%, soak 10s, setReplicas 2, pause, promoteAfter 1h
    through    promoting   -                   2.0.0     1m30s   setWeight 10%, soak 10s, setReplicas 2, pause, promoteAfter 1h
    given-up   aborted     -                   2.0.0     1m30s   setWeight 10%, soak 10s, setReplicas 2, pause, promoteAfter 1h
    ");
}
