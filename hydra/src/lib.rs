//! What Hydra's answers say, as functions of their bytes: the builds of a job, evaluations, and which of them may be taken.
//!
//! | asked | what Hydra answers |
//! |---|---|
//! | `GET JOB/latest` | a redirect to the latest build of the job that has succeeded; 404 if there is none |
//! | `GET HYDRA/build/N` | one build; 404 if it was deleted |
//! | `GET HYDRA/jobset/P/J/latest-eval` | a redirect to the latest evaluation with new builds, none of which is unfinished |
//! | `GET HYDRA/eval/N` | one evaluation; 404 if it was deleted |
//! | `GET HYDRA/eval/N/builds` | all builds of an evaluation |
//!
//! All with `Accept: application/json`. The status of a build is 0 if it has succeeded. Nothing here asks: how that is done is the business of
//! whoever does it.

mod answer;
mod error;
mod job;

use std::time::Duration;

pub use answer::{Build, Built, evaluation, of_whole, read_build, read_builds};
pub use error::Error;
pub use job::Job;

/// The most bytes of an answer about one build or one evaluation.
pub const MOST: usize = 1 << 20;
/// The most bytes of an answer about all builds of an evaluation, which can be tens of thousands.
pub const MOST_BUILDS: usize = 128 << 20;
/// Listing all builds of a large evaluation takes Hydra minutes.
pub const LIMIT_BUILDS: Duration = Duration::from_mins(10);
