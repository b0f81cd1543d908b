//! Sessions and locks.

use std::time::Duration;

use consul_client::CheckStatus;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::{World, cases};

cases![
    a_ttl_is_between_10_seconds_and_a_day,
    a_session_has_these_defaults,
    a_lock_delay_is_text_seconds_or_nanoseconds,
    an_unknown_behavior_is_refused,
    a_session_needs_its_node_and_its_checks,
    an_empty_list_of_checks_is_no_check,
    a_renewal_gives_the_session_and_moves_no_index,
    a_session_that_does_not_exist,
    a_lock_is_held_by_one,
    a_dead_session_cannot_lock,
    a_plain_write_keeps_the_holder_and_forgets_the_count,
    a_locked_key_can_be_deleted_by_anybody,
    only_the_holder_gives_back,
    a_key_given_back_can_be_taken_at_once,
    a_session_that_ends_leaves_its_keys_locked_for_the_delay,
    a_session_may_delete_its_keys,
    a_session_that_ends_wakes_readers_of_its_keys,
    a_check_session_fences_off_a_holder_of_before,
    a_session_ends_with_its_check_turning_critical,
    a_session_stands_a_warning,
    a_session_ends_with_its_check_being_deregistered,
    a_session_ends_with_its_service_being_deregistered,
    a_session_ends_with_its_node,
    a_session_that_is_not_renewed_ends_after_twice_its_ttl,
    a_session_bound_to_a_ttl_check_ends_with_it;
    quiet
];

const ZERO: &str = "00000000-0000-0000-0000-000000000000";

async fn take(w: &World, key: &str, session: &str) -> bool {
    w.put(&format!("kv/{key}?acquire={session}"), "v").await.json() == true
}

async fn end(w: &World, session: &str) {
    assert_eq!(w.put(&format!("session/destroy/{session}"), "").await.says(), (200, "true".into()));
}

/// A service with a TTL check that passes; its check's id.
async fn service_with_check(w: &World) -> (String, String) {
    let name = w.name();
    let check = format!("check-{name}");
    w.register(&json!({"Name": name, "Check": {"CheckID": check, "TTL": "300s", "Status": "passing"}})).await;
    (name, check)
}

async fn bound_to(w: &World, check: &str) -> String {
    w.session(&json!({"LockDelay": "0s", "NodeChecks": ["serfHealth"], "ServiceChecks": [{"ID": check}]})).await
}

async fn a_ttl_is_between_10_seconds_and_a_day(w: World) {
    let table = [
        ("9s", "Invalid Session TTL '9000000000', must be between [10s=24h0m0s]"),
        ("86401s", "Invalid Session TTL '86401000000000', must be between [10s=24h0m0s]"),
        ("-1s", "Invalid Session TTL '-1000000000', must be between [10s=24h0m0s]"),
        ("abc", "Session TTL 'abc' invalid: time: invalid duration \"abc\""),
    ];
    for (ttl, words) in table {
        let refused = w.put("session/create", json!({"TTL": ttl}).to_string()).await;
        assert_eq!(refused.says(), (500, words.into()), "{ttl}");
    }
    for ttl in ["10s", "24h", "0s", ""] {
        let session = w.session(&json!({"TTL": ttl})).await;
        end(&w, &session).await;
    }
}

async fn a_session_has_these_defaults(w: World) {
    let session = w.session(&json!({})).await;
    let shown = w.get(&format!("session/info/{session}")).await;
    let mut shown_body = shown.json()[0].clone();
    let fields = shown_body.as_object_mut().unwrap();
    let created = fields.remove("CreateIndex").unwrap();
    assert_eq!(fields.remove("ModifyIndex").unwrap(), created);
    let wanted = json!({
        "ID": session, "Name": "", "Node": w.node, "LockDelay": 15_000_000_000_u64, "Behavior": "release", "TTL": "",
        "NodeChecks": ["serfHealth"], "ServiceChecks": null,
    });
    assert_eq!(shown_body, wanted);
    let list = w.get("session/list").await.json();
    assert!(list.as_array().unwrap().iter().any(|own| own["ID"] == session));
    let of_node = w.get(&format!("session/node/{}", w.node)).await.json();
    assert!(of_node.as_array().unwrap().iter().any(|own| own["ID"] == session));
    assert_eq!(w.get("session/node/elsewhere").await.json(), json!([]));
}

