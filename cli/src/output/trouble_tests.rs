//! What is said of instances that are not as they should be.

use helium_crds::condition::ConditionStatus;
use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

fn condition(kind: Kind, reason: &str, message: &str) -> Condition {
    let status = match kind {
        Kind::CrashLoop | Kind::Maintenance => ConditionStatus::True,
        _ => ConditionStatus::False,
    };
    let since = "2026-01-01T00:08:00Z".parse().unwrap();
    Condition { kind, status, reason: reason.to_owned(), message: message.to_owned(), since }
}

fn view(conditions: Vec<Condition>) -> InstanceView {
    let (id, at) = ("hello-1-aa", "2026-01-01T00:00:00Z");
    let instance = serde_json::from_value(json!({
        "id": id, "deployment": {"namespace": "default", "name": "hello"}, "uid": "u", "revision": "r1-aa", "version": "1", "node": "n1",
        "desired": "run", "role": "stable", "createdAt": at, "hasBeenHealthy": false,
    }));
    let report: Report = serde_json::from_value(json!({
        "id": id, "deployment": {"namespace": "default", "name": "hello"}, "node": "n1", "phase": "failed", "since": at,
    }))
    .unwrap();
    InstanceView { instance: instance.unwrap(), report: Some(Report { conditions, ..report }) }
}

fn all() -> Vec<Condition> {
    vec![
        condition(Kind::Ready, "Failed", "the package was not installed"),
        condition(Kind::PackageReady, reason::PACKAGE_FAILED, "it has the sha256 00, and not 11"),
        condition(Kind::ConfigValid, reason::CONFIG_INVALID, "nobody gives `port` (conf/a.tera:1:1)"),
        condition(Kind::CrashLoop, "FailedInARow", "exit status 1"),
        condition(Kind::Registered, reason::REFUSED, "Permission denied"),
        condition(Kind::ConsulReachable, "CallsFail", "no answer within 3s"),
        condition(Kind::LimitsHold, "NotHeld", "`cpu`: no control groups; `memory`: no control groups"),
        condition(Kind::Maintenance, reason::ASKED, "a new disk"),
    ]
}

#[test]
fn each_condition_that_is_not_as_it_should_be_is_a_line_with_since_when_and_what_helps() {
    let each: Vec<String> = all().into_iter().flat_map(|one| lines(&view(vec![one]), now())).collect();
    insta::assert_snapshot!(each.join("\n"), @r"
    hello-1-aa on n1: without its package for 2m: it has the sha256 00, and not 11; put right `template.package`, what is at its URL, or what the node lacks: it is tried again by itself
    hello-1-aa on n1: without valid files for 2m: nobody gives `port` (conf/a.tera:1:1); put right the values or the templates; helium logs hello --instance hello-1-aa on n1 shows more
    hello-1-aa on n1: in a crash loop for 2m: exit status 1; helium logs hello --instance hello-1-aa on n1 shows what it says
    hello-1-aa on n1: refused by Consul for 2m: Permission denied; helium agent verify on n1 shows what its agent lacks
    hello-1-aa on n1: without an answer of Consul for 2m: no answer within 3s; helium agent verify on n1 shows what its agent lacks
    hello-1-aa on n1: its limit `cpu` does not hold: no control groups; its limit `memory` does not hold: no control groups (for 2m); give its agent what it takes, or leave the limit out
    hello-1-aa on n1: in maintenance for 2m: a new disk; helium node maintenance off n1 --instance hello-1-aa ends it
    ");
}

#[test]
fn one_that_cannot_be_started_for_lack_of_its_package_is_told_once_and_one_that_is_to_go_not_at_all() {
    let mut view = view(all().drain(1..4).collect());
    assert!(!lines(&view, now()).join("\n").contains("crash loop"));
    view.instance.desired = Desired::Stop;
    assert!(lines(&view, now()).is_empty());
}

#[test]
fn what_is_told_already_is_not_told_beside_it() {
    let view = view(vec![
        condition(Kind::CrashLoop, "FailedInARow", "exit status 1"),
        condition(Kind::Maintenance, reason::NODE_ASKED, "a new disk"),
    ]);
    assert_eq!(beside(&view, &["failed: exit status 1".to_owned()]), ["in maintenance: a new disk"]);
    let waiting = |why: &str| WaitingOn::Unhealthy {
        version: "1".to_owned(),
        instance: "hello-1-aa".into(),
        why: why.to_owned(),
    };
    let views = [view];
    assert!(tells(&views, &waiting("exit status 1")) && !tells(&views, &waiting("GET /health -> 500")));
    assert!(tells(&views, &waiting("maintenance: helium: a new disk")));
}

#[test]
fn what_ends_a_maintenance_is_next_unless_something_else_is_wrong() {
    let own = view(vec![condition(Kind::Maintenance, reason::ASKED, "odd")]);
    let node = view(vec![condition(Kind::Maintenance, reason::NODE_ASKED, "a new disk")]);
    assert_eq!(
        end_of_maintenance(&[own.clone(), view(Vec::new())]).as_deref(),
        Some("helium node maintenance off n1 --instance hello-1-aa ends the maintenance")
    );
    assert_eq!(
        end_of_maintenance(&[node.clone(), node.clone()]).as_deref(),
        Some("helium node maintenance off n1 ends the maintenance")
    );
    assert_eq!(
        end_of_maintenance(&[own.clone(), node]).as_deref(),
        Some("helium node maintenance off n1, and 1 more as above")
    );
    assert_eq!(end_of_maintenance(&[own, view(vec![condition(Kind::CrashLoop, "FailedInARow", "no")])]), None);
    assert_eq!(end_of_maintenance(&[view(Vec::new())]), None);
}

#[test]
fn logs_are_no_help_where_no_process_has_begun() {
    let (package, config) = (view(all().drain(1..2).collect()), view(all().drain(2..4).collect()));
    assert!(is_before_any_start(&[package.clone(), config]));
    assert!(!is_before_any_start(&[package, view(vec![condition(Kind::CrashLoop, "FailedInARow", "no")])]));
    assert!(!is_before_any_start(&[view(Vec::new())]));
}
