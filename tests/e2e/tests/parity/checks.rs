//! Checks that the server runs: http and tcp.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use consul_client::CheckStatus;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::{World, cases};

cases![
    an_http_check_passes_on_2xx_and_says_what_it_got,
    an_http_check_is_critical_on_anything_else,
    an_http_check_warns_on_429,
    an_http_check_that_meets_nobody_is_critical,
    an_http_check_that_gets_no_answer_in_time_is_critical,
    an_http_check_sends_its_method_and_headers,
    a_tcp_check_passes_when_somebody_listens,
    a_tcp_check_that_meets_nobody_is_critical,
    failures_and_successes_are_counted_in_a_row,
    a_check_is_asked_at_least_a_second_apart,
    a_service_that_is_critical_for_more_than_a_minute_may_be_deregistered;
    quiet
];

/// A very small HTTP server that answers as it is told, and keeps what it was asked.
pub(crate) struct Sample {
    address: String,
    answer: Arc<Mutex<String>>,
    asked: Arc<Mutex<Vec<String>>>,
    count: Arc<AtomicU64>,
}

impl Sample {
    pub(crate) fn start(status: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let sample = Self {
            address,
            answer: Arc::new(Mutex::new(status.to_owned())),
            asked: Arc::default(),
            count: Arc::default(),
        };
        let (answer, asked, count) = (sample.answer.clone(), sample.asked.clone(), sample.count.clone());
        // It ends with the process; the cases are few.
        std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                asked.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).into_owned());
                count.fetch_add(1, Ordering::Relaxed);
                let status = answer.lock().unwrap().clone();
                if status.is_empty() {
                    unanswered.push(stream);
                    continue;
                }
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
            }
        });
        sample
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/health?x=1", self.address)
    }

    fn answers(&self, status: &str) {
        status.clone_into(&mut self.answer.lock().unwrap());
    }

    /// From now on it takes what it is asked, and answers nothing.
    pub(crate) fn falls_silent(&self) {
        self.answers("");
    }
}

/// Registers a service with one check, and gives the check's id.
async fn check(w: &World, mut definition: Value) -> String {
    let name = w.name();
    let id = format!("check-{name}");
    definition["CheckID"] = id.as_str().into();
    definition["Interval"] = "1s".into();
    w.register(&json!({"Name": name, "Check": definition})).await;
    id
}

async fn output(w: &World, id: &str) -> String {
    w.get("agent/checks").await.json()[id]["Output"].as_str().unwrap().to_owned()
}

async fn an_http_check_passes_on_2xx_and_says_what_it_got(w: World) {
    let sample = Sample::start("204 No Content");
    sample.answers("200 OK");
    let id = check(&w, json!({"HTTP": sample.url()})).await;
    w.until_status(&id, CheckStatus::Passing).await;
    assert_eq!(output(&w, &id).await, format!("HTTP GET {}: 200 OK Output: hello", sample.url()));
    assert_eq!(w.get("agent/checks").await.json()[&id]["Type"], "http");
}

async fn an_http_check_is_critical_on_anything_else(w: World) {
    let sample = Sample::start("200 OK");
    let id = check(&w, json!({"HTTP": sample.url()})).await;
    w.until_status(&id, CheckStatus::Passing).await;
    for status in ["500 Internal Server Error", "404 Not Found"] {
        sample.answers(status);
        let wanted = format!("HTTP GET {}: {status} Output: hello", sample.url());
        w.until(status, || async { output(&w, &id).await == wanted }).await;
        assert_eq!(w.status_of(&id).await, Some(CheckStatus::Critical));
    }
}

async fn an_http_check_warns_on_429(w: World) {
    let sample = Sample::start("429 Too Many Requests");
    let id = check(&w, json!({"HTTP": sample.url()})).await;
    w.until_status(&id, CheckStatus::Warning).await;
}

async fn an_http_check_that_meets_nobody_is_critical(w: World) {
    let id = check(&w, json!({"HTTP": "http://127.0.0.1:1/x", "Status": "passing"})).await;
    w.until_status(&id, CheckStatus::Critical).await;
    let words = "Get \"http://127.0.0.1:1/x\": dial tcp 127.0.0.1:1: connect: connection refused";
    assert_eq!(output(&w, &id).await, words);
}

