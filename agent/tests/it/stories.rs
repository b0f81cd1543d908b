//! What an agent does when all is well.

use consul_client::CheckStatus;
use helium_agent::{StopMode, logs};
use helium_crds::{
    instance::{Desired, InstancePhase, check_id},
    keys::SENTINEL,
    node::{Heartbeat, NodeRecord},
};

use crate::world::{World, until};

#[tokio::test]
async fn an_instance_is_run_registered_reported_retagged_stopped_and_forgotten() {
    a_whole_life(World::new().await).await;
}

#[tokio::test]
async fn the_same_life_on_the_embedded_server() {
    a_whole_life(World::embedded()).await;
}

async fn a_whole_life(world: World) {
    let agent = world.agent(StopMode::LeaveRunning);
    let mut wanted = world.assignment("hello-0");
    world.assign(&wanted).await;

    let report = world.running(&wanted.id).await;
    assert_eq!(world.copies(&wanted.id, 1).await, [report.pid.unwrap()]);
    let health = world.healthy(&wanted.id).await;
    assert_eq!((health.service.port, health.service.address.as_str()), (report.ports["http"], "127.0.0.1"));
    assert_eq!(health.service.meta["helium-node"], "n1");
    let check = health.checks.iter().find(|check| check.check_id == check_id(&wanted.id, "up")).unwrap();
    assert_eq!(check.service_id, health.service.id);
    let body = get(report.ports["http"]).await;
    assert!(body.ends_with("hello from 1.0.0\n"), "{body}");

    wanted.service.tags = vec!["canary".to_owned()];
    world.assign(&wanted).await;
    let before = check.modify_index;
    let health = until("retagged", || async {
        world.health(&wanted.id).await.filter(|health| health.service.tags == ["canary"])
    })
    .await;
    let check = health.checks.iter().find(|check| check.check_id == check_id(&wanted.id, "up")).unwrap();
    assert_eq!(check.status, CheckStatus::Passing, "a change of tags touched the check");
    assert!(check.modify_index >= before);
    assert_eq!(world.report(&wanted.id).await.unwrap().pid, report.pid);

    wanted.desired = Desired::Stop;
    world.assign(&wanted).await;
    world.reported(&wanted.id, "stopped", |report| report.phase == InstancePhase::Stopped).await;
    world.copies(&wanted.id, 0).await;
    assert!(world.health(&wanted.id).await.is_none());

    world.unassign(&wanted.id).await;
    until("forgotten", || async { world.report(&wanted.id).await.is_none().then_some(()) }).await;
    let left =
        until("only its log is left", || async { logs::list(&world.data()).unwrap().into_iter().find(|log| log.gone) })
            .await;
    assert_eq!(left.id, wanted.id);
    assert!(left.path.exists());
    agent.stop().await;
}

/// A GET by hand: the tests need no HTTP library for one line.
async fn get(port: u16) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: sample\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_node_that_joins_writes_its_facts_its_sentinel_and_a_heartbeat_that_its_session_holds() {
    let world = World::new().await;
    let agent = world.agent(StopMode::StopInstances);
    let alive = until("heartbeat", || world.pair_owned(world.keys.heartbeat(&world.node))).await;
    let session = alive.session.clone().unwrap();
    let heartbeat: Heartbeat = serde_json::from_slice(&alive.value).unwrap();
    assert_eq!(heartbeat.name, world.node);
    let read = consul_client::Read::default();
    let session = world.client.session_info(&session, &read).await.unwrap().value.unwrap();
    assert_eq!((session.node_checks.len(), session.service_checks.len()), (0, 0), "it hangs on no check");
    let node = world.pair(&world.keys.node(&world.node)).await.unwrap();
    let record: NodeRecord = serde_json::from_slice(&node.value).unwrap();
    assert_eq!((record.address.as_str(), record.name), ("127.0.0.1", world.node.clone()));
    assert_eq!(record.consul_node, helium_test_consul::NODE);
    let features = record.features.expect("it says what its machine has from the beginning");
    assert!(features.drivers.contains("exec") && !features.user.is_empty(), "{features:?}");
    let sentinel = format!("{}{SENTINEL}", world.keys.assignments(&world.node));
    assert!(world.pair(&sentinel).await.is_some());
    agent.stop().await;
    assert!(world.pair(&world.keys.heartbeat(&world.node)).await.is_none(), "the heartbeat outlives an orderly end");

    let agent = world.agent(StopMode::LeaveRunning);
    until("heartbeat again", || world.pair_owned(world.keys.heartbeat(&world.node))).await;
    let again = world.pair(&world.keys.node(&world.node)).await.unwrap();
    assert_eq!(again.modify_index, node.modify_index, "unchanged facts were written again");
    agent.stop().await;
    let agent = world.agent(StopMode::StopInstances);
    let first = alive.create_index;
    until("an agent takes over the heartbeat of the one before it at once", || async {
        world.pair(&world.keys.heartbeat(&world.node)).await.filter(|pair| pair.create_index > first)
    })
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn an_instance_without_checks_is_healthy_while_it_runs() {
    let world = World::new().await;
    let agent = world.agent(StopMode::StopInstances);
    let wanted = world.script("plain-0", "echo started $VERSION; exec sleep 600");
    world.assign(&wanted).await;
    world.running(&wanted.id).await;
    let health = world.healthy(&wanted.id).await;
    assert!(health.checks.iter().all(|check| check.service_id.is_empty()), "a check was made up");
    let log = logs::list(&world.data()).unwrap().remove(0);
    assert_eq!(std::fs::read_to_string(log.path).unwrap(), "started 1.0.0\n");
    agent.stop().await;
    world.copies(&wanted.id, 0).await;
}

#[tokio::test]
async fn what_is_deregistered_by_hand_comes_back_and_what_is_left_over_goes() {
    let world = World::new().await;
    let agent = world.agent(StopMode::StopInstances);
    let wanted = world.assignment("hello-0");
    let leftover = |id: &str, node: &str| consul_client::ServiceDefinition {
        id: id.to_owned(),
        name: "hello".to_owned(),
        meta: [("helium-node", node), ("helium-instance", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..Default::default()
    };
    for service in [leftover("helium-old-0", "n1"), leftover("helium-other-0", "n2"), leftover("mine", "n1")] {
        world.client.agent_register_service(&service, false).await.unwrap();
    }
    world.assign(&wanted).await;
    world.healthy(&wanted.id).await;
    world.client.agent_deregister_service(&wanted.service.id).await.unwrap();
    world.healthy(&wanted.id).await;
    until("the leftover goes", || async {
        let services = world.client.agent_services().await.unwrap();
        (!services.contains_key("helium-old-0")).then_some(())
    })
    .await;
    let services = world.client.agent_services().await.unwrap();
    assert!(services.contains_key("helium-other-0") && services.contains_key("mine"), "it touched what is not its own");
    agent.stop().await;
}
