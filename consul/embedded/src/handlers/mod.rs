//! The areas of the API, one file each.

pub(crate) mod acl;
pub(crate) mod agent;
pub(crate) mod catalog;
mod definition;
pub(crate) mod health;
pub(crate) mod kv;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod txn;
