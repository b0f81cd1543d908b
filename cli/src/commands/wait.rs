//! `helium wait`: until an object is as wanted.

use std::str::FromStr;

use clap::Args;
use helium_crds::{DeploymentStatus, Kind, Period, Phase, status::Condition};
use helium_engine::people::{ObjectRef, People, PeopleError, follow::Follow};

use crate::{
    names,
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

/// Options of `helium wait`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  helium wait deployment/hello --for healthy\n  \
    helium wait deployment/hello --for condition=Available --timeout 2m\n  \
    helium wait deployment/hello --for deleted")]
pub(crate) struct WaitArgs {
    /// `KIND NAME...` or `KIND/NAME...`
    #[arg(value_name = "OBJECT", required = true)]
    objects: Vec<String>,
    /// `healthy`, `phase=PHASE`, `condition=NAME[=true|false]`, `created` or `deleted`
    #[arg(long = "for", value_name = "WHAT", default_value = "healthy")]
    what: Goal,
    /// How long to wait
    #[arg(long, value_name = "PERIOD", default_value = "30s")]
    timeout: Period,
}

/// What can be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Goal {
    Phase(Phase),
    Condition { name: String, holds: bool },
    Created,
    Deleted,
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, value) = text.split_once('=').map_or((text, None), |(what, value)| (what, Some(value)));
        match (what, value) {
            ("healthy", None) => Ok(Goal::Phase(Phase::Healthy)),
            ("created" | "create", None) => Ok(Goal::Created),
            ("deleted" | "delete", None) => Ok(Goal::Deleted),
            ("phase", Some(name)) => Phase::ALL
                .into_iter()
                .find(|phase| phase.to_string().eq_ignore_ascii_case(name))
                .map(Goal::Phase)
                .ok_or_else(|| format!("phases are {}", Phase::ALL.map(|phase| phase.to_string()).join(", "))),
            ("condition", Some(rest)) => {
                let (name, holds) = rest.split_once('=').unwrap_or((rest, "true"));
                let holds =
                    holds.to_ascii_lowercase().parse().map_err(|_| "a condition is true or false".to_owned())?;
                Ok(Goal::Condition { name: name.to_owned(), holds })
            }
            _ => Err("one of healthy, phase=PHASE, condition=NAME, created, deleted".to_owned()),
        }
    }
}

/// Runs `helium wait`.
pub(crate) async fn run(args: WaitArgs, session: &Session, console: &mut Console) -> Outcome {
    let objects = names::objects(&args.objects, session.namespace())?;
    let people = session.people("wait")?;
    let all = async {
        for object in &objects {
            reach(object, &args.what, &people).await?;
            console.line(format!("{object} {}", met(&args.what)))?;
        }
        Ok::<_, Failure>(Exit::Ok)
    };
    match tokio::time::timeout(args.timeout.as_duration(), all).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::new(Exit::Timeout, format!("not {} within {}", met(&args.what), args.timeout)).hint(
            format!("`helium explain {}` tells why", objects.first().map(ToString::to_string).unwrap_or_default()),
        )),
    }
}

fn met(goal: &Goal) -> String {
    match goal {
        Goal::Phase(phase) => phase.to_string(),
        Goal::Condition { name, holds: true } => name.clone(),
        Goal::Condition { name, holds: false } => format!("not {name}"),
        Goal::Created => "created".to_owned(),
        Goal::Deleted => "deleted".to_owned(),
    }
}

async fn reach(object: &ObjectRef, goal: &Goal, people: &People) -> Result<(), Failure> {
    match goal {
        Goal::Created | Goal::Deleted => {
            let mut follow = Follow::key(people, people.keys().spec(object.kind, &object.key));
            let gone = *goal == Goal::Deleted;
            while follow.next().await?.is_empty() != gone {}
            Ok(())
        }
        Goal::Phase(_) | Goal::Condition { .. } => status(object, goal, people).await,
    }
}

async fn status(object: &ObjectRef, goal: &Goal, people: &People) -> Result<(), Failure> {
    // What is waited for is an answer to the spec as it is now, not to an older one.
    let stored = people.object(object).await?.ok_or_else(|| PeopleError::NotFound(object.clone()))?.value;
    let generation = if object.kind == Kind::Deployment { stored.metadata.generation } else { 0 };
    let mut follow = Follow::key(people, people.keys().status(Kind::Deployment, &object.key));
    loop {
        let status: Option<DeploymentStatus> = follow.next_value().await?;
        if status.is_some_and(|status| status.observed_generation >= generation && holds(goal, &status)) {
            return Ok(());
        }
    }
}

fn holds(goal: &Goal, status: &DeploymentStatus) -> bool {
    let is = |condition: &&Condition, name: &str| format!("{:?}", condition.kind).eq_ignore_ascii_case(name);
    match goal {
        Goal::Phase(phase) => status.phase == *phase,
        Goal::Condition { name, holds } => status
            .conditions
            .iter()
            .find(|condition| is(condition, name))
            .is_some_and(|condition| condition.status == *holds),
        Goal::Created | Goal::Deleted => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_as_people_write_them() {
        assert_eq!("healthy".parse(), Ok(Goal::Phase(Phase::Healthy)));
        assert_eq!("phase=degraded".parse(), Ok(Goal::Phase(Phase::Degraded)));
        assert_eq!("condition=Available".parse(), Ok(Goal::Condition { name: "Available".to_owned(), holds: true }));
        let not = Goal::Condition { name: "Progressing".to_owned(), holds: false };
        assert_eq!("condition=Progressing=false".parse(), Ok(not));
        assert_eq!("deleted".parse(), Ok(Goal::Deleted));
        for text in ["", "phase", "phase=Sleeping", "condition=A=maybe", "ready"] {
            assert!(text.parse::<Goal>().is_err(), "{text}");
        }
    }
}
