//! A small HTTP server on loopback that keeps what it was asked.

use std::{
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A server on a port of its own; stops accepting when dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Request<Bytes>>>>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// Answers every request with this status and body.
    pub(crate) async fn says(status: u16, body: &str) -> Self {
        let body = body.to_owned();
        Self::start(None, move |_, _| std::future::ready(answer(status, &body))).await
    }

    /// Answers the n-th request, counted from 1, by `handler`.
    pub(crate) async fn start<H, F>(tls: Option<ServerConfig>, handler: H) -> Self
    where
        H: Fn(usize, Request<Bytes>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let seen = Arc::<Mutex<Vec<Request<Bytes>>>>::default();
        let kept = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, handler, kept) = (tls.clone(), handler.clone(), Arc::clone(&kept));
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, handler, kept).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, handler, kept).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, seen, accepting }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// How often it was asked.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// What it was asked last.
    pub(crate) fn last(&self) -> Request<Bytes> {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

pub(crate) fn answer(status: u16, body: &str) -> Response<Bytes> {
    Response::builder().status(status).body(body.to_owned().into()).unwrap()
}

async fn talk<S, H, F>(stream: S, handler: H, kept: Arc<Mutex<Vec<Request<Bytes>>>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Fn(usize, Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Bytes>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, kept) = (handler.clone(), Arc::clone(&kept));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let request = Request::from_parts(head, body);
            let count = {
                let mut kept = kept.lock().unwrap();
                kept.push(request.clone());
                kept.len()
            };
            Ok::<_, Infallible>(handler(count, request).await.map(Full::new))
        }
    });
    // How a connection ends is the client's affair.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
