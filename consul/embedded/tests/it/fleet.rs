//! Several agents, and what happens to nodes: for the simulator.

use std::time::Duration;

use consul_client::{CheckStatus, Client, Error, Put, Read};

use crate::{client, server, service, session};

#[tokio::test(start_paused = true)]
async fn each_node_has_an_agent_of_its_own() {
    let server = server();
    server.join("two", "10.0.0.2");
    let two = Client::over(server.transport_as("two"), None);
    two.agent_register_service(&service("web"), false).await.unwrap();
    assert!(client(&server).agent_services().await.unwrap().is_empty());
    let health = client(&server).health_service("web", &Read::default()).await.unwrap().value;
    assert_eq!((health[0].node.node.as_str(), health[0].node.address.as_str()), ("two", "10.0.0.2"));
    let about = two.agent_self().await.unwrap();
    assert_eq!((about.node_name.as_str(), about.server), ("two", false));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_takes_its_entries_along_and_brings_them_back() {
    let server = server();
    let observer = client(&server);
    server.join("two", "10.0.0.2");
    let two = Client::over(server.transport_as("two"), None);
    two.agent_register_service(&service("web"), false).await.unwrap();
    two.agent_update_ttl("check-web", CheckStatus::Passing, "").await.unwrap();
    let id = two.session_create(&session()).await.unwrap();
    let node_id = two.agent_self().await.unwrap().node_id;

    server.leave("two");
    assert!(observer.health_service("web", &Read::default()).await.unwrap().value.is_empty());
    assert_eq!(observer.catalog_node("two", &Read::default()).await.unwrap().value, None);
    assert!(observer.session_info(&id, &Read::default()).await.unwrap().value.is_none());
    let refused = two.agent_services().await.unwrap_err();
    assert!(matches!(refused, Error::Transport { .. }) && !refused.is_ambiguous(), "{refused}");

    tokio::time::sleep(Duration::from_secs(5)).await;
    server.join("two", "10.0.0.2");
    let health = observer.health_service("web", &Read::default()).await.unwrap().value;
    assert!(health[0].checks.iter().all(|check| check.status == CheckStatus::Passing));
    assert_eq!(two.agent_self().await.unwrap().node_id, node_id);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_critical_and_loses_its_sessions() {
    let server = server();
    let observer = client(&server);
    server.join("two", "10.0.0.2");
    let two = Client::over(server.transport_as("two"), None);
    let id = two.session_create(&session()).await.unwrap();
    server.set_reachable("two", false);
    let checks = observer.health_node("two", &Read::default()).await.unwrap().value;
    assert_eq!((checks[0].check_id.as_str(), checks[0].status), ("serfHealth", CheckStatus::Critical));
    assert!(observer.session_info(&id, &Read::default()).await.unwrap().value.is_none());
    server.set_reachable("two", true);
    let checks = observer.health_node("two", &Read::default()).await.unwrap().value;
    assert_eq!(checks[0].status, CheckStatus::Passing);
}

#[tokio::test(start_paused = true)]
async fn restoring_an_older_state_sends_indexes_back_and_blocked_readers_away_with_what_they_saw() {
    let server = server();
    let client = client(&server);
    client.kv_put("p/a", "old", &Put::default()).await.unwrap();
    let older = server.state();
    let old = client.kv_list("p/", &Read::default()).await.unwrap();
    client.kv_put("p/a", "new", &Put::default()).await.unwrap();
    let id = client.session_create(&session()).await.unwrap();
    let new = client.kv_list("p/", &Read::default()).await.unwrap();
    let reader = {
        let client = client.clone();
        let index = new.meta.index;
        tokio::spawn(async move { client.kv_list("p/", &Read::blocking(index, Duration::from_mins(1))).await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    let newest = server.index();
    server.restore(older);
    assert_eq!(reader.await.unwrap().unwrap(), new);
    assert_eq!(client.kv_list("p/", &Read::default()).await.unwrap(), old);
    assert!(client.session_info(&id, &Read::default()).await.unwrap().value.is_none());
    client.kv_put("p/b", "1", &Put::default()).await.unwrap();
    assert_eq!(client.kv_list("p/", &Read::default()).await.unwrap().meta.index, newest + 1);
}
