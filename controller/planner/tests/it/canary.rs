//! Canaries: steps, evidence, promotion in place, aborts that stick, edits in mid-rollout.

use helium_crds::{
    Percent, Phase,
    canary::HealthAnalysis,
    control::Verb,
    instance::Role,
    period::Period,
    status::{AbortCause, Reason, Stage},
    step::{Pause, Step, StepKind},
};

use crate::model::{Model, open_pause, seconds, soak, weight};

fn hello() -> Model {
    Model::new(3, 1, 0).with_canary(vec![weight(25), soak(10), weight(50), soak(10)]).settled()
}

#[test]
fn the_first_deployment_takes_no_canary_steps() {
    let model = hello();
    assert!(!model.events.contains(&"CanaryStepDone".to_owned()));
}

#[test]
fn a_good_canary_goes_through_its_steps_and_is_promoted_in_place() {
    let mut model = hello();
    model.apply_version("v2");
    model.run(5);
    assert_eq!((model.live("v1"), model.live("v2"), model.reason()), (3, 1, Reason::CanaryStep));
    let weight = model.status().rollout.as_ref().unwrap().weight.unwrap();
    assert_eq!((weight.requested, weight.achieved(), weight.canary, weight.stable), (25, 25, 1, 3));
    model.run_until(30, |model| model.live("v2") == 2);
    let canaries: Vec<_> = model.fleet.instances.values().filter(|i| i.version == "v2").map(|i| i.id.clone()).collect();
    assert!(model.fleet.assignments[&canaries[0]].service.tags.contains(&"canary".to_owned()));
    model.run_until(90, |model| model.reason() == Reason::AllHealthy);
    assert_eq!((model.live("v1"), model.live("v2"), model.total()), (0, 3, 3));
    for id in canaries {
        let instance = &model.fleet.instances[&id];
        assert_eq!(
            (instance.role, &model.fleet.assignments[&id].service.tags),
            (Role::Stable, &vec!["stable".to_owned()])
        );
    }
}

/// Consul asks from the first second on, a server may take long to listen: that is a start and no failure.
#[test]
fn a_good_canary_that_is_slow_to_listen_is_waited_for_and_one_that_never_listens_fails_by_its_deadline() {
    let mut model = hello();
    model.start_time = seconds(20);
    model.apply_version("v2");
    model.run(15);
    assert_eq!((model.live("v1"), model.live("v2"), model.reason()), (3, 1, Reason::CanaryStep));
    model.run_until(200, |model| model.reason() == Reason::AllHealthy);
    assert_eq!((model.live("v1"), model.live("v2")), (0, 3));

    let mut model = hello();
    model.start_time = seconds(10_000);
    model.apply_version("v2");
    model.run_until(1000, |model| model.reason() == Reason::RolloutAborted);
    let abort = model.status().rollout.as_ref().unwrap().abort.clone().unwrap();
    assert_eq!(abort.cause, AbortCause::ProgressDeadlineExceeded);
    assert_eq!((model.live("v1"), model.live("v2")), (3, 0));
}

#[test]
fn a_broken_canary_is_rolled_back_while_stable_serves_throughout() {
    let mut model = hello();
    model.apply_bad_version("v2");
    for _ in 0..120 {
        model.step();
        assert!(model.healthy(Some("v1")) >= 3);
    }
    assert_eq!((model.status().phase, model.reason()), (Phase::Degraded, Reason::RolloutAborted));
    assert_eq!((model.live("v1"), model.live("v2"), model.total()), (3, 0, 3));
    let message = &model.status().message;
    assert_eq!(message, "v2 aborted at step 1/4: 0 of 1 canary passing (needs 1): GET /health -> 500");
}

#[test]
fn an_abort_acts_within_one_sample_of_the_last_failure_allowed() {
    let mut model = hello();
    model.apply_version("v2");
    model.run_until(30, |model| model.status().rollout.as_ref().is_some_and(|rollout| rollout.step == 1));
    model.bad.insert("v2".to_owned());
    model.run_until(4, |model| model.stage() == Some(Stage::RollingBack));
}

#[test]
fn an_abort_sticks_until_the_template_changes() {
    let mut model = hello();
    model.apply_bad_version("v2");
    model.run(30);
    model.scale(5);
    model.run(30);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::RolloutAborted, 5, 0));
    model.apply_version("v3");
    model.run(3);
    assert_eq!((model.reason(), model.live("v3")), (Reason::CanaryStep, 1));
}

