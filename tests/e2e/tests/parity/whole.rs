//! What happens to a server as a whole: rights given and taken, older states restored, restarts, clients that leave and return.

use std::collections::BTreeMap;
use std::time::Duration;

use consul_client::{CheckStatus, Read};
use consul_embedded::{Access, Rules};
use serde_json::{Value, json};

use crate::checks::Sample;
use crate::rig::{Case, Needs, Rig};
use crate::world::{Raw, World};

const RIGHTS: Needs = Needs { rights: true, durable: false };
const DURABLE: Needs = Needs { rights: false, durable: true };

macro_rules! cases {
    ($($needs:expr => $($name:ident),* ;)*) => {
        pub(crate) fn cases() -> Vec<Case> {
            vec![$($(Case { name: stringify!($name), needs: $needs, run: |rig| Box::pin($name(rig)) },)*)*]
        }
    };
}

cases![
    RIGHTS => a_token_without_rights_sees_lists_as_empty_and_is_refused_single_keys_and_writes,
        a_transaction_without_rights_is_refused_whole_and_names_the_operation,
        an_unknown_token_is_refused_and_no_token_sees_nothing,
        a_token_that_lost_its_rights_is_refused_what_it_did_to_its_session_and_checks,
        a_token_that_lost_its_rights_sees_nothing_of_its_agent_and_of_the_checks,
        a_consistent_read_without_rights_is_cut_and_refused_as_any_other,
        a_recursive_list_is_cut_to_what_the_token_may_see,
        rights_that_are_lost_during_a_poll_are_missed_at_the_next_read_only_and_leave_the_index;
    DURABLE => a_restored_snapshot_sends_readers_away_with_the_old_page_and_the_index_back,
        a_reader_that_is_blocked_when_a_snapshot_is_restored_has_its_old_page_at_once,
        an_index_from_before_a_restored_snapshot_is_refused_by_whatever_compares_it,
        a_restored_snapshot_ends_the_sessions_that_it_does_not_know,
        a_restored_snapshot_takes_nothing_from_agents_and_they_put_the_catalog_right,
        after_a_restored_snapshot_the_nodes_are_soon_those_that_are_there,
        a_service_that_others_took_out_of_the_catalog_is_put_back_by_its_agent,
        a_server_that_restarts_keeps_keys_sessions_and_locks_and_counts_on,
        a_check_that_its_restarted_agent_has_not_asked_yet_is_critical_and_says_nothing,
        a_check_that_a_returned_client_has_not_asked_yet_is_critical_and_says_nothing,
        a_client_that_leaves_takes_its_services_and_sessions_along_and_brings_its_services_back,
        a_client_that_is_killed_leaves_its_services_in_the_catalog_and_takes_them_up_again,
        a_session_without_node_checks_outlives_its_node_falling_silent;
];

/// Reads `a/`, writes `a/b/`, sees the catalog, and may have no session.
fn some() -> Rules {
    let keys = BTreeMap::from([("a/".to_owned(), Access::Read), ("a/b/".to_owned(), Access::Write)]);
    Rules { keys, catalog: Access::Read, sessions: Access::Deny }
}

/// Fills a server with three keys and a service.
async fn furnished(rig: &Rig) -> World {
    let w = rig.world().await;
    for key in ["a/1", "a/b/1", "c/1"] {
        w.set(key, "v").await;
    }
    w.register(&json!({"Name": "web"})).await;
    w
}

