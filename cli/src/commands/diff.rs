//! `helium diff`: what apply would change, as a unified diff. Exit code 1 if there is something.

use clap::Args;
use helium_crds::Metadata;
use helium_engine::people::{Applied, Outcome as Applying, Stored};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use crate::{
    documents::{self, Files},
    output::{Console, Exit, Failure, Outcome, Tone, format::to_yaml},
    session::Session,
};

/// Options of `helium diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    files: Files,
}

/// Runs `helium diff`.
pub(crate) async fn run(args: DiffArgs, session: &Session, console: &mut Console) -> Outcome {
    let objects = documents::sound(&args.files, session.namespace(), console)?;
    let previews = session.people("diff")?.preview(&objects).await?;
    let mut exit = Exit::Ok;
    for preview in previews.iter().filter(|preview| preview.outcome != Applying::Unchanged) {
        for warning in &preview.warnings {
            console.warn(format!("{}: {warning}", preview.object));
        }
        let (before, after) = texts(preview)?;
        let text = unified(&preview.object.to_string(), &before, &after, console);
        console.data(text)?;
        exit = Exit::Different;
    }
    Ok(exit)
}

/// Both sides as YAML, without what Helium keeps.
fn texts(preview: &Applied) -> Result<(String, String), Failure> {
    let before = preview.before.as_ref().map(declared).transpose()?.unwrap_or_default();
    Ok((before, declared(&preview.after)?))
}

/// An object as its author would write it, every default written out.
fn declared(stored: &Stored) -> Result<String, Failure> {
    let mut object = stored.clone();
    let kept = &stored.metadata;
    object.metadata = Metadata::named(&kept.namespace, &kept.name);
    object.metadata.labels.clone_from(&kept.labels);
    object.metadata.annotations.clone_from(&kept.annotations);
    let mut value = serde_json::to_value(&object)?;
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("generation");
    }
    to_yaml(&value)
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
