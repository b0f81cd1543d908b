//! The follower, the watcher and the environment against the embedded server, and with real files and processes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod following;
mod variables;
mod watching;
mod world;
