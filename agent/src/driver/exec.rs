//! The driver `exec`: an instance is a process of this machine, the leader of its own process group.
//!
//! **Never two copies.** A process that was started and not yet written down would be lost if the agent were killed in between,
//! and started again. So it starts behind a *gate*: a two-line shell script that waits for a word on its standard input and
//! then becomes the program (`exec`, same process id, same start). The word comes once the record with the process is on the
//! disk. If the agent dies before, the pipe closes and the script ends without having run anything. The agent needs no scan of
//! the process table, and no file descriptor is left in the instance.
//!
//! Its output goes to the log file directly, not through the agent, so that it runs on unharmed when the agent ends.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
    sync::watch,
};

use super::{Exit, environment::ResolvedCommand, identity::ProcessIdentity};

/// Waits for the word, then becomes the program. `$0` is not an argument of the program.
const GATE: &str = r#"IFS= read -r word && [ "$word" = go ] || exit 125; exec "$@" </dev/null"#;
/// The word.
const WORD: &[u8] = b"go\n";
/// How often an adopted process, whose end nobody tells us, is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    /// The command has no program.
    #[error("the command is empty")]
    Empty,
    /// There is no such program.
    #[error("no program `{program}` (looked in {searched})")]
    NoProgram { program: String, searched: String },
    /// The working directory is missing.
    #[error("the working directory `{}` is no folder", .0.display())]
    NoFolder(PathBuf),
    /// The system refused.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// A process that stands at its gate.
pub(crate) struct Gated {
    child: Child,
    gate: ChildStdin,
    identity: ProcessIdentity,
}

/// A process that was let through, or was found running.
#[derive(Clone)]
pub(crate) struct Supervised {
    ended: watch::Receiver<Option<Exit>>,
}

/// Starts the process of a command behind its gate. `folder` is the working directory of a command that names none.
pub(crate) fn start(command: &ResolvedCommand, folder: &Path, log: &Path) -> Result<Gated, ExecError> {
    let cwd = command.cwd.as_ref().map_or_else(|| folder.to_owned(), |cwd| folder.join(cwd));
    if !cwd.is_dir() {
        return Err(ExecError::NoFolder(cwd));
    }
    let program = command.argv.first().filter(|program| !program.is_empty()).ok_or(ExecError::Empty)?;
    require_program(program, &cwd, &command.env)?;
    let output = open_log(log)?;
    let mut child = Command::new("/bin/sh")
        .args(["-c", GATE, "helium"])
        .args(&command.argv)
        .env_clear()
        .envs(&command.env)
        .current_dir(&cwd)
        .stdin(Stdio::piped())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()?;
    let gate = child.stdin.take().ok_or_else(|| io::Error::other("the gate has no pipe"))?;
    let identity = child
        .id()
        .and_then(ProcessIdentity::of)
        .ok_or_else(|| io::Error::other("the process ended before its gate was opened"))?;
    Ok(Gated { child, gate, identity })
}

impl Gated {
    /// Which process it is; to be written down before the gate is opened.
    pub(crate) fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// Lets it through.
    pub(crate) async fn open(mut self) -> Supervised {
        if let Err(error) = self.gate.write_all(WORD).await {
            tracing::warn!(pid = self.identity.pid, %error, "a process ended at its gate");
        }
        drop(self.gate);
        let (sender, ended) = watch::channel(None);
        let mut child = self.child;
        tokio::spawn(async move {
            let exit = child.wait().await.map_or(Exit::Unseen, exit_of);
            let _ = sender.send(Some(exit));
        });
        Supervised { ended }
    }
}

impl Supervised {
    /// Takes over a process that was found running.
    pub(crate) fn adopt(identity: ProcessIdentity) -> Self {
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
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.ended.borrow()
    }

    /// Waits for its end. It may be dropped and called again.
    pub(crate) async fn ended(&mut self) -> Exit {
        let exit = self.ended.wait_for(Option::is_some).await.map(|exit| exit.unwrap_or(Exit::Unseen));
        match exit {
            Ok(exit) => exit,
            Err(_) => std::future::pending().await,
        }
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Status(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unseen,
    }
}

/// Opens the log for appending; a rotation cuts it to nothing under the process, whose next line then begins it anew.
fn open_log(log: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(log)
}

/// Says in plain words that there is no such program; the shell at the gate would say it only in the log.
fn require_program(program: &str, cwd: &Path, env: &BTreeMap<String, String>) -> Result<(), ExecError> {
    let (found, searched) = if program.contains('/') {
        (is_program(&cwd.join(program)), cwd.display().to_string())
    } else {
        let path = env.get("PATH").map_or("", String::as_str);
        (path.split(':').any(|folder| is_program(&cwd.join(folder).join(program))), format!("PATH={path}"))
    };
    if found { Ok(()) } else { Err(ExecError::NoProgram { program: program.to_owned(), searched }) }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(argv: &[&str]) -> ResolvedCommand {
        ResolvedCommand {
            argv: argv.iter().map(ToString::to_string).collect(),
            env: BTreeMap::from([
                ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
                ("GREETING".to_owned(), "hi $there".to_owned()),
            ]),
            cwd: None,
        }
    }

    #[tokio::test]
    async fn a_process_runs_only_once_its_gate_is_opened_and_keeps_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let argv = ["sh", "-c", "echo \"$1 $GREETING\"; pwd; read nothing || exit 7", "zero", "a 'b' $c"];
        let gated = start(&command(&argv), folder.path(), &log).unwrap();
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

    #[tokio::test]
    async fn a_process_whose_agent_ends_at_the_gate_runs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let touched = folder.path().join("touched");
        let gated =
            start(&command(&["touch", touched.to_str().unwrap()]), folder.path(), &folder.path().join("log")).unwrap();
        let identity = gated.identity().clone();
        let Gated { mut child, gate, .. } = gated;
        drop(gate);
        assert_eq!(exit_of(child.wait().await.unwrap()), Exit::Status(125));
        assert!(!touched.exists() && !identity.is_alive());
    }

    #[tokio::test]
    async fn the_end_of_an_adopted_process_is_seen() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let mut adopted = Supervised::adopt(ProcessIdentity::of(child.id().unwrap()).unwrap());
        assert_eq!(adopted.exit(), None);
        child.kill().await.unwrap();
        assert_eq!(adopted.ended().await, Exit::Unseen);
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_said_in_plain_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let words = |command: ResolvedCommand| start(&command, folder.path(), &log).err().unwrap().to_string();
        assert_eq!(words(command(&[])), "the command is empty");
        assert_eq!(words(command(&["no-such-thing"])), "no program `no-such-thing` (looked in PATH=/usr/bin:/bin)");
        let at = folder.path().display().to_string();
        assert_eq!(words(command(&["./nothing"])), format!("no program `./nothing` (looked in {at})"));
        let elsewhere = ResolvedCommand { cwd: Some("/no/folder".to_owned()), ..command(&["true"]) };
        assert_eq!(words(elsewhere), "the working directory `/no/folder` is no folder");
    }
}
