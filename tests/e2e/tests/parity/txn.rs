//! Transactions: limits, what they show, and each refusal in its words.

use serde_json::{Value, json};

use crate::world::{Raw, World, cases};

cases![
    a_transaction_holds_64_operations_and_no_more,
    a_transaction_has_512_kib_and_no_more,
    a_refused_transaction_does_nothing_and_names_every_reason,
    keys_of_one_transaction_share_an_index,
    a_transaction_shows_what_it_wrote_without_values_and_what_it_read_with_them,
    the_last_of_two_writes_of_a_key_wins,
    deletions_show_nothing,
    every_refusal_of_a_condition_has_its_words,
    every_condition_that_holds_passes,
    a_transaction_sees_its_own_writes,
    a_transaction_that_only_reads_has_the_marks_of_a_read,
    an_identical_set_keeps_the_index,
    an_empty_transaction_is_done,
    an_unknown_verb_is_refused,
    a_key_must_be_given,
    bodies_that_make_no_sense_are_400,
    locks_are_taken_and_given_back,
    a_refused_transaction_wakes_nobody;
    quiet
];

async fn txn(w: &World, ops: Value) -> Raw {
    w.put("txn", ops.to_string()).await
}

fn kv(verb: &str, key: &str) -> Value {
    json!({"KV": {"Verb": verb, "Key": key}})
}

/// The words of a refusal, by operation.
fn words(raw: &Raw) -> Vec<(u64, String)> {
    assert_eq!(raw.status, 409, "{}", raw.text());
    let body = raw.json();
    assert_eq!(body["Results"], Value::Null);
    let errors = body["Errors"].as_array().unwrap().iter();
    errors.map(|e| (e["OpIndex"].as_u64().unwrap(), e["What"].as_str().unwrap().to_owned())).collect()
}

async fn a_transaction_holds_64_operations_and_no_more(w: World) {
    let p = w.prefix();
    let ops = |count: usize| Value::from((0..count).map(|i| kv("set", &format!("{p}{i}"))).collect::<Vec<_>>());
    assert_eq!(txn(&w, ops(65)).await.says(), (413, "Transaction contains too many operations (65 > 64)".into()));
    assert_eq!(w.get(&format!("kv/{p}?keys")).await.status, 404);
    let done = txn(&w, ops(64)).await;
    assert_eq!(done.status, 200);
    assert_eq!(done.json()["Results"].as_array().unwrap().len(), 64);
}

async fn a_transaction_has_512_kib_and_no_more(w: World) {
    let key = format!("{}a", w.prefix());
    let op = |length: usize| json!([{"KV": {"Verb": "set", "Key": key, "Value": "A".repeat(length)}}]);
    assert_eq!(txn(&w, op(520_000)).await.status, 200);
    let over = op(530_000);
    let size = over.to_string().len();
    let words = format!(
        "Request body({size} bytes) too large, max size: 524288 bytes. \
         See https://www.consul.io/docs/agent/options.html#txn_max_req_len."
    );
    assert_eq!(txn(&w, over).await.says(), (413, words));
}

