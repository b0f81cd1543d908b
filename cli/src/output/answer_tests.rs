//! What each request is said to have come to.

use helium_crds::status::{Hold, HoldKind};
use serde_json::json;

use super::*;

/// A rollout of 2.0.0 by a Canary of four steps.
fn rollout(step: u32, stage: Stage) -> Rollout {
    let mut rollout: Rollout = serde_json::from_value(json!({
        "id": "r", "revision": "r1-2", "version": "2.0.0", "kind": "canary", "stage": "steps", "step": step,
        "steps": [{"setWeight": "25%"}, {"soak": "10s"}, {"setWeight": "50%"}, {"pause": {}}],
        "stepStartedAt": "2026-03-01T11:59:00Z", "startedAt": "2026-03-01T11:59:00Z", "progressAt": "2026-03-01T11:59:00Z",
    }))
    .unwrap();
    rollout.stage = stage;
    rollout
}

/// A roll without steps.
fn roll(stage: Stage) -> Rollout {
    Rollout { steps: Vec::new(), ..rollout(0, stage) }
}

fn held(rollout: Rollout, reason: Option<&str>) -> Rollout {
    let (kind, since, reason) = (HoldKind::Person, rollout.started_at, reason.map(str::to_owned));
    Rollout { hold: Some(Hold { kind, since, by: None, reason, until: None, rescaled: false }), ..rollout }
}

fn status(stable: Option<&str>, rollout: Option<Rollout>) -> DeploymentStatus {
    let version = |version: &str| json!({"version": version, "revision": format!("r1-{}", &version[..1])});
    let mut status: DeploymentStatus = serde_json::from_value(json!({
        "uid": "u", "observedGeneration": 1, "phase": "Progressing", "reason": "CanaryStep", "message": "the planner's words",
        "wanted": 3, "healthy": 3, "stable": stable.map(version), "current": version("2.0.0"), "nextOrdinal": 1,
        "nextRevision": 1,
    }))
    .unwrap();
    status.rollout = rollout;
    status
}

/// What is said of a request by somebody who saw `before`, answered beside `after`.
fn said(verb: Verb, done: &str, before: Option<&Rollout>, after: &DeploymentStatus) -> String {
    let request: ControlRequest = serde_json::from_value(json!({
        "id": "q", "by": "alice", "at": "2026-03-01T12:00:00Z", "verb": verb, "rollout": before.map(|before| &before.id),
        "step": before.map(|before| before.step),
    }))
    .unwrap();
    format!("deployment/web{}", happened(done, &request, before, after))
}

