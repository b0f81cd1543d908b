//! Processes of this machine: started so that none is ever lost, watched, limited, and ended with all they left behind.
//!
//! | module | what it is |
//! |---|---|
//! | [`command`] | what is to be run: program, arguments, environment, folder, user |
//! | [`identity`] | which process is meant, for ever |
//! | [`gate`] | a process that runs on when this one ends: started behind a gate, written down, let through, adopted |
//! | [`limit`] | what of a resource a process may use |
//! | [`run`] | a process that is run to its end within a time limit, such as a hook or a check |
//!
//! Every process here leads a process group of its own, and the group goes with it.

pub mod command;
mod exit;
pub mod gate;
pub mod identity;
pub mod limit;
pub mod run;
#[cfg(test)]
mod testing;

pub use command::{Command, StartError};
pub use exit::Exit;
pub use gate::{Gated, Supervised};
pub use identity::ProcessIdentity;
pub use limit::{Limit, Resource};
pub use run::{Finished, Run};
pub use rustix::process::Signal;
