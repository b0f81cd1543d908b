//! Apply: whole documents in, compared with what is stored; only what differs is written.

use std::collections::BTreeMap;

use helium_crds::{AnyObject, Kind, Metadata, deployment::CAUSE_ANNOTATION, limits};

use serde_json::Value;

use super::{
    People, PeopleError, Row, checks,
    commit::{Write, batches},
    manifest::{self, ObjectRef, Stored},
    stock::Stock,
};

/// What apply did, or would do, with one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there.
    Created,
    /// It was there and differed.
    Configured,
    /// It was there just so; nothing was written.
    Unchanged,
}

impl Outcome {
    /// The word in the result line.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Configured => "configured",
            Outcome::Unchanged => "unchanged",
        }
    }
}

/// One object before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What it is called.
    pub object: ObjectRef,
    /// What was done.
    pub outcome: Outcome,
    /// As it was stored before.
    pub before: Option<Stored>,
    /// As it is stored now.
    pub after: Stored,
    /// The labels of the template's version before and after, where they differ.
    pub versions: Option<(String, String)>,
    /// What the person may want to know about it.
    pub warnings: Vec<String>,
}

/// One object on its way into the store.
pub(super) struct Change {
    /// What is told of it.
    pub(super) applied: Applied,
    /// The index that it is written on top of.
    index: u64,
}

impl Change {
    /// Whether there is anything to write.
    pub(super) fn writes(&self) -> bool {
        self.applied.outcome != Outcome::Unchanged
    }
}

impl People {
    /// Applies the documents: all of them or none, as far as one transaction of 64 goes. Where it takes several, no template is
    /// stored before the Canary that is to guard it.
    ///
    /// An object whose spec, labels and annotations are as declared is not written. A store that was never used is made ready.
    pub async fn apply(&self, declared: &[AnyObject]) -> Result<Vec<Applied>, PeopleError> {
        self.initialise().await?;
        let changes = self.changes(declared).await?;
        let writes = self.writes(&changes)?;
        let (mut written, total) = (0, writes.len());
        for batch in batches(writes, Kind::Canary) {
            self.commit(&batch).await.map_err(|cause| cause.after(written, total))?;
            written += batch.len();
        }
        Ok(changes.into_iter().map(|change| change.applied).collect())
    }

    /// What [`People::apply`] would do. Writes nothing, not even to a store that was never used.
    pub async fn preview(&self, declared: &[AnyObject]) -> Result<Vec<Applied>, PeopleError> {
        let changes = self.changes(declared).await?;
        self.writes(&changes)?;
        Ok(changes.into_iter().map(|change| change.applied).collect())
    }

    async fn changes(&self, declared: &[AnyObject]) -> Result<Vec<Change>, PeopleError> {
        let names: Vec<ObjectRef> = declared.iter().map(ObjectRef::of_any).collect();
        let mut stock = Stock::of(self, &names).await?;
        let mut changes = Vec::with_capacity(declared.len());
        for (object, name) in declared.iter().zip(&names) {
            changes.push(self.change(object, stock.get(name).cloned())?);
        }
        checks::service_names(declared, &mut stock).await?;
        checks::pairs(declared, &mut changes, &mut stock).await?;
        checks::versions(self, declared, &mut changes).await?;
        Ok(changes)
    }

    /// Decides about one object: unchanged, or what it is to become.
    fn change(&self, declared: &AnyObject, before: Option<Row<Stored>>) -> Result<Change, PeopleError> {
        let object = ObjectRef::of_any(declared);
        let unreadable = |error: serde_json::Error| PeopleError::Unreadable {
            key: self.keys().spec(object.kind, &object.key),
            why: error.to_string(),
        };
        let mut after = manifest::stored(declared).map_err(unreadable)?;
        let Some(Row { value: stored, index }) = before else {
            after.metadata = self.first_metadata(&after.metadata);
            let applied = applied(object, Outcome::Created, None, after, None);
            return Ok(Change { applied, index: 0 });
        };
        if stored.is_deleting() {
            return Err(PeopleError::Deleting(object));
        }
        keep_what_was_undone(&stored, &mut after);
        // What an older Helium wrote may lack defaults that are written out today; that alone is no change.
        let canonical = manifest::typed(&stored).and_then(|old| manifest::stored(&old));
        let same_spec = canonical.as_ref().is_ok_and(|canonical| canonical.spec == after.spec);
        after.metadata.annotations = annotations(&stored.metadata, &after.metadata, same_spec);
        let (old, new) = (&stored.metadata, &after.metadata);
        if same_spec && old.labels == new.labels && old.annotations == new.annotations {
            let applied = applied(object, Outcome::Unchanged, Some(stored.clone()), stored, None);
            return Ok(Change { applied, index });
        }
        let versions = versions(&stored, declared);
        after.metadata = self.next_metadata(old, new, same_spec);
        Ok(Change { applied: applied(object, Outcome::Configured, Some(stored), after, versions), index })
    }

