//! Stories and properties of the planner, told on a small model of a fleet that follows its plans.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics is a test that fails")]

mod canary;
mod clocks;
mod controls;
mod crossings;
mod edits;
mod fleet;
mod gates;
mod holds;
mod losses;
mod metrics;
mod model;
mod nomad;
mod properties;
mod rolling;
mod routed;
mod shut;
mod standby;
mod tables;
mod told;
mod unfollowable;
