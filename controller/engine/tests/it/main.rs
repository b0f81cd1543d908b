//! The real engine on the embedded server under paused time, with agents driven by hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a story that cannot go on has failed")]

mod agent;
mod announced;
mod blindness;
mod builds;
mod crashes;
mod first_light;
mod leaders;
mod long_polls;
mod second_look;
mod stage;
mod unreadable;
