//! Exit codes: what a script can tell from the end of a command.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Ok,
    /// `diff` or `plan` found something that would change, or `agent --once` left something that should.
    Different,
    /// The command line, or a document, is wrong.
    Usage,
    /// Somebody else changed the object, or it stands in the way of another.
    Conflict,
    /// There is no such thing.
    NotFound,
    /// It did not happen in time.
    Timeout,
    /// The rollout failed.
    RolloutFailed,
    /// A lock, a window or a guard forbids it.
    Refused,
    /// Consul does not answer.
    Unreachable,
    /// The token has no right to it.
    NotAuthorised,
    /// A fault of Helium, or of the machine.
    Internal,
    /// Ctrl-C.
    Interrupted,
    /// `helium hail` has codes of its own, which are those that its outcomes have.
    Hail(helium_nix::Outcome),
    /// What the program that was run in this one's place ended with.
    Child(u8),
}

impl Exit {
    /// Its number. The numbers are a promise and never change their meaning.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Different => 1,
            Self::Usage => 2,
            Self::Conflict => 3,
            Self::NotFound => 4,
            Self::Timeout => 5,
            Self::RolloutFailed => 6,
            Self::Refused => 7,
            Self::Unreachable => 8,
            Self::NotAuthorised => 9,
            Self::Internal => 10,
            Self::Interrupted => 130,
            Self::Hail(outcome) => outcome.code(),
            Self::Child(code) => code,
        }
    }

    /// What a call of Consul's API that went wrong ends with.
    pub(crate) fn of_store(error: &consul_client::Error) -> Self {
        match error {
            error if error.is_denied() => Self::NotAuthorised,
            error if error.is_unreachable() => Self::Unreachable,
            _ => Self::Internal,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// A command that ended badly: the code, the sentence and, where there is one, the way out.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What went wrong, without a full stop; empty if everything has been said already.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// What commands give.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure with its sentence.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// The same with a way out.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A fault of Helium or of the machine.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Exit::Internal, message)
    }
}

impl From<std::io::Error> for Failure {
    /// A reader that went away is no failure at all: the writer ends quietly.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, ""),
            _ => Self::internal(error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { std::io::Error::from(error).into() } else { Self::internal(error.to_string()) }
    }
}

impl From<consul_client::Error> for Failure {
    fn from(error: consul_client::Error) -> Self {
        let exit = Exit::of_store(&error);
        let failure = Self::new(exit, error.to_string());
        match exit {
            Exit::Unreachable => {
                failure.hint("is Consul running there? `--consul-addr` or `CONSUL_HTTP_ADDR` names another address")
            }
            Exit::NotAuthorised => failure.hint("`helium acl policy deployer` prints the rights that this needs"),
            _ => failure,
        }
    }
}
