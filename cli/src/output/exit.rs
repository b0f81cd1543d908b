//! Exit codes: what a script can tell from the end of a command.

use std::process::ExitCode;

use helium_engine::people::PeopleError;

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
        PeopleError::from(error).into()
    }
}

impl From<PeopleError> for Failure {
    fn from(error: PeopleError) -> Self {
        let exit = exit_of(&error);
        let failure = Self::new(exit, error.to_string());
        match (&error, exit) {
            (_, Exit::Unreachable) => {
                failure.hint("is Consul running there? `--consul-addr` or `CONSUL_HTTP_ADDR` names another address")
            }
            (PeopleError::NotInitialised { .. }, _) => {
                failure.hint("start `helium controller` once, or apply once with a token of the controller's rights")
            }
            (PeopleError::LayoutLost { .. }, _) => failure
                .hint("look at the store; `helium doctor --repair` declares what is there now to be all there is"),
            (_, Exit::NotAuthorised) => failure.hint("`helium acl policy deployer` prints the rights that this needs"),
            (PeopleError::Conflict { .. }, _) => failure.hint("look at it again and repeat the command"),
            (PeopleError::ServiceClash { .. }, _) => failure.hint("set `spec.service` of one of them to another name"),
            (PeopleError::CountsHeld { object, .. }, _) => failure.hint(format!(
                "`helium scale {0} --versions VERSION=COUNT` sets other counts, `helium scale {0}=COUNT` ends them",
                object.key
            )),
            (PeopleError::OnlyValues { .. }, _) => {
                failure.hint("put those values back in Consul: that is a rollout like any other")
            }
            (PeopleError::Renumbered { object, now, .. }, _) => {
                failure.hint(format!("`helium rollout undo {} --to-revision {now}`", object.key))
            }
            (PeopleError::WeightNotPossible { .. }, _) => {
                failure.hint("choose another weight or count, or leave `exact` out to take the nearest")
            }
            _ => failure,
        }
    }
}

fn exit_of(error: &PeopleError) -> Exit {
    match error {
        PeopleError::Store(error) if error.is_denied() => Exit::NotAuthorised,
        PeopleError::Store(error) if error.is_unreachable() => Exit::Unreachable,
        PeopleError::NotInitialised { .. } => Exit::NotAuthorised,
        PeopleError::Conflict { .. } | PeopleError::Deleting(_) | PeopleError::ServiceClash { .. } => Exit::Conflict,
        PeopleError::NotFound(_) | PeopleError::NoRevision { .. } | PeopleError::Renumbered { .. } => Exit::NotFound,
        PeopleError::WeightNotPossible { .. }
        | PeopleError::TooLarge { .. }
        | PeopleError::Invalid { .. }
        | PeopleError::Ambiguous { .. }
        | PeopleError::SameVersion { .. }
        | PeopleError::GivenTwice(_) => Exit::Usage,
        PeopleError::Refused(_)
        | PeopleError::CountsHeld { .. }
        | PeopleError::OnlyValues { .. }
        | PeopleError::Layout { .. }
        | PeopleError::LayoutLost { .. } => Exit::Refused,
        PeopleError::Partly { cause, .. } => exit_of(cause),
        PeopleError::Unknown { .. } => Exit::Unreachable,
        PeopleError::Store(_) | PeopleError::Unreadable { .. } => Exit::Internal,
    }
}

#[cfg(test)]
mod tests {
    use helium_crds::{Kind, ObjectKey};
    use helium_engine::people::ObjectRef;

    use super::*;

    #[test]
    fn what_went_wrong_in_the_store_has_the_exit_code_that_was_promised() {
        let hello = || ObjectRef::new(Kind::Deployment, ObjectKey::new("default", "hello"));
        let conflict = || PeopleError::Conflict { objects: vec![hello()] };
        let clash = PeopleError::ServiceClash {
            object: hello(),
            other: Box::new(ObjectKey::new("default", "world")),
            service: "hello".to_owned(),
        };
        let root = || "helium/v1/".to_owned();
        for (error, exit) in [
            (PeopleError::TooLarge { object: hello(), size: 600_000, limit: 500_000 }, Exit::Usage),
            (conflict(), Exit::Conflict),
            (PeopleError::Deleting(hello()), Exit::Conflict),
            (clash, Exit::Conflict),
            (PeopleError::Partly { written: 1, total: 2, cause: Box::new(conflict()) }, Exit::Conflict),
            (PeopleError::NotFound(hello()), Exit::NotFound),
            (PeopleError::Refused("no rollout is under way".to_owned()), Exit::Refused),
            (PeopleError::Layout { root: root(), found: 2, known: 1 }, Exit::Refused),
            (PeopleError::LayoutLost { key: root() }, Exit::Refused),
            (PeopleError::Unknown { cause: "reset".to_owned() }, Exit::Unreachable),
            (PeopleError::NotInitialised { root: root() }, Exit::NotAuthorised),
            (PeopleError::Unreadable { key: root(), why: "no JSON".to_owned() }, Exit::Internal),
        ] {
            assert_eq!(Failure::from(error).exit, exit);
        }
    }
}
