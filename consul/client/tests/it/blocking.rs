//! Long polls.

use std::time::Duration;

use consul_client::{Consistency, Put, Read};
use tokio::time::Instant;

use crate::consul::shared;

#[tokio::test]
async fn a_long_poll_wakes_at_a_change_and_only_at_one() {
    let client = shared().await;
    client.kv_put("b1/.keep", "1", &Put::default()).await.unwrap();
    let index = client.kv_list("b1/", &Read::default()).await.unwrap().meta.index;
    let poll = Read::blocking(index, Duration::from_secs(20));
    let watcher = tokio::spawn({
        let client = client.clone();
        async move { client.kv_list("b1/", &poll).await.unwrap() }
    });
    client.kv_put("b1-other/a", "1", &Put::default()).await.unwrap();
    let short = Read::blocking(index, Duration::from_millis(300));
    let same = client.kv_list("b1/", &short).await.unwrap();
    assert_eq!((same.meta.index, same.value.len()), (index, 1));
    assert!(!watcher.is_finished());
    client.kv_put("b1/a", "1", &Put::default()).await.unwrap();
    let woken = watcher.await.unwrap();
    assert!(woken.meta.index > index);
    assert_eq!(woken.value.len(), 2);
}

#[tokio::test]
async fn an_old_index_returns_at_once_and_so_does_a_stale_read() {
    let client = shared().await;
    client.kv_put("b2/.keep", "1", &Put::default()).await.unwrap();
    let started = Instant::now();
    let poll = Read { consistency: Consistency::Stale, ..Read::blocking(0, Duration::from_secs(20)) };
    let reply = client.kv_list("b2/", &poll).await.unwrap();
    assert_eq!(reply.value.len(), 1);
    assert!(reply.meta.known_leader);
    assert!(started.elapsed() < Duration::from_secs(10));
}
