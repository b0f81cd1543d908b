//! The catalog: nodes, services, and writing them without an agent.

use consul_client::Read;
use serde_json::{Value, json};

use crate::world::{World, cases};

cases![
    a_registration_writes_node_service_and_checks_under_one_index,
    an_identical_registration_moves_no_index,
    a_registration_may_leave_the_node_as_it_is,
    what_a_registration_needs,
    deregistering_what_is_not_there_is_done,
    deregistering_a_node_takes_everything_on_it,
    services_are_listed_with_their_tags,
    an_instance_is_shown_flat_with_its_node,
    an_unknown_node_is_null,
    an_unknown_service_is_an_empty_list,
    reads_of_the_catalog_say_their_consistency_by_being_answered,
    the_same_service_id_may_be_on_two_nodes,
    the_list_of_nodes_wakes_on_a_new_address;
    quiet
    the_list_of_services_wakes_on_any_instance,
    the_index_of_a_missing_service_is_that_of_the_last_extinction,
    a_missing_service_wakes_when_it_comes,
    a_missing_service_sleeps_through_other_changes,
];

async fn register(w: &World, body: &Value) {
    assert_eq!(w.put("catalog/register", body.to_string()).await.says(), (200, "true".into()));
}

async fn deregister(w: &World, body: &Value) {
    assert_eq!(w.put("catalog/deregister", body.to_string()).await.says(), (200, "true".into()));
}

async fn a_registration_writes_node_service_and_checks_under_one_index(w: World) {
    let (node, service) = (w.name(), w.name());
    register(
        &w,
        &json!({"Node": node, "Address": "10.0.0.1", "NodeMeta": {"a": "b"},
            "Service": {"ID": "one", "Service": service, "Port": 5, "Tags": ["t"]},
            "Checks": [{"CheckID": "c1", "Name": "own", "Status": "passing", "ServiceID": "one"},
                       {"Name": "node's", "Status": "warning", "Output": "words"}]}),
    )
    .await;
    let shown = w.get(&format!("health/service/{service}")).await.json();
    let index = &shown[0]["Node"]["CreateIndex"];
    let own = json!({"Node": node, "CheckID": "c1", "Name": "own", "Status": "passing", "Notes": "", "Output": "",
        "ServiceID": "one", "ServiceName": service, "ServiceTags": ["t"], "Type": "", "Definition": {},
        "CreateIndex": index, "ModifyIndex": index});
    let nodes = json!({"Node": node, "CheckID": "node's", "Name": "node's", "Status": "warning", "Notes": "",
        "Output": "words", "ServiceID": "", "ServiceName": "", "ServiceTags": [], "Type": "", "Definition": {},
        "CreateIndex": index, "ModifyIndex": index});
    let wanted = json!([{
        "Node": {"ID": "", "Node": node, "Address": "10.0.0.1", "Datacenter": "dc1", "TaggedAddresses": null,
            "Meta": {"a": "b"}, "CreateIndex": index, "ModifyIndex": index},
        "Service": {"ID": "one", "Service": service, "Tags": ["t"], "Address": "", "Meta": null, "Port": 5,
            "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false,
            "Proxy": {"MeshGateway": {}, "Expose": {}}, "Connect": {}, "CreateIndex": index, "ModifyIndex": index},
        "Checks": [nodes, own],
    }]);
    assert_eq!(shown, wanted);
}

async fn an_identical_registration_moves_no_index(w: World) {
    let (node, service) = (w.name(), w.name());
    let body = json!({"Node": node, "Address": "10.0.0.1", "Service": {"Service": service},
        "Check": {"Name": "c", "Status": "passing", "ServiceID": service}});
    register(&w, &body).await;
    let before = w.get(&format!("health/service/{service}")).await;
    register(&w, &body).await;
    assert_eq!(w.get(&format!("health/service/{service}")).await, before);
}

async fn a_registration_may_leave_the_node_as_it_is(w: World) {
    let (node, service) = (w.name(), w.name());
    register(&w, &json!({"Node": node, "Address": "10.0.0.1"})).await;
    let body = json!({"Node": node, "SkipNodeUpdate": true, "Service": {"Service": service}});
    register(&w, &body).await;
    let shown = w.get(&format!("catalog/node/{node}")).await.json();
    assert_eq!(shown["Node"]["Address"], "10.0.0.1");
    assert_eq!(shown["Services"][&service]["ID"], service);
}

