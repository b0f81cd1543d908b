//! What people read: tables, documents, progress, explanations, colours and exit codes.

pub(crate) mod answer;
pub(crate) mod canvas;
pub(crate) mod console;
pub(crate) mod exit;
pub(crate) mod explain;
pub(crate) mod format;
pub(crate) mod hydra_job;
pub(crate) mod object_table;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod tree;
pub(crate) mod trouble;

pub(crate) use console::{Console, Tone};
pub(crate) use exit::{Exit, Failure, Outcome};
