//! The server of S3 that tests run against, moto's: `MOTO_BIN`, or PATH, or installed by pip into an environment of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{project::Project, servers::Found, step::Outcome};

/// The variable by which it is named, to us and to the tests.
pub(crate) const VARIABLE: &str = "MOTO_BIN";
/// What is asked of pip.
const PACKAGE: &str = "moto[server]>=5,<6";
const PROGRAM: &str = "moto_server";

/// Finds or installs it; the error says plainly what stands in the way.
pub(crate) fn find(project: &Project) -> Result<Found, String> {
    if let Some(given) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return try_out(Path::new(&given)).map_err(|error| format!("{VARIABLE}: {error}"));
    }
    if let Some(moto) = on_path().and_then(|path| try_out(&path).ok()) {
        return Ok(moto);
    }
    let kept = project.fetched.join("moto-5");
    let program = kept.join("bin").join(PROGRAM);
    try_out(&program).or_else(|_| {
        install(&kept).map_err(|error| format!("{error}; set {VARIABLE}, or put `{PROGRAM}` in PATH"))?;
        try_out(&program)
    })
}

/// `cargo xtask moto`: the path alone, so that `MOTO_BIN=$(cargo xtask moto) cargo test ...` runs one test.
pub(crate) fn path(project: &Project) -> Outcome {
    match find(project) {
        Ok(moto) => Outcome::Passed(moto.path.display().to_string()),
        Err(reason) => Outcome::failed(reason),
    }
}

/// An environment names its own folder in its programs, so it is made where it stays; one that was left half made is made anew.
fn install(kept: &Path) -> Result<(), String> {
    let say = |error: std::io::Error| format!("{}: {error}", kept.display());
    if kept.exists() {
        fs::remove_dir_all(kept).map_err(say)?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(kept))?;
    run(Command::new(kept.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", PACKAGE]))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {last}")) }
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(PROGRAM)).find(|path| path.is_file())
}

fn try_out(path: &Path) -> Result<Found, String> {
    let output = Command::new(path).arg("--help").output().map_err(|error| format!("{}: {error}", path.display()))?;
    if String::from_utf8_lossy(&output.stdout).starts_with("usage: moto_server") {
        return Ok(Found { path: path.to_owned(), version: "moto".to_owned() });
    }
    Err(format!("{} does not call itself {PROGRAM}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_not_taken_for_the_server() {
        assert!(try_out(Path::new("/bin/true")).unwrap_err().contains("does not call itself"));
        assert!(try_out(Path::new("/nowhere/server")).is_err());
    }
}
