//! How a command ends that could not do to the store what people asked for.

use helium_engine::people::PeopleError;

use super::exit::{Exit, Failure};

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
        PeopleError::Store(error) => Exit::of_store(error),
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
        PeopleError::Unreadable { .. } => Exit::Internal,
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
