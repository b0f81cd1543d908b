//! The agent's unit: when it is ready, what it says, and what becomes of the instances whatever becomes of it.

use crate::{
    guide,
    node::{self, HELIUM, KEEPER, KEEPERS, keepers, unharmed},
    systemd::{self, AGENT, main_pid, show},
    tool::{ensure, get, processes, read, run, wait},
};

/// What kind of machine it is.
pub(super) fn machine() -> Result<String, String> {
    let kind = run("stat", &["-fc", "%T", "/sys/fs/cgroup"])?;
    ensure(kind == "cgroup2fs", || format!("/sys/fs/cgroup is {kind}"))?;
    let first = read("/proc/1/comm")?;
    ensure(first == "systemd", || format!("process 1 is {first}"))?;
    node::install()?;
    let kernel = run("uname", &["-r"])?;
    Ok(format!("systemd {}, Linux {kernel}", systemd::version()?))
}

/// Without Consul an agent takes a while to be ready: until it says so, its unit is being started.
pub(super) fn ready() -> Result<String, String> {
    run("systemctl", &["start", "--no-block", AGENT])?;
    let mut early = 0;
    wait(60, || {
        let state = show(AGENT, "ActiveState")?;
        let answer = get("/readyz");
        match (state.as_str(), &answer) {
            ("active", Ok((200, _))) => return Ok(Ok(())),
            ("active", other) => return Ok(Err(format!("the unit is active, and the agent says {other:?}"))),
            ("activating", Ok((503, _))) => early += 1,
            ("failed", _) => return Ok(Err("the unit has failed".to_owned())),
            _ => {}
        }
        Err(format!("the unit is {state}, and the agent says {answer:?}"))
    })??;
    ensure(early > 0, || "the agent was never seen before it was ready".to_owned())?;
    Ok(format!("{early} times it said that it is not ready, and was `activating`"))
}

/// The words of the agent are those of the unit.
pub(super) fn words() -> Result<String, String> {
    run("systemctl", &["start", "consul", "helium-controller"])?;
    let words = wait(60, || {
        let (_, words) = get("/readyz")?;
        ensure(words.starts_with("joined as machine") && words.ends_with("Consul answers"), || {
            format!("the agent says `{words}`")
        })?;
        let status = systemd::agent("status")?;
        ensure(status.contains(&format!("Status: \"{words}\"")), || format!("the agent says `{words}`: {status}"))?;
        Ok(words)
    })?;
    Ok(words)
}

/// Something to run.
pub(super) fn deployment() -> Result<String, String> {
    let command = format!("{:?}", KEEPER.split(' ').collect::<Vec<_>>());
    node::apply(&node::deployment("keeper", KEEPERS, &command, "memory: 64Mi, cpu: 0.5, processes: 20"))?;
    node::wait_for_processes(KEEPER, KEEPERS)?;
    wait(node::ROLLOUT, || {
        let told = run(HELIUM, &["get", "deployment", "keeper"])?;
        ensure(told.contains("Healthy"), || told.clone())
    })?;
    node::joined()
}

/// A process that stands still is killed and started again.
pub(super) fn watchdog() -> Result<String, String> {
    let (before, cursor, old) = (keepers()?, systemd::cursor()?, main_pid()?);
    run("kill", &["-STOP", &old.to_string()])?;
    let new = systemd::wait_for_another(old, 180)?;
    let journal = systemd::journal(&["-u", AGENT, "--after-cursor", &cursor])?;
    ensure(journal.contains("result 'watchdog'"), || format!("no word of the watchdog: {journal}"))?;
    node::joined()?;
    Ok(format!("{old} became {new}; {}", unharmed(&before)?))
}

/// A process that is killed is started again.
pub(super) fn killed() -> Result<String, String> {
    let (before, old) = (keepers()?, main_pid()?);
    run("kill", &["-KILL", &old.to_string()])?;
    let new = systemd::wait_for_another(old, 60)?;
    node::joined()?;
    Ok(format!("{old} became {new}; {}", unharmed(&before)?))
}