    /// The metadata of an object that is not there yet.
    fn first_metadata(&self, declared: &Metadata) -> Metadata {
        let mut metadata = declared.clone();
        metadata.uid = self.ports().random_hex(32);
        metadata.generation = 1;
        metadata.created_at = Some(self.ports().now());
        metadata.deletion_requested_at = None;
        metadata.managers = BTreeMap::new();
        self.sign(&mut metadata);
        metadata
    }

    /// The metadata of an object that is there: Helium's part is kept, people's part is as declared.
    fn next_metadata(&self, stored: &Metadata, declared: &Metadata, same_spec: bool) -> Metadata {
        let mut metadata = stored.clone();
        metadata.labels = declared.labels.clone();
        metadata.annotations = declared.annotations.clone();
        metadata.generation += u64::from(!same_spec);
        self.sign(&mut metadata);
        metadata
    }

    fn writes(&self, changes: &[Change]) -> Result<Vec<Write>, PeopleError> {
        changes
            .iter()
            .filter(|change| change.writes())
            .map(|change| self.write_of(&change.applied.after, change.index))
            .collect()
    }

    /// The write that puts `stored` on top of `index`.
    pub(super) fn write_of(&self, stored: &Stored, index: u64) -> Result<Write, PeopleError> {
        let object = ObjectRef::of(stored);
        let key = self.keys().spec(object.kind, &object.key);
        let value = serde_json::to_vec(stored)
            .map_err(|error| PeopleError::Unreadable { key: key.clone(), why: error.to_string() })?;
        let limit = limits::most_bytes(object.kind);
        if value.len() > limit {
            return Err(PeopleError::TooLarge { object, size: value.len(), limit });
        }
        Ok(Write { object, key, value, index })
    }
}

/// What begins the annotations by which Helium's own commands note something: a file that does not name them leaves them as they are.
const OWN_ANNOTATIONS: &str = "helium.dev/";

/// The annotations of an object after an apply. Why it was changed last is over when it is changed again.
/// A build that was gone back from is not taken again because the same file is applied again, which cannot know of it.
fn keep_what_was_undone(stored: &Stored, after: &mut Stored) {
    let Some(before) = stored.spec.get("versionFrom") else { return };
    if let (Some(Value::Object(from)), Some(instead)) = (after.spec.get_mut("versionFrom"), before.get("instead"))
        && from.get("hydraJob") == before.get("hydraJob")
        && !from.contains_key("instead")
    {
        from.insert("instead".to_owned(), instead.clone());
    }
}

fn annotations(stored: &Metadata, declared: &Metadata, same_spec: bool) -> BTreeMap<String, String> {
    let own = stored.annotations.iter().filter(|(name, _)| name.starts_with(OWN_ANNOTATIONS));
    let kept = own.filter(|(name, _)| same_spec || *name != CAUSE_ANNOTATION);
    let kept = kept.map(|(name, value)| (name.clone(), value.clone()));
    kept.chain(declared.annotations.clone()).collect()
}

fn applied(
    object: ObjectRef,
    outcome: Outcome,
    before: Option<Stored>,
    after: Stored,
    versions: Option<(String, String)>,
) -> Applied {
    Applied { object, outcome, before, after, versions, warnings: Vec::new() }
}

/// The labels before and after, if the template's label changes.
fn versions(stored: &Stored, declared: &AnyObject) -> Option<(String, String)> {
    let old = stored.spec.pointer("/template/version")?.as_str()?;
    let AnyObject::Deployment(deployment) = declared else { return None };
    let new = deployment.spec.template.version.as_str();
    (old != new).then(|| (old.to_owned(), new.to_owned()))
}
