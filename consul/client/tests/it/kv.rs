//! Keys and values.

use std::sync::Arc;

use bytes::Bytes;
use consul_client::{Client, Config, Error, HttpTransport, Put, Read, Transport, TxnOp};

use crate::consul::{instance, shared};

#[tokio::test]
async fn a_value_comes_back_with_its_flags_and_indexes() {
    let client = shared().await;
    let put = Put { flags: u64::MAX, ..Put::default() };
    assert!(client.kv_put("kv1/a", Bytes::from_static(b"\x00\xff"), &put).await.unwrap());
    let reply = client.kv_get("kv1/a", &Read::consistent()).await.unwrap();
    let pair = reply.value.unwrap();
    assert_eq!((pair.key.as_str(), &pair.value[..], pair.flags), ("kv1/a", &b"\x00\xff"[..], u64::MAX));
    assert_eq!(pair.create_index, pair.modify_index);
    assert_eq!(reply.meta.index, pair.modify_index);
    assert!(reply.meta.known_leader);
}

#[tokio::test]
async fn an_empty_value_is_empty_and_a_missing_key_is_none() {
    let client = shared().await;
    assert!(client.kv_put("kv2/empty", "", &Put::default()).await.unwrap());
    assert!(client.kv_get("kv2/empty", &Read::default()).await.unwrap().value.unwrap().value.is_empty());
    let missing = client.kv_get("kv2/missing", &Read::default()).await.unwrap();
    assert!(missing.value.is_none() && missing.meta.index > 0);
    let nothing = client.kv_list("kv2/nothing/", &Read::default()).await.unwrap();
    assert!(nothing.value.is_empty() && nothing.meta.index > 0);
    assert!(client.kv_keys("kv2/nothing/", None, &Read::default()).await.unwrap().value.is_empty());
}

#[tokio::test]
async fn a_write_on_a_changed_key_is_refused_without_an_error() {
    let client = shared().await;
    assert!(client.kv_put("kv3/a", "1", &Put::create()).await.unwrap());
    assert!(!client.kv_put("kv3/a", "2", &Put::create()).await.unwrap());
    let index = client.kv_get("kv3/a", &Read::default()).await.unwrap().value.unwrap().modify_index;
    assert!(client.kv_put("kv3/a", "2", &Put::cas(index)).await.unwrap());
    assert!(!client.kv_put("kv3/a", "3", &Put::cas(index)).await.unwrap());
    assert!(!client.kv_put("kv3/missing", "3", &Put::cas(5)).await.unwrap());
    assert!(!client.kv_delete("kv3/a", Some(index)).await.unwrap());
    assert!(client.kv_delete("kv3/a", None).await.unwrap());
    assert!(client.kv_delete("kv3/a", Some(5)).await.unwrap());
}

#[tokio::test]
async fn keys_are_listed_whole_or_up_to_a_separator() {
    let client = shared().await;
    for key in ["kv4/a/x", "kv4/a/y", "kv4/c"] {
        client.kv_put(key, "1", &Put::default()).await.unwrap();
    }
    let keys = async |separator| client.kv_keys("kv4/", separator, &Read::default()).await.unwrap().value;
    assert_eq!(keys(None).await, ["kv4/a/x", "kv4/a/y", "kv4/c"]);
    assert_eq!(keys(Some("/")).await, ["kv4/a/", "kv4/c"]);
    assert_eq!(client.kv_list("kv4/", &Read::default()).await.unwrap().value.len(), 3);
    assert!(client.kv_delete_tree("kv4/a/").await.unwrap());
    assert_eq!(keys(None).await, ["kv4/c"]);
}

#[tokio::test]
async fn strange_keys_survive_the_trip() {
    let client = shared().await;
    for key in ["kv5/a b", "kv5/q?x=1&y#z", "kv5/100%", "kv5/ü", "kv5/a+b", "kv5/.keep", "kv5/folder/"] {
        assert!(client.kv_put(key, key.to_owned(), &Put::default()).await.unwrap());
        let pair = client.kv_get(key, &Read::default()).await.unwrap().value.unwrap();
        assert_eq!((pair.key.as_str(), &pair.value[..]), (key, key.as_bytes()));
    }
}

#[tokio::test]
async fn half_a_mebibyte_is_the_most_a_value_may_have() {
    let client = shared().await;
    assert!(client.kv_put("kv6/a", vec![7; 524_288], &Put::default()).await.unwrap());
    let refused = client.kv_put("kv6/a", vec![7; 524_289], &Put::default()).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    assert_eq!(client.kv_get("kv6/a", &Read::default()).await.unwrap().value.unwrap().value.len(), 524_288);
}

#[tokio::test]
async fn other_datacenters_are_asked_for_by_name() {
    let client = shared().await;
    let read = Read { datacenter: Some("nowhere".to_owned()), ..Read::default() };
    let unknown = client.kv_get("kv7/a", &read).await.unwrap_err();
    assert!(unknown.to_string().contains("No path to datacenter"), "{unknown}");
    assert!(!unknown.is_denied());
}

#[tokio::test]
async fn a_large_answer_comes_whole_and_its_connection_is_kept() {
    shared().await;
    let transport = Arc::new(HttpTransport::new(&Config::at(instance().address())).unwrap());
    let client = Client::over(transport.clone() as Arc<dyn Transport>, None);
    for part in 0..10 {
        let ops: Vec<_> = (0..64).map(|n| TxnOp::set(format!("kv8/{part}/{n}"), vec![b'x'; 3000])).collect();
        client.txn(&ops).await.unwrap();
    }
    for _ in 0..3 {
        let rows = client.kv_list("kv8/", &Read::default()).await.unwrap().value;
        assert_eq!((rows.len(), rows.iter().all(|row| row.value.len() == 3000)), (640, true));
    }
    assert_eq!(transport.open_connections(), 1);
    assert_eq!(transport.opened_connections(), 1);
}
