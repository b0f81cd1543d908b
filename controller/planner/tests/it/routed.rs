//! A Canary that routes by weights in Consul: what each instance weighs, and when a step has its share.

#![allow(clippy::needless_pass_by_value, reason = "a document reads best where it is used")]

use helium_crds::{
    Canary,
    canary::TrafficRouting,
    status::{Reason, STABLE_WEIGHT, Stage, WaitingOn},
};
use serde_json::{Value, json};

use crate::model::{Model, canary_of};

/// Three instances of v1 under such steps, with weights in Consul.
fn routed(steps: Value) -> Model {
    let spec = canary_of(json!({"steps": steps, "trafficRouting": "consulWeights"}));
    Model::new(3, 1, 0).with_spec(spec).settled()
}

fn canary(model: &mut Model) -> &mut Canary {
    model.world.canary.as_mut().unwrap()
}

/// What the instances of a version that pass weigh in Consul, in order.
fn weights(model: &Model, version: &str) -> Vec<u32> {
    let of = model.fleet.instances.values().filter(|one| one.version == version && model.passes(&one.id));
    let mut weights: Vec<u32> = of.map(|one| model.fleet.catalog[&one.id].weight).collect();
    weights.sort_unstable();
    weights
}

/// The share of a version in what balancers send, in percent.
fn share(model: &Model, version: &str) -> f64 {
    let total = |version: &str| f64::from(weights(model, version).into_iter().sum::<u32>());
    let (new, old) = (total(version), total("v1"));
    if new + old > 0.0 { 100.0 * new / (new + old) } else { 0.0 }
}

fn done(model: &Model) -> bool {
    model.reason() == Reason::AllHealthy && model.status().current.version == "v2"
}

#[test]
fn five_percent_is_one_instance_that_weighs_sixteen_beside_three_of_a_hundred() {
    let mut model = routed(json!([{"setWeight": "5%"}, {"pause": {}}]));
    assert_eq!(weights(&model, "v1"), [100, 100, 100]);
    model.apply_version("v2");
    model.run_until(60, |model| model.at_step() == Some(1));
    assert_eq!((weights(&model, "v1"), weights(&model, "v2")), (vec![100, 100, 100], vec![16]));
    let weight = model.status().rollout.as_ref().unwrap().weight.unwrap();
    assert_eq!((weight.requested, weight.achieved(), weight.canary, weight.stable), (5, 5, 1, 3));
    assert!(model.message().contains("canary 5% (1 of 4, weight 16)"), "{}", model.message());
}

#[test]
fn the_share_in_consul_grows_with_the_steps_and_is_never_above_them() {
    let mut model = routed(json!([
        {"setWeight": "1%", "soak": "5s"}, {"setWeight": "10%", "soak": "5s"}, {"setWeight": "40%", "soak": "5s"}, {"setWeight": "90%", "soak": "5s"},
    ]));
    let steps = [1.0, 10.0, 40.0, 90.0];
    model.apply_version("v2");
    let mut reached = [0.0_f64; 4];
    for _ in 0..800 {
        model.step();
        let Some((at, Stage::Steps)) = model.at_step().zip(model.stage()) else { continue };
        let (share, at) = (share(&model, "v2"), at as usize);
        assert!(share <= steps[at] + 0.5, "{share} at step {at}");
        reached[at] = reached[at].max(share);
    }
    assert!(done(&model), "{:#?}", model.status());
    assert!(reached.iter().zip(steps).all(|(reached, step)| (reached - step).abs() < 0.5), "{reached:?}");
    assert_eq!(weights(&model, "v2"), [100, 100, 100]);
}

