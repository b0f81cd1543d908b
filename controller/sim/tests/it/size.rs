//! F9: specs as large as they may be, and thousands of objects at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{sync::Arc, time::Duration};

use consul_client::Put;
use helium_crds::{AnyObject, DeploymentStatus, Kind, ObjectKey, Phase, keys::Keys, limits, status::Reason};
use helium_engine::people::{People, PeopleError};
use helium_sim::{
    specs::{self, Wish},
    truth::Truth,
    wire::Actor,
    world::{Setup, World},
};
use serde_json::{Value, json};

/// Consul's limit of a value, and of the operations in one transaction.
const MAX_VALUE: usize = 512 * 1024;
const MAX_OPS: usize = 64;

fn in_a_world<F: Future>(setup: Setup, story: impl FnOnce(Arc<World>) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::make(&setup).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.people(0).initialise().await.unwrap();
        story(world).await
    })
}

fn web() -> ObjectKey {
    ObjectKey::new("default", "web")
}

/// `web` at a version, with an environment of so many bytes.
fn large(version: &str, bytes: usize) -> AnyObject {
    Wish { env: "x".repeat(bytes), ..Wish::new("web", version, 3) }.object().unwrap()
}

/// Waits until `web` is healthy at a version.
async fn until_healthy(world: &World, version: &str) {
    let stable = |status: &DeploymentStatus| status.stable.as_ref().is_some_and(|stable| stable.version == version);
    until(world, |status| status.phase == Phase::Healthy && stable(status)).await;
}

/// Waits until the status of `web` is so.
async fn until(world: &World, is_so: impl Fn(&DeploymentStatus) -> bool) {
    let status = || Truth::of(&world.net.server.state(), &web()).status;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if status().as_ref().is_some_and(&is_so) {
            return;
        }
    }
    panic!("after 5 minutes: {:?}\n{}", status(), world.net.trace().last(12).join("\n"));
}

fn check_limits(world: &World) {
    let state = world.net.server.state();
    let largest = state.kv().under("").map(|entry| (entry.value.len(), entry.key.clone())).max().unwrap();
    assert!(largest.0 <= MAX_VALUE, "{largest:?}");
    let tally = world.net.tally(Actor::Controller(0));
    assert!(tally.most_ops <= MAX_OPS && tally.too_large == 0, "{tally:?}");
    assert_eq!(world.net.checkers().violation(), None);
}

/// `web` at a version, with so many bytes as it is stored.
async fn of_size(people: &People, version: &str, bytes: usize) -> AnyObject {
    let applied = people.preview(&[large(version, 1)]).await.unwrap();
    let frame = serde_json::to_vec(&applied[0].after).unwrap().len() - 1;
    large(version, bytes - frame)
}

#[test]
fn a_spec_as_large_as_may_be_is_rolled_out_and_back() {
    in_a_world(Setup::calm(7, 3, 1), |world| async move {
        let (people, most) = (world.people(0), limits::most_bytes(Kind::Deployment));
        let steps = json!([{"setWeight": "34%"}, {"soak": "3s"}]);
        people.apply(&[of_size(&people, "1", most).await]).await.unwrap();
        until_healthy(&world, "1").await;
        people.apply(&[of_size(&people, "2", most).await]).await.unwrap();
        until_healthy(&world, "2").await;
        people.undo(&web(), None).await.unwrap();
        until_healthy(&world, "1").await;
        check_limits(&world);
        // A canary of it, that is given up.
        people.apply(&[specs::canary("web", &steps, true, true).unwrap()]).await.unwrap();
        people.apply(&[of_size(&people, "3-err", most).await]).await.unwrap();
        until(&world, |status| status.reason == Reason::RolloutAborted).await;
        check_limits(&world);
    });
}

#[test]
fn what_is_larger_is_refused_with_all_that_came_with_it() {
    in_a_world(Setup::calm(7, 3, 1), |world| async move {
        let (people, most) = (world.people(0), limits::most_bytes(Kind::Deployment));
        let other = Wish::new("api", "1", 1).object().unwrap();
        let (index, beyond) = (world.net.server.index(), of_size(&people, "1", most + 1).await);
        for refused in [
            people.apply(&[other.clone(), beyond.clone()]).await.map(drop),
            people.preview(&[other, beyond]).await.map(drop),
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, PeopleError::TooLarge { .. }), "{refused:?}");
            let words = "deployment/web is too large: it has 348161 bytes; the most is 348160, so that what follows from it fits into Consul";
            assert_eq!(refused.to_string(), words);
        }
        assert_eq!(world.net.server.index(), index, "nothing was written");
    });
}

#[test]
fn what_somebody_has_put_there_by_hand_and_is_too_large_is_called_so_and_what_runs_runs_on() {
    in_a_world(Setup::calm(7, 3, 1), |world| async move {
        let people = world.people(0);
        people.apply(&[large("1", 10)]).await.unwrap();
        until_healthy(&world, "1").await;
        let key = Keys::default().spec(Kind::Deployment, &web());
        let stored = world.net.server.state().kv().get(&key).unwrap().value.clone();
        let mut value: Value = serde_json::from_slice(&stored).unwrap();
        for (bytes, problem) in [(400_000, "it has 400"), (MAX_VALUE - 2000, "it has 52")] {
            value["spec"]["template"]["env"]["SALT"] = "x".repeat(bytes).into();
            let client = world.client(Actor::Operator);
            assert!(client.kv_put(&key, value.to_string(), &Put::default()).await.unwrap());
            until(&world, |status| status.reason == Reason::InvalidSpec && status.message.starts_with(problem)).await;
        }
        let running = Truth::of(&world.net.server.state(), &web()).running().count();
        let client = world.client(Actor::Operator);
        assert!(client.kv_put(&key, stored, &Put::default()).await.unwrap());
        until_healthy(&world, "1").await;
        assert_eq!((running, Truth::of(&world.net.server.state(), &web()).status.unwrap().next_ordinal), (3, 4));
        check_limits(&world);
    });
}
