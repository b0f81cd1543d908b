//! Who leads, told by the driver.

use std::time::Duration;

use consul_client::{Behavior, CheckStatus, Read};
use helium_election::{
    Keys,
    leader::{Candidate, Elector, Event, Handle, Settings, Token, Why},
};
use tokio::{sync::watch, time::timeout};

use crate::world::{S, World};

fn candidate(world: &World, who: &str, settings: Settings) -> Candidate {
    Candidate {
        who: who.to_owned(),
        address: format!("{who}:80"),
        keys: Keys::helium("default", "shop"),
        settings,
        note: world.folder.path().join(who),
    }
}

/// A candidate with the default settings, and the switch that cuts it off.
fn stand(world: &World, who: &str) -> (Handle, watch::Sender<bool>) {
    let (client, cut) = world.client();
    let handle = Elector::start(client, candidate(world, who, Settings::default()), world.ports.clone()).unwrap();
    (handle, cut)
}

async fn event(handle: &mut Handle) -> Event {
    timeout(S(600), handle.event()).await.expect("an event within ten minutes").expect("the election goes on")
}

async fn gained(handle: &mut Handle) -> Token {
    match event(handle).await {
        Event::Gained { token, kept: false } => token,
        other => panic!("{other:?}"),
    }
}

async fn lost(handle: &mut Handle) -> Why {
    match event(handle).await {
        Event::Lost { why } => why,
        Event::Gained { token, .. } => panic!("gained {token:?}"),
    }
}

