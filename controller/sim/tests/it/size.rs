//! F9: specs as large as they may be, and thousands of objects at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{sync::Arc, time::Duration};

use consul_client::Put;
use helium_crds::{AnyObject, DeploymentStatus, Kind, ObjectKey, Phase, keys::Keys, limits, status::Reason};
use helium_engine::people::{People, PeopleError};
use helium_sim::{
    specs::{self, Wish},
    tally::Tally,
    truth::{self, Truth},
    wire::Actor,
    world::{Setup, World},
};
use serde_json::{Value, json};

/// Consul's limit of a value, and of the operations in one transaction.
const MAX_VALUE: usize = 512 * 1024;
const MAX_OPS: usize = 64;

fn in_a_world<F: Future>(setup: &Setup, story: impl FnOnce(Arc<World>) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::make(setup).await;
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
    let end = world.net.now() + Duration::from_mins(5);
    while !status().as_ref().is_some_and(&is_so) {
        assert!(world.net.now() < end, "{:?}\n{}", status(), world.net.trace().last(12).join("\n"));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
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
    in_a_world(&Setup::calm(7, 3, 1), |world| async move {
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
    in_a_world(&Setup::calm(7, 3, 1), |world| async move {
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
    in_a_world(&Setup::calm(7, 3, 1), |world| async move {
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

/// So many Deployments.
const MANY: usize = 5000;

/// A Deployment of one instance that is healthy while it runs: what Consul's checks cost is not looked at here.
fn small(name: &str, version: &str) -> AnyObject {
    let object = json!({
        "apiVersion": "helium.dev/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "replicas": 1,
            "template": {"version": version, "exec": {"command": ["serve"]}},
            "minHealthyTime": "5s"
        }
    });
    AnyObject::from_json(object.to_string().as_bytes()).unwrap()
}

/// How many of the Deployments with these names are healthy at a version.
fn healthy(world: &World, names: &[String], version: &str) -> usize {
    let state = world.net.server.state();
    let is_so = |name: &&String| {
        let key = Keys::default().status(Kind::Deployment, &ObjectKey::new("default", name.as_str()));
        let status: Option<DeploymentStatus> = truth::value(&state, &key);
        let stable = |status: &DeploymentStatus| status.stable.as_ref().is_some_and(|stable| stable.version == version);
        status.is_some_and(|status| status.phase == Phase::Healthy && stable(&status))
    };
    names.iter().filter(is_so).count()
}

/// Waits until all of these are healthy at a version.
async fn until_all(world: &World, names: &[String], version: &str) {
    let begun = world.net.now();
    while healthy(world, names, version) < names.len() {
        let took = world.net.now().saturating_sub(begun);
        assert!(took < Duration::from_mins(3), "{} of {}", healthy(world, names, version), names.len());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What a controller and a person ask for while something goes on.
async fn asked_during(world: &World, work: impl Future<Output = ()>) -> (Tally, Tally) {
    let tallies = || [Actor::Controller(0), Actor::User(0)].map(|actor| world.net.tally(actor));
    let [controller, person] = tallies();
    work.await;
    let [controller_after, person_after] = tallies();
    (controller_after.since(&controller), person_after.since(&person))
}

/// What it costs that so many Deployments are made, that nothing happens, and that one of them is updated.
struct Costs {
    made: Tally,
    rest: Tally,
    update: Tally,
    /// The update again, for the person.
    asked: Tally,
}

/// The catalog's sweep, which reads each service once a minute, has just been through when the update begins, so that it is not counted.
fn costs(many: usize) -> Costs {
    let setup = Setup { watched: false, ..Setup::calm(7, 5, 1) };
    in_a_world(&setup, |world| async move {
        let people = world.people(0);
        let names: Vec<String> = (0..many).map(|number| format!("web-{number}")).collect();
        let objects: Vec<AnyObject> = names.iter().map(|name| small(name, "1")).collect();
        let whole = async {
            people.apply(&objects).await.unwrap();
            until_all(&world, &names, "1").await;
        };
        let (made, _) = asked_during(&world, whole).await;
        let (rest, _) = asked_during(&world, tokio::time::sleep(Duration::from_secs(5))).await;
        let update = async {
            people.apply(&[small("web-1", "2")]).await.unwrap();
            until_all(&world, &names[1..2], "2").await;
        };
        let (update, asked) = asked_during(&world, update).await;
        assert_eq!(healthy(&world, &names, "1"), many - 1);
        check_limits(&world);
        Costs { made, rest, update, asked }
    })
}

#[test]
fn one_of_five_thousand_is_updated_by_as_many_requests_as_one_of_three() {
    let (few, many) = (costs(3), costs(MANY));
    let all = u64::try_from(MANY).unwrap();
    assert!(many.made.writes <= 2 * all && many.made.health <= 5 * all, "{:?}", many.made);
    assert!(many.made.reads <= few.made.reads + 100, "no read for each object: {:?}", many.made);
    assert_eq!(many.rest.writes, 0, "{:?}", many.rest);
    let (one, other) = (many.update, few.update);
    assert!(one.writes <= other.writes + 2 && one.health <= other.health + 20, "{one:?} {other:?}");
    // A resync, once a minute, reads each shard once: it may fall into this.
    assert!(one.reads <= other.reads + 100 && one.long_polls <= other.long_polls + 60, "{one:?} {other:?}");
    assert_eq!((many.asked.reads, many.asked.writes), (few.asked.reads, few.asked.writes));
}
