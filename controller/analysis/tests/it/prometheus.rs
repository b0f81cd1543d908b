//! What is made of the answers of Prometheus; the real one is asked end to end.

use helium_crds::metric::Range;

use super::*;
use crate::server::Server;

/// 00:09:30, half a minute before now.
const FRESH: &str = "1767226170";
/// 00:08:00, two minutes before now.
const OLD: &str = "1767226080.5";

async fn instant(status: u16, body: &str, aggregate: Option<Aggregate>) -> Reading {
    let server = Server::says(status, body).await;
    let query = Prometheus { aggregate, ..prometheus(&server.url("")) };
    World::new().look(Query::Prometheus(query, Period::from_secs(60))).await
}

fn vector(rows: &[(&str, &str, &str)]) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|(instance, at, number)| {
            format!(r#"{{"metric":{{"__name__":"up","i":"{instance}"}},"value":[{at},"{number}"]}}"#)
        })
        .collect();
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}},"warnings":["w"]}}"#, rows.join(","))
}

fn why(reading: Reading) -> String {
    match reading {
        Reading::Error { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_series_is_a_number_and_none_is_no_data() {
    assert_eq!(instant(200, &vector(&[("a", FRESH, "0.25")]), None).await, value(0.25));
    assert_eq!(instant(200, &vector(&[]), None).await, Reading::NoData);
    let scalar = format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[{FRESH},"42"]}}}}"#);
    assert_eq!(instant(200, &scalar, None).await, value(42.0));
}

#[tokio::test]
async fn nothing_divided_by_nothing_is_no_data_and_something_divided_by_nothing_an_error() {
    assert_eq!(instant(200, &vector(&[("a", FRESH, "NaN")]), None).await, Reading::NoData);
    for number in ["+Inf", "-Inf"] {
        let why = why(instant(200, &vector(&[("a", FRESH, number)]), None).await);
        assert!(why.contains("the number is infinite") && why.contains(r#"up{i="a"}"#), "{why}");
    }
}

#[tokio::test]
async fn several_series_need_somebody_to_say_what_makes_one_number_of_them() {
    let three = vector(&[("a", FRESH, "1"), ("b", FRESH, "NaN"), ("c", FRESH, "5")]);
    let why = why(instant(200, &three, None).await);
    assert!(why.contains("3 series") && why.contains(r#"up{i="a"} and up{i="b"}"#), "{why}");
    for (how, number) in [(Aggregate::Sum, 6.0), (Aggregate::Avg, 3.0), (Aggregate::Max, 5.0), (Aggregate::Min, 1.0)] {
        assert_eq!(instant(200, &three, Some(how)).await, value(number), "{how:?}");
    }
}

#[tokio::test]
async fn a_number_of_long_ago_is_stale() {
    let of = "2026-01-01T00:08:00.5Z".parse().unwrap();
    assert_eq!(instant(200, &vector(&[("a", OLD, "1")]), None).await, Reading::Stale { of });
    assert_eq!(instant(200, &vector(&[("a", OLD, "NaN")]), None).await, Reading::NoData);
}

#[tokio::test]
async fn a_series_over_the_window_is_made_one_number() {
    let body = |last: &str| {
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[{OLD},"1"],[{OLD},"NaN"],[{last},"4"]]}}]}}}}"#
        )
    };
    let range = Some(Range { step: Period::from_secs(5), over_time: Aggregate::Max });
    let server = Server::says(200, &body(FRESH)).await;
    let query = Prometheus { range, ..prometheus(&server.url("/prefix/")) };
    let read = World::new().look(Query::Prometheus(query.clone(), Period::from_secs(90))).await;
    assert_eq!(read, value(4.0));
    assert_eq!(server.last().uri(), "/prefix/api/v1/query_range");
    let form = "query=up&timeout=10000ms&start=1767226110.000&end=1767226200.000&step=5000ms";
    let form = form.replace("1767226110", &(1_767_226_200 - 90).to_string());
    assert_eq!(server.last().body(), &form);
    let histogram = body(FRESH).replace("\"values\":", "\"histograms\":[[1,{}]],\"values\":");
    let histograms = Server::says(200, &histogram).await;
    let over_it = Prometheus { url: histograms.url(""), ..query.clone() };
    let why = World::new().why(Query::Prometheus(over_it, Period::from_secs(90))).await;
    assert!(why.contains("a histogram for {}"), "{why}");
    let stale = Server::says(200, &body(OLD)).await;
    let query = Prometheus { url: stale.url(""), ..query };
    let read = World::new().look(Query::Prometheus(query, Period::from_secs(90))).await;
    assert!(matches!(read, Reading::Stale { .. }), "{read:?}");
}

#[tokio::test]
async fn an_instant_is_asked_as_of_our_own_clock() {
    let server = Server::says(200, &vector(&[("a", FRESH, "1")])).await;
    let query = Prometheus { query: "a{b=~\"c|d\"}".to_owned(), ..prometheus(&server.url("")) };
    World::new().look(Query::Prometheus(query, Period::from_secs(60))).await;
    assert_eq!((server.last().method().as_str(), server.last().uri().path()), ("POST", "/api/v1/query"));
    assert_eq!(server.last().headers()["content-type"], "application/x-www-form-urlencoded");
    let form = "query=a%7Bb%3D%7E%22c%7Cd%22%7D&timeout=10000ms&time=1767226200.000";
    assert_eq!(server.last().body(), form);
}

#[tokio::test]
async fn what_is_no_number_is_an_error_that_says_what_it_is() {
    let of = |kind: &str, result: &str| {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    };
    for (status, body, reason) in [
        (200, of("string", r#"[1,"x"]"#), "the query gives a text"),
        (200, of("vector", r#"[{"metric":{"a":"b"},"histogram":[1,{}]}]"#), r#"a histogram for {a="b"}"#),
        (200, of("matrix", r#"[{"metric":{},"values":[[1,"1"]]}]"#), "the query gives points over time"),
        (200, of("vector", r#"[{"metric":{},"value":[1,"x"]}]"#), r#""x" is not a number"#),
        (200, of("vector", r#"[{"metric":{},"value":[1e300,"1"]}]"#), "is not an instant"),
        (200, r#"{"status":"error","errorType":"internal","error":"oops"}"#.to_owned(), "internal: oops"),
        (
            400,
            r#"{"status":"error","errorType":"bad_data","error":"1:3: parse error"}"#.to_owned(),
            "400 Bad Request: bad_data: 1:3: parse error",
        ),
        (502, "<html>\nno upstream</html>".to_owned(), "502 Bad Gateway: <html> no upstream</html>"),
        (200, "<html>hello</html>".to_owned(), "this is no answer of Prometheus"),
        (200, "{}".to_owned(), "this is no answer of Prometheus"),
    ] {
        let why = why(instant(status, &body, None).await);
        assert!(why.contains(reason), "{body}: {why}");
    }
}

#[tokio::test]
async fn a_long_answer_is_told_by_its_head() {
    let why = why(instant(200, &"no JSON ".repeat(1000), None).await);
    assert!(why.len() < 420 && why.contains("no JSON no JSON") && why.ends_with("..."), "{why}");
}
