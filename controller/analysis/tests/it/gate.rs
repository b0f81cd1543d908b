//! Gates: a webhook and a key.

use helium_crds::gate::KvValue;

use super::*;
use crate::server::{Server, answer};

fn key(key: &str) -> Ask {
    Ask::Kv(KvValue { key: key.to_owned(), equals: "open".to_owned() })
}

fn shut(why: &str) -> GateReading {
    GateReading::Shut { why: why.to_owned() }
}

#[tokio::test]
async fn a_webhook_is_posted_the_document_and_opens_by_any_2xx() {
    for status in [200, 202, 204, 299] {
        let server = Server::says(status, "").await;
        let ask = Ask::Webhook(webhook(&server.url("/gate")), r#"{"step": 2}"#.to_owned());
        assert_eq!(World::new().gate(ask).await, GateReading::Open, "{status}");
        let seen = server.last();
        assert_eq!(
            (seen.method().as_str(), seen.uri().path(), &seen.body()[..]),
            ("POST", "/gate", &br#"{"step": 2}"#[..])
        );
        assert_eq!(seen.headers()["content-type"], "application/json");
    }
}

#[tokio::test]
async fn any_other_status_keeps_it_shut_with_the_head_of_the_answer_and_is_not_asked_again() {
    for (status, body, why) in [
        (403, "freeze until\n Monday\n", "403 Forbidden: freeze until Monday"),
        (500, "", "500 Internal Server Error"),
        (302, "", "302 Found"),
        (429, "slow down", "429 Too Many Requests: slow down"),
    ] {
        let server = Server::says(status, body).await;
        let ask = Ask::Webhook(Webhook { retries: 3, ..webhook(&server.url("/")) }, "{}".to_owned());
        assert_eq!(World::new().gate(ask).await, shut(why));
        assert_eq!(server.count(), 1, "{status}");
    }
    let server = Server::says(403, &"no ".repeat(1_000_000)).await;
    let reading = World::new().gate(Ask::Webhook(webhook(&server.url("/")), "{}".to_owned())).await;
    assert_eq!(reading, shut("403 Forbidden"));
}

#[tokio::test]
async fn a_webhook_that_does_not_answer_is_asked_again_and_then_an_error() {
    let slow = |count, _| async move {
        if count == 1 {
            std::future::pending::<()>().await;
        }
        answer(200, "")
    };
    let server = Server::start(None, slow).await;
    let hook = Webhook { timeout: Period::from_millis(100), retries: 1, ..webhook(&server.url("/")) };
    assert_eq!(World::new().gate(Ask::Webhook(hook.clone(), "{}".to_owned())).await, GateReading::Open);
    let silent = Server::start(None, |_, _| std::future::pending()).await;
    let reading = World::new().gate(Ask::Webhook(Webhook { url: silent.url("/"), ..hook }, "{}".to_owned())).await;
    assert!(matches!(reading, GateReading::Error { why } if why.contains("did not answer within 100ms")));
    assert_eq!(silent.count(), 2);
}

#[tokio::test]
async fn a_key_opens_by_its_value_and_what_else_it_holds_is_not_told() {
    let world = World::new();
    assert_eq!(world.gate(key("gates/shop")).await, shut("there is no key gates/shop"));
    world.put("gates/shop", "hunter2").await;
    assert_eq!(world.gate(key("gates/shop")).await, shut("gates/shop does not hold `open`"));
    world.put("gates/shop", " open\n").await;
    assert_eq!(world.gate(key("gates/shop")).await, GateReading::Open);
}

#[tokio::test]
async fn a_secret_is_no_gate_and_a_wrong_key_an_error() {
    let world = World::new();
    world.put("helium/v1/secret/token", "open").await;
    for (name, reason) in [("helium/v1/secret/token", "is a secret"), ("a/../b", "`..`")] {
        let reading = world.gate(key(name)).await;
        assert!(matches!(&reading, GateReading::Error { why } if why.contains(reason)), "{reading:?}");
    }
}
