//! One instance on this machine: what is remembered of it, what is to be done next, and the task that does it.

pub(crate) mod dir;
pub(crate) mod freshness;
#[cfg(test)]
mod histories;
pub(crate) mod listening;
pub(crate) mod runner;
pub(crate) mod standing;
pub(crate) mod system;
pub(crate) mod table;
pub(crate) mod task;

pub(crate) use helium_instance::{apply, machine, numbers, record, report, words, work};
