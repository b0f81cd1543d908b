//! Jobs with real processes: one module a place where they run.

mod guarded;
mod running;
mod support;
