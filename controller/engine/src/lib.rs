//! The reconcilers: capture a World, plan, commit under a fence, report.
//!
//! Read in this order: [`reconcile`] (the whole in sixty lines), [`capture`] (where a World comes from), [`draft`] and [`commit`]
//! (how a plan reaches the store), [`health`] (what the catalog says), [`measuring`] (what metric sources and gates say), [`builds`] (which version Hydra has built), [`engine`] (how it is wired). [`people`] is the other side:
//! what people write.

pub mod batch;
pub mod builds;
pub mod capture;
mod catalog;
pub mod commit;
pub mod config;
pub mod draft;
pub mod engine;
mod group_commit;
pub mod health;
pub mod layout;
pub mod measuring;
pub mod memory;
pub mod metrics;
pub mod overrides;
pub mod people;
mod places;
mod polls;
mod proof;
pub mod readiness;
pub mod reconcile;
pub mod records;
pub mod reread;
pub mod rollout_metrics;
pub mod rows;
mod set_clock;
pub mod sources;
mod upkeep;
mod wakes;
mod words;

pub use config::EngineConfig;
pub use engine::{Engine, Error};
pub use readiness::Readiness;
