//! Values and templates into files: merged, rendered, checked, and put in place together.
//!
//! Nothing here knows Consul, a clock or a process: values come as layers, the world answers through [`lookup::Lookup`], files are written
//! through [`files::Files`], and the rest is a function of data. The way of a change:
//!
//! | module | what it is |
//! |---|---|
//! | [`values`] | layers of values into one tree, each value with where it came from |
//! | [`lookup`] | what templates ask the world, and what of it is lacking |
//! | [`guard`] | whether data that became empty or old may be used |
//! | [`quiet`] | when a burst of changes is over, and how a fleet spreads its work |
//! | [`mod@render`] | all templates of a service into outputs |
//! | [`mod@diff`] | what would change, without secrets |
//! | [`transaction`] | all outputs into files, or none: staged, checked, renamed together |

pub mod diff;
mod engine;
pub mod files;
pub mod guard;
pub mod hidden;
pub mod lookup;
pub mod output;
pub mod quiet;
pub mod render;
mod snippet;
pub mod template;
pub mod transaction;
pub mod values;

pub use engine::{Bounds, Kept, Missing, Strictness};
