//! A process that is run to its end within a time limit, such as a hook or a check.
//!
//! When its time is over its whole process group is asked to end by SIGTERM, and killed after a grace. Whatever is left of the group when its
//! leader has ended is killed too, so that nothing of a hook outlives it. Dropping the future kills the group at once. If this program
//! itself is killed in between, the note (see [`Run::note`]) tells the next run of it which process to end first.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
    time::timeout,
};

use crate::{
    command::{Command, StartError},
    exit::Exit,
    gate::Gated,
    identity::ProcessIdentity,
};

/// How long the pipes are read after the process has ended: a process that left the group may hold them open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How many bytes are read at a time.
const CHUNK: usize = 8 * 1024;

/// How to run a command to its end.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// How long it may take before its group is asked to end.
    pub limit: Duration,
    /// How long the group may take to end before it is killed.
    pub grace: Duration,
    /// Where all that it prints is appended.
    pub log: Option<&'a Path>,
    /// How many bytes of each of its outputs are kept for the caller: the first of stdout, the last of stderr.
    pub keep: usize,
    /// A file that names the process while it runs. Of a process that it names already, left by a run that was cut off, the group is killed
    /// first.
    pub note: Option<&'a Path>,
}

/// What has become of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
    /// The first bytes of what it printed to stdout.
    pub stdout: Vec<u8>,
    /// Whether there was more.
    pub truncated: bool,
    /// The last bytes of what it printed to stderr.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// True if it ended by itself with status 0.
    pub fn is_success(&self) -> bool {
        !self.timed_out && self.exit.is_success()
    }

    /// The last line that it printed, of stderr first: most programs say there why they end.
    pub fn last_line(&self) -> Option<String> {
        self.last_error_line().or_else(|| last_line(&self.stdout))
    }

    /// The last line that it printed to stderr.
    pub fn last_error_line(&self) -> Option<String> {
        last_line(&self.stderr)
    }
}

fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

impl Run<'_> {
    /// Runs the command.
    ///
    /// # Errors
    /// It cannot be started, or the note cannot be written.
    pub async fn to_end(self, command: &Command) -> Result<Finished, StartError> {
        if let Some(note) = self.note {
            end_predecessor(note);
        }
        command.check()?;
        let child = command.gated().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let gated = Gated::of(child)?;
        let group = Group(gated.identity().clone());
        if let Some(note) = self.note {
            write_note(note, &group.0)?;
        }
        let log = self.log.map(open_log).transpose()?;
        let finished = self.watch(gated.into_child().await, &group, log).await;
        drop(group);
        if let Some(note) = self.note {
            let _ = fs::remove_file(note);
        }
        finished
    }

    async fn watch(self, mut child: Child, group: &Group, log: Option<File>) -> Result<Finished, StartError> {
        let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
        let pipes = (child.stdout.take(), child.stderr.take());
        let copy = async {
            tokio::join!(
                stdout.fill(pipes.0, log.as_ref(), Which::First(self.keep)),
                stderr.fill(pipes.1, log.as_ref(), Which::Last(self.keep))
            );
        };
        let (exit, timed_out) = end_and_copy(self.end(&mut child, group), copy).await;
        let exit = Exit::from(exit?);
        Ok(Finished { exit, timed_out, stdout: stdout.bytes, truncated: stdout.more, stderr: stderr.bytes })
    }

    /// Waits for the end, and brings it about when the time is over.
    async fn end(&self, child: &mut Child, group: &Group) -> (io::Result<ExitStatus>, bool) {
        let ended = match timeout(self.limit, child.wait()).await {
            Ok(status) => (status, false),
            Err(_) => (self.force(child, group).await, true),
        };
        // A child that is left in the group would hold the pipes open.
        group.0.sweep_group();
        ended
    }

    async fn force(&self, child: &mut Child, group: &Group) -> io::Result<ExitStatus> {
        let _ = group.0.signal_group(Signal::TERM);
        if let Ok(status) = timeout(self.grace, child.wait()).await {
            return status;
        }
        let _ = group.0.signal_group(Signal::KILL);
        child.wait().await
    }
}

/// Copies until the end, and what is left in the pipes after it.
async fn end_and_copy<T>(end: impl Future<Output = T>, copy: impl Future<Output = ()>) -> T {
    let (mut copy, mut end) = (pin!(copy), pin!(end));
    tokio::select! {
        biased;
        () = &mut copy => end.await,
        ended = &mut end => {
            let _ = timeout(LAST_WORDS, copy).await;
            ended
        }
    }
}

/// The group of a process, which goes when this is dropped.
struct Group(ProcessIdentity);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.0.signal_group(Signal::KILL);
        self.0.sweep_group();
    }
}

/// Kills what a run that was cut off has left, by its [note](Run::note), for who does not run the same again. Without a note nothing is done.
pub fn end_left(note: &Path) {
    end_predecessor(note);
    let _ = fs::remove_file(note);
}

/// Kills what a run that was cut off has left.
fn end_predecessor(note: &Path) {
    let left = fs::read(note).ok().and_then(|bytes| serde_json::from_slice::<ProcessIdentity>(&bytes).ok());
    if let Some(left) = left {
        tracing::warn!(pid = left.pid, "an earlier run was cut off; what is left of it is killed");
        drop(Group(left));
    }
}

