//! Facts from the tests of Nomad's reconciler and of Flagger, as rows. Each is told in Helium's meaning; where that differs, the row
//! says so.

use std::collections::BTreeMap;

use helium_crds::{
    NodeName,
    control::Verb,
    status::{AbortCause, Reason, Stage},
    step::{Step, StepKind},
};
use helium_planner::{Action, Node, StopCause};

use crate::model::{Model, open_pause, seconds, weight};

fn live(model: &Model) -> (u32, u32) {
    (model.live("v1"), model.live("v2"))
}

fn nomad(replicas: u32, canaries: u32, surge: u32) -> Model {
    Model::new(replicas, surge, 0)
        .with_canary(vec![Step::from(StepKind::SetReplicas(canaries)), open_pause()])
        .settled()
}

/// Nomad's reconciler, count 10 and canary 2: an update places 2 canaries and leaves 10; a scale up adds no canary; a scale
/// down stops what is too much of the stable version only.
#[test]
fn a_count_of_canaries_stays_through_a_rescale() {
    let mut model = nomad(10, 2, 2);
    model.apply_version("v2");
    model.run(20);
    assert_eq!(live(&model), (10, 2));
    model.scale(15);
    model.run(20);
    assert_eq!(live(&model), (15, 2));
    model.scale(5);
    model.run(20);
    assert_eq!(live(&model), (5, 2));
}

/// The same with the count in the update itself. Nomad leaves the stable version at 10 until the promotion; here a count is followed at
/// once, whatever else came with it.
#[test]
fn a_count_that_comes_with_the_update_is_followed_beside_the_canaries() {
    for (replicas, stable) in [(15, 15), (5, 5)] {
        let mut model = nomad(10, 2, 2);
        model.apply_version("v2");
        model.scale(replicas);
        model.run(30);
        assert_eq!(live(&model), (stable, 2), "to {replicas}");
    }
}

/// Nomad: count 3 with 7 canaries places 7. Here no more than the wanted count is tried, and the surge bounds the rest.
#[test]
fn there_are_no_more_canaries_than_instances() {
    let mut model = nomad(3, 7, 1);
    model.apply_version("v2");
    model.run(40);
    assert_eq!(live(&model), (1, 3));
}

/// Nomad: a node with both canaries is lost: both are placed again, and both old ones stop when it returns.
#[test]
fn canaries_of_a_lost_node_are_placed_elsewhere() {
    let mut model = nomad(10, 2, 2);
    let other = NodeName::new("node-z");
    model.fleet.nodes.insert(other.clone(), Node { alive: true, ..Node::default() });
    model.apply_version("v2");
    model.run(20);
    assert!(model.fleet.instances.values().all(|one| (one.version == "v2") == (one.node == other)));
    model.strict = false;
    model.fleet.nodes.get_mut(&other).unwrap().alive = false;
    model.away.insert(other.clone());
    model.run(90);
    assert_eq!((live(&model), model.healthy(Some("v2")), model.reason()), ((10, 2), 2, Reason::PausedAtStep));
    model.fleet.nodes.get_mut(&other).unwrap().alive = true;
    model.away.clear();
    model.run(20);
    assert_eq!((live(&model), model.total()), ((10, 2), 12));
}

/// Nomad: paused or failed with one canary places none; failed stops the one.
#[test]
fn a_held_canary_is_not_completed_and_an_aborted_one_is_stopped() {
    let mut model = nomad(4, 2, 2);
    model.apply_version("v2");
    model.run(20);
    model.ask(Verb::Pause);
    model.step();
    let gone = model.fleet.instances.values().find(|one| one.version == "v2").unwrap().id.clone();
    model.fleet.instances.remove(&gone);
    model.fleet.assignments.remove(&gone);
    model.fleet.reports.remove(&gone);
    model.fleet.catalog.remove(&gone);
    model.run(20);
    assert_eq!((live(&model), model.reason()), ((4, 1), Reason::PausedByPerson));
    model.ask(Verb::Abort);
    model.run(10);
    assert_eq!(live(&model), (4, 0));
}

