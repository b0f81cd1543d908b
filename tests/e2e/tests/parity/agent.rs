//! The agent: registering services and checks, and what its checks do to the catalog.

use consul_client::CheckStatus;
use serde_json::{Value, json};

use crate::world::{World, cases};

cases![
    the_agent_says_who_it_is,
    there_is_a_leader,
    a_service_is_registered_with_its_checks_under_one_index,
    checks_without_an_id_get_one_from_their_service,
    a_registration_without_checks_keeps_checks_and_their_state,
    a_registration_with_the_same_checks_keeps_their_state,
    a_registration_may_replace_checks,
    a_check_registered_again_keeps_its_state,
    a_check_that_comes_and_goes_takes_a_service_out_and_back_and_leaves_the_others_alone,
    a_service_that_is_registered_with_a_ttl_check_that_nobody_tells_never_passes,
    new_tags_reach_the_catalog_and_wake_readers,
    an_identical_registration_wakes_nobody,
    a_check_takes_the_tags_of_its_service_when_it_is_registered,
    limits_of_metadata,
    definitions_that_make_no_sense_are_refused,
    a_ttl_check_is_told_in_four_ways,
    only_ttl_checks_can_be_told,
    a_ttl_check_that_is_not_told_turns_critical,
    a_change_of_status_reaches_the_catalog_with_its_output,
    a_change_of_output_alone_does_not_reach_the_catalog,
    a_check_of_an_unknown_service_is_refused,
    maintenance_takes_a_service_out_and_back,
    deregistering_takes_a_service_with_its_checks,
    deregistering_what_is_not_there_is_done,
    a_service_may_be_seen_alone;
    quiet
    a_check_without_a_service_takes_down_every_service_of_the_node,
];

async fn checks(w: &World) -> Value {
    w.get("agent/checks").await.json()
}

/// Registers a service with one TTL check, and gives its name and the check's id.
async fn with_ttl(w: &World, ttl: &str) -> (String, String) {
    let name = w.name();
    let check = format!("check-{name}");
    w.register(&json!({"Name": name, "Tags": ["a"], "Check": {"CheckID": check, "TTL": ttl}})).await;
    (name, check)
}

async fn the_agent_says_who_it_is(w: World) {
    let own = w.client.agent_self().await.unwrap();
    assert_eq!((own.version.as_str(), own.datacenter.as_str(), own.server), ("1.8.7", "dc1", true));
    assert_eq!(own.node_id.len(), 36);
    let node = w.get(&format!("catalog/node/{}", own.node_name)).await.json();
    assert_eq!(node["Node"]["ID"], own.node_id);
    assert_eq!(w.status_of("serfHealth").await, Some(CheckStatus::Passing));
    let members = w.get("agent/members").await.json();
    assert_eq!((&members[0]["Name"], &members[0]["Status"]), (&json!(own.node_name), &json!(1)));
}

async fn there_is_a_leader(w: World) {
    let leader = w.client.status_leader().await.unwrap();
    assert!(leader.starts_with("127.0.0.1:"), "{leader}");
    assert_eq!(w.client.status_peers().await.unwrap(), [leader]);
}

async fn a_service_is_registered_with_its_checks_under_one_index(w: World) {
    let name = w.name();
    w.register(&json!({"Name": name, "ID": format!("{name}-1"), "Port": 80, "Tags": ["a"], "Meta": {"k": "v"},
        "Checks": [{"CheckID": format!("c1-{name}"), "Name": "one", "TTL": "300s"},
                   {"CheckID": format!("c2-{name}"), "TTL": "300s", "Status": "passing", "Notes": "words"}]}))
        .await;
    let shown = w.get(&format!("health/service/{name}")).await.json();
    let instance = &shown[0];
    let index = &instance["Service"]["ModifyIndex"];
    let own: Vec<&Value> = instance["Checks"].as_array().unwrap().iter().filter(|c| c["ServiceName"] == name).collect();
    let wanted = |id: &str, title: String, status: &str, notes: &str| {
        json!({"Node": w.node, "CheckID": id, "Name": title, "Status": status, "Notes": notes, "Output": "",
            "ServiceID": format!("{name}-1"), "ServiceName": name, "ServiceTags": ["a"], "Type": "ttl",
            "Definition": {}, "CreateIndex": index, "ModifyIndex": index})
    };
    assert_eq!(*own[0], wanted(&format!("c1-{name}"), "one".into(), "critical", ""));
    assert_eq!(*own[1], wanted(&format!("c2-{name}"), format!("Service '{name}' check"), "passing", "words"));
    let service = &instance["Service"];
    assert_eq!((&service["Port"], &service["Meta"]), (&json!(80), &json!({"k": "v"})));
}