async fn nothing(handle: &mut Handle, within: Duration) {
    assert!(timeout(within, handle.event()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_is_followed_within_ttl_and_lock_delay_and_the_token_grows() {
    let world = World::new().await;
    let (mut one, _cut) = stand(&world, "n1");
    let first = gained(&mut one).await;
    let (mut two, _cut) = stand(&world, "n2");
    nothing(&mut two, S(120)).await;
    let died = world.ports.monotonic();
    drop(one);
    let second = gained(&mut two).await;
    // Consul ends a session by twice its TTL.
    let took = world.since(died);
    assert!(took <= S(2 * 30 + 15 + 2), "{took:?}");
    assert!(took >= S(30), "{took:?}");
    assert!(second.number > first.number);
}

#[tokio::test(start_paused = true)]
async fn people_can_read_who_leads_and_under_which_token() {
    let world = World::new().await;
    let (mut one, _cut) = stand(&world, "n1");
    let token = gained(&mut one).await;
    let status = one.status();
    tokio::time::sleep(S(1)).await;
    let value = world.value("helium/v1/lock/service/default/shop").await.unwrap().unwrap();
    let expected = serde_json::json!({
        "who": "n1", "address": "n1:80", "since": "2026-01-01T00:00:00Z", "token": token.number,
    });
    assert_eq!(value, expected);
    let (two, _cut) = stand(&world, "n2");
    let mut seen = two.status();
    let seen = seen.wait_for(|status| status.leader.is_some()).await.unwrap().clone();
    assert_eq!(seen.leader.unwrap().token, Some(token.number));
    assert_eq!(seen.leads, None);
    assert!(status.borrow().leads == Some(token) && status.borrow().exclusive);
}

#[tokio::test(start_paused = true)]
async fn a_failing_check_of_the_leaders_instance_takes_the_lock_from_it() {
    let world = World::new().await;
    let settings = Settings { service_checks: vec!["up".to_owned()], ..Settings::default() };
    let (client, _cut) = world.client();
    let mut one = Elector::start(client, candidate(&world, "n1", settings), world.ports.clone()).unwrap();
    gained(&mut one).await;
    let (mut two, _cut) = stand(&world, "n2");
    tokio::time::sleep(S(5)).await;
    let failed = world.ports.monotonic();
    world.user().agent_update_ttl("up", CheckStatus::Critical, "").await.unwrap();
    assert_eq!(lost(&mut one).await, Why::LockLost);
    assert!(world.since(failed) < S(1));
    one.stopped().await;
    gained(&mut two).await;
    let took = world.since(failed);
    assert!(took >= S(15) && took <= S(17), "{took:?}");
    // A candidate whose check is critical gets no session, and says why.
    let mut status = one.status();
    let seen = status.wait_for(|status| status.trouble.is_some()).await.unwrap().clone();
    assert!(seen.trouble.unwrap().contains("critical"));
}

#[tokio::test(start_paused = true)]
async fn a_partitioned_leader_stops_before_anybody_else_can_lead() {
    let world = World::new().await;
    let (mut one, cut) = stand(&world, "n1");
    gained(&mut one).await;
    let (mut two, _cut) = stand(&world, "n2");
    tokio::time::sleep(S(5)).await;
    cut.send_replace(true);
    let cut_at = world.ports.monotonic();
    // The rest of the cluster finds its node dead at once: the worst case.
    let value = world.user().kv_get("helium/v1/lock/service/default/shop", &Read::default()).await.unwrap().value;
    world.user().session_destroy(&value.unwrap().session.unwrap()).await.unwrap();
    assert_eq!(lost(&mut one).await, Why::LeaseOver);
    let lost_at = world.ports.monotonic();
    gained(&mut two).await;
    let led_at = world.ports.monotonic();
    let led_on = lost_at.saturating_sub(cut_at);
    assert!(led_on <= S(9), "{led_on:?}");
    assert!(led_at >= lost_at + S(5), "its work has had the time to stop");
    // Back, it does not take itself for the leader.
    cut.send_replace(false);
    one.stopped().await;
    nothing(&mut one, S(300)).await;
    assert_eq!(one.status().borrow().leader.as_ref().unwrap().who, "n2");
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_leadership_and_its_token() {
    let world = World::new().await;
    let (mut one, _cut) = stand(&world, "n1");
    let token = gained(&mut one).await;
    let (mut two, _cut) = stand(&world, "n2");
    for _ in 0..5 {
        drop(one);
        tokio::time::sleep(S(8)).await;
        one = stand(&world, "n1").0;
        assert_eq!(event(&mut one).await, Event::Gained { token: token.clone(), kept: true });
    }
    nothing(&mut two, S(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_takes_too_long_is_told_as_a_loss() {
    let world = World::new().await;
    let (mut one, _cut) = stand(&world, "n1");
    gained(&mut one).await;
    drop(one);
    tokio::time::sleep(S(100)).await;
    let (mut one, _cut) = stand(&world, "n1");
    assert_eq!(lost(&mut one).await, Why::NotKept);
    gained(&mut one).await;
}

#[tokio::test(start_paused = true)]
async fn with_other_times_a_new_session_is_made_since_the_old_one_would_end_sooner_than_counted() {
    let world = World::new().await;
    let (mut one, _cut) = stand(&world, "n1");
    let first = gained(&mut one).await;
    drop(one);
    let longer = Settings { lock_delay: S(40), ttl: S(60), ..Settings::default() };
    let mut one = Elector::start(world.user(), candidate(&world, "n1", longer), world.ports.clone()).unwrap();
    assert_eq!(lost(&mut one).await, Why::NotKept);
    assert!(gained(&mut one).await.number > first.number);
    let sessions = world.user().session_list(&Read::default()).await.unwrap().value;
    assert_eq!(sessions.iter().map(|session| session.lock_delay).collect::<Vec<_>>(), [S(40)]);
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_to_go_hands_over_without_a_lock_delay_once_its_work_has_stopped() {
    let world = World::new().await;
    let (mut one, _cut) = stand(&world, "n1");
    gained(&mut one).await;
    let (mut two, _cut) = stand(&world, "n2");
    tokio::time::sleep(S(5)).await;
    one.leave().await;
    assert_eq!(lost(&mut one).await, Why::Released);
    nothing(&mut two, S(2)).await;
    let stopped = world.ports.monotonic();
    one.stopped().await;
    gained(&mut two).await;
    assert!(world.since(stopped) < S(1));
    assert_eq!(one.event().await, None);
    assert!(!world.folder.path().join("n1").exists());
}

#[tokio::test(start_paused = true)]
async fn the_token_only_grows_even_where_the_key_is_deleted_or_written_by_hand() {
    let world = World::new().await;
    let settings = Settings { behavior: Behavior::Delete, ..Settings::default() };
    let key = "helium/v1/lock/service/default/shop";
    let mut one = Elector::start(world.user(), candidate(&world, "n1", settings), world.ports.clone()).unwrap();
    let mut last = gained(&mut one).await.number;
    for round in 0..6 {
        // A write by hand takes nothing away.
        world.put(key, "by hand").await;
        nothing(&mut one, S(20)).await;
        if round % 2 == 0 {
            world.user().kv_delete(key, None).await.unwrap();
        } else {
            let pair = world.user().kv_get(key, &Read::default()).await.unwrap().value.unwrap();
            world.user().session_destroy(&pair.session.unwrap()).await.unwrap();
        }
        assert_eq!(lost(&mut one).await, Why::LockLost);
        one.stopped().await;
        let token = gained(&mut one).await.number;
        assert!(token > last, "{token} after {last}");
        last = token;
    }
}

#[tokio::test(start_paused = true)]
async fn helios_readers_find_the_plain_name_and_the_session() {
    let world = World::new().await;
    let mut candidate = candidate(&world, "zone3", Settings::default());
    candidate.keys = Keys::helios("shop", "zone3");
    let mut one = Elector::start(world.user(), candidate, world.ports.clone()).unwrap();
    gained(&mut one).await;
    tokio::time::sleep(S(1)).await;
    let leader = world.user().kv_get("service/shop/leader", &Read::default()).await.unwrap().value.unwrap();
    assert_eq!(leader.value, "zone3");
    let session = world.user().kv_get("sessions/zone3/shop", &Read::default()).await.unwrap().value.unwrap();
    assert_eq!(session.value, leader.session.unwrap());
}
