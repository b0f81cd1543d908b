//! `helium plan`: what applying files would do, found out in a simulated world. Exit code 1 if there is something.

use clap::{Args, ValueEnum};
use helium_crds::Period;
use helium_engine::people::{Applied, Outcome as Applying};
use helium_sim::preview::{Assumptions, Outlook, PreviewError, Snapshot, foresee};
use serde_json::{Value, json};

use super::diff;
use crate::{
    documents::{self, Files, Reader},
    output::{Console, Exit, Failure, Outcome, format::to_json, plan},
    session::Session,
};

/// Options of `helium plan`.
#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    files: Files,
    /// Have the new version fail when its canary reaches this step, counted from 1, and show the way back
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(u32).range(1..))]
    canary_fails_at: Option<u32>,
    /// How long an instance is assumed to take from its assignment until it passes its checks
    #[arg(long, value_name = "PERIOD", default_value = "2s")]
    start_time: Period,
    /// Print one JSON document
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Machine>,
}

/// The form for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Machine {
    /// `{"items": [...], "deployments": [...], "assumed": {...}}`; or `{"valid": false, "problems": [...]}` of files in which something is
    /// wrong.
    Json,
}

/// Runs `helium plan`.
pub(crate) async fn run(args: PlanArgs, session: &Session, console: &mut Console) -> Outcome {
    let reader = if args.output.is_some() { Reader::Machine } else { Reader::Person };
    let objects = documents::sound_or_told(&args.files, session.namespace(), reader, console)?;
    let people = session.people("plan")?;
    let applied = people.preview(&objects).await?;
    for applied in &applied {
        for warning in &applied.warnings {
            console.warn(format!("{}: {warning}", applied.object));
        }
    }
    let assumptions = Assumptions { start: args.start_time.as_duration(), canary_fails_at: args.canary_fails_at };
    let outlooks = outlooks(Snapshot::take(&people, &objects, &applied).await?, assumptions).await?;
    match args.output {
        Some(Machine::Json) => print_json(&applied, &outlooks, assumptions, console)?,
        None => print(&applied, &outlooks, assumptions, console)?,
    }
    if let Some((object, why)) = outlooks.iter().find_map(|outlook| Some((outlook.name(), outlook.unfollowed()?))) {
        return Err(Failure::usage(format!("{object} could not be followed: {why}")));
    }
    let changes = applied.iter().any(|applied| applied.outcome != Applying::Unchanged);
    Ok(if changes { Exit::Different } else { Exit::Ok })
}

/// Simulates on a thread of its own: simulated time must not stop the real one.
async fn outlooks(snapshot: Option<Snapshot>, assumptions: Assumptions) -> Result<Vec<Outlook>, Failure> {
    let Some(snapshot) = snapshot else { return Ok(Vec::new()) };
    let foreseen = tokio::task::spawn_blocking(move || foresee(&snapshot, assumptions)).await;
    Ok(foreseen.map_err(|error| Failure::internal(format!("the preview was lost: {error}")))??)
}

fn print(
    applied: &[Applied],
    outlooks: &[Outlook],
    assumptions: Assumptions,
    console: &mut Console,
) -> Result<(), Failure> {
    let different: Vec<&Applied> = applied.iter().filter(|applied| applied.outcome != Applying::Unchanged).collect();
    if different.is_empty() {
        return console.line("nothing would change");
    }
    for applied in different {
        let text = diff::text(applied, console)?;
        console.data(text)?;
    }
    for outlook in outlooks {
        console.line("")?;
        plan::text(outlook, console).into_iter().try_for_each(|line| console.line(line))?;
    }
    if outlooks.is_empty() {
        console.line("\nno Deployment is concerned: no instance would be made or removed")?;
        return Ok(());
    }
    console.line(format!("\n{}", plan::assumed(assumptions)))
}

fn print_json(
    applied: &[Applied],
    outlooks: &[Outlook],
    assumptions: Assumptions,
    console: &mut Console,
) -> Result<(), Failure> {
    let different = applied.iter().filter(|applied| applied.outcome != Applying::Unchanged);
    let items = different.map(diff::as_json).collect::<Result<Vec<Value>, _>>()?;
    let deployments: Vec<Value> = outlooks.iter().map(plan::document).collect();
    let assumed = plan::assumed_document(assumptions);
    console.data(to_json(&json!({ "items": items, "deployments": deployments, "assumed": assumed }))?)
}

impl From<PreviewError> for Failure {
    /// What the store refuses has the exit code that it has everywhere; what cannot be foreseen is a usage error.
    fn from(error: PreviewError) -> Self {
        match error {
            PreviewError::People(error) => error.into(),
            PreviewError::Runtime(error) => Self::internal(error.to_string()),
            other => Self::usage(other.to_string()),
        }
    }
}
