//! The agent with real processes and a real Consul.

mod consul;
mod processes;
mod roles;
mod stories;
mod troubles;
mod world;
