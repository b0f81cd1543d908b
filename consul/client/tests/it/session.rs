//! Sessions and locks.

use std::time::Duration;

use consul_client::{Behavior, Error, Put, Read, SessionRequest};

use crate::consul::shared;

#[tokio::test]
async fn a_session_shows_what_it_was_created_with() {
    let client = shared().await;
    let request = SessionRequest {
        name: "s1".to_owned(),
        ttl: Some(Duration::from_secs(30)),
        lock_delay: Some(Duration::ZERO),
        behavior: Behavior::Delete,
        node_checks: Some(Vec::new()),
        ..SessionRequest::default()
    };
    let id = client.session_create(&request).await.unwrap();
    let session = client.session_info(&id, &Read::default()).await.unwrap().value.unwrap();
    assert_eq!((session.name.as_str(), session.node.as_str()), ("s1", "test"));
    assert_eq!((session.ttl, session.lock_delay), (Some(Duration::from_secs(30)), Duration::ZERO));
    assert_eq!(session.behavior, Behavior::Delete);
    assert!(session.node_checks.is_empty());
    assert!(client.session_list(&Read::default()).await.unwrap().value.contains(&session));
    assert_eq!(client.session_renew(&id).await.unwrap(), Some(session));
    client.session_destroy(&id).await.unwrap();
    assert_eq!(client.session_renew(&id).await.unwrap(), None);
    assert_eq!(client.session_info(&id, &Read::default()).await.unwrap().value, None);
    client.session_destroy(&id).await.unwrap();
}

#[tokio::test]
async fn defaults_are_consuls() {
    let client = shared().await;
    let id = client.session_create(&SessionRequest::default()).await.unwrap();
    let session = client.session_info(&id, &Read::default()).await.unwrap().value.unwrap();
    assert_eq!((session.ttl, session.lock_delay), (None, Duration::from_secs(15)));
    assert_eq!(session.node_checks, ["serfHealth"]);
}

#[tokio::test]
async fn a_session_that_cannot_be_is_an_invalid_request() {
    let client = shared().await;
    let short = SessionRequest { ttl: Some(Duration::from_secs(1)), ..SessionRequest::default() };
    let no_check = SessionRequest { node_checks: Some(vec!["none".to_owned()]), ..SessionRequest::default() };
    for request in [short, no_check] {
        let refused = client.session_create(&request).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid { .. }), "{refused}");
    }
    assert!(matches!(client.session_renew("not-a-uuid").await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn one_session_holds_a_lock_at_a_time() {
    let client = shared().await;
    let request = SessionRequest { lock_delay: Some(Duration::ZERO), ..SessionRequest::default() };
    let one = client.session_create(&request).await.unwrap();
    let two = client.session_create(&request).await.unwrap();
    assert!(client.kv_put("s4/lock", "one", &Put::acquire(&one)).await.unwrap());
    assert!(!client.kv_put("s4/lock", "two", &Put::acquire(&two)).await.unwrap());
    assert!(!client.kv_put("s4/lock", "two", &Put::release(&two)).await.unwrap());
    let pair = client.kv_get("s4/lock", &Read::default()).await.unwrap().value.unwrap();
    assert_eq!((pair.session.as_deref(), pair.lock_index), (Some(one.as_str()), 1));
    client.session_destroy(&one).await.unwrap();
    assert!(client.kv_put("s4/lock", "two", &Put::acquire(&two)).await.unwrap());
    client.session_destroy(&two).await.unwrap();
    let gone = client.kv_put("s4/lock", "two", &Put::acquire(&two)).await.unwrap_err();
    assert!(matches!(gone, Error::Invalid { .. }), "{gone}");
}
