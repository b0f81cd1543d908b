//! Where the source tree is, where compiled artefacts go, and how cargo is called there.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The source tree and its two places for what can be made again.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// The root of the source tree.
    pub(crate) root: PathBuf,
    /// Compiled artefacts: cargo's target folder.
    pub(crate) target: PathBuf,
    /// What was fetched: kept with the artefacts' cache, if there is one, else in the tree's own `target`.
    pub(crate) fetched: PathBuf,
}

impl Project {
    /// The tree that this program belongs to.
    pub(crate) fn here() -> Self {
        // What `cargo run` says now comes first: two clones may share a target folder, and with it this program.
        let folder = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&folder).parent().unwrap_or(Path::new(".")).to_owned();
        Self::at(root, &|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    /// `CARGO_TARGET_DIR` is honoured. Else artefacts go to `helium/target` in the user's cache folder, if the user has one, so that every clone
    /// builds on what the last one compiled; else they stay in the tree.
    fn at(root: PathBuf, variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        let cache = cache.filter(|folder| folder.is_dir()).map(|folder| folder.join("helium"));
        let kept = cache.unwrap_or_else(|| root.join("target"));
        let in_cache = if kept == root.join("target") { kept.clone() } else { kept.join("target") };
        let target = variable("CARGO_TARGET_DIR").map_or(in_cache, |given| root.join(given));
        Self { root, target, fetched: kept.join("fetched") }
    }

    /// A cargo command in the tree. What it prints is printed; it has no input.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        // Inside `cargo xtask`, CARGO is the very cargo that runs it.
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).stdin(Stdio::null());
        if env::var_os("CI").is_some() {
            // Incremental artefacts are written for a next build, which a CI machine does not have.
            command.env("CARGO_INCREMENTAL", "0");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(variables: &[(&str, &str)]) -> Project {
        let known: Vec<(String, OsString)> = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).into())).collect();
        Project::at("/tree".into(), &move |name| known.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()))
    }

    #[test]
    fn artefacts_stay_in_the_tree_on_a_bare_machine() {
        let project = at(&[("HOME", "/nowhere")]);
        assert_eq!(project.target, Path::new("/tree/target"));
        assert_eq!(project.fetched, Path::new("/tree/target/fetched"));
    }

    #[test]
    fn a_cache_folder_is_used_when_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let project = at(&[("HOME", "/nowhere"), ("XDG_CACHE_HOME", folder.path().to_str().unwrap())]);
        assert_eq!(project.target, folder.path().join("helium/target"));
        assert_eq!(project.fetched, folder.path().join("helium/fetched"));
    }

    #[test]
    fn cargos_own_variable_is_honoured() {
        assert_eq!(at(&[("CARGO_TARGET_DIR", "/elsewhere")]).target, Path::new("/elsewhere"));
        assert_eq!(at(&[("CARGO_TARGET_DIR", "out")]).target, Path::new("/tree/out"));
    }
}
