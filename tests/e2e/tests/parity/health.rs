//! What wakes a reader of a service's health, and what it shows.

use consul_client::Read;
use serde_json::{Value, json};

use crate::world::{World, cases};

cases![
    a_service_wakes_when_an_instance_comes,
    a_service_wakes_when_its_last_instance_goes,
    a_service_wakes_when_its_check_changes,
    a_service_wakes_when_a_check_of_its_node_changes,
    a_service_wakes_when_the_address_of_its_node_changes,
    a_service_wakes_although_a_tag_filters_the_change_out,
    a_service_wakes_when_its_node_goes,
    a_service_sleeps_through_other_services_elsewhere,
    a_service_sleeps_through_other_services_and_their_checks_on_its_node,
    only_instances_of_which_every_check_passes_are_passing,
    a_check_of_the_node_counts_for_every_instance_on_it,
    a_state_lists_the_checks_in_it,
    checks_are_listed_by_service_and_by_node,
    a_value_of_passing_that_is_none_is_refused;
    quiet
    checks_in_a_state_sleep_through_an_instance_without_checks,
    checks_in_a_state_sleep_through_checks_in_other_states,
    checks_in_a_state_wake_when_one_enters_it_changes_or_leaves_it,
    a_state_that_no_check_is_in_wakes_on_any_check,
    the_index_of_a_renamed_service_is_that_of_the_last_extinction,
];

/// Writes to a node of this case's own.
struct Node<'a> {
    w: &'a World,
    name: String,
}

impl<'a> Node<'a> {
    fn new(w: &'a World) -> Self {
        Self { w, name: w.name() }
    }

