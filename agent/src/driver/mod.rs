//! Drivers: the ways to run an instance. There is one now: a process of the agent's own machine, started behind a gate.

pub(crate) mod environment;
pub(crate) mod signal;
pub(crate) mod user;
