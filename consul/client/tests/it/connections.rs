//! How many sockets there are.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use consul_client::{Address, Client, Config, HttpTransport, Put, Read, Transport};
use futures::future::join_all;
use http::{Request, Response};
use tokio::sync::Semaphore;

use crate::{consul::until, server::Server};

fn config(port: u16) -> Config {
    Config::at(Address::Http { host: "127.0.0.1".to_owned(), port })
}

fn is_poll(request: &Request<Bytes>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("wait="))
}

/// Answers writes after a moment and long polls when the gate opens.
async fn gated() -> (Server, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let shared = Arc::clone(&gate);
    let server = Server::start(None, move |request| {
        let gate = Arc::clone(&shared);
        async move {
            if is_poll(&request) {
                drop(gate.acquire().await);
                return Response::new(Bytes::from_static(b"[]"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            Response::new(Bytes::from_static(b"true"))
        }
    })
    .await;
    (server, gate)
}

fn poll(client: &Client, n: usize) -> tokio::task::JoinHandle<()> {
    let client = client.clone();
    tokio::spawn(async move {
        let read = Read::blocking(1, Duration::from_mins(1));
        client.kv_list(&format!("poll/{n}/"), &read).await.unwrap();
    })
}

#[tokio::test]
async fn there_are_never_more_than_ninety_sockets_under_load() {
    let (server, gate) = gated().await;
    let client = Client::new(config(server.port)).unwrap();
    let polls: Vec<_> = (0..300).map(|n| poll(&client, n)).collect();
    let writes = (0..1000).map(|n| {
        let client = client.clone();
        tokio::spawn(async move { client.kv_put(&format!("k/{n}"), "v", &Put::default()).await.unwrap() })
    });
    // Three hundred long polls hold what they may, and yet every write gets through.
    assert!(join_all(writes.collect::<Vec<_>>()).await.into_iter().all(|wrote| wrote.unwrap()));
    gate.close();
    for poll in polls {
        poll.await.unwrap();
    }
    let (most, ever) = (server.connections.most.load(SeqCst), server.connections.ever.load(SeqCst));
    assert_eq!(most, 90, "all that are allowed are used, and no more");
    assert_eq!(ever, 90, "connections are kept and used again");
}

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    let (server, _gate) = gated().await;
    let client = Client::new(config(server.port)).unwrap();
    for _ in 0..50 {
        assert!(client.kv_put("k", "v", &Put::default()).await.unwrap());
    }
    assert_eq!(server.connections.ever.load(SeqCst), 1);
}

#[tokio::test]
async fn an_abandoned_request_closes_its_socket_and_frees_its_place() {
    let (server, _gate) = gated().await;
    let transport = Arc::new(HttpTransport::new(&Config { max_connections: 2, ..config(server.port) }).unwrap());
    let client = Client::over(transport.clone() as Arc<dyn Transport>, None);
    for n in 0..20 {
        let waiting = poll(&client, n);
        until("the poll has its connection", async || transport.open_connections() > 0).await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(transport.open_connections(), 0);
    }
    assert!(client.kv_put("k", "v", &Put::default()).await.unwrap());
    assert_eq!(transport.open_connections(), 1);
}
