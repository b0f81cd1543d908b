//! systemd, as it is asked and told by `systemctl`.

use crate::tool::{read, run, wait, write};

/// The agent's unit.
pub(crate) const AGENT: &str = "helium-agent.service";
/// Where units are put.
const UNITS: &str = "/etc/systemd/system";
/// The drop-in that a check tries something by.
const TRIED: &str = "tried.conf";

/// Puts a unit in place and has systemd read it.
pub(crate) fn install(name: &str, text: &str) -> Result<(), String> {
    write(&format!("{UNITS}/{name}"), text)?;
    reload()
}

/// Has systemd read the units.
pub(crate) fn reload() -> Result<(), String> {
    run("systemctl", &["daemon-reload"]).map(drop)
}

/// Adds to the agent's unit while `work` is done.
pub(crate) fn with<T>(lines: &str, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let folder = format!("{UNITS}/{AGENT}.d");
    write(&format!("{folder}/{TRIED}"), lines)?;
    reload()?;
    let done = work();
    run("rm", &[&format!("{folder}/{TRIED}")])?;
    reload()?;
    done
}

/// A property of a unit.
pub(crate) fn show(unit: &str, property: &str) -> Result<String, String> {
    run("systemctl", &["show", "--value", "-p", property, unit])
}

/// The agent's process.
pub(crate) fn main_pid() -> Result<u32, String> {
    let pid = show(AGENT, "MainPID")?;
    pid.parse().ok().filter(|pid| *pid != 0).ok_or_else(|| "the agent's unit has no process".to_owned())
}

/// Waits until the agent is ready in another process than `old`.
pub(crate) fn wait_for_another(old: u32, limit: u64) -> Result<u32, String> {
    wait(limit, || {
        let (pid, state) = (main_pid()?, show(AGENT, "ActiveState")?);
        if pid == old || state != "active" {
            return Err(format!("the agent's process is {pid}, was {old}, and its unit is {state}"));
        }
        Ok(pid)
    })
}

/// `systemctl` with the agent's unit.
pub(crate) fn agent(verb: &str) -> Result<String, String> {
    run("systemctl", &[verb, AGENT])
}

/// The number in systemd's version.
pub(crate) fn version() -> Result<u32, String> {
    let said = run("systemctl", &["--version"])?;
    let number = said.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    number.ok_or_else(|| format!("systemctl calls itself {said}"))
}

/// What the journal has of a unit since a cursor.
pub(crate) fn journal(arguments: &[&str]) -> Result<String, String> {
    run("journalctl", &[&["--no-pager", "-o", "cat"], arguments].concat())
}

/// Where the journal ends now.
pub(crate) fn cursor() -> Result<String, String> {
    run("journalctl", &["--sync"])?;
    let said = run("journalctl", &["-n", "1", "--show-cursor", "-o", "cat"])?;
    let cursor = said.lines().find_map(|line| line.strip_prefix("-- cursor: "));
    cursor.map(str::to_owned).ok_or_else(|| "the journal has no end".to_owned())
}

/// What tells one start of the machine from another.
pub(crate) fn boot() -> Result<String, String> {
    read("/proc/sys/kernel/random/boot_id")
}
