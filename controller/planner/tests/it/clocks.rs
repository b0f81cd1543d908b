//! Clocks: deadlines that count only what they should, clocks that were put back, leaders that change.

use helium_crds::{
    control::Verb,
    deployment::{OnFailure, Recreate, Strategy},
    period::Period,
    status::{HoldKind, Reason, Stage},
    step::{Pause, Step, StepKind},
};
use helium_planner::{Action, Node};

use crate::model::{Model, open_pause, seconds, soak, weight};

fn soaking() -> Model {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(20), open_pause()]).settled();
    model.apply_version("v2");
    model.run_until(20, |model| step(model) == 1);
    model.run(5);
    model
}

fn step(model: &Model) -> u32 {
    model.status().rollout.as_ref().map_or(99, |rollout| rollout.step)
}

/// A new leader whose clock is an hour behind the old one's.
fn put_back(model: &mut Model) {
    model.world.now -= seconds(3600);
    model.world.watching_since = model.world.now;
}

/// How many of the next plans change the status, in so many seconds.
fn changes(model: &mut Model, length: i64) -> usize {
    let mut changes = 0;
    for _ in 0..length * 4 {
        let before = model.status().clone();
        model.step();
        changes += usize::from(before != *model.status());
    }
    changes
}

#[test]
fn a_soak_under_a_clock_that_was_put_back_takes_its_time_once_and_no_more() {
    let mut model = soaking();
    put_back(&mut model);
    model.run(19);
    assert_eq!(step(&model), 1, "not early");
    model.run(4);
    assert_eq!(step(&model), 2, "and not an hour late");
}

#[test]
fn a_clock_that_was_put_back_costs_a_few_writes_and_not_one_a_plan() {
    let mut model = soaking();
    put_back(&mut model);
    let changes = changes(&mut model, 15);
    assert!(changes <= 3, "{changes} changes while nothing happens");
}

#[test]
fn a_restart_under_a_clock_that_was_put_back_replaces_each_instance_once() {
    let mut model = Model::new(3, 1, 0).settled();
    model.ask(Verb::Restart);
    model.step();
    put_back(&mut model);
    model.run(60);
    assert_eq!(model.reason(), Reason::AllHealthy);
    assert_eq!(model.status().next_ordinal, 7, "three at first, and three for the restart");
}

#[test]
fn a_node_that_leaves_under_a_clock_that_was_put_back_is_lost_in_time() {
    let mut model = Model::new(2, 1, 0);
    model.fleet.nodes.insert("node-b".into(), Node { alive: true, ..Node::default() });
    let mut model = model.settled();
    model.strict = false;
    model.fleet.nodes.get_mut(&"node-b".into()).unwrap().alive = false;
    model.away.insert("node-b".into());
    model.run(5);
    put_back(&mut model);
    model.run(58);
    let on_b = |model: &Model| model.fleet.instances.values().filter(|one| one.node.as_str() == "node-b").count();
    assert_eq!((on_b(&model), model.live("v1")), (1, 2));
    model.run(20);
    assert_eq!((model.healthy(None), model.reason()), (2, Reason::AllHealthy));
}

/// Argo Rollouts e2e 12: what only takes long to go must not trip the deadline.
#[test]
fn a_slow_stop_does_not_trip_the_deadline() {
    for (surge, unavailable, drain) in [(1, 0, 0), (0, 1, 0), (1, 0, 20)] {
        let mut model = Model::new(2, surge, unavailable).settled();
        model.deployment().spec.progress_deadline = Period::from_secs(15);
        model.deployment().spec.drain = Period::from_secs(drain);
        model.deployment().spec.stop_grace_period = Period::from_secs(30 - drain);
        model.stop_time = seconds(30);
        model.apply_version("v2");
        model.run(200);
        assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 2), "surge {surge}");
        assert!(!model.events.contains(&"RolloutAborted".to_owned()));
    }
}

#[test]
fn a_slow_stop_under_recreate_does_not_trip_the_deadline() {
    let mut model = Model::new(2, 1, 0).settled();
    model.deployment().spec.strategy = Strategy::Recreate(Recreate {});
    model.deployment().spec.progress_deadline = Period::from_secs(15);
    model.stop_time = seconds(30);
    model.apply_version("v2");
    model.run(80);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 2));
}

#[test]
fn a_stop_that_never_ends_does_trip_the_deadline() {
    let mut model = Model::new(2, 1, 0).settled();
    model.stop_time = seconds(100_000);
    model.deployment().spec.stop_grace_period = Period::from_secs(30);
    model.apply_version("v2");
    model.run(60 + 30 + 20);
    assert!(model.events.contains(&"RolloutAborted".to_owned()), "{:#?}", model.status());
}

/// Nomad: a pause ignores the deadline, and a late promotion starts it anew.
#[test]
fn a_late_promotion_has_the_whole_deadline() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.apply_version("v2");
    model.run(1000);
    assert_eq!(model.reason(), Reason::PausedAtStep);
    model.ask(Verb::Promote);
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 4));
}

#[test]
fn time_in_which_nobody_led_trips_no_deadline() {
    let mut model = Model::new(3, 1, 0).settled();
    model.apply_bad_version("v2");
    model.run(30);
    model.world.now += seconds(7200);
    model.world.watching_since = model.world.now;
    model.run(55);
    assert_eq!(model.reason(), Reason::RollingUpdate);
    model.run(10);
    assert_eq!(model.reason(), Reason::RolloutAborted);
}

