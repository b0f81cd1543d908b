//! `helium schema`: the JSON Schema of a kind.

use clap::Args;
use helium_crds::{Kind, schema::schema};
use serde_json::{Map, Value};

use crate::output::{Console, Exit, Failure, Outcome, format::to_json};

/// Options of `helium schema`.
#[derive(Args, Debug)]
pub(crate) struct SchemaArgs {
    /// The kind; default: every kind, in one JSON object by name
    kind: Option<String>,
}

/// Runs `helium schema`.
pub(crate) fn run(args: &SchemaArgs, console: &mut Console) -> Outcome {
    let value = if let Some(name) = &args.kind {
        let known = || Kind::ALL.map(Kind::singular).join(", ");
        let kind = Kind::from_name(name).ok_or_else(|| {
            Failure::usage(format!("there is no kind `{name}`")).hint(format!("kinds are {}", known()))
        })?;
        schema(kind)
    } else {
        let all = Kind::ALL.into_iter().map(|kind| (kind.singular().to_owned(), schema(kind)));
        Value::Object(all.collect::<Map<_, _>>())
    };
    console.data(to_json(&value)?)?;
    Ok(Exit::Ok)
}