async fn an_http_check_that_gets_no_answer_in_time_is_critical(w: World) {
    // Connections are taken by the kernel, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", silent.local_addr().unwrap());
    let id = check(&w, json!({"HTTP": url, "Timeout": "300ms", "Status": "passing"})).await;
    w.until_status(&id, CheckStatus::Critical).await;
    let said = output(&w, &id).await;
    assert!(said.starts_with(&format!("Get {url:?}: ")) && said.contains("Client.Timeout exceeded"), "{said}");
}

async fn an_http_check_sends_its_method_and_headers(w: World) {
    let sample = Sample::start("200 OK");
    let id = check(&w, json!({"HTTP": sample.url(), "Method": "PUT", "Header": {"X-Who": ["me"]}})).await;
    w.until_status(&id, CheckStatus::Passing).await;
    let asked = sample.asked.lock().unwrap()[0].to_lowercase();
    for part in ["put /health?x=1 http/1.1\r\n", "\r\nx-who: me\r\n", "\r\nuser-agent: consul health check\r\n"] {
        assert!(asked.contains(part), "{part:?} in {asked:?}");
    }
    assert!(asked.contains(&format!("\r\nhost: {}\r\n", sample.address)), "{asked:?}");
}

async fn a_tcp_check_passes_when_somebody_listens(w: World) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let id = check(&w, json!({"TCP": address})).await;
    w.until_status(&id, CheckStatus::Passing).await;
    assert_eq!(output(&w, &id).await, format!("TCP connect {address}: Success"));
    drop(listener);
    w.until_status(&id, CheckStatus::Critical).await;
}

async fn a_tcp_check_that_meets_nobody_is_critical(w: World) {
    let id = check(&w, json!({"TCP": "127.0.0.1:1", "Status": "passing"})).await;
    w.until_status(&id, CheckStatus::Critical).await;
    assert_eq!(output(&w, &id).await, "dial tcp 127.0.0.1:1: connect: connection refused");
}

async fn failures_and_successes_are_counted_in_a_row(w: World) {
    let sample = Sample::start("200 OK");
    let counted = json!({"HTTP": sample.url(), "SuccessBeforePassing": 2, "FailuresBeforeCritical": 3});
    let id = check(&w, counted).await;
    let turns = async |answer: &str, status: CheckStatus| {
        let before = sample.count.load(Ordering::Relaxed);
        sample.answers(answer);
        w.until_status(&id, status).await;
        sample.count.load(Ordering::Relaxed) - before
    };
    assert_eq!(turns("200 OK", CheckStatus::Passing).await, 1, "the very first result counts at once");
    assert_eq!(turns("500 Internal Server Error", CheckStatus::Critical).await, 3);
    assert_eq!(turns("200 OK", CheckStatus::Passing).await, 2);
}

async fn a_check_is_asked_at_least_a_second_apart(w: World) {
    let sample = Sample::start("200 OK");
    let name = w.name();
    w.register(&json!({"Name": name, "Check": {"HTTP": sample.url(), "Interval": "10ms"}})).await;
    let asked = |times: u64| {
        let sample = &sample;
        move || async move { sample.count.load(Ordering::Relaxed) >= times }
    };
    w.until("it was asked", asked(1)).await;
    let first = Instant::now();
    w.until("it was asked twice more", asked(3)).await;
    let took = first.elapsed();
    assert!(took > Duration::from_millis(1800), "three questions within {took:?}");
}

async fn a_service_that_is_critical_for_more_than_a_minute_may_be_deregistered(w: World) {
    let name = w.name();
    let check = json!({"TTL": "1s", "Status": "passing", "DeregisterCriticalServiceAfter": "1s"});
    w.register(&json!({"Name": name, "Check": check})).await;
    let there = async || w.get("agent/services").await.json()[&name].is_object();
    let began = Instant::now();
    // A minute is the least that it stays, however short a time was asked for; then it goes at the next round of every 30 s.
    w.until_within(Duration::from_mins(2), "the service is gone", || async { !there().await }).await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(59) && took < Duration::from_secs(105), "{took:?}");
    w.until("the catalog has heard of it", || async {
        w.get(&format!("catalog/service/{name}")).await.json() == json!([])
    })
    .await;
}
