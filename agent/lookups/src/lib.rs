//! What templates ask, followed in Consul; and what is done when it changes: files, reloads, children.
//!
//! | module | what it is |
//! |---|---|
//! | [`plan`] | which queries answer a set of questions, within a bound |
//! | [`follower`] | keeps them open, believes what can be believed, gives snapshots |
//! | [`answers`] | a snapshot: it answers templates |

pub mod answers;
pub mod follower;
pub mod plan;
mod poll;

pub use answers::{Answers, Local};
pub use follower::{Follower, FollowerConfig};