/// Not synced: what it tells of is gone when the machine loses its power.
fn write_note(note: &Path, identity: &ProcessIdentity) -> io::Result<()> {
    let fresh = note.with_extension("new");
    fs::write(&fresh, serde_json::to_vec(identity)?)?;
    fs::rename(&fresh, note)
}

fn open_log(log: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(log)
}

/// Which bytes are kept, and how many.
#[derive(Clone, Copy)]
enum Which {
    First(usize),
    Last(usize),
}

/// What is kept of an output.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    more: bool,
}

impl Kept {
    /// Reads an output to its end, into the log too.
    async fn fill(&mut self, pipe: Option<impl AsyncRead + Unpin>, log: Option<&File>, which: Which) {
        let Some(mut pipe) = pipe else { return };
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
            if let Some(mut log) = log
                && let Err(error) = log.write_all(&chunk[..length])
            {
                tracing::warn!(%error, "what a command prints cannot be written to its log");
            }
            self.take(&chunk[..length], which);
        }
    }

    fn take(&mut self, chunk: &[u8], which: Which) {
        match which {
            Which::First(most) => {
                let room = most.saturating_sub(self.bytes.len()).min(chunk.len());
                self.more |= room < chunk.len();
                self.bytes.extend_from_slice(&chunk[..room]);
            }
            Which::Last(most) => {
                self.bytes.extend_from_slice(chunk);
                let over = self.bytes.len().saturating_sub(most);
                self.more |= over > 0;
                self.bytes.drain(..over);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shell;

    const LONG: Duration = Duration::from_mins(1);

    fn run() -> Run<'static> {
        Run { limit: LONG, grace: LONG, log: None, keep: 64, note: None }
    }

    #[tokio::test]
    async fn what_a_command_prints_and_how_it_ends_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let command = shell(folder.path(), "echo out; echo why >&2; exit 3");
        let done = Run { log: Some(&log), ..run() }.to_end(&command).await.unwrap();
        assert_eq!((done.exit, done.timed_out, done.is_success()), (Exit::Status(3), false, false));
        assert_eq!((done.stdout.as_slice(), done.last_line().as_deref()), (b"out\n".as_slice(), Some("why")));
        let logged = fs::read_to_string(&log).unwrap();
        assert!(logged.contains("out\n") && logged.contains("why\n"), "{logged}");
    }

    #[tokio::test]
    async fn of_a_long_output_the_head_of_stdout_and_the_tail_of_stderr_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let command = shell(folder.path(), "printf 'head%0100d' 0; printf '%0100dtail' 0 >&2");
        let done = Run { keep: 8, ..run() }.to_end(&command).await.unwrap();
        assert_eq!(
            (done.stdout.as_slice(), done.stderr.as_slice(), done.truncated),
            (b"head0000".as_slice(), b"0000tail".as_slice(), true)
        );
    }

    #[tokio::test]
    async fn a_command_whose_time_is_over_is_asked_and_then_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("asked");
        let script = format!("trap 'echo > {}' TERM; sleep 600 & echo $!; while :; do wait; done", asked.display());
        let short = Run { limit: Duration::from_millis(200), grace: Duration::from_millis(200), ..run() };
        let done = short.to_end(&shell(folder.path(), &script)).await.unwrap();
        assert!(done.timed_out && asked.exists());
        assert_eq!(done.exit, Exit::Signal(9));
        let child: u32 = String::from_utf8(done.stdout).unwrap().trim().parse().unwrap();
        ended(child).await;
    }

    #[tokio::test]
    async fn a_child_that_a_command_leaves_behind_goes_with_it_and_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let done = run().to_end(&shell(folder.path(), "sleep 600 & echo $!")).await.unwrap();
        assert!(done.is_success());
        ended(String::from_utf8(done.stdout).unwrap().trim().parse().unwrap()).await;
    }

    #[tokio::test]
    async fn a_run_that_is_dropped_takes_its_process_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        let command = shell(folder.path(), "sleep 600");
        let running = Run { note: Some(&note), ..run() }.to_end(&command);
        let noted = tokio::select! {
            biased;
            _ = running => panic!("it ended"),
            noted = read_note(&note) => noted,
        };
        ended(noted.pid).await;
    }

    #[tokio::test]
    async fn what_a_run_that_was_cut_off_has_left_is_killed_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        let mut left = tokio::process::Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        write_note(&note, &ProcessIdentity::of(left.id().unwrap()).unwrap()).unwrap();
        let done = Run { note: Some(&note), ..run() }.to_end(&shell(folder.path(), "true")).await.unwrap();
        assert!(done.is_success() && !note.exists());
        assert_eq!(Exit::from(left.wait().await.unwrap()), Exit::Signal(9));
    }

    #[tokio::test]
    async fn what_a_run_that_was_cut_off_has_left_is_killed_without_another_run_too() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        end_left(&note);
        let mut left = tokio::process::Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        write_note(&note, &ProcessIdentity::of(left.id().unwrap()).unwrap()).unwrap();
        end_left(&note);
        assert!(!note.exists());
        assert_eq!(Exit::from(left.wait().await.unwrap()), Exit::Signal(9));
    }

    async fn read_note(note: &Path) -> ProcessIdentity {
        loop {
            if let Ok(bytes) = fs::read(note) {
                return serde_json::from_slice(&bytes).unwrap();
            }
            tokio::task::yield_now().await;
        }
    }

    async fn ended(pid: u32) {
        while ProcessIdentity::of(pid).is_some() {
            tokio::task::yield_now().await;
        }
    }
}
