//! The HTTP face of an agent for those who watch over it: `/metrics`, `/healthz`, `/readyz` and `/status`. It reads and changes nothing.

use std::net::SocketAddr;

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use helium_agent::Face;
use helium_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;

use crate::output::Failure;

/// Where it is where no address is given: this machine alone sees it.
pub(super) const USUAL: &str = "127.0.0.1:7576";

/// The text format of Prometheus in its newer form, which ends in `# EOF`.
const PAGE: [(&str, &str); 1] = [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")];

/// Listens on an address.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::internal(format!("cannot listen on {address}: {error}")).hint("`--http-addr` names another address")
    })
}

/// Serves until it is asked to stop. It runs in a task of its own: an agent that stands still is to be seen as one.
pub(super) async fn serve(listener: TcpListener, handle: impl Face, shutdown: Shutdown) {
    let served =
        axum::serve(listener, routes(handle)).with_graceful_shutdown(async move { shutdown.cancelled().await }).await;
    if let Err(error) = served {
        tracing::error!(%error, "nothing is served over HTTP any more");
    }
}

fn routes<F: Face>(handle: F) -> Router {
    Router::new()
        .route("/metrics", get(metrics::<F>))
        .route("/healthz", get(health::<F>))
        .route("/readyz", get(ready::<F>))
        .route("/status", get(status::<F>))
        .with_state(handle)
}

/// What looks at the disk does it on a thread of its own.
async fn aside<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, StatusCode> {
    tokio::task::spawn_blocking(look).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn metrics<F: Face>(State(handle): State<F>) -> Result<impl IntoResponse, StatusCode> {
    Ok((PAGE, aside(move || handle.metrics()).await?))
}

async fn status<F: Face>(State(handle): State<F>) -> Result<impl IntoResponse, StatusCode> {
    Ok(Json(aside(move || handle.status()).await?))
}

async fn health<F: Face>(State(handle): State<F>) -> (StatusCode, String) {
    match handle.health() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(words) => (StatusCode::SERVICE_UNAVAILABLE, words + "\n"),
    }
}

async fn ready<F: Face>(State(handle): State<F>) -> (StatusCode, String) {
    let words = handle.words() + "\n";
    let status = if handle.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, words)
}
