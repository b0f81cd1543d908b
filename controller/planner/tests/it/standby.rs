//! Instances on standby: previews, the switch of blue-green, and the bake behind a promotion.
//!
//! The facts of other controllers that are named here come from their own tests; where ours differs, the test says how.

#![allow(clippy::needless_pass_by_value, reason = "a document reads best where it is used")]

use helium_crds::{
    Phase,
    control::Verb,
    measurement::Probe,
    status::{Reason, Stage, WaitingOn},
};
use serde_json::{Value, json};

use crate::model::{Model, canary_of, number, seconds};

/// Four instances of v1 with such a Canary; v2 was just applied.
fn begun(spec: Value) -> Model {
    let mut model = Model::new(4, 1, 0).with_spec(canary_of(spec)).settled();
    model.apply_version("v2");
    model
}

fn errors() -> Value {
    json!({"name": "errors", "prometheus": {"url": "http://p:9090", "query": "errors"}, "criterion": {"max": 5}, "interval": "5s"})
}

fn done(model: &Model) -> bool {
    model.status().rollout.is_none() && model.status().stable.as_ref().is_some_and(|stable| stable.version == "v2")
}

fn counts(model: &Model) -> [u32; 4] {
    [model.reached("v1"), model.standby("v1"), model.reached("v2"), model.standby("v2")]
}

/// How it goes until it is over, or for so many seconds: each change of the counts.
fn course(model: &mut Model, limit: i64, over: impl Fn(&Model) -> bool) -> Vec<[u32; 4]> {
    let mut course = vec![counts(model)];
    for _ in 0..limit * 4 {
        if model.world.status.is_some() && over(model) {
            return course;
        }
        model.step();
        let now = counts(model);
        if course.last() != Some(&now) {
            course.push(now);
        }
    }
    panic!("not over within {limit} s: {course:?} {:#?}", model.status());
}

#[test]
fn a_switch_starts_all_of_the_new_version_out_of_sight_and_then_changes_over_at_once() {
    let mut model = begun(json!({"blueGreen": {}}));
    let course = course(&mut model, 90, done);
    // Reached and to be on standby, old and new: all previews, told to serve, both for a moment, the new alone, and then nothing of the old one.
    let expected = [[4, 0, 0, 0], [4, 0, 0, 4], [4, 0, 0, 0], [4, 4, 4, 0], [0, 4, 4, 0], [0, 0, 4, 0]];
    let told: Vec<[u32; 4]> = course.into_iter().filter(|counts| expected.contains(counts)).collect();
    assert_eq!(told, expected);
    model.run_until(10, |model| model.reason() == Reason::AllHealthy);
    assert_eq!(model.live("v1"), 0);
}

#[test]
fn a_preview_is_never_reached_before_the_switch() {
    let mut model = begun(json!({"blueGreen": {"preview": 1}, "autoPromote": false}));
    model.run(60);
    assert_eq!(counts(&model), [4, 0, 0, 1]);
    assert_eq!((model.reason(), model.at_step()), (Reason::PausedAtStep, Some(1)));
    assert!(model.message().contains("1 on standby, 1 of 1 passing"), "{}", model.message());
    assert_eq!((model.status().healthy, model.status().wanted), (4, 4));
    model.ask(Verb::Promote);
    model.run_until(60, |model| model.standby("v2") == 4);
    assert_eq!(model.reached("v2"), 0);
    model.run_until(60, |model| model.reached("v2") == 4);
    model.run_until(60, done);
}

#[test]
fn a_preview_that_fails_is_given_up_and_nobody_has_seen_it() {
    // Argo Rollouts, blue-green: what fails before the promotion leaves the active service with the old version, and is Degraded.
    let mut model = Model::new(4, 1, 0).with_spec(canary_of(json!({"blueGreen": {}}))).settled();
    model.apply_bad_version("v2");
    let course = course(&mut model, 90, |model| model.stage() == Some(Stage::Aborted));
    assert!(course.iter().all(|[old, standby, new, _]| (*old, *standby, *new) == (4, 0, 0)), "{course:?}");
    assert_eq!((model.reason(), model.live("v2")), (Reason::RolloutAborted, 0));
    assert!(model.message().contains("at step 1/1"), "{}", model.message());
}

#[test]
fn after_a_fix_a_retry_switches() {
    let mut model = Model::new(4, 1, 0).with_spec(canary_of(json!({"blueGreen": {}}))).settled();
    model.apply_bad_version("v2");
    model.run_until(90, |model| model.stage() == Some(Stage::Aborted));
    model.bad.clear();
    model.ask(Verb::Retry);
    model.run_until(90, done);
}

