//! The part of Consul's HTTP API that Helium uses, as one in-process, single-node, durable server.
//!
//! It is for one machine: there is no gossip, no replication and no stale mode. For more than one machine, run Consul.
//!
//! - [`state`] is a pure machine: commands in, outcomes out, time as an argument.
//! - [`Server`] puts it behind a lock, wakes blocked readers, makes timers happen, and answers HTTP requests as values
//!   ([`Server::transport`]: no socket, no thread; works under tokio's paused time).

mod acl;
mod call;
pub mod checks;
mod clock;
mod decode;
mod entropy;
mod handlers;
#[cfg(feature = "http")]
mod http;
mod journal;
mod reply;
mod router;
mod server;
mod shared;
pub mod state;
mod waiters;

pub use acl::{Access, AclTable, Rules};
pub use entropy::{Entropy, real_entropy, seeded_entropy};
pub use journal::{Durability, OpenError};
pub use server::{Config, Server};