#[test]
fn a_soak_starts_again_when_the_canary_flaps() {
    let mut model = hello();
    model.apply_version("v2");
    model.run_until(30, |model| model.status().rollout.as_ref().is_some_and(|rollout| rollout.step == 1));
    model.run(8);
    let canary = model.fleet.instances.values().find(|i| i.version == "v2").unwrap().id.clone();
    model.sick.insert(canary);
    model.step();
    model.sick.clear();
    model.run(8);
    assert_eq!(model.status().rollout.as_ref().unwrap().step, 1, "the ten seconds run anew from the flap");
    model.run_until(10, |model| model.status().rollout.as_ref().unwrap().step > 1);
}

/// Argo Rollouts e2e 1: steps [25 %, pause], 1 replica: paused 1+1; scale 8: 2+6; scale 4: 1+3.
#[test]
fn a_paused_canary_is_rescaled_at_its_weight() {
    let mut model = Model::new(1, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(30);
    let counts = |model: &Model| (model.live("v2"), model.live("v1"), model.reason());
    assert_eq!(counts(&model), (1, 1, Reason::PausedAtStep));
    model.scale(8);
    model.run(30);
    assert_eq!(counts(&model), (2, 6, Reason::PausedAtStep));
    model.scale(4);
    model.run(30);
    assert_eq!(counts(&model), (1, 3, Reason::PausedAtStep));
}

/// Argo Rollouts e2e 7: paused v2, then v3 applied: v1=3, v2=0, v3=1.
#[test]
fn a_newer_version_supersedes_a_paused_canary() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(30);
    model.apply_version("v3");
    model.run(30);
    let counts = (model.live("v1"), model.live("v2"), model.live("v3"), model.reason());
    assert_eq!(counts, (3, 0, 1, Reason::PausedAtStep));
}

/// The same from a later weight, and of a version that differs in its environment alone: what it had reached counts for nothing.
#[test]
fn a_newer_version_begins_at_the_first_step_wherever_the_older_one_was() {
    for same_label in [false, true] {
        let steps = vec![weight(25), soak(2), weight(50), open_pause()];
        let mut model = Model::new(3, 1, 0).with_canary(steps).settled();
        model.apply_version("v2");
        model.run(40);
        assert_eq!((model.live("v1"), model.live("v2"), model.at_step()), (2, 2, Some(3)));
        let older = model.status().current.revision.clone();
        if same_label {
            model.deployment().spec.template.env.insert("GREETING".to_owned(), "hello".to_owned());
            model.apply_version("v2");
        } else {
            model.apply_version("v3");
        }
        model.step();
        assert_eq!((model.at_step(), model.status().current.revision == older), (Some(0), false));
        model.run_until(40, |model| model.at_step() == Some(3));
        model.run(20);
        let of_older = model.fleet.instances.values().filter(|one| one.revision == older).count();
        assert_eq!((model.live("v1"), of_older, model.total()), (2, 0, 4), "same label: {same_label}");
    }
}

/// A count of nothing leaves nothing to try a version beside.
#[test]
fn a_version_that_comes_while_no_instance_is_wanted_takes_no_steps() {
    let mut model = hello();
    model.scale(0);
    model.run(20);
    model.apply_version("v2");
    model.run(20);
    assert_eq!(model.status().stable.as_ref().map(|stable| stable.version.as_str()), Some("v2"));
    model.scale(3);
    model.run(30);
    assert_eq!((model.live("v1"), model.live("v2"), model.reason()), (0, 3, Reason::AllHealthy));
}

#[test]
fn an_abort_sticks_through_an_edit_of_the_steps_and_without_the_canary() {
    let mut model = hello();
    model.apply_bad_version("v2");
    model.run(30);
    let aborted = |model: &Model| (model.reason(), model.live("v1"), model.live("v2"));
    model.world.canary.as_mut().unwrap().spec.steps = vec![weight(50), open_pause()];
    model.run(20);
    assert_eq!(aborted(&model), (Reason::RolloutAborted, 3, 0), "with other steps");
    model.drop_canary();
    model.run(20);
    assert_eq!(aborted(&model), (Reason::RolloutAborted, 3, 0), "without a Canary");
}

/// Two failed samples in a row abort; with a good one between them, none ever does.
#[test]
fn a_good_sample_ends_the_row_of_failures() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    let canary = model.fleet.instances.values().find(|one| one.version == "v2").unwrap().id.clone();
    for _ in 0..5 {
        model.sick.insert(canary.clone());
        model.step();
        assert_eq!(model.status().rollout.as_ref().unwrap().analysis.in_row, 1);
        model.sick.clear();
        model.step();
        assert_eq!(model.status().rollout.as_ref().unwrap().analysis.in_row, 0);
    }
    assert_eq!(model.reason(), Reason::PausedAtStep);
    model.sick.insert(canary);
    model.run_until(10, |model| model.stage() == Some(Stage::RollingBack));
}

