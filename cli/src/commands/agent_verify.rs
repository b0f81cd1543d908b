//! `helium agent verify`: what would fail on this machine, told before it does.

use std::path::PathBuf;

use clap::Args;
use helium_agent::{
    AgentConfig,
    verify::{Finding, State, Subject, verify},
};
use helium_packages::store::Name;
use serde_json::json;

use crate::{
    output::{
        Console, Exit, Failure, Outcome, Tone,
        format::{Document, to_document},
        table::Rows,
    },
    session::Session,
};

/// Options of `helium agent verify`; those of the agent hold, too.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// Look at the templates of the package in this folder, too
    #[arg(long, value_name = "FOLDER")]
    package: Option<PathBuf>,
    /// Of the installed packages, look at those of this service alone
    #[arg(long, value_name = "NAME")]
    service: Option<Name>,
    /// Run the hooks install and config of that package twice, in a copy: the second run is to change nothing
    #[arg(long, requires = "package")]
    hooks: bool,
    /// Print the findings as a document
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Document>,
}

/// Runs it: exit code 1 if anything fails.
pub(super) async fn run(args: VerifyArgs, config: &AgentConfig, session: &Session, console: &mut Console) -> Outcome {
    if let Some(folder) = args.package.as_deref().filter(|folder| !folder.is_dir()) {
        return Err(Failure::usage(format!("`--package`: {} is no folder", folder.display()))
            .hint("an archive is looked at with `helium package verify`"));
    }
    let subject = Subject { package: args.package, service: args.service, hooks: args.hooks };
    let found = verify(config, &session.client()?, &session.ports, &subject).await;
    let fails = found.iter().any(|one| one.state == State::Failed);
    match args.output {
        Some(document) => console.data(to_document(&json!({ "ok": !fails, "findings": found }), document)?)?,
        None => table(&found, console)?,
    }
    Ok(if fails { Exit::Different } else { Exit::Ok })
}

fn table(found: &[Finding], console: &mut Console) -> Result<(), Failure> {
    let mut rows = Rows::new(&["STATE", "AREA", "PLACE", "WHAT"]);
    for one in found {
        let (word, tone) = match one.state {
            State::Ok => ("ok", Tone::Good),
            State::Warning => ("warning", Tone::Warning),
            State::Failed => ("failed", Tone::Bad),
        };
        let words = one.words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
        rows.add_toned(vec![word.to_owned(), one.area.to_owned(), one.place.clone(), words], 0, tone);
    }
    rows.lines(console).into_iter().try_for_each(|line| console.line(line))?;
    let fails = found.iter().filter(|one| one.state == State::Failed).count();
    console.say(match fails {
        0 => "nothing fails".to_owned(),
        1 => "1 thing fails".to_owned(),
        more => format!("{more} things fail"),
    });
    Ok(())
}
