//! The HTTP server of the sample.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use crate::{
    config::SampleConfig,
    metrics::Metrics,
    switches::{Change, Switches, Verdict},
};

struct Sample {
    config: SampleConfig,
    switches: Switches,
    metrics: Metrics,
}

/// Serves until SIGTERM or SIGINT, and then until the requests at hand are answered.
///
/// # Errors
/// The port is taken, the address is none of this machine, or `crash_after` has passed.
pub async fn serve(config: SampleConfig) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::time::sleep(config.start_delay).await;
    let listener = listen(&config).await?;
    serve_on(listener, config, stop).await
}

/// Listens where the flags or the environment say. An address that this machine does not have is that of a translator before it, and
/// whoever runs the sample must know that it is reached from everywhere then.
async fn listen(config: &SampleConfig) -> io::Result<TcpListener> {
    let place = config.place();
    TcpListener::bind((config.address.as_str(), config.port)).await.map_err(|error| {
        let elsewhere = error.kind() == io::ErrorKind::AddrNotAvailable;
        let advice = if elsewhere { " (`--address 0.0.0.0` listens on every address of this machine)" } else { "" };
        io::Error::new(error.kind(), format!("cannot listen on {place}: {error}{advice}"))
    })
}

/// Serves on a listener until `stop`, and then until the requests at hand are answered.
///
/// # Errors
/// The listener broke, or `crash_after` has passed.
pub async fn serve_on(
    listener: TcpListener,
    config: SampleConfig,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (switches, metrics) = (Switches::new(&config), Metrics::new(&config.version));
    let sample = Arc::new(Sample { config, switches, metrics });
    let routes = Router::new()
        .route("/", get(greet).post(greet))
        .route("/health", get(health))
        .route("/metrics", get(metrics_page))
        .route("/switch", post(turn))
        .with_state(Arc::clone(&sample));
    let server = axum::serve(listener, routes).with_graceful_shutdown(stop);
    tokio::select! {
        biased;
        outcome = server.into_future() => outcome,
        crash = fate(&sample) => Err(crash),
    }
}

/// What time does to a sample: its health fails, and it crashes, when its flags say so.
async fn fate(sample: &Sample) -> io::Error {
    let after = |time: Option<std::time::Duration>| async move {
        match time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let sickness = async {
        after(sample.config.fail_health_after).await;
        sample.switches.fail_health();
        std::future::pending::<()>().await;
    };
    let death = after(sample.config.crash_after);
    tokio::select! {
        biased;
        () = sickness => {}
        () = death => {}
    }
    io::Error::other("crashed, as --crash-after said")
}

async fn greet(State(sample): State<Arc<Sample>>) -> (StatusCode, String) {
    let began = Instant::now();
    let Verdict { fail, delay } = sample.switches.judge();
    tokio::time::sleep(delay).await;
    let code = if fail { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    sample.metrics.count(code.as_u16(), began.elapsed());
    let SampleConfig { greeting, version, .. } = &sample.config;
    (code, if fail { format!("error from {version}\n") } else { format!("{greeting} from {version}\n") })
}

async fn health(State(sample): State<Arc<Sample>>) -> (StatusCode, &'static str) {
    if sample.switches.behaviour().fail_health {
        (StatusCode::INTERNAL_SERVER_ERROR, "failing\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics_page(State(sample): State<Arc<Sample>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], sample.metrics.text())
}

async fn turn(State(sample): State<Arc<Sample>>, Query(change): Query<Change>) -> (StatusCode, String) {
    match sample.switches.turn(change) {
        Ok(now) => (StatusCode::OK, format!("{now:?}\n")),
        Err(words) => (StatusCode::BAD_REQUEST, format!("{words}\n")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::oneshot,
        task::JoinHandle,
    };

    use super::*;

    struct Running {
        port: u16,
        stop: oneshot::Sender<()>,
        task: JoinHandle<io::Result<()>>,
    }

    async fn start(config: SampleConfig) -> Running {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        Running { port, stop, task: tokio::spawn(serve_on(listener, config, stopped)) }
    }

    async fn ask(port: u16, what: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("{what} HTTP/1.1\r\nHost: sample\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.strip_prefix("HTTP/1.1 ").unwrap().to_owned()
    }

    #[tokio::test]
    async fn it_greets_with_its_version_and_counts() {
        let config = SampleConfig { version: "1.2.3".to_owned(), error_rate: 0.5, ..SampleConfig::default() };
        let sample = start(config).await;
        assert!(ask(sample.port, "GET /").await.ends_with("\r\nhello from 1.2.3\n"));
        assert!(ask(sample.port, "GET /").await.starts_with("500 "));
        let metrics = ask(sample.port, "GET /metrics").await;
        for line in [
            "http_requests_total{version=\"1.2.3\",code=\"200\"} 1",
            "http_requests_total{version=\"1.2.3\",code=\"500\"} 1",
            "http_request_duration_seconds_count{version=\"1.2.3\"} 2",
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
        sample.stop.send(()).unwrap();
        sample.task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn it_listens_at_its_address_alone() {
        let free = TcpListener::bind(("127.0.0.2", 0)).await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = SampleConfig { address: "127.0.0.2".to_owned(), port, ..SampleConfig::default() };
        let listener = listen(&config).await.unwrap();
        assert_eq!(listener.local_addr().unwrap().to_string(), format!("127.0.0.2:{port}"));
        TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
        TcpStream::connect(("127.0.0.2", port)).await.unwrap();
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused_with_advice() {
        // TEST-NET-1 of RFC 5737: nobody's address.
        let config = SampleConfig { address: "192.0.2.1".to_owned(), ..SampleConfig::default() };
        let words = listen(&config).await.unwrap_err().to_string();
        assert!(words.starts_with("cannot listen on 192.0.2.1:0: ") && words.contains("--address 0.0.0.0"), "{words}");
    }

    #[tokio::test]
    async fn health_fails_when_it_is_switched() {
        let sample = start(SampleConfig::default()).await;
        assert!(ask(sample.port, "GET /health").await.starts_with("200 "));
        assert!(ask(sample.port, "POST /switch?fail-health=true").await.starts_with("200 "));
        assert!(ask(sample.port, "GET /health").await.starts_with("500 "));
        assert!(ask(sample.port, "POST /switch?fail-helth=true").await.starts_with("400 "));
        assert!(ask(sample.port, "POST /switch?error-rate=7").await.starts_with("400 "));
    }

    #[tokio::test]
    async fn health_fails_and_the_sample_crashes_when_their_time_has_come() {
        let millis = std::time::Duration::from_millis;
        let config = SampleConfig { fail_health_after: Some(millis(1)), ..SampleConfig::default() };
        let sample = start(config).await;
        while ask(sample.port, "GET /health").await.starts_with("200 ") {}
        let config = SampleConfig { crash_after: Some(millis(1)), ..SampleConfig::default() };
        assert!(start(config).await.task.await.unwrap().is_err());
    }
}
