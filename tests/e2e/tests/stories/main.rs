//! Stories of the built binary on real Consul servers.
#![allow(clippy::unwrap_used, reason = "a story fails by panicking, in its helpers too")]

mod fleet;
mod picture;
mod specs;

mod counts;
mod deaths;
mod doctor;
mod drift;
mod failover;
mod harness;
mod numbers;
mod outage;
mod people;
mod readme;
mod rights;
mod said;
mod shell;
mod terminal;