async fn a_lock_delay_is_text_seconds_or_nanoseconds(w: World) {
    let table = [
        (json!("0s"), 0),
        (json!("61s"), 61_000_000_000_u64),
        (json!(5), 5_000_000_000),
        (json!(2_500_000_000_u64), 2_500_000_000),
    ];
    for (given, stored) in table {
        let session = w.session(&json!({"LockDelay": given})).await;
        assert_eq!(w.get(&format!("session/info/{session}")).await.json()[0]["LockDelay"], stored, "{given}");
    }
    let refused = w.put("session/create", json!({"LockDelay": "abc"}).to_string()).await;
    assert_eq!(refused.says(), (400, "Request decode failed: time: invalid duration \"abc\"".into()));
}

async fn an_unknown_behavior_is_refused(w: World) {
    let refused = w.put("session/create", json!({"Behavior": "x"}).to_string()).await;
    assert_eq!(refused.says(), (500, "Invalid Behavior setting 'x'".into()));
}

async fn a_session_needs_its_node_and_its_checks(w: World) {
    let (_, check) = service_with_check(&w).await;
    w.put(&format!("agent/check/fail/{check}"), "").await;
    w.until_status(&check, CheckStatus::Critical).await;
    let table = [
        (json!({"Node": "nowhere"}), "Missing node registration".to_owned()),
        (json!({"NodeChecks": ["none"]}), "Missing check 'none' registration".into()),
        (json!({"ServiceChecks": [{"ID": "none"}]}), "Missing check 'none' registration".into()),
        (json!({"ServiceChecks": [{"ID": check}]}), format!("Check '{check}' is in critical state")),
        (json!({"Checks": [check]}), format!("Check '{check}' is in critical state")),
    ];
    for (request, words) in table {
        let refused = w.put("session/create", request.to_string()).await;
        assert_eq!(refused.says(), (500, words), "{request}");
    }
}

async fn an_empty_list_of_checks_is_no_check(w: World) {
    for request in [json!({"Checks": []}), json!({"NodeChecks": []})] {
        let session = w.session(&request).await;
        assert_eq!(w.get(&format!("session/info/{session}")).await.json()[0]["NodeChecks"], json!([]), "{request}");
    }
}

async fn a_renewal_gives_the_session_and_moves_no_index(w: World) {
    let session = w.session(&json!({"TTL": "20s", "Name": "n"})).await;
    let shown = w.get(&format!("session/info/{session}")).await.json();
    let renewed = w.put(&format!("session/renew/{session}"), "").await;
    assert_eq!((renewed.status, renewed.json()), (200, shown.clone()));
    assert_eq!(w.get(&format!("session/info/{session}")).await.json(), shown);
}

async fn a_session_that_does_not_exist(w: World) {
    let uuid = "failed session lookup: index error: UUID must be 36 characters";
    assert_eq!(w.get(&format!("session/info/{ZERO}")).await.json(), json!([]));
    assert_eq!(w.get("session/info/short").await.says(), (500, uuid.into()));
    let missing = format!("Session id '{ZERO}' not found");
    assert_eq!(w.put(&format!("session/renew/{ZERO}"), "").await.says(), (404, missing));
    assert_eq!(w.put("session/renew/short", "").await.says(), (500, uuid.into()));
    assert_eq!(w.put(&format!("session/destroy/{ZERO}"), "").await.says(), (200, "true".into()));
    assert_eq!(w.put("session/destroy/short", "").await.says(), (500, uuid.into()));
    assert_eq!(w.get("session/info/").await.says(), (400, "Missing session".into()));
}

async fn a_lock_is_held_by_one(w: World) {
    let key = format!("{}l", w.prefix());
    let (one, two) = (w.session(&json!({})).await, w.session(&json!({})).await);
    assert!(take(&w, &key, &one).await);
    assert!(!take(&w, &key, &two).await);
    let before = w.entry(&key).await;
    assert_eq!((&before["Session"], &before["LockIndex"]), (&Value::from(one.as_str()), &Value::from(1)));
    assert!(take(&w, &key, &one).await, "the holder takes it again");
    assert_eq!(w.entry(&key).await, before);
}

async fn a_dead_session_cannot_lock(w: World) {
    let key = format!("{}l", w.prefix());
    let refused = w.put(&format!("kv/{key}?acquire={ZERO}"), "v").await;
    assert_eq!(refused.says(), (500, format!("invalid session {ZERO:?}")));
    let malformed = w.put(&format!("kv/{key}?acquire=short"), "v").await;
    assert_eq!(malformed.says(), (500, "failed session lookup: index error: UUID must be 36 characters".into()));
    assert_eq!(w.put(&format!("kv/{key}?release={ZERO}"), "v").await.says(), (200, "false".into()));
}