/// Nomad: canaries as many as the count, promoted: the old ones stop, nothing is placed.
#[test]
fn a_promotion_of_a_whole_canary_places_nothing() {
    let mut model = nomad(2, 2, 2);
    model.apply_version("v2");
    model.run(20);
    assert_eq!(live(&model), (2, 2));
    let made = model.status().next_ordinal;
    model.ask(Verb::Promote);
    model.run(20);
    assert_eq!((live(&model), model.reason(), model.status().next_ordinal), ((0, 2), Reason::AllHealthy, made));
}

/// Nomad: of 4 updated at once, k are healthy: exactly k more are updated.
#[test]
fn as_many_are_replaced_as_have_become_available() {
    for healthy in 0..=4 {
        let mut model = Model::new(10, 0, 4).settled();
        model.apply_version("v2");
        model.run_until(10, |model| live(model) == (6, 4));
        let new: Vec<_> =
            model.fleet.instances.values().filter(|one| one.version == "v2").map(|one| one.id.clone()).collect();
        model.sick.extend(new.into_iter().skip(healthy));
        model.stop_time = seconds(100_000);
        model.run(20);
        assert_eq!(live(&model), (6 - u32::try_from(healthy).unwrap(), 4), "{healthy} of 4 are available");
    }
}

/// Nomad: 7 of 10 are alive and 4 may be replaced at once: 3 are placed and 1 is replaced.
#[test]
fn instances_that_are_gone_already_count_as_unavailable() {
    let mut model = Model::new(10, 0, 4).settled();
    for id in model.fleet.instances.keys().take(3).cloned().collect::<Vec<_>>() {
        model.fleet.instances.remove(&id);
        model.fleet.assignments.remove(&id);
        model.fleet.catalog.remove(&id);
    }
    model.apply_version("v2");
    let plan = model.reconcile();
    let number = |of: fn(&Action) -> bool| plan.actions.iter().filter(|action| of(action)).count();
    assert_eq!(number(|action| matches!(action, Action::Create(..))), 3);
    assert_eq!(number(|action| matches!(action, Action::Stop(_, _, StopCause::Superseded))), 1);
}

/// Nomad refuses a rollback to the same spec, so that it never loops. Here the way back is tried once.
#[test]
fn a_way_back_is_tried_once_and_never_again_by_itself() {
    let mut model = Model::new(3, 0, 1).settled();
    model.strict = false;
    model.apply_version("v2");
    model.run(8);
    model.bad.extend(["v1".to_owned(), "v2".to_owned()]);
    model.run(400);
    let told: BTreeMap<&str, usize> = model.events.iter().fold(BTreeMap::new(), |mut told, event| {
        *told.entry(event.as_str()).or_default() += 1;
        told
    });
    assert_eq!((model.reason(), told["RolloutAborted"], told["RollbackFailed"]), (Reason::RollbackFailed, 1, 1));
}

/// Nomad: a newer job while 2 canaries are there: both stop, 2 of the newer are placed, and the 10 stay.
#[test]
fn the_canaries_of_a_newer_version_take_the_places_of_the_older_ones() {
    let mut model = nomad(10, 2, 2);
    model.apply_version("v2");
    model.run(20);
    model.apply_version("v3");
    let plan = model.reconcile();
    let stopped = plan.actions.iter().filter(|action| matches!(action, Action::Stop(one, ..) if one.version == "v2"));
    assert_eq!(stopped.count(), 2);
    model.run(20);
    assert_eq!((live(&model), model.live("v3"), model.reason()), ((10, 0), 2, Reason::PausedAtStep));
}