async fn what_a_registration_needs(w: World) {
    let node = w.name();
    let table = [
        (json!({}), 500, "Must provide node".to_owned()),
        (json!({"Node": node}), 500, "Must provide address if SkipNodeUpdate is not set".into()),
        (
            json!({"Node": node, "Address": "10.0.0.1", "Service": {"ID": "a"}}),
            500,
            "Must provide service name with ID".into(),
        ),
        (json!({"Node": node, "Address": "10.0.0.1", "Datacenter": "dc9"}), 500, "No path to datacenter".into()),
        (
            json!({"Node": node, "Address": "10.0.0.1", "Foo": 1}),
            400,
            "Request decode failed: json: unknown field \"Foo\"".into(),
        ),
        (
            json!({"Node": w.node, "SkipNodeUpdate": true, "Address": "127.0.0.1",
                "Check": {"Name": "c", "ServiceID": "none"}}),
            500,
            format!("failed inserting check: Missing service registration on node {:?}", w.node),
        ),
    ];
    for (body, status, words) in table {
        assert_eq!(w.put("catalog/register", body.to_string()).await.says(), (status, words), "{body}");
    }
    assert_eq!(w.put("catalog/deregister", "{}").await.says(), (500, "Must provide node".into()));
}

async fn deregistering_what_is_not_there_is_done(w: World) {
    let node = w.name();
    deregister(&w, &json!({"Node": node})).await;
    deregister(&w, &json!({"Node": node, "ServiceID": "none"})).await;
    register(&w, &json!({"Node": node, "Address": "10.0.0.1"})).await;
    deregister(&w, &json!({"Node": node, "ServiceID": "none"})).await;
    deregister(&w, &json!({"Node": node, "CheckID": "none"})).await;
    assert_eq!(w.get(&format!("catalog/node/{node}")).await.json()["Node"]["Node"], node);
}

async fn deregistering_a_node_takes_everything_on_it(w: World) {
    let (node, service) = (w.name(), w.name());
    let body = json!({"Node": node, "Address": "10.0.0.1", "Service": {"Service": service},
        "Checks": [{"Name": "c", "ServiceID": service}, {"Name": "n"}]});
    register(&w, &body).await;
    deregister(&w, &json!({"Node": node})).await;
    assert_eq!(w.get(&format!("catalog/service/{service}")).await.json(), json!([]));
    assert_eq!(w.get(&format!("health/node/{node}")).await.json(), json!([]));
    assert_eq!(w.get(&format!("catalog/node/{node}")).await.json(), Value::Null);
}

async fn services_are_listed_with_their_tags(w: World) {
    let (node, service) = (w.name(), w.name());
    for (id, tags) in [("a", json!(["x", "y"])), ("b", json!(["y", "z"])), ("c", json!([]))] {
        let instance = json!({"ID": id, "Service": service, "Tags": tags});
        register(&w, &json!({"Node": node, "Address": "10.0.0.1", "Service": instance})).await;
    }
    let listed = w.get("catalog/services").await.json();
    let mut tags: Vec<&str> = listed[&service].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
    tags.sort_unstable();
    assert_eq!(tags, ["x", "y", "z"]);
    assert_eq!(listed["consul"], json!([]));
}

async fn an_instance_is_shown_flat_with_its_node(w: World) {
    let (node, service) = (w.name(), w.name());
    let instance = json!({"ID": "i", "Service": service, "Tags": ["t"], "Address": "10.1.1.1", "Port": 80,
        "Meta": {"k": "v"}, "Weights": {"Passing": 3, "Warning": 2}});
    register(&w, &json!({"Node": node, "Address": "10.0.0.1", "Service": instance})).await;
    let mut shown = w.get(&format!("catalog/service/{service}")).await.json();
    let index = shown[0]["CreateIndex"].clone();
    // Consul adds what it derives from the address.
    shown[0].as_object_mut().unwrap().remove("ServiceTaggedAddresses");
    let wanted = json!([{
        "ID": "", "Node": node, "Address": "10.0.0.1", "Datacenter": "dc1", "TaggedAddresses": null, "NodeMeta": null,
        "ServiceKind": "", "ServiceID": "i", "ServiceName": service, "ServiceTags": ["t"],
        "ServiceAddress": "10.1.1.1", "ServiceWeights": {"Passing": 3, "Warning": 2}, "ServiceMeta": {"k": "v"},
        "ServicePort": 80, "ServiceEnableTagOverride": false,
        "ServiceProxy": {"MeshGateway": {}, "Expose": {}}, "ServiceConnect": {},
        "CreateIndex": index, "ModifyIndex": index,
    }]);
    assert_eq!(shown, wanted);
    let tagged = w.get(&format!("catalog/service/{service}?tag=none")).await.json();
    assert_eq!(tagged, json!([]));
}

