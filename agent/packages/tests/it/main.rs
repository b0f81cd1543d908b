//! Stories of packages, each against the real thing.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod archives;
mod crash;
mod downloads;
mod installing;
#[cfg(feature = "s3")]
mod s3;
mod server;
mod trust;