async fn a_token_without_rights_sees_lists_as_empty_and_is_refused_single_keys_and_writes(mut rig: Rig) {
    let root = furnished(&rig).await;
    let some = root.with_token(&rig.token("some", &some()));
    let none = root.with_token(&rig.token("none", &Rules::default()));
    // A list without rights looks like one of which there is nothing, index and all.
    let (there, cut) = (root.get("kv/a/?recurse").await, none.get("kv/a/?recurse").await);
    assert_eq!((there.status, cut.status, cut.text().as_str()), (200, 404, ""));
    assert_eq!(cut.index, there.index);
    assert_eq!(some.get("kv/?keys").await.json(), json!(["a/1", "a/b/1"]));
    for (path, nothing) in [
        ("health/service/web", json!([])),
        ("catalog/service/web", json!([])),
        ("catalog/services", json!({})),
        ("catalog/nodes", json!([])),
        ("session/list", json!([])),
    ] {
        let raw = none.get(path).await;
        assert_eq!((raw.status, raw.json()), (200, nothing), "{path}");
    }
    assert_eq!(some.get("health/service/web").await.json().as_array().map(Vec::len), Some(1));
    let denied = (403, "Permission denied".to_owned());
    assert_eq!(none.get("kv/a/1").await.says(), denied);
    assert_eq!(some.get("kv/c/1").await.says(), denied);
    assert_eq!(some.put("kv/a/1", "w").await.says(), denied);
    assert_eq!(some.raw("DELETE", "kv/a/1", "").await.says(), denied);
    assert_eq!(some.put("session/create", "{}").await.says(), denied);
    let (status, words) = some.put("agent/service/register", r#"{"Name": "x"}"#).await.says();
    // Consul goes on with the right that is missing.
    assert!(status == 403 && words.starts_with("Permission denied"), "{status} {words}");
    assert_eq!(some.put("kv/a/b/2", "w").await.says(), (200, "true".to_owned()));
}

async fn a_transaction_without_rights_is_refused_whole_and_names_the_operation(mut rig: Rig) {
    let root = furnished(&rig).await;
    let some = root.with_token(&rig.token("some", &some()));
    let set = |key: &str| json!({"KV": {"Verb": "set", "Key": key, "Value": "dg=="}});
    let refused = some.put("txn", json!([set("a/b/9"), set("a/9")]).to_string()).await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.json()["Errors"], json!([{"OpIndex": 1, "What": "Permission denied"}]));
    assert_eq!(root.get("kv/a/b/9").await.status, 404);
    assert_eq!(some.put("txn", json!([set("a/b/9")]).to_string()).await.status, 200);
}

async fn an_unknown_token_is_refused_and_no_token_sees_nothing(rig: Rig) {
    let root = furnished(&rig).await;
    let stranger = root.with_token("11111111-2222-3333-4444-555555555555");
    for path in ["kv/a/1", "kv/a/?recurse", "health/service/web", "catalog/nodes"] {
        assert_eq!(stranger.get(path).await.says(), (403, "ACL not found".to_owned()), "{path}");
    }
    let anonymous = root.with_token("");
    assert_eq!(anonymous.get("kv/a/?recurse").await.status, 404);
    assert_eq!(anonymous.get("health/service/web").await.json(), json!([]));
}

/// A session and a service with a TTL check, both of a token that then may do nothing any more.
async fn dispossessed(rig: &mut Rig) -> (World, String) {
    let root = rig.world().await;
    let owner = root.with_token(&rig.token("owner", &Rules::all()));
    let session = owner.session(&json!({"TTL": "600s"})).await;
    owner.register(&json!({"Name": "web", "Check": {"CheckID": "alive", "TTL": "600s"}})).await;
    owner.set("a/1", "v").await;
    rig.set_rights("owner", &Rules::default());
    root.until("the rights are gone", || async { owner.get("kv/a/1").await.status == 403 }).await;
    (owner, session)
}

