//! Services and watches against a Consul in this process, under paused time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod registered;
mod scene;
mod watched;
