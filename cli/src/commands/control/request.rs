//! Requests to a rollout: sent, and waited for until the controller has answered.

use std::time::Duration;

use clap::Args;
use helium_crds::{DeploymentStatus, Period, control::Verb, status::Stage};
use helium_engine::people::Asked;

use crate::{
    names,
    output::{Console, Exit, Failure, Outcome, answer::happened},
    session::Session,
};

/// How long a controller may take to answer before the person is told that none has.
const PATIENCE: Duration = Duration::from_secs(15);

/// Options of every request.
#[derive(Args, Debug)]
pub(crate) struct RequestArgs {
    /// The Deployment
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Why, for those who look later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Do not wait for the controller's answer
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// What more there is to a request than its verb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct More {
    /// The step to go on at, counted from 1 as people do.
    pub(super) step: Option<u32>,
    /// How long a pause or a lock lasts.
    pub(super) length: Option<Period>,
}

/// Sends a request and tells the answer. `done` is what a request that was carried out is called: `promoted`.
pub(super) async fn send(
    args: RequestArgs,
    verb: Verb,
    done: &str,
    session: &Session,
    console: &mut Console,
) -> Outcome {
    send_more(args, verb, More::default(), done, session, console).await
}

/// The same with more to it.
pub(super) async fn send_more(
    args: RequestArgs,
    verb: Verb,
    more: More,
    done: &str,
    session: &Session,
    console: &mut Console,
) -> Outcome {
    let key = names::deployment(&args.name, session.namespace())?;
    let people = session.people("control")?;
    let to_step = match more.step {
        Some(0) => return Err(Failure::usage("steps are counted from 1")),
        step => step.map(|step| step - 1),
    };
    let asked = Asked { verb, reason: args.reason, to_step, length: more.length };
    let before = people.status(&key).await?.and_then(|status| status.rollout);
    let Some(request) = people.ask(&key, asked).await? else {
        let status = people.status(&key).await?;
        let why = if verb == Verb::Unlock { "it is not locked".to_owned() } else { nothing_to_do(status.as_ref()) };
        console.line(format!("deployment/{key} unchanged: {why}"))?;
        return Ok(Exit::Ok);
    };
    if args.no_wait {
        console.line(format!("deployment/{key} asked to {}", verb.as_str()))?;
        return Ok(Exit::Ok);
    }
    let Ok(answered) = tokio::time::timeout(PATIENCE, people.answered(&key, &request.id)).await else {
        let message = format!("no controller has answered within {} s; the request stands", PATIENCE.as_secs());
        return Err(Failure::new(Exit::Timeout, message).hint("`helium doctor` tells whether one leads"));
    };
    let (answer, after) = answered?;
    if let Some(why) = answer.refused {
        return Err(Failure::new(Exit::Refused, format!("deployment/{key} was not {done}: {why}")));
    }
    // An abort that finds nothing to give up is carried out, too: it must not look as if something had been.
    let line = if verb == Verb::Abort && after.rollout.is_none() {
        format!(" unchanged: {}", nothing_to_do(Some(&after)))
    } else {
        happened(done, &request, before.as_ref(), &after)
    };
    console.line(format!("deployment/{key}{line}"))?;
    Ok(Exit::Ok)
}

/// Why an abort has nothing to do, with what serves.
fn nothing_to_do(status: Option<&DeploymentStatus>) -> String {
    let Some((status, rollout)) = status.and_then(|status| Some((status, status.rollout.as_ref()?))) else {
        return "no rollout is under way".to_owned();
    };
    let (new, stable) = (&rollout.version, status.stable.as_ref().map(|stable| &stable.version));
    match (rollout.stage, stable) {
        (Stage::RollingBack, Some(stable)) => format!("{new} is aborted already, and {stable} is taking over again"),
        (Stage::RollbackFailed, Some(stable)) => {
            format!("{new} is aborted already, and the way back to {stable} failed")
        }
        (_, Some(stable)) => format!("{new} is aborted already; {stable} serves"),
        (_, None) => format!("{new} is aborted already"),
    }
}