/// A canary that fails all the time is given up when two samples have been taken, which is one interval after the first.
#[test]
fn samples_are_taken_an_interval_apart() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.world.canary.as_mut().unwrap().spec.analysis.health.interval = Period::from_secs(20);
    model.apply_version("v2");
    model.run(20);
    model.bad.insert("v2".to_owned());
    model.run(18);
    let analysis = &model.status().rollout.as_ref().unwrap().analysis;
    assert_eq!((analysis.in_row, model.reason()), (1, Reason::PausedAtStep));
    model.run_until(5, |model| model.stage() == Some(Stage::RollingBack));
}

/// Argo Rollouts e2e 9: a pause of 30 s with a deadline of 5 s never fails.
#[test]
fn pauses_and_soaks_count_against_no_deadline() {
    let pause = Step::from(StepKind::Pause(Pause { duration: Some(Period::from_secs(30)), promote_after: None }));
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), pause, soak(30)]).settled();
    model.deployment().spec.progress_deadline = Period::from_secs(5);
    model.apply_version("v2");
    for _ in 0..90 * 4 {
        model.step();
        assert_ne!(model.status().phase, Phase::Degraded, "{:#?}", model.status());
    }
    assert_eq!(model.reason(), Reason::AllHealthy);
}

#[test]
fn an_open_pause_ends_by_promote_after_only_while_canaries_are_healthy() {
    let pause = Step::from(StepKind::Pause(Pause { duration: None, promote_after: Some(Period::from_secs(20)) }));
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), pause]).settled();
    let lenient = HealthAnalysis { failures_in_a_row: 1000, ..HealthAnalysis::default() };
    model.world.canary.as_mut().unwrap().spec.analysis.health = lenient;
    model.apply_version("v2");
    model.run(12);
    assert_eq!(model.reason(), Reason::PausedAtStep);
    model.bad.insert("v2".to_owned());
    model.run(30);
    assert_eq!(model.reason(), Reason::PausedAtStep, "time alone promotes nothing");
    model.bad.clear();
    model.run(40);
    assert_eq!(model.reason(), Reason::AllHealthy);
}

#[test]
fn without_auto_promotion_a_person_promotes() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(3)]).settled();
    model.world.canary.as_mut().unwrap().spec.auto_promote = false;
    model.apply_version("v2");
    model.run(60);
    assert_eq!((model.reason(), model.status().phase), (Reason::AwaitingPromotion, Phase::Paused));
    model.ask(Verb::Promote);
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 3));
}

#[test]
fn promotion_is_refused_while_the_canary_fails() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    model.bad.insert("v2".to_owned());
    model.step();
    model.ask(Verb::PromoteFull);
    model.step();
    assert_eq!(model.last_refusal().as_deref(), Some("0 of 1 canary passing (needs 1)"));
    assert_ne!(model.stage(), Some(Stage::Promoting));
}

#[test]
fn a_failure_during_promotion_still_rolls_back() {
    let mut model = hello();
    model.apply_version("v2");
    model.run_until(60, |model| model.stage() == Some(Stage::Promoting));
    model.bad.insert("v2".to_owned());
    model.strict = false; // the world takes instances here
    model.run(60);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::RolloutAborted, 3, 0));
}

#[test]
fn a_lost_instance_is_replaced_by_its_own_version_during_a_canary() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    for version in ["v1", "v2"] {
        let id = model.fleet.instances.values().find(|i| i.version == version).unwrap().id.clone();
        model.strict = false;
        model.fleet.instances.remove(&id);
        model.fleet.assignments.remove(&id);
        model.fleet.catalog.remove(&id);
        model.fleet.reports.remove(&id);
        model.run(10);
        assert_eq!((model.live("v2"), model.live("v1")), (1, 3), "after a {version} instance was lost");
    }
}

#[test]
fn min_passing_tolerates_what_it_says() {
    let mut model = Model::new(10, 5, 0).with_canary(vec![Step::from(StepKind::SetReplicas(5)), soak(5)]).settled();
    model.world.canary.as_mut().unwrap().spec.analysis.health.min_passing = Percent::new(80).unwrap();
    model.apply_version("v2");
    model.run(2);
    let sick = model.fleet.instances.values().find(|i| i.version == "v2").unwrap().id.clone();
    model.sick.insert(sick);
    model.run_until(30, |model| model.stage() == Some(Stage::Promoting));
}

#[test]
fn a_deleted_canary_leaves_a_plain_roll() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    model.world.canary = None;
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 4));
}

#[test]
fn an_exact_weight_that_cannot_be_had_is_refused_and_nothing_moves() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(10)]).settled();
    model.world.canary.as_mut().unwrap().spec.exact = true;
    model.apply_version("v2");
    model.run(20);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::WeightNotPossible, 3, 0));
}

