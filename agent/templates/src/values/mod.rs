//! What templates are filled with: layers of values, merged from low to high, each value with the place that it came from.
//!
//! The layers, each above those before it: the package's `default.json`, `default.yaml` or `default.toml`; the keys below `config/` in Consul;
//! the Deployment's `env`; its `config`; what the hook `config-pre` printed. Maps are merged name by name, whatever else is replaced. As
//! each value knows its place, an error or a listing can say `from config/web/db/port`.

mod defaults;
mod error;
mod layer;
mod overrides;
mod tree;

pub use defaults::DEFAULT_FILES;
pub use error::ValueError;
pub use layer::{Layer, environment};
pub use overrides::{Naming, Override};
pub use tree::{Leaf, Origin, Values};
