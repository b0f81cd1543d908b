//! Keys as the variables of a child: how soon it runs, how soon it runs anew, and what that takes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use consul_client::Put;
use helium_e2e::{Daemon, process, wait::pause};

use super::{
    Outcome,
    desk::{Desk, LIMIT},
    looks::Memory,
    program::Program,
};
use crate::react::percentile;

/// How many variables there are.
pub(super) const VARIABLES: usize = 10;
/// The folder that they lie in.
const FOLDER: &str = "bench/variables";
/// How often a child is started first, and how often it is started anew.
const FIRSTS: usize = 20;
const ANEW: usize = 40;
/// How long what runs is let alone before the next change, and before its memory is looked at.
const PARK: Duration = Duration::from_millis(60);
const REST: Duration = Duration::from_secs(3);

/// What a program came to.
pub(super) struct Variables {
    /// From the start of the process to the child, the half of them.
    pub(super) first: Option<Duration>,
    /// From the start of a write to the next child, the half of them.
    pub(super) anew: Option<Duration>,
    /// After all those writes, without the child.
    pub(super) memory: Memory,
}

/// Measures.
pub(super) fn measure(desk: &Desk, program: &Program) -> Outcome<Variables> {
    for number in 1..VARIABLES {
        write(desk, number, "as ever")?;
    }
    let first = program.figure("first child", || firsts(desk, program))?;
    let log = log(desk, program);
    let daemon = start(desk, program)?;
    let anew = program.figure("next child", || again(desk, &log))?;
    pause(REST);
    let memory = Memory::of(&[daemon.pid()]);
    end(desk, daemon)?;
    Ok(Variables { first, anew, memory })
}

/// Writes a variable.
pub(super) fn write(desk: &Desk, number: usize, value: &str) -> Outcome<()> {
    let key = format!("{FOLDER}/KEY_{number}");
    desk.wait_for(desk.client.kv_put(&key, value.to_owned(), &Put::default()))?;
    Ok(())
}

/// Where the children of a program note what they were given.
pub(super) fn log(desk: &Desk, program: &Program) -> PathBuf {
    desk.path(&format!("{}-children", program.name()))
}

/// The child notes one of its variables and then waits, for nothing.
fn command(desk: &Desk, program: &Program) -> Command {
    let child = format!("echo \"$KEY_0\" >> {}; exec sleep 3600", log(desk, program).display());
    match program {
        Program::Found { path, .. } => {
            let file = desk.helium.write("child.sh", &format!("#!/bin/sh\n{child}\n"));
            let mut command = Command::new(path);
            command.current_dir(desk.helium.folder()).arg("-consul-addr").arg(desk.consul.address());
            command.args(["-prefix", FOLDER, "-kill-signal", "SIGTERM", "sh", &file]);
            command
        }
        _ => desk.helium.command(&["env", "--prefix", FOLDER, "--wait", "0s", "--", "sh", "-c", &child]),
    }
}

/// Starts it with a value that was not there before, and returns when its child runs.
pub(super) fn start(desk: &Desk, program: &Program) -> Outcome<Daemon> {
    let log = log(desk, program);
    fs::write(&log, "")?;
    write(desk, 0, "first")?;
    let mut command = command(desk, program);
    let daemon = Daemon::start(program.name(), &mut command, desk.helium.folder());
    noted(desk, &log, "first")?;
    Ok(daemon)
}

/// Waits until the last of the children was given this value.
fn noted(desk: &Desk, log: &Path, value: &str) -> Outcome<()> {
    desk.until("a child notes its variable", LIMIT, || has_noted(log, value).then_some(()))
}

/// Whether it was.
pub(super) fn has_noted(log: &Path, value: &str) -> bool {
    fs::read_to_string(log).is_ok_and(|text| text.lines().last() == Some(value))
}

fn firsts(desk: &Desk, program: &Program) -> Outcome<Duration> {
    let mut times = Vec::new();
    for _ in 0..FIRSTS {
        let begun = desk.now();
        let daemon = start(desk, program)?;
        times.push(desk.since(begun));
        end(desk, daemon)?;
    }
    times.sort_unstable();
    Ok(percentile(&times, 50))
}

fn again(desk: &Desk, log: &Path) -> Outcome<Duration> {
    let mut times = Vec::new();
    for number in 0..ANEW {
        pause(PARK);
        let value = format!("again {number}");
        let begun = desk.now();
        write(desk, 0, &value)?;
        noted(desk, log, &value)?;
        times.push(desk.since(begun));
    }
    times.sort_unstable();
    Ok(percentile(&times, 50))
}

/// Ends it with all its children.
fn end(desk: &Desk, mut daemon: Daemon) -> Outcome<()> {
    let children = process::children(daemon.pid());
    daemon.terminate(LIMIT);
    desk.until("the children have ended", LIMIT, || {
        children.iter().all(|child| !process::is_alive(*child)).then_some(())
    })
}
