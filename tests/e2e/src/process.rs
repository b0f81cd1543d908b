//! Processes by their pid: whether one lives, whose child it is, what it was started with, and signals to it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::eventually;

/// Whether a process with this pid runs; a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    fields(pid).is_some_and(|fields| !matches!(fields.first().map(String::as_str), Some("Z" | "X") | None))
}

/// The pids of the running children of `pid`, in order.
pub fn children(pid: u32) -> Vec<u32> {
    let wanted = pid.to_string();
    every()
        .into_iter()
        .filter(|child| is_alive(*child) && fields(*child).is_some_and(|f| f.get(1) == Some(&wanted)))
        .collect()
}

/// The pids of all running processes one of whose arguments contains `text`.
pub fn with_argument(text: &str) -> Vec<u32> {
    every().into_iter().filter(|pid| is_alive(*pid) && arguments(*pid).iter().any(|a| a.contains(text))).collect()
}

/// The arguments that a process was started with; none if it is gone.
pub fn arguments(pid: u32) -> Vec<String> {
    words("cmdline", pid)
}

/// One variable of the environment that a process was started with.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    words("environ", pid).into_iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// The pids of all running processes in whose environment `name` has this value.
pub fn with_variable(name: &str, value: &str) -> Vec<u32> {
    every().into_iter().filter(|pid| is_alive(*pid) && variable(*pid, name).as_deref() == Some(value)).collect()
}

/// How many connections over IPv4 a process holds to a port of the loopback interface.
pub fn sockets_to(pid: u32, port: u16) -> usize {
    let folder = fs::read_dir(file("fd", pid)).into_iter().flatten();
    let links = folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let own: BTreeSet<String> = links.filter_map(|link| socket_inode(link.to_str()?).map(str::to_owned)).collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table
        .lines()
        .skip(1)
        .filter(|line| connection(line).is_some_and(|(to, inode)| to == port && own.contains(inode)))
        .count()
}

/// The inode of what `/proc/<pid>/fd/<n>` points to: `socket:[4711]`.
fn socket_inode(link: &str) -> Option<&str> {
    link.strip_prefix("socket:[")?.strip_suffix(']')
}

/// The remote port and the inode of a line of `/proc/net/tcp`: the third and the tenth field.
fn connection(line: &str) -> Option<(u16, &str)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, port) = fields.get(2)?.split_once(':')?;
    Some((u16::from_str_radix(port, 16).ok()?, fields.get(9)?))
}

/// SIGKILL: as a crash of the process; nothing of it runs any more.
pub fn kill(pid: u32) {
    send(pid, Signal::KILL);
}

/// SIGKILL to a process and to all of the group that it leads.
pub fn kill_group(pid: u32) {
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// SIGTERM: a polite request to stop.
pub fn terminate(pid: u32) {
    send(pid, Signal::TERM);
}

/// SIGHUP: a word that means to each program what it makes of it.
pub fn hang_up(pid: u32) {
    send(pid, Signal::HUP);
}

/// SIGINT: what Ctrl-C sends.
pub fn interrupt(pid: u32) {
    send(pid, Signal::INT);
}

/// SIGSTOP: the process is there and answers nothing. One of its threads has to take the signal before any of them stops, and on a busy
/// machine the others go on for a while: this returns when all have stopped, or are gone.
pub fn freeze(pid: u32) {
    send(pid, Signal::STOP);
    eventually("a process is frozen", Duration::from_secs(10), || has_stopped(pid).then_some(()));
}

/// Whether no thread of a process runs: each is stopped, or has ended.
fn has_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(file("task", pid)).into_iter().flatten().flatten();
    threads.filter_map(|thread| stat(&thread.path())).all(|fields| matches!(fields[0].as_str(), "T" | "Z" | "X"))
}

/// SIGCONT: a frozen process goes on.
pub fn thaw(pid: u32) {
    send(pid, Signal::CONT);
}

/// A process that is gone already is no error: tests race with what they kill.
fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    let _gone = kill_process(pid, signal);
}

fn every() -> Vec<u32> {
    let mut pids: Vec<u32> =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// The fields of `/proc/<pid>/stat` after the name: state, parent, ...
fn fields(pid: u32) -> Option<Vec<String>> {
    stat(&file("", pid))
}

/// The same of a process or thread by its folder. The name is in parentheses and may hold anything.
fn stat(folder: &Path) -> Option<Vec<String>> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn words(name: &str, pid: u32) -> Vec<String> {
    let bytes = fs::read(file(name, pid)).unwrap_or_default();
    bytes.split(|byte| *byte == 0).filter(|w| !w.is_empty()).map(|w| String::from_utf8_lossy(w).into_owned()).collect()
}

fn file(name: &str, pid: u32) -> PathBuf {
    PathBuf::from("/proc").join(pid.to_string()).join(name)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_connections_of_a_process_to_a_port_are_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = || sockets_to(std::process::id(), port);
        assert_eq!(count(), 0, "a listener is no connection to its port");
        let connect = || std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (one, two) = (connect(), connect());
        assert_eq!(count(), 2);
        drop((one, two));
    }

    #[test]
    fn a_child_is_seen_with_its_arguments_and_environment_until_it_is_killed() {
        let mut child = Command::new("sleep").arg("1234").env("HELIUM_HARNESS_TEST", "yes").spawn().unwrap();
        let pid = child.id();
        crate::eventually("sleep runs", std::time::Duration::from_secs(5), || {
            (variable(pid, "HELIUM_HARNESS_TEST").as_deref() == Some("yes")).then_some(())
        });
        assert_eq!(arguments(pid), ["sleep", "1234"]);
        assert!(children(std::process::id()).contains(&pid));
        assert!(is_alive(pid));
        kill(pid);
        child.wait().unwrap();
        assert!(!is_alive(pid));
    }

    #[test]
    fn what_is_frozen_has_stopped_at_once() {
        for _ in 0..20 {
            let mut child = Command::new("sleep").arg("1234").spawn().unwrap();
            freeze(child.id());
            let frozen = has_stopped(child.id());
            thaw(child.id());
            kill(child.id());
            child.wait().unwrap();
            assert!(frozen);
        }
    }
}
