//! Maintenance, against a real Consul.

use std::time::Duration;

use consul_client::{CheckStatus, Put};
use helium_agent::StopMode;
use helium_crds::{
    InstanceId,
    instance::{check_id, service_id},
    maintenance::{Maintenance, Mark},
    node::NodeRecord,
};
use jiff::Timestamp;

use crate::world::{World, until};

fn mark(reason: &str) -> Mark {
    Mark { reason: reason.to_owned(), by: "alice@laptop".to_owned(), since: Timestamp::UNIX_EPOCH }
}

fn of_node(reason: &str) -> Maintenance {
    Maintenance { node: Some(mark(reason)), ..Maintenance::default() }
}

async fn say(world: &World, maintenance: &Maintenance) {
    let key = world.keys.maintenance(&world.node);
    assert!(world.client.kv_put(&key, serde_json::to_vec(maintenance).unwrap(), &Put::default()).await.unwrap());
}

/// The note of the mark that an instance bears in the catalog.
async fn marked(world: &World, id: &InstanceId) -> Option<String> {
    let mark = format!("_service_maintenance:{}", service_id(id));
    let check = world.health(id).await?.checks.into_iter().find(|check| check.check_id == mark)?;
    (check.status == CheckStatus::Critical).then_some(check.notes)
}

async fn is_marked(world: &World, id: &InstanceId, reason: &str) {
    let notes = format!("helium: {reason}");
    until("marked", || async { marked(world, id).await.filter(|found| *found == notes) }).await;
}

#[tokio::test]
async fn an_instance_in_maintenance_runs_on_out_of_discovery_and_is_back_in_the_moment_that_it_ends() {
    let world = World::new().await;
    let agent = world.agent(StopMode::StopInstances);
    let wanted = world.assignment("hello-0");
    world.assign(&wanted).await;
    world.healthy(&wanted.id).await;
    let before = world.running(&wanted.id).await;

    say(&world, &of_node("a new disk")).await;
    is_marked(&world, &wanted.id, "a new disk").await;
    let record: NodeRecord = until("the node says so, too", || async {
        let pair = world.pair(&world.keys.node(&world.node)).await?;
        serde_json::from_slice(&pair.value).ok().filter(|record: &NodeRecord| record.maintenance.is_some())
    })
    .await;
    assert_eq!(record.maintenance, Some(mark("a new disk")));
    // What somebody deregisters meanwhile comes back, in maintenance still.
    world.client.agent_deregister_service(&service_id(&wanted.id)).await.unwrap();
    is_marked(&world, &wanted.id, "a new disk").await;
    assert_eq!(world.copies(&wanted.id, 1).await, [before.pid.unwrap()], "the process has run all the time");

    until("its own check passes, for when it is over", || async {
        let health = world.health(&wanted.id).await?;
        let mut own = health.checks.iter().filter(|check| check.check_id.ends_with(":up"));
        own.any(|check| check.status == CheckStatus::Passing).then_some(())
    })
    .await;
    say(&world, &Maintenance::default()).await;
    tokio::time::timeout(Duration::from_secs(1), world.healthy(&wanted.id))
        .await
        .expect("not back within its check period");
    assert_eq!(world.copies(&wanted.id, 1).await, [before.pid.unwrap()]);
    agent.stop().await;
}

#[tokio::test]
async fn one_instance_alone_can_be_in_maintenance() {
    let world = World::new().await;
    let agent = world.agent(StopMode::StopInstances);
    let (odd, even) = (world.assignment("hello-0"), world.assignment("hello-1"));
    for wanted in [&odd, &even] {
        world.assign(wanted).await;
        world.healthy(&wanted.id).await;
    }
    say(&world, &Maintenance { node: None, instances: [(odd.id.clone(), mark("odd"))].into() }).await;
    is_marked(&world, &odd.id, "odd").await;
    world.healthy(&even.id).await;
    agent.stop().await;
}

