//! The prober that opens real sockets. It follows no redirects and speaks no TLS: an `https` check is critical and says so.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use consul_client::CheckStatus;
use futures::future::{BoxFuture, FutureExt as _};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Probe, Prober};
use crate::state::{CheckDefinition, CheckKind};

/// How much of an answer is kept as output, in bytes.
const MAX_OUTPUT: usize = 4096;

/// Opens real sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetProber;

impl Prober for NetProber {
    fn probe<'a>(&'a self, _node: &'a str, definition: &'a CheckDefinition) -> BoxFuture<'a, Probe> {
        async move {
            match &definition.kind {
                CheckKind::Http { url, .. } => probe_http(url, definition).await,
                CheckKind::Tcp(address) => probe_tcp(address, definition.timeout).await,
                CheckKind::Ttl(_) | CheckKind::Maintenance => critical("nothing to ask"),
            }
        }
        .boxed()
    }
}

fn critical(output: impl Into<String>) -> Probe {
    Probe { status: CheckStatus::Critical, output: output.into() }
}

async fn probe_tcp(address: &str, timeout: Duration) -> Probe {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(_stream)) => Probe { status: CheckStatus::Passing, output: format!("TCP connect {address}: Success") },
        Ok(Err(error)) => critical(dial(address, &error)),
        Err(_) => critical(format!("dial tcp {address}: i/o timeout")),
    }
}

/// A failed connection in Go's words.
fn dial(address: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("dial tcp {address}: connect: connection refused"),
        _ => format!("dial tcp {address}: {error}"),
    }
}

async fn probe_http(url: &str, definition: &CheckDefinition) -> Probe {
    let CheckKind::Http { method, .. } = &definition.kind else { return critical("not an HTTP check") };
    let method = if method.is_empty() { "GET" } else { method };
    let failed = |words: &str| {
        let (first, rest) = method.split_at(1);
        critical(format!("{first}{} {url:?}: {words}", rest.to_ascii_lowercase()))
    };
    match tokio::time::timeout(definition.timeout, fetch(url, method, definition)).await {
        Ok(Ok((status, body))) => {
            let words = format!("HTTP {method} {url}: {} Output: {body}", line(status));
            Probe { status: judge(status), output: words }
        }
        Ok(Err(words)) => failed(&words),
        Err(_) => failed("context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
    }
}

/// 2xx passes, 429 warns, all else is critical.
fn judge(status: StatusCode) -> CheckStatus {
    match status {
        StatusCode::TOO_MANY_REQUESTS => CheckStatus::Warning,
        status if status.is_success() => CheckStatus::Passing,
        _ => CheckStatus::Critical,
    }
}

/// The status as its line in the answer says it: `404 Not Found`.
fn line(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("")).trim_end().to_owned()
}

async fn fetch(url: &str, method: &str, definition: &CheckDefinition) -> Result<(StatusCode, String), String> {
    let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
    if uri.scheme_str() != Some("http") {
        return Err("only http:// is asked by the embedded server".into());
    }
    let authority = uri.authority().ok_or("no host in the URL")?;
    let address = match authority.port_u16() {
        Some(_) => authority.as_str().to_owned(),
        None => format!("{}:80", authority.host()),
    };
    let stream = TcpStream::connect(&address).await.map_err(|error| dial(&address, &error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = request(&uri, method, definition).map_err(|error| error.to_string())?;
    let conversation = async move {
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        let status = response.status();
        Ok((status, output(response).await.map_err(|error| words(&error))?))
    };
    // The connection moves only while it is polled; both end together.
    tokio::pin!(conversation);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        answer = &mut conversation => answer,
        end = &mut connection => match end {
            Ok(()) => conversation.await,
            Err(error) => Err(words(&error)),
        },
    }
}

fn words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() }
}

fn request(uri: &Uri, method: &str, definition: &CheckDefinition) -> Result<Request<Full<Bytes>>, http::Error> {
    let CheckKind::Http { headers, body, .. } = &definition.kind else {
        return Request::builder().body(Full::default());
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::builder().method(method).uri(path);
    let given = |name: &str| headers.keys().any(|own| own.eq_ignore_ascii_case(name));
    for (name, value) in [
        ("host", uri.authority().map_or("", |authority| authority.as_str())),
        ("user-agent", "Consul Health Check"),
        ("accept", "text/plain, text/*, */*"),
        ("connection", "close"),
    ] {
        if !given(name) {
            builder = builder.header(name, value);
        }
    }
    for (name, values) in headers {
        for value in values {
            builder = builder.header(name, value);
        }
    }
    builder.body(Full::new(Bytes::from(body.clone())))
}

/// The beginning of an answer's body.
async fn output(response: Response<Incoming>) -> Result<String, hyper::Error> {
    let mut body = response.into_body();
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            kept.extend_from_slice(&data[..data.len().min(MAX_OUTPUT - kept.len())]);
        }
        if kept.len() == MAX_OUTPUT {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&kept).into_owned())
}
