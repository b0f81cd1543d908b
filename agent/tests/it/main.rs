//! The agent with real processes and a real Consul.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![allow(clippy::print_stdout, reason = "what is left out on a machine is said")]

mod consul;
mod jobs;
mod limits;
mod maintenance;
mod packaged;
mod processes;
mod roles;
mod stories;
mod telemetry;
mod troubles;
mod world;