async fn a_plain_write_keeps_the_holder_and_forgets_the_count(w: World) {
    let key = format!("{}l", w.prefix());
    let session = w.session(&json!({})).await;
    assert!(take(&w, &key, &session).await);
    w.set(&key, "foreign").await;
    let entry = w.entry(&key).await;
    assert_eq!((&entry["Session"], &entry["LockIndex"]), (&Value::from(session.as_str()), &Value::from(0)));
    assert!(take(&w, &key, &session).await);
    assert_eq!(w.entry(&key).await["LockIndex"], 0);
}

async fn a_locked_key_can_be_deleted_by_anybody(w: World) {
    let key = format!("{}l", w.prefix());
    let session = w.session(&json!({})).await;
    assert!(take(&w, &key, &session).await);
    assert_eq!(w.raw("DELETE", &format!("kv/{key}"), "").await.says(), (200, "true".into()));
    w.set(&key, "v").await;
    assert_eq!(w.entry(&key).await["Session"], Value::Null);
}

async fn only_the_holder_gives_back(w: World) {
    let key = format!("{}l", w.prefix());
    let (one, two) = (w.session(&json!({})).await, w.session(&json!({})).await);
    assert!(take(&w, &key, &one).await);
    assert_eq!(w.put(&format!("kv/{key}?release={two}"), "x").await.says(), (200, "false".into()));
    assert_eq!(w.put(&format!("kv/{key}?release={one}"), "x").await.says(), (200, "true".into()));
    let entry = w.entry(&key).await;
    assert_eq!((&entry["Session"], &entry["LockIndex"], &entry["Value"]), (&Value::Null, &json!(1), &json!("eA==")));
}

async fn a_key_given_back_can_be_taken_at_once(w: World) {
    let key = format!("{}l", w.prefix());
    let (one, two) = (w.session(&json!({})).await, w.session(&json!({})).await);
    assert!(take(&w, &key, &one).await);
    w.put(&format!("kv/{key}?release={one}"), "x").await;
    assert!(take(&w, &key, &two).await);
    assert_eq!(w.entry(&key).await["LockIndex"], 2);
}

async fn a_session_that_ends_leaves_its_keys_locked_for_the_delay(w: World) {
    let key = format!("{}l", w.prefix());
    let (one, two) = (w.session(&json!({"LockDelay": "2s"})).await, w.session(&json!({})).await);
    assert!(take(&w, &key, &one).await);
    let started = Instant::now();
    end(&w, &one).await;
    assert!(!take(&w, &key, &two).await);
    let op = json!([{"KV": {"Verb": "lock", "Key": key, "Session": two}}]);
    let refused = w.put("txn", op.to_string()).await;
    assert_eq!(refused.json()["Errors"][0]["What"], format!("failed to lock key {key:?} due to lock delay"));
    // Writing is not locking.
    w.set(&key, "w").await;
    w.until("the delay is over", || take(&w, &key, &two)).await;
    let took = started.elapsed();
    assert!(took > Duration::from_millis(1900) && took < Duration::from_secs(4), "{took:?}");
}

async fn a_session_may_delete_its_keys(w: World) {
    let key = format!("{}l", w.prefix());
    let session = w.session(&json!({"Behavior": "delete", "LockDelay": "15s"})).await;
    assert!(take(&w, &key, &session).await);
    end(&w, &session).await;
    assert_eq!(w.get(&format!("kv/{key}")).await.status, 404);
    let other = w.session(&json!({})).await;
    assert!(!take(&w, &key, &other).await, "the delay is for deleted keys too");
}

async fn a_session_that_ends_wakes_readers_of_its_keys(w: World) {
    let key = format!("{}l", w.prefix());
    let session = w.session(&json!({"LockDelay": "0s"})).await;
    assert!(take(&w, &key, &session).await);
    assert!(w.wakes(&format!("kv/{key}"), end(&w, &session)).await);
    let other = w.session(&json!({})).await;
    assert!(take(&w, &key, &other).await);
}

