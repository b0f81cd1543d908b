//! What the runner carries effects out with: processes, checks, lines of output, and signals.

pub(crate) mod checks;
pub(crate) mod lines;
pub(crate) mod notes;
mod notify;
pub(crate) mod runs;
pub(crate) mod signals;
