//! `helium apply`: bring objects into the store as files declare them.

use clap::{Args, ValueEnum};
use helium_crds::{Kind, Period};
use helium_engine::people::{Applied, Outcome as Applying};
use serde_json::{Value, json};

use super::waiting::{Waited, wait_for};
use crate::{
    documents::{self, Files, Reader},
    output::{Console, Exit, Failure, Outcome, format::to_json},
    session::Session,
};

/// Options of `helium apply`.
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    files: Files,
    /// Say what would change, and write nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Follow the rollouts to their end; exit code 6 if one fails
    #[arg(long)]
    pub(super) wait: bool,
    /// How long to wait
    #[arg(long, value_name = "PERIOD", default_value = "1h", requires = "wait")]
    timeout: Period,
    /// Print names only, or one JSON document; what `--wait` says of the progress then goes to stderr
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Short>,
}

/// How results are printed, other than as lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Short {
    /// `deployment/hello`, one a line.
    Name,
    /// One JSON document: `{"items": [...]}`, or `{"valid": false, "problems": [...]}` of files in which something is wrong.
    Json,
}

/// Runs `helium apply`.
pub(crate) async fn run(args: ApplyArgs, session: &Session, console: &mut Console) -> Outcome {
    let reader = if args.output == Some(Short::Json) { Reader::Machine } else { Reader::Person };
    let objects = documents::sound_or_told(&args.files, session.namespace(), reader, console)?;
    let people = session.people("apply")?;
    let applied = if args.dry_run { people.preview(&objects).await? } else { people.apply(&objects).await? };
    print(&applied, &args, console)?;
    if !args.wait {
        return Ok(Exit::Ok);
    }
    let waited: Vec<Waited> = applied
        .iter()
        .filter(|applied| applied.object.kind == Kind::Deployment)
        .filter_map(|applied| Waited::of(&applied.after))
        .collect();
    if waited.is_empty() {
        console.say("nothing to wait for: no Deployment was applied");
        return Ok(Exit::Ok);
    }
    if args.output.is_some() {
        console.keep_stdout_for_data();
    }
    wait_for(waited, &people, args.timeout, console).await
}

fn print(applied: &[Applied], args: &ApplyArgs, console: &mut Console) -> Result<(), Failure> {
    for applied in applied {
        for warning in &applied.warnings {
            console.warn(format!("{}: {warning}", applied.object));
        }
    }
    match args.output {
        Some(Short::Json) => {
            let items: Vec<Value> = applied.iter().map(as_json).collect();
            console.data(to_json(&json!({ "items": items }))?)
        }
        Some(Short::Name) => applied.iter().try_for_each(|applied| console.line(applied.object.to_string())),
        None => applied.iter().try_for_each(|applied| {
            let line = result_line(applied);
            console.line(if args.dry_run { format!("{line} (dry run)") } else { line })
        }),
    }
}

fn as_json(applied: &Applied) -> Value {
    json!({
        "object": applied.object.to_string(),
        "outcome": applied.outcome.as_str(),
        "generation": applied.after.metadata.generation,
        "warnings": applied.warnings,
    })
}

/// `deployment/hello configured (1.0.0 -> 2.0.0)`.
pub(super) fn result_line(applied: &Applied) -> String {
    let line = format!("{} {}", applied.object, applied.outcome.as_str());
    match (&applied.versions, applied.outcome) {
        (Some((before, after)), Applying::Configured) => format!("{line} ({before} -> {after})"),
        _ => line,
    }
}