/// Nomad: count 10, canary 2, 2 at a time, promoted: 2 are replaced, 2 are stopped, 8 are left alone. Here canary and stable
/// instances are counted together against the surge, so that stopping 2 makes the room in which the next 2 are made.
#[test]
fn a_promotion_goes_on_by_as_many_as_the_surge_allows() {
    let mut model = nomad(10, 2, 2);
    model.apply_version("v2");
    model.run(20);
    model.ask(Verb::Promote);
    let plan = model.reconcile();
    let stops = plan.actions.iter().filter(|action| matches!(action, Action::Stop(_, _, StopCause::Superseded)));
    let made = plan.actions.iter().filter(|action| matches!(action, Action::Create(..)));
    assert_eq!((stops.count(), made.count(), live(&model)), (2, 0, (8, 2)));
    model.run_until(5, |model| live(model) == (8, 4));
    model.run(60);
    assert_eq!((live(&model), model.reason()), ((0, 10), Reason::AllHealthy));
}

/// Nomad fails a deployment early when an instance has used up its attempts to restart. Helium's agents restart for ever, with a
/// growing pause, and what fails a plain roll is the deadline alone: what heals in time is welcome. With a Canary the failed
/// samples end it sooner.
#[test]
fn a_roll_whose_instances_end_again_and_again_fails_by_its_deadline_and_a_canary_by_its_samples() {
    let mut model = Model::new(3, 1, 0).settled();
    model.crashing.insert("v2".to_owned());
    model.apply_version("v2");
    model.run(58);
    assert_eq!((live(&model), model.stage()), ((3, 1), Some(Stage::Promoting)));
    model.run(10);
    let cause = |model: &Model| model.status().rollout.as_ref().unwrap().abort.as_ref().unwrap().cause;
    assert_eq!((live(&model), cause(&model)), ((3, 0), AbortCause::ProgressDeadlineExceeded));

    let mut model = nomad(3, 1, 1);
    model.crashing.insert("v2".to_owned());
    model.apply_version("v2");
    model.run(10);
    assert_eq!((live(&model), cause(&model)), ((3, 0), AbortCause::CanaryUnhealthy));
}

/// Flagger: the primary dies while the canary is at its steps, is promoted, or finishes. The canary is not scaled down, and the
/// new version takes over. (Flagger calls that failed, since its primary has to be rebuilt; here the canary is what serves.)
#[test]
fn a_stable_version_that_breaks_in_the_midst_of_a_canary_does_not_block_it() {
    for (surge, unavailable) in [(1, 0), (0, 1)] {
        let steps = vec![weight(50), open_pause()];
        let mut model = Model::new(4, surge, unavailable).with_canary(steps).settled();
        model.strict = false; // the world takes instances here
        model.apply_version("v2");
        model.run(30);
        model.bad.insert("v1".to_owned());
        model.run(30);
        assert_eq!((live(&model), model.reason()), ((2, 2), Reason::PausedAtStep), "at a step, surge {surge}");
        model.ask(Verb::Promote);
        model.run(60);
        assert_eq!((live(&model), model.reason()), ((0, 4), Reason::AllHealthy), "surge {surge}");

        // Before the first weight is reached.
        let mut model = Model::new(4, surge, unavailable).with_canary(vec![weight(25), weight(50)]).settled();
        model.strict = false;
        model.apply_version("v2");
        model.step();
        model.bad.insert("v1".to_owned());
        model.run(90);
        assert_eq!((live(&model), model.reason()), ((0, 4), Reason::AllHealthy), "in a step, surge {surge}");
    }
}

#[test]
fn a_stable_version_that_breaks_while_its_successor_is_promoted_is_replaced_at_once() {
    for (surge, unavailable) in [(1, 0), (0, 1)] {
        let mut model = Model::new(6, surge, unavailable).with_canary(vec![weight(20)]).settled();
        model.strict = false;
        model.apply_version("v2");
        model.run_until(60, |model| model.stage() == Some(Stage::Promoting) && model.healthy(Some("v2")) == 3);
        model.bad.insert("v1".to_owned());
        model.run(4);
        assert_eq!((live(&model).0, model.healthy(Some("v2")) >= 3), (0, true), "surge {surge}");
        model.run(20);
        assert_eq!((live(&model), model.reason()), ((0, 6), Reason::AllHealthy), "surge {surge}");
    }
}
