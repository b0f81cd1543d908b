//! Which process is meant: a process id together with the instant it was started at, since the system uses ids again.
//!
//! On Linux the start is `<boot id>/<ticks since boot>` from `/proc`, which no two processes of one id share, across reboots
//! too. Elsewhere it is what `ps -o lstart=` prints, which is exact to the second: an id would have to come round within one.

use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process, test_kill_process_group};
use serde::{Deserialize, Serialize};

/// One process, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessIdentity {
    /// The process id, which is the id of its process group too.
    pub pid: u32,
    /// When it was started, in words that only this process has.
    pub start: String,
}

impl ProcessIdentity {
    /// The identity of the process that has this id now; none if none has, or it has ended and only waits to be reaped.
    pub fn of(pid: u32) -> Option<Self> {
        start_of(pid).map(|start| Self { pid, start })
    }

    /// True while this very process runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }

    /// Sends a signal to this very process alone, and to nobody else of its group. False if it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = self.group().filter(|_| self.is_alive()) else { return Ok(false) };
        match kill_process(pid, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(false),
            result => Ok(result.map(|()| true)?),
        }
    }

    /// Sends a signal to the process group if this very process still leads it. False if it has ended.
    pub fn signal_group(&self, signal: Signal) -> io::Result<bool> {
        let Some(group) = self.group().filter(|_| self.is_alive()) else { return Ok(false) };
        match kill_process_group(group, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(false),
            result => Ok(result.map(|()| true)?),
        }
    }

    /// Kills what the ended process left behind in its group, such as a child that still holds its port.
    ///
    /// A process id is not given out again while a group bears it. So if the id is free the group is the old one, and if another
    /// process has the id the old group is gone. After a reboot nothing is left at all.
    pub fn sweep_group(&self) {
        let Some(group) = self.group() else { return };
        let same_boot = boot_id().is_none_or(|boot| self.start.starts_with(&boot));
        let id_is_free = test_kill_process(group) == Err(rustix::io::Errno::SRCH);
        if same_boot && (id_is_free || !self.is_taken_over()) && test_kill_process_group(group).is_ok() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// True if another, living process has the id now.
    fn is_taken_over(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now != *self)
    }
}

/// The id of this boot of the machine, where the system has one.
fn boot_id() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned())
}

#[cfg(target_os = "linux")]
fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = start_ticks(&stat)?;
    Some(format!("{}/{ticks}", boot_id().unwrap_or_default()))
}

#[cfg(not(target_os = "linux"))]
fn start_of(pid: u32) -> Option<String> {
    let output =
        std::process::Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, start) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| start.trim().to_owned())
}

/// The 22nd field of `/proc/<pid>/stat`: the start in clock ticks since boot; none for a zombie. The second field is the
/// program's name in brackets, which may itself hold blanks and brackets, so fields are counted from the last bracket.
#[cfg(target_os = "linux")]
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command};

    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ends_even_before_it_is_reaped() {
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let identity = ProcessIdentity::of(child.id()).unwrap();
        assert!(identity.is_alive());
        assert!(identity.signal_group(Signal::KILL).unwrap());
        while identity.is_alive() {
            std::thread::yield_now();
        }
        assert!(!identity.signal_group(Signal::KILL).unwrap(), "a zombie is not signalled");
        child.wait().unwrap();
    }

    #[test]
    fn a_signal_to_the_process_alone_leaves_its_children() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 600 >/dev/null & echo $!; read wait"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let leader = ProcessIdentity::of(child.id()).unwrap();
        assert!(leader.signal(Signal::KILL).unwrap());
        child.wait().unwrap();
        assert!(ProcessIdentity::of(grandchild).is_some(), "the child was killed too");
        leader.sweep_group();
    }

    #[test]
    fn another_process_of_the_same_id_is_not_taken_for_ours() {
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let old = ProcessIdentity { pid: child.id(), start: "before/1".to_owned() };
        assert!(!old.is_alive());
        assert!(!old.signal_group(Signal::KILL).unwrap());
        old.sweep_group();
        assert!(ProcessIdentity::of(child.id()).is_some(), "a foreign process was killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_an_ended_process_left_in_its_group_is_swept() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 600 >/dev/null & echo $!; read wait"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let grandchild: u32 = line.trim().parse().unwrap();
        let leader = ProcessIdentity::of(child.id()).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        let left = ProcessIdentity::of(grandchild).unwrap();
        leader.sweep_group();
        while left.is_alive() {
            std::thread::yield_now();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_start_is_found_behind_a_name_with_brackets() {
        let tail = "1 2 2 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 1 0 777 2 3";
        assert_eq!(start_ticks(&format!("42 (a) b (c) S {tail}")), Some(777));
        assert_eq!(start_ticks(&format!("42 (sleep) Z {tail}")), None);
    }
}