async fn a_token_that_lost_its_rights_is_refused_what_it_did_to_its_session_and_checks(mut rig: Rig) {
    let (owner, session) = dispossessed(&mut rig).await;
    let denied = (403, "Permission denied".to_owned());
    assert_eq!(owner.put(&format!("session/renew/{session}"), "").await.says(), denied);
    assert_eq!(owner.put(&format!("session/destroy/{session}"), "").await.says(), denied);
    assert!(rig.world().await.lives(&session).await);
    // Of a session that is not there nobody's rights are asked.
    let nobody = "11111111-2222-3333-4444-555555555555";
    let gone = (404, format!("Session id '{nobody}' not found"));
    assert_eq!(owner.put(&format!("session/renew/{nobody}"), "").await.says(), gone);
    assert_eq!(owner.put(&format!("session/destroy/{nobody}"), "").await.says(), (200, "true".to_owned()));
    for (path, body) in [("agent/check/update/alive", r#"{"Status": "passing"}"#), ("agent/check/pass/alive", "")] {
        let (status, words) = owner.put(path, body).await.says();
        assert!(status == 403 && words.starts_with("Permission denied"), "{path}: {status} {words}");
    }
    let unknown = owner.put("agent/check/update/nobody", r#"{"Status": "passing"}"#).await.says();
    assert_eq!(unknown, (500, "Unknown check \"nobody\"".to_owned()));
}

async fn a_token_that_lost_its_rights_sees_nothing_of_its_agent_and_of_the_checks(mut rig: Rig) {
    let (owner, session) = dispossessed(&mut rig).await;
    let denied = (403, "Permission denied".to_owned());
    for path in ["agent/self", "agent/service/web"] {
        assert_eq!(owner.get(path).await.says(), denied, "{path}");
    }
    for (path, nothing) in [
        ("agent/services", json!({})),
        ("agent/checks", json!({})),
        ("agent/members", json!([])),
        ("health/state/critical", json!([])),
        (&format!("session/info/{session}"), json!([])),
    ] {
        let raw = owner.get(path).await;
        assert_eq!((raw.status, raw.json()), (200, nothing), "{path}");
    }
}

async fn a_consistent_read_without_rights_is_cut_and_refused_as_any_other(mut rig: Rig) {
    let (owner, _) = dispossessed(&mut rig).await;
    assert_eq!(owner.get("kv/a/1?consistent").await.says(), (403, "Permission denied".to_owned()));
    assert_eq!(owner.get("kv/a/?recurse&consistent").await.says(), (404, String::new()));
    for path in ["health/service/web?consistent", "catalog/nodes?consistent"] {
        let raw = owner.get(path).await;
        assert_eq!((raw.status, raw.json()), (200, json!([])), "{path}");
    }
}

async fn a_recursive_list_is_cut_to_what_the_token_may_see(mut rig: Rig) {
    let root = furnished(&rig).await;
    let some = root.with_token(&rig.token("some", &some()));
    let whole = root.get("kv/?recurse").await;
    let keys = |raw: &Raw| -> Vec<Value> {
        raw.json().as_array().into_iter().flatten().map(|entry| entry["Key"].clone()).collect()
    };
    assert_eq!(keys(&whole), ["a/1", "a/b/1", "c/1"]);
    for path in ["kv/?recurse", "kv/?recurse&consistent", "kv/?recurse&stale"] {
        let cut = some.get(path).await;
        assert_eq!((keys(&cut), cut.index), (vec![json!("a/1"), json!("a/b/1")], whole.index), "{path}");
    }
    // The names of keys are cut too; of the root none at all is a list, of any other prefix none is not found.
    let none = root.with_token(&rig.token("none", &Rules::default()));
    assert_eq!(none.get("kv/?keys").await.says(), (200, "[]".to_owned()));
    assert_eq!(none.get("kv/a/?keys").await.says(), (404, String::new()));
}

async fn rights_that_are_lost_during_a_poll_are_missed_at_the_next_read_only_and_leave_the_index(mut rig: Rig) {
    let root = furnished(&rig).await;
    let keys = BTreeMap::from([("a/".to_owned(), Access::Read)]);
    let reader = root.with_token(&rig.token("reader", &Rules { keys, ..Rules::default() }));
    let index = reader.index("kv/a/?recurse").await;
    let lost = reader.block("kv/a/?recurse", index, async { rig.set_rights("reader", &Rules::default()) }).await;
    // What the poll was allowed to see when it began, it gives at its end.
    assert!(!lost.woke(), "{lost:?}");
    assert_eq!((lost.raw.status, lost.raw.index), (200, Some(index)));
    let again = reader.get("kv/a/?recurse").await;
    assert_eq!((again.status, again.index), (404, Some(index)), "a list without rights has the index of one with them");
}

async fn a_restored_snapshot_sends_readers_away_with_the_old_page_and_the_index_back(rig: Rig) {
    let w = rig.world().await;
    w.set("p/a", "old").await;
    let old = w.index("kv/p/?recurse").await;
    let snapshot = rig.snapshot();
    w.set("p/a", "new").await;
    let new = w.index("kv/p/?recurse").await;
    assert!(new > old);
    rig.restore(snapshot);
    let back = w.get("kv/p/a?raw").await;
    assert_eq!((back.text().as_str(), w.index("kv/p/?recurse").await), ("old", old));
    // Whoever waits with the index of the lost future waits in vain: the older page is no news to it.
    let blocked = w.block("kv/p/?recurse", new, async {}).await;
    assert!(!blocked.woke(), "{blocked:?}");
    assert_eq!(blocked.raw.index, Some(old));
    w.set("p/b", "1").await;
    assert!(w.index("kv/p/?recurse").await > new, "the next write lies above all that was before");
}

async fn a_reader_that_is_blocked_when_a_snapshot_is_restored_has_its_old_page_at_once(rig: Rig) {
    let w = rig.world().await;
    w.set("p/a", "old").await;
    w.register(&json!({"Name": "web"})).await;
    let snapshot = rig.snapshot();
    w.set("p/a", "new").await;
    w.register(&json!({"Name": "web", "Tags": ["new"]})).await;
    for path in ["kv/p/a", "kv/p/?recurse", "health/service/web"] {
        let seen = w.get(path).await;
        let blocked = w.block(path, seen.index.unwrap(), async { rig.restore(snapshot.clone()) }).await;
        assert!(blocked.woke(), "{path}: {blocked:?}");
        assert_eq!((&blocked.raw.body, blocked.raw.index), (&seen.body, seen.index), "{path}");
        // The agent of the service may have put the catalog right by now.
        let is_old = path.starts_with("health/") || w.index(path).await < seen.index.unwrap();
        assert!(is_old, "{path}: what is read after it is the old one");
        // What is lost is made anew for the next path.
        w.set("p/a", "new").await;
        w.register(&json!({"Name": "web", "Tags": [path]})).await;
    }
}

async fn an_index_from_before_a_restored_snapshot_is_refused_by_whatever_compares_it(rig: Rig) {
    let w = rig.world().await;
    w.set("p/a", "old").await;
    let old = w.entry("p/a").await["ModifyIndex"].as_u64().unwrap();
    let snapshot = rig.snapshot();
    w.set("p/a", "new").await;
    let lost = w.entry("p/a").await["ModifyIndex"].as_u64().unwrap();
    rig.restore(snapshot);
    let check = |index: u64| {
        json!([{"KV": {"Verb": "check-index", "Key": "p/a", "Index": index}},
               {"KV": {"Verb": "set", "Key": "p/b", "Value": "dg=="}}])
        .to_string()
    };
    assert_eq!(w.put(&format!("kv/p/a?cas={lost}"), "x").await.says(), (200, "false".to_owned()));
    assert_eq!(w.raw("DELETE", &format!("kv/p/a?cas={lost}"), "").await.says(), (200, "false".to_owned()));
    let refused = w.put("txn", check(lost)).await;
    assert_eq!((refused.status, refused.json()["Errors"][0]["OpIndex"].clone()), (409, json!(0)));
    assert_eq!(w.get("kv/p/b").await.status, 404);
    assert_eq!(w.put("txn", check(old)).await.status, 200);
    assert_eq!(w.put(&format!("kv/p/a?cas={old}"), "x").await.says(), (200, "true".to_owned()));
}

async fn a_restored_snapshot_ends_the_sessions_that_it_does_not_know(rig: Rig) {
    let w = rig.world().await;
    let kept = w.session(&json!({"TTL": "60s"})).await;
    assert_eq!(w.put(&format!("kv/kept?acquire={kept}"), "x").await.text(), "true");
    let snapshot = rig.snapshot();
    let young = w.session(&json!({"TTL": "60s"})).await;
    assert_eq!(w.put(&format!("kv/lock?acquire={young}"), "x").await.text(), "true");
    rig.restore(snapshot);
    assert!(!w.lives(&young).await);
    assert_eq!(w.get("kv/lock").await.status, 404);
    assert!(w.lives(&kept).await);
    assert_eq!(w.entry("kept").await["Session"], Value::from(kept));
    assert_eq!(w.put(&format!("session/renew/{young}"), "").await.status, 404);
}

/// Who puts things right looks every minute, and a moment of its own later.
const PUT_RIGHT: Duration = Duration::from_mins(3);

async fn a_restored_snapshot_takes_nothing_from_agents_and_they_put_the_catalog_right(rig: Rig) {
    let w = rig.world().await;
    let service = |name: &str| json!({"Name": name, "Check": {"CheckID": name, "TTL": "600s"}});
    let names = |w: &World, path: &'static str| {
        let answer = w.clone();
        async move { answer.get(path).await.json().as_object().unwrap().keys().cloned().collect::<Vec<_>>() }
    };
    w.register(&service("kept")).await;
    w.register(&service("ended")).await;
    let snapshot = rig.snapshot();
    w.register(&service("young")).await;
    assert_eq!(w.put("agent/service/deregister/ended", "").await.status, 200);
    assert_eq!(w.put("agent/check/pass/kept", "").await.status, 200);
    w.until_status("kept", CheckStatus::Passing).await;
    w.until("the catalog follows", || async { names(&w, "catalog/services").await == ["consul", "kept", "young"] })
        .await;

    rig.restore(snapshot);
    // The catalog is the old one, unless its agent happened to look at this very moment.
    let first = names(&w, "catalog/services").await;
    assert!(first == ["consul", "ended", "kept"] || first == ["consul", "kept", "young"], "{first:?}");
    assert_eq!(names(&w, "agent/services").await, ["kept", "young"]);
    assert_eq!(w.get("agent/checks").await.json()["kept"]["Status"], "passing");
    w.until_within(PUT_RIGHT, "the catalog is what the agent knows", || async {
        names(&w, "catalog/services").await == ["consul", "kept", "young"]
            && w.status_of("kept").await == Some(CheckStatus::Passing)
    })
    .await;
}

async fn after_a_restored_snapshot_the_nodes_are_soon_those_that_are_there(mut rig: Rig) {
    let w = rig.world().await;
    let nodes = || async {
        let nodes = w.get("catalog/nodes").await.json();
        nodes.as_array().unwrap().iter().map(|node| node["Node"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let client = rig.join("leaver").await;
    client.register(&json!({"Name": "web"})).await;
    let snapshot = rig.snapshot();
    rig.leave("leaver");
    w.until_within(PUT_RIGHT, "one is gone", || async { nodes().await == ["server"] }).await;
    let comer = rig.join("comer").await;
    comer.register(&json!({"Name": "db"})).await;

    rig.restore(snapshot);
    // Who came may have told of its service just now, and be there again with it.
    assert!(nodes().await.contains(&"leaver".to_owned()), "the one that left is back");
    w.until_within(PUT_RIGHT, "who left is gone", || async { w.get("catalog/node/leaver").await.text() == "null" })
        .await;
    w.until_within(PUT_RIGHT, "who came is there with its service", || async {
        w.get("health/service/db").await.json()[0]["Checks"][0]["Status"] == "passing"
    })
    .await;
    assert_eq!(w.get("catalog/service/web").await.json(), json!([]));
}

async fn a_service_that_others_took_out_of_the_catalog_is_put_back_by_its_agent(rig: Rig) {
    let w = rig.world().await;
    w.register(&json!({"Name": "web", "Check": {"CheckID": "alive", "TTL": "600s"}})).await;
    assert_eq!(w.put("agent/check/pass/alive", "").await.status, 200);
    w.until_status("alive", CheckStatus::Passing).await;
    let gone = json!({"Node": w.node, "ServiceID": "web"}).to_string();
    assert_eq!(w.put("catalog/deregister", gone).await.says(), (200, "true".to_owned()));
    assert_eq!(w.get("health/service/web").await.json(), json!([]));
    assert!(w.get("agent/services").await.json()["web"].is_object());
    w.until_within(PUT_RIGHT, "it is back with its check", || async {
        w.status_of("alive").await == Some(CheckStatus::Passing)
            && w.get("catalog/service/web").await.json()[0]["ServiceID"] == "web"
    })
    .await;
}

async fn a_server_that_restarts_keeps_keys_sessions_and_locks_and_counts_on(mut rig: Rig) {
    let w = rig.world().await;
    w.set("a", "1").await;
    let session = w.session(&json!({"TTL": "60s", "NodeChecks": []})).await;
    assert_eq!(w.put(&format!("kv/lock?acquire={session}"), "x").await.text(), "true");
    w.register(&json!({"Name": "web", "Check": {"CheckID": "web-alive", "TTL": "60s"}})).await;
    assert_eq!(w.put("agent/check/pass/web-alive", "").await.status, 200);
    w.until_status("web-alive", CheckStatus::Passing).await;
    let before = w.entry("a").await;

    // Every handle of an embedded server keeps its folder.
    drop(w);
    let w = rig.restart().await;
    assert_eq!(w.entry("a").await, before, "value and indexes");
    assert_eq!(w.entry("lock").await["Session"], Value::from(session.clone()));
    assert_eq!(w.put(&format!("session/renew/{session}"), "").await.status, 200);
    // A TTL check that has not run out goes on as it was.
    w.until_status("web-alive", CheckStatus::Passing).await;
    w.set("b", "2").await;
    assert!(w.entry("b").await["ModifyIndex"].as_u64() > before["ModifyIndex"].as_u64());
}

/// Registers a service of which the only check passes and says so in the catalog.
async fn with_passing_check(w: &World, sample: &Sample) {
    // Whoever is not answered waits long enough for a case to look at what there is before any answer.
    let check = json!({"CheckID": "up", "HTTP": sample.url(), "Interval": "1s", "Timeout": "60s"});
    w.register(&json!({"Name": "web", "Check": check})).await;
    w.until("it passes and says so", || async {
        let (status, output) = health_of_web(w).await;
        status == "passing" && output.ends_with("hello")
    })
    .await;
}

/// Status and output of the only check of `web`, as the catalog has them; empty while there is none.
async fn health_of_web(w: &World) -> (String, String) {
    let checks = w.get("health/checks/web").await.json();
    let text = |field: &str| checks[0][field].as_str().unwrap_or("").to_owned();
    (text("Status"), text("Output"))
}

const UNASKED: (&str, &str) = ("critical", "");

async fn a_check_that_its_restarted_agent_has_not_asked_yet_is_critical_and_says_nothing(mut rig: Rig) {
    let w = rig.world().await;
    let sample = Sample::start("200 OK");
    with_passing_check(&w, &sample).await;
    sample.falls_silent();
    drop(w);
    let w = rig.restart().await;
    let own = w.get("agent/checks").await.json()["up"].clone();
    assert_eq!((own["Status"].as_str(), own["Output"].as_str()), (Some(UNASKED.0), Some(UNASKED.1)));
    w.until("the catalog has heard of it", || async { health_of_web(&w).await.0 == "critical" }).await;
    assert_eq!(health_of_web(&w).await.1, UNASKED.1);
}

async fn a_check_that_a_returned_client_has_not_asked_yet_is_critical_and_says_nothing(mut rig: Rig) {
    let w = rig.world().await;
    let client = rig.join("n1").await;
    let sample = Sample::start("200 OK");
    with_passing_check(&client, &sample).await;
    sample.falls_silent();
    rig.leave("n1");
    w.until_within(PUT_RIGHT, "the service is gone", || async {
        w.get("catalog/service/web").await.json() == json!([])
    })
    .await;
    rig.come_back("n1");
    w.until("the service is back", || async { !health_of_web(&w).await.0.is_empty() }).await;
    let (status, output) = health_of_web(&w).await;
    assert_eq!((status.as_str(), output.as_str()), UNASKED);
}

async fn a_client_that_leaves_takes_its_services_and_sessions_along_and_brings_its_services_back(mut rig: Rig) {
    let w = rig.world().await;
    let client = rig.join("n1").await;
    // Nobody listens there, so that what it says after its return is not the answer of a check.
    let check = json!({"CheckID": "web-up", "HTTP": "http://127.0.0.1:1/", "Interval": "1h", "Status": "passing"});
    client.register(&json!({"Name": "web", "Check": check})).await;
    let session = client.session(&json!({"TTL": "60s", "NodeChecks": []})).await;
    assert!(w.lives(&session).await);
    rig.leave("n1");
    let gone = || async { w.get("catalog/node/n1").await.text() == "null" };
    w.until_within(PUT_RIGHT, "the node is gone", gone).await;
    assert_eq!(w.get("health/service/web").await.json(), json!([]));
    assert!(!w.lives(&session).await, "a session goes with its node, whatever its checks are");
    rig.come_back("n1");
    let back = || async { w.get("health/service/web").await.json().as_array().is_some_and(|all| all.len() == 1) };
    w.until("its service is back", back).await;
    let checks = w.client.health_node("n1", &Read::default()).await.unwrap().value;
    let own = checks.iter().find(|check| check.check_id == "web-up").unwrap();
    assert_eq!(own.status, CheckStatus::Critical, "what has to be asked counts as critical until it was");
    assert!(!w.lives(&session).await);
}

async fn a_client_that_is_killed_leaves_its_services_in_the_catalog_and_takes_them_up_again(mut rig: Rig) {
    let w = rig.world().await;
    let client = rig.join("n1").await;
    let sample = Sample::start("200 OK");
    with_passing_check(&client, &sample).await;
    let session = client.session(&json!({"TTL": "86400s"})).await;
    let before = w.get("catalog/service/web").await.json();
    rig.crash("n1");
    let serf = |status: CheckStatus| {
        let w = &w;
        move || async move {
            let checks = w.client.health_node("n1", &Read::default()).await.unwrap().value;
            checks.iter().any(|check| check.check_id == "serfHealth" && check.status == status)
        }
    };
    w.until_within(Duration::from_secs(40), "it is known to be dead", serf(CheckStatus::Critical)).await;
    w.until("its session ends", || async { !w.lives(&session).await }).await;
    assert_eq!(w.get("catalog/service/web").await.json(), before);
    assert_eq!(health_of_web(&w).await.0, "passing", "nobody asks, and nobody says otherwise");
    sample.falls_silent();
    rig.come_back("n1");
    w.until_within(Duration::from_secs(40), "it is alive", serf(CheckStatus::Passing)).await;
    w.until("its check was not asked", || async {
        let (status, output) = health_of_web(&w).await;
        (status.as_str(), output.as_str()) == UNASKED
    })
    .await;
    assert_eq!(client.get("agent/services").await.json()["web"]["Service"], "web");
}

async fn a_session_without_node_checks_outlives_its_node_falling_silent(mut rig: Rig) {
    let w = rig.world().await;
    let client = rig.join("n1").await;
    let usual = client.session(&json!({"TTL": "86400s"})).await;
    let free = client.session(&json!({"TTL": "86400s", "NodeChecks": []})).await;
    rig.fall_silent("n1");
    let serf = || async {
        let checks = w.client.health_node("n1", &Read::default()).await.unwrap().value;
        checks.iter().any(|check| check.check_id == "serfHealth" && check.status == CheckStatus::Critical)
    };
    w.until_within(Duration::from_secs(40), "the node is known not to answer", serf).await;
    w.until("the usual session ends", || async { !w.lives(&usual).await }).await;
    assert!(w.lives(&free).await);
}
