//! A process that runs on when this one ends: started behind a gate, written down, let through, and adopted by whoever comes next.
//!
//! **Never two copies.** A process that was started and not yet written down would be lost if the agent were killed in between,
//! and started again. So it starts behind a *gate*: a two-line shell script that waits for a word on its standard input and
//! then becomes the program (`exec`, same process id, same start). The word comes once the record with the process is on the
//! disk. If the agent dies before, the pipe closes and the script ends without having run anything. The agent needs no scan of
//! the process table, and no file descriptor is left in the instance.
//!
//! Its output goes to the log file directly, not through the agent, so that it runs on unharmed when the agent ends.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    sync::watch,
};

use crate::{
    command::{Command, StartError},
    exit::Exit,
    identity::ProcessIdentity,
    limit::Limit,
};

/// The word.
const WORD: &[u8] = b"go\n";
/// How often an adopted process, whose end nobody tells us, is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A process that stands at its gate.
pub struct Gated {
    child: Child,
    gate: ChildStdin,
    identity: ProcessIdentity,
}

/// A process that was let through, or was found running.
#[derive(Clone)]
pub struct Supervised {
    ended: watch::Receiver<Option<Exit>>,
}

/// Starts the process of a command behind its gate. What it prints is appended to `log`.
pub fn start(command: &Command, log: &Path) -> Result<Gated, StartError> {
    command.check()?;
    let output = open_log(log)?;
    start_with(command, output.try_clone()?.into(), output.into())
}

/// Starts the process of a command behind its gate, with these outputs. Those that are pipes are at [`Gated::outputs`].
pub fn start_with(command: &Command, stdout: Stdio, stderr: Stdio) -> Result<Gated, StartError> {
    command.check()?;
    Gated::of(command.gated().stdout(stdout).stderr(stderr).spawn()?)
}

impl Gated {
    /// A child that has just been started by a gated command.
    pub(crate) fn of(mut child: Child) -> Result<Self, StartError> {
        let gate = child.stdin.take().ok_or_else(|| io::Error::other("the gate has no pipe"))?;
        let identity = child
            .id()
            .and_then(ProcessIdentity::of)
            .ok_or_else(|| io::Error::other("the process ended before its gate was opened"))?;
        Ok(Self { child, gate, identity })
    }

    /// Which process it is; to be written down before the gate is opened.
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// The ends of its outputs that are pipes; once only.
    pub fn outputs(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Bounds what the process, and all that it starts, may use of a resource.
    ///
    /// # Errors
    /// The system refuses, such as a higher limit than this program has itself.
    pub fn limit(&self, limit: &Limit) -> Result<(), StartError> {
        Ok(limit.set_for(self.identity.pid)?)
    }

    /// Lets it through.
    pub async fn open(self) -> Supervised {
        let mut child = self.into_child().await;
        let (sender, ended) = watch::channel(None);
        tokio::spawn(async move {
            let exit = child.wait().await.map_or(Exit::Unseen, Exit::from);
            let _ = sender.send(Some(exit));
        });
        Supervised { ended }
    }

    /// Lets it through, and gives it to the caller to wait for.
    pub(crate) async fn into_child(mut self) -> Child {
        if let Err(error) = self.gate.write_all(WORD).await {
            tracing::warn!(pid = self.identity.pid, %error, "a process ended at its gate");
        }
        self.child
    }
}

impl Supervised {
    /// Takes over a process that was found running.
    pub fn adopt(identity: ProcessIdentity) -> Self {
        let (sender, ended) = watch::channel((!identity.is_alive()).then_some(Exit::Unseen));
        tokio::spawn(async move {
            while identity.is_alive() {
                tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            }
            let _ = sender.send(Some(Exit::Unseen));
        });
        Self { ended }
    }

    /// How it ended; none while it runs.
    pub fn exit(&self) -> Option<Exit> {
        *self.ended.borrow()
    }

    /// Waits for its end. It may be dropped and called again.
    pub async fn ended(&mut self) -> Exit {
        let exit = self.ended.wait_for(Option::is_some).await.map(|exit| exit.unwrap_or(Exit::Unseen));
        match exit {
            Ok(exit) => exit,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Opens the log for appending; a rotation cuts it to nothing under the process, whose next line then begins it anew.
fn open_log(log: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::command;

    #[tokio::test]
    async fn a_process_runs_only_once_its_gate_is_opened_and_keeps_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let argv = ["sh", "-c", "echo \"$1 $GREETING\"; pwd; read nothing || exit 7", "zero", "a 'b' $c"];
        let gated = start(&command(folder.path(), &argv), &log).unwrap();
        let identity = gated.identity().clone();
        assert!(identity.is_alive());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
        let mut process = gated.open().await;
        assert_eq!(process.ended().await, Exit::Status(7));
        assert_eq!(process.exit(), Some(Exit::Status(7)));
        assert!(!identity.is_alive());
        let folder = folder.path().canonicalize().unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), format!("a 'b' $c hi $there\n{}\n", folder.display()));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_is_limited_at_the_gate_is_limited_in_the_program() {
        use tokio::io::AsyncReadExt as _;
        let folder = tempfile::tempdir().unwrap();
        let command = command(folder.path(), &["sh", "-c", "ulimit -n"]);
        let mut gated = start_with(&command, Stdio::piped(), Stdio::null()).unwrap();
        gated.limit(&Limit { resource: crate::limit::Resource::OpenFiles, most: 77 }).unwrap();
        let (stdout, stderr) = gated.outputs();
        assert!(stderr.is_none());
        gated.open().await.ended().await;
        let mut printed = String::new();
        stdout.unwrap().read_to_string(&mut printed).await.unwrap();
        assert_eq!(printed, "77\n");
    }

    #[tokio::test]
    async fn a_process_whose_agent_ends_at_the_gate_runs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let touched = folder.path().join("touched");
        let gated =
            start(&command(folder.path(), &["touch", touched.to_str().unwrap()]), &folder.path().join("log")).unwrap();
        let identity = gated.identity().clone();
        let Gated { mut child, gate, .. } = gated;
        drop(gate);
        assert_eq!(Exit::from(child.wait().await.unwrap()), Exit::Status(125));
        assert!(!touched.exists() && !identity.is_alive());
    }

    #[tokio::test]
    async fn the_end_of_an_adopted_process_is_seen() {
        let mut child = tokio::process::Command::new("sleep").arg("600").spawn().unwrap();
        let mut adopted = Supervised::adopt(ProcessIdentity::of(child.id().unwrap()).unwrap());
        assert_eq!(adopted.exit(), None);
        child.kill().await.unwrap();
        assert_eq!(adopted.ended().await, Exit::Unseen);
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_said_in_plain_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let words = |command: Command| start(&command, &log).err().unwrap().to_string();
        let command = |argv: &[&str]| command(folder.path(), argv);
        assert_eq!(words(command(&[])), "the command is empty");
        assert_eq!(words(command(&["no-such-thing"])), "no program `no-such-thing` (looked in PATH=/usr/bin:/bin)");
        let at = folder.path().display().to_string();
        assert_eq!(words(command(&["./nothing"])), format!("no program `./nothing` (looked in {at})"));
        let elsewhere = Command { cwd: "/no/folder".into(), ..command(&["true"]) };
        assert_eq!(words(elsewhere), "the working directory `/no/folder` is no folder");
    }
}
