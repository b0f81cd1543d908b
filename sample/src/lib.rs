//! The sample workload: a small HTTP server with a version, health, metrics, and switches that make it misbehave.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the greeting and the version; fails and lags as the switches say |
//! | `/health` | 200, or 500 while health fails; neither the error rate nor the latency touch it |
//! | `/metrics` | Prometheus text: requests by code and version, a histogram of their seconds |
//! | `POST /switch?fail-health=true&error-rate=0.2&latency-ms=50` | turns switches while it runs |
//!
//! Nothing here is random: an error rate of 0.2 fails every fifth request exactly, and jitter walks evenly over its range. So a
//! canary that is judged by its error rate is judged the same way in every run.

mod config;
mod metrics;
mod server;
mod switches;

pub use config::SampleConfig;
pub use server::{serve, serve_on};
