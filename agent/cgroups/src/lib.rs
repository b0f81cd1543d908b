//! Control groups of Linux, v1 and v2: limits on memory, processors and processes that hold for a process and all that it starts.
//!
//! | module | what it is |
//! |---|---|
//! | [`hierarchies`] | pure: where the controllers are, read from `/proc` |
//! | [`limits`] | pure: what is to be limited, and the files that it is written to |
//! | [`root`] | the folders in which groups are made, and a group made there |
//! | [`group`] | a group that was made: who is in it, whom it has cost memory, and its end |
//!
//! A group lies below that of the program which makes it, in `helium/<name>`, so that whatever bounds the program bounds its groups, too. Where
//! v1 has the controller it is used, else v2; machines with both are usual. Whatever cannot be had is an answer, [`Unheld`], and no error:
//! who asks goes on without that limit, and says so.

pub mod group;
pub mod hierarchies;
pub mod limits;
pub mod root;

pub use group::{Group, LeftError};
pub use hierarchies::{Controller, Version};
pub use limits::Limits;
pub use root::{Made, Root, Unheld};
