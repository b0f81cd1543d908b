//! A count that changes under a hold: it is followed, and the rollout comes no further by it.

use helium_crds::{
    NodeName,
    control::Verb,
    deployment::{OnFailure, Recreate, Strategy},
    status::{Reason, Stage},
};

use crate::model::{Model, NODE, open_pause, weight};

fn live(model: &Model) -> (u32, u32) {
    (model.live("v1"), model.live("v2"))
}

fn held_in_its_steps() -> Model {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause(), weight(50), open_pause()]).settled();
    model.apply_version("v2");
    model.run(20);
    model.ask(Verb::Pause);
    model.run(2);
    assert_eq!((live(&model), model.reason()), ((3, 1), Reason::PausedByPerson));
    model
}

#[test]
fn a_canary_that_a_person_holds_is_rescaled_at_its_weight_and_stays_at_its_step() {
    let mut model = held_in_its_steps();
    for (replicas, counts) in [(8, (6, 2)), (4, (3, 1)), (12, (9, 3))] {
        model.scale(replicas);
        model.run(30);
        assert_eq!((live(&model), model.reason()), (counts, Reason::PausedByPerson), "{replicas} replicas");
        assert_eq!((model.at_step(), model.status().wanted), (Some(1), replicas));
    }
    model.ask(Verb::Resume);
    model.run(10);
    assert_eq!((live(&model), model.reason()), ((9, 3), Reason::PausedAtStep));
}

#[test]
fn a_canary_that_failed_and_is_held_is_rescaled_at_its_weight() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
    model.deployment().spec.on_failure = OnFailure::Pause;
    model.apply_bad_version("v2");
    model.run(30);
    assert_eq!((live(&model), model.reason()), ((4, 1), Reason::PausedOnFailure));
    model.scale(8);
    model.run(20);
    assert_eq!((live(&model), model.reason()), ((6, 2), Reason::PausedOnFailure));
    model.scale(4);
    model.run(20);
    assert_eq!(live(&model), (4, 1), "no healthy one goes for one that fails");
    assert_eq!(model.at_step(), Some(0));
}

#[test]
fn under_a_hold_in_a_plain_roll_the_new_version_keeps_what_it_has_and_the_stable_one_takes_the_rest() {
    let mut model = Model::new(4, 1, 0).settled();
    model.apply_version("v2");
    model.run_until(10, |model| live(model) == (3, 2));
    model.ask(Verb::Pause);
    model.run(20);
    assert_eq!(live(&model), (3, 2));
    // The surge of one is there still, as it was when the hold began.
    for (replicas, counts) in [(8, (7, 2)), (3, (2, 2)), (1, (1, 1)), (4, (4, 1))] {
        model.scale(replicas);
        model.run(20);
        assert_eq!((live(&model), model.reason()), (counts, Reason::PausedByPerson), "{replicas} replicas");
    }
    model.ask(Verb::Resume);
    model.run(60);
    assert_eq!((live(&model), model.reason()), ((0, 4), Reason::AllHealthy));
}

#[test]
fn a_roll_that_failed_and_is_held_serves_a_greater_count_from_the_stable_version() {
    let mut model = Model::new(4, 1, 0).settled();
    model.deployment().spec.on_failure = OnFailure::Pause;
    model.apply_bad_version("v2");
    model.run(90);
    assert_eq!((live(&model), model.reason()), ((4, 1), Reason::PausedOnFailure));
    for (replicas, counts) in [(8, (8, 1)), (2, (2, 1))] {
        model.scale(replicas);
        model.run(20);
        assert_eq!((live(&model), model.healthy(None)), (counts, replicas), "{replicas} replicas");
    }
}

#[test]
fn a_promotion_that_is_held_keeps_what_it_has_through_a_rescale() {
    let mut model = held_in_its_steps();
    model.ask(Verb::PromoteFull);
    model.run_until(20, |model| model.live("v2") == 2);
    model.ask(Verb::Pause);
    model.scale(10);
    model.run(30);
    assert_eq!((live(&model), model.stage()), ((9, 2), Some(Stage::Promoting)));
}

#[test]
fn a_first_rollout_that_is_held_takes_the_new_count_itself() {
    let mut model = Model::new(3, 1, 0);
    model.run(1);
    model.ask(Verb::Pause);
    model.step();
    model.scale(5);
    model.run(20);
    assert_eq!((model.live("v1"), model.reason()), (5, Reason::PausedByPerson));
    model.scale(2);
    model.run(20);
    assert_eq!((model.live("v1"), model.reason()), (2, Reason::PausedByPerson));
}

#[test]
fn a_re_creation_that_is_held_follows_the_count_and_mixes_no_versions() {
    let mut model = Model::new(3, 1, 0).settled();
    model.deployment().spec.strategy = Strategy::Recreate(Recreate {});
    model.apply_version("v2");
    model.run_until(10, |model| model.live("v2") == 3);
    model.ask(Verb::Pause);
    model.step();
    for replicas in [5, 2] {
        model.scale(replicas);
        model.run(20);
        assert_eq!((live(&model), model.reason()), ((0, replicas), Reason::PausedByPerson));
    }
}

#[test]
fn a_re_creation_that_is_held_between_the_versions_stays_there() {
    let mut model = Model::new(3, 1, 0).settled();
    model.deployment().spec.strategy = Strategy::Recreate(Recreate {});
    model.stop_time = crate::model::seconds(10);
    model.apply_version("v2");
    model.run(2);
    model.ask(Verb::Pause);
    model.step();
    model.scale(5);
    model.run(30);
    assert_eq!((live(&model), model.total()), ((0, 0), 0));
    model.ask(Verb::Resume);
    model.run(20);
    assert_eq!((live(&model), model.reason()), ((0, 5), Reason::AllHealthy));
}

#[test]
fn a_return_that_is_held_keeps_what_is_left_of_the_other_version() {
    let mut model = Model::new(4, 1, 0).settled();
    model.apply_version("v2");
    model.run_until(10, |model| live(model) == (3, 2));
    model.apply_version("v1");
    model.ask(Verb::Pause);
    model.scale(8);
    model.run(20);
    assert_eq!((live(&model), model.reason()), ((7, 2), Reason::PausedByPerson));
}

#[test]
fn a_hold_without_a_new_count_moves_nothing_and_survives_becoming_a_failures() {
    let mut model = held_in_its_steps();
    model.deployment().spec.on_failure = OnFailure::Pause;
    model.scale(8);
    model.run(20);
    model.bad.insert("v2".to_owned());
    model.run(20);
    assert_eq!((live(&model), model.reason()), ((6, 2), Reason::PausedOnFailure));
    model.wipe_one("v2");
    model.run(20);
    assert_eq!(live(&model), (6, 2), "the weight at the new count holds under either hold");
}

#[test]
fn a_hold_that_begins_before_a_lower_count_was_followed_follows_it() {
    let mut model = Model::new(6, 1, 0).settled();
    model.apply_version("v2");
    model.run_until(60, |model| live(model) == (0, 6) || live(model) == (1, 6));
    // Nothing can be seen, so that nothing is chosen to stop.
    model.fleet.nodes.get_mut(&NodeName::new(NODE)).unwrap().alive = false;
    model.scale(2);
    model.run(2);
    model.ask(Verb::Pause);
    model.run(2);
    assert_eq!(model.reason(), Reason::PausedByPerson);
    model.fleet.nodes.get_mut(&NodeName::new(NODE)).unwrap().alive = true;
    model.run_until(30, |model| model.total() <= 3);
    assert_eq!(model.reason(), Reason::PausedByPerson);
}