#[test]
fn a_promotion_says_which_step_it_ended_and_where_that_leads() {
    let at = |step| rollout(step, Stage::Steps);
    let said = |before: &Rollout, after| said(Verb::Promote, "promoted", Some(before), &status(Some("1.0.0"), after));
    let lines = [
        said(&at(1), Some(at(2))),
        said(&at(3), Some(rollout(4, Stage::Promoting))),
        said(&at(3), Some(at(4))),
        said(&at(4), Some(rollout(4, Stage::Promoting))),
        said(&at(1), Some(rollout(1, Stage::RollingBack))),
        said(&at(1), None),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    deployment/web: step 2/4 (soak 10s) is ended; 2.0.0 is at step 3/4 (setWeight 50%)
    deployment/web: step 4/4 (pause) is ended; 2.0.0 takes the whole count
    deployment/web: step 4/4 (pause) is ended; 2.0.0 is through its steps
    deployment/web promoted: 2.0.0 takes the whole count
    deployment/web: step 2/4 (soak 10s) is ended; 2.0.0 was given up
    deployment/web: step 2/4 (soak 10s) is ended; the planner's words
    ");
}

#[test]
fn a_promotion_that_is_over_by_the_time_of_the_answer_is_told_as_one() {
    let after = status(Some("2.0.0"), None);
    let line = said(Verb::Promote, "promoted", Some(&rollout(4, Stage::Steps)), &after);
    assert_eq!(line, "deployment/web promoted: 2.0.0 takes the whole count");
}

#[test]
fn what_ends_more_or_less_than_a_step_says_so() {
    let before = rollout(1, Stage::Steps);
    let stable = |rollout| status(Some("1.0.0"), Some(rollout));
    let lines = [
        said(Verb::Skip, "sent on to its next step", Some(&before), &stable(rollout(2, Stage::Steps))),
        said(Verb::PromoteFull, "promoted", Some(&before), &stable(rollout(4, Stage::Promoting))),
        said(Verb::Promote, "promoted", None, &stable(rollout(2, Stage::Steps))),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    deployment/web: step 2/4 (soak 10s) is skipped; 2.0.0 is at step 3/4 (setWeight 50%)
    deployment/web promoted: 2.0.0 takes the whole count
    deployment/web promoted: the planner's words
    ");
}

#[test]
fn holds_and_their_ends_say_where_the_rollout_stands() {
    let steps = || rollout(1, Stage::Steps);
    let stable = |rollout| status(Some("1.0.0"), rollout);
    let lines = [
        said(Verb::Pause, "paused for 5m", Some(&steps()), &stable(Some(held(steps(), Some("lunch"))))),
        said(Verb::Pause, "paused", None, &stable(Some(held(roll(Stage::Promoting), None)))),
        said(Verb::Resume, "resumed", Some(&steps()), &stable(Some(steps()))),
        said(Verb::Resume, "resumed", Some(&steps()), &stable(Some(held(steps(), Some("the window is shut"))))),
        said(Verb::Lock, "locked", None, &stable(None)),
        said(Verb::Lock, "locked", None, &stable(Some(held(steps(), Some("locked by alice"))))),
        said(Verb::Unlock, "unlocked", None, &stable(Some(roll(Stage::Promoting)))),
        said(Verb::Unlock, "unlocked", None, &stable(None)),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    deployment/web paused for 5m: 2.0.0 stays at step 2/4 (soak 10s)
    deployment/web paused: 2.0.0 stays
    deployment/web resumed: 2.0.0 goes on at step 2/4 (soak 10s)
    deployment/web resumed, and 2.0.0 is held all the same: the window is shut
    deployment/web locked
    deployment/web locked: 2.0.0 stays at step 2/4 (soak 10s)
    deployment/web unlocked: 2.0.0 goes on
    deployment/web unlocked
    ");
}

#[test]
fn what_is_given_up_or_begun_again_says_what_becomes_of_it() {
    let before = rollout(1, Stage::Steps);
    let lines = [
        said(Verb::Abort, "aborted", Some(&before), &status(Some("1.0.0"), Some(rollout(1, Stage::RollingBack)))),
        said(Verb::Abort, "aborted", Some(&before), &status(Some("1.0.0"), Some(rollout(1, Stage::Aborted)))),
        said(Verb::Abort, "aborted", None, &status(None, Some(roll(Stage::Aborted)))),
        said(Verb::Retry, "started again", Some(&before), &status(Some("1.0.0"), Some(rollout(0, Stage::Steps)))),
        said(Verb::Retry, "started again", None, &status(Some("1.0.0"), Some(roll(Stage::Promoting)))),
        said(Verb::Restart, "restarted", None, &status(Some("1.0.0"), None)),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    deployment/web aborted: 2.0.0 is given up, and 1.0.0 takes over again
    deployment/web aborted: 2.0.0 is given up, and 1.0.0 serves
    deployment/web aborted: 2.0.0 is given up, and left as it is: there is no version to go back to
    deployment/web started again: 2.0.0 is at step 1/4 (setWeight 25%)
    deployment/web started again: 2.0.0 takes the whole count
    deployment/web restarts: every instance is replaced, 3 in all
    ");
}

#[test]
fn whoever_promotes_in_the_bake_hears_that_it_is_ended() {
    let before = rollout(4, Stage::Baking);
    for verb in [Verb::Promote, Verb::PromoteFull, Verb::Skip] {
        let line = said(verb, "promoted", Some(&before), &status(Some("2.0.0"), None));
        assert_eq!(line, "deployment/web: the bake is ended, and 2.0.0 stays");
    }
    let line =
        said(Verb::Abort, "aborted", Some(&before), &status(Some("1.0.0"), Some(rollout(4, Stage::RollingBack))));
    assert_eq!(line, "deployment/web aborted: 2.0.0 is given up, and 1.0.0 takes over again");
}
