//! Indexes, and reads that wait for them.

use std::time::Duration;

use crate::world::{World, cases};

cases![
    the_index_of_a_prefix_is_that_of_its_latest_change,
    an_identical_put_moves_no_index,
    a_put_with_other_flags_moves_the_index,
    a_deletion_moves_the_index_of_its_prefix_up,
    an_emptied_prefix_keeps_the_index_of_its_deletion,
    a_deletion_of_nothing_moves_no_index,
    reads_without_an_index_or_with_one_of_the_past_return_at_once,
    an_index_in_the_future_blocks_for_the_whole_wait_although_the_key_is_written,
    a_key_sleeps_through_writes_of_its_neighbours,
    a_key_wakes_when_it_is_written,
    a_key_wakes_when_it_is_deleted,
    a_prefix_sleeps_through_writes_elsewhere,
    a_prefix_wakes_on_a_write_under_it,
    a_prefix_wakes_on_a_deletion_under_it_and_shows_the_rest,
    a_prefix_wakes_when_its_tree_is_deleted,
    an_identical_put_wakes_nobody,
    a_listing_of_keys_wakes_on_a_new_key,
    a_wait_that_ends_gives_the_same_index_again,
    what_is_no_wait_or_index_is_refused,
    two_consistencies_at_once_are_refused,
    an_unknown_datacenter_is_refused;
    quiet
    the_index_of_a_missing_key_is_that_of_the_whole_table,
    a_missing_key_wakes_on_any_write,
    an_empty_prefix_wakes_on_any_write,
    the_inside_of_a_deleted_tree_shows_the_index_of_the_whole_table,
];

async fn modify_index(w: &World, key: &str) -> u64 {
    w.entry(key).await["ModifyIndex"].as_u64().unwrap()
}

async fn the_index_of_a_prefix_is_that_of_its_latest_change(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    w.set(&format!("{p}b"), "1").await;
    w.set(&format!("{p}a"), "2").await;
    let (a, b) = (modify_index(&w, &format!("{p}a")).await, modify_index(&w, &format!("{p}b")).await);
    assert!(a > b);
    assert_eq!(w.index(&format!("kv/{p}?recurse")).await, a);
    assert_eq!(w.index(&format!("kv/{p}?keys")).await, a);
    assert_eq!(w.index(&format!("kv/{p}b")).await, b);
}

async fn an_identical_put_moves_no_index(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a?flags=7"), "1").await;
    let before = w.get(&format!("kv/{p}a")).await;
    w.set(&format!("{p}a?flags=7"), "1").await;
    assert_eq!(before, w.get(&format!("kv/{p}a")).await);
}

async fn a_put_with_other_flags_moves_the_index(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a?flags=7"), "1").await;
    let before = modify_index(&w, &format!("{p}a")).await;
    w.set(&format!("{p}a"), "1").await;
    assert!(modify_index(&w, &format!("{p}a")).await > before);
}

async fn a_deletion_moves_the_index_of_its_prefix_up(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    w.set(&format!("{p}b"), "1").await;
    let before = w.index(&format!("kv/{p}?recurse")).await;
    w.raw("DELETE", &format!("kv/{p}a"), "").await;
    assert!(w.index(&format!("kv/{p}?recurse")).await > before);
}

async fn an_emptied_prefix_keeps_the_index_of_its_deletion(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    w.raw("DELETE", &format!("kv/{p}a"), "").await;
    let emptied = w.get(&format!("kv/{p}?recurse")).await;
    assert_eq!(emptied.status, 404);
    w.set(&format!("{}x", w.prefix()), "1").await;
    assert_eq!(w.get(&format!("kv/{p}?recurse")).await, emptied);
}

async fn a_deletion_of_nothing_moves_no_index(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    let before = w.index(&format!("kv/{p}?recurse")).await;
    assert_eq!(w.raw("DELETE", &format!("kv/{p}b"), "").await.says(), (200, "true".into()));
    assert_eq!(w.raw("DELETE", &format!("kv/{p}c/?recurse"), "").await.says(), (200, "true".into()));
    assert_eq!(w.index(&format!("kv/{p}?recurse")).await, before);
}

async fn reads_without_an_index_or_with_one_of_the_past_return_at_once(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    let index = w.index(&format!("kv/{p}a")).await;
    for past in [0, 1, index - 1] {
        let blocked = w.block(&format!("kv/{p}a"), past, async {}).await;
        assert!(blocked.took < Duration::from_millis(800), "{blocked:?}");
        assert_eq!(blocked.raw.index, Some(index));
    }
}

async fn an_index_in_the_future_blocks_for_the_whole_wait_although_the_key_is_written(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    let index = w.index(&format!("kv/{p}a")).await;
    let blocked = w.block(&format!("kv/{p}a"), index + 100_000, w.set(&format!("{p}a"), "2")).await;
    assert!(!blocked.woke(), "{blocked:?}");
    assert_eq!(blocked.raw.json()[0]["Value"], "Mg==");
}

async fn a_key_sleeps_through_writes_of_its_neighbours(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    assert!(!w.wakes(&format!("kv/{p}a"), w.set(&format!("{p}ab"), "2")).await);
}

async fn a_key_wakes_when_it_is_written(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    assert!(w.wakes(&format!("kv/{p}a"), w.set(&format!("{p}a"), "2")).await);
}

