//! Metric sources and gates: what is asked of the world outside while a canary runs.
//!
//! Whoever asks holds a [`Measure`]. In production it is [`Sources`], which sends each question to its source:
//!
//! | file | source |
//! |---|---|
//! | `prometheus.rs` | Prometheus: a number at an instant, or a series over a window |
//! | `http_json.rs` | a number in a JSON document |
//! | `consul.rs` | the share of a service's instances that pass |
//! | `gate.rs` | a webhook, a key in Consul KV |
//!
//! A new source is one file that implements `Source`, and one line in `sources.rs`. What they share: requests with time limits and
//! retries (`web.rs`), secrets by reference (`secrets.rs`), one number out of several (`aggregate.rs`), and what is told of a failure
//! (`why.rs`), in which no secret can be.
//!
//! By the same means a Hydra server is asked for the newest build of a job (`hydra.rs`), for whoever holds a [`Builds`], and a document is posted to whoever is to be told something (`posting.rs`).
//!
//! An answer is never a bare number: it is a value, no data, an error or stale.

mod aggregate;
mod consul;
mod gate;
mod http_json;
mod hydra;
mod json_path;
mod measure;
mod posting;
mod prometheus;
mod secrets;
mod sources;
mod tls;
mod web;
mod why;

pub use hydra::{Builds, Look, Missed};
pub use measure::Measure;
pub use posting::{Post, Refusal, To};
pub use secrets::Secrets;
pub use sources::Sources;
