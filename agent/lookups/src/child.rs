//! A child: a program that runs beside this one, is told of changes, and whose end is this one's end.
//!
//! It leads a process group of its own and shares the outputs of this program. What it left in its group goes with it. When this is dropped
//! the group is killed, so that there are never two of them.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    process::Stdio,
    time::Duration,
};

use helium_processes::{Command, Exit, ProcessIdentity, StartError};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{process, time::timeout};

/// What is done with a child when something has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// It is stopped and started again.
    #[default]
    Restart,
    /// It gets this signal.
    Signal(Signal),
    /// Nothing: it looks itself.
    Nothing,
}

/// A child as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildPlan {
    /// What is run.
    pub command: Command,
    /// What is done when something has changed.
    pub on_change: OnChange,
    /// The signal that asks it to end.
    pub stop_signal: Signal,
    /// How long it may take to end before it is killed.
    pub grace: Duration,
}

/// A child.
pub struct Child {
    plan: ChildPlan,
    running: Option<Running>,
}

struct Running {
    process: process::Child,
    identity: ProcessIdentity,
}

impl Child {
    /// A child that has not been started.
    pub fn new(plan: ChildPlan) -> Self {
        Self { plan, running: None }
    }

    /// Whether it runs, as far as is known.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The environment that it will be started with.
    pub fn set_environment(&mut self, environment: BTreeMap<String, String>) {
        self.plan.command.env = environment;
    }

    /// Starts it, unless it runs.
    pub fn start(&mut self) -> Result<(), StartError> {
        if self.running.is_none() {
            self.running = Some(spawn(&self.plan.command)?);
        }
        Ok(())
    }

    /// Tells it that something has changed; one that does not run is started.
    pub async fn changed(&mut self) -> Result<(), StartError> {
        let Some(running) = &self.running else { return self.start() };
        match self.plan.on_change {
            OnChange::Nothing => {}
            OnChange::Signal(signal) => {
                running.signal(signal)?;
            }
            OnChange::Restart => {
                self.stop(None).await;
                self.start()?;
            }
        }
        Ok(())
    }

    /// Passes a signal on. Nothing happens if it does not run.
    pub fn forward(&self, signal: Signal) -> io::Result<()> {
        self.running.as_ref().map_or(Ok(()), |running| running.signal(signal))
    }

    /// Waits for its end; for ever if it does not run. May be dropped and called again.
    pub async fn ended(&mut self) -> Exit {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let exit = running.process.wait().await.map_or(Exit::Unseen, Exit::from);
        running.identity.sweep_group();
        self.running = None;
        exit
    }

    /// Ends it, by `signal` or the one that is planned, and by killing it when its grace is over. None if it did not run.
    pub async fn stop(&mut self, signal: Option<Signal>) -> Option<Exit> {
        let (grace, signal) = (self.plan.grace, signal.unwrap_or(self.plan.stop_signal));
        let running = self.running.as_ref()?;
        let identity = running.identity.clone();
        if let Err(error) = running.signal(signal) {
            tracing::warn!(%error, pid = identity.pid, "the child cannot be asked to end");
        }
        if let Ok(exit) = timeout(grace, self.ended()).await {
            return Some(exit);
        }
        tracing::warn!(pid = identity.pid, ?grace, "the child has not ended within its grace and is killed");
        let _ = identity.signal_group(Signal::KILL);
        Some(self.ended().await)
    }
}

impl Running {
    /// To it alone: what it has started hears of it from it.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.identity.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|_| self.identity.is_alive()) else { return Ok(()) };
        match kill_process(pid, signal) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.identity.signal_group(Signal::KILL);
        self.identity.sweep_group();
    }
}

