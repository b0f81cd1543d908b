//! The room on real servers: HAProxy and Consul.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod real_haproxy;
