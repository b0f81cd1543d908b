//! `helium rollout`: look at rollouts and steer them.

use clap::{Args, Subcommand};
use helium_crds::{Kind, ObjectKey, Period, control::Verb, revision::Revision};
use helium_engine::people::{ObjectRef, Way};
use serde_json::{Value, json};

use super::{
    request::{More, RequestArgs, send, send_more},
    waiting::{Waited, wait_for},
};
use crate::{
    names,
    output::{
        Console, Exit, Failure, Outcome,
        format::{Document, items, to_document},
        table::Rows,
        time::age,
    },
    session::Session,
};

/// What can be done with a rollout.
#[derive(Debug, Subcommand)]
pub(crate) enum RolloutCommand {
    /// Follow a rollout to its end; exit code 6 if it fails
    Status(StatusArgs),
    /// List the revisions that can be returned to
    History(HistoryArgs),
    /// Return to an earlier template
    Undo(UndoArgs),
    /// Hold a rollout where it is; it is looked at meanwhile, and goes back if it fails
    Pause(HoldArgs),
    /// Go on after a pause
    Resume(RequestArgs),
    /// Replace every instance by a new one of the same revision
    Restart(RequestArgs),
}

impl RolloutCommand {
    /// Whether it ends only when the rollout does.
    pub(super) fn waits(&self) -> bool {
        match self {
            RolloutCommand::Status(args) => !args.no_watch,
            RolloutCommand::Undo(args) => args.wait,
            _ => false,
        }
    }
}

/// Options of what holds a rollout.
#[derive(Args, Debug)]
pub(crate) struct HoldArgs {
    #[command(flatten)]
    request: RequestArgs,
    /// End it by itself after this long
    #[arg(long = "for", value_name = "PERIOD")]
    length: Option<Period>,
}

/// Options of `helium rollout status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// The Deployment
    name: String,
    /// Say how things stand now, and do not wait
    #[arg(long)]
    no_watch: bool,
    /// How long to wait
    #[arg(long, value_name = "PERIOD", default_value = "1h")]
    timeout: Period,
}

/// Options of `helium rollout history`.
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// The Deployment
    name: String,
    /// Print the revisions as documents
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Document>,
}

/// Options of `helium rollout undo`.
#[derive(Args, Debug)]
pub(crate) struct UndoArgs {
    /// The Deployment
    name: String,
    /// The number of the revision, from `helium rollout history`; default: the version before
    #[arg(long, value_name = "NUMBER")]
    to_revision: Option<u64>,
    /// Take no steps of the Canary
    #[arg(long, conflicts_with = "staged")]
    fast: bool,
    /// Take all steps of the Canary, also within `rollbackWindow`
    #[arg(long)]
    staged: bool,
    /// Why, for those who look later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Follow the rollout to its end; exit code 6 if it fails
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "PERIOD", default_value = "1h", requires = "wait")]
    timeout: Period,
}

/// Runs `helium rollout ...`.
pub(crate) async fn run(command: RolloutCommand, session: &Session, console: &mut Console) -> Outcome {
    match command {
        RolloutCommand::Status(args) => status(args, session, console).await,
        RolloutCommand::History(args) => history(args, session, console).await,
        RolloutCommand::Undo(args) => undo(args, session, console).await,
        RolloutCommand::Pause(args) => hold(args, Verb::Pause, "paused", session, console).await,
        RolloutCommand::Resume(args) => send(args, Verb::Resume, "resumed", session, console).await,
        RolloutCommand::Restart(args) => send(args, Verb::Restart, "restarted", session, console).await,
    }
}

/// Sends a pause or a lock, with its end if it has one.
pub(super) async fn hold(args: HoldArgs, verb: Verb, done: &str, session: &Session, console: &mut Console) -> Outcome {
    let more = More { length: args.length, ..More::default() };
    let done = args.length.map_or_else(|| done.to_owned(), |length| format!("{done} for {length}"));
    send_more(args.request, verb, more, &done, session, console).await
}

