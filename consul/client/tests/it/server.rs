//! A small HTTP server that counts its open connections.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// How many connections there are, have been, and were at most at once.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    now: AtomicUsize,
    pub(crate) most: AtomicUsize,
    pub(crate) ever: AtomicUsize,
}

impl Connections {
    fn opened(&self) {
        self.ever.fetch_add(1, SeqCst);
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
    }
}

/// A server on a port of its own; stops accepting when dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) connections: Arc<Connections>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// Answers every request by `handler`.
    pub(crate) async fn start<H, F>(tls: Option<ServerConfig>, handler: H) -> Self
    where
        H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(Connections::default());
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let counted = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.opened();
                let (tls, handler, counted) = (tls.clone(), handler.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    match tls {
                        None => talk(stream, handler).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, handler).await;
                            }
                        }
                    }
                    counted.now.fetch_sub(1, SeqCst);
                });
            }
        });
        Self { port, connections, accepting }
    }
}

async fn talk<S, H, F>(stream: S, handler: H)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Bytes>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Ok::<_, Infallible>(handler(Request::from_parts(head, body)).await.map(Full::new))
        }
    });
    // How a connection ends is the client's affair.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