async fn checks_without_an_id_get_one_from_their_service(w: World) {
    let (one, two) = (w.name(), w.name());
    w.register(&json!({"Name": one, "Check": {"TTL": "300s"}})).await;
    w.register(&json!({"Name": two, "Checks": [{"TTL": "300s"}, {"TTL": "300s"}]})).await;
    let known = checks(&w).await;
    for id in [format!("service:{one}"), format!("service:{two}:1"), format!("service:{two}:2")] {
        assert_eq!(known[&id]["Status"], "critical", "{id}");
    }
}

async fn a_registration_without_checks_keeps_checks_and_their_state(w: World) {
    let (name, check) = with_ttl(&w, "300s").await;
    w.put(&format!("agent/check/pass/{check}?note=well"), "").await;
    w.until_status(&check, CheckStatus::Passing).await;
    w.register(&json!({"Name": name, "Tags": ["b"]})).await;
    w.until("the tags are new", || async {
        w.get(&format!("health/service/{name}")).await.json()[0]["Service"]["Tags"] == json!(["b"])
    })
    .await;
    assert_eq!(w.status_of(&check).await, Some(CheckStatus::Passing));
    assert_eq!(checks(&w).await[&check]["Output"], "well");
}

async fn a_registration_with_the_same_checks_keeps_their_state(w: World) {
    let (name, check) = with_ttl(&w, "300s").await;
    w.put(&format!("agent/check/pass/{check}?note=well"), "").await;
    w.until_status(&check, CheckStatus::Passing).await;
    let again = json!({"CheckID": check, "TTL": "300s", "Status": "critical"});
    w.register(&json!({"Name": name, "Tags": ["a"], "Check": again})).await;
    // The tag is carried to the catalog with all that the registration changed.
    w.until("the tag is new", || async {
        w.get(&format!("health/service/{name}")).await.json()[0]["Service"]["Tags"] == json!(["a"])
    })
    .await;
    assert_eq!(w.status_of(&check).await, Some(CheckStatus::Passing));
    assert_eq!(checks(&w).await[&check]["Output"], "well");
}

async fn a_registration_may_replace_checks(w: World) {
    let (name, old) = with_ttl(&w, "300s").await;
    let new = format!("new-{name}");
    let body = json!({"Name": name, "Check": {"CheckID": new, "TTL": "300s"}});
    let replaced = w.put("agent/service/register?replace-existing-checks=true", body.to_string()).await;
    assert_eq!(replaced.status, 200);
    w.until_status(&new, CheckStatus::Critical).await;
    w.until("the old check is gone", || async { w.status_of(&old).await.is_none() }).await;
    let none = json!({"Name": name}).to_string();
    assert_eq!(w.put("agent/service/register?replace-existing-checks=true", none).await.status, 200);
    w.until("no check is left", || async { w.status_of(&new).await.is_none() }).await;
}

async fn a_check_registered_again_keeps_its_state(w: World) {
    let (name, check) = with_ttl(&w, "300s").await;
    w.put(&format!("agent/check/pass/{check}"), "").await;
    w.until_status(&check, CheckStatus::Passing).await;
    let again = json!({"ID": check, "Name": "another name", "TTL": "300s", "ServiceID": name});
    assert_eq!(w.put("agent/check/register", again.to_string()).await.status, 200);
    w.until("the name is new", || async {
        w.get(&format!("health/checks/{name}")).await.json()[0]["Name"] == "another name"
    })
    .await;
    assert_eq!(w.status_of(&check).await, Some(CheckStatus::Passing));
}

async fn a_check_that_comes_and_goes_takes_a_service_out_and_back_and_leaves_the_others_alone(w: World) {
    let (name, check) = with_ttl(&w, "300s").await;
    w.put(&format!("agent/check/pass/{check}"), "").await;
    w.until_status(&check, CheckStatus::Passing).await;
    let passing =
        || async { w.get(&format!("health/service/{name}?passing")).await.json().as_array().map_or(0, Vec::len) };
    let reader = format!("health/service/{name}");
    for _ in 0..2 {
        let guard = json!({"ID": format!("{check}:guard"), "Name": "guard", "TTL": "8760h", "Status": "critical", "ServiceID": name});
        assert!(w.wakes(&reader, w.put("agent/check/register", guard.to_string())).await);
        w.until("nobody is told of it", || async { passing().await == 0 }).await;
        assert_eq!(w.status_of(&check).await, Some(CheckStatus::Passing));
        assert!(w.wakes(&reader, w.put(&format!("agent/check/deregister/{check}:guard"), "")).await);
        w.until("it is told of again", || async { passing().await == 1 }).await;
    }
    assert_eq!(w.status_of(&check).await, Some(CheckStatus::Passing));
}

