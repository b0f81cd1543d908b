//! A cluster without a leader, and an agent without a server.

use std::time::Duration;

use consul_client::{Client, Error, Put, Read};

use crate::consul::{Consul, until};

async fn up(client: &Client) {
    until("the agent answers", async || client.status_leader().await.is_ok() || client.agent_checks().await.is_ok())
        .await;
}

#[tokio::test]
async fn without_a_leader_nothing_is_done_and_that_is_certain() {
    let consul = Consul::start_leaderless();
    let client = consul.client();
    up(&client).await;
    assert_eq!(client.status_leader().await.unwrap(), "");
    // A stale read is refused too: this server has never heard of a leader, so it does not know how stale it is.
    let (read, stale, put) = (Read::default(), Read::stale(), Put::default());
    let reads = futures::future::join(client.kv_get("a", &read), client.kv_get("a", &stale));
    let (write, (read, stale)) = tokio::join!(client.kv_put("a", "1", &put), reads);
    for lost in [read.unwrap_err(), stale.unwrap_err(), write.unwrap_err()] {
        assert!(matches!(lost, Error::NoLeader { .. }), "{lost}");
        assert!(lost.is_unreachable() && !lost.is_ambiguous(), "{lost}");
    }
}

#[tokio::test]
async fn an_agent_that_knows_no_server_is_unreachable_for_writes() {
    let consul = Consul::start_serverless();
    let client = consul.client();
    up(&client).await;
    let lost = client.kv_put("a", "1", &Put::default()).await.unwrap_err();
    assert!(matches!(lost, Error::NoLeader { .. }), "{lost}");
    let poll = Read::blocking(1, Duration::from_secs(1));
    assert!(client.kv_list("a/", &poll).await.unwrap_err().is_unreachable());
}
