//! Drivers: the ways to run an instance. There is one now, [`exec`]: a process of the agent's own machine.

pub(crate) mod environment;
pub(crate) mod exec;
pub(crate) mod identity;
pub(crate) mod signal;

pub(crate) use identity::ProcessIdentity;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It called exit with this status.
    Status(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// It ended, and nobody of this run of the agent was its parent: the system told the status to somebody else.
    Unseen,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "exit status {status}"),
            Exit::Signal(signal) => write!(f, "killed by signal {signal}"),
            Exit::Unseen => f.write_str("ended while it was adopted; its exit status went to another parent"),
        }
    }
}