#[test]
fn the_analysis_before_the_switch_decides_and_what_is_measured_in_the_background_waits_for_it() {
    let spec = json!({
        "blueGreen": {"preview": 2, "analysis": {"metrics": ["smoke"]}},
        "analysis": {"metrics": [
            {"name": "smoke", "background": false, "http": {"url": "http://t/", "value": "$.ok"}, "criterion": {"min": 1}, "interval": "5s"},
            errors(),
        ]},
    });
    let mut model = begun(spec);
    model.run(30);
    assert_eq!((counts(&model), model.at_step()), ([4, 0, 0, 2], Some(1)));
    assert!(matches!(model.status().waiting_on.as_slice(), [WaitingOn::Metric { name, .. }] if name == "smoke"));
    model.reads("smoke", 1.0);
    model.run_until(60, |model| model.stage() == Some(Stage::Baking));
    assert!(
        !model.asked.iter().any(|(_, probe, _)| *probe == Probe::Metric("errors".to_owned())),
        "{:#?}",
        model.asked
    );
    // The bake does not end before the new version's own traffic has been found good.
    model.run(90);
    assert_eq!((counts(&model), model.reason()), ([0, 4, 4, 0], Reason::Baking));
    model.reads("errors", 1.0);
    model.run_until(30, done);
}

#[test]
fn what_fails_in_the_bake_goes_back_at_once_to_what_runs_already() {
    let spec = json!({"blueGreen": {}, "scaleDownDelay": "10m", "analysis": {"metrics": [errors()]}});
    let mut model = begun(spec);
    model.reads("errors", 1.0);
    model.run_until(90, |model| model.stage() == Some(Stage::Baking));
    model.run(30);
    let made = model.status().next_ordinal;
    model.reads("errors", 50.0);
    model.run_until(30, |model| model.stage() == Some(Stage::RollingBack));
    model.run_until(2, |model| model.reached("v1") == 4);
    model.run_until(30, |model| model.stage() == Some(Stage::Aborted));
    assert_eq!((counts(&model), model.live("v2")), ([4, 0, 0, 0], 0));
    assert_eq!(model.status().next_ordinal, made, "nothing was made for the way back");
    assert!(model.message().contains("v2 aborted while it baked: errors failed"), "{}", model.message());
}

#[test]
fn the_bake_trips_no_deadline_and_ends_by_itself() {
    // Argo Rollouts: a pending scaleDownDelay must not trip the progress deadline, which is 60 s here.
    let mut model = begun(json!({"blueGreen": {}, "scaleDownDelay": "3m"}));
    model.run_until(90, |model| model.stage() == Some(Stage::Baking));
    model.run(175);
    assert_eq!((counts(&model), model.status().phase), ([0, 4, 4, 0], Phase::Progressing));
    assert!(matches!(model.status().waiting_on.as_slice(), [WaitingOn::Bake { standby, .. }] if standby == "v1"));
    model.run_until(10, done);
    model.run_until(10, |model| model.live("v1") == 0);
}

#[test]
fn a_canary_of_weights_keeps_what_it_replaces_on_standby() {
    let mut model = begun(json!({"steps": [{"setWeight": "50%"}, {"pause": {}}], "scaleDownDelay": "1m"}));
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    assert_eq!(counts(&model), [2, 2, 2, 0], "2 of 4, and two of the old ones out of service");
    model.ask(Verb::Abort);
    model.run_until(2, |model| model.reached("v1") == 4);
    model.run_until(10, |model| model.stage() == Some(Stage::Aborted));
    model.ask(Verb::Retry);
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    model.ask(Verb::Promote);
    model.run_until(60, |model| model.stage() == Some(Stage::Baking));
    assert_eq!(counts(&model), [0, 4, 4, 0]);
    model.run_until(90, done);
}

#[test]
fn previews_take_over_share_by_share_where_the_steps_say_so() {
    let steps = json!([{"preview": "100%"}, {"setWeight": "25%"}, {"pause": {}}, {"setWeight": "75%"}, {"pause": {}}]);
    let mut model = begun(json!({"steps": steps}));
    model.run_until(60, |model| model.at_step() == Some(2));
    model.run_until(10, |model| counts(model) == [3, 0, 1, 3]);
    let made = model.status().next_ordinal;
    model.ask(Verb::Promote);
    model.run_until(60, |model| model.at_step() == Some(4));
    model.run_until(10, |model| counts(model) == [1, 0, 3, 1]);
    model.ask(Verb::Promote);
    model.run_until(60, done);
    assert_eq!(model.status().next_ordinal, made, "no instance was made for a share");
}

#[test]
fn back_to_the_old_template_in_the_bake_switches_back_at_once() {
    let mut model = begun(json!({"blueGreen": {}, "scaleDownDelay": "10m"}));
    model.run_until(90, |model| model.stage() == Some(Stage::Baking));
    let made = model.status().next_ordinal;
    model.apply_version("v1");
    model.run_until(3, |model| model.reached("v1") == 4);
    model.run_until(20, |model| model.status().phase == Phase::Healthy);
    assert_eq!((counts(&model), model.live("v2"), model.status().next_ordinal), ([4, 0, 0, 0], 0, made));
}

