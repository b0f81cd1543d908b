//! The preview: what applying documents would do, found out by doing it in a simulated world that begins as a copy of the real one.
//!
//! [`Snapshot::take`] reads from the real store, and writes nothing to it; [`foresee`] does the rest, under paused time: the real engine
//! and planner on the embedded Consul, the same `apply` that people use, and machines that behave as is assumed of them. Everything that
//! decides is the real thing, so what is foreseen is what happens as long as the assumptions hold:
//!
//! - an instance passes its checks [`Assumptions::start`] after it was assigned, and has stopped [`STOP`] after it was asked to;
//! - what is healthy, failing or away at the beginning stays so; no node comes or goes;
//! - nobody else changes anything, and Deployments that are not among the documents stand still: they only take their places;
//! - where a rollout waits for a person, one promotes at once.
//!
//! Health is all the evidence that there is so far. What comes beside it, such as samples of metrics, has its place in `machines`: good, or
//! bad once the canary is made to fail.
//!
//! The same store and the same documents give the same answer. Read on in this order: `snapshot`, `stage` (the copy), `machines`,
//! `record` (what is written down), `course` (from the apply to the end).

mod course;
mod error;
mod foresight;
mod leaps;
mod machines;
mod outlook;
mod record;
pub mod rehearsal;
mod snapshot;
mod stage;
mod tap;

use std::time::Duration;

pub use error::PreviewError;
pub use outlook::{Count, Moment, Named, Outlook, StepSeen, What};
pub use snapshot::Snapshot;

/// How long an instance takes to stop.
pub const STOP: Duration = Duration::from_secs(1);

/// How long a preview looks ahead at most.
pub const HORIZON: Duration = Duration::from_hours(24 * 30);

/// What is assumed of a world that nobody has seen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumptions {
    /// How long it takes from the assignment of an instance until it passes its checks.
    pub start: Duration,
    /// At which step of a canary, counted from 1, the instances of the new version begin to fail.
    pub canary_fails_at: Option<u32>,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self { start: Duration::from_secs(2), canary_fails_at: None }
    }
}

/// Finds out what applying the documents of a snapshot would do, one outlook for each Deployment that they are about. Takes a thread of
/// its own for as long as it takes, and no real time for simulated waits.
pub fn foresee(snapshot: &Snapshot, assumptions: Assumptions) -> Result<Vec<Outlook>, PreviewError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(course::follow(snapshot, assumptions))
}
