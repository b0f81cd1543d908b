//! Locks, `suspend`, schedules and a stable version that is not well: what keeps a rollout from starting and from coming forward.

use helium_crds::{
    control::{ControlRequest, Verb},
    deployment::Suspend,
    status::{ConditionKind, Reason, Stage, WaitingOn},
};
use serde_json::json;

use crate::model::{Model, canary_of, seconds, soak, weight};

fn canary() -> Model {
    Model::new(4, 1, 0).with_canary(vec![weight(25), soak(10), weight(50), soak(10)]).settled()
}

fn lock(model: &mut Model, length: Option<i64>, reason: &str) {
    model.ask_with(Verb::Lock, |request: &mut ControlRequest| {
        request.until = length.map(|length| request.at + seconds(length));
        request.reason = Some(reason.to_owned());
    });
}

fn locked(model: &Model) -> Option<bool> {
    let conditions = &model.status().conditions;
    conditions.iter().find(|condition| condition.kind == ConditionKind::Locked).map(|condition| condition.status)
}

#[test]
fn a_lock_lets_no_rollout_start_until_it_is_taken_off() {
    let mut model = canary();
    lock(&mut model, None, "audit");
    model.run(1);
    assert_eq!((model.reason(), locked(&model)), (Reason::AllHealthy, Some(true)), "what runs is well");
    model.apply_version("v2");
    model.run(600);
    assert_eq!((model.reason(), model.live("v2"), model.live("v1")), (Reason::Locked, 0, 4));
    assert_eq!(model.message(), "v2 held: locked by alice: audit");
    assert_eq!(model.status().waiting_on, [WaitingOn::Shut { why: "locked by alice: audit".to_owned(), until: None }]);
    model.ask(Verb::Unlock);
    model.run_until(120, |model| model.live("v2") == 4 && model.reason() == Reason::AllHealthy);
    assert_eq!(locked(&model), Some(false));
}

#[test]
fn a_lock_for_a_time_ends_by_itself_and_its_time_counts_against_no_deadline() {
    let mut model = canary();
    model.apply_version("v2");
    model.run_until(30, |model| model.at_step() == Some(1));
    lock(&mut model, Some(300), "lunch");
    model.run(290);
    assert_eq!((model.reason(), model.at_step(), model.live("v2")), (Reason::Locked, Some(1), 1));
    model.run_until(120, |model| model.live("v2") == 4 && model.reason() == Reason::AllHealthy);
    assert!(model.events.contains(&"LockEnded".to_owned()));
    assert!(!model.events.contains(&"RolloutAborted".to_owned()));
}

#[test]
fn what_fails_under_a_lock_goes_back_and_an_abort_is_heard() {
    let mut model = canary();
    model.apply_version("v2");
    model.run_until(30, |model| model.at_step() == Some(1));
    lock(&mut model, None, "audit");
    model.run(5);
    model.bad.insert("v2".to_owned());
    model.run_until(60, |model| model.reason() == Reason::RolloutAborted);
    assert_eq!((model.live("v1"), model.live("v2")), (4, 0));

    let mut model = canary();
    model.apply_version("v2");
    model.run_until(30, |model| model.at_step() == Some(1));
    lock(&mut model, None, "audit");
    model.run(5);
    model.ask(Verb::Abort);
    model.run_until(60, |model| model.reason() == Reason::RolloutAborted);
}

#[test]
fn a_return_to_the_stable_version_waits_for_no_lock() {
    let mut model = canary();
    model.apply_version("v2");
    model.run_until(30, |model| model.at_step() == Some(1));
    lock(&mut model, None, "audit");
    model.run(5);
    model.apply_version("v1");
    model.run_until(60, |model| model.reason() == Reason::AllHealthy);
    assert_eq!((model.live("v1"), model.live("v2")), (4, 0));
}

