//! The HTTP face: the same answers over TCP, so that the `consul` program and anything else can speak to the server.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Server;

/// How many connections are served at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// Bodies above this are not read at all; below it, each path has its own limit.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// How long a client may take for its request line and headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

impl Server {
    /// Serves HTTP/1.1 on a listener until the future is dropped, which also ends all connections.
    ///
    /// # Errors
    /// If the listener fails for good.
    pub async fn serve_http(&self, listener: TcpListener) -> io::Result<()> {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
            let stream = match listener.accept().await {
                Ok((stream, _peer)) => stream,
                Err(error) if is_transient(&error) => {
                    // Out of file descriptors, or a client that left again: give the others time to finish.
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let server = self.clone();
            connections.spawn(async move {
                serve_connection(server, stream).await;
                drop(permit);
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    // 23 and 24 are ENFILE and EMFILE.
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
        || matches!(error.raw_os_error(), Some(23 | 24))
}

async fn serve_connection(server: Server, stream: TcpStream) {
    let service = service_fn(move |request: Request<Incoming>| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(answer(&server, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(server: &Server, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let zips = parts.headers.get(ACCEPT_ENCODING).and_then(|codings| codings.to_str().ok()).is_some_and(takes_gzip);
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        let mut response = Response::new(Full::new(Bytes::from_static(b"Request body too large")));
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return response;
    };
    let answer = server.answer(Request::from_parts(parts, body.to_bytes())).await;
    if zips { zipped(answer) } else { answer }.map(Full::new)
}

fn takes_gzip(codings: &str) -> bool {
    codings.split(',').any(|coding| coding.split(';').next().is_some_and(|name| name.trim() == "gzip"))
}

/// An answer packed for whoever asked for it; one of nothing stays as it is.
fn zipped(mut answer: Response<Bytes>) -> Response<Bytes> {
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if answer.body().is_empty() {
        return answer;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(answer.body());
    let Ok(packed) = written.and_then(|()| encoder.finish()) else { return answer };
    *answer.body_mut() = packed.into();
    answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer
}
