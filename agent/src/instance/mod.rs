//! One instance on this machine: what is remembered of it, what is to be done next, and the task that does it.

pub(crate) mod apply;
pub(crate) mod freshness;
#[cfg(test)]
mod histories;
pub(crate) mod machine;
#[cfg(test)]
mod machine_world;
pub(crate) mod numbers;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod runner;
pub(crate) mod standing;
pub(crate) mod stopping;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod work;
#[cfg(test)]
mod work_tests;
