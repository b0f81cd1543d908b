//! The metric sources on a real Prometheus, which scrapes real instances of the sample.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a story fails by panicking, in its helpers too")]

mod agent_page;
mod fleet;
mod judged;
mod scene;
mod troubles;
mod values;
