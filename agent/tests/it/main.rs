//! The agent with real processes and a real Consul.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod consul;
mod maintenance;
mod processes;
mod roles;
mod stories;
mod telemetry;
mod troubles;
mod world;
