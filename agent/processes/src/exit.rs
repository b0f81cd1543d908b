//! How a process ended.

use std::{fmt, os::unix::process::ExitStatusExt as _, process::ExitStatus};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called exit with this status.
    Status(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// It ended, and nobody of this run of the program was its parent: the system told the status to somebody else.
    Unseen,
}

impl Exit {
    /// True if it ended by itself with status 0.
    pub fn is_success(self) -> bool {
        self == Exit::Status(0)
    }

    /// The status that a shell would pass on: its own, or 128 and the signal's number; 1 where nobody knows.
    pub fn code(self) -> i32 {
        match self {
            Exit::Status(status) => status,
            Exit::Signal(signal) => 128 + signal,
            Exit::Unseen => 1,
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Status(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unseen,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "exit status {status}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
            Exit::Unseen => f.write_str("ended while it was adopted; its exit status went to another parent"),
        }
    }
}
