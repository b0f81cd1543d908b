//! Jobs with real processes: one module a place where they run.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[cfg(target_os = "linux")]
mod guarded;
mod running;
mod support;
