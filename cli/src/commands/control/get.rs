//! `helium get`: list objects. What changes after that is printed by [`super::get_watch`].

use std::collections::BTreeMap;

use clap::Args;
use consul_client::Read;
use helium_crds::{DeploymentStatus, Kind, ObjectKey, keys::SENTINEL, status::HydraJobStatus};
use helium_engine::people::{ObjectRef, People, PeopleError, Stored};
use serde_json::{Value, json};

use super::{get_instances, get_watch::watch};
use crate::{
    names::{self, Selection},
    output::{
        Console, Exit, Failure, Outcome,
        format::{Format, items, to_json, to_yaml},
        object_table::{self, Columns},
    },
    session::Session,
};

/// Options of `helium get`.
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// `all`, `KIND[,KIND]`, `KIND NAME...` or `KIND/NAME...`; `instances [DEPLOYMENT...]` are those of Deployments
    #[arg(value_name = "OBJECT", required = true)]
    pub(super) objects: Vec<String>,
    /// How to print
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) output: Option<Format>,
    /// Objects of every namespace
    #[arg(short = 'A', long)]
    pub(super) all_namespaces: bool,
    /// Go on printing what changes
    #[arg(short, long)]
    pub(super) watch: bool,
}

/// Objects with what the controller says of them.
pub(super) struct View {
    pub(super) stored: Vec<Stored>,
    pub(super) statuses: BTreeMap<ObjectKey, DeploymentStatus>,
    pub(super) jobs: BTreeMap<ObjectKey, HydraJobStatus>,
}

/// Runs `helium get`.
pub(crate) async fn run(args: GetArgs, session: &Session, console: &mut Console) -> Outcome {
    if get_instances::are_asked_for(&args) {
        return get_instances::run(&args, session, console).await;
    }
    let selection = names::selection(&args.objects, session.namespace())?;
    let people = session.people("get")?;
    if args.watch {
        return watch(&args, &selection, &people, session, console).await;
    }
    let view = look(&people, &selection).await?.select(&selection, &args, session);
    match &selection {
        Selection::Objects(objects) => missing(objects, &view)?,
        Selection::Kinds(_) if view.stored.is_empty() => allowed(&people).await?,
        Selection::Kinds(_) => {}
    }
    let alone = matches!(&selection, Selection::Objects(objects) if objects.len() == 1);
    match args.output {
        Some(Format::Json) if alone => console.data(to_json(&view.documents()?.pop().unwrap_or_default())?)?,
        Some(Format::Json) => console.data(to_json(&items(&view.documents()?))?)?,
        Some(Format::Yaml) => {
            let texts = view.documents()?.iter().map(to_yaml).collect::<Result<Vec<_>, _>>()?;
            console.data(texts.join("---\n"))?;
        }
        Some(Format::Name) => {
            view.stored.iter().try_for_each(|stored| console.line(ObjectRef::of(stored).to_string()))?;
        }
        None | Some(Format::Wide) => tables(&view, &args, session, console)?,
    }
    Ok(Exit::Ok)
}

fn tables(view: &View, args: &GetArgs, session: &Session, console: &mut Console) -> Result<(), Failure> {
    if view.stored.is_empty() {
        console.say("nothing found");
        return Ok(());
    }
    let columns = columns(args, session);
    let mut first = true;
    for kind in Kind::ALL {
        let of_kind: Vec<&Stored> = view.stored.iter().filter(|stored| stored.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        if !first {
            console.line("")?;
        }
        first = false;
        let lines = object_table::table(kind, &of_kind, &view.statuses, &view.jobs, columns).lines(console);
        lines.into_iter().try_for_each(|line| console.line(line))?;
    }
    Ok(())
}

pub(super) fn columns(args: &GetArgs, session: &Session) -> Columns {
    Columns { wide: args.output == Some(Format::Wide), namespace: args.all_namespaces, now: session.ports.now() }
}

/// Fails if the token may not read objects: Consul gives it an empty list, which looks as if there were none.
async fn allowed(people: &People) -> Result<(), Failure> {
    let sentinel = format!("{}{SENTINEL}", people.keys().spec_shard('0'));
    people.client().kv_get(&sentinel, &Read::default()).await?;
    Ok(())
}

/// The objects that were named, or everything there is.
async fn look(people: &People, selection: &Selection) -> Result<View, PeopleError> {
    let Selection::Objects(names) = selection else {
        let stored = people.objects().await?.into_iter().map(|row| row.value).collect();
        let (statuses, jobs) = people.all_statuses().await?;
        return Ok(View { stored, statuses, jobs });
    };
    let mut view = View { stored: Vec::new(), statuses: BTreeMap::new(), jobs: BTreeMap::new() };
    for name in names {
        view.stored.extend(people.object(name).await?.map(|row| row.value));
        if name.kind == Kind::HydraJob {
            view.jobs.extend(people.hydra_job_status(&name.key).await?.map(|status| (name.key.clone(), status)));
            continue;
        }
        view.statuses.extend(people.status(&name.key).await?.map(|status| (name.key.clone(), status)));
    }
    Ok(view)
}

impl View {
    pub(super) fn select(mut self, selection: &Selection, args: &GetArgs, session: &Session) -> Self {
        self.stored.retain(|stored| match selection {
            Selection::Objects(objects) => objects.contains(&ObjectRef::of(stored)),
            Selection::Kinds(kinds) => {
                kinds.contains(&stored.kind)
                    && (args.all_namespaces || stored.metadata.namespace == session.namespace())
            }
        });
        self
    }

    /// Every object with its status.
    pub(super) fn documents(&self) -> Result<Vec<Value>, Failure> {
        let of_job = |stored: &Stored| document_of_job(stored, self.jobs.get(&stored.key()));
        let documents = self.stored.iter().map(|stored| match stored.kind {
            Kind::HydraJob => of_job(stored),
            _ => document(stored, self.statuses.get(&stored.key())),
        });
        documents.collect()
    }
}

/// A HydraJob with what the controller says of it under `status`.
fn document_of_job(stored: &Stored, status: Option<&HydraJobStatus>) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(stored)?;
    if let (Some(status), Some(fields)) = (status, value.as_object_mut()) {
        fields.insert("status".to_owned(), serde_json::to_value(status)?);
    }
    Ok(value)
}

/// An object with what the controller says of it under `status`; of a Canary, that is the rollout.
pub(super) fn document(stored: &Stored, status: Option<&DeploymentStatus>) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(stored)?;
    let said = match (stored.kind, status) {
        (_, None) | (Kind::HydraJob, _) => None,
        (Kind::Deployment, Some(status)) => Some(serde_json::to_value(status)?),
        (Kind::Canary, Some(status)) => status
            .rollout
            .as_ref()
            .map(|rollout| serde_json::to_value(rollout).map(|rollout| json!({ "rollout": rollout })))
            .transpose()?,
    };
    if let (Some(said), Some(fields)) = (said, value.as_object_mut()) {
        fields.insert("status".to_owned(), said);
    }
    Ok(value)
}

/// The first of the objects that is not there.
pub(super) fn missing(objects: &[ObjectRef], view: &View) -> Result<(), Failure> {
    let there: Vec<ObjectRef> = view.stored.iter().map(ObjectRef::of).collect();
    match objects.iter().find(|object| !there.contains(object)) {
        Some(object) => Err(PeopleError::NotFound(object.clone()).into()),
        None => Ok(()),
    }
}
