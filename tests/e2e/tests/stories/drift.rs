//! Drift: what somebody or something changed behind Helium's back is put right, without any event that Helium made.

use std::time::Duration;

use helium_e2e::{eventually, holds_for, process};

use crate::{
    fleet::{Fleet, ROLLOUT, is_sentinel},
    specs::deployment,
};

/// A fleet of one node with `web` of version 1 at `replicas`, healthy.
#[track_caller]
fn web(replicas: u32) -> Fleet {
    let fleet = Fleet::of(1);
    fleet.apply(&deployment("web", "1", replicas, "")).ok();
    fleet
}

#[test]
fn a_killed_instance_is_started_again_as_the_same_instance() {
    let fleet = web(2);
    let before = fleet.pids();
    let (victim, pid) = before.first_key_value().unwrap();
    process::kill(*pid);
    eventually("it runs again with another pid", ROLLOUT, || {
        fleet.pids().get(victim).is_some_and(|now| now != pid).then_some(())
    });
    fleet.await_phase("web", "Healthy");
    assert_eq!(fleet.pids().keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
}

#[test]
fn a_service_that_was_deregistered_by_hand_comes_back_and_its_process_stays() {
    let fleet = web(2);
    let before = fleet.pids();
    let services = fleet.consul.http().json("/v1/agent/services");
    let id = services.as_object().unwrap().keys().find(|id| id.starts_with("helium-web")).unwrap().clone();
    fleet.consul.http().put(&format!("/v1/agent/service/deregister/{id}"), "");
    assert_eq!(fleet.consul.passing("web"), 1);
    eventually("both pass again", ROLLOUT, || (fleet.consul.passing("web") == 2).then_some(()));
    assert_eq!(fleet.pids(), before);
}

#[test]
fn an_assignment_that_was_deleted_by_hand_comes_back_and_stops_nothing() {
    let fleet = web(2);
    let before = fleet.pids();
    let prefix = format!("helium/v1/assign/{}/", fleet.node(1));
    let key = fleet.consul.keys(&prefix).into_iter().find(|key| !is_sentinel(key)).unwrap();
    fleet.consul.http().delete(&format!("/v1/kv/{key}"));
    eventually("the assignment is back", Duration::from_mins(6), || {
        (!fleet.consul.value(&key).is_null()).then_some(())
    });
    assert_eq!(fleet.pids(), before);
}

#[test]
fn a_service_of_somebody_else_is_left_alone() {
    let fleet = web(1);
    fleet.consul.http().put("/v1/agent/service/register", r#"{"Name": "web", "ID": "foreign", "Port": 1}"#);
    fleet.apply(&deployment("web", "2", 1, "")).ok();
    fleet.helium.run(&["delete", "deployment/web"]).ok();
    eventually("nothing runs", ROLLOUT, || fleet.instances().is_empty().then_some(()));
    holds_for("the foreign service stays", Duration::from_secs(5), || {
        let there = fleet.consul.http().json("/v1/agent/services")["foreign"].is_object();
        if there { Ok(()) } else { Err("it is gone".to_owned()) }
    });
}

#[test]
fn a_deleted_deployment_leaves_nothing_behind() {
    let fleet = web(2);
    fleet.helium.run(&["delete", "deployment/web"]).ok();
    eventually("nothing runs", ROLLOUT, || fleet.instances().is_empty().then_some(()));
    eventually("no key and no service is left", ROLLOUT, || {
        let rooms = ["spec", "status", "inst", "assign", "report"];
        let keys: usize = rooms
            .iter()
            .map(|room| fleet.consul.keys(&format!("helium/v1/{room}/")).iter().filter(|k| k.contains("web")).count())
            .sum();
        let services = fleet.consul.http().json("/v1/catalog/service/web").as_array().map_or(0, Vec::len);
        (keys == 0 && services == 0).then_some(())
    });
    fleet.helium.run(&["get", "deployment/web"]).expect_code(4).expect("web");
}
