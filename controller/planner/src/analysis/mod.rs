//! What is looked at while a canary runs: its health, its metrics, its gate.
//!
//! Health comes with the World. Metrics and gates have to be asked for, which takes its time: a plan says what is due (`questions`),
//! and a later World holds the answers. An answer is judged (`criterion`) and entered (`samples`) once, under the rollout and the
//! due time that it was asked for; one that is lost was never entered, so it is due still. `evidence` says whether a step has what it
//! needs.

mod criterion;
mod evidence;
mod health;
mod questions;
mod samples;

pub(crate) use evidence::{missing, of_step};
pub(crate) use health::sample;
pub(crate) use questions::ask;
pub(crate) use samples::{forget_failures, start_anew, take_in};
