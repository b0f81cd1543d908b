//! The agent's unix socket.

use consul_client::{Address, Client, Config, Put, Read};

use crate::consul::{instance, shared};

#[tokio::test]
async fn an_agent_answers_on_its_unix_socket() {
    shared().await;
    let client = Client::new(Config::at(Address::Unix(instance().socket.clone()))).unwrap();
    assert!(client.kv_put("unix/a", "1", &Put::default()).await.unwrap());
    assert_eq!(&client.kv_get("unix/a", &Read::default()).await.unwrap().value.unwrap().value[..], b"1");
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_unreachable_and_not_ambiguous() {
    let client = Client::new(Config::at("unix:///does/not/exist".parse().unwrap())).unwrap();
    let lost = client.kv_put("unix/a", "1", &Put::default()).await.unwrap_err();
    assert!(lost.is_unreachable() && !lost.is_ambiguous(), "{lost}");
}
