//! What the fleet does by itself: nodes that leave, records that vanish, views that cannot be trusted.

use std::sync::Arc;

use helium_crds::{
    NodeName,
    features::Features,
    instance::{Desired, InstancePhase},
    status::{Reason, WaitingOn},
};
use helium_planner::{Action, Decision, Node, Sight, Trusted, plan};

use crate::model::{Model, NODE, open_pause, seconds, soak, weight};

fn two_nodes(replicas: u32) -> Model {
    let mut model = Model::new(replicas, 1, 0);
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
    model.away.clear();
}

fn on(model: &Model, node: &str) -> usize {
    let here = |instance: &&helium_crds::instance::Instance| {
        instance.node.as_str() == node && instance.desired == Desired::Run
    };
    model.fleet.instances.values().filter(here).count()
}

#[test]
fn instances_are_spread_over_the_nodes() {
    let model = two_nodes(4);
    assert_eq!((on(&model, NODE), on(&model, "node-b")), (2, 2));
}

#[test]
fn without_an_agent_a_deployment_is_pending_and_says_so() {
    let mut model = Model::new(2, 1, 0);
    model.fleet.nodes.clear();
    model.run(5);
    assert_eq!((model.reason(), model.status().waiting_on.clone()), (Reason::NoAgents, vec![WaitingOn::Agents]));
    model.fleet.nodes.insert(NodeName::new(NODE), Node { alive: true, ..Node::default() });
    model.run(20);
    assert_eq!(model.reason(), Reason::AllHealthy);
}

#[test]
fn a_fixed_port_allows_one_instance_a_node() {
    let mut model = Model::new(2, 1, 0);
    model.deployment().spec.template.ports[0].port = Some(8080);
    model.run(1);
    assert_eq!(on(&model, NODE), 1);
    let no_place =
        |waiting: &WaitingOn| matches!(waiting, WaitingOn::Place { instances: 1, why } if why.contains("8080"));
    assert!(model.status().waiting_on.iter().any(no_place), "{:?}", model.status().waiting_on);
}

#[test]
fn a_node_that_is_away_for_a_while_costs_nothing_but_sight() {
    let mut model = two_nodes(4);
    leave(&mut model, "node-b");
    model.run(50);
    assert_eq!((on(&model, NODE), on(&model, "node-b")), (2, 2), "unknown is neither healthy nor replaced");
    assert!(model.status().waiting_on.iter().any(|waiting| matches!(waiting, WaitingOn::Sight { .. })));
    come_back(&mut model, "node-b");
    model.run(10);
    assert_eq!((model.reason(), on(&model, "node-b")), (Reason::AllHealthy, 2));
}

#[test]
fn a_lost_node_is_replaced_elsewhere_and_stops_what_it_has_when_it_returns() {
    let mut model = two_nodes(4);
    leave(&mut model, "node-b");
    model.run(90);
    assert_eq!((on(&model, NODE), model.reason()), (4, Reason::AllHealthy));
    let waiting = model.fleet.assignments.values().filter(|assignment| assignment.desired == Desired::Stop).count();
    assert_eq!(waiting, 2, "the assignments wait for the node's return");
    come_back(&mut model, "node-b");
    model.run(20);
    assert_eq!((model.fleet.instances.len(), on(&model, NODE)), (4, 4));
}

#[test]
fn time_that_nobody_watched_makes_no_node_lost() {
    let mut model = two_nodes(4);
    leave(&mut model, "node-b");
    model.run(5);
    model.world.now += seconds(3600);
    model.world.watching_since = model.world.now;
    model.run(50);
    assert_eq!(on(&model, "node-b"), 2);
    model.run(20);
    assert_eq!(on(&model, "node-b"), 0);
}

#[test]
fn an_instance_that_leaves_the_catalog_while_it_runs_is_unknown() {
    let mut model = Model::new(3, 1, 0).settled();
    let id = model.fleet.instances.keys().next().unwrap().clone();
    model.fleet.catalog.remove(&id);
    let plan = model.reconcile();
    assert!(plan.actions.iter().all(|action| matches!(action, Action::Note(_))), "{:?}", plan.actions);
    assert_eq!(model.status().healthy, 2);
}

