//! Rights, on a Consul that denies by default.

use consul_client::{AclToken, Client, Error, Put, Read, TxnOp};

use crate::consul::{Consul, shared, until};

const DENY: &str = "acl { enabled = true, default_policy = \"deny\" }";

async fn managed(consul: &Consul) -> Client {
    let client = consul.led().await.client();
    let mut root = None;
    until("ACLs are ready", async || {
        root = client.acl_bootstrap().await.ok();
        root.is_some()
    })
    .await;
    client.with_token(Some(&root.unwrap().secret_id)).unwrap()
}

async fn token(root: &Client, name: &str, rules: &str) -> AclToken {
    let policy = root.acl_policy_create(name, "for a test", rules).await.unwrap();
    root.acl_token_create(&AclToken { policies: vec![policy], ..AclToken::default() }).await.unwrap()
}

#[tokio::test]
async fn a_denial_is_told_apart_from_emptiness_where_consul_does_so() {
    let consul = Consul::start(DENY);
    let root = managed(&consul).await;
    root.kv_put("mine/a", "1", &Put::default()).await.unwrap();
    root.kv_put("other/a", "1", &Put::default()).await.unwrap();
    let token = token(&root, "mine", "key_prefix \"mine/\" { policy = \"write\" }").await;
    let client = root.with_token(Some(&token.secret_id)).unwrap();
    let (me, read) = (client.acl_token_self().await.unwrap().unwrap(), Read::default());
    assert_eq!((&me.accessor_id, me.policies[0].name.as_str()), (&token.accessor_id, "mine"));

    assert!(client.kv_put("mine/a", "2", &Put::default()).await.unwrap());
    assert!(client.kv_get("other/a", &read).await.unwrap_err().is_denied());
    assert!(client.kv_put("other/a", "2", &Put::default()).await.unwrap_err().is_denied());
    let refused = client.txn(&[TxnOp::set("mine/b", "1"), TxnOp::set("other/a", "1")]).await.unwrap_err();
    assert!(matches!(refused, Error::TxnRefused { .. }) && refused.is_denied(), "{refused}");
    assert!(client.kv_get("mine/b", &read).await.unwrap().value.is_none());
    // These are the traps: no rights look like nothing there.
    assert!(client.kv_list("other/", &read).await.unwrap().value.is_empty());
    assert!(client.health_service("consul", &read).await.unwrap().value.is_empty());

    let unknown = root.with_token(Some("11111111-2222-3333-4444-555555555555")).unwrap();
    assert!(unknown.kv_get("mine/a", &read).await.unwrap_err().is_denied());
    assert!(unknown.acl_token_self().await.unwrap_err().is_denied());

    let nothing = AclToken { policies: Vec::new(), ..token.clone() };
    root.acl_token_update(&nothing).await.unwrap();
    until("the rights are gone", async || client.kv_get("mine/a", &read).await.is_err_and(|e| e.is_denied())).await;
    assert!(root.acl_token_delete(&token.accessor_id).await.unwrap());
}

#[tokio::test]
async fn without_acls_there_is_no_token() {
    assert_eq!(shared().await.acl_token_self().await.unwrap(), None);
}
