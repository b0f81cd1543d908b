//! `cargo xtask schema`: the JSON Schemas and reference pages that are made from the types in `crds`.
//!
//! The program that makes them, `src/bin/schemas.rs`, is built apart from this one: see the feature `schemas`.

use crate::{project::Project, step, step::Outcome};

/// Writes the files that have changed, and prints their names.
pub(crate) fn write(project: &Project) -> Outcome {
    step::command(project.cargo(&["run", "--quiet", "--package", "xtask", "--features", "schemas", "--bin", "schemas"]))
}
