//! What a controller has as a server: a small HTTP face for those who watch over it, what it asks about metrics, and words for whoever manages it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{Router, http::StatusCode, routing::get};
use consul_client::Client;
use helium_analysis::{Secrets, Sources};
use helium_engine::{Readiness, metrics::SharedRegistry};
use helium_runtime::{notify::Notifier, shutdown::Shutdown};
use tokio::net::TcpListener;

use crate::commands::managed::tell_words;
use crate::{output::Failure, session::Session};

/// What a controller asks about metrics and gates, with the secrets of a folder and of this process.
pub(super) fn metric_sources(
    client: Client,
    secrets: Option<PathBuf>,
    session: &Session,
) -> Result<Arc<Sources>, Failure> {
    let sources = Sources::new(client, session.keys(), Secrets::of_process(secrets), session.ports.clone());
    sources.map(Arc::new).map_err(|error| Failure::internal(error.to_string()))
}

/// Serves `/metrics`, `/healthz` and `/readyz` until it is asked to stop.
pub(super) async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    registry: SharedRegistry,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    axum::serve(listener, routes(readiness, registry))
        .with_graceful_shutdown(async move { shutdown.cancelled().await })
        .await
        .map_err(|error| Failure::internal(format!("cannot serve HTTP: {error}")))
}

fn routes(readiness: Readiness, registry: SharedRegistry) -> Router {
    let metrics = move || {
        let page = helium_engine::metrics::render(&registry);
        async move { ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], page) }
    };
    let ready = move || {
        let status = readiness.status();
        async move {
            match status {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
            }
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

/// Listens on an address.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::internal(format!("cannot listen on {address}: {error}")).hint("`--http-addr` names another address")
    })
}

/// Tells of a controller for ever: that it serves, whether it leads or waits to, and what keeps it from seeing.
pub(super) async fn tell_manager(readiness: Readiness, notifier: Notifier) {
    if !notifier.is_heard() {
        return std::future::pending().await;
    }
    notifier.ready();
    tell_words(&notifier, || match readiness.status() {
        Ok(()) => "ready".to_owned(),
        Err(reasons) => format!("not ready: {}", reasons.join("; ")),
    })
    .await;
}
