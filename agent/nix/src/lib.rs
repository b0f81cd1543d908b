//! Nix profiles: of a machine, which follows a job of Hydra, and of a service that Helium runs; set, activated, and taken back if that fails.
//!
//! [`Hail::run`](hail::Hail::run) polls Hydra for good, [`Hail::once`](hail::Hail::once) looks once. Beside the profile is a small file with
//! what was found good and what failed, so that the way back leads to what worked last and not to the generation with the next lower number,
//! and so that a build that failed is not taken again and again. [`ServiceProfile`] does the same with what its caller wants, and knows no Hydra.
//!
//! | module | what it is |
//! |---|---|
//! | [`options`] | what is followed, and how; the files beside the profile |
//! | [`hydra`] | what Hydra has built |
//! | [`profile`] | a Nix profile: its generations, and how it is set |
//! | [`activate`] | `bin/activate` and `bin/deactivate`, within a limit |
//! | [`record`] | all that is remembered |
//! | [`machine`] | what to do next, as a pure function |
//! | [`hail`] | the loop that does it |
//! | [`service`] | the profile of a service that Helium runs |
//! | [`tools`] | Nix's programs on this machine |
//! | [`program`] | a program of Nix, run to its end |
//! | [`people`] | what a person asks for: go back, try again, remove |
//! | [`outcome`] | how it ended, with exit codes |
//! | [`status`] | what can be watched from outside |
//! | [`notify`] | words to systemd |

pub mod activate;
pub mod hail;
pub mod hydra;
pub mod machine;
pub mod notify;
pub mod options;
pub mod outcome;
pub mod people;
pub mod profile;
pub mod program;
pub mod record;
pub mod service;
pub mod status;
mod steps;
pub mod tools;

pub use hail::Hail;
pub use options::Options;
pub use outcome::Outcome;
pub use service::ServiceProfile;
pub use tools::Tools;
