//! `cargo xtask test`: everything that has to hold, in steps.

use std::{
    env, fs, io,
    path::PathBuf,
    process::{Command, ExitCode},
};

use crate::{
    project::Project,
    servers::{CONSUL, Found, PROMETHEUS, Server},
    step::{self, Outcome, Steps},
    tidy,
};

/// Many tests wait for real processes and servers, so more of them run at once than a small machine has cores.
const TESTS_AT_ONCE: &str = "4";

/// How many worlds are simulated: what fits into a few minutes of a small machine, and into a short break.
const SEEDS: &str = "100";
const QUICK_SEEDS: &str = "2";
/// How many random histories of a Deployment the planner is tried on; a plain `cargo test` tries 64.
const WORLDS: &str = "2000";

/// What is to be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Leave out what takes minutes: end-to-end stories, the simulator's own tests, documentation.
    quick: bool,
    /// Pass although no Consul is to be had; what needs one is named as not run.
    without_consul: bool,
    /// The same of Prometheus.
    without_prometheus: bool,
}

impl Choice {
    /// Reads the flags; the error is the one that means nothing.
    pub(crate) fn parse(flags: &[&str]) -> Result<Self, String> {
        let mut choice = Self::default();
        for flag in flags {
            match *flag {
                "--quick" => choice.quick = true,
                "--without-consul" => choice.without_consul = true,
                "--without-prometheus" => choice.without_prometheus = true,
                unknown => return Err(unknown.to_owned()),
            }
        }
        Ok(choice)
    }
}

/// Runs the steps, cheap ones first, and ends with one line for all.
pub(crate) fn run(project: &Project, choice: Choice) -> ExitCode {
    step::say(&format!("compiled artefacts: {}", project.target.display()));
    let mut steps = Steps::default();
    let mut consul = None;
    steps.run("consul", || search(project, &CONSUL, &mut consul, choice.without_consul));
    let mut prometheus = None;
    if !choice.quick {
        steps.run("prometheus", || search(project, &PROMETHEUS, &mut prometheus, choice.without_prometheus));
    }
    steps.run("rustfmt", || step::command(project.cargo(&["fmt", "--all", "--", "--check"])));
    steps.run("tidy", || tidy::run(project));
    steps.run("clippy", || step::command(clippy(project)));
    if !choice.quick {
        steps.run("deny", || deny(project));
        steps.run("advisories", || advisories(project));
        steps.run("doc", || step::command(doc(project)));
    }
    steps.run("unit tests", || step::tests(equipped(unit_tests(project), consul.as_ref())));
    if !choice.quick {
        steps.run("random worlds", || step::tests(random_worlds(project)));
        steps.run("sim tests", || step::tests(equipped(sim_tests(project), None)));
        steps.run("crash points", || step::command(crash_points(project)));
    }
    let seeds = if choice.quick { QUICK_SEEDS } else { SEEDS };
    steps.run("sim seeds", || step::command(sim_seeds(project, seeds)));
    if !choice.quick {
        steps.run("end to end", || match &consul {
            Some(consul) => {
                let binaries = ["--lib", "--test", "parity", "--test", "stories"];
                end_to_end(project, consul, &binaries, prometheus.as_ref())
            }
            None => Outcome::NotRun("there is no Consul".to_owned()),
        });
        steps.run("metrics", || match (&consul, &prometheus) {
            (Some(consul), Some(prometheus)) => end_to_end(project, consul, &["--test", "metrics"], Some(prometheus)),
            _ => Outcome::NotRun("there is no Consul, or no Prometheus".to_owned()),
        });
    }
    steps.finish(if choice.quick { "xtask test --quick" } else { "xtask test" })
}

/// Finds a server for the steps that need one.
fn search(project: &Project, server: &Server, found: &mut Option<Found>, may_lack: bool) -> Outcome {
    match server.find(project) {
        Ok(server) => {
            let words = format!("{} ({})", server.version, server.path.display());
            *found = Some(server);
            Outcome::Passed(words)
        }
        Err(reason) if may_lack => Outcome::NotRun(reason),
        Err(reason) => {
            let name = server.variable.trim_end_matches("_BIN").to_ascii_lowercase();
            Outcome::failed(format!("{reason}; or leave out what needs it by --without-{name}"))
        }
    }
}

fn clippy(project: &Project) -> Command {
    let features = ["--features", "xtask/schemas"];
    let mut cargo = project.cargo(&["clippy", "--workspace", "--all-targets", "--keep-going"]);
    cargo.args(features).args(["--", "-D", "warnings"]);
    cargo
}

