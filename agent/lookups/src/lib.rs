//! What templates ask, followed in Consul; and what is done when it changes: files, reloads, children.
//!
//! | module | what it is |
//! |---|---|
//! | [`plan`] | which queries answer a set of questions, within a bound |
//! | [`follower`] | keeps them open, believes what can be believed, gives snapshots |
//! | [`answers`] | a snapshot: it answers templates |
//! | [`watcher`] | templates into files, again with each change: rendered, checked, put in place together, and whoever reads them told |
//! | [`environment`] | keys into the variables of a child |
//! | [`child`] | a program beside this one that is told of changes |
//! | [`shell`] | lines of the shell: checks and reloads |
//! | [`memory`] | what outlives this process |
//! | [`wish`] | how people write down a template, its file and its command |

pub mod answers;
pub mod child;
pub mod environment;
pub mod follower;
pub mod memory;
pub mod plan;
mod poll;
mod renderer;
pub mod shell;
pub mod watcher;
pub mod wish;

pub use answers::{Answers, Local};
pub use follower::{Follower, FollowerConfig};
pub use renderer::Set;
pub use watcher::{Ended, Order, Watcher, WatcherConfig, Work};
