//! Where requests go: keeps balancers that do not read Consul in step with its catalog.
//!
//! There is one such balancer, HAProxy. A [`Keeper`] follows services in the catalog and keeps two things right: a file with one
//! `backend` for each service, from which HAProxy starts, and by its runtime API the servers of the HAProxy that runs. All that is
//! decided is pure: what an answer of Consul is worth ([`sight`]), which server takes which slot of a backend, and what has to be said
//! to HAProxy for it ([`seats`]). Nothing is remembered but what the file and HAProxy hold, so whichever of the three is killed, the others
//! put it right when it returns.

pub mod catalog;
pub mod file;
pub mod haproxy;
pub mod keeper;
mod reload;
pub mod seats;
pub mod server;
mod shell;
pub mod sight;
pub mod socket;
pub mod store;
mod watcher;

pub use keeper::{Keeper, KeeperConfig, Trouble};
pub use reload::Reload;
pub use server::{Backend, Server};
pub use sight::Wanted;
pub use socket::{Socket, SocketError};
