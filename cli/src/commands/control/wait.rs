//! `helium wait`: until an object is as wanted.

use std::{fmt::Display, str::FromStr};

use clap::Args;
use helium_crds::{DeploymentStatus, Kind, Period, Phase, diagnose::nearest, status::ConditionKind};
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
    Condition { kind: ConditionKind, holds: bool },
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
            ("phase", Some(name)) => named(name, "phase", &Phase::ALL).map(Goal::Phase),
            ("condition", Some(rest)) => {
                let (name, holds) = rest.split_once('=').unwrap_or((rest, "true"));
                let holds =
                    holds.to_ascii_lowercase().parse().map_err(|_| "a condition is true or false".to_owned())?;
                Ok(Goal::Condition { kind: named(name, "condition", &ConditionKind::ALL)?, holds })
            }
            _ => Err("one of healthy, phase=PHASE, condition=NAME, created, deleted".to_owned()),
        }
    }
}

/// The one of `all` that bears this name, upper case or lower; the error has the nearest name and all there are.
fn named<T: Copy + Display>(name: &str, what: &str, all: &[T]) -> Result<T, String> {
    if let Some(found) = all.iter().find(|one| one.to_string().eq_ignore_ascii_case(name)) {
        return Ok(*found);
    }
    let known: Vec<String> = all.iter().map(ToString::to_string).collect();
    let meant = nearest(name, known.iter().map(String::as_str));
    let meant = meant.map_or_else(|| ". There".to_owned(), |meant| format!("; did you mean `{meant}`? There"));
    Err(format!("there is no {what} `{name}`{meant} are {}", known.join(", ")))
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
        Goal::Condition { kind, holds: true } => kind.to_string(),
        Goal::Condition { kind, holds: false } => format!("not {kind}"),
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
    if object.kind == Kind::HydraJob {
        return Err(
            Failure::usage("a HydraJob has no phase").hint("`--for created` and `--for deleted` can be waited for")
        );
    }
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
    match goal {
        Goal::Phase(phase) => status.phase == *phase,
        // One that was never set does not hold.
        Goal::Condition { kind, holds } => {
            let set = status.conditions.iter().find(|condition| condition.kind == *kind);
            set.is_some_and(|condition| condition.status) == *holds
        }
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
        let goal = |kind, holds| Ok(Goal::Condition { kind, holds });
        assert_eq!("condition=Available".parse(), goal(ConditionKind::Available, true));
        assert_eq!("condition=manualcounts".parse(), goal(ConditionKind::ManualCounts, true));
        assert_eq!("condition=Progressing=false".parse(), goal(ConditionKind::Progressing, false));
        assert_eq!("deleted".parse(), Ok(Goal::Deleted));
        for text in ["", "phase", "phase=Sleeping", "condition=Available=maybe", "condition=A", "ready"] {
            assert!(text.parse::<Goal>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_typo_has_the_nearest_name_and_all_there_are() {
        let told = "condition=Avaliable".parse::<Goal>().unwrap_err();
        assert_eq!(
            told,
            "there is no condition `Avaliable`; did you mean `Available`? There are Available, Progressing, ManualCounts, Locked"
        );
        assert!("phase=helthy".parse::<Goal>().unwrap_err().contains("did you mean `Healthy`?"));
    }

    #[test]
    fn a_condition_that_was_never_set_is_false() {
        let status: DeploymentStatus = serde_json::from_value(serde_json::json!({
            "uid": "u", "observedGeneration": 1, "phase": "Healthy", "reason": "AllHealthy", "message": "",
            "wanted": 1, "healthy": 1, "current": {"version": "1", "revision": "r1-1"},
            "conditions": [{"type": "Available", "status": true, "reason": "EnoughHealthy", "message": "",
                            "lastTransitionTime": "2026-03-01T12:00:00Z"}],
            "nextOrdinal": 1, "nextRevision": 1,
        }))
        .unwrap();
        let holds = |text: &str| holds(&text.parse().unwrap(), &status);
        assert!(holds("condition=Available") && !holds("condition=Available=false"));
        assert!(holds("condition=ManualCounts=false") && !holds("condition=ManualCounts"));
    }
}
