//! The drivers against servers: the embedded one under paused time, and a real Consul where its word counts.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod consul;
mod election;
mod failover;
mod reconcile;
mod watching;
mod world;
