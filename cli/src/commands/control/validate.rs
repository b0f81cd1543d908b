//! `helium validate`: check files without any store, and tell every problem of every document at once.

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    documents::{self, Files, Reader},
    output::{Console, Exit, Outcome, format::to_json},
    session::Session,
};

/// Options of `helium validate`.
#[derive(Args, Debug)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    files: Files,
    /// Print the problems as one JSON document
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Machine>,
}

/// The form for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Machine {
    /// `{"valid": false, "problems": [...]}`.
    Json,
}

/// Runs `helium validate`.
pub(crate) fn run(args: &ValidateArgs, session: &Session, console: &mut Console) -> Outcome {
    let reader = if args.output.is_some() { Reader::Machine } else { Reader::Person };
    let objects = documents::sound_or_told(&args.files, session.namespace(), reader, console)?;
    match reader {
        Reader::Person => objects.iter().try_for_each(|object| console.line(format!("{object} valid")))?,
        Reader::Machine => console.data(to_json(&json!({ "valid": true, "problems": [] }))?)?,
    }
    Ok(Exit::Ok)
}
