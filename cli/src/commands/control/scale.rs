//! `helium scale`: how many instances there are, in all or by version.

use clap::Args;
use helium_crds::{ObjectKey, deployment::VersionCount};
use helium_engine::people::{ObjectRef, Scaled, Stored, scale::counts_by_version};
use serde_json::Value;

use crate::{
    names,
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

/// The most instances of one Deployment, as the schema has it.
const MOST: u32 = 10_000;

/// Options of `helium scale`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  helium scale hello=10 world=6\n  helium scale hello --versions v23=0,v24=7")]
pub(crate) struct ScaleArgs {
    /// `NAME=COUNT`, several at once if wanted; or one NAME with --versions
    #[arg(value_name = "NAME[=COUNT]", required = true)]
    counts: Vec<String>,
    /// Counts by version: a label, which means its newest revision, or label@hash; suspends the Canary
    #[arg(long, value_name = "VERSION=COUNT", value_delimiter = ',')]
    versions: Vec<String>,
}

/// Runs `helium scale`.
pub(crate) async fn run(args: ScaleArgs, session: &Session, console: &mut Console) -> Outcome {
    let people = session.people("scale")?;
    let results = if args.versions.is_empty() {
        let counts: Vec<(ObjectKey, u32)> =
            args.counts.iter().map(|word| named_count(word, session.namespace())).collect::<Result<_, _>>()?;
        people.scale(&counts).await?
    } else {
        let [name] = args.counts.as_slice() else {
            return Err(Failure::usage("`--versions` is for one Deployment at a time"));
        };
        let key = names::deployment(name, session.namespace())?;
        let versions: Vec<VersionCount> =
            args.versions.iter().map(|word| version_count(word)).collect::<Result<_, _>>()?;
        vec![people.scale_versions(&key, &versions).await?]
    };
    for Scaled { before, after, warnings } in results {
        for warning in warnings {
            console.warn(format!("{}: {warning}", ObjectRef::of(&after)));
        }
        console.line(line(&before, &after))?;
    }
    Ok(Exit::Ok)
}

/// `deployment/hello scaled (3 -> 10)`.
fn line(before: &Stored, after: &Stored) -> String {
    let object = ObjectRef::of(after);
    if before.spec == after.spec {
        return format!("{object} unchanged");
    }
    format!("{object} scaled ({} -> {})", counts(before), counts(after))
}

/// `3`, or `v23=0,v24=7`.
fn counts(stored: &Stored) -> String {
    let replicas = || stored.spec.get("replicas").map_or_else(|| "1".to_owned(), Value::to_string);
    counts_by_version(stored).unwrap_or_else(replicas)
}

fn named_count(word: &str, namespace: &str) -> Result<(ObjectKey, u32), Failure> {
    let (name, count) = split(word)?;
    Ok((names::deployment(name, namespace)?, count))
}

fn version_count(word: &str) -> Result<VersionCount, Failure> {
    let (version, replicas) = split(word)?;
    Ok(VersionCount { version: version.to_owned(), replicas })
}

fn split(word: &str) -> Result<(&str, u32), Failure> {
    let wrong = || Failure::usage(format!("`{word}` is not `name=count` with a count of 0 to {MOST}"));
    let (name, count) = word.rsplit_once('=').ok_or_else(wrong)?;
    let count: u32 = count.parse().map_err(|_| wrong())?;
    if name.is_empty() || count > MOST { Err(wrong()) } else { Ok((name, count)) }
}
