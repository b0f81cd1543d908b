//! The memory of a build of the agent alone, which `HELIUM_AGENT_BIN` names: the same three things that the whole program is measured by.
//! The whole program applies what is to run, and leads; what it keeps in Consul for this lies apart from what else is measured.

use std::{env, fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command, time::Duration};

use helium_e2e::{Daemon, Helium, wait::pause};

use super::{
    Outcome,
    desk::{Desk, KEYS, key},
    looks::Memory,
};

/// The longest that anything may take.
const LIMIT: Duration = Duration::from_mins(2);
/// How often a key is written before the memory of what follows it is looked at.
const WRITES: usize = 100;
/// How long each of them has to arrive.
const SPACE: Duration = Duration::from_millis(60);
/// How long what runs is let alone before its memory is looked at.
const REST: Duration = Duration::from_secs(5);
/// Where Helium keeps what this measures, and the name of what runs.
const ROOT: &str = "small/v1/";
const NAME: &str = "small";

/// What a program has in memory.
pub(super) struct Small {
    /// `helium render` of all keys, after as many renders as there were writes.
    pub(super) render: Memory,
    /// `helium agent --containerpilot` with one service: both of its processes.
    pub(super) pilot: Memory,
    /// `helium agent` with one instance whose template names all keys.
    pub(super) node: Memory,
}

/// The build of the agent alone, if it is given.
pub(super) fn binary() -> Option<PathBuf> {
    env::var_os("HELIUM_AGENT_BIN").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Measures a program.
pub(super) fn measure(desk: &Desk, program: &PathBuf) -> Outcome<Small> {
    Ok(Small { render: render(desk, program)?, pilot: pilot(desk, program)?, node: node(desk, program)? })
}

/// One of its commands, in the environment that all others have.
fn command(desk: &Desk, program: &PathBuf, arguments: &[&str]) -> Command {
    let usual = desk.helium.command(&[]);
    let mut command = Command::new(program);
    command.args(arguments).current_dir(desk.helium.folder());
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

fn start(desk: &Desk, program: &PathBuf, arguments: &[&str]) -> Daemon {
    Daemon::start(NAME, &mut command(desk, program, arguments), desk.helium.folder())
}

fn names() -> String {
    let line = |number| format!("{{{{ key(path=\"{}\") }}}}\n", key(number));
    (0..KEYS).map(line).collect::<Vec<_>>().concat()
}

fn render(desk: &Desk, program: &PathBuf) -> Outcome<Memory> {
    let template = desk.helium.write("small.tera", &names());
    let file = desk.path("small-file");
    let daemon = start(desk, program, &["render", "-t", &format!("{template}:{}", file.display()), "--wait", "0s"]);
    desk.until("the small program renders", LIMIT, || file.exists().then_some(()))?;
    for number in 0..WRITES {
        desk.write(&format!("small {number}"))?;
        pause(SPACE);
    }
    desk.shows(&file, &format!("small {}", WRITES - 1))?;
    pause(REST);
    Ok(Memory::of(&[daemon.pid()]))
}

fn pilot(desk: &Desk, program: &PathBuf) -> Outcome<Memory> {
    let text = format!(
        "{{ consul: '{}', stopTimeout: 5, control: {{ socket: '{}/small.socket' }},
           jobs: [{{ name: '{NAME}-app', exec: ['sleep', '600'], port: 8000, interfaces: ['static:127.0.0.1'],
                     health: {{ exec: ['true'], interval: 1, ttl: 5 }} }}] }}",
        desk.consul.address(),
        desk.helium.folder().display(),
    );
    let daemon = start(desk, program, &["agent", "--containerpilot", &desk.helium.write("small.json5", &text)]);
    desk.wait_for(super::services::until_status(&desk.client, "small-app", consul_client::CheckStatus::Passing))?;
    pause(REST);
    Ok(Memory::of(&super::services::own(&daemon)))
}

fn node(desk: &Desk, program: &PathBuf) -> Outcome<Memory> {
    let controller =
        desk.helium.start("small-controller", &["controller", "--root", ROOT, "--http-addr", "127.0.0.1:0"]);
    let data = desk.path("small-node").display().to_string();
    let packages = desk.path("small-packages").display().to_string();
    let flags = ["--node", NAME, "--root", ROOT, "--data-dir", &data, "--package-dir", &packages, "--stop-instances"];
    let mut agent = start(desk, program, &[&["agent"], &flags[..]].concat());
    let manifest = desk.helium.write("small.yaml", &deployment(&package(desk)?));
    desk.helium.run_for(LIMIT, &["apply", "--root", ROOT, "-f", &manifest, "--wait"]).ok();
    pause(REST);
    let memory = Memory::of(&[agent.pid()]);
    agent.terminate(LIMIT);
    drop(controller);
    Ok(memory)
}

/// A package in a folder, and where that is. Its server is the whole program's, since the small one has none.
fn package(desk: &Desk) -> Outcome<String> {
    let folder = desk.path("small-package");
    for name in ["bin", "conf", "helium"] {
        fs::create_dir_all(folder.join(name))?;
    }
    fs::write(folder.join("helium/package.yaml"), format!("name: {NAME}\n"))?;
    fs::write(folder.join("conf/keys.tera"), names())?;
    let server = folder.join("bin/server");
    fs::write(&server, format!("#!/bin/sh\nexec {} sample --port \"$PORT\"\n", Helium::binary().display()))?;
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755))?;
    Ok(folder.display().to_string())
}

fn deployment(package: &str) -> String {
    format!(
        r#"apiVersion: helium.dev/v1
kind: Deployment
metadata: {{name: {NAME}}}
spec:
  replicas: 1
  minHealthyTime: 1s
  template:
    version: "1"
    package: {{url: "file://{package}"}}
    exec: {{command: ["${{HELIUM_PACKAGE}}/bin/server"]}}
    ports: [{{name: http}}]
    checks: [{{name: up, http: {{path: /health}}, interval: 1s, timeout: 1s}}]
"#
    )
}
