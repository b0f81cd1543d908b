//! What people can say to Helium, and what Helium writes down.
//!
//! - from text to objects, or to a report of everything that is wrong: [`diagnose`], guided by [`schema`];
//! - the kinds: [`Deployment`], [`Canary`] and [`HydraJob`], in [`deployment`], [`template`], [`version_from`], [`canary`], [`step`], [`metric`], [`gate`]
//!   and [`hydra_job`];
//! - the records kept in Consul KV: [`status`], [`instance`], [`condition`], [`revision`], [`control`], [`node`], [`event`];
//! - what a controller is told about where its events are sent: [`notification`];
//! - where each of them lives: [`keys`].
//!
//! Nothing here does any I/O, and nothing here knows how a rollout is made to happen.

pub mod any_object;
pub mod canary;
pub mod condition;
pub mod control;
pub mod deployment;
pub mod diagnose;
pub mod event;
pub mod features;
pub mod gate;
pub mod hydra_job;
pub mod ids;
pub mod instance;
pub mod job;
pub mod keys;
pub mod limits;
pub mod maintenance;
pub mod measurement;
pub mod metric;
pub mod node;
pub mod notification;
pub mod object;
pub mod package;
pub mod period;
pub mod quantity;
pub mod resources;
pub mod revision;
pub mod schedule;
pub mod schema;
pub mod secret;
pub mod size;
pub mod source;
pub mod status;
pub mod step;
pub mod template;
pub mod variables;
pub mod version_from;
mod yaml;

pub use any_object::{AnyObject, DecodeError};
pub use canary::{Canary, CanarySpec};
pub use deployment::{Deployment, DeploymentSpec};
pub use diagnose::{Code, Parsed, Problem, Report, parse, parse_all, parse_all_in};
pub use hydra_job::{HydraJob, HydraJobSpec};
pub use ids::{InstanceId, NodeName, ObjectKey, RevisionId};
pub use object::{API_VERSION, Kind, Metadata, Object};
pub use period::Period;
pub use quantity::{Amount, Number, Percent};
pub use source::{Location, Source};
pub use status::{DeploymentStatus, Phase};
