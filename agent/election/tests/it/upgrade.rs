//! Who upgrades, told by the driver.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use consul_client::{Client, Put, Read};
use futures::FutureExt;
use helium_election::{
    Keys,
    upgrade::{Gate, Limits, Permit, Standing, UpgradeError},
};
use tokio::{sync::Mutex, task::JoinHandle, time::timeout};

use crate::world::{S, Tricky, World};

const KEY: &str = "helium/v1/lock/upgrade/default/shop";

fn gate(world: &World, who: &str, limits: Limits) -> Gate {
    Gate::new(world.user(), world.ports.clone(), Keys::helium("default", "shop"), limits, who)
}

fn one_at_a_time(world: &World, who: &str) -> Gate {
    gate(world, who, Limits::default())
}

async fn enter(gate: &Gate, version: &str) -> Permit {
    timeout(S(3600), gate.enter(version)).await.expect("a place within an hour").unwrap()
}

/// Enters in the background, and returns once it is in line.
async fn line_up(world: &World, gate: &Gate, version: &'static str) -> JoinHandle<Result<Permit, UpgradeError>> {
    let before = waiting(world).await.len();
    let task = tokio::spawn({
        let gate = gate.clone();
        async move { gate.enter(version).await }
    });
    while waiting(world).await.len() == before {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    task
}

async fn names(world: &World, list: &str) -> Vec<String> {
    let value = world.value(KEY).await.unwrap().unwrap_or_default();
    let rows = value[list].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["who"].as_str().unwrap().to_owned()).collect()
}

async fn waiting(world: &World) -> Vec<String> {
    names(world, "waiting").await
}