async fn a_check_session_fences_off_a_holder_of_before(w: World) {
    let p = w.prefix();
    let lock = format!("{p}lock");
    let (one, two) = (w.session(&json!({"LockDelay": "0s"})).await, w.session(&json!({})).await);
    assert!(take(&w, &lock, &one).await);
    let write = |session: &str, value: &str| {
        json!([
            {"KV": {"Verb": "check-session", "Key": lock, "Session": session}},
            {"KV": {"Verb": "set", "Key": format!("{p}data"), "Value": value}},
        ])
        .to_string()
    };
    assert_eq!(w.put("txn", write(&one, "MQ==")).await.status, 200);
    end(&w, &one).await;
    let refused = w.put("txn", write(&one, "Mg==")).await;
    let words = format!("failed session check for key {lock:?}, current session \"\" != {one:?}");
    assert_eq!((refused.status, &refused.json()["Errors"][0]["What"]), (409, &Value::from(words)));
    assert!(take(&w, &lock, &two).await);
    assert_eq!(w.put("txn", write(&one, "Mg==")).await.status, 409);
    assert_eq!(w.put("txn", write(&two, "Mw==")).await.status, 200);
    assert_eq!(w.entry(&format!("{p}data")).await["Value"], "Mw==");
}

async fn a_session_ends_with_its_check_turning_critical(w: World) {
    let key = format!("{}l", w.prefix());
    let (_, check) = service_with_check(&w).await;
    let session = bound_to(&w, &check).await;
    assert!(take(&w, &key, &session).await);
    let fail = format!("agent/check/fail/{check}");
    assert!(w.wakes(&format!("kv/{key}"), w.put(&fail, "")).await);
    assert!(!w.lives(&session).await);
    assert_eq!(w.entry(&key).await["Session"], Value::Null);
}

async fn a_session_stands_a_warning(w: World) {
    let (_, check) = service_with_check(&w).await;
    let session = bound_to(&w, &check).await;
    w.put(&format!("agent/check/warn/{check}"), "").await;
    w.until_status(&check, CheckStatus::Warning).await;
    assert!(w.lives(&session).await);
}

async fn a_session_ends_with_its_check_being_deregistered(w: World) {
    let (_, check) = service_with_check(&w).await;
    let session = bound_to(&w, &check).await;
    assert_eq!(w.put(&format!("agent/check/deregister/{check}"), "").await.status, 200);
    w.until("the session ends", || async { !w.lives(&session).await }).await;
}

async fn a_session_ends_with_its_service_being_deregistered(w: World) {
    let (service, check) = service_with_check(&w).await;
    let session = bound_to(&w, &check).await;
    assert_eq!(w.put(&format!("agent/service/deregister/{service}"), "").await.status, 200);
    w.until("the session ends", || async { !w.lives(&session).await }).await;
}

async fn a_session_ends_with_its_node(w: World) {
    let node = w.name();
    w.put("catalog/register", json!({"Node": node, "Address": "10.0.0.1"}).to_string()).await;
    let session = w.session(&json!({"Node": node, "NodeChecks": []})).await;
    assert!(w.lives(&session).await);
    w.put("catalog/deregister", json!({"Node": node}).to_string()).await;
    assert!(!w.lives(&session).await);
}

async fn a_session_that_is_not_renewed_ends_after_twice_its_ttl(w: World) {
    let key = format!("{}l", w.prefix());
    let kept = w.session(&json!({"TTL": "10s"})).await;
    let session = w.session(&json!({"TTL": "10s", "LockDelay": "0s"})).await;
    let started = Instant::now();
    assert!(take(&w, &key, &session).await);
    while started.elapsed() < Duration::from_secs(19) {
        assert!(w.lives(&session).await, "ended after {:?}", started.elapsed());
        assert_eq!(w.put(&format!("session/renew/{kept}"), "").await.status, 200);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    w.until("the session ends", || async { !w.lives(&session).await }).await;
    assert!(started.elapsed() > Duration::from_millis(19_500), "{:?}", started.elapsed());
    assert!(w.lives(&kept).await);
}

async fn a_session_bound_to_a_ttl_check_ends_with_it(w: World) {
    let name = w.name();
    let check = format!("check-{name}");
    w.register(&json!({"Name": name, "Check": {"CheckID": check, "TTL": "2s", "Status": "passing"}})).await;
    let session = bound_to(&w, &check).await;
    let started = Instant::now();
    assert_eq!(w.put(&format!("agent/check/pass/{check}"), "").await.status, 200);
    w.until("the session ends", || async { !w.lives(&session).await }).await;
    let took = started.elapsed();
    assert!(took > Duration::from_millis(1900) && took < Duration::from_secs(4), "{took:?}");
}
