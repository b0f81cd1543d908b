//! `cargo xtask bench converge [DEPLOYMENTS [REPLICAS [NODES]]]`, `cargo xtask bench react [ROUNDS]` and `cargo xtask bench agent [SECONDS] [PART...]`: the
//! benchmarks of helium-bench, on what is handed out: builds of the profile `dist`.

use std::process::Command;

use crate::{
    project::Project,
    servers::CONSUL,
    step::{self, Outcome},
};

/// Builds what is measured and what measures, and runs it.
pub(crate) fn run(project: &Project, arguments: &[&str]) -> Outcome {
    let consul = match CONSUL.find(project) {
        Ok(consul) => consul,
        Err(reason) => return Outcome::failed(reason),
    };
    for package in ["helium", "helium-bench"] {
        let build = step::command(project.cargo(&["build", "--profile", "dist", "--package", package]));
        if !matches!(build, Outcome::Passed(_)) {
            return build;
        }
    }
    // Beside it the build of the agent alone, whose memory is measured too.
    let small = (arguments.first() == Some(&"agent")).then(|| project.target.join("agent/helium"));
    if small.is_some() {
        let words = ["build", "--profile", "agent", "--package", "helium", "--no-default-features"];
        let build = step::command(project.cargo(&words));
        if !matches!(build, Outcome::Passed(_)) {
            return build;
        }
    }
    let binary = |name: &str| project.target.join("dist").join(name);
    let mut bench = Command::new(binary("helium-bench"));
    bench.args(arguments).env("HELIUM_BIN", binary("helium")).env("CONSUL_BIN", consul.path);
    bench.envs(small.map(|path| ("HELIUM_AGENT_BIN", path)));
    step::command(bench)
}
