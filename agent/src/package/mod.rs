//! The package of an instance: brought onto the machine, seen by the instance with its own rendered files, and made ready for a start.
//!
//! | module | what it is |
//! |---|---|
//! | [`packages`] | the packages of this machine, one store a service |
//! | [`store_paths`] | packages that are paths of the Nix store, and the profile of a service |
//! | [`view`] | a package as one instance sees it: links into the store, and its own rendered files |
//! | [`values`] | the values of its templates, of every place that they come from |
//! | [`active`] | has the version that is wanted be the active one, however long that takes |
//! | [`lookups`] | what all templates of this machine ask Consul, followed once |
//! | [`asking`] | one instance that asks |
//! | [`secrets`] | their secret values |
//! | [`rendering`] | its templates into files |
//! | [`preparation`] | all of it in order |

pub(crate) mod active;
pub(crate) mod asking;
pub(crate) mod lookups;
pub(crate) mod packages;
pub(crate) mod preparation;
pub(crate) mod rendering;
mod secrets;
mod store_paths;
pub(crate) mod values;
mod view;
