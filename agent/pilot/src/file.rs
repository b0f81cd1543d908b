//! A file, read with its environment, and why it is refused.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use helium_containerpilot::{Config, Loaded, Problem, load, render_template};

/// Names the guardian to a supervisor; no business of its jobs.
const GUARDIAN: &str = "HELIUM_GUARDIAN";

/// A file that is taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What it says.
    pub config: Config,
    /// What is taken and does not do what it says, each for people.
    pub warnings: Vec<String>,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is refused: each problem for people, with line, column, key, reason and what would be right.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

/// The environment of this process, without what is not UTF-8 and what only a supervisor is to know.
pub fn environment() -> BTreeMap<String, String> {
    let pairs = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    pairs.filter(|(name, _)| name != GUARDIAN).collect()
}

/// Reads a file and judges it.
///
/// # Errors
/// It cannot be read, or is refused.
pub fn read(path: &Path, environment: &BTreeMap<String, String>) -> Result<Taken, FileError> {
    let text = text(path)?;
    let name = path.display().to_string();
    let told = |problems: &[Problem]| problems.iter().map(|problem| problem.render(&name, &text)).collect::<Vec<_>>();
    let Loaded { config, problems, warnings } = load(&text, environment);
    match config {
        Some(config) => Ok(Taken { config, warnings: told(&warnings) }),
        None => Err(FileError::Refused(told(&problems))),
    }
}

/// Reads a file and renders it as a template over the environment, and judges nothing else.
///
/// # Errors
/// It cannot be read or rendered.
pub fn rendered(path: &Path, environment: &BTreeMap<String, String>) -> Result<String, FileError> {
    let text = text(path)?;
    render_template(&text, environment)
        .map_err(|problem| FileError::Refused(vec![problem.render(&path.display().to_string(), &text)]))
}

fn text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })
}
