//! The Consul that tests run against: `CONSUL_BIN`, or PATH, or the oldest that Helium supports, out of Debian's package.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{apt, project::Project, step::Outcome};

/// The Debian release whose Consul is 1.8, the floor of what Helium supports.
const SUITE: &str = "bullseye";

/// A Consul program that runs.
#[derive(Clone, Debug)]
pub(crate) struct Consul {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it calls itself, as `Consul v1.8.7`.
    pub(crate) version: String,
}

/// Finds or fetches Consul; the error says plainly what stands in the way.
pub(crate) fn find(project: &Project) -> Result<Consul, String> {
    if let Some(given) = env::var_os("CONSUL_BIN").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(given);
        return try_out(&path).map_err(|error| format!("CONSUL_BIN: {error}"));
    }
    if let Some(consul) = on_path().and_then(|path| try_out(&path).ok()) {
        return Ok(consul);
    }
    let kept = project.fetched.join(format!("consul-{SUITE}"));
    if let Ok(consul) = try_out(&kept) {
        return Ok(consul);
    }
    fetch(project, &kept).map_err(|error| format!("{error}; set CONSUL_BIN, or put `consul` in PATH"))
}

/// `cargo xtask consul`: the path alone, so that `CONSUL_BIN=$(cargo xtask consul) cargo test ...` runs one test.
pub(crate) fn path(project: &Project) -> Outcome {
    match find(project) {
        Ok(consul) => Outcome::Passed(consul.path.display().to_string()),
        Err(reason) => Outcome::failed(reason),
    }
}

/// Fetches into a folder of this run only, and moves the program to its place when it is whole: two runs may do this at once.
fn fetch(project: &Project, kept: &Path) -> Result<Consul, String> {
    let work = project.fetched.join(format!("unpacking-{}", std::process::id()));
    fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    let fetched = apt::unpack("consul", SUITE, &work).and_then(|unpacked| {
        let program = unpacked.join("usr/bin/consul");
        try_out(&program)?;
        fs::rename(&program, kept).map_err(|error| format!("{}: {error}", kept.display()))
    });
    let removed = fs::remove_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()));
    fetched.and(removed)?;
    try_out(kept)
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join("consul")).find(|path| path.is_file())
}

fn try_out(path: &Path) -> Result<Consul, String> {
    let output = Command::new(path).arg("version").output().map_err(|error| format!("{}: {error}", path.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match said.lines().next() {
        Some(line) if line.starts_with("Consul ") => Ok(Consul { path: path.to_owned(), version: line.to_owned() }),
        _ => Err(format!("{} does not call itself Consul", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_not_taken_for_consul() {
        assert!(try_out(Path::new("/bin/true")).unwrap_err().contains("does not call itself Consul"));
        assert!(try_out(Path::new("/nowhere/consul")).is_err());
    }
}
