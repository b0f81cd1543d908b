//! Ends that no restart mends.

use crate::{
    guide,
    node::{self, unharmed},
    systemd::{self, AGENT, show},
    tool::{ensure, run, stays, wait},
};

/// A second agent for the folder of the first.
const SECOND: &str = "second-agent";

/// The agent's unit has failed by this code, and stays so.
fn has_failed(code: &str) -> Result<String, String> {
    wait(60, || {
        let state = show(AGENT, "ActiveState")?;
        ensure(state == "failed", || format!("the unit is {state}"))
    })?;
    stays(5, || {
        let (state, status, restarts) =
            (show(AGENT, "ActiveState")?, show(AGENT, "ExecMainStatus")?, show(AGENT, "NRestarts")?);
        ensure(state == "failed" && status == code && restarts == "0", || {
            format!("the unit is {state}, with the exit code {status}, after {restarts} restarts")
        })
    })?;
    Ok(format!("failed with exit code {code}, and not one restart"))
}

/// Starts an agent that cannot be, and looks at what becomes of its unit.
fn started(code: &str) -> Result<String, String> {
    let started = systemd::agent("start");
    ensure(started.is_err(), || "systemctl start succeeded".to_owned())?;
    has_failed(code)
}

/// Exit code 2.
pub(super) fn command_line() -> Result<String, String> {
    let (before, unit) = (node::keepers()?, node::agents_unit()?);
    let command = guide::value(&unit, "ExecStart")?;
    systemd::agent("stop")?;
    let seen =
        systemd::with(&format!("[Service]\nExecStart=\nExecStart={command} --no-such-option\n"), || started("2"));
    back(&before, seen)
}

/// Exit code 7.
pub(super) fn owned() -> Result<String, String> {
    let before = node::keepers()?;
    systemd::agent("stop")?;
    let second = format!("--unit={SECOND}");
    run("systemd-run", &["--quiet", &second, "-p", "Type=notify", "-p", "KillMode=process", node::HELIUM, "agent"])?;
    let seen = started("7");
    run("systemctl", &["stop", SECOND])?;
    back(&before, seen)
}

/// Starts the agent as it should be.
fn back(before: &[u32], seen: Result<String, String>) -> Result<String, String> {
    systemd::agent("start")?;
    node::joined()?;
    unharmed(before)?;
    seen
}
