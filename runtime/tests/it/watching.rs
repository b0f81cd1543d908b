//! What a watch shows while the store changes, hides, falls back, goes away and lies.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use consul_embedded::{Access, AclTable, Rules};
use helium_runtime::{
    shutdown::Shutdown,
    snapshot::{BlindReason, Trust, View},
    watcher::{WatchConfig, watch_prefix},
};
use serde_json::Value;
use tokio::sync::watch::Receiver;

use crate::world::{Road, World, within};

const S: fn(u64) -> Duration = Duration::from_secs;

/// A store with a sentinel and these rows under `p/`.
async fn world(rows: &[(&str, &str)]) -> World {
    let world = World::new();
    world.put("p/.keep", "").await;
    for (key, value) in rows {
        world.put(key, value).await;
    }
    world
}

async fn trusted(view: &mut Receiver<View<Value>>) {
    within(S(1), view, "trusted", |view| view.trust.is_trusted()).await;
}

fn keys(view: &Receiver<View<Value>>) -> Vec<String> {
    view.borrow().snapshot.rows.keys().cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_is_shown_at_once_and_only_its_row_is_read_anew() {
    let world = world(&[("p/a", "1"), ("p/b", "2")]).await;
    let config = WatchConfig::new("p");
    let stats = Arc::clone(&config.stats);
    let mut view = world.watch(config);
    assert_eq!(view.borrow().trust.blind_reason(), Some(BlindReason::NotRead));
    trusted(&mut view).await;
    let before = view.borrow_and_update().clone();
    world.put("p/b", "3").await;
    within(Duration::from_millis(1), &mut view, "b is 3", |view| {
        view.snapshot.row("p/b").unwrap().get() == Some(&3.into())
    })
    .await;
    let after = view.borrow().clone();
    assert!(Arc::ptr_eq(&before.snapshot.row("p/a").unwrap().value, &after.snapshot.row("p/a").unwrap().value));
    assert_eq!(stats.decoded.load(Ordering::Relaxed), 3);
    assert_eq!(before.trust, after.trust, "since when it is trusted does not change");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_cannot_be_read_ends_nothing() {
    let world = world(&[("p/a", "1"), ("p/poison", "{")]).await;
    let mut view = world.watch(WatchConfig::new("p"));
    trusted(&mut view).await;
    assert!(view.borrow().snapshot.row("p/poison").unwrap().get().is_none());
    world.put("p/poison", "2").await;
    within(S(1), &mut view, "mended", |view| view.snapshot.row("p/poison").unwrap().get() == Some(&2.into())).await;
}

#[tokio::test(start_paused = true)]
async fn a_prefix_without_its_sentinel_is_blind_until_it_has_one() {
    let world = World::new();
    world.put("p/a", "1").await;
    let mut view = world.watch(WatchConfig::new("p"));
    within(S(1), &mut view, "blind", |view| view.trust.blind_reason() == Some(BlindReason::MissingSentinel)).await;
    assert!(view.borrow().snapshot.rows.is_empty());
    world.put("p/.keep", "").await;
    within(S(6), &mut view, "trusted", |view| view.trust.is_trusted()).await;
    assert_eq!(keys(&view), ["p/a"]);
}

#[tokio::test(start_paused = true)]
async fn a_wiped_prefix_keeps_its_rows_and_is_blind() {
    let world = world(&[("p/a", "1"), ("p/b", "2")]).await;
    let mut view = world.watch(WatchConfig::new("p"));
    trusted(&mut view).await;
    world.user().kv_delete_tree("p/").await.unwrap();
    within(S(1), &mut view, "blind", |view| view.trust.blind_reason() == Some(BlindReason::MissingSentinel)).await;
    assert_eq!(keys(&view), ["p/a", "p/b"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_loses_its_rights_is_blind_and_sees_again_soon_after_it_has_them_back() {
    let world = world(&[("p/a", "1")]).await;
    let table = |key| {
        let rules = Rules { keys: [(String::new(), key)].into(), ..Rules::all() };
        Some(AclTable::from([("t".to_owned(), rules)]))
    };
    world.server.set_acl(table(Access::Write));
    let client = world.client_as(Some("t"));
    let mut view = watch_prefix::<Value>(client, WatchConfig::new("p"), world.ports.clone(), Shutdown::never());
    trusted(&mut view).await;
    world.server.set_acl(table(Access::Deny));
    within(S(27), &mut view, "blind", |view| !view.trust.is_trusted()).await;
    assert_eq!(keys(&view), ["p/a"]);
    tokio::time::sleep(S(300)).await;
    world.server.set_acl(table(Access::Write));
    within(S(6), &mut view, "trusted", |view| view.trust.is_trusted()).await;
    assert_eq!(view.borrow().resets, 0);
}

#[tokio::test(start_paused = true)]
async fn a_restored_older_state_is_shown_before_a_poll_can_hang_on_the_old_index() {
    let world = world(&[("p/a", "1")]).await;
    let older = world.server.state();
    let mut view = world.watch(WatchConfig::new("p"));
    for _ in 0..50 {
        world.put("p/b", &world.ports.random_hex(3).len().to_string()).await;
        world.put("p/a", "2").await;
        world.put("p/a", "3").await;
    }
    within(S(5), &mut view, "a is 3", |view| view.snapshot.row("p/a").is_some_and(|row| row.get() == Some(&3.into())))
        .await;
    tokio::time::sleep(S(5)).await;
    world.server.restore(older);
    within(S(27), &mut view, "a is 1", |view| view.trust.is_trusted() && view.resets == 1).await;
    assert_eq!(keys(&view), ["p/a"]);
    assert_eq!(view.borrow().snapshot.row("p/a").unwrap().get(), Some(&1.into()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_makes_the_view_blind_after_a_while_and_its_return_trusted() {
    let world = world(&[("p/a", "1")]).await;
    let mut view = world.watch(WatchConfig::new("p"));
    trusted(&mut view).await;
    let Trust::Trusted { since } = view.borrow().trust else { panic!("it was trusted") };
    world.set_road(Road::Broken);
    tokio::time::sleep(S(5)).await;
    assert!(view.borrow().trust.is_trusted(), "a short failure is nothing");
    within(S(20), &mut view, "blind", |view| view.trust.blind_reason() == Some(BlindReason::Unreachable)).await;
    tokio::time::sleep(S(60)).await;
    world.put("p/b", "2").await;
    world.set_road(Road::Open);
    within(S(11), &mut view, "trusted", |view| view.trust.is_trusted() && view.snapshot.rows.len() == 2).await;
    assert!(matches!(view.borrow().trust, Trust::Trusted { since: now } if now > since));
}

#[tokio::test(start_paused = true)]
async fn a_mass_loss_that_no_quorum_confirms_is_never_shown() {
    let rows: Vec<String> = (0..20).map(|row| format!("p/row-{row:02}")).collect();
    let rows: Vec<(&str, &str)> = rows.iter().map(|key| (key.as_str(), "1")).collect();
    let world = world(&rows).await;
    let config = WatchConfig::new("p");
    let stats = Arc::clone(&config.stats);
    let mut view = world.watch(config);
    trusted(&mut view).await;
    world.set_road(Road::Lying);
    world.put("p/a", "1").await;
    within(S(2), &mut view, "the new row", |view| {
        assert!(view.snapshot.rows.len() >= 20, "the loss was shown");
        view.snapshot.row("p/a").is_some()
    })
    .await;
    assert_eq!(view.borrow().snapshot.rows.len(), 21);
    assert!(stats.suspicious.load(Ordering::Relaxed) >= 1);
    world.set_road(Road::Open);
    for (key, _) in &rows[..10] {
        world.user().kv_delete(key, None).await.unwrap();
    }
    within(S(10), &mut view, "a true loss", |view| view.snapshot.rows.len() == 11).await;
    assert!(view.borrow().trust.is_trusted());
}

#[tokio::test(start_paused = true)]
async fn at_rest_it_costs_a_poll_and_a_look_at_one_key_every_25_s_and_a_check_every_10_min() {
    let world = world(&[("p/a", "1")]).await;
    let mut view = world.watch(WatchConfig::new("p"));
    trusted(&mut view).await;
    tokio::time::sleep(S(60)).await;
    world.take_requests();
    view.borrow_and_update();
    tokio::time::sleep(S(3600)).await;
    let requests = world.take_requests();
    let checks = requests.iter().filter(|request| request.contains("consistent")).count();
    assert!((5..=7).contains(&checks), "{checks} checks");
    let looks = requests.iter().filter(|request| request.ends_with("/v1/kv/p/.keep")).count();
    assert!((100..=3600 / 25).contains(&looks), "{looks} looks");
    assert!(requests.len() - looks <= 3600 / 25 + 8, "{} requests", requests.len());
    assert!(!view.has_changed().unwrap(), "and wakes nobody");
}

#[tokio::test(start_paused = true)]
async fn under_constant_change_it_shows_about_one_snapshot_a_second_and_the_last_at_once() {
    let world = world(&[]).await;
    let config = WatchConfig::new("p");
    let stats = Arc::clone(&config.stats);
    let mut view = world.watch(config);
    trusted(&mut view).await;
    for turn in 0..1000 {
        world.put("p/a", &turn.to_string()).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let snapshots = stats.snapshots.load(Ordering::Relaxed);
    assert!((15..=30).contains(&snapshots), "{snapshots} in 20 s");
    within(S(2), &mut view, "the last", |view| view.snapshot.row("p/a").unwrap().get() == Some(&999.into())).await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_reads_and_at_the_shutdown() {
    let world = world(&[]).await;
    let (trigger, shutdown) = Shutdown::new();
    let watch = || watch_prefix::<Value>(world.client(), WatchConfig::new("p"), world.ports.clone(), shutdown.clone());
    let mut one = watch();
    let mut other = watch();
    trusted(&mut one).await;
    trusted(&mut other).await;
    tokio::time::sleep(S(1)).await;
    assert_eq!(world.server.blocked_reads(), 2);
    drop(one);
    tokio::time::sleep(S(1)).await;
    assert_eq!(world.server.blocked_reads(), 1);
    trigger.trigger();
    tokio::time::sleep(S(1)).await;
    assert_eq!(world.server.blocked_reads(), 0);
    assert!(other.has_changed().is_err(), "the readers are told");
}