#[test]
fn nobody_resumes_or_promotes_past_a_lock() {
    let mut model = canary();
    lock(&mut model, None, "audit");
    model.apply_version("v2");
    model.run(5);
    model.ask(Verb::Resume);
    model.run(1);
    assert_eq!(model.last_refusal().as_deref(), Some("it is locked; `helium unlock` ends that"));
    for verb in [Verb::Promote, Verb::PromoteFull, Verb::Skip] {
        model.ask_with(verb, |request| request.reason = Some("now".to_owned()));
        model.run(1);
        assert_eq!(model.last_refusal().as_deref(), Some("it is locked; `helium unlock` ends that"), "{verb:?}");
    }
    model.run(30);
    assert_eq!((model.live("v2"), model.reason(), model.at_step()), (0, Reason::Locked, Some(0)));
    let answer = model.status().control.last().unwrap();
    assert_eq!(
        (answer.by.as_str(), answer.reason.as_deref()),
        ("alice", Some("now")),
        "who asked and why is on record"
    );
}

#[test]
fn time_under_a_hold_counts_against_no_step_and_no_gate() {
    let steps = json!([{"setWeight": "25%"}, {"gate": {"kv": {"key": "k"}, "timeout": "1m"}}, {"setWeight": "50%", "soak": "30s", "deadline": "2m"}]);
    let mut model = Model::new(4, 1, 0).with_spec(canary_of(json!({"steps": steps}))).settled();
    model.apply_version("v2");
    model.run_until(30, |model| model.at_step() == Some(1));
    model.ask(Verb::Pause);
    model.run(300);
    model.ask(Verb::Resume);
    model.run(30);
    assert_eq!(model.reason(), Reason::AtGate, "half a minute of its minute is left");
    model.ask(Verb::Promote);
    model.run(10);
    model.ask(Verb::Pause);
    model.run(300);
    model.ask(Verb::Resume);
    model.run_until(120, |model| model.live("v2") == 4 && model.reason() == Reason::AllHealthy);
}

#[test]
fn a_lock_is_no_obstacle_to_lost_instances_and_new_counts() {
    let mut model = canary();
    lock(&mut model, None, "audit");
    model.run(2);
    model.wipe_one("v1");
    model.run(10);
    assert_eq!(model.healthy(Some("v1")), 4);
    model.scale(6);
    model.run(15);
    assert_eq!(model.healthy(Some("v1")), 6);
}

#[test]
fn a_suspended_spec_is_a_lock_with_a_reason_and_an_end() {
    let mut model = canary();
    let until = model.world.now + seconds(120);
    model.deployment().spec.suspend = Some(Suspend { reason: "migration".to_owned(), until: Some(until) });
    model.apply_version("v2");
    model.run(110);
    assert_eq!((model.reason(), model.message()), (Reason::Locked, "v2 held: suspended: migration"));
    model.ask(Verb::Resume);
    model.run(1);
    assert_eq!(model.last_refusal().as_deref(), Some("it is suspended by its spec; take `suspend` out"));
    model.run_until(120, |model| model.live("v2") == 4 && model.reason() == Reason::AllHealthy);
}

/// The model begins on Thursday, 2026-01-01 at midnight, UTC.
#[test]
fn a_rollout_waits_for_its_window_and_stops_where_it_is_at_its_end() {
    let mut model = canary();
    model.deployment().spec.schedule = Some(
        serde_json::from_value(
            json!({"windows": [{"start": "10 0 * * *", "duration": "1m"}, {"start": "15 0 * * *", "duration": "1h"}]}),
        )
        .unwrap(),
    );
    model.deployment().spec.progress_deadline = helium_crds::Period::from_secs(900);
    model.deployment().spec.min_healthy_time = helium_crds::Period::from_secs(30);
    model.apply_version("v2");
    model.run(60);
    let opens = "2026-01-01T00:10:00Z".parse().unwrap();
    assert_eq!((model.reason(), model.live("v2")), (Reason::OutsideWindow, 0));
    assert_eq!(
        model.status().waiting_on,
        [WaitingOn::Shut { why: "outside the windows of its schedule".to_owned(), until: Some(opens) }]
    );
    model.run_until(600, |model| model.live("v2") > 0);
    assert!(model.world.now >= opens && model.world.now < opens + seconds(2));
    model.run_until(90, |model| model.reason() == Reason::OutsideWindow);
    let there = (model.live("v1"), model.live("v2"));
    model.run(120);
    assert_eq!((model.live("v1"), model.live("v2"), model.reason()), (there.0, there.1, Reason::OutsideWindow));
    model.run_until(400, |model| model.live("v2") == 4 && model.reason() == Reason::AllHealthy);
}

