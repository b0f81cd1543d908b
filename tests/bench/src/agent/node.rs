//! A node of Helium: one instance of a package whose template names a thousand keys.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use helium_e2e::{Daemon, process, wait::pause};

use super::{
    Outcome,
    desk::{Desk, FOLDER, KEYS, key},
    looks::Memory,
    program::{Program, Shape},
    services::away,
};
use crate::controller::Controller;

/// The name of the service.
pub(super) const SERVICE: &str = "web";
/// The longest that a rollout may take.
const ROLLOUT: Duration = Duration::from_mins(2);
/// How long what runs is let alone before its memory is looked at.
const REST: Duration = Duration::from_secs(5);

/// What it came to.
pub(super) struct Node {
    /// Of the agent alone.
    pub(super) memory: Memory,
    /// From a deregistration by hand to the registration.
    pub(super) back: Duration,
    /// How many connections to Consul the agent has.
    pub(super) sockets: f64,
}

/// Starts a controller, an agent, and an instance that it runs, and returns when the instance is healthy.
pub(super) fn start(desk: &Desk) -> Outcome<(Controller, Daemon)> {
    let controller = Controller::start(&desk.consul);
    let data = desk.path("node").display().to_string();
    let packages = desk.path("packages").display().to_string();
    let flags = ["--node", "bench-node", "--data-dir", &data, "--package-dir", &packages, "--stop-instances"];
    let agent = desk.helium.start("agent", &[&["agent"], &flags[..]].concat());
    let manifest = desk.helium.write("app.yaml", &deployment(&package(desk)?));
    desk.helium.run_for(ROLLOUT, &["apply", "-f", &manifest, "--wait"]).ok();
    Ok((controller, agent))
}

/// Where each start of the instance's process is noted.
pub(super) fn starts(desk: &Desk) -> PathBuf {
    desk.path("web-starts")
}

/// Measures.
pub(super) fn measure(desk: &Desk) -> Outcome<Node> {
    let (controller, mut agent) = start(desk)?;
    pause(REST);
    let memory = Memory::of(&[agent.pid()]);
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let sockets = process::sockets_to(agent.pid(), desk.consul.port()) as f64;
    let back = away(desk, SERVICE)?;
    agent.terminate(ROLLOUT);
    drop(controller);
    Ok(Node { memory, back, sockets })
}

/// A package in a folder, and where that is.
fn package(desk: &Desk) -> Outcome<String> {
    let folder = desk.path("web");
    for name in ["bin", "conf", "helium"] {
        fs::create_dir_all(folder.join(name))?;
    }
    fs::write(folder.join("helium/package.yaml"), "name: web\n")?;
    fs::write(folder.join("conf/keys.tera"), Program::Helium.template(Shape::Names, (0..KEYS).map(key), FOLDER))?;
    let program = folder.join("bin/web");
    let run = "exec \"$HELIUM_BIN\" sample --port \"$PORT\"";
    fs::write(&program, format!("#!/bin/sh\necho $$ >> {}\n{run}\n", starts(desk).display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(folder.display().to_string())
}

fn deployment(package: &str) -> String {
    format!(
        r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 1
  minHealthyTime: 1s
  template:
    version: "1"
    package: {{url: "file://{package}"}}
    exec: {{command: ["${{HELIUM_PACKAGE}}/bin/web"]}}
    ports: [{{name: http}}]
    checks: [{{name: up, http: {{path: /health}}, interval: 1s, timeout: 1s}}]
"#
    )
}
