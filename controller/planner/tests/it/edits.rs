//! Edits of a Canary in mid-rollout, and templates that change in the midst of one.

use helium_crds::{
    Percent, Period,
    control::Verb,
    status::{Reason, RolloutKind, Stage},
    step::{Step, StepKind},
};

use crate::model::{Model, open_pause, seconds, soak, weight};

fn edit(model: &mut Model, steps: Vec<Step>) {
    model.world.canary.as_mut().unwrap().spec.steps = steps;
}

fn live(model: &Model) -> (u32, u32) {
    (model.live("v1"), model.live("v2"))
}

#[test]
fn edited_steps_keep_the_achieved_progress() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), weight(50), open_pause()]).settled();
    model.apply_version("v2");
    model.run(40);
    assert_eq!(model.live("v2"), 2);
    model.world.canary.as_mut().unwrap().spec.steps = vec![weight(25), weight(75), open_pause()];
    model.step();
    assert_eq!(model.status().rollout.as_ref().unwrap().step, 1, "the first step with a greater weight");
    model.run(40);
    assert_eq!(model.live("v2"), 3);
    model.world.canary.as_mut().unwrap().spec.steps = vec![weight(25), soak(3)];
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 4));
}

#[test]
fn an_edit_of_later_steps_keeps_the_pause_that_is_on() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause(), weight(50), soak(10)]).settled();
    model.apply_version("v2");
    model.run(20);
    edit(&mut model, vec![weight(25), open_pause(), weight(75), soak(20), open_pause()]);
    model.run(60);
    assert_eq!((model.at_step(), live(&model), model.reason()), (Some(1), (3, 1), Reason::PausedAtStep));
    model.ask(Verb::Promote);
    model.run(60);
    assert_eq!((model.at_step(), live(&model), model.reason()), (Some(4), (1, 3), Reason::PausedAtStep));
}

#[test]
fn an_edit_of_later_steps_keeps_the_clock_of_a_soak() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), soak(20), open_pause()]).settled();
    model.apply_version("v2");
    model.run_until(20, |model| model.at_step() == Some(1));
    let began = model.status().rollout.as_ref().unwrap().step_started_at;
    model.run(15);
    edit(&mut model, vec![weight(25), soak(20), weight(50), open_pause()]);
    model.step();
    assert_eq!(model.status().rollout.as_ref().unwrap().step_started_at, began);
    model.run_until(8, |model| model.at_step() > Some(1));
}

#[test]
fn an_edit_of_the_present_step_or_an_earlier_one_goes_on_by_the_weight_that_is_had() {
    let steps = vec![weight(25), soak(1000), weight(50), open_pause()];
    let present = vec![weight(25), soak(10), weight(50), open_pause()];
    let earlier = vec![weight(10), soak(1000), weight(50), open_pause()];
    for edited in [present, earlier] {
        let mut model = Model::new(4, 1, 0).with_canary(steps.clone()).settled();
        model.apply_version("v2");
        model.run_until(20, |model| model.at_step() == Some(1));
        edit(&mut model, edited);
        model.step();
        assert_eq!(model.at_step(), Some(2), "the first step with a greater weight");
    }
}

#[test]
fn a_step_that_is_put_behind_the_last_one_is_taken_before_the_promotion() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), soak(3)]).settled();
    model.world.canary.as_mut().unwrap().spec.auto_promote = false;
    model.apply_version("v2");
    model.run(30);
    assert_eq!((model.at_step(), model.reason()), (Some(2), Reason::AwaitingPromotion));
    edit(&mut model, vec![weight(25), soak(3), weight(50), open_pause()]);
    model.run(30);
    assert_eq!((model.at_step(), live(&model), model.reason()), (Some(3), (2, 2), Reason::PausedAtStep));
}

#[test]
fn steps_that_are_edited_under_a_hold_are_taken_when_it_ends() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    model.ask(Verb::Pause);
    model.run(2);
    edit(&mut model, vec![weight(50), open_pause()]);
    model.run(30);
    assert_eq!((live(&model), model.reason()), ((3, 1), Reason::PausedByPerson));
    model.ask(Verb::Resume);
    model.run(30);
    assert_eq!((live(&model), model.reason()), ((2, 2), Reason::PausedAtStep));
}

/// Steps without any weight ask for no instance before a person has promoted.
#[test]
fn steps_that_are_edited_to_have_no_weight_take_the_canary_back() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    edit(&mut model, vec![open_pause(), open_pause()]);
    model.run(30);
    assert_eq!((live(&model), model.at_step(), model.reason()), ((4, 0), Some(0), Reason::PausedAtStep));
}

#[test]
fn an_edited_analysis_applies_to_the_next_sample() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.world.canary.as_mut().unwrap().spec.analysis.health.failures_in_a_row = 1000;
    model.apply_version("v2");
    model.run(20);
    model.bad.insert("v2".to_owned());
    model.run(20);
    assert_eq!(model.stage(), Some(Stage::Steps), "a thousand failures are allowed");
    model.world.canary.as_mut().unwrap().spec.analysis.health.failures_in_a_row = 3;
    model.step();
    assert_eq!(model.stage(), Some(Stage::RollingBack), "more than three are had already");
    let mut model =
        Model::new(10, 5, 0).with_canary(vec![Step::from(StepKind::SetReplicas(5)), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    model.world.canary.as_mut().unwrap().spec.analysis.health.min_passing = Percent::new(80).unwrap();
    let sick = model.fleet.instances.values().find(|one| one.version == "v2").unwrap().id.clone();
    model.sick.insert(sick);
    model.run(20);
    assert_eq!(model.stage(), Some(Stage::Steps), "four of five are enough now");
}

#[test]
fn auto_promotion_may_be_changed_in_mid_rollout() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(3)]).settled();
    model.apply_version("v2");
    model.run(2);
    model.world.canary.as_mut().unwrap().spec.auto_promote = false;
    model.run(60);
    assert_eq!(model.reason(), Reason::AwaitingPromotion);
    model.world.canary.as_mut().unwrap().spec.auto_promote = true;
    model.run(60);
    assert_eq!((live(&model), model.reason()), ((0, 3), Reason::AllHealthy));
}

#[test]
fn a_good_canary_gives_way_at_once_when_the_template_is_set_back() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(50), open_pause()]).settled();
    model.apply_version("v2");
    model.run(30);
    assert_eq!(live(&model), (2, 2));
    model.apply_version("v1");
    model.step();
    let kind = model.status().rollout.as_ref().map(|rollout| rollout.kind);
    assert_eq!((kind, model.reason()), (Some(RolloutKind::Return), Reason::ReturningToStable));
    assert!(model.told.contains(&"return to v1 from v2".to_owned()), "{:?}", model.told);
    model.run(30);
    assert_eq!((live(&model), model.reason()), ((4, 0), Reason::AllHealthy));
}

/// Argo Rollouts e2e 9, second half: readiness takes 10 s and the deadline is 5 s. The first rollout is degraded, then healthy. A later one is
/// rolled back here, where Argo degrades and goes on.
#[test]
fn slow_readiness_degrades_the_first_rollout_until_it_is_there_and_rolls_a_later_one_back() {
    let mut model = Model::new(2, 1, 0);
    model.start_time = seconds(10);
    model.deployment().spec.progress_deadline = Period::from_secs(5);
    model.run(8);
    assert_eq!(model.reason(), Reason::ProgressDeadlineExceeded);
    model.run(10);
    assert_eq!(model.reason(), Reason::AllHealthy);
    model.apply_version("v2");
    model.run(30);
    assert_eq!((live(&model), model.reason()), ((2, 0), Reason::RolloutAborted));
}
