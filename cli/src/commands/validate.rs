//! `helium validate`: check files without any store, and tell every problem of every document at once.

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    documents::{self, Files, Read},
    output::{Console, Exit, Failure, Outcome, format::to_json},
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
    let read = documents::read(&args.files, session.namespace())?;
    let problems = match &read {
        Read::Sound(_) => Vec::new(),
        Read::Problems(report) => report.problems.clone(),
    };
    if args.output.is_some() {
        console.data(to_json(&json!({ "valid": problems.is_empty(), "problems": problems }))?)?;
    }
    match read {
        Read::Sound(objects) => {
            if args.output.is_none() {
                objects.iter().try_for_each(|object| console.line(format!("{object} valid")))?;
            }
            Ok(Exit::Ok)
        }
        Read::Problems(report) => {
            if args.output.is_none() {
                console.say(report.render(console.colours_words()).trim_end());
            }
            Err(Failure::new(Exit::Usage, ""))
        }
    }
}
