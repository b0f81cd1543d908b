//! Which process is meant, how one ended, and its control group: plain words that are written down, and looked up by whoever runs processes.

use std::{fmt, path::PathBuf};

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

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called exit with this status.
    Status(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// It ended, and nobody of this run of the agent was its parent: the system told the status to somebody else.
    Unseen,
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

/// A control group, by its folders. It outlives whoever made it, so that it is written down before it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its folders, one a hierarchy.
    pub folders: Vec<PathBuf>,
}