#[tokio::test(start_paused = true)]
async fn n_at_a_time_hold_in_the_order_in_which_they_came() {
    let world = World::new().await;
    let two = Limits { at_most: 2, ..Limits::default() };
    let order = Arc::new(Mutex::new(Vec::new()));
    let first = enter(&gate(&world, "n0", two.clone()), "2").await;
    let second = enter(&gate(&world, "n1", two.clone()), "2").await;
    let mut tasks = Vec::new();
    for who in ["n2", "n3", "n4", "n5"] {
        let waits = line_up(&world, &gate(&world, who, two.clone()), "2").await;
        let (order, ports) = (Arc::clone(&order), world.ports.clone());
        tasks.push(tokio::spawn(async move {
            let permit = waits.await.unwrap().unwrap();
            order.lock().await.push((who, ports.monotonic()));
            tokio::time::sleep(S(30)).await;
            permit.healthy().await.unwrap();
        }));
    }
    tokio::time::sleep(S(300)).await;
    assert_eq!(names(&world, "holders").await, ["n0", "n1"]);
    assert_eq!(waiting(&world).await, ["n2", "n3", "n4", "n5"]);
    assert!(order.lock().await.is_empty(), "nobody goes before somebody is healthy");
    first.healthy().await.unwrap();
    second.healthy().await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    let order = order.lock().await;
    assert_eq!(order.iter().map(|(who, _)| *who).collect::<Vec<_>>(), ["n2", "n3", "n4", "n5"]);
    assert!(order[2].1 >= order[0].1 + S(30), "the third waits for the first");
    assert!(names(&world, "holders").await.is_empty());
    assert!(world.user().session_list(&Read::default()).await.unwrap().value.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_dies_lets_the_next_pass() {
    let world = World::new().await;
    let first = enter(&one_at_a_time(&world, "n0"), "2").await;
    let waits = line_up(&world, &one_at_a_time(&world, "n1"), "2").await;
    let died = world.ports.monotonic();
    drop(first);
    let second = waits.await.unwrap().unwrap();
    let took = world.since(died);
    assert!(took <= S(2 * 60 + 20 + 2), "{took:?}");
    second.healthy().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_dead_in_line_hold_nobody_up() {
    let world = World::new().await;
    let first = enter(&one_at_a_time(&world, "n0"), "2").await;
    let dies = line_up(&world, &one_at_a_time(&world, "n1"), "2").await;
    let waits = line_up(&world, &one_at_a_time(&world, "n2"), "2").await;
    dies.abort();
    tokio::time::sleep(S(300)).await;
    assert_eq!(waiting(&world).await, ["n2"]);
    first.healthy().await.unwrap();
    timeout(S(5), waits).await.unwrap().unwrap().unwrap().healthy().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bad_version_stops_the_fleet_at_the_first_node() {
    let world = World::new().await;
    let first = enter(&one_at_a_time(&world, "n0"), "2+x").await;
    let waits = line_up(&world, &one_at_a_time(&world, "n1"), "2+x").await;
    let other = line_up(&world, &one_at_a_time(&world, "n2"), "1").await;
    first.failed("its check stayed critical").await.unwrap();
    let error = waits.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "version 2+x is marked as bad: its check stayed critical (at n0)");
    // Another version goes, and who comes later hears the same.
    other.await.unwrap().unwrap().healthy().await.unwrap();
    let late = one_at_a_time(&world, "n3");
    assert!(matches!(late.enter("2+x").await, Err(UpgradeError::Bad(_))));
    let mark = world.value("helium/v1/bad/default/shop/2_2bx").await.unwrap().unwrap();
    assert_eq!((mark["by"].as_str(), mark["version"].as_str()), (Some("n0"), Some("2+x")));
    assert!(mark["at"].as_str().unwrap().starts_with("2026-01-01T"));
    // Until a person says otherwise.
    assert!(late.clear("2+x").await.unwrap() && !late.clear("2+x").await.unwrap());
    enter(&late, "2+x").await.healthy().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_is_out_of_it_although_another_leaves_at_the_same_instant() {
    let world = World::new().await;
    let holder = enter(&one_at_a_time(&world, "n0"), "2").await;
    let (first, other) = (one_at_a_time(&world, "n1"), one_at_a_time(&world, "n2"));
    for gate in [&first, &other] {
        line_up(&world, gate, "2").await.abort();
    }
    // Between the look of the one and its write the other leaves.
    let once = AtomicUsize::new(0);
    let tricky = Tricky {
        inner: world.server.transport(),
        trick: Box::new(move |path| {
            let between = (path == "/v1/txn" && once.fetch_add(1, Ordering::SeqCst) == 0).then(|| other.clone());
            async move {
                if let Some(other) = between {
                    other.leave().await;
                }
                None
            }
            .boxed()
        }),
    };
    let keys = Keys::helium("default", "shop");
    let client = Client::over(Arc::new(tricky), None);
    Gate::new(client, world.ports.clone(), keys, Limits::default(), "n1").leave().await;
    assert_eq!(waiting(&world).await, Vec::<String>::new());
    holder.healthy().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_over_its_time_is_told_and_passed_and_its_failure_is_heard_nevertheless() {
    let world = World::new().await;
    let short = Limits { hold: S(600), ..Limits::default() };
    let first = enter(&gate(&world, "n0", short.clone()), "2").await;
    let mut standing = first.standing();
    let until = first.hold().until;
    assert_eq!(until.duration_since(first.hold().since).as_secs(), 600);
    standing.wait_for(|standing| *standing == Standing::Overdue).await.unwrap();
    let late = world.ports.now().duration_since(until);
    assert!(!late.is_negative() && late.as_secs() == 0, "{late:?}");
    // Nobody waits, so it keeps its place.
    tokio::time::sleep(S(600)).await;
    assert_eq!(*standing.borrow(), Standing::Overdue);
    let other = gate(&world, "n1", short);
    let second = enter(&other, "2").await;
    standing.wait_for(|standing| *standing == Standing::Passed).await.unwrap();
    first.failed("it never became healthy").await.unwrap();
    assert_eq!(names(&world, "holders").await, ["n1"]);
    assert_eq!(other.bad("2").await.unwrap().unwrap().why, "it never became healthy");
    second.healthy().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_restarts_in_the_middle_goes_on_with_its_place_and_its_time() {
    let world = World::new().await;
    let first = enter(&one_at_a_time(&world, "n0"), "2").await;
    let until = first.hold().until;
    let _waits = line_up(&world, &one_at_a_time(&world, "n1"), "2").await;
    drop(first);
    tokio::time::sleep(S(10)).await;
    let again = timeout(S(5), enter(&one_at_a_time(&world, "n0"), "2")).await.unwrap();
    assert_eq!(again.hold().until, until);
    // The session of the life before ends, which takes nothing from it.
    tokio::time::sleep(S(600)).await;
    assert_eq!(*again.standing().borrow(), Standing::Held);
    assert_eq!(waiting(&world).await, ["n1"]);
}

#[tokio::test(start_paused = true)]
async fn while_consul_is_away_a_place_is_kept_and_given_back_afterwards() {
    let world = World::new().await;
    let (client, cut) = world.client();
    let keys = Keys::helium("default", "shop");
    let first = enter(&Gate::new(client, world.ports.clone(), keys, Limits::default(), "n0"), "2").await;
    let waits = line_up(&world, &one_at_a_time(&world, "n1"), "2").await;
    cut.send_replace(true);
    let gives_back = tokio::spawn(async move { first.failed("broken").await });
    tokio::time::sleep(S(30)).await;
    assert!(!gives_back.is_finished() && !waits.is_finished());
    cut.send_replace(false);
    gives_back.await.unwrap().unwrap();
    assert!(matches!(waits.await.unwrap(), Err(UpgradeError::Bad(_))));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_holds_something_else_is_named_and_left_alone() {
    let world = World::new().await;
    world.put(KEY, "something else").await;
    let error = one_at_a_time(&world, "n0").enter("2").await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("{KEY} holds no queue of upgrades")), "{error}");
    let pair = world.user().kv_get(KEY, &Read::default()).await.unwrap().value.unwrap();
    assert_eq!(pair.value, "something else");
}

#[tokio::test(start_paused = true)]
async fn nobody_enters_while_a_node_that_runs_helios_holds_the_key_as_a_lock() {
    let world = World::new().await;
    let keys = Keys::helios("shop", "zone3");
    let session = world.user().session_create(&consul_client::SessionRequest::default()).await.unwrap();
    let lock = Put::acquire(&session);
    assert!(world.user().kv_put("service/shop/upgrade", "zone1", &lock).await.unwrap());
    let gate = Gate::new(world.user(), world.ports.clone(), keys, Limits::default(), "zone3");
    assert!(timeout(S(600), gate.enter("2")).await.is_err());
    world.user().kv_put("service/shop/upgrade", "zone1", &Put::release(&session)).await.unwrap();
    timeout(S(60), gate.enter("2")).await.unwrap().unwrap().healthy().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nobody_enters_whose_version_turned_bad_after_it_looked() {
    let world = World::new().await;
    let person = one_at_a_time(&world, "a person");
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&writes);
    let trick = move |path: String| {
        let (person, counted) = (person.clone(), Arc::clone(&counted));
        async move {
            if path == "/v1/txn" {
                counted.fetch_add(1, Ordering::Relaxed);
                person.mark("2", "seen in the laboratory").await.unwrap();
            }
            None
        }
        .boxed()
    };
    let client = Client::over(Arc::new(Tricky { inner: world.server.transport(), trick: Box::new(trick) }), None);
    let keys = Keys::helium("default", "shop");
    let gate = Gate::new(client, world.ports.clone(), keys, Limits::default(), "n0");
    let error = gate.enter("2").await.unwrap_err();
    assert!(matches!(error, UpgradeError::Bad(bad) if bad.by == "a person"));
    assert_eq!(writes.load(Ordering::Relaxed), 1, "the one was refused, so there was nothing to take back");
    assert_eq!(world.value(KEY).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_may_not_see_the_sessions_of_others_takes_nobody_for_dead() {
    let world = World::new().await;
    let first = enter(&one_at_a_time(&world, "n0"), "2").await;
    let others = first.hold().session.clone();
    let trick = move |path: String| {
        let answer = match path.as_str() {
            "/v1/session/list" => Some((200, "[]")),
            path if path == format!("/v1/session/renew/{others}") => Some((403, "Permission denied")),
            _ => None,
        };
        let answer = answer.map(|(status, body)| http::Response::builder().status(status).body(body.into()).unwrap());
        async move { answer }.boxed()
    };
    let client = Client::over(Arc::new(Tricky { inner: world.server.transport(), trick: Box::new(trick) }), None);
    let keys = Keys::helium("default", "shop");
    let gate = Gate::new(client, world.ports.clone(), keys, Limits::default(), "n1");
    assert!(timeout(S(600), gate.enter("2")).await.is_err());
    assert_eq!(*first.standing().borrow(), Standing::Held);
    first.healthy().await.unwrap();
    enter(&gate, "2").await.healthy().await.unwrap();
}