#[test]
fn a_canary_of_nothing_waits_for_a_count_and_fails_by_no_deadline() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), soak(5), open_pause()]).settled();
    model.apply_version("v2");
    model.run(4);
    model.scale(0);
    model.run(200);
    assert_eq!((model.stage(), model.total()), (Some(Stage::Steps), 0), "{:#?}", model.status());
    model.scale(4);
    model.run(30);
    assert_eq!((model.reason(), model.live("v2"), model.live("v1")), (Reason::PausedAtStep, 1, 3));
}

#[test]
fn a_canary_of_nothing_has_the_whole_deadline_when_it_goes_on_whoever_leads_by_then() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), soak(20), open_pause()]).settled();
    model.apply_version("v2");
    model.run(10);
    model.scale(0);
    model.run(100);
    // A new leader counts from here, and has counted most of the deadline when the canary goes on.
    model.world.watching_since = model.world.now;
    model.run(75);
    model.scale(4);
    model.run(40);
    assert_eq!((model.reason(), model.live("v2"), model.live("v1")), (Reason::PausedAtStep, 1, 3));
}

#[test]
fn a_failure_hold_of_a_canary_is_left_to_a_person() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.deployment().spec.on_failure = OnFailure::Pause;
    model.apply_bad_version("v2");
    model.run(30);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::PausedOnFailure, 3, 1));
    let hold = model.status().rollout.as_ref().unwrap().hold.clone().unwrap();
    assert!(hold.reason.unwrap().contains("GET /health -> 500"));
    assert_eq!(changes(&mut model, 200), 0, "nothing changes while a person is waited for");
    assert_eq!(model.events.iter().filter(|event| *event == "RolloutPaused").count(), 1);
    model.bad.clear();
    model.run(5);
    model.ask(Verb::Resume);
    model.run(20);
    assert_eq!((model.reason(), model.live("v2")), (Reason::PausedAtStep, 1));
}

#[test]
fn a_persons_hold_becomes_a_failures_when_failures_are_left_to_people() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.deployment().spec.on_failure = OnFailure::Pause;
    model.apply_version("v2");
    model.run(20);
    model.ask(Verb::Pause);
    model.run(2);
    model.bad.insert("v2".to_owned());
    model.run(20);
    assert_eq!(model.status().rollout.as_ref().unwrap().hold.as_ref().map(|hold| hold.kind), Some(HoldKind::Failure));
    model.ask(Verb::Abort);
    model.run(20);
    assert_eq!((model.reason(), model.live("v1"), model.live("v2")), (Reason::RolloutAborted, 3, 0));
}

/// Argo Rollouts e2e 6: a promotion skips a timed pause.
#[test]
fn a_promotion_ends_a_timed_pause() {
    let pause = Step::from(StepKind::Pause(Pause { duration: Some(Period::from_secs(3000)), promote_after: None }));
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), pause, weight(50), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    model.ask(Verb::Promote);
    model.run(20);
    assert_eq!((step(&model), model.reason()), (3, Reason::PausedAtStep));
    model.ask(Verb::Abort);
    model.run(20);
    assert_eq!(model.reason(), Reason::RolloutAborted);
    // Argo promotes an aborted rollout in full; here what was given up is retried first.
    model.ask(Verb::PromoteFull);
    model.step();
    assert!(model.last_refusal().unwrap().contains("retry"));
    model.ask(Verb::Retry);
    model.run(5);
    model.ask(Verb::PromoteFull);
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 3));
}

#[test]
fn at_rest_nothing_is_written_while_check_outputs_move_the_index_and_leaders_change() {
    let mut model = Model::new(3, 1, 0).settled();
    for round in 0..50 {
        model.world.now += seconds(11);
        if round % 7 == 0 {
            model.world.watching_since = model.world.now;
        }
        model.fleet.catalog.values_mut().for_each(|entry| entry.check_index += 3);
        let before = model.status().clone();
        let plan = model.reconcile();
        assert!(plan.actions.is_empty() && plan.events.is_empty(), "{:?}", plan.actions);
        assert_eq!(plan.status, before);
    }
}

#[test]
fn an_aborted_rollout_at_rest_is_planned_without_a_single_change() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(3)]).settled();
    model.apply_bad_version("v2");
    model.run(40);
    assert_eq!(model.reason(), Reason::RolloutAborted);
    assert_eq!(changes(&mut model, 500), 0);
    let plan = model.reconcile();
    assert_eq!((plan.actions, plan.requeue_after), (Vec::<Action>::new(), None));
}

#[test]
fn a_clock_that_is_set_back_writes_nothing_of_a_rollout_that_was_given_up_and_waits_for_nothing_but_a_fix() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(3)]).settled();
    model.apply_bad_version("v2");
    model.run_until(40, |model| model.stage() == Some(Stage::Aborted));
    model.run(20);
    model.world.now -= seconds(25); // before it was given up, and after the others became healthy
    let before = model.status().clone();
    assert!(before.rollout.as_ref().unwrap().progress_at > model.world.now);
    let plan = model.reconcile();
    assert_eq!((plan.actions, &plan.status), (Vec::<Action>::new(), &before));
    model.ask(Verb::Retry);
    model.bad.clear();
    model.run_until(60, |model| model.reason() == Reason::AllHealthy);
    assert_eq!(model.live("v2"), 3);
}
