//! The servers that tests run against: named by a variable, or in PATH, or out of Debian's package.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{apt, project::Project, step::Outcome};

/// A server that can be had as one program.
#[derive(Debug)]
pub(crate) struct Server {
    /// The name of the program, and of its package.
    program: &'static str,
    /// The Debian release that it is taken from.
    suite: &'static str,
    /// The variable by which it is named, to us and to the tests.
    pub(crate) variable: &'static str,
    /// How it is asked for its version, and how its answer begins.
    asked: &'static str,
    says: &'static str,
}

/// The Consul of this release is 1.8, the floor of what Helium supports.
pub(crate) const CONSUL: Server =
    Server { program: "consul", suite: "bullseye", variable: "CONSUL_BIN", asked: "version", says: "Consul " };

/// The Prometheus of this release finds its targets in Consul; the package of the release after it was built without that.
pub(crate) const PROMETHEUS: Server = Server {
    program: "prometheus",
    suite: "bullseye",
    variable: "PROMETHEUS_BIN",
    asked: "--version",
    says: "prometheus, version ",
};

/// A program that runs.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it calls itself, as `Consul v1.8.7`.
    pub(crate) version: String,
}

impl Server {
    /// Finds or fetches it; the error says plainly what stands in the way.
    pub(crate) fn find(&self, project: &Project) -> Result<Found, String> {
        let Self { program, suite, variable, .. } = self;
        if let Some(given) = env::var_os(variable).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(given);
            return self.try_out(&path).map_err(|error| format!("{variable}: {error}"));
        }
        if let Some(found) = on_path(program).and_then(|path| self.try_out(&path).ok()) {
            return Ok(found);
        }
        let kept = project.fetched.join(format!("{program}-{suite}"));
        if let Ok(found) = self.try_out(&kept) {
            return Ok(found);
        }
        let advice = |error| format!("{error}; set {variable}, or put `{program}` in PATH");
        self.fetch(project, &kept).map_err(advice)
    }

    /// `cargo xtask consul`, `cargo xtask prometheus`: the path alone, so that `CONSUL_BIN=$(cargo xtask consul) cargo test ...` runs one test.
    pub(crate) fn path(&self, project: &Project) -> Outcome {
        match self.find(project) {
            Ok(found) => Outcome::Passed(found.path.display().to_string()),
            Err(reason) => Outcome::failed(reason),
        }
    }

    /// Fetches into a folder of this run only, and moves the program to its place when it is whole: two runs may do this at once.
    fn fetch(&self, project: &Project, kept: &Path) -> Result<Found, String> {
        let work = project.fetched.join(format!("unpacking-{}-{}", self.program, std::process::id()));
        fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
        let fetched = apt::unpack(&[self.program], self.suite, &work).and_then(|unpacked| {
            let program = unpacked.join("usr/bin").join(self.program);
            self.try_out(&program)?;
            fs::rename(&program, kept).map_err(|error| format!("{}: {error}", kept.display()))
        });
        let removed = fs::remove_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()));
        fetched.and(removed)?;
        self.try_out(kept)
    }

    fn try_out(&self, path: &Path) -> Result<Found, String> {
        let output = Command::new(path).arg(self.asked).output();
        let output = output.map_err(|error| format!("{}: {error}", path.display()))?;
        // Prometheus told its version as an error once.
        let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
        let said = String::from_utf8_lossy(&said);
        match said.lines().next() {
            Some(line) if line.starts_with(self.says) => Ok(Found { path: path.to_owned(), version: short(line) }),
            _ => Err(format!("{} does not call itself {}", path.display(), self.says.trim_end())),
        }
    }
}

/// What a person reads of a version: `prometheus, version 2.24.1 (branch: ...)` without what is in brackets.
fn short(line: &str) -> String {
    line.split(" (").next().unwrap_or(line).to_owned()
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_not_taken_for_the_server() {
        for server in [CONSUL, PROMETHEUS] {
            assert!(server.try_out(Path::new("/bin/true")).unwrap_err().contains("does not call itself"));
            assert!(server.try_out(Path::new("/nowhere/server")).is_err());
        }
    }

    #[test]
    fn a_version_is_told_without_its_branch() {
        assert_eq!(short("prometheus, version 2.24.1+ds (branch: debian/sid)"), "prometheus, version 2.24.1+ds");
        assert_eq!(short("Consul v1.8.7"), "Consul v1.8.7");
    }
}
