//! Why an answer of Hydra has nothing to take.

/// An answer has nothing to take, or does not say what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address of the job is none.
    #[error("the job `{text}`: {reason}")]
    Address {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is no JSON of the right form.
    #[error("{place} does not answer as Hydra does: {reason}")]
    NotJson {
        /// What was asked.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The build is not finished.
    #[error("build {build} is not finished")]
    Unfinished {
        /// Which.
        build: u64,
    },
    /// The build has failed.
    #[error("build {build} has not succeeded: its status is {status}")]
    Unsuccessful {
        /// Which.
        build: u64,
        /// Hydra's number.
        status: i64,
    },
    /// The build has no output `out`.
    #[error("build {build} has no output `out`{}", others(outputs))]
    NoOutput {
        /// Which.
        build: u64,
        /// Those that it has.
        outputs: Vec<String>,
    },
    /// The output is no path of a store.
    #[error("the output `out` of build {build} is at `{path}`, which is no path of a store")]
    NoPath {
        /// Which build.
        build: u64,
        /// As it is told.
        path: String,
    },
    /// The evaluation is not whole.
    #[error("evaluation {evaluation} is not whole: {unfinished} jobs are not finished, {} have not succeeded{}", failed.len(), some(failed))]
    NotWhole {
        /// Which.
        evaluation: u64,
        /// How many builds are not finished.
        unfinished: usize,
        /// Which jobs have not succeeded.
        failed: Vec<String>,
    },
    /// The evaluation does not hold the job.
    #[error("evaluation {evaluation} has no job `{job}`")]
    NoJob {
        /// Which.
        evaluation: u64,
        /// Which job.
        job: String,
    },
}

fn others(outputs: &[String]) -> String {
    if outputs.is_empty() { String::new() } else { format!(", but {}", outputs.join(", ")) }
}

/// The first few, of what may be thousands.
fn some(jobs: &[String]) -> String {
    let first: Vec<&str> = jobs.iter().take(5).map(String::as_str).collect();
    let more = if jobs.len() > first.len() { ", ..." } else { "" };
    if first.is_empty() { String::new() } else { format!(" ({}{more})", first.join(", ")) }
}

impl Error {
    /// The name by which it is in the status.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Address { .. } => "Address",
            Self::NotJson { .. } => "NotJson",
            Self::Unfinished { .. } => "Unfinished",
            Self::Unsuccessful { .. } => "Unsuccessful",
            Self::NoOutput { .. } => "NoOutput",
            Self::NoPath { .. } => "NoPath",
            Self::NotWhole { .. } => "NotWhole",
            Self::NoJob { .. } => "NoJob",
        }
    }
}