#[test]
fn a_newer_template_in_the_bake_starts_from_what_serves() {
    let mut model = begun(json!({"blueGreen": {"preview": 1}, "scaleDownDelay": "10m"}));
    model.run_until(90, |model| model.stage() == Some(Stage::Baking));
    model.apply_version("v3");
    model.run_until(20, |model| model.live("v3") == 1);
    assert_eq!(model.status().stable.as_ref().unwrap().version, "v2");
    assert_eq!(model.reached("v2"), 4);
    model.run_until(20, |model| model.live("v1") == 0);
}

#[test]
fn a_person_ends_the_bake_or_gives_the_version_up_in_it() {
    for (verb, serves) in [(Verb::Promote, "v2"), (Verb::PromoteFull, "v2"), (Verb::Skip, "v2"), (Verb::Abort, "v1")] {
        let mut model = begun(json!({"blueGreen": {}, "scaleDownDelay": "10m"}));
        model.run_until(90, |model| model.stage() == Some(Stage::Baking));
        model.ask(verb);
        model.run(20);
        assert_eq!(model.status().stable.as_ref().unwrap().version, serves, "{verb:?}");
        assert_eq!(model.last_refusal(), None, "{verb:?}");
        assert_eq!((model.reached(serves), model.total()), (4, 4), "{verb:?}");
    }
}

#[test]
fn a_pause_in_the_bake_keeps_the_old_version_until_it_is_resumed() {
    let mut model = begun(json!({"blueGreen": {}, "scaleDownDelay": "20s"}));
    model.run_until(90, |model| model.stage() == Some(Stage::Baking));
    model.ask(Verb::Pause);
    model.run(60);
    assert_eq!((counts(&model), model.reason()), ([0, 4, 4, 0], Reason::PausedByPerson));
    model.ask(Verb::Resume);
    model.run_until(30, done);
}

#[test]
fn a_lost_preview_is_made_again_and_a_lost_one_of_the_old_version_is_not() {
    let mut model = begun(json!({"blueGreen": {}, "autoPromote": false, "scaleDownDelay": "10m"}));
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    model.wipe_one("v2");
    model.run_until(30, |model| counts(model) == [4, 0, 0, 4]);
    model.run(5);
    model.ask(Verb::Promote);
    model.run_until(90, |model| model.stage() == Some(Stage::Baking));
    model.wipe_one("v1");
    model.run(30);
    assert_eq!((counts(&model), model.reason()), ([0, 3, 4, 0], Reason::Baking));
}

#[test]
fn the_count_is_followed_before_the_switch_and_in_the_bake() {
    let mut model = begun(json!({"blueGreen": {}, "autoPromote": false, "scaleDownDelay": "10m"}));
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    model.scale(6);
    model.run_until(60, |model| counts(model) == [6, 0, 0, 6]);
    model.scale(3);
    model.run_until(60, |model| counts(model) == [3, 0, 0, 3]);
    model.ask(Verb::Promote);
    model.run_until(90, |model| model.stage() == Some(Stage::Baking));
    model.scale(5);
    model.run_until(30, |model| counts(model) == [0, 3, 5, 0]);
    model.ask(Verb::Abort);
    model.run_until(60, |model| counts(model) == [5, 0, 0, 0]);
}

#[test]
fn a_canary_that_cannot_be_read_takes_nothing_from_standby() {
    let mut model = begun(json!({"blueGreen": {}, "scaleDownDelay": "20s"}));
    model.run_until(90, |model| model.stage() == Some(Stage::Baking));
    model.break_canary("it is no Canary");
    model.run(60);
    assert_eq!(counts(&model), [0, 4, 4, 0]);
    model.mend_canary();
    model.run_until(30, done);
}

#[test]
fn a_comparison_with_the_stable_version_is_not_made_in_the_bake() {
    let mut compared = errors();
    compared["criterion"] = json!({"ratioToStable": {"max": 2}});
    let mut model = begun(json!({"blueGreen": {}, "scaleDownDelay": "10s", "analysis": {"metrics": [compared]}}));
    model.readings.insert("errors".to_owned(), (number(50.0), Some(number(1.0))));
    model.run_until(120, done);
    assert!(model.asked.is_empty(), "{:#?}", model.asked);
}