#[test]
fn a_pause_with_an_end_ends_by_itself() {
    let mut model = canary();
    model.apply_version("v2");
    model.run_until(30, |model| model.at_step() == Some(1));
    model.ask_with(Verb::Pause, |request| request.until = Some(request.at + seconds(60)));
    model.run(55);
    assert_eq!(model.reason(), Reason::PausedByPerson);
    assert!(model.message().starts_with("v2 held by alice until 2026-01-01T00:01:"), "{}", model.message());
    model.run_until(120, |model| model.live("v2") == 4 && model.reason() == Reason::AllHealthy);
}

#[test]
fn a_broken_stable_version_holds_the_canary_only_where_that_is_asked_for() {
    for (policy, promoted) in [("proceed", true), ("pause", false)] {
        let spec = canary_of(json!({"steps": [{"setWeight": "25%"}, {"soak": "20s"}], "ifStableUnhealthy": policy}));
        let mut model = Model::new(4, 1, 0).with_spec(spec).settled();
        model.apply_version("v2");
        model.run_until(30, |model| model.at_step() == Some(1));
        model.strict = false;
        model.bad.insert("v1".to_owned());
        model.run(120);
        assert_eq!(model.status().rollout.is_none(), promoted, "{policy}");
        if !promoted {
            assert_eq!(model.reason(), Reason::StableUnhealthy);
            let why = "0 of 3 stable instances are healthy (needs 3)";
            assert_eq!(model.message(), format!("v2 held: {why}"));
            for verb in [Verb::Promote, Verb::Resume] {
                model.ask(verb);
                model.run(1);
                let refusal = format!("{why}; `ifStableUnhealthy: proceed` in the Canary lets it go on");
                assert_eq!(model.last_refusal(), Some(refusal), "{verb:?}");
            }
            model.bad.clear();
            model.run_until(120, |model| model.live("v2") == 4 && model.reason() == Reason::AllHealthy);
        }
    }
}

#[test]
fn a_step_is_skipped_whatever_it_waits_for_and_nothing_is_promoted_by_it() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), soak(600), weight(50)]).settled();
    model.apply_version("v2");
    model.run_until(30, |model| model.at_step() == Some(1));
    model.ask(Verb::Skip);
    model.run_until(60, |model| model.live("v2") == 4 && model.reason() == Reason::AllHealthy);

    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25)]).settled();
    model.start_time = seconds(50);
    model.apply_version("v2");
    model.run(5);
    model.ask(Verb::Skip);
    model.run(20);
    assert_eq!((model.stage(), model.at_step(), model.live("v2")), (Some(Stage::Steps), Some(1), 1));
    model.ask(Verb::Skip);
    model.run(1);
    assert_eq!(model.last_refusal().as_deref(), Some("all steps are done; `helium canary promote` promotes it"));
}

#[test]
fn a_promotion_to_a_step_leaves_out_those_before_it() {
    let steps = vec![weight(25), soak(600), weight(50), soak(600), weight(75), soak(20)];
    let mut model = Model::new(4, 1, 0).with_canary(steps).settled();
    model.apply_version("v2");
    model.run_until(30, |model| model.at_step() == Some(1));
    model.ask_with(Verb::Promote, |request| request.to_step = Some(4));
    model.run_until(30, |model| model.at_step() == Some(5));
    assert_eq!((model.live("v2"), model.live("v1")), (3, 1));
    for (to, why) in [
        (2, "it is at step 6 of 6, and step 3 does not come after it"),
        (9, "it is at step 6 of 6, and step 10 does not come after it"),
    ] {
        model.ask_with(Verb::Promote, |request| request.to_step = Some(to));
        model.run(1);
        assert_eq!(model.last_refusal().as_deref(), Some(why));
    }
}

