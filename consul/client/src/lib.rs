//! Consul's HTTP API as typed async calls.
//!
//! A [`Client`] turns calls into `http::Request<Bytes>`, hands them to a [`Transport`] and reads the answers. It knows
//! nothing of what is kept in Consul. The transport is a socket in production ([`HttpTransport`]) and may be a direct
//! call into an in-process server.
//!
//! - Reads take a [`Read`] (consistency, blocking) and give a [`Reply`] with the [`Meta`] that Consul sent.
//! - Writes that Consul may refuse without an error (CAS, locks) give `bool`; read it.
//! - [`Error`] tells refusals from ambiguous outcomes: see [`Error::is_ambiguous`].
//!
//! ```no_run
//! use std::time::Duration;
//! use consul_client::{Client, Config, Error, Read, TxnOp};
//!
//! async fn follow(client: &Client, lock: &str, session: &str) -> Result<(), Error> {
//!     let listed = client.kv_list("app/", &Read::default()).await?;
//!     let poll = Read::blocking(listed.meta.index, Duration::from_secs(25));
//!     let changed = client.kv_list("app/", &poll).await?;
//!     let fence = TxnOp::CheckSession { key: lock.to_owned(), session: session.to_owned() };
//!     let count = changed.value.len().to_string();
//!     client.txn(&[fence, TxnOp::set("count", count)]).await.map(drop)
//! }
//! # let _ = Client::new(Config::from_env()?);
//! # Ok::<(), consul_client::ConfigError>(())
//! ```
//!
//! The types that Consul sends as JSON implement serde both ways, so that a server can answer in the same shapes; those
//! whose wire form differs from the typed form are in [`wire`].

pub mod acl;
pub mod agent;
pub mod catalog;
pub mod client;
pub mod config;
pub mod duration;
pub mod error;
pub mod health;
pub mod kv;
mod lenient;
pub mod net;
mod path;
mod pool;
pub mod read;
pub mod session;
pub mod status;
mod tls;
pub mod transport;
pub mod txn;
pub mod wire;

pub use acl::{AclLink, AclToken};
pub use agent::{AgentCheck, AgentSelf, AgentService, CheckDefinition, ServiceDefinition};
pub use catalog::{CatalogDeregistration, CatalogNode, CatalogRegistration, CatalogService, Node, Service, Weights};
pub use client::Client;
pub use config::{Address, Config, ConfigError, TlsConfig};
pub use error::Error;
pub use health::{CheckStatus, HealthCheck, ServiceHealth};
pub use kv::{KvPair, Put};
pub use net::HttpTransport;
pub use read::{Blocking, Consistency, Meta, Read, Reply};
pub use session::{Behavior, Session, SessionRequest};
pub use transport::{LongPoll, Transport, TransportError};
pub use txn::{MAX_TXN_OPS, TxnError, TxnOp, TxnResults};