#[test]
fn a_deleted_assignment_is_written_again() {
    let mut model = Model::new(3, 1, 0).settled();
    let id = model.fleet.instances.keys().next().unwrap().clone();
    let before = model.fleet.assignments.remove(&id).unwrap();
    model.reconcile();
    assert_eq!(model.fleet.assignments[&id], before);
}

#[test]
fn a_deleted_record_is_taken_up_again_from_its_assignment() {
    let mut model = Model::new(3, 1, 0).settled();
    let id = model.fleet.instances.keys().next().unwrap().clone();
    model.fleet.instances.remove(&id);
    model.run(5);
    assert_eq!((model.fleet.instances.len(), model.fleet.assignments.len(), model.live("v1")), (3, 3, 3));
}

#[test]
fn tags_and_meta_change_in_place() {
    let mut model = Model::new(3, 1, 0).settled();
    let ids: Vec<_> = model.fleet.instances.keys().cloned().collect();
    model.deployment().spec.tags = vec!["blue".to_owned()];
    model.deployment().spec.meta.insert("team".to_owned(), "shop".to_owned());
    model.run(5);
    assert_eq!(model.fleet.instances.keys().cloned().collect::<Vec<_>>(), ids);
    assert!(model.fleet.assignments.values().all(|assignment| assignment.service.tags == ["blue", "stable"]));
    assert!(model.fleet.assignments.values().all(|assignment| assignment.service.meta["team"] == "shop"));
}

#[test]
fn a_view_that_cannot_be_trusted_changes_nothing() {
    let mut model = Model::new(3, 1, 0).settled();
    model.apply_version("v2");
    model.world.fleet = Sight::Blind { reason: "the catalog does not show the controller itself".to_owned() };
    assert!(matches!(plan(&model.world), Decision::Blind { reason } if reason.contains("controller itself")));
}

#[test]
fn a_missing_status_beside_instances_is_no_first_deploy() {
    let mut model = Model::new(3, 1, 0).settled();
    model.world.status = None;
    model.world.fleet = Sight::Trusted(Trusted::vouch(model.fleet.clone()));
    assert!(matches!(plan(&model.world), Decision::Blind { reason } if reason.contains("status is missing")));
}

#[test]
fn a_marked_deployment_is_taken_down_and_then_removed() {
    let mut model = Model::new(3, 1, 0).settled();
    model.strict = false;
    model.deployment().metadata.deletion_requested_at = Some(model.world.now);
    model.step();
    assert_eq!(model.reason(), Reason::DeletionRequested);
    model.run(5);
    assert!(model.fleet.instances.is_empty() && model.fleet.assignments.is_empty());
    assert!(model.reconcile().actions.contains(&Action::RemoveObject));
}

#[test]
fn a_new_leader_restarts_a_soak_at_most_once_and_never_promotes_early() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(20), open_pause()]).settled();
    model.apply_version("v2");
    model.run_until(20, |model| model.status().rollout.as_ref().is_some_and(|rollout| rollout.step == 1));
    model.run(10);
    // The check index has moved while nobody watched: something may have flapped.
    model.fleet.catalog.values_mut().for_each(|entry| entry.check_index += 2);
    model.world.watching_since = model.world.now;
    model.run(15);
    assert_eq!(model.status().rollout.as_ref().unwrap().step, 1);
    model.run(6);
    assert_eq!(model.status().rollout.as_ref().unwrap().step, 2);
}

#[test]
fn a_new_leader_goes_on_with_a_soak_that_provably_nothing_broke() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(20), open_pause()]).settled();
    model.apply_version("v2");
    model.run_until(20, |model| model.status().rollout.as_ref().is_some_and(|rollout| rollout.step == 1));
    model.run(10);
    model.world.watching_since = model.world.now;
    model.run(11);
    assert_eq!(model.status().rollout.as_ref().unwrap().step, 2);
}