async fn a_refused_transaction_does_nothing_and_names_every_reason(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    let before = w.get(&format!("kv/{p}?recurse")).await;
    let refused = txn(
        &w,
        json!([
            {"KV": {"Verb": "set", "Key": format!("{p}b"), "Value": "MQ=="}},
            {"KV": {"Verb": "cas", "Key": format!("{p}a"), "Value": "Mg==", "Index": 1}},
            {"KV": {"Verb": "check-index", "Key": format!("{p}none"), "Index": 1}},
            {"KV": {"Verb": "delete", "Key": format!("{p}a")}},
        ]),
    )
    .await;
    assert_eq!(words(&refused).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(w.get(&format!("kv/{p}?recurse")).await, before);
}

async fn keys_of_one_transaction_share_an_index(w: World) {
    let p = w.prefix();
    let done = txn(&w, json!([kv("set", &format!("{p}a")), kv("set", &format!("{p}b"))])).await.json();
    let index = &done["Results"][0]["KV"]["ModifyIndex"];
    assert_eq!(&done["Results"][1]["KV"]["ModifyIndex"], index);
    assert_eq!(w.entry(&format!("{p}a")).await["CreateIndex"], *index);
    assert_eq!(w.index(&format!("kv/{p}?recurse")).await, index.as_u64().unwrap());
}

async fn a_transaction_shows_what_it_wrote_without_values_and_what_it_read_with_them(w: World) {
    let p = w.prefix();
    let a = format!("{p}a");
    let done = txn(
        &w,
        json!([
            {"KV": {"Verb": "set", "Key": a, "Value": "MQ==", "Flags": 3}}, kv("get", &a), kv("get-tree", &p),
            kv("get-tree", &format!("{p}none/")),
        ]),
    )
    .await
    .json();
    let index = &done["Results"][0]["KV"]["ModifyIndex"];
    let shown = |value: Value| json!({"KV": {"LockIndex": 0, "Key": a, "Flags": 3, "Value": value, "CreateIndex": index, "ModifyIndex": index}});
    assert_eq!(
        done,
        json!({"Results": [shown(Value::Null), shown("MQ==".into()), shown("MQ==".into())], "Errors": null})
    );
}

async fn the_last_of_two_writes_of_a_key_wins(w: World) {
    let key = format!("{}a", w.prefix());
    let set = |value: &str| json!({"KV": {"Verb": "set", "Key": key, "Value": value}});
    assert_eq!(txn(&w, json!([set("MQ=="), set("Mg==")])).await.status, 200);
    assert_eq!(w.entry(&key).await["Value"], "Mg==");
}

async fn deletions_show_nothing(w: World) {
    let p = w.prefix();
    for name in ["a", "b", "t/1", "t/2"] {
        w.set(&format!("{p}{name}"), "1").await;
    }
    let index = w.entry(&format!("{p}b")).await["ModifyIndex"].clone();
    let done = txn(
        &w,
        json!([
            kv("delete", &format!("{p}a")), kv("delete", &format!("{p}none")), kv("delete-tree", &format!("{p}t/")),
            {"KV": {"Verb": "delete-cas", "Key": format!("{p}b"), "Index": index}},
            {"KV": {"Verb": "delete-cas", "Key": format!("{p}none"), "Index": 3}},
        ]),
    )
    .await;
    assert_eq!(done.json(), json!({"Results": [], "Errors": null}));
    assert_eq!(w.get(&format!("kv/{p}?keys")).await.status, 404);
}

async fn every_refusal_of_a_condition_has_its_words(w: World) {
    let p = w.prefix();
    let (held, other) = (w.session(&json!({"LockDelay": "0s"})).await, w.session(&json!({"LockDelay": "0s"})).await);
    let (a, l, none) = (format!("{p}a"), format!("{p}l"), format!("{p}none"));
    w.set(&a, "1").await;
    w.set(&format!("{l}?acquire={held}"), "1").await;
    let index = w.entry(&a).await["ModifyIndex"].as_u64().unwrap();
    let zero = "00000000-0000-0000-0000-000000000000";
    let table = [
        (json!({"Verb": "get", "Key": none}), format!("key {none:?} doesn't exist")),
        (json!({"Verb": "cas", "Key": a, "Index": 1}), format!("failed to set key {a:?}, index is stale")),
        (json!({"Verb": "cas", "Key": none, "Index": 1}), format!("failed to set key {none:?}, index is stale")),
        (json!({"Verb": "cas", "Key": a, "Index": 0}), format!("failed to set key {a:?}, index is stale")),
        (json!({"Verb": "delete-cas", "Key": a, "Index": 1}), format!("failed to delete key {a:?}, index is stale")),
        (
            json!({"Verb": "check-index", "Key": none, "Index": 1}),
            format!("failed to check index, key {none:?} doesn't exist"),
        ),
        (
            json!({"Verb": "check-index", "Key": a, "Index": 1}),
            format!("failed index check for key {a:?}, current modify index {index} != 1"),
        ),
        (
            json!({"Verb": "check-session", "Key": none, "Session": held}),
            format!("failed to check session, key {none:?} doesn't exist"),
        ),
        (
            json!({"Verb": "check-session", "Key": a, "Session": held}),
            format!("failed session check for key {a:?}, current session \"\" != {held:?}"),
        ),
        (
            json!({"Verb": "check-session", "Key": l, "Session": other}),
            format!("failed session check for key {l:?}, current session {held:?} != {other:?}"),
        ),
        (json!({"Verb": "check-not-exists", "Key": a}), format!("key {a:?} exists")),
        (
            json!({"Verb": "lock", "Key": l, "Session": other}),
            format!("failed to lock key {l:?}, lock is already held"),
        ),
        (json!({"Verb": "lock", "Key": a, "Session": zero}), format!("invalid session {zero:?}")),
        (
            json!({"Verb": "lock", "Key": a, "Session": "short"}),
            "failed session lookup: index error: UUID must be 36 characters".into(),
        ),
        (json!({"Verb": "lock", "Key": a}), "missing session".into()),
        (json!({"Verb": "unlock", "Key": l}), "missing session".into()),
        (
            json!({"Verb": "unlock", "Key": l, "Session": other}),
            format!("failed to unlock key {l:?}, lock isn't held, or is held by another session"),
        ),
        (
            json!({"Verb": "unlock", "Key": none, "Session": held}),
            format!("failed to unlock key {none:?}, lock isn't held, or is held by another session"),
        ),
    ];
    for (op, refusal) in table {
        // A write beside it: reads alone go another way in Consul.
        let refused = txn(&w, json!([kv("set", &format!("{p}x")), {"KV": op}])).await;
        assert_eq!(words(&refused), [(1, refusal)], "{op}");
    }
    assert_eq!(w.get(&format!("kv/{p}x")).await.status, 404);
}

async fn every_condition_that_holds_passes(w: World) {
    let p = w.prefix();
    let held = w.session(&json!({"LockDelay": "0s"})).await;
    let (a, l) = (format!("{p}a"), format!("{p}l"));
    w.set(&a, "1").await;
    w.set(&format!("{l}?acquire={held}"), "1").await;
    let index = &w.entry(&a).await["ModifyIndex"];
    let done = txn(
        &w,
        json!([
            {"KV": {"Verb": "check-session", "Key": l, "Session": held}},
            {"KV": {"Verb": "check-index", "Key": a, "Index": index}},
            {"KV": {"Verb": "check-not-exists", "Key": format!("{p}new")}},
            {"KV": {"Verb": "cas", "Key": a, "Index": index, "Value": "Mg=="}},
            {"KV": {"Verb": "cas", "Key": format!("{p}new"), "Index": 0, "Value": "Mg=="}},
        ]),
    )
    .await;
    assert_eq!(done.status, 200, "{}", done.text());
    let shown = done.json();
    let keys: Vec<&str> =
        shown["Results"].as_array().unwrap().iter().map(|result| result["KV"]["Key"].as_str().unwrap()).collect();
    // What is checked is shown too, except what was to be absent.
    assert_eq!(keys, [&l, &a, &a, &format!("{p}new")]);
    assert_eq!(shown["Results"][0]["KV"]["Session"], held);
    assert_eq!(shown["Results"][0]["KV"]["Value"], Value::Null);
}

async fn a_transaction_sees_its_own_writes(w: World) {
    let p = w.prefix();
    let a = format!("{p}a");
    let ops = json!([kv("set", &a), kv("delete", &a), {"KV": {"Verb": "cas", "Key": a, "Index": 0, "Value": "Mg=="}}]);
    assert_eq!(txn(&w, ops).await.status, 200);
    assert_eq!(w.entry(&a).await["Value"], "Mg==");
    let refused = txn(&w, json!([kv("delete", &a), kv("get", &a)])).await;
    assert_eq!(words(&refused), [(1, format!("key {a:?} doesn't exist"))]);
    assert_eq!(w.entry(&a).await["Value"], "Mg==");
}

async fn a_transaction_that_only_reads_has_the_marks_of_a_read(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    let read = txn(&w, json!([kv("get", &format!("{p}a"))])).await;
    assert_eq!((read.status, read.known_leader.as_deref(), read.index), (200, Some("true"), None));
    assert_eq!(read.json()["KnownLeader"], true);
    let write = txn(&w, json!([kv("get", &format!("{p}a")), kv("set", &format!("{p}b"))])).await;
    assert_eq!((write.status, write.known_leader, write.index), (200, None, None));
    let refused = txn(&w, json!([kv("get", &format!("{p}none"))])).await;
    assert_eq!((refused.status, refused.known_leader.as_deref()), (409, Some("true")));
}

async fn an_identical_set_keeps_the_index(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    let index = w.entry(&format!("{p}a")).await["ModifyIndex"].clone();
    let done = txn(&w, json!([{"KV": {"Verb": "set", "Key": format!("{p}a"), "Value": "MQ=="}}])).await.json();
    assert_eq!(done["Results"][0]["KV"]["ModifyIndex"], index);
    assert_eq!(w.entry(&format!("{p}a")).await["ModifyIndex"], index);
}

async fn an_empty_transaction_is_done(w: World) {
    let done = txn(&w, json!([])).await;
    assert_eq!((done.status, done.json()["Results"].clone()), (200, json!([])));
}

async fn an_unknown_verb_is_refused(w: World) {
    let p = w.prefix();
    for verb in ["get-or-empty", "", "SET"] {
        let refused = txn(&w, json!([kv("set", &format!("{p}a")), kv(verb, &format!("{p}b"))])).await;
        assert_eq!(words(&refused), [(1, format!("unknown KV verb {verb:?}"))]);
    }
    assert_eq!(w.get(&format!("kv/{p}?keys")).await.status, 404);
}

async fn a_key_must_be_given(w: World) {
    for verb in ["set", "get", "delete", "get-tree", "check-index"] {
        assert_eq!(words(&txn(&w, json!([kv(verb, "")])).await), [(0, "Must provide key".to_owned())], "{verb}");
    }
}

async fn bodies_that_make_no_sense_are_400(w: World) {
    let table = [
        (r#"[{"Foo":{}}]"#, r#"Failed to parse body: json: unknown field "Foo""#),
        (r#"[{"KV":{"Verb":"set","Key":"a","Foo":3}}]"#, r#"Failed to parse body: json: unknown field "Foo""#),
        (
            r#"[{"KV":{"Verb":"set","Key":"a","Value":"!!"}}]"#,
            "Failed to parse body: illegal base64 data at input byte 0",
        ),
        ("x", "Failed to parse body: invalid character 'x' looking for beginning of value"),
    ];
    for (body, words) in table {
        assert_eq!(w.put("txn", body).await.says(), (400, words.into()), "{body}");
    }
}

async fn locks_are_taken_and_given_back(w: World) {
    let key = format!("{}l", w.prefix());
    let session = w.session(&json!({"LockDelay": "0s"})).await;
    let op = |verb: &str, value: &str| json!([{"KV": {"Verb": verb, "Key": key, "Value": value, "Session": session}}]);
    for (verb, lock_index, holder) in [("lock", 1, true), ("lock", 1, true), ("unlock", 1, false), ("lock", 2, true)] {
        assert_eq!(txn(&w, op(verb, "MQ==")).await.status, 200);
        let entry = w.entry(&key).await;
        assert_eq!(entry["LockIndex"], lock_index);
        assert_eq!(entry["Session"] == session, holder);
    }
}

async fn a_refused_transaction_wakes_nobody(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}.keep"), "1").await;
    let ops = json!([kv("set", &format!("{p}a")), kv("get", &format!("{p}none"))]);
    assert!(!w.wakes(&format!("kv/{p}?recurse"), txn(&w, ops)).await);
}