fn spawn(command: &Command) -> Result<Running, StartError> {
    let Some((program, arguments)) = command.argv.split_first().filter(|(program, _)| !program.is_empty()) else {
        return Err(StartError::Empty);
    };
    if !command.cwd.is_dir() {
        return Err(StartError::NoFolder(command.cwd.clone()));
    }
    let mut start = process::Command::new(program);
    // In a group of its own it may not read from a terminal: the system would stop it.
    let stdin = if io::stdin().is_terminal() { Stdio::null() } else { Stdio::inherit() };
    start.args(arguments).env_clear().envs(&command.env).current_dir(&command.cwd).stdin(stdin).process_group(0);
    if let Some((user, group)) = command.user {
        start.uid(user).gid(group);
    }
    let no_program = || StartError::NoProgram {
        program: program.clone(),
        searched: format!("PATH={}", command.env.get("PATH").map_or("", String::as_str)),
    };
    let process = start.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => no_program(),
        _ => StartError::System(error),
    })?;
    let pid = process.id().ok_or_else(|| io::Error::other("the child has no process id"))?;
    // One that has ended already has no start any more, and is found ended right away.
    let identity = ProcessIdentity::of(pid).unwrap_or(ProcessIdentity { pid, start: String::new() });
    Ok(Running { process, identity })
}

/// A signal by its name, with or without `SIG`, or its number.
///
/// # Errors
/// Which names there are.
pub fn signal(name: &str) -> Result<Signal, String> {
    const KNOWN: [(&str, Signal); 9] = [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("KILL", Signal::KILL),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("TERM", Signal::TERM),
        ("WINCH", Signal::WINCH),
        ("CONT", Signal::CONT),
    ];
    let upper = name.trim().to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = short.parse::<i32>().ok();
    let found = KNOWN.iter().find(|(known, signal)| *known == short || number == Some(signal.as_raw()));
    found.map(|(_, signal)| *signal).ok_or_else(|| {
        let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
        format!("`{name}` is no signal that can be sent here: {} are", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn child(folder: &Path, script: &str, on_change: OnChange, grace: Duration) -> Child {
        let command = Command {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            cwd: folder.to_owned(),
            user: None,
        };
        Child::new(ChildPlan { command, on_change, stop_signal: Signal::TERM, grace })
    }

    async fn lines(folder: &Path, count: usize) -> Vec<String> {
        loop {
            let text = fs::read_to_string(folder.join("log")).unwrap_or_default();
            if text.lines().count() >= count && text.ends_with('\n') {
                return text.lines().map(str::to_owned).collect();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_change_restarts_it_or_is_a_signal_to_it_and_its_exit_code_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        // A shell cannot trap what was ignored when it began, and whoever runs this beyond its terminal ignores HUP.
        let script = "trap 'echo usr1 >> log' USR1; trap 'exit 7' TERM; echo $$ >> log; while :; do sleep 0.01; done";
        let mut restarted = child(at, script, OnChange::Restart, LONG);
        restarted.start().unwrap();
        let first = lines(at, 1).await;
        restarted.changed().await.unwrap();
        let both = lines(at, 2).await;
        assert_ne!(first[0], both[1]);
        assert_eq!(restarted.stop(None).await, Some(Exit::Status(7)));
        assert_eq!(restarted.stop(None).await, None);

        fs::remove_file(at.join("log")).unwrap();
        let mut signalled = child(at, script, OnChange::Signal(Signal::USR1), LONG);
        signalled.start().unwrap();
        lines(at, 1).await;
        signalled.changed().await.unwrap();
        assert_eq!(lines(at, 2).await[1], "usr1");
        assert!(signalled.is_running());
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_killed_after_its_grace_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; sleep 600 & echo $! >> log; while :; do sleep 0.01; done";
        let mut stubborn = child(folder.path(), script, OnChange::Restart, Duration::from_millis(100));
        stubborn.start().unwrap();
        let left: u32 = lines(folder.path(), 1).await[0].parse().unwrap();
        assert_eq!(stubborn.stop(None).await, Some(Exit::Signal(9)));
        while ProcessIdentity::of(left).is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_that_is_dropped_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = child(folder.path(), "echo $$ >> log; sleep 600", OnChange::Restart, LONG);
        child.start().unwrap();
        let pid: u32 = lines(folder.path(), 1).await[0].parse().unwrap();
        drop(child);
        while ProcessIdentity::of(pid).is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_said_in_plain_words() {
        let mut child = child(Path::new("/"), "", OnChange::Restart, LONG);
        child.plan.command.argv = vec!["no-such-thing".to_owned()];
        assert_eq!(child.start().unwrap_err().to_string(), "no program `no-such-thing` (looked in PATH=/usr/bin:/bin)");
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for name in ["HUP", "sighup", "1"] {
            assert_eq!(signal(name), Ok(Signal::HUP));
        }
        assert!(signal("NOPE").unwrap_err().contains("HUP, INT"));
    }
}
