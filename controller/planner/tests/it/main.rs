//! Stories and properties of the planner, told on a small model of a fleet that follows its plans.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics is a test that fails")]

mod canary;
mod clocks;
mod controls;
mod crossings;
mod fleet;
mod invariants;
mod losses;
mod model;
mod quiet;
mod rolling;
mod tables;
