//! `helium diff`: what apply would change, as a unified diff. Exit code 1 if there is something.

use clap::{Args, ValueEnum};
use helium_crds::Metadata;
use helium_engine::people::{Applied, Outcome as Applying, Stored};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::{
    documents::{self, Files, Reader},
    output::{
        Console, Exit, Failure, Outcome, Tone,
        format::{items, to_json, to_yaml},
    },
    session::Session,
};

/// Options of `helium diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    files: Files,
    /// Print the differences as one JSON document
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Machine>,
}

/// The form for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Machine {
    /// `{"items": [...]}`, each with `before` and `after`; or `{"valid": false, "problems": [...]}` of files in which something is wrong.
    Json,
}

/// Runs `helium diff`.
pub(crate) async fn run(args: DiffArgs, session: &Session, console: &mut Console) -> Outcome {
    let reader = if args.output.is_some() { Reader::Machine } else { Reader::Person };
    let objects = documents::sound_or_told(&args.files, session.namespace(), reader, console)?;
    let previews = session.people("diff")?.preview(&objects).await?;
    for preview in &previews {
        for warning in &preview.warnings {
            console.warn(format!("{}: {warning}", preview.object));
        }
    }
    let different: Vec<&Applied> = previews.iter().filter(|preview| preview.outcome != Applying::Unchanged).collect();
    if args.output.is_some() {
        let values = different.iter().map(|preview| as_json(preview)).collect::<Result<Vec<Value>, _>>()?;
        console.data(to_json(&items(&values))?)?;
    } else {
        for preview in &different {
            let text = text(preview, console)?;
            console.data(text)?;
        }
    }
    Ok(if different.is_empty() { Exit::Ok } else { Exit::Different })
}

/// One difference as a document.
pub(super) fn as_json(preview: &Applied) -> Result<Value, Failure> {
    Ok(json!({
        "object": preview.object.to_string(),
        "outcome": preview.outcome.as_str(),
        "before": preview.before.as_ref().map(declared).transpose()?,
        "after": declared(&preview.after)?,
        "warnings": preview.warnings,
    }))
}

/// One difference as a unified diff.
pub(super) fn text(preview: &Applied, console: &Console) -> Result<String, Failure> {
    let (before, after) = texts(preview)?;
    Ok(unified(&preview.object.to_string(), &before, &after, console))
}

/// Both sides as YAML, without what Helium keeps.
fn texts(preview: &Applied) -> Result<(String, String), Failure> {
    let before = preview.before.as_ref().map(declared).transpose()?.map(|value| to_yaml(&value)).transpose()?;
    Ok((before.unwrap_or_default(), to_yaml(&declared(&preview.after)?)?))
}

/// An object as its author would write it, every default written out.
fn declared(stored: &Stored) -> Result<Value, Failure> {
    let mut object = stored.clone();
    let kept = &stored.metadata;
    object.metadata = Metadata::named(&kept.namespace, &kept.name);
    object.metadata.labels.clone_from(&kept.labels);
    object.metadata.annotations.clone_from(&kept.annotations);
    let mut value = serde_json::to_value(&object)?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("generation");
    }
    Ok(value)
}

/// A unified diff; the side that is not there is `/dev/null`.
fn unified(name: &str, before: &str, after: &str, console: &Console) -> String {
    let diff = TextDiff::from_lines(before, after);
    let old = if before.is_empty() { "/dev/null".to_owned() } else { format!("{name} (stored)") };
    let mut text = format!("--- {old}\n+++ {name} (files)\n");
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        text.push_str(&console.paint(Tone::Busy, &hunk.header().to_string()));
        text.push('\n');
        for change in hunk.iter_changes() {
            let (sign, tone) = match change.tag() {
                ChangeTag::Delete => ('-', Some(Tone::Bad)),
                ChangeTag::Insert => ('+', Some(Tone::Good)),
                ChangeTag::Equal => (' ', None),
            };
            let line = format!("{sign}{}", change.value().trim_end_matches('\n'));
            text.push_str(&tone.map_or(line.clone(), |tone| console.paint(tone, &line)));
            text.push('\n');
        }
    }
    text
}