fn doc(project: &Project) -> Command {
    let mut cargo = project.cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    // The pages are for whoever works on Helium, so private items are in them and may be linked to.
    cargo.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links");
    cargo
}

/// Licences, duplicate versions and sources. cargo-deny takes minutes to compile, so it is run where it is installed and named where it is not.
fn deny(project: &Project) -> Outcome {
    if has(project, &["deny", "--version"]) {
        step::command(project.cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]))
    } else {
        Outcome::NotRun("cargo-deny is not installed (`cargo install cargo-deny`)".to_owned())
    }
}

/// Known faults of what Helium is built on.
fn advisories(project: &Project) -> Outcome {
    if has(project, &["deny", "fetch", "db"]) {
        step::command(project.cargo(&["deny", "--log-level", "error", "check", "advisories"]))
    } else {
        Outcome::NotRun("no cargo-deny, or its database cannot be fetched".to_owned())
    }
}

/// Whether a cargo command succeeds; what it says is not shown.
fn has(project: &Project, arguments: &[&str]) -> bool {
    project.cargo(arguments).output().is_ok_and(|output| output.status.success())
}

/// All tests beside the code, the integration tests of each crate, and the examples in the documentation.
fn unit_tests(project: &Project) -> Command {
    let mut cargo = project.cargo(&["test", "--workspace", "--features", "xtask/schemas", "--no-fail-fast"]);
    cargo.args(["--exclude", "helium-e2e", "--exclude", "helium-sim"]);
    cargo
}

/// The planner's property again, on so many more worlds than each test run has time for.
fn random_worlds(project: &Project) -> Command {
    let mut cargo = project.cargo(&["test", "--profile", "sim", "--package", "helium-planner", "--test", "it"]);
    cargo.args(["--", "whatever_happens"]).env("PROPTEST_CASES", WORLDS);
    cargo
}

/// Stories with their outcome, and planted defects that must be caught.
fn sim_tests(project: &Project) -> Command {
    project.cargo(&["test", "--profile", "sim", "--package", "helium-sim", "--no-fail-fast"])
}

/// Whole worlds from seeds: faults, checkers, and first the seeds that once found something.
fn sim_seeds(project: &Project, seeds: &str) -> Command {
    project.cargo(&["run", "--quiet", "--profile", "sim", "--package", "helium-sim", "--", "--seeds", seeds])
}

/// Every story again and again, with a crash of a controller in each state of the store in which it can die.
fn crash_points(project: &Project) -> Command {
    let stories = project.root.join("controller/sim/stories");
    let mut cargo =
        project.cargo(&["run", "--quiet", "--profile", "sim", "--package", "helium-sim", "--", "--exhaust"]);
    cargo.arg(stories);
    cargo
}

/// Runs some of the test binaries that need the built binary and real servers.
fn end_to_end(project: &Project, consul: &Found, binaries: &[&str], prometheus: Option<&Found>) -> Outcome {
    let build = step::command(project.cargo(&["build", "--package", "helium"]));
    if !matches!(build, Outcome::Passed(_)) {
        return build;
    }
    let binary = match keep_binary(project) {
        Ok(binary) => binary,
        Err(error) => return Outcome::failed(format!("the built binary: {error}")),
    };
    let mut cargo = equipped(project.cargo(&["test", "--package", "helium-e2e", "--no-fail-fast"]), Some(consul));
    cargo.args(binaries).env("HELIUM_BIN", binary);
    cargo.envs(prometheus.map(|found| (PROMETHEUS.variable, &found.path)));
    step::tests(cargo)
}

/// Copies the binary into the tree: another clone that shares the target folder may build its own over it while the tests run.
fn keep_binary(project: &Project) -> io::Result<PathBuf> {
    let folder = project.root.join("target/e2e");
    fs::create_dir_all(&folder)?;
    let (kept, new) = (folder.join("helium"), folder.join("helium.new"));
    fs::copy(project.target.join("debug/helium"), &new)?;
    // A running program cannot be written to; a rename leaves it as it is.
    fs::rename(&new, &kept)?;
    Ok(kept)
}

/// What tests are told by the environment: where Consul is, and how many may run at once.
fn equipped(mut command: Command, consul: Option<&Found>) -> Command {
    match consul {
        Some(consul) => command.env(CONSUL.variable, &consul.path),
        None => command.env_remove(CONSUL.variable),
    };
    if env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", TESTS_AT_ONCE);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_known_or_named() {
        assert_eq!(Choice::parse(&[]), Ok(Choice::default()));
        assert_eq!(Choice::parse(&["--quick"]), Ok(Choice { quick: true, ..Choice::default() }));
        assert_eq!(Choice::parse(&["--quick", "--fast"]), Err("--fast".to_owned()));
    }
}