async fn an_unknown_node_is_null(w: World) {
    let unknown = w.get(&format!("catalog/node/{}", w.name())).await;
    assert_eq!((unknown.status, unknown.json(), unknown.index), (200, Value::Null, Some(1)));
    assert_eq!(w.client.catalog_node(&w.name(), &Read::default()).await.unwrap().value, None);
    assert_eq!(w.get("catalog/node/").await.says(), (400, "Missing node name".into()));
}

async fn an_unknown_service_is_an_empty_list(w: World) {
    for path in ["catalog/service", "health/service", "health/checks"] {
        let unknown = w.get(&format!("{path}/{}", w.name())).await;
        assert_eq!((unknown.status, unknown.json()), (200, json!([])), "{path}");
        assert!(unknown.index.unwrap() >= 1);
        assert_eq!(w.get(&format!("{path}/")).await.says(), (400, "Missing service name".into()));
    }
}

async fn reads_of_the_catalog_say_their_consistency_by_being_answered(w: World) {
    for path in ["catalog/nodes", "catalog/services", "health/state/any", "health/service/consul"] {
        for mode in ["", "?stale", "?consistent"] {
            let read = w.get(&format!("{path}{mode}")).await;
            assert_eq!((read.status, read.known_leader.as_deref()), (200, Some("true")), "{path}{mode}");
        }
    }
}

async fn the_same_service_id_may_be_on_two_nodes(w: World) {
    let (one, two, service) = (w.name(), w.name(), w.name());
    for (node, address) in [(&one, "10.0.0.1"), (&two, "10.0.0.2")] {
        let instance = json!({"ID": "same", "Service": service});
        register(&w, &json!({"Node": node, "Address": address, "Service": instance})).await;
    }
    let shown = w.get(&format!("catalog/service/{service}")).await.json();
    assert_eq!(shown.as_array().unwrap().len(), 2);
    let other = w.name();
    // The same id on the same node is the same instance, under whatever name.
    register(&w, &json!({"Node": one, "Address": "10.0.0.1", "Service": {"ID": "same", "Service": other}})).await;
    let shown = w.get(&format!("catalog/service/{service}")).await.json();
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!(shown[0]["Node"], two);
}

async fn the_list_of_nodes_wakes_on_a_new_address(w: World) {
    let node = w.name();
    register(&w, &json!({"Node": node, "Address": "10.0.0.1"})).await;
    assert!(w.wakes("catalog/nodes", register(&w, &json!({"Node": node, "Address": "10.0.0.2"}))).await);
}

async fn the_list_of_services_wakes_on_any_instance(w: World) {
    let (node, service) = (w.name(), w.name());
    register(&w, &json!({"Node": node, "Address": "10.0.0.1"})).await;
    let more = json!({"Node": node, "Address": "10.0.0.1", "Service": {"Service": service}});
    assert!(w.wakes("catalog/services", register(&w, &more)).await);
    let check = json!({"Node": node, "Address": "10.0.0.1", "Check": {"Name": "c", "ServiceID": service}});
    assert!(!w.wakes("catalog/services", register(&w, &check)).await, "a check is no instance");
}

/// Makes sure that some service has lost its last instance.
async fn extinction(w: &World) {
    let (node, service) = (w.name(), w.name());
    register(w, &json!({"Node": node, "Address": "10.0.0.1", "Service": {"Service": service}})).await;
    deregister(w, &json!({"Node": node, "ServiceID": service})).await;
}

async fn the_index_of_a_missing_service_is_that_of_the_last_extinction(w: World) {
    extinction(&w).await;
    let index = w.index("catalog/services").await;
    let (node, service) = (w.name(), w.name());
    assert_eq!(w.index("health/service/missing").await, index);
    register(&w, &json!({"Node": node, "Address": "10.0.0.1", "Service": {"Service": service}})).await;
    assert_eq!(w.index("health/service/missing").await, index);
    assert_eq!(w.index("catalog/service/missing").await, index);
    assert!(w.index(&format!("health/service/{service}")).await > index);
}

async fn a_missing_service_wakes_when_it_comes(w: World) {
    extinction(&w).await;
    let (node, service) = (w.name(), w.name());
    let body = json!({"Node": node, "Address": "10.0.0.1", "Service": {"Service": service}});
    assert!(w.wakes(&format!("health/service/{service}"), register(&w, &body)).await);
}

async fn a_missing_service_sleeps_through_other_changes(w: World) {
    extinction(&w).await;
    let (node, service) = (w.name(), w.name());
    let body = json!({"Node": node, "Address": "10.0.0.1", "Service": {"Service": service}});
    assert!(!w.wakes("health/service/missing", register(&w, &body)).await);
}
