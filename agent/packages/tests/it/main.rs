//! Stories of packages, each against the real thing.

mod archives;
mod crash;
mod downloads;
mod installing;
#[cfg(feature = "s3")]
mod s3;
mod server;
