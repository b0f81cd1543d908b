//! The simulated world: the real engine, runtime and client on the embedded Consul, under paused time, with a simulated fleet and
//! simulated users; with faults, checkers and stories.
//!
//! One seed decides everything, so whatever goes wrong can be seen again. Read on in this order: [`run`] (one seed from begin to
//! end), [`world`] (how a world is put together), [`wire`] (where faults come in and where the checkers look), [`checkers`] (what
//! must hold), [`nemesis`] and [`users`] (who makes trouble), [`values`] and [`hydra`] (what versions are made of, apart from specs), [`defects`] (bugs on purpose, one for each checker), [`story`]
//! (scripts with golden output), [`exhaust`] (a crash at every call). [`preview`] is for the CLI: what an apply
//! would do.

pub mod agent;
pub mod agents;
pub mod checkers;
mod checks;
pub mod clocks;
pub mod controllers;
pub mod defects;
pub mod exhaust;
pub mod faults;
pub mod fleet;
pub mod hydra;
pub mod instruments;
pub mod nemesis;
pub mod net;
pub mod ops;
pub mod parallel;
pub mod preview;
pub mod rng;
pub mod run;
pub mod show;
pub mod specs;
pub mod story;
pub mod tally;
pub mod trace;
pub mod truth;
pub mod users;
pub mod values;
pub mod wire;
pub mod world;