#[test]
fn a_retry_may_begin_at_a_later_step() {
    let mut model = canary();
    model.apply_bad_version("v2");
    model.run_until(60, |model| model.reason() == Reason::RolloutAborted);
    model.bad.clear();
    model.ask_with(Verb::Retry, |request| request.to_step = Some(9));
    model.run(1);
    assert_eq!(model.last_refusal().as_deref(), Some("there is no step 10; there are 4"));
    model.ask_with(Verb::Retry, |request| request.to_step = Some(2));
    model.run_until(20, |model| model.at_step() == Some(3));
    assert_eq!(model.live("v2"), 2);
}

fn roll(model: &mut Model, version: &str) {
    model.apply_version(version);
    let version = version.to_owned();
    model.run_until(200, move |model| {
        model.status().rollout.is_none()
            && model.status().stable.as_ref().is_some_and(|stable| stable.version == version)
    });
}

/// Argo Rollouts' `TestRollbackWindow`: with a window of 2, back over one revision takes no steps, and back over two does.
#[test]
fn back_within_the_rollback_window_takes_no_steps() {
    for (versions, steps) in [(vec!["v2", "v3", "v4"], false), (vec!["v2", "v3", "v4", "v5"], true)] {
        let mut model = canary();
        model.deployment().spec.rollback_window = Some(helium_crds::deployment::RollbackWindow { revisions: 2 });
        for version in &versions {
            roll(&mut model, version);
        }
        model.events.clear();
        roll(&mut model, "v2");
        assert_eq!(model.events.contains(&"CanaryStepDone".to_owned()), steps, "{versions:?}");
    }
}

#[test]
fn a_version_that_never_served_is_no_shortcut() {
    let mut model = canary();
    model.deployment().spec.rollback_window = Some(helium_crds::deployment::RollbackWindow { revisions: 5 });
    model.apply_bad_version("v2");
    model.run_until(60, |model| model.reason() == Reason::RolloutAborted);
    roll(&mut model, "v3");
    model.bad.clear();
    model.events.clear();
    roll(&mut model, "v2");
    assert!(model.events.contains(&"CanaryStepDone".to_owned()));
}

#[test]
fn a_person_says_of_one_revision_whether_it_takes_the_steps() {
    for (word, window, steps) in [("skip", None, false), ("take", Some(9), true)] {
        let mut model = canary();
        model.deployment().spec.rollback_window =
            window.map(|revisions| helium_crds::deployment::RollbackWindow { revisions });
        roll(&mut model, "v2");
        model.deployment().spec.template.version = "v1".to_owned();
        let revision = helium_crds::revision::revision_id(&model.deployment().spec.template);
        let said = format!("{word} {revision}");
        model.deployment().metadata.annotations.insert("helium.dev/steps".to_owned(), said);
        model.events.clear();
        roll(&mut model, "v1");
        assert_eq!(model.events.contains(&"CanaryStepDone".to_owned()), steps, "{word}");
        model.events.clear();
        roll(&mut model, "v3");
        assert!(model.events.contains(&"CanaryStepDone".to_owned()), "it says nothing of another");
    }
}

#[test]
fn what_a_person_says_of_a_template_holds_whatever_its_values_are_by_then_until_it_serves() {
    let mut model = canary();
    roll(&mut model, "v2");
    model.deployment().spec.template.version = "v1".to_owned();
    let written = helium_crds::revision::revision_id(&model.deployment().spec.template);
    model.deployment().metadata.annotations.insert("helium.dev/steps".to_owned(), format!("skip {written}"));
    model.events.clear();
    // They changed before the controller came to it, and once more in mid-rollout.
    let set = |model: &mut Model, text: &str| {
        model.deployment().spec.template.overrides.insert("db/host".to_owned(), text.to_owned());
    };
    set(&mut model, "b");
    model.run(2);
    set(&mut model, "c");
    roll(&mut model, "v1");
    assert!(!model.events.contains(&"CanaryStepDone".to_owned()), "{:?}", model.events);
    set(&mut model, "d");
    model.run(2);
    roll(&mut model, "v1");
    assert!(model.events.contains(&"CanaryStepDone".to_owned()), "a change of values is a rollout of its own");
}
