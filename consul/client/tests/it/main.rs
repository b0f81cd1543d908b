//! The client against real sockets: a Consul agent where Consul's word counts, small servers where trouble is wanted.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod acl;
mod agent;
mod blocking;
mod catalog;
mod connections;
mod consul;
mod kv;
mod leaderless;
mod server;
mod session;
mod tls;
mod trouble;
mod txn;
mod unix;