    async fn with(&self, more: Value) {
        let mut body = json!({"Node": self.name, "Address": "10.0.0.1"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(self.w.put("catalog/register", body.to_string()).await.says(), (200, "true".into()));
    }

    /// An instance, with a check in a state.
    async fn has(&self, service: &str, id: &str, status: &str) {
        let check = json!({"CheckID": format!("c-{id}"), "Name": "c", "Status": status, "ServiceID": id});
        self.with(json!({"Service": {"ID": id, "Service": service}, "Check": check})).await;
    }

    async fn check(&self, id: &str, service: &str, status: &str) {
        self.with(json!({"Check": {"CheckID": id, "Name": "c", "Status": status, "ServiceID": service}})).await;
    }

    async fn without(&self, more: Value) {
        let mut body = json!({"Node": self.name});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(self.w.put("catalog/deregister", body.to_string()).await.says(), (200, "true".into()));
    }
}

/// A service with one passing instance `a` on a node.
async fn one(w: &World) -> (Node<'_>, String, String) {
    let (node, service) = (Node::new(w), w.name());
    node.has(&service, "a", "passing").await;
    let path = format!("health/service/{service}");
    (node, service, path)
}

async fn a_service_wakes_when_an_instance_comes(w: World) {
    let (node, service, path) = one(&w).await;
    assert!(w.wakes(&path, node.has(&service, "b", "passing")).await);
}

async fn a_service_wakes_when_its_last_instance_goes(w: World) {
    let (node, _, path) = one(&w).await;
    assert!(w.wakes(&path, node.without(json!({"ServiceID": "a"}))).await);
    assert_eq!(w.get(&path).await.json(), json!([]));
}

async fn a_service_wakes_when_its_check_changes(w: World) {
    let (node, _, path) = one(&w).await;
    assert!(w.wakes(&path, node.check("c-a", "a", "critical")).await);
    assert!(!w.wakes(&path, node.check("c-a", "a", "critical")).await, "the same again");
    assert!(w.wakes(&path, node.without(json!({"CheckID": "c-a"}))).await);
}

async fn a_service_wakes_when_a_check_of_its_node_changes(w: World) {
    let (node, _, path) = one(&w).await;
    assert!(w.wakes(&path, node.check("n", "", "passing")).await);
    assert!(w.wakes(&path, node.check("n", "", "critical")).await);
    assert!(w.wakes(&path, node.without(json!({"CheckID": "n"}))).await);
}

async fn a_service_wakes_when_the_address_of_its_node_changes(w: World) {
    let (node, _, path) = one(&w).await;
    assert!(w.wakes(&path, node.with(json!({"Address": "10.0.0.9"}))).await);
}

async fn a_service_wakes_although_a_tag_filters_the_change_out(w: World) {
    let (node, service, path) = one(&w).await;
    let tagged = format!("{path}?tag=none");
    // An instance that comes or goes; of a check that is filtered out Consul moves the index, but wakes nobody.
    assert!(w.wakes(&tagged, node.has(&service, "b", "passing")).await);
    assert!(w.wakes(&tagged, node.without(json!({"ServiceID": "b"}))).await);
    let before = w.index(&tagged).await;
    node.check("c-a", "a", "critical").await;
    assert!(w.index(&tagged).await > before);
    assert_eq!(w.get(&tagged).await.json(), json!([]));
}

async fn a_service_wakes_when_its_node_goes(w: World) {
    let (node, _, path) = one(&w).await;
    assert!(w.wakes(&path, node.without(json!({}))).await);
}

async fn a_service_sleeps_through_other_services_elsewhere(w: World) {
    let (_, _, path) = one(&w).await;
    let (other, service) = (Node::new(&w), w.name());
    assert!(!w.wakes(&path, other.has(&service, "a", "passing")).await);
}

async fn a_service_sleeps_through_other_services_and_their_checks_on_its_node(w: World) {
    let (node, _, path) = one(&w).await;
    let other = w.name();
    assert!(!w.wakes(&path, node.has(&other, "b", "passing")).await);
    assert!(!w.wakes(&path, node.check("c-b", "b", "critical")).await);
    assert!(!w.wakes(&path, node.without(json!({"ServiceID": "b"}))).await);
}

async fn ids(w: &World, path: &str) -> Vec<String> {
    let shown = w.get(path).await.json();
    shown.as_array().unwrap().iter().map(|one| one["Service"]["ID"].as_str().unwrap().to_owned()).collect()
}

async fn only_instances_of_which_every_check_passes_are_passing(w: World) {
    let (node, service) = (Node::new(&w), w.name());
    for (id, status) in [("a", "passing"), ("b", "warning"), ("c", "critical"), ("d", "passing")] {
        node.has(&service, id, status).await;
    }
    node.check("second", "d", "critical").await;
    let path = format!("health/service/{service}");
    assert_eq!(ids(&w, &format!("{path}?passing")).await, ["a"]);
    assert_eq!(ids(&w, &format!("{path}?passing=1")).await, ["a"]);
    assert_eq!(ids(&w, &format!("{path}?passing=false")).await, ["a", "b", "c", "d"]);
    let read = Read { passing: true, ..Read::default() };
    assert_eq!(w.client.health_service(&service, &read).await.unwrap().value.len(), 1);
}

async fn a_check_of_the_node_counts_for_every_instance_on_it(w: World) {
    let (node, service, path) = one(&w).await;
    node.has(&service, "b", "passing").await;
    node.check("n", "", "critical").await;
    assert!(ids(&w, &format!("{path}?passing")).await.is_empty());
    let shown = w.get(&path).await.json();
    assert!(shown.as_array().unwrap().iter().all(|one| one["Checks"][0]["CheckID"] == "n"), "{shown}");
    node.check("n", "", "passing").await;
    assert_eq!(ids(&w, &format!("{path}?passing")).await, ["a", "b"]);
}

async fn a_state_lists_the_checks_in_it(w: World) {
    let (node, service) = (Node::new(&w), w.name());
    node.has(&service, "a", "passing").await;
    node.has(&service, "b", "critical").await;
    for (state, wanted) in
        [("passing", vec!["c-a"]), ("critical", vec!["c-b"]), ("warning", vec![]), ("any", vec!["c-a", "c-b"])]
    {
        let listed = w.get(&format!("health/state/{state}")).await.json();
        let own = listed.as_array().unwrap().iter().filter(|check| check["Node"] == node.name);
        let own: Vec<&str> = own.map(|check| check["CheckID"].as_str().unwrap()).collect();
        assert_eq!(own, wanted, "{state}");
    }
    assert_eq!(w.get("health/state/no-such-state").await.json(), json!([]));
    assert_eq!(w.get("health/state/").await.says(), (400, "Missing check state".into()));
}

async fn checks_are_listed_by_service_and_by_node(w: World) {
    let (node, service, _) = one(&w).await;
    node.check("n", "", "passing").await;
    let of_service = w.get(&format!("health/checks/{service}")).await.json();
    assert_eq!(of_service.as_array().unwrap().len(), 1);
    assert_eq!(of_service[0]["CheckID"], "c-a");
    let of_node = w.get(&format!("health/node/{}", node.name)).await.json();
    assert_eq!(of_node.as_array().unwrap().len(), 2);
}

async fn a_value_of_passing_that_is_none_is_refused(w: World) {
    assert_eq!(w.get("health/service/x?passing=abc").await.says(), (400, "Invalid value for ?passing".into()));
}

async fn checks_in_a_state_sleep_through_an_instance_without_checks(w: World) {
    let (node, service, _) = one(&w).await;
    let more = json!({"Service": {"ID": "b", "Service": service}});
    assert!(!w.wakes("health/state/critical", node.with(more)).await);
    assert!(!w.wakes("health/state/critical", node.without(json!({"ServiceID": "b"}))).await);
    assert!(w.wakes("health/state/critical", node.check("c-a", "a", "critical")).await);
}

async fn checks_in_a_state_sleep_through_checks_in_other_states(w: World) {
    let (node, service, _) = one(&w).await;
    node.check("bad", "", "critical").await;
    let critical = "health/state/critical";
    assert!(!w.wakes(critical, node.check("n", "", "passing")).await);
    assert!(!w.wakes(critical, node.has(&service, "b", "passing")).await, "with an instance");
    assert!(!w.wakes(critical, node.check("n", "", "warning")).await);
    assert!(!w.wakes(critical, node.without(json!({"ServiceID": "b"}))).await);
    let before = w.index(critical).await;
    node.check("n", "", "passing").await;
    assert!(w.index(critical).await > before, "the index is that of all checks");
}

async fn checks_in_a_state_wake_when_one_enters_it_changes_or_leaves_it(w: World) {
    let (node, _, _) = one(&w).await;
    node.check("bad", "", "critical").await;
    let critical = "health/state/critical";
    assert!(w.wakes(critical, node.check("c-a", "a", "critical")).await);
    let said = json!({"CheckID": "c-a", "Name": "c", "Status": "critical", "ServiceID": "a", "Output": "worse"});
    assert!(w.wakes(critical, node.with(json!({"Check": said}))).await);
    assert!(w.wakes(critical, node.check("c-a", "a", "passing")).await);
    assert!(w.wakes(critical, node.without(json!({"CheckID": "bad"}))).await);
}

async fn a_state_that_no_check_is_in_wakes_on_any_check(w: World) {
    let (node, _, _) = one(&w).await;
    let nobody = "health/state/no-such-state";
    assert!(w.wakes(nobody, node.check("n", "", "passing")).await);
    assert!(w.wakes("health/state/any", node.check("n", "", "warning")).await);
}

async fn the_index_of_a_renamed_service_is_that_of_the_last_extinction(w: World) {
    let (node, service, path) = one(&w).await;
    node.without(json!({"ServiceID": "a"})).await;
    let extinct = w.index(&path).await;
    node.has(&service, "a", "passing").await;
    let lives = w.index(&path).await;
    assert!(lives > extinct);
    node.with(json!({"Service": {"ID": "a", "Service": w.name()}})).await;
    // The index of a name falls without any restart: whoever follows it must begin anew.
    assert_eq!(w.index(&path).await, extinct);
    assert_eq!(w.get(&path).await.json(), json!([]));
}
