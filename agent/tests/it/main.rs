//! The agent with real processes and a real Consul.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod consul;
mod jobs;
mod processes;
mod roles;
mod stories;
mod troubles;
mod world;
