//! `cargo xtask test`: everything that has to hold, in steps.

use std::{
    env, fs, io,
    path::PathBuf,
    process::{Command, ExitCode},
};

use crate::{
    moto, nix,
    project::Project,
    servers::{CONSUL, Found, PROMETHEUS},
    step::{self, Outcome, Steps},
    tidy,
    wrapped::{HAPROXY, NGINX},
};

/// Many tests wait for real processes and servers, so more of them run at once than a small machine has cores.
const TESTS_AT_ONCE: &str = "4";

/// How many worlds are simulated: what fits into a few minutes of a small machine, and into a short break.
const SEEDS: &str = "100";
const QUICK_SEEDS: &str = "2";
/// How many random histories of a Deployment the planner is tried on; a plain `cargo test` tries 64.
const WORLDS: &str = "2000";

/// What is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Leave out what takes minutes: end-to-end stories, the simulator's own tests, documentation.
    quick: bool,
    /// The servers without which it passes, too; what needs one that is not to be had is named as not run.
    without: Vec<&'static str>,
}

/// The servers that tests run against.
const SERVERS: [&str; 6] = ["consul", "prometheus", "haproxy", "nginx", "moto", "nix"];

impl Choice {
    /// Reads the flags; the error is the one that means nothing.
    pub(crate) fn parse(flags: &[&str]) -> Result<Self, String> {
        let mut choice = Self::default();
        for flag in flags {
            let server = SERVERS.into_iter().find(|server| flag.strip_prefix("--without-") == Some(server));
            match (*flag, server) {
                ("--quick", _) => choice.quick = true,
                (_, Some(server)) => choice.without.push(server),
                (unknown, None) => return Err(unknown.to_owned()),
            }
        }
        Ok(choice)
    }
}

/// Runs the steps, cheap ones first, and ends with one line for all.
pub(crate) fn run(project: &Project, choice: &Choice) -> ExitCode {
    step::say(&format!("compiled artefacts: {}", project.target.display()));
    let mut steps = Steps::default();
    let mut rig = Rig::default();
    steps.run("consul", || search(CONSUL.find(project), "consul", &mut rig.consul, choice));
    steps.run("haproxy", || search(HAPROXY.find(project), "haproxy", &mut rig.haproxy, choice));
    if !choice.quick {
        steps.run("nginx", || search(NGINX.find(project), "nginx", &mut rig.nginx, choice));
        steps.run("moto", || search(moto::find(project), "moto", &mut rig.moto, choice));
        steps.run("nix", || search(nix::find(project), "nix", &mut rig.nix, choice));
        steps.run("prometheus", || search(PROMETHEUS.find(project), "prometheus", &mut rig.prometheus, choice));
    }
    steps.run("rustfmt", || step::command(project.cargo(&["fmt", "--all", "--", "--check"])));
    steps.run("tidy", || tidy::run(project));
    steps.run("clippy", || step::command(clippy(project)));
    steps.run("agent alone", || step::command(agent_alone(project)));
    if !choice.quick {
        steps.run("deny", || deny(project));
        steps.run("advisories", || advisories(project));
        steps.run("doc", || step::command(doc(project)));
    }
    steps.run("unit tests", || step::tests(rig.equip(unit_tests(project))));
    if !choice.quick {
        steps.run("tests of the agent alone", || step::tests(rig.equip(agent_alone_tests(project))));
        steps.run("random worlds", || step::tests(random_worlds(project)));
        steps.run("sim tests", || step::tests(Rig::default().equip(sim_tests(project))));
        steps.run("crash points", || step::command(crash_points(project)));
    }
    let seeds = if choice.quick { QUICK_SEEDS } else { SEEDS };
    steps.run("sim seeds", || step::command(sim_seeds(project, seeds)));
    if !choice.quick {
        steps.run("end to end", || match &rig.consul {
            Some(_) => end_to_end(project, &rig, &["--lib", "--test", "parity", "--test", "stories"]),
            None => Outcome::NotRun("there is no Consul".to_owned()),
        });
        steps.run("metrics", || match (&rig.consul, &rig.prometheus) {
            (Some(_), Some(_)) => end_to_end(project, &rig, &["--test", "metrics"]),
            _ => Outcome::NotRun("there is no Consul, or no Prometheus".to_owned()),
        });
    }
    steps.finish(if choice.quick { "xtask test --quick" } else { "xtask test" })
}

/// Notes a server for the steps that need one.
fn search(result: Result<Found, String>, name: &'static str, found: &mut Option<Found>, choice: &Choice) -> Outcome {
    match result {
        Ok(server) => {
            let words = format!("{} ({})", server.version, server.path.display());
            *found = Some(server);
            Outcome::Passed(words)
        }
        Err(reason) if choice.without.contains(&name) => Outcome::NotRun(reason),
        Err(reason) => Outcome::failed(format!("{reason}; or leave out what needs it by --without-{name}")),
    }
}

