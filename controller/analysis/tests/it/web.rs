//! Requests: their time limits, what is tried again and what is not, and what is not taken for an answer.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::server::{Server, answer};

fn asked(url: &str, retries: u32) -> Query {
    Query::Http(HttpJson { retries, ..http(url) })
}

#[tokio::test]
async fn what_may_heal_is_asked_again_and_then_answered() {
    for status in [429, 500, 503] {
        let handler = move |count, _| {
            std::future::ready(if count < 3 { answer(status, "busy") } else { answer(200, r#"{"n": 4}"#) })
        };
        let server = Server::start(None, handler).await;
        assert_eq!(World::new().look(asked(&server.url("/"), 2)).await, value(4.0), "{status}");
        assert_eq!(server.count(), 3, "{status}");
    }
}

#[tokio::test]
async fn a_server_that_stays_broken_is_asked_as_often_as_was_said_and_no_more() {
    let server = Server::says(503, "gone\nfishing").await;
    let why = World::new().why(asked(&server.url("/p?key=1"), 2)).await;
    assert_eq!(why, format!("asked 3 times: {}: 503 Service Unavailable: gone fishing", server.url("/p")));
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn what_would_be_the_same_again_is_asked_once() {
    for (status, body) in [(400, "no"), (401, "no"), (404, "no"), (200, "no JSON"), (200, r#"{"n": true}"#)] {
        let server = Server::says(status, body).await;
        World::new().why(asked(&server.url("/"), 5)).await;
        assert_eq!(server.count(), 1, "{status} {body}");
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_when_the_time_of_each_try_is_over() {
    let server = Server::start(None, |_, _| std::future::pending()).await;
    let query = HttpJson { timeout: Period::from_millis(50), retries: 1, ..http(&server.url("/")) };
    let why = World::new().why(Query::Http(query)).await;
    assert_eq!(why, format!("asked 2 times: {} did not answer within 50ms", server.url("/")));
    assert_eq!(server.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_question_ends_after_two_minutes_whatever_its_tries() {
    let server = Server::start(None, |_, _| std::future::pending()).await;
    let began = tokio::time::Instant::now();
    let query = HttpJson { timeout: Period::from_secs(50), retries: 10, ..http(&server.url("/")) };
    let why = World::new().why(Query::Http(query)).await;
    assert!(why.starts_with("asked 3 times: "), "{why}");
    assert!(began.elapsed() <= Duration::from_mins(2) && began.elapsed() > Duration::from_secs(110));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_the_reason() {
    let gone = Server::says(200, "").await;
    let url = gone.url("/");
    drop(gone);
    // The accepting task, and its listener with it, ends when the runtime comes to it.
    tokio::task::yield_now().await;
    let why = World::new().why(asked(&url, 1)).await;
    assert!(why.starts_with(&format!("asked 2 times: {url} cannot be reached: ")), "{why}");
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_middle_of_its_answer_is_asked_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"n\":";
    let serving = tokio::spawn(async move {
        for answer in [String::new(), half.to_owned(), format!("{half} 3}} ")] {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // What was not read would have the kernel reset the connection before the answer is through.
            while stream.try_read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
        }
    });
    assert_eq!(World::new().look(asked(&url, 2)).await, value(3.0));
    serving.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let server = Server::says(200, &format!("[{}]", "1,".repeat(600_000))).await;
    let why = World::new().why(asked(&server.url("/"), 2)).await;
    assert_eq!(why, format!("{}: the answer is larger than 1 MiB", server.url("/")));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_credential_goes_nowhere_else() {
    let other = Server::says(200, r#"{"n": 1}"#).await;
    let to = other.url("/");
    let handler = move |_, _| {
        let mut answer = answer(302, "");
        answer.headers_mut().insert("location", to.parse().unwrap());
        std::future::ready(answer)
    };
    let server = Server::start(None, handler).await;
    let query = HttpJson { auth: Some(token()), ..http(&server.url("/")) };
    let why = World::new().why(Query::Http(query)).await;
    assert!(why.contains("302 Found (redirects are not followed: name the address that answers)"), "{why}");
    assert_eq!((server.count(), other.count()), (1, 0));
}

#[tokio::test]
async fn an_address_that_cannot_be_used_says_why_and_shows_no_user() {
    let world = World::new();
    for (url, reason) in [
        ("http://me:hunter2@127.0.0.1/", "it names a user: use `auth`"),
        ("ftp://127.0.0.1/", "it begins with neither `http://` nor `https://`"),
        ("/metrics", "it names no host"),
        ("http://a b/", "invalid"),
    ] {
        let why = world.why(asked(url, 0)).await;
        assert!(why.starts_with("the address ") && why.contains(reason) && !why.contains("hunter2"), "{why}");
    }
}

#[tokio::test]
async fn the_canary_and_the_stable_version_are_asked_at_the_same_time() {
    // Each answer waits until both were asked for.
    let both = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let handler = move |_, _| {
        let both = std::sync::Arc::clone(&both);
        async move {
            both.wait().await;
            answer(200, r#"{"n": 2}"#)
        }
    };
    let server = Server::start(None, handler).await;
    let (canary, stable) = (asked(&server.url("/canary"), 0), Some(asked(&server.url("/stable"), 0)));
    let ask = Ask::Metric { canary, stable, max_age: Period::from_secs(60), criterion: Criterion::default() };
    let found = World::new().sources.measure(&ask).await;
    assert_eq!(found, Found::Metric { canary: value(2.0), stable: Some(value(2.0)) });
}
