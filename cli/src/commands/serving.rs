//! What every server of Helium has: signals that stop it, and a small HTTP face for those who watch over it.

use std::net::SocketAddr;

use axum::{Router, http::StatusCode, routing::get};
use helium_engine::{Readiness, metrics::SharedRegistry};
use helium_runtime::shutdown::Shutdown;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::output::Failure;

/// Waits for Ctrl-C or SIGTERM and says which it was.
pub(super) async fn asked_to_stop() -> Result<&'static str, Failure> {
    let failed = |error: std::io::Error| Failure::internal(format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => Ok("SIGINT"),
        _ = terminate.recv() => Ok("SIGTERM"),
    }
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
