//! What tokens see: the effects of Consul's ACLs that controllers meet.

use std::collections::BTreeMap;

use consul_client::{Client, Error, Put, Read, TxnOp};
use consul_embedded::{Access, Rules, Server};

use crate::{client, server, service, session};

/// A server with data, where `all` may do all, `some` may read `a/` and write `a/b/`, and `none` nothing.
async fn guarded() -> Server {
    let server = server();
    let client = client(&server);
    for key in ["a/1", "a/b/1", "c/1"] {
        client.kv_put(key, "v", &Put::default()).await.unwrap();
    }
    client.agent_register_service(&service("web"), false).await.unwrap();
    let keys = BTreeMap::from([("a/".to_owned(), Access::Read), ("a/b/".to_owned(), Access::Write)]);
    let some = Rules { keys, catalog: Access::Read, sessions: Access::Deny };
    let table = [("all", Rules::all()), ("some", some), ("none", Rules::default())];
    server.set_acl(Some(table.into_iter().map(|(token, rules)| (token.to_owned(), rules)).collect()));
    server
}

fn with(server: &Server, token: &str) -> Client {
    Client::over(server.transport(), Some(token.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn lists_are_cut_in_silence() {
    let server = guarded().await;
    let (some, none) = (with(&server, "some"), with(&server, "none"));
    let keys: Vec<String> =
        some.kv_list("", &Read::default()).await.unwrap().value.into_iter().map(|pair| pair.key).collect();
    assert_eq!(keys, ["a/1", "a/b/1"]);
    let empty = none.kv_list("a/", &Read::default()).await.unwrap();
    assert!(empty.value.is_empty());
    assert!(none.catalog_services(&Read::default()).await.unwrap().value.is_empty());
    assert!(none.catalog_nodes(&Read::default()).await.unwrap().value.is_empty());
    assert!(none.health_service("web", &Read::default()).await.unwrap().value.is_empty());
    assert!(none.session_list(&Read::default()).await.unwrap().value.is_empty());
    assert_eq!(some.health_service("web", &Read::default()).await.unwrap().value.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn single_keys_and_writes_are_refused() {
    let server = guarded().await;
    let (some, none) = (with(&server, "some"), with(&server, "none"));
    for refused in [
        none.kv_get("a/1", &Read::default()).await.unwrap_err(),
        some.kv_get("c/1", &Read::default()).await.unwrap_err(),
        some.kv_put("a/2", "v", &Put::default()).await.unwrap_err(),
        some.kv_delete_tree("a/").await.unwrap_err(),
        some.session_create(&session()).await.unwrap_err(),
        some.agent_register_service(&service("x"), false).await.unwrap_err(),
    ] {
        assert!(refused.is_denied(), "{refused}");
    }
    assert!(some.kv_put("a/b/2", "v", &Put::default()).await.unwrap());
    assert!(some.kv_delete_tree("a/b/").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_transaction_without_rights_fails_whole_and_names_the_operation() {
    let server = guarded().await;
    let refused = with(&server, "some").txn(&[TxnOp::set("a/b/9", "v"), TxnOp::set("a/9", "v")]).await.unwrap_err();
    let Error::TxnRefused { errors } = &refused else { panic!("{refused}") };
    assert_eq!((errors.len(), errors[0].op_index, errors[0].what.as_str()), (1, 1, "Permission denied"));
    assert!(refused.is_denied());
    let written = with(&server, "all").kv_get("a/b/9", &Read::default()).await.unwrap();
    assert_eq!(written.value, None);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_token_is_refused_and_the_anonymous_one_sees_nothing() {
    let server = guarded().await;
    let unknown = with(&server, "stolen").kv_list("a/", &Read::default()).await.unwrap_err();
    assert!(unknown.is_denied(), "{unknown}");
    let anonymous = client(&server).kv_list("a/", &Read::default()).await.unwrap();
    assert!(anonymous.value.is_empty());
    server.set_acl(None);
    assert_eq!(client(&server).kv_list("a/", &Read::default()).await.unwrap().value.len(), 2);
}