async fn a_service_that_is_registered_with_a_ttl_check_that_nobody_tells_never_passes(w: World) {
    let name = w.name();
    let checks = json!([
        {"CheckID": format!("{name}:up"), "Name": "up", "TTL": "300s", "Status": "passing"},
        {"CheckID": format!("{name}:guard"), "Name": "guard", "TTL": "8760h", "Status": "critical"},
    ]);
    w.register(&json!({"Name": name, "Checks": checks})).await;
    w.until_status(&format!("{name}:up"), CheckStatus::Passing).await;
    assert_eq!(w.get(&format!("health/service/{name}?passing")).await.json(), json!([]));
    assert_eq!(w.status_of(&format!("{name}:guard")).await, Some(CheckStatus::Critical));
    // New tags come without checks, and the guard stays.
    w.register(&json!({"Name": name, "Tags": ["canary"]})).await;
    assert_eq!(w.get(&format!("health/service/{name}?passing")).await.json(), json!([]));
    assert_eq!(w.get(&format!("health/service/{name}?tag=canary")).await.json().as_array().map_or(0, Vec::len), 1);
}

async fn new_tags_reach_the_catalog_and_wake_readers(w: World) {
    let (name, _) = with_ttl(&w, "300s").await;
    let body = json!({"Name": name, "Tags": ["canary"]}).to_string();
    assert!(w.wakes(&format!("health/service/{name}"), w.put("agent/service/register", body)).await);
}

async fn an_identical_registration_wakes_nobody(w: World) {
    let (name, check) = with_ttl(&w, "300s").await;
    let body = json!({"Name": name, "Tags": ["a"], "Check": {"CheckID": check, "TTL": "300s"}}).to_string();
    assert!(!w.wakes(&format!("health/service/{name}"), w.put("agent/service/register", body)).await);
}

async fn a_check_takes_the_tags_of_its_service_when_it_is_registered(w: World) {
    let (name, check) = with_ttl(&w, "300s").await;
    let tags = || async { w.get(&format!("health/checks/{name}")).await.json()[0]["ServiceTags"].clone() };
    w.register(&json!({"Name": name, "Tags": ["b"]})).await;
    w.until("the service has the tag", || async {
        w.get(&format!("catalog/service/{name}")).await.json()[0]["ServiceTags"] == json!(["b"])
    })
    .await;
    assert_eq!(tags().await, json!(["a"]));
    w.register(&json!({"Name": name, "Tags": ["b"], "Check": {"CheckID": check, "TTL": "300s"}})).await;
    w.until("the check has the tag", || async { tags().await == json!(["b"]) }).await;
}

