//! Metrics and status over HTTP.
//!
//! The page has the form of Prometheus' text format 0.0.4, and not that of `OpenMetrics`, which would put `_total` behind the names of counters
//! and has no untyped sums of old: dashboards and alarms know the names that a file gives.

mod metrics;
mod status;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use tokio::net::TcpListener;

pub use self::{
    metrics::{BadMeasure, Metrics},
    status::Status,
};

/// How long is waited before a place that is taken is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Serves `/metrics` and `/status` until it is dropped.
pub async fn serve(address: IpAddr, port: u16, metrics: Arc<Metrics>, status: Arc<Status>) {
    let mut told = false;
    let listener = loop {
        match TcpListener::bind((address, port)).await {
            Ok(listener) => break listener,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(%address, port, %error, "the telemetry cannot listen; it is tried again");
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    if let Ok(place) = listener.local_addr() {
        tracing::info!(%place, "the telemetry listens");
    }
    let page = |State((metrics, _)): State<(Arc<Metrics>, Arc<Status>)>| async move {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.page()).into_response()
    };
    let state = |State((_, status)): State<(Arc<Metrics>, Arc<Status>)>| async move {
        ([(CONTENT_TYPE, "application/json")], status.page()).into_response()
    };
    let routes = Router::new().route("/metrics", get(page)).route("/status", get(state)).with_state((metrics, status));
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the telemetry has ended");
    }
}
