//! What people can say to Helium, and what Helium writes down.
//!
//! - the kinds: [`Deployment`] and [`Canary`], in [`deployment`], [`template`] and [`canary`];
//! - the records kept in Consul KV: [`status`], [`instance`], [`revision`], [`control`], [`node`], [`event`];
//! - where each of them lives: [`keys`].
//!
//! Nothing here does any I/O, and nothing here knows how a rollout is made to happen.

pub mod canary;
pub mod control;
pub mod deployment;
pub mod event;
pub mod ids;
pub mod instance;
pub mod keys;
pub mod node;
pub mod object;
pub mod period;
pub mod quantity;
pub mod revision;
pub mod status;
pub mod template;

pub use canary::{Canary, CanarySpec};
pub use deployment::{Deployment, DeploymentSpec};
pub use ids::{InstanceId, NodeName, ObjectKey, RevisionId};
pub use object::{API_VERSION, Kind, Metadata, Object};
pub use period::Period;
pub use quantity::{Amount, Percent};
pub use status::{DeploymentStatus, Phase};