#[test]
fn a_step_is_not_over_before_consul_has_its_weights() {
    let mut model = routed(json!([{"setWeight": "5%"}, {"pause": {}}]));
    model.weighs_late = true;
    model.apply_version("v2");
    model.run_until(60, |model| model.healthy(Some("v2")) == 1);
    model.run(20);
    assert_eq!(model.at_step(), Some(0));
    let waiting = &model.status().waiting_on;
    assert!(waiting.contains(&WaitingOn::Weights { weighed: 3, instances: 4 }), "{waiting:?}");
    model.weighs_late = false;
    model.run_until(5, |model| model.at_step() == Some(1));
}

#[test]
fn a_canary_that_is_given_up_keeps_its_weight_while_it_goes() {
    let mut model = routed(json!([{"setWeight": "5%"}, {"pause": {}}]));
    model.apply_version("v2");
    model.run_until(60, |model| model.at_step() == Some(1));
    model.bad.insert("v2".to_owned());
    model.run_until(30, |model| model.stage() == Some(Stage::RollingBack));
    model.bad.clear(); // its check passes again while it stops
    let going = |model: &Model| model.fleet.assignments.values().find(|one| one.template.version == "v2").cloned();
    while let Some(assignment) = going(&model) {
        assert_eq!(assignment.service.weight, Some(16));
        model.step();
    }
    assert_eq!(weights(&model, "v1"), [100, 100, 100]);
}

#[test]
fn a_canary_that_a_newer_version_overtakes_gets_no_more_while_it_goes() {
    let mut model = routed(json!([{"setWeight": "5%"}, {"pause": {}}]));
    model.apply_version("v2");
    model.run_until(60, |model| model.at_step() == Some(1));
    model.apply_version("v3");
    for _ in 0..80 {
        model.step();
        assert!(weights(&model, "v2").iter().all(|weight| *weight == 16), "{:?}", weights(&model, "v2"));
    }
    assert_eq!((weights(&model, "v2"), weights(&model, "v3")), (vec![], vec![16]));
}

#[test]
fn without_such_a_canary_consul_keeps_its_own_weights() {
    let mut model = Model::new(3, 1, 0).settled();
    assert!(model.fleet.assignments.values().all(|one| one.service.weight.is_none()));
    model = model.with_spec(canary_of(json!({"steps": [{"setWeight": "5%"}]})));
    model.run(5);
    assert!(model.fleet.assignments.values().all(|one| one.service.weight.is_none()));
    canary(&mut model).spec.traffic_routing = TrafficRouting::ConsulWeights;
    model.run(5);
    assert_eq!(weights(&model, "v1"), [STABLE_WEIGHT; 3]);
    model.drop_canary();
    model.run(5);
    assert_eq!(weights(&model, "v1"), [1, 1, 1]);
}

#[test]
fn a_canary_that_cannot_be_read_changes_no_weight() {
    let mut model = routed(json!([{"setWeight": "5%"}, {"pause": {}}]));
    model.apply_version("v2");
    model.run_until(60, |model| model.at_step() == Some(1));
    model.break_canary("its Canary: no steps");
    model.wipe_one("v1");
    model.run(20);
    assert_eq!((weights(&model, "v1"), weights(&model, "v2")), (vec![100, 100, 100], vec![16]));
}

#[test]
fn a_count_of_canaries_weighs_them_like_all_others() {
    let mut model = routed(json!([{"setWeight": "5%"}, {"setReplicas": 2}, {"pause": {}}]));
    model.apply_version("v2");
    model.run_until(60, |model| model.at_step() == Some(2));
    assert_eq!((weights(&model, "v1"), weights(&model, "v2")), (vec![100, 100], vec![100, 100]));
}

#[test]
fn an_exact_weight_is_one_that_weights_in_consul_can_make() {
    let mut model = routed(json!([{"setWeight": "5%"}, {"pause": {}}]));
    canary(&mut model).spec.exact = true;
    model.apply_version("v2");
    model.run_until(60, |model| model.at_step() == Some(1));
    canary(&mut model).spec.traffic_routing = TrafficRouting::InstanceRatio;
    model.run(2);
    assert_eq!(model.status().phase, helium_crds::Phase::Invalid);
}
