//! A program that runs beside a test: its output in a file, killed by pid when it is dropped.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{command, process, wait};

/// A running program.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<i32>,
}

impl Daemon {
    /// Starts `command`; stdout and stderr go to `<name>.log` in `folder`, behind what an earlier one of that name said.
    #[track_caller]
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        Self { name: name.to_owned(), child, log, ended: None }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines that it said, for messages.
    pub fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Waits until it has said `text`; panics after `limit`, or as soon as it has ended without.
    #[track_caller]
    pub fn wait_to_say(&mut self, text: &str, limit: Duration) {
        let deadline = wait::now() + limit;
        while !self.said().contains(text) {
            let running = self.is_running();
            if (!running || wait::now() >= deadline) && !self.said().contains(text) {
                let state = if running { "runs" } else { "has ended" };
                panic!("{} {state} and did not say {text:?}; its last words:\n{}", self.name, self.last_words());
            }
            wait::pause(Duration::from_millis(50));
        }
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = command::wait_for(&mut self.child, Duration::ZERO);
        }
        self.ended.is_none()
    }

    /// Waits for its end and returns the exit code, 128 + n after signal n; panics after `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> i32 {
        if self.ended.is_none() {
            self.ended = command::wait_for(&mut self.child, limit);
        }
        self.ended
            .unwrap_or_else(|| panic!("{} did not end in {limit:?}; its last words:\n{}", self.name, self.last_words()))
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        if self.is_running() {
            process::kill(self.pid());
            self.wait(Duration::from_secs(10));
        }
    }

    /// SIGTERM, and waits for its end: the exit code.
    #[track_caller]
    pub fn terminate(&mut self, limit: Duration) -> i32 {
        if self.is_running() {
            process::terminate(self.pid());
        }
        self.wait(limit)
    }

    /// SIGINT as of Ctrl-C, and waits for its end: the exit code.
    #[track_caller]
    pub fn interrupt(&mut self, limit: Duration) -> i32 {
        if self.is_running() {
            process::interrupt(self.pid());
        }
        self.wait(limit)
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        process::freeze(self.pid());
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        process::thaw(self.pid());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            process::kill(self.pid());
            let _end = command::wait_for(&mut self.child, Duration::from_secs(10));
        }
        if std::thread::panicking() {
            eprintln!("--- {} said last:\n{}", self.name, self.last_words());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_heard_and_dies_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo ready; trap 'exit 3' TERM; while :; do sleep 0.05; done";
        let mut first = Daemon::start("shell", Command::new("sh").args(["-c", script]), folder.path());
        first.wait_to_say("ready", Duration::from_secs(5));
        assert_eq!(first.terminate(Duration::from_secs(5)), 3);

        let second = Daemon::start("shell", Command::new("sh").args(["-c", script]), folder.path());
        let pid = second.pid();
        drop(second);
        assert!(!process::is_alive(pid));
    }

    #[test]
    #[should_panic(expected = "has ended and did not say \"ready\"")]
    fn a_daemon_that_ends_early_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        Daemon::start("true", &mut Command::new("true"), folder.path()).wait_to_say("ready", Duration::from_mins(1));
    }
}
