//! A number in a JSON document.

use super::*;
use crate::server::Server;

async fn read(document: &str, change: impl FnOnce(HttpJson) -> HttpJson) -> Reading {
    let server = Server::says(200, document).await;
    World::new().look(Query::Http(change(http(&server.url("/"))))).await
}

async fn plain(document: &str) -> Reading {
    read(document, |query| query).await
}

#[tokio::test]
async fn a_number_and_a_text_that_is_one_are_values() {
    for (document, number) in [
        (r#"{"n": 0.5}"#, 0.5),
        (r#"{"n": -3}"#, -3.0),
        (r#"{"n": 18446744073709551615}"#, 18_446_744_073_709_551_615.0),
        (r#"{"n": " 12.5 "}"#, 12.5),
        (r#"{"n": "1e-3"}"#, 0.001),
    ] {
        assert_eq!(plain(document).await, value(number), "{document}");
    }
}

#[tokio::test]
async fn nothing_null_and_not_a_number_are_no_data() {
    for document in ["{}", "[]", r#"{"n": null}"#, r#"{"n": "NaN"}"#] {
        assert_eq!(plain(document).await, Reading::NoData, "{document}");
    }
}

#[tokio::test]
async fn anything_else_is_an_error_that_shows_it() {
    for (document, reason) in [
        (r#"{"n": true}"#, "at `$.n` is no number: true"),
        (r#"{"n": {"a": 1}}"#, r#"at `$.n` is no number: {"a":1}"#),
        (r#"{"n": [1]}"#, "at `$.n` is no number: [1]"),
        (r#"{"n": "many"}"#, r#"at `$.n` is no number: "many""#),
        (r#"{"n": "-Infinity"}"#, "at `$.n` is an infinite number"),
        ("<html>", "this is no JSON (expected value at line 1 column 1): <html>"),
        ("", "this is no JSON"),
    ] {
        let Reading::Error { why } = plain(document).await else { panic!("{document}") };
        assert!(why.contains(reason), "{document}: {why}");
    }
    let Reading::Error { why } = read("{}", |query| HttpJson { value: "$.a[".to_owned(), ..query }).await else {
        panic!("a path that does not end")
    };
    assert!(why.contains("the JSONPath `$.a[` is wrong at character"), "{why}");
}

#[tokio::test]
async fn several_numbers_need_somebody_to_say_what_makes_one_of_them() {
    let document = r#"{"rows": [{"v": 1}, {"v": null}, {"v": 4}]}"#;
    let path = |query| HttpJson { value: "$.rows[*].v".to_owned(), ..query };
    let Reading::Error { why } = read(document, path).await else { panic!("three values are not one") };
    assert!(why.contains("3 values at `$.rows[*].v`"), "{why}");
    let max = |query| HttpJson { aggregate: Some(Aggregate::Max), ..path(query) };
    assert_eq!(read(document, max).await, value(4.0));
}

#[tokio::test]
async fn a_number_is_as_old_as_its_document_says() {
    let dated = |query| HttpJson { timestamp: Some("$.at".to_owned()), ..query };
    for (at, fresh) in [
        (r#""2026-01-01T00:09:30Z""#, true),
        (r#""2026-01-01T01:09:30+01:00""#, true),
        (r#""2026-01-01T00:08:00Z""#, false),
        ("1767226170", true),
        ("1767226170250", true),
        (r#""1767226170""#, true),
        ("1767226080.5", false),
        // A clock that is ahead of ours.
        (r#""2027-01-01T00:00:00Z""#, true),
    ] {
        let reading = read(&format!(r#"{{"n": 1, "at": {at}}}"#), dated).await;
        assert_eq!(reading == value(1.0), fresh, "{at}: {reading:?}");
        assert_eq!(matches!(reading, Reading::Stale { .. }), !fresh, "{at}: {reading:?}");
    }
    for (document, reason) in [
        (r#"{"n": 1}"#, "there is nothing at `$.at`"),
        (r#"{"n": 1, "at": null}"#, "at `$.at` is no time"),
        (r#"{"n": 1, "at": "yesterday"}"#, "at `$.at` is no time"),
    ] {
        let Reading::Error { why } = read(document, dated).await else { panic!("{document}") };
        assert!(why.contains(reason), "{why}");
    }
}

#[tokio::test]
async fn a_document_is_fetched_unless_there_is_something_to_post() {
    let server = Server::says(200, r#"{"n": 1}"#).await;
    let world = World::new();
    world.look(Query::Http(http(&server.url("/a?b=c")))).await;
    assert_eq!((server.last().method().as_str(), server.last().uri().to_string()), ("GET", "/a?b=c".to_owned()));
    world.look(Query::Http(HttpJson { body: Some(r#"{"q": 1}"#.to_owned()), ..http(&server.url("/")) })).await;
    assert_eq!((server.last().method().as_str(), &server.last().body()[..]), ("POST", &br#"{"q": 1}"#[..]));
    assert_eq!(server.last().headers()["content-type"], "application/json");
}
