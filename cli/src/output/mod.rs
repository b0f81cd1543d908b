//! What people read: tables, documents, progress, explanations, colours and exit codes.

#[cfg(feature = "control")]
pub(crate) mod answer;
#[cfg(feature = "control")]
pub(crate) mod canvas;
pub(crate) mod console;
pub(crate) mod exit;
#[cfg(feature = "control")]
mod exit_people;
#[cfg(feature = "control")]
pub(crate) mod explain;
pub(crate) mod format;
#[cfg(feature = "control")]
pub(crate) mod hydra_job;
#[cfg(feature = "control")]
pub(crate) mod object_table;
#[cfg(feature = "control")]
pub(crate) mod plan;
#[cfg(feature = "control")]
pub(crate) mod progress;
pub(crate) mod table;
#[cfg(feature = "control")]
pub(crate) mod time;
#[cfg(feature = "control")]
pub(crate) mod tree;
#[cfg(feature = "control")]
pub(crate) mod trouble;

pub(crate) use console::{Console, Tone};
pub(crate) use exit::{Exit, Failure, Outcome};
