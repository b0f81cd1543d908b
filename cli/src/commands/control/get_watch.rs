//! `helium get -w`: everything once, then each object again whenever it or its status changes.

use std::collections::BTreeMap;

use helium_crds::Kind;
use helium_engine::people::{ObjectRef, People, Stored, follow::Follow};
use serde_json::{Value, json};

use super::get::{GetArgs, View, columns, missing};
use crate::{
    names::Selection,
    output::{
        Console, Failure, Outcome,
        format::{Format, to_yaml},
        object_table,
        table::Endless,
    },
    session::Session,
};

/// Prints everything once, then what changes, for ever.
pub(super) async fn watch(
    args: &GetArgs,
    selection: &Selection,
    people: &People,
    session: &Session,
    console: &mut Console,
) -> Outcome {
    let root = people.keys().root().to_owned();
    let mut specs = Follow::prefix(people, format!("{root}spec/"));
    let mut statuses = Follow::prefix(people, format!("{root}status/"));
    let mut spec_pairs = specs.next().await?;
    let mut status_pairs = statuses.next().await?;
    let mut shown: Option<Shown> = None;
    loop {
        let stored = people.parse_objects(&spec_pairs).into_iter().map(|row| row.value).collect();
        let jobs = people.parse_hydra_job_statuses(&status_pairs);
        let view = View { stored, statuses: people.parse_statuses(&status_pairs), jobs };
        let view = view.select(selection, args, session);
        if let (None, Selection::Objects(objects)) = (&shown, selection) {
            missing(objects, &view)?;
        }
        shown.get_or_insert_with(|| Shown::nothing(selection)).changes(&view, args, session, console)?;
        tokio::select! {
            biased;
            pairs = specs.next() => spec_pairs = pairs?,
            pairs = statuses.next() => status_pairs = pairs?,
        }
    }
}

/// What was shown last.
struct Shown {
    documents: BTreeMap<ObjectRef, Value>,
    /// The table of each kind that may come.
    tables: BTreeMap<Kind, Endless>,
    /// The kind whose rows were printed last.
    last: Option<Kind>,
}

impl Shown {
    fn nothing(selection: &Selection) -> Self {
        let kinds: Vec<Kind> = match selection {
            Selection::Kinds(kinds) => kinds.clone(),
            Selection::Objects(objects) => objects.iter().map(|object| object.kind).collect(),
        };
        let tables = kinds.into_iter().map(|kind| (kind, Endless::default())).collect();
        Self { documents: BTreeMap::new(), tables, last: None }
    }

    /// Prints what differs from what was shown.
    fn changes(
        &mut self,
        view: &View,
        args: &GetArgs,
        session: &Session,
        console: &mut Console,
    ) -> Result<(), Failure> {
        let named = view.stored.iter().zip(view.documents()?);
        let now: BTreeMap<ObjectRef, (&Stored, Value)> =
            named.map(|(stored, document)| (ObjectRef::of(stored), (stored, document))).collect();
        let is_new = |name: &ObjectRef, document: &Value| self.documents.get(name) != Some(document);
        let new: Vec<_> = now.iter().filter(|(name, (_, document))| is_new(name, document)).collect();
        let gone: Vec<&ObjectRef> = self.documents.keys().filter(|name| !now.contains_key(*name)).collect();
        match args.output {
            Some(Format::Json) => {
                new.iter().try_for_each(|(_, (_, document))| console.line(document.to_string()))?;
                gone.iter().try_for_each(|name| console.line(tombstone(name).to_string()))?;
            }
            Some(Format::Yaml) => {
                let tombstones = gone.iter().map(|name| tombstone(name));
                let documents = new.iter().map(|(_, (_, document))| document.clone()).chain(tombstones);
                documents.into_iter().try_for_each(|document| console.data(format!("---\n{}", to_yaml(&document)?)))?;
            }
            Some(Format::Name) => new.iter().try_for_each(|(name, _)| console.line(name.to_string()))?,
            None | Some(Format::Wide) => {
                let rows: Vec<&Stored> = new.iter().map(|(_, (stored, _))| *stored).collect();
                gone.iter().try_for_each(|name| console.line(format!("{name} deleted")))?;
                rows_of(&mut self.tables, &mut self.last, &rows, view, columns(args, session), console)?;
            }
        }
        self.documents = now.into_iter().map(|(name, (_, document))| (name, document)).collect();
        Ok(())
    }
}

/// Prints rows under the headings of their kind. At first every kind has its headings, also where there is nothing yet.
fn rows_of(
    tables: &mut BTreeMap<Kind, Endless>,
    last: &mut Option<Kind>,
    rows: &[&Stored],
    view: &View,
    columns: object_table::Columns,
    console: &mut Console,
) -> Result<(), Failure> {
    let at_first = last.is_none();
    for (&kind, table) in tables {
        let of_kind: Vec<&Stored> = rows.iter().copied().filter(|stored| stored.kind == kind).collect();
        if of_kind.is_empty() && !at_first {
            continue;
        }
        let anew = *last != Some(kind);
        if anew && last.is_some() {
            console.line("")?;
        }
        *last = Some(kind);
        let rows = object_table::table(kind, &of_kind, &view.statuses, &view.jobs, columns);
        table.lines(&rows, anew, console).into_iter().try_for_each(|line| console.line(line))?;
    }
    Ok(())
}

/// What stands for an object that is gone.
fn tombstone(name: &ObjectRef) -> Value {
    json!({ "object": name.to_string(), "deleted": true })
}