#[test]
fn an_instant_in_the_future_counts_as_now() {
    let mut model = Model::new(3, 1, 0).with_canary(vec![weight(25), soak(20), open_pause()]).settled();
    model.apply_version("v2");
    model.run_until(20, |model| model.status().rollout.as_ref().is_some_and(|rollout| rollout.step == 1));
    let future = model.world.now + seconds(86_400);
    model.world.status.as_mut().unwrap().rollout.as_mut().unwrap().step_started_at = future;
    model.run(1);
    assert_eq!(model.status().rollout.as_ref().unwrap().step, 1, "not ended early");
}

#[test]
fn an_instance_that_was_stopped_by_hand_is_unhealthy_and_not_doubled() {
    let mut model = Model::new(2, 1, 0).settled();
    model.strict = false;
    let id = model.fleet.instances.keys().next().unwrap().clone();
    model.fleet.reports.get_mut(&id).unwrap().phase = InstancePhase::Stopped;
    model.fleet.catalog.remove(&id);
    model.reconcile();
    assert_eq!((model.reason(), model.live("v1")), (Reason::InstancesUnhealthy, 2));
}

#[test]
fn a_node_in_maintenance_keeps_what_it_has_and_gets_nothing_new() {
    let mut model = two_nodes(2);
    let set = |model: &mut Model, node: &str, so: bool| {
        model.fleet.nodes.get_mut(&NodeName::new(node)).unwrap().in_maintenance = so;
    };
    set(&mut model, NODE, true);
    model.deployment().spec.replicas = Some(4);
    model.run(20);
    assert_eq!((on(&model, NODE), on(&model, "node-b")), (1, 3));
    set(&mut model, "node-b", true);
    model.deployment().spec.replicas = Some(5);
    model.run(5);
    let no_place =
        |waiting: &WaitingOn| matches!(waiting, WaitingOn::Place { instances: 1, why } if why.contains("maintenance"));
    assert!(model.status().waiting_on.iter().any(no_place), "{:?}", model.status().waiting_on);
    set(&mut model, NODE, false);
    model.run(20);
    assert_eq!((on(&model, NODE), on(&model, "node-b")), (2, 3));
}

/// A machine with the driver `exec`, and with what else is said.
fn machine(nix: Option<&str>, switches_users: bool) -> Arc<Features> {
    let nix = nix.map(str::to_owned);
    let (drivers, user) = (["exec".to_owned()].into(), "helium".to_owned());
    Arc::new(Features { drivers, nix, user, switches_users, ..Features::default() })
}

fn features<'a>(model: &'a mut Model, node: &str) -> &'a mut Option<Arc<Features>> {
    &mut model.fleet.nodes.get_mut(&NodeName::new(node)).unwrap().features
}

fn why_no_place(model: &Model) -> Option<String> {
    model.status().waiting_on.iter().find_map(|waiting| match waiting {
        WaitingOn::Place { why, .. } => Some(why.clone()),
        _ => None,
    })
}

fn from_the_nix_store(model: &mut Model) {
    let package = r#"{"url": "nix:///nix/store/${VERSION}"}"#;
    model.deployment().spec.template.package = Some(serde_json::from_str(package).unwrap());
}

#[test]
fn a_package_of_nix_is_placed_where_nix_is_and_nobody_else_is_kept_from_the_others() {
    for (nix, on_a) in [(None, 0), (Some("2.3.16"), 0), (Some("2.18.1"), 2)] {
        let mut model = two_nodes(0);
        *features(&mut model, NODE) = Some(machine(nix, false));
        *features(&mut model, "node-b") = Some(machine(Some("2.18.1"), false));
        from_the_nix_store(&mut model);
        model.deployment().spec.replicas = Some(4);
        model.run(20);
        assert_eq!((on(&model, NODE), on(&model, "node-b")), (on_a, 4 - on_a), "{nix:?}");
    }
    let mut model = two_nodes(0);
    *features(&mut model, NODE) = Some(machine(None, false));
    model.deployment().spec.replicas = Some(4);
    model.run(20);
    assert_eq!((on(&model, NODE), on(&model, "node-b")), (2, 2), "what needs no Nix goes anywhere");
}