async fn limits_of_metadata(w: World) {
    let name = w.name();
    let long = "v".repeat(513);
    let wide = "k".repeat(129);
    let table = [
        (json!({"k.a": "v"}), "Couldn't load metadata pair ('k.a', 'v'): Key contains invalid characters".to_owned()),
        (json!({"": "v"}), "Couldn't load metadata pair ('', 'v'): Key cannot be blank".into()),
        (
            json!({"k": long}),
            format!("Couldn't load metadata pair ('k', '{long}'): Value is too long (limit: 512 characters)"),
        ),
        (
            json!({&wide: "v"}),
            format!("Couldn't load metadata pair ('{wide}', 'v'): Key is too long (limit: 128 characters)"),
        ),
    ];
    for (meta, words) in table {
        let refused = w.put("agent/service/register", json!({"Name": name, "Meta": meta}).to_string()).await;
        assert_eq!(refused.says(), (400, format!("Invalid Service Meta: {words}")));
    }
    let pairs = |count: usize| -> Value {
        (0..count).map(|i| (format!("k{i}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
    };
    let refused = w.put("agent/service/register", json!({"Name": name, "Meta": pairs(65)}).to_string()).await;
    assert_eq!(
        refused.says(),
        (400, "Invalid Service Meta: Node metadata cannot contain more than 64 key/value pairs".into())
    );
    let mut full = pairs(63);
    full["k".repeat(128)] = "v".repeat(512).into();
    w.register(&json!({"Name": name, "Meta": full})).await;
}

async fn definitions_that_make_no_sense_are_refused(w: World) {
    let name = w.name();
    let table = [
        (json!({}), "Missing service name"),
        (json!({"Name": name, "Foo": 1}), "Request decode failed: json: unknown field \"Foo\""),
        (
            json!({"Name": name, "Check": {"HTTP": "http://127.0.0.1:1"}}),
            "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
        ),
        (json!({"Name": name, "Check": {"Interval": "1s"}}), "Invalid check: TTL must be > 0 for TTL checks"),
        (
            json!({"Name": name, "Check": {"TTL": "1s", "Status": "x"}}),
            "Status for checks must 'passing', 'warning', 'critical'",
        ),
        (
            json!({"Name": name, "Weights": {"Passing": 0, "Warning": 1}}),
            "Invalid Weights: Passing must be greater than 0",
        ),
    ];
    for (body, words) in table {
        assert_eq!(w.put("agent/service/register", body.to_string()).await.says(), (400, words.into()), "{body}");
    }
    let words = "Request decode failed: invalid character 'x' looking for beginning of value";
    assert_eq!(w.put("agent/service/register", "x").await.says(), (400, words.into()));
    let nameless = w.put("agent/check/register", json!({"TTL": "5s"}).to_string()).await;
    assert_eq!(nameless.says(), (400, "Missing check name".into()));
    let words = "Invalid check: TTL must be > 0 for TTL checks";
    assert_eq!(w.put("agent/check/register", json!({"Name": "x"}).to_string()).await.says(), (400, words.into()));
}

async fn a_ttl_check_is_told_in_four_ways(w: World) {
    let (_, check) = with_ttl(&w, "300s").await;
    for (way, status) in
        [("pass", CheckStatus::Passing), ("warn", CheckStatus::Warning), ("fail", CheckStatus::Critical)]
    {
        let told = w.put(&format!("agent/check/{way}/{check}?note=hey%20{way}"), "").await;
        assert_eq!(told.says(), (200, String::new()));
        w.until_status(&check, status).await;
        assert_eq!(checks(&w).await[&check]["Output"], format!("hey {way}"));
    }
    w.client.agent_update_ttl(&check, CheckStatus::Passing, "updated").await.unwrap();
    w.until_status(&check, CheckStatus::Passing).await;
    let bad = w.put(&format!("agent/check/update/{check}"), json!({"Status": "bad"}).to_string()).await;
    assert_eq!(bad.says(), (400, "Invalid check status: 'bad'".into()));
}

async fn only_ttl_checks_can_be_told(w: World) {
    let name = w.name();
    w.register(&json!({"Name": name, "Check": {"TCP": "127.0.0.1:1", "Interval": "600s"}})).await;
    for id in [w.name(), format!("service:{name}")] {
        let refused = w.put(&format!("agent/check/pass/{id}"), "").await;
        assert_eq!(refused.says(), (500, format!("CheckID {id:?} does not have associated TTL")));
    }
}

async fn a_ttl_check_that_is_not_told_turns_critical(w: World) {
    let (_, check) = with_ttl(&w, "1s").await;
    w.put(&format!("agent/check/pass/{check}?note=well"), "").await;
    w.until_status(&check, CheckStatus::Passing).await;
    w.until_status(&check, CheckStatus::Critical).await;
    let words = "TTL expired (last output before timeout follows): well";
    assert_eq!(checks(&w).await[&check]["Output"], words);
    let (_, silent) = with_ttl(&w, "1s").await;
    w.until("it expires", || async { checks(&w).await[&silent]["Output"] == "TTL expired" }).await;
}

async fn a_change_of_status_reaches_the_catalog_with_its_output(w: World) {
    let (name, check) = with_ttl(&w, "300s").await;
    let pass = format!("agent/check/pass/{check}?note=well");
    assert!(w.wakes(&format!("health/service/{name}"), w.put(&pass, "")).await);
    assert_eq!(w.get(&format!("health/checks/{name}")).await.json()[0]["Output"], "well");
}

async fn a_change_of_output_alone_does_not_reach_the_catalog(w: World) {
    let (name, check) = with_ttl(&w, "300s").await;
    w.put(&format!("agent/check/pass/{check}?note=one"), "").await;
    w.until_status(&check, CheckStatus::Passing).await;
    let pass = format!("agent/check/pass/{check}?note=two");
    assert!(!w.wakes(&format!("health/service/{name}"), w.put(&pass, "")).await);
    assert_eq!(checks(&w).await[&check]["Output"], "two");
    assert_eq!(w.get(&format!("health/checks/{name}")).await.json()[0]["Output"], "one");
}

async fn a_check_without_a_service_takes_down_every_service_of_the_node(w: World) {
    let (name, check) = with_ttl(&w, "300s").await;
    w.put(&format!("agent/check/pass/{check}"), "").await;
    w.until_status(&check, CheckStatus::Passing).await;
    let nodes = w.name();
    let shown = || async {
        let shown = w.get(&format!("health/service/{name}")).await.json();
        shown[0]["Checks"].as_array().unwrap().iter().any(|check| check["CheckID"] == nodes)
    };
    w.put("agent/check/register", json!({"Name": nodes, "TTL": "300s"}).to_string()).await;
    w.until("it counts for the service", &shown).await;
    assert_eq!(w.get(&format!("health/service/{name}?passing")).await.json(), json!([]));
    w.put(&format!("agent/check/deregister/{nodes}"), "").await;
    w.until("it is gone", || async { !shown().await }).await;
}

async fn a_check_of_an_unknown_service_is_refused(w: World) {
    let body = json!({"Name": w.name(), "TTL": "5s", "ServiceID": "nope"}).to_string();
    assert_eq!(w.put("agent/check/register", body).await.says(), (500, "ServiceID \"nope\" does not exist".into()));
}

async fn maintenance_takes_a_service_out_and_back(w: World) {
    let (name, _) = with_ttl(&w, "300s").await;
    let check = format!("_service_maintenance:{name}");
    let on = w.put(&format!("agent/service/maintenance/{name}?enable=true&reason=why"), "").await;
    assert_eq!(on.says(), (200, String::new()));
    w.until_status(&check, CheckStatus::Critical).await;
    let shown = &checks(&w).await[&check];
    assert_eq!(
        (&shown["Name"], &shown["Notes"], &shown["Type"]),
        (&json!("Service Maintenance Mode"), &json!("why"), &json!("maintenance"))
    );
    let again = w.put(&format!("agent/service/maintenance/{name}?enable=true&reason=other"), "").await;
    assert_eq!(again.says(), (200, String::new()));
    assert_eq!(checks(&w).await[&check]["Notes"], json!("why"), "a mark that is there is left as it is");
    // As a check it is another one at once, and is taken away as before.
    let body =
        json!({"ID": check, "Name": "mark", "Notes": "other", "TTL": "1h", "ServiceID": name, "Status": "critical"});
    assert_eq!(w.put("agent/check/register", body.to_string()).await.says(), (200, String::new()));
    assert_eq!(checks(&w).await[&check]["Notes"], json!("other"));
    w.client.agent_service_maintenance(&name, false, "").await.unwrap();
    w.until("it is back", || async { w.status_of(&check).await.is_none() }).await;
    let table = [
        (name.as_str(), 400, "Missing value for enable".to_owned()),
        ("nope?enable=true", 404, "No service registered with ID \"nope\"".into()),
        ("?enable=true", 400, "Missing service ID".into()),
        ("nope?enable=x", 400, "Invalid value for enable: \"x\"".into()),
    ];
    for (path, status, words) in table {
        assert_eq!(w.put(&format!("agent/service/maintenance/{path}"), "").await.says(), (status, words), "{path}");
    }
}

async fn deregistering_takes_a_service_with_its_checks(w: World) {
    let (name, check) = with_ttl(&w, "300s").await;
    assert_eq!(w.put(&format!("agent/service/deregister/{name}"), "").await.says(), (200, String::new()));
    w.until("the catalog is without", || async {
        w.get(&format!("catalog/service/{name}")).await.json() == json!([]) && w.status_of(&check).await.is_none()
    })
    .await;
    assert_eq!(checks(&w).await[&check], Value::Null);
    assert_eq!(w.get("agent/services").await.json()[&name], Value::Null);
}

async fn deregistering_what_is_not_there_is_done(w: World) {
    assert_eq!(w.put(&format!("agent/service/deregister/{}", w.name()), "").await.says(), (200, String::new()));
    assert_eq!(w.put(&format!("agent/check/deregister/{}", w.name()), "").await.says(), (200, String::new()));
}

async fn a_service_may_be_seen_alone(w: World) {
    let (name, _) = with_ttl(&w, "300s").await;
    let alone = w.get(&format!("agent/service/{name}")).await.json();
    assert_eq!((&alone["ID"], &alone["Service"], &alone["Tags"]), (&json!(name), &json!(name), &json!(["a"])));
    let wanted = json!({"ID": name, "Service": name, "Tags": ["a"], "Meta": {}, "Port": 0, "Address": "",
        "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false});
    assert_eq!(w.get("agent/services").await.json()[&name], wanted);
    assert_eq!(w.get("agent/service/nope").await.says(), (404, "unknown service ID: nope".into()));
}
