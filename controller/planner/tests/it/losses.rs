//! What is lost, taken down or gone: nodes with nowhere else to go, records that somebody removed, re-creations, deletions.

use helium_crds::{
    NodeName,
    control::Verb,
    deployment::{Recreate, Strategy},
    instance::Desired,
    status::{Reason, RolloutKind, WaitingOn},
};
use helium_planner::{Action, CheckState, Decision, Node, Sight, Trusted, plan};

use crate::{
    crossings::by_hand,
    model::{Model, NODE, open_pause, seconds, soak, weight},
};

fn two_nodes(replicas: u32, surge: u32, unavailable: u32) -> Model {
    let mut model = Model::new(replicas, surge, unavailable);
    model.fleet.nodes.insert(NodeName::new("node-b"), Node { alive: true, ..Node::default() });
    model.settled()
}

fn leave(model: &mut Model, node: &str) {
    model.fleet.nodes.get_mut(&NodeName::new(node)).unwrap().alive = false;
    model.away.insert(NodeName::new(node));
    model.strict = false;
}

fn come_back(model: &mut Model, node: &str) {
    model.fleet.nodes.get_mut(&NodeName::new(node)).unwrap().alive = true;
    model.away.remove(&NodeName::new(node));
}

#[test]
fn instances_on_a_lost_node_go_on_when_there_is_no_other_place_for_them() {
    let mut model = Model::new(3, 1, 0).settled();
    let ids: Vec<_> = model.fleet.instances.keys().cloned().collect();
    leave(&mut model, NODE);
    model.run(300);
    assert!(model.fleet.assignments.values().all(|assignment| assignment.desired == Desired::Run));
    assert!(model.status().waiting_on.contains(&WaitingOn::Agents), "{:?}", model.status().waiting_on);
    come_back(&mut model, NODE);
    model.run(10);
    assert_eq!((model.reason(), model.fleet.instances.keys().cloned().collect::<Vec<_>>()), (Reason::AllHealthy, ids));
}

#[test]
fn a_way_back_that_failed_forgets_no_lost_instance() {
    let mut model = two_nodes(4, 0, 1);
    model.strict = false;
    model.apply_version("v2");
    model.run(8);
    model.bad.insert("v1".to_owned());
    model.ask(Verb::Abort);
    model.run(100);
    assert_eq!(model.reason(), Reason::RollbackFailed);
    let before = model.live("v1") + model.live("v2");
    leave(&mut model, NODE);
    leave(&mut model, "node-b");
    model.run(90);
    come_back(&mut model, NODE);
    model.run(90);
    assert_eq!(model.live("v1") + model.live("v2"), before);
}

#[test]
fn under_recreate_an_old_instance_that_returns_takes_no_new_one_down() {
    let mut model = two_nodes(4, 1, 0);
    model.deployment().spec.strategy = Strategy::Recreate(Recreate {});
    model.deployment().spec.progress_deadline = helium_crds::Period::from_secs(600);
    leave(&mut model, "node-b");
    model.run(3);
    model.apply_version("v2");
    model.start_time = seconds(5);
    model.run_until(120, |model| model.healthy(Some("v2")) >= 3);
    let before: Vec<_> =
        model.fleet.instances.values().filter(|one| one.version == "v2").map(|one| one.id.clone()).collect();
    come_back(&mut model, "node-b");
    model.run(60);
    assert_eq!((model.reason(), model.live("v2")), (Reason::AllHealthy, 4));
    assert!(before.iter().all(|id| model.fleet.instances.contains_key(id)), "those that ran go on");
}

#[test]
fn the_way_back_under_recreate_never_mixes_versions_either() {
    let mut model = Model::new(3, 1, 0).settled();
    model.deployment().spec.strategy = Strategy::Recreate(Recreate {});
    model.apply_version("v2");
    model.run_until(60, |model| model.healthy(Some("v2")) == 3);
    model.ask(Verb::Abort);
    // They stop one after the other.
    for (number, since) in (1..).zip(model.fleet.instances.keys().cloned().collect::<Vec<_>>()) {
        model.slow.insert(since, seconds(3 * number));
    }
    for _ in 0..160 {
        model.step();
        let versions: std::collections::BTreeSet<_> =
            model.fleet.instances.values().map(|instance| instance.version.clone()).collect();
        assert_eq!(versions.len(), 1, "one version at a time");
    }
    assert_eq!((model.reason(), model.live("v1")), (Reason::RolloutAborted, 3));
}

#[test]
fn a_deleted_canary_leaves_a_re_creation_where_that_is_the_strategy() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(50), open_pause()]).settled();
    model.deployment().spec.strategy = Strategy::Recreate(Recreate {});
    model.apply_version("v2");
    model.run(20);
    model.world.canary = None;
    model.step();
    assert_eq!(model.status().rollout.as_ref().unwrap().kind, RolloutKind::Recreate);
    model.run(60);
    assert_eq!((model.reason(), model.live("v2"), model.total()), (Reason::AllHealthy, 3, 3));
}

#[test]
fn a_canary_under_recreate_goes_its_steps_and_is_promoted() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(34), soak(3)]).settled();
    model.deployment().spec.strategy = Strategy::Recreate(Recreate {});
    model.apply_version("v2");
    model.run(60);
    assert_eq!((model.reason(), model.live("v2"), model.total()), (Reason::AllHealthy, 3, 3));
}

