//! What runs on a machine: the agent of a node, which makes true what it is assigned.
//!
//! Where to begin: [`Agent`]; then the rules in [`helium_instance::machine`], the one place that decides; then `instance/runner.rs`, which
//! does what was decided. An instance is run by a driver (`driver/`), stands in Consul as `registration.rs` says, and is reported
//! by `reporter.rs`. [`logs`] reads the log files of a machine, with or without a running agent.

mod agent;
mod checks;
mod config;
mod data;
mod driver;
mod face;
mod failing;
mod features;
pub mod helios;
mod hooks;
mod instance;
pub mod jobs;
mod leading;
pub mod logs;
mod maintenance;
mod observer;
mod package;
mod presence;
mod registration;
mod reporter;
mod shared;
mod telemetry;
#[cfg(test)]
mod testing;
pub mod verify;

pub use agent::{Agent, AgentError};
pub use config::{AgentConfig, StopMode};
pub use data::DataError;
pub use face::Face;
pub use telemetry::AgentHandle;
