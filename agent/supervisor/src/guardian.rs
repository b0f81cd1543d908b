//! A parent that reaps what nobody else does, for process 1.
//!
//! Orphans are given to process 1, or to the nearest ancestor that asked for them, and stay zombies until it waits for them. A supervisor that did
//! this itself would have to wait for *any* child, and so could take the exit status of a child that somebody else in the program started and waits
//! for: its own, those of a library, of the standard library while a start fails. To look first and reap only strangers needs a list of all own
//! children that is never late. So the program is two processes, as it is with other supervisors that are process 1: the *guardian* has one child,
//! the *worker*, which is the same program started again with the same arguments. The guardian reaps whatever it is given, passes signals
//! on to the worker, and ends with the worker's exit code; the worker has only children of its own. Nothing can be mistaken, whatever the
//! worker does. It costs one sleeping process.
//!
//! The worker leads a process group of its own, so that Ctrl-C reaches it once, through the guardian. If the guardian is killed the worker is asked
//! to end. If the worker is killed, the guardian kills what it has left.

use std::{
    env, fs, io,
    os::unix::process::{CommandExt as _, parent_id},
    process::Command,
};

use helium_processes::{Exit, ProcessIdentity, Signal};
use rustix::process::{self, Pid, WaitOptions, WaitStatus};

use crate::shell::signals::Signals;

/// Names the guardian to the worker.
const MARK: &str = "HELIUM_GUARDIAN";
/// What is passed on.
const PASSED_ON: [Signal; 6] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Makes this process the guardian of a worker. To be called first in `main`, before there are threads.
///
/// In the guardian it returns the worker's exit code, once that has ended; `main` is to return it. In the worker it returns none: go on.
///
/// # Errors
/// The worker cannot be started, or the system does not let us wait for signals.
pub fn guard() -> io::Result<Option<u8>> {
    let is_child = |guardian: &String| *guardian == parent_id().to_string();
    if let Some(guardian) = env::var(MARK).ok().filter(is_child) {
        die_with_parent()?;
        // It may have ended before it could be told of.
        return Ok(if is_child(&guardian) { None } else { Some(1) });
    }
    become_reaper()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(watch_over())?;
    Ok(Some(u8::try_from(code).unwrap_or(u8::MAX)))
}

#[cfg(target_os = "linux")]
fn become_reaper() -> io::Result<()> {
    // Whichever id is given, what counts is that there is one.
    Ok(process::set_child_subreaper(Some(process::getpid()))?)
}

/// Elsewhere orphans go to process 1.
#[cfg(not(target_os = "linux"))]
fn become_reaper() -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn die_with_parent() -> io::Result<()> {
    Ok(process::set_parent_process_death_signal(Some(Signal::TERM))?)
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() -> io::Result<()> {
    Ok(())
}

async fn watch_over() -> io::Result<i32> {
    let numbers = PASSED_ON.iter().chain(&[Signal::CHILD]).map(|signal| signal.as_raw());
    let mut signals = Signals::listen(numbers)?;
    let worker = start_worker()?;
    let number = i32::try_from(worker).ok().and_then(Pid::from_raw);
    // None if it has ended already: then it is about to be reaped.
    let worker = ProcessIdentity::of(worker);
    loop {
        if let Some(exit) = reap(number)? {
            if matches!(exit, Exit::Signal(_)) {
                end_orphans();
            }
            return Ok(exit.code());
        }
        let signal = signals.next().await;
        let signal = PASSED_ON.iter().find(|known| known.as_raw() == signal);
        if let (Some(signal), Some(worker)) = (signal, &worker) {
            worker.signal(*signal)?;
        }
    }
}

fn start_worker() -> io::Result<u32> {
    // The link is followed by the system to the very file that runs, even if another has its name by now.
    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { env::current_exe()? };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    Ok(command.args(arguments).env(MARK, std::process::id().to_string()).process_group(0).spawn()?.id())
}

/// Reaps all that has ended, and tells the exit of the worker if it is among it.
fn reap(worker: Option<Pid>) -> io::Result<Option<Exit>> {
    let mut exit = None;
    loop {
        match process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == worker => exit = Some(exit_of(status)),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(exit),
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Status(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unseen,
    }
}

/// Kills, with its group, every process that came to us when the worker was killed. What comes of those comes to us in turn.
fn end_orphans() {
    let own = std::process::id();
    let children = format!("/proc/{own}/task/{own}/children");
    while let Some(children) = fs::read_to_string(&children).ok().filter(|children| !children.trim().is_empty()) {
        for pid in children.split_whitespace().filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw)) {
            let _ = process::kill_process_group(pid, Signal::KILL);
            let _ = process::kill_process(pid, Signal::KILL);
            let _ = process::waitpid(Some(pid), WaitOptions::empty());
        }
    }
}