async fn status(args: StatusArgs, session: &Session, console: &mut Console) -> Outcome {
    let key = names::deployment(&args.name, session.namespace())?;
    let people = session.people("rollout")?;
    let stored = people.existing(&deployment(&key)).await?.value;
    if args.no_watch {
        let line = match people.status(&key).await? {
            Some(status) => format!("{}: {}", status.phase, status.message),
            None => "Pending: no controller has looked at it yet".to_owned(),
        };
        console.line(format!("deployment/{key} {line}"))?;
        return Ok(Exit::Ok);
    }
    let waited = Waited::of(&stored).ok_or_else(|| Failure::internal(format!("deployment/{key} cannot be read")))?;
    wait_for(vec![waited], &people, args.timeout, console).await
}

async fn history(args: HistoryArgs, session: &Session, console: &mut Console) -> Outcome {
    let key = names::deployment(&args.name, session.namespace())?;
    let people = session.people("rollout")?;
    people.existing(&deployment(&key)).await?;
    let revisions = people.revisions(&key).await?;
    if let Some(document) = args.output {
        let values = revisions.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>()?;
        console.data(to_document(&items(&values), document)?)?;
        return Ok(Exit::Ok);
    }
    if revisions.is_empty() {
        console.say(format!("deployment/{key} has no history yet"));
        return Ok(Exit::Ok);
    }
    let status = people.status(&key).await?;
    let mut rows = Rows::new(&["NUMBER", "VERSION", "REVISION", "STATE", "AGE"]);
    for revision in &revisions {
        rows.add(vec![
            revision.number.to_string(),
            revision.template.version.clone(),
            revision.id.short().to_owned(),
            state(revision, status.as_ref()).to_owned(),
            age(Some(revision.created_at), session.ports.now()),
        ]);
    }
    rows.lines(console).into_iter().try_for_each(|line| console.line(line))?;
    Ok(Exit::Ok)
}

/// What a revision is at the moment.
fn state(revision: &Revision, status: Option<&helium_crds::DeploymentStatus>) -> &'static str {
    let Some(status) = status else { return "" };
    let is = |other: &helium_crds::RevisionId| *other == revision.id;
    let stable = status.stable.as_ref().is_some_and(|stable| is(&stable.revision));
    match (stable, is(&status.current.revision)) {
        (true, _) => "stable",
        (false, true) => "current",
        _ => "",
    }
}

async fn undo(args: UndoArgs, session: &Session, console: &mut Console) -> Outcome {
    let key = names::deployment(&args.name, session.namespace())?;
    let people = session.people("undo")?;
    let way = match (args.fast, args.staged) {
        (true, _) => Way::Fast,
        (false, true) => Way::Staged,
        (false, false) => Way::AsDeclared,
    };
    let undone = people.undo_by(&key, args.to_revision, way, args.reason.as_deref()).await?;
    let version = |spec: &Value| {
        // Where the version comes from a build, what is gone away from is what the newest one gives.
        let label = spec.pointer("/template/version");
        let label = label.or_else(|| undone.after.spec.pointer("/versionFrom/instead/of"));
        let label = label.or_else(|| undone.before.spec.pointer("/versionFrom/instead/take"));
        label.and_then(Value::as_str).unwrap_or("?").to_owned()
    };
    if undone.before.spec == undone.after.spec {
        console.line(format!("deployment/{key} unchanged: it is at revision {} already", undone.to.number))?;
    } else {
        let (from, to) = (version(&undone.before.spec), version(&json!({ "template": undone.to.template })));
        console.line(format!("deployment/{key} returned to revision {} ({from} -> {to})", undone.to.number))?;
    }
    if !undone.values.is_empty() {
        let (names, prefix) = (undone.values.join(", "), people.keys().overrides(&key));
        console.say(format!(
            "the values below {prefix} stay as they are; revision {} had others of {names}",
            undone.to.number
        ));
    }
    match Waited::of(&undone.after).filter(|_| args.wait) {
        Some(waited) => wait_for(vec![waited], &people, args.timeout, console).await,
        None => Ok(Exit::Ok),
    }
}

fn deployment(key: &ObjectKey) -> ObjectRef {
    ObjectRef::new(Kind::Deployment, key.clone())
}