#[test]
fn a_node_that_does_not_say_what_it_has_is_taken_to_have_all() {
    let mut model = two_nodes(0);
    *features(&mut model, NODE) = Some(machine(None, false));
    from_the_nix_store(&mut model);
    model.deployment().spec.replicas = Some(2);
    model.run(20);
    assert_eq!((on(&model, NODE), on(&model, "node-b")), (0, 2));
}

#[test]
fn why_there_is_no_place_is_told_by_what_is_in_the_way_on_how_many_nodes() {
    let mut model = Model::new(0, 1, 0);
    for node in ["node-b", "node-c", "node-d"] {
        model.fleet.nodes.insert(NodeName::new(node), Node { alive: true, ..Node::default() });
    }
    let model = &mut model;
    from_the_nix_store(model);
    model.deployment().spec.template.ports[0].port = Some(8080);
    for node in [NODE, "node-b"] {
        *features(model, node) = Some(machine(None, false));
    }
    model.fleet.nodes.get_mut(&NodeName::new("node-c")).unwrap().in_maintenance = true;
    model.deployment().spec.replicas = Some(2);
    model.run(5);
    assert_eq!(
        why_no_place(model).as_deref(),
        Some(
            "1 of 4 live nodes is in maintenance; 2 of 4 live nodes have no Nix of 2.8 or later; port 8080 is taken on 1 of 4 live nodes"
        )
    );
    model.fleet.nodes.retain(|node, _| [NODE, "node-d"].contains(&node.as_str()));
    model.run(5);
    assert_eq!(model.live("v1"), 1);
    let why = "1 of 2 live nodes has no Nix of 2.8 or later; port 8080 is taken on 1 of 2 live nodes";
    assert_eq!(why_no_place(model).as_deref(), Some(why));
    *features(model, NODE) = Some(machine(Some("2.18.1"), false));
    model.run(20);
    assert_eq!((on(model, NODE), on(model, "node-d"), model.reason()), (1, 1, Reason::AllHealthy));
}

#[test]
fn a_user_is_placed_where_the_agent_may_switch_to_it() {
    let mut model = two_nodes(0);
    *features(&mut model, NODE) = Some(machine(None, false));
    *features(&mut model, "node-b") = Some(machine(None, true));
    let helium_crds::template::Driver::Exec(exec) = &mut model.deployment().spec.template.driver;
    exec.user = Some("web".to_owned());
    model.deployment().spec.replicas = Some(2);
    model.run(20);
    assert_eq!((on(&model, NODE), on(&model, "node-b")), (0, 2));
    *features(&mut model, "node-b") = Some(machine(None, false));
    model.deployment().spec.replicas = Some(3);
    model.run(20);
    let why = "2 of 2 live nodes cannot run anything as `web`, for which an agent has to be root";
    assert_eq!((why_no_place(&model).as_deref(), on(&model, "node-b")), (Some(why), 2));
}

#[test]
fn a_node_that_has_lost_what_is_needed_keeps_what_runs_and_gets_nothing_new() {
    let mut model = two_nodes(0);
    for node in [NODE, "node-b"] {
        *features(&mut model, node) = Some(machine(Some("2.18.1"), false));
    }
    from_the_nix_store(&mut model);
    model.deployment().spec.replicas = Some(2);
    model.run(20);
    *features(&mut model, NODE) = Some(machine(None, false));
    model.run(20);
    assert_eq!((on(&model, NODE), on(&model, "node-b"), model.reason()), (1, 1, Reason::AllHealthy));
    model.deployment().spec.replicas = Some(4);
    model.run(20);
    assert_eq!((on(&model, NODE), on(&model, "node-b")), (1, 3));
    model.apply_version("v2");
    model.run(60);
    assert_eq!((on(&model, NODE), on(&model, "node-b")), (0, 4), "the next version goes where it can run");
}