#[test]
fn counts_by_hand_bring_what_is_on_standby_into_service() {
    let mut model = begun(json!({"blueGreen": {}, "autoPromote": false}));
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    let versions = json!([{"version": "v1", "replicas": 2}, {"version": "v2", "replicas": 2}]);
    model.deployment().spec.versions = Some(serde_json::from_value(versions).unwrap());
    model.deployment().metadata.generation += 1;
    model.run_until(60, |model| model.reason() == Reason::ManualCountsHeld && model.total() == 4);
    assert_eq!(counts(&model), [2, 0, 2, 0]);
}

#[test]
fn steps_that_become_a_switch_begin_with_the_preview() {
    let mut model = begun(json!({"steps": [{"setWeight": "50%"}, {"pause": {}}]}));
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    let mut model = model.with_spec(canary_of(json!({"blueGreen": {}, "autoPromote": false})));
    model.run_until(60, |model| counts(model) == [4, 0, 0, 4]);
    assert_eq!(model.reason(), Reason::PausedAtStep);
}

#[test]
fn what_was_switched_away_from_runs_on_until_everybody_has_noticed() {
    let mut model = begun(json!({"blueGreen": {}, "scaleDownDelay": "10m"}));
    model.run_until(90, |model| model.stage() == Some(Stage::Baking));
    model.ask(Verb::Abort);
    model.run_until(2, |model| model.reached("v1") == 4 && model.reached("v2") == 0);
    let noticed = model.world.now;
    assert_eq!((model.live("v2"), model.standby("v2")), (4, 4), "whoever has not noticed yet is still served");
    model.run_until(10, |model| model.live("v2") == 0);
    assert!(model.world.now.duration_since(noticed) >= seconds(2));
}

#[test]
fn what_is_let_serve_takes_its_room_before_anything_is_made() {
    let mut model = begun(json!({"steps": [{"setWeight": "50%"}, {"pause": {}}], "scaleDownDelay": "10m"}));
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    assert_eq!(counts(&model), [2, 2, 2, 0]);
    model.scale(6);
    model.ask(Verb::Abort);
    model.reconcile();
    let serving = model.live("v1") + model.live("v2") - model.standby("v1") - model.standby("v2");
    assert!(serving <= 7, "{serving} serve, or are made to, where 7 may");
    model.run_until(60, |model| counts(model) == [6, 0, 0, 0]);
}

#[test]
fn a_preview_count_that_is_edited_in_mid_switch_is_followed_and_decides_nothing() {
    // Argo Rollouts, `previewReplicaCount`: the preview is rescaled, and a person is still waited for.
    let spec = |preview: u32| json!({"blueGreen": {"preview": preview}, "autoPromote": false});
    let mut model = begun(spec(2));
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    for number in [1, 3, 0, 2] {
        let spec = if number == 0 { json!({"blueGreen": {}, "autoPromote": false}) } else { spec(number) };
        let number = if number == 0 { 4 } else { number };
        model = model.with_spec(canary_of(spec));
        model.run_until(60, |model| counts(model) == [4, 0, 0, number]);
        model.run(30);
        assert_eq!((counts(&model), model.reason()), ([4, 0, 0, number], Reason::PausedAtStep), "{number}");
    }
    model.ask(Verb::Promote);
    model.run_until(90, done);
}

#[test]
fn what_a_switch_gives_up_is_stopped_at_once() {
    // Argo Rollouts keeps it for 30 s (`abortScaleDownDelaySeconds`), in which nobody reaches it. Ours keeps what failed only where
    // somebody is to look at it: `onFailure: pause`.
    let mut model = begun(json!({"blueGreen": {}, "autoPromote": false}));
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    model.ask(Verb::Abort);
    model.run_until(2, |model| model.live("v2") == 0);
    model.run_until(10, |model| model.stage() == Some(Stage::Aborted));
    assert_eq!(counts(&model), [4, 0, 0, 0]);

    let mut model = begun(json!({"blueGreen": {}, "autoPromote": false}));
    model.deployment().spec.on_failure = helium_crds::deployment::OnFailure::Pause;
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    model.bad.insert("v2".to_owned());
    model.run(60);
    assert_eq!((counts(&model), model.reason()), ([4, 0, 0, 4], Reason::PausedOnFailure));
}

#[test]
fn steps_in_place_of_a_switch_let_nothing_serve_while_it_is_held_whatever_the_count() {
    let mut model = begun(json!({"blueGreen": {}, "autoPromote": false}));
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep);
    model.ask(Verb::Pause);
    model.run_until(5, |model| model.reason() == Reason::PausedByPerson);
    let mut model = model.with_spec(canary_of(json!({"steps": [{"setWeight": "50%"}, {"pause": {}}]})));
    model.run(10);
    model.scale(6);
    model.run(30);
    assert_eq!(counts(&model), [6, 0, 0, 6]);
    model.ask(Verb::Resume);
    model.run_until(60, |model| model.reason() == Reason::PausedAtStep && counts(model) == [3, 0, 3, 0]);
}
