//! The drivers against the embedded server under paused time, and against a real Consul where its word counts.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod consul;
mod leader;
mod real;
mod upgrade;
mod world;
