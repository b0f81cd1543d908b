//! The front end as a whole: examples, schemas, diagnostics.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail like the tests themselves")]

mod diagnostics;
mod examples;
mod fresh;
mod guide;
mod metrics;
mod notifications;
mod properties;
mod schedule;
mod structure;

use std::path::PathBuf;

/// A path within this crate.
fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