async fn a_key_wakes_when_it_is_deleted(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    let index = w.index(&format!("kv/{p}a")).await;
    let path = format!("kv/{p}a");
    let blocked = w.block(&path, index, w.raw("DELETE", &path, "")).await;
    assert!(blocked.woke());
    assert_eq!((blocked.raw.status, blocked.raw.text()), (404, String::new()));
}

async fn a_prefix_sleeps_through_writes_elsewhere(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}.keep"), "1").await;
    let elsewhere = w.prefix();
    assert!(!w.wakes(&format!("kv/{p}?recurse"), w.set(&format!("{elsewhere}a"), "2")).await);
}

async fn a_prefix_wakes_on_a_write_under_it(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}.keep"), "1").await;
    assert!(w.wakes(&format!("kv/{p}?recurse"), w.set(&format!("{p}deep/er"), "2")).await);
}

async fn a_prefix_wakes_on_a_deletion_under_it_and_shows_the_rest(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    w.set(&format!("{p}b"), "1").await;
    let path = format!("kv/{p}?recurse");
    let gone = format!("kv/{p}a");
    let blocked = w.block(&path, w.index(&path).await, w.raw("DELETE", &gone, "")).await;
    assert!(blocked.woke());
    let rest = blocked.raw.json();
    assert_eq!(rest.as_array().unwrap().len(), 1);
    assert_eq!(rest[0]["Key"], format!("{p}b"));
}

async fn a_prefix_wakes_when_its_tree_is_deleted(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}t/a"), "1").await;
    w.set(&format!("{p}.keep"), "1").await;
    let tree = format!("kv/{p}t/?recurse");
    assert!(w.wakes(&format!("kv/{p}?recurse"), w.raw("DELETE", &tree, "")).await);
}

async fn an_identical_put_wakes_nobody(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    assert!(!w.wakes(&format!("kv/{p}?recurse"), w.set(&format!("{p}a"), "1")).await);
}

async fn a_listing_of_keys_wakes_on_a_new_key(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    assert!(w.wakes(&format!("kv/{p}?keys"), w.set(&format!("{p}b"), "1")).await);
}

async fn a_wait_that_ends_gives_the_same_index_again(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    let index = w.index(&format!("kv/{p}a")).await;
    let blocked = w.block(&format!("kv/{p}a"), index, async {}).await;
    assert_eq!((blocked.raw.status, blocked.raw.index), (200, Some(index)));
    // The wait, a sixteenth of it, and some time for the machine.
    assert!(blocked.took >= Duration::from_millis(1200), "{blocked:?}");
    assert!(blocked.took < Duration::from_millis(1275 + 1500), "{blocked:?}");
}

async fn what_is_no_wait_or_index_is_refused(w: World) {
    for (query, words) in [
        ("wait=abc", "Invalid wait time"),
        ("index=abc", "Invalid index"),
        ("index=-5", "Invalid index"),
        ("wait=1", "Invalid wait time"),
    ] {
        assert_eq!(w.get(&format!("kv/x?{query}")).await.says(), (400, words.into()), "{query}");
    }
}

async fn two_consistencies_at_once_are_refused(w: World) {
    let words = "Cannot specify ?stale with ?consistent, conflicting semantics.";
    assert_eq!(w.get("kv/x?stale&consistent").await.says(), (400, words.into()));
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    for one in ["stale", "consistent"] {
        assert_eq!(w.get(&format!("kv/{p}a?{one}")).await.status, 200);
    }
}

async fn an_unknown_datacenter_is_refused(w: World) {
    assert_eq!(w.get("catalog/services?dc=elsewhere").await.says(), (500, "No path to datacenter".into()));
    assert_eq!(w.get("catalog/datacenters").await.json(), serde_json::json!(["dc1"]));
}

async fn the_index_of_a_missing_key_is_that_of_the_whole_table(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}a"), "1").await;
    let table = w.index(&format!("kv/{p}a")).await;
    for path in ["kv/Missing", "kv/Missing/?recurse", "kv/Missing/?keys", "kv/?recurse", "kv/?keys"] {
        assert_eq!(w.index(path).await, table, "{path}");
    }
    w.raw("DELETE", &format!("kv/{p}a"), "").await;
    assert!(w.index("kv/Missing").await > table);
}

async fn a_missing_key_wakes_on_any_write(w: World) {
    let p = w.prefix();
    assert!(w.wakes("kv/Missing", w.set(&format!("{p}a"), "1")).await);
}

async fn an_empty_prefix_wakes_on_any_write(w: World) {
    let p = w.prefix();
    assert!(w.wakes("kv/Missing/?recurse", w.set(&format!("{p}a"), "1")).await);
}

async fn the_inside_of_a_deleted_tree_shows_the_index_of_the_whole_table(w: World) {
    let p = w.prefix();
    w.set(&format!("{p}t/deep/a"), "1").await;
    w.raw("DELETE", &format!("kv/{p}t/?recurse"), "").await;
    w.set(&format!("{p}other"), "1").await;
    let table = w.index(&format!("kv/{p}other")).await;
    assert_eq!(w.index(&format!("kv/{p}t/deep/?recurse")).await, table);
    assert!(w.index(&format!("kv/{p}t/?recurse")).await < table);
}