fn clippy(project: &Project) -> Command {
    let features = ["--features", "xtask/schemas"];
    let mut cargo = project.cargo(&["clippy", "--workspace", "--all-targets", "--keep-going"]);
    cargo.args(features).args(["--", "-D", "warnings"]);
    cargo
}

/// The build of the agent alone.
fn agent_alone(project: &Project) -> Command {
    let package = ["clippy", "--package", "helium", "--no-default-features", "--all-targets"];
    let mut cargo = project.cargo(&package);
    cargo.args(["--", "-D", "warnings"]);
    cargo
}

/// The tests of that build, some of which there are in no other.
fn agent_alone_tests(project: &Project) -> Command {
    project.cargo(&["test", "--package", "helium", "--no-default-features", "--no-fail-fast"])
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
fn end_to_end(project: &Project, rig: &Rig, binaries: &[&str]) -> Outcome {
    let build = step::command(project.cargo(&["build", "--package", "helium"]));
    if !matches!(build, Outcome::Passed(_)) {
        return build;
    }
    let binary = match keep_binary(project) {
        Ok(binary) => binary,
        Err(error) => return Outcome::failed(format!("the built binary: {error}")),
    };
    let mut cargo = project.cargo(&["test", "--package", "helium-e2e", "--no-fail-fast"]);
    cargo.args(binaries).env("HELIUM_BIN", binary);
    step::tests(rig.equip(cargo))
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

/// The servers that tests find by the environment.
#[derive(Clone, Debug, Default)]
struct Rig {
    consul: Option<Found>,
    prometheus: Option<Found>,
    haproxy: Option<Found>,
    nginx: Option<Found>,
    moto: Option<Found>,
    nix: Option<Found>,
}

impl Rig {
    /// Tells tests where the servers are, and how many may run at once. What needs a HAProxy, an nginx or a Nix that is not there is
    /// left out; it is in modules of these names.
    fn equip(&self, mut command: Command) -> Command {
        let servers = [
            (CONSUL.variable, &self.consul),
            (PROMETHEUS.variable, &self.prometheus),
            (HAPROXY.variable, &self.haproxy),
            (NGINX.variable, &self.nginx),
            (moto::VARIABLE, &self.moto),
            (nix::VARIABLE, &self.nix),
        ];
        for (variable, server) in servers {
            match server {
                Some(server) => command.env(variable, &server.path),
                None => command.env_remove(variable),
            };
        }
        if env::var_os("RUST_TEST_THREADS").is_none() {
            command.env("RUST_TEST_THREADS", TESTS_AT_ONCE);
        }
        let haproxy = ["--skip", "real_haproxy::", "--skip", "traffic::"];
        let nginx = ["--skip", "real_nginx::"];
        let left_out = [(&self.haproxy, &haproxy[..]), (&self.nginx, &nginx), (&self.nix, &["--skip", "real_nix::"])];
        let mut left_out = left_out.iter().filter(|(server, _)| server.is_none()).map(|(_, skip)| skip).peekable();
        if left_out.peek().is_some() {
            command.arg("--").args(left_out.copied().flatten());
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_known_or_named() {
        assert_eq!(Choice::parse(&[]), Ok(Choice::default()));
        assert_eq!(Choice::parse(&["--quick"]), Ok(Choice { quick: true, ..Choice::default() }));
        let without = |server| Ok(Choice { without: vec![server], ..Choice::default() });
        assert_eq!(Choice::parse(&["--without-haproxy"]), without("haproxy"));
        assert_eq!(Choice::parse(&["--without-nix"]), without("nix"));
        assert_eq!(Choice::parse(&["--without-apache"]), Err("--without-apache".to_owned()));
        assert_eq!(Choice::parse(&["--quick", "--fast"]), Err("--fast".to_owned()));
    }

    #[test]
    fn what_needs_a_server_that_is_not_there_is_left_out() {
        let found = || Some(Found { path: PathBuf::from("/bin"), version: String::new() });
        let arguments = |rig: &Rig| {
            let command = rig.equip(Command::new("cargo"));
            command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let none = "-- --skip real_haproxy:: --skip traffic:: --skip real_nginx:: --skip real_nix::";
        assert_eq!(arguments(&Rig::default()), none);
        assert_eq!(arguments(&Rig { haproxy: found(), nginx: found(), ..Rig::default() }), "-- --skip real_nix::");
        assert_eq!(arguments(&Rig { haproxy: found(), nginx: found(), nix: found(), ..Rig::default() }), "");
    }
}
