//! Settings of notifications: what they mean, and what people see when they are wrong.

use std::fs;

use helium_crds::{
    ObjectKey, Source,
    event::{Event, EventReason, Severity},
    notification::{Format, Notifications},
};
use jiff::Timestamp;

use crate::here;

fn read(text: &str) -> Notifications {
    Notifications::parse(&Source::new("notify.yaml", text)).unwrap_or_else(|report| panic!("{}", report.render(false)))
}

fn wrong(text: &str) -> String {
    Notifications::parse(&Source::new("notify.yaml", text)).expect_err(text).render(false)
}

fn one(more: &str) -> String {
    format!("notifications:\n  - name: deploys\n    webhook: {{url: \"http://localhost/\"}}\n{more}")
}

fn event(severity: Severity, reason: EventReason) -> Event {
    Event { at: Timestamp::UNIX_EPOCH, severity, reason: reason.to_string(), message: String::new() }
}

#[test]
fn a_receiver_without_filters_is_told_of_everything() {
    let settings = read(&one(""));
    let [notification] = settings.notifications.as_slice() else { panic!("{settings:?}") };
    assert_eq!((notification.severity, notification.webhook.format), (Severity::Normal, Format::Json));
    for reason in EventReason::ALL {
        for severity in [Severity::Normal, Severity::Warning] {
            assert!(notification.wants(&ObjectKey::new("default", "web"), &event(severity, *reason)));
        }
    }
}

#[test]
fn every_filter_has_to_let_an_event_through() {
    let filters = "    events: [RolloutAborted, RolloutPaused]\n    severity: warning\n    namespaces: [shop]\n    deployments: [web, api]\n";
    let settings = read(&one(filters));
    let wants = |namespace: &str, name: &str, severity, reason| {
        settings.notifications[0].wants(&ObjectKey::new(namespace, name), &event(severity, reason))
    };
    assert!(wants("shop", "api", Severity::Warning, EventReason::RolloutAborted));
    assert!(!wants("shop", "api", Severity::Normal, EventReason::RolloutPaused));
    assert!(!wants("shop", "api", Severity::Warning, EventReason::RollbackFailed));
    assert!(!wants("shop", "apis", Severity::Warning, EventReason::RolloutAborted));
    assert!(!wants("default", "web", Severity::Warning, EventReason::RolloutAborted));
}

#[test]
fn an_event_of_a_job_is_for_those_who_are_told_of_whoever_takes_its_builds() {
    let settings = read(&one("    namespaces: [shop]\n    deployments: [web, api]\n"));
    let (job, found) = (ObjectKey::new("shop", "main"), event(Severity::Normal, EventReason::BuildFound));
    let wants = |names: &[&str]| {
        let takers: Vec<ObjectKey> = names.iter().map(|name| ObjectKey::new("shop", *name)).collect();
        settings.notifications[0].wants_of_job(&job, &takers, &found)
    };
    assert!(wants(&["other", "api"]) && !wants(&["other"]) && !wants(&[]));
    assert!(read(&one("")).notifications[0].wants_of_job(&job, &[], &found), "without a filter all are told");
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_was_meant() {
    let events = wrong(&one("    events: [CanaryPromotd, Frobnicated]\n    severity: info\n"));
    insta::assert_snapshot!("words", events);
    let webhook = "notifications:\n  - name: Deploys\n    webhook: {url: \"ftp://here\", urlFrom: {file: a}, retries: 3}\n  - webhook: {auth: {bearer: s3cret}}\n";
    insta::assert_snapshot!("webhook", wrong(webhook));
    let names = "notifications:\n  - {name: a, webhook: {url: \"http://a\"}}\n  - {name: a, webhook: {url: \"http://b\"}, events: []}\n";
    insta::assert_snapshot!("names", wrong(names));
    insta::assert_snapshot!("nothing", [wrong(""), wrong("notifications: []"), wrong("receivers: {}")].join("\n\n"));
    insta::assert_snapshot!("two", wrong(&format!("{0}---\n{0}", one(""))));
}

#[test]
fn the_guide_names_every_event_and_shows_settings_that_can_be_read() {
    let guide = fs::read_to_string(here("../docs/guides/notifications.md")).unwrap();
    let block = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(read(block).notifications.len() > 1);
    for reason in EventReason::ALL {
        let row = format!("| `{reason}` | {} |", reason.meaning());
        assert!(guide.contains(&row), "{row}");
    }
}
