//! What survives a restart.

use std::time::Duration;

use consul_client::{CheckStatus, Client, Put, Read, TxnOp};
use consul_embedded::{Config, Durability, OpenError, Server};

use crate::{config, service, session};

fn open(folder: &std::path::Path, config: &Config) -> Server {
    Server::open(folder, config, Durability::OperatingSystem).unwrap()
}

#[tokio::test(start_paused = true)]
async fn everything_is_there_after_a_restart_and_indexes_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = open(folder.path(), &config());
    let client = Client::over(server.transport(), None);
    client.kv_put("a", "1", &Put::default()).await.unwrap();
    client.txn(&[TxnOp::set("b", "2"), TxnOp::set("c", "3")]).await.unwrap();
    client.kv_delete("c", None).await.unwrap();
    client.agent_register_service(&service("web"), false).await.unwrap();
    client.agent_update_ttl("check-web", CheckStatus::Passing, "well").await.unwrap();
    let id = client.session_create(&session()).await.unwrap();
    assert!(client.kv_put("lock", "me", &Put::acquire(&id)).await.unwrap());
    let (index, keys) = (server.index(), client.kv_list("", &Read::default()).await.unwrap());
    let node = client.agent_self().await.unwrap().node_id;
    drop((server, client));

    let server = open(folder.path(), &config());
    let client = Client::over(server.transport(), None);
    assert_eq!(server.index(), index, "a restart takes no index");
    assert_eq!(client.kv_list("", &Read::default()).await.unwrap(), keys);
    assert_eq!(client.agent_self().await.unwrap().node_id, node);
    let health = client.health_service("web", &Read::default()).await.unwrap().value;
    assert_eq!(health[0].checks[1].status, CheckStatus::Passing);
    assert!(client.session_renew(&id).await.unwrap().is_some());
    client.kv_put("d", "4", &Put::default()).await.unwrap();
    assert_eq!(client.kv_get("d", &Read::default()).await.unwrap().value.unwrap().modify_index, index + 1);
}

#[tokio::test(start_paused = true)]
async fn sessions_and_ttl_checks_get_their_whole_time_anew() {
    let folder = tempfile::tempdir().unwrap();
    let server = open(folder.path(), &config());
    let client = Client::over(server.transport(), None);
    client.agent_register_service(&service("web"), false).await.unwrap();
    client.agent_update_ttl("check-web", CheckStatus::Passing, "").await.unwrap();
    let id = client.session_create(&session()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    drop((server, client));

    let server = open(folder.path(), &config());
    let client = Client::over(server.transport(), None);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(client.session_info(&id, &Read::default()).await.unwrap().value.is_some());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(client.session_info(&id, &Read::default()).await.unwrap().value.is_none());
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(client.agent_checks().await.unwrap()["check-web"].status, CheckStatus::Critical);
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = open(folder.path(), &config());
    let second = Server::open(folder.path(), &config(), Durability::Disk);
    assert!(matches!(second, Err(OpenError::Locked(_))));
    drop(server);
}

#[tokio::test]
async fn what_was_answered_is_in_a_copy_of_the_folder_taken_at_any_moment() {
    // A copy of the files is what a machine would find that lost its power just then.
    let folder = tempfile::tempdir().unwrap();
    let server = Server::open(folder.path(), &config(), Durability::Disk).unwrap();
    let client = Client::over(server.transport(), None);
    for count in 0..20 {
        client.kv_put("count", count.to_string(), &Put::default()).await.unwrap();
        let copy = tempfile::tempdir().unwrap();
        for name in ["snapshot.json", "journal.log"] {
            std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let found = open(copy.path(), &config());
        let value = found.with_state(|state| state.kv().get("count").unwrap().value.clone()).unwrap();
        assert_eq!(value, count.to_string());
    }
}
