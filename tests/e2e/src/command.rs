//! Running a command to its end within a deadline.

use std::{
    fmt,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{process, wait};

/// How a command ended, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code; 128 + the signal's number where one ended it, as shells have it.
    pub code: i32,
    /// Its data.
    pub stdout: String,
    /// Its words.
    pub stderr: String,
}

#[allow(
    clippy::return_self_not_must_use,
    reason = "what is expected is said, whether or not more is asked of the output"
)]
impl Output {
    /// This output, if the command ended with `code`; panics with everything it said if not.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "another exit code than expected\n{self}");
        self
    }

    /// This output, if the command succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.expect_code(0)
    }

    /// Whether `text` is anywhere in what it said.
    pub fn says(&self, text: &str) -> bool {
        self.stdout.contains(text) || self.stderr.contains(text)
    }

    /// Panics unless `text` is somewhere in what it said.
    #[track_caller]
    pub fn expect(self, text: &str) -> Self {
        assert!(self.says(text), "{text:?} is missing\n{self}");
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// Runs `command` with `stdin`, and kills it and panics if it takes longer than `limit`.
#[track_caller]
pub fn run(command: &mut Command, stdin: &str, limit: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    // A command that ends without reading its input closes the pipe, which is its right.
    let _closed = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let ended = wait_for(&mut child, limit);
    if ended.is_none() {
        process::kill(child.id());
        child.wait().unwrap();
    }
    let output = Output { code: ended.unwrap_or(-1), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() };
    assert!(ended.is_some(), "{command:?} took longer than {limit:?}\n{output}");
    output
}

/// Waits for the end of a child: its exit code as [`Output::code`] has it, or none after `limit`.
pub fn wait_for(child: &mut Child, limit: Duration) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt as _;
    let deadline = wait::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        if wait::now() >= deadline {
            return None;
        }
        wait::pause(Duration::from_millis(10));
    }
}

/// Reads a pipe to its end beside the command, which would stall on a full one.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _cut = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_and_both_streams_are_kept() {
        let output =
            run(Command::new("sh").args(["-c", "cat; echo words >&2; exit 6"]), "data", Duration::from_secs(5));
        assert_eq!(output, Output { code: 6, stdout: "data".to_owned(), stderr: "words\n".to_owned() });
    }

    #[test]
    #[should_panic(expected = "took longer than")]
    fn a_command_that_hangs_is_killed_and_fails_the_test() {
        run(Command::new("sleep").arg("600"), "", Duration::from_millis(50));
    }
}