/// A restart is a stop and a start.
pub(super) fn restarted() -> Result<String, String> {
    let (before, old) = (keepers()?, main_pid()?);
    systemd::agent("restart")?;
    let new = systemd::wait_for_another(old, 60)?;
    node::joined()?;
    Ok(format!("{old} became {new}; {}", unharmed(&before)?))
}

/// Another program in the place of the old one, put there as one must: by a rename.
pub(super) fn replaced() -> Result<String, String> {
    let (before, old) = (keepers()?, main_pid()?);
    let next = format!("{HELIUM}.next");
    run("cp", &[HELIUM, &next])?;
    run("mv", &[&next, HELIUM])?;
    let runs = |pid: u32| run("readlink", &[&format!("/proc/{pid}/exe")]);
    let lost = runs(old)?;
    ensure(lost.ends_with("(deleted)"), || format!("the agent runs {lost}"))?;
    systemd::agent("restart")?;
    let new = systemd::wait_for_another(old, 60)?;
    let taken = runs(new)?;
    ensure(taken == HELIUM, || format!("the agent runs {taken}"))?;
    node::joined()?;
    Ok(format!("{old} became {new}; {}", unharmed(&before)?))
}

/// SIGHUP, as `ExecReload=` sends it; and where systemd knows it, `Type=notify-reload`, which waits for the words.
pub(super) fn reloaded() -> Result<String, String> {
    let (before, old, restarts) = (keepers()?, main_pid()?, show(AGENT, "NRestarts")?);
    let cursor = systemd::cursor()?;
    run("systemctl", &["log-level", "debug"])?;
    let reloaded = systemd::agent("reload");
    let told = wait(30, || {
        run("journalctl", &["--sync"])?;
        let journal = systemd::journal(&["--after-cursor", &cursor])?;
        let said = |word: &str| {
            let mut lines = journal.lines();
            lines.any(|line| line.contains(AGENT) && line.contains("Got notification message") && line.contains(word))
        };
        ensure(said("RELOADING=1") && said("READY=1"), || "systemd does not tell of RELOADING=1 and READY=1".to_owned())
    });
    run("systemctl", &["log-level", "info"])?;
    reloaded?;
    told?;
    wait(30, || {
        let state = show(AGENT, "ActiveState")?;
        ensure(state == "active", || format!("after a reload the unit is {state}"))
    })?;
    let mut words = "RELOADING and READY were told".to_owned();
    if systemd::version()? >= 253 {
        systemd::with("[Service]\nType=notify-reload\nExecReload=\n", || systemd::agent("reload"))?;
        words.push_str(", also to Type=notify-reload");
    }
    let (new, now) = (main_pid()?, show(AGENT, "NRestarts")?);
    ensure(new == old && now == restarts, || format!("{old} became {new}; {restarts} restarts became {now}"))?;
    Ok(format!("{words}; {}", unharmed(&before)?))
}

/// What `KillMode=process` is for.
pub(super) fn stopped() -> Result<String, String> {
    let before = keepers()?;
    systemd::agent("stop")?;
    ensure(main_pid().is_err(), || "the agent still runs".to_owned())?;
    let words = unharmed(&before)?;
    systemd::agent("start")?;
    node::joined()?;
    unharmed(&before)?;
    Ok(format!("{words}, and were adopted"))
}

/// The option under which a stop is a stop of all.
pub(super) fn stop_instances() -> Result<String, String> {
    let (before, unit) = (keepers()?, node::agents_unit()?);
    let command = guide::value(&unit, "ExecStart")?;
    systemd::with(&format!("[Service]\nExecStart=\nExecStart={command} --stop-instances\n"), || {
        systemd::agent("restart")?;
        node::joined()?;
        unharmed(&before)?;
        systemd::agent("stop")
    })?;
    let left = processes(KEEPER);
    ensure(left.is_empty(), || format!("the processes {left:?} are left"))?;
    systemd::agent("start")?;
    node::joined()?;
    let after = keepers()?;
    Ok(format!("{before:?} ended with the agent, and {after:?} began with the next"))
}
