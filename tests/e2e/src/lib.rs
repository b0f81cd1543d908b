//! The harness of the end-to-end tests: real servers of Consul, Prometheus and HAProxy, the built binary, real processes.
//!
//! Everything here blocks: a story is a person at a terminal, and reads like one. A test that fails panics, and whatever it
//! started is killed by pid when it is dropped. Every wait has a deadline.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness fails a test by panicking, and shows why"
)]

pub mod availability;
pub mod command;
pub mod consul;
pub mod daemon;
pub mod haproxy;
pub mod helium;
pub mod http;
pub mod hydra;
pub mod inbox;
pub mod line;
pub mod load;
pub mod ports;
pub mod process;
pub mod prometheus;
pub mod terminal;
pub mod wait;

pub use availability::Availability;
pub use command::Output;
pub use consul::{Consul, Options};
pub use daemon::Daemon;
pub use haproxy::HaProxy;
pub use helium::Helium;
pub use http::Http;
pub use hydra::Hydra;
pub use inbox::Inbox;
pub use line::Line;
pub use load::{Answers, Load};
pub use prometheus::Prometheus;
pub use terminal::Terminal;
pub use wait::{eventually, holds_for};