#[tokio::test]
async fn maintenance_outlives_the_agent_and_the_record_that_somebody_deleted_meanwhile() {
    let world = World::new().await;
    let agent = world.agent(StopMode::LeaveRunning);
    let wanted = world.assignment("hello-0");
    world.assign(&wanted).await;
    world.healthy(&wanted.id).await;
    say(&world, &of_node("a new disk")).await;
    is_marked(&world, &wanted.id, "a new disk").await;
    agent.stop().await;
    let key = world.keys.maintenance(&world.node);
    world.client.kv_delete(&key, None).await.unwrap();
    world.client.agent_deregister_service(&service_id(&wanted.id)).await.unwrap();

    let agent = world.agent(StopMode::StopInstances);
    is_marked(&world, &wanted.id, "a new disk").await;
    let kept = until("the record is there again", || async { world.pair(&key).await }).await;
    assert_eq!(serde_json::from_slice::<Maintenance>(&kept.value).unwrap(), of_node("a new disk"));
    say(&world, &Maintenance::default()).await;
    world.healthy(&wanted.id).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_mark_that_somebody_set_by_hand_stays_until_they_take_it_away() {
    let world = World::new().await;
    let agent = world.agent(StopMode::StopInstances);
    let wanted = world.assignment("hello-0");
    world.assign(&wanted).await;
    world.healthy(&wanted.id).await;
    let service = service_id(&wanted.id);
    world.client.agent_service_maintenance(&service, true, "by hand").await.unwrap();
    // The agent has looked, and changed something else: the mark was not in its way.
    say(&world, &Maintenance::default()).await;
    let mut retagged = wanted.clone();
    retagged.service.tags = vec!["other".to_owned()];
    world.assign(&retagged).await;
    until("retagged", || async {
        let health = world.health(&wanted.id).await?;
        (health.service.tags == ["other"]).then_some(())
    })
    .await;
    assert_eq!(marked(&world, &wanted.id).await.as_deref(), Some("by hand"));
    // It is good enough for maintenance of ours, and stays when a lost check has the whole registration made again.
    say(&world, &of_node("a new disk")).await;
    world.client.agent_deregister_check(&check_id(&wanted.id, "up")).await.unwrap();
    until("the check is there again", || async {
        let health = world.health(&wanted.id).await?;
        health.checks.iter().any(|check| check.check_id == check_id(&wanted.id, "up")).then_some(())
    })
    .await;
    assert_eq!(marked(&world, &wanted.id).await.as_deref(), Some("by hand"));
    world.client.agent_service_maintenance(&service, false, "").await.unwrap();
    is_marked(&world, &wanted.id, "a new disk").await;
    say(&world, &Maintenance::default()).await;
    world.healthy(&wanted.id).await;
    agent.stop().await;
}

#[tokio::test]
async fn another_reason_reaches_consul_without_an_instant_in_which_the_instance_serves() {
    let world = World::new().await;
    let agent = world.agent(StopMode::StopInstances);
    let wanted = world.assignment("hello-0");
    world.assign(&wanted).await;
    world.healthy(&wanted.id).await;
    say(&world, &of_node("a new disk")).await;
    is_marked(&world, &wanted.id, "a new disk").await;
    say(&world, &of_node("a new board")).await;
    let notes = until("marked otherwise", || async {
        let notes = marked(&world, &wanted.id).await.expect("it bears a mark all the time");
        (notes != "helium: a new disk").then_some(notes)
    })
    .await;
    assert_eq!(notes, "helium: a new board");
    say(&world, &Maintenance::default()).await;
    world.healthy(&wanted.id).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_torn_note_of_what_is_in_maintenance_keeps_no_agent_from_starting_and_consul_is_asked() {
    let world = World::new().await;
    let agent = world.agent(StopMode::LeaveRunning);
    let wanted = world.assignment("hello-0");
    world.assign(&wanted).await;
    world.healthy(&wanted.id).await;
    say(&world, &of_node("a new disk")).await;
    is_marked(&world, &wanted.id, "a new disk").await;
    agent.stop().await;
    let note = world.data().join("maintenance.json");
    std::fs::write(&note, "{\"node\": {\"rea").unwrap();

    let agent = world.agent(StopMode::StopInstances);
    let noted = || async { serde_json::from_slice::<Maintenance>(&std::fs::read(&note).ok()?).ok() };
    assert_eq!(until("noted anew", noted).await, of_node("a new disk"));
    world.joined_anew().await;
    is_marked(&world, &wanted.id, "a new disk").await;
    say(&world, &Maintenance::default()).await;
    world.healthy(&wanted.id).await;
    agent.stop().await;
}