#[test]
fn a_canary_whose_check_never_runs_waits_and_fails_by_the_deadline() {
    let mut model = hello();
    model.start_time = crate::model::seconds(1000);
    model.apply_version("v2");
    model.run(30);
    assert_eq!(model.reason(), Reason::CanaryStep, "no news is no failure");
    model.run(60);
    let cause = model.status().rollout.as_ref().unwrap().abort.as_ref().unwrap().cause;
    assert_eq!(cause, AbortCause::ProgressDeadlineExceeded);
}

#[test]
fn a_canary_in_full_needs_evidence_also_before_its_first_instance_is_there() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.ask(Verb::PromoteFull);
    model.step();
    assert_eq!(model.last_refusal().as_deref(), Some("no canary instance is there yet: 0 of 0 passing (needs 1)"));
    model.ask(Verb::PromoteFull);
    model.step();
    assert_eq!(model.last_refusal().as_deref(), Some("0 of 1 canary passing (needs 1)"), "it is starting");
    model.run(10);
    model.ask(Verb::PromoteFull);
    model.run(60);
    assert_eq!((model.last_refusal(), model.live("v2"), model.reason()), (None, 3, Reason::AllHealthy));
}

#[test]
fn a_pause_before_the_first_weight_waits_before_the_first_instance() {
    let timed = Step::from(StepKind::Pause(Pause { duration: Some(Period::from_secs(20)), promote_after: None }));
    let mut model = Model::new(3, 0, 1).with_canary(vec![timed, open_pause(), weight(34), open_pause()]).settled();
    model.apply_version("v2");
    for _ in 0..19 * 4 {
        model.step();
        assert_eq!((model.live("v1"), model.live("v2"), model.healthy(None)), (3, 0, 3));
    }
    assert_eq!(model.message(), "v2 at step 1/4 (pause 20s): canary 0% (0 of 3), 0 of 0 passing");
    model.run(200);
    assert_eq!((model.at_step(), model.live("v2"), model.reason()), (Some(1), 0, Reason::PausedAtStep));
    model.ask(Verb::PromoteFull);
    model.step();
    assert!(model.last_refusal().is_some(), "nothing is known of it yet");
    model.ask(Verb::Promote);
    model.run(20);
    assert_eq!((model.last_refusal(), model.at_step()), (None, Some(3)), "a gate needs no evidence");
    assert_eq!((model.live("v1"), model.live("v2")), (2, 1));
}

#[test]
fn a_canary_of_nothing_but_pauses_is_tried_out_by_one_instance_behind_them() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    assert_eq!((model.live("v2"), model.reason()), (0, Reason::PausedAtStep));
    model.ask(Verb::Promote);
    model.step();
    assert_eq!((model.live("v1"), model.live("v2"), model.stage()), (3, 1, Some(Stage::Steps)));
    model.run(60);
    assert_eq!((model.live("v2"), model.reason()), (3, Reason::AllHealthy));
}

/// Whatever brings a canary forward is decided on health that is read past every cache.
#[test]
fn the_end_of_a_step_and_a_promotion_ask_for_health_read_past_every_cache() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(3), open_pause()]).settled();
    model.apply_version("v2");
    let mut forward = Vec::new();
    for second in 0..60 {
        if second == 30 {
            model.ask(Verb::Promote);
        }
        model.world.now += crate::model::seconds(1);
        model.agents_act();
        let plan = model.reconcile();
        let came: Vec<_> = plan.events.iter().map(|event| event.reason.as_str()).collect();
        let came: Vec<_> = came.into_iter().filter(|event| event.starts_with("Canary")).map(str::to_owned).collect();
        assert!(came.is_empty() || plan.needs_fresh_health, "{came:?}");
        forward.extend(came);
    }
    assert_eq!(forward, ["CanaryStepDone", "CanaryStepDone", "CanaryStepDone", "CanaryPromoted"]);
}

#[test]
fn promote_after_asks_for_no_more_than_min_passing() {
    let pause = Step::from(StepKind::Pause(Pause { duration: None, promote_after: Some(Period::from_secs(20)) }));
    let mut model = Model::new(10, 5, 0).with_canary(vec![Step::from(StepKind::SetReplicas(5)), pause]).settled();
    model.world.canary.as_mut().unwrap().spec.analysis.health.min_passing = Percent::new(80).unwrap();
    model.apply_version("v2");
    model.run(10);
    let sick: Vec<_> = model.fleet.instances.values().filter(|i| i.version == "v2").map(|i| i.id.clone()).collect();
    model.sick.insert(sick[0].clone());
    model.run(16);
    assert_eq!(model.stage(), Some(Stage::Promoting), "four of five are enough");
}

#[test]
fn exact_weights_ask_nothing_of_a_count_of_canaries() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![Step::from(StepKind::SetReplicas(7)), open_pause()]).settled();
    model.world.canary.as_mut().unwrap().spec.exact = true;
    model.apply_version("v2");
    model.run(40);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::PausedAtStep, 1, 3));
}
