//! `helium delete`: take objects down, then away.

use std::path::PathBuf;

use clap::Args;
use helium_crds::{Period, keys::Keys};
use helium_engine::people::{Deleted, ObjectRef, People, PeopleError, follow::Follow};

use crate::{
    documents::{self, Files},
    names,
    output::{Console, Exit, Failure, Outcome},
    session::Session,
};

/// Options of `helium delete`.
#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// `KIND NAME...` or `KIND/NAME...`
    #[arg(value_name = "OBJECT", required_unless_present = "files", conflicts_with = "files")]
    objects: Vec<String>,
    /// Files or folders that declare the objects, or `-` for stdin
    #[arg(short, long = "filename", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Go into folders within folders
    #[arg(short = 'R', long, requires = "files")]
    recursive: bool,
    /// Objects that are not there are no error
    #[arg(long)]
    ignore_not_found: bool,
    /// Wait until the objects are gone
    #[arg(long)]
    pub(super) wait: bool,
    /// How long to wait
    #[arg(long, value_name = "PERIOD", default_value = "5m", requires = "wait")]
    timeout: Period,
}

/// Runs `helium delete`.
pub(crate) async fn run(args: DeleteArgs, session: &Session, console: &mut Console) -> Outcome {
    let mut objects = selected(&args, session, console)?;
    let people = session.people("delete")?;
    if args.ignore_not_found {
        objects = those_that_are(objects, &people).await?;
    }
    if objects.is_empty() {
        return Ok(Exit::Ok);
    }
    let deleted = people.delete(&objects).await?;
    for Deleted { object, already } in &deleted {
        let already = if *already { " already" } else { "" };
        console.line(format!("{object} is being deleted{already}"))?;
    }
    if !args.wait {
        return Ok(Exit::Ok);
    }
    let gone = async {
        for Deleted { object, .. } in &deleted {
            until_gone(object, &people, people.keys()).await?;
            console.line(format!("{object} deleted"))?;
        }
        Ok::<_, Failure>(Exit::Ok)
    };
    tokio::time::timeout(args.timeout.as_duration(), gone).await.unwrap_or_else(|_| {
        Err(Failure::new(Exit::Timeout, format!("not everything is gone after {}", args.timeout))
            .hint("the deletion goes on; `helium get all` shows what is left"))
    })
}

fn selected(args: &DeleteArgs, session: &Session, console: &mut Console) -> Result<Vec<ObjectRef>, Failure> {
    if args.files.is_empty() {
        return names::objects(&args.objects, session.namespace());
    }
    let files = Files { files: args.files.clone(), recursive: args.recursive };
    let declared = documents::sound(&files, session.namespace(), console)?;
    Ok(declared.iter().map(ObjectRef::of_any).collect())
}

async fn those_that_are(objects: Vec<ObjectRef>, people: &People) -> Result<Vec<ObjectRef>, PeopleError> {
    let mut there = Vec::new();
    for object in objects {
        if people.object(&object).await?.is_some() {
            there.push(object);
        }
    }
    Ok(there)
}

async fn until_gone(object: &ObjectRef, people: &People, keys: &Keys) -> Result<(), PeopleError> {
    let mut follow = Follow::key(people, keys.spec(object.kind, &object.key));
    while !follow.next().await?.is_empty() {}
    Ok(())
}