#[test]
fn a_lost_stable_instance_is_replaced_by_the_stable_version_after_an_abort() {
    let mut model = Model::new(4, 1, 0).with_canary(vec![weight(25), soak(3)]);
    model.fleet.nodes.insert(NodeName::new("node-b"), Node { alive: true, ..Node::default() });
    let mut model = model.settled();
    model.apply_bad_version("v2");
    model.run(40);
    leave(&mut model, "node-b");
    model.run(90);
    assert_eq!(
        (model.reason(), model.live("v1"), model.live("v2"), model.healthy(None)),
        (Reason::RolloutAborted, 4, 0, 4)
    );
}

#[test]
fn a_deletion_ends_although_an_assignment_was_removed_by_hand_meanwhile() {
    let mut model = Model::new(2, 1, 0).settled();
    model.strict = false;
    model.stop_time = seconds(5);
    model.deployment().metadata.deletion_requested_at = Some(model.world.now);
    model.step();
    let id = model.fleet.instances.keys().next().unwrap().clone();
    model.fleet.assignments.remove(&id);
    model.run(20);
    assert!(model.fleet.instances.is_empty(), "{:#?}", model.fleet.instances);
    assert!(model.reconcile().actions.contains(&Action::RemoveObject));
}

#[test]
fn a_deletion_works_in_every_state_of_a_rollout() {
    type BringAbout = fn(&mut Model);
    let states: [(&str, BringAbout); 6] = [
        ("paused", |model| model.run(20)),
        ("held", |model| {
            model.run(3);
            model.ask(Verb::Pause);
            model.step();
        }),
        ("promoting", |model| {
            model.run(20);
            model.ask(Verb::PromoteFull);
            model.run(2);
        }),
        ("rolling back", |model| {
            model.run(20);
            model.ask(Verb::Abort);
            model.step();
        }),
        ("by hand", |model| by_hand(model, &[("v1", 1), ("v2", 1)])),
        ("invalid", |model| by_hand(model, &[("v9", 1)])),
    ];
    for (name, bring_about) in states {
        let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), open_pause()]).settled();
        model.apply_version("v2");
        model.step();
        bring_about(&mut model);
        model.strict = false;
        model.deployment().metadata.deletion_requested_at = Some(model.world.now);
        for _ in 0..40 {
            let before = model.status().next_ordinal;
            model.step();
            assert_eq!(model.status().next_ordinal, before, "{name}: nothing is made any more");
        }
        assert!(model.fleet.instances.is_empty() && model.fleet.assignments.is_empty(), "{name}");
        assert_eq!(model.reconcile().actions, [Action::RemoveObject], "{name}");
    }
}

#[test]
fn a_missing_status_beside_assignments_alone_is_no_first_deploy_either() {
    let mut model = Model::new(3, 1, 0).settled();
    model.world.status = None;
    model.fleet.instances.clear();
    model.world.fleet = Sight::Trusted(Trusted::vouch(model.fleet.clone()));
    assert!(matches!(plan(&model.world), Decision::Blind { reason } if reason.contains("status is missing")));
}

#[test]
fn an_older_status_gives_no_id_twice() {
    let mut model = Model::new(3, 1, 0).settled();
    let before = model.fleet.instances.clone();
    model.world.status.as_mut().unwrap().next_ordinal = 1;
    model.scale(5);
    model.run(20);
    assert_eq!((model.live("v1"), model.reason()), (5, Reason::AllHealthy));
    assert!(before.keys().all(|id| model.fleet.instances[id].created_at == before[id].created_at));
}

#[test]
fn an_instance_that_cannot_stop_because_its_node_left_is_looked_at_again_when_the_node_is_lost() {
    let mut model = two_nodes(2, 0, 1);
    model.deployment().spec.progress_deadline = helium_crds::Period::from_secs(600);
    model.apply_version("v2");
    model.stop_time = seconds(100_000);
    model.run(2);
    let stopping = model.fleet.instances.values().find(|one| one.desired == Desired::Stop).unwrap().node.clone();
    leave(&mut model, stopping.as_str());
    model.step();
    let after = model.reconcile().requeue_after.map(|after| after.as_secs());
    assert!(after.is_some_and(|after| after <= 60), "nothing else tells that it takes no room any more: {after:?}");
    model.run(70);
    assert!(model.live("v2") > 0, "its room is free");
}

/// After a restart of Consul every check is critical until it is asked: nobody is healthy for a moment, and nobody is to be replaced.
#[test]
fn a_consul_that_has_asked_nobody_yet_has_nothing_stopped_in_the_middle_of_a_roll() {
    let mut model = Model::new(4, 1, 0).settled();
    model.apply_version("v2");
    model.run_until(10, |model| model.healthy(Some("v2")) == 1);
    let before = (model.live("v1"), model.live("v2"));
    model.strict = false;
    for entry in model.fleet.catalog.values_mut() {
        entry.checks.values_mut().for_each(|check| *check = CheckState::Unasked);
    }
    model.reconcile();
    assert_eq!((model.live("v1"), model.live("v2"), model.status().healthy), (before.0, before.1, 0));
    model.run(60);
    assert_eq!((model.live("v1"), model.live("v2"), model.reason()), (0, 4, Reason::AllHealthy));
}
