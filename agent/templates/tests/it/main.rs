//! Values and templates into text and files, as the agent and the command line go through it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod languages;
mod messages;
mod stories;
mod world;
