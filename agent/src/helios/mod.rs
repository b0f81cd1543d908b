//! The agent of a node over the key layout of Helios, as it is: `nodes/<node>/services`, `service/<service>/version` and `config/*`.
//!
//! | module | what it is |
//! |---|---|
//! | [`machine`] | pure: what to do next for one service |
//! | [`record`] | what is known of a service across restarts, and how events change it |
//! | [`service`], [`doing`] | one service: looks, decides, and does it |
//! | [`agent`] | the services of a node |
//! | [`watching`], [`wish`], [`keys`] | what Consul wants |
//! | [`upgrade`], [`leader`] | the place in the upgrade lock, and the leader's lock |
//! | [`artifact`] | packages and their digests |
//! | [`rendering`] | values and templates |
//! | [`showing`] | what is to be seen of it while it runs |
//! | [`idle`] | the look at the node while it has no services |
//! | [`registration`] | how a service stands in Consul |

mod agent;
mod artifact;
mod config;
mod doing;
mod idle;
mod keys;
mod leader;
mod machine;
#[cfg(test)]
mod machine_tests;
mod record;
mod registration;
mod rendering;
mod service;
mod showing;
mod upgrade;
mod watching;
mod wish;

pub use agent::HeliosAgent;
pub use config::HeliosConfig;
pub use showing::HeliosHandle;
