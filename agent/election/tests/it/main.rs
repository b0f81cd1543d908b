//! The drivers against the embedded server under paused time.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod leader;
mod upgrade;
mod world;
