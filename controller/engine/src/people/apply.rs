//! Apply: whole documents in, compared with what is stored; only what differs is written.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use helium_crds::{AnyObject, Kind, Metadata, ObjectKey, deployment::service_name};

use super::{
    People, PeopleError, Row,
    commit::{MAX_BYTES, Write},
    manifest::{self, ObjectRef, Stored},
    weights,
};

/// How many objects are read at a time.
const READS: usize = 8;

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
struct Change {
    applied: Applied,
    index: u64,
}

impl People {
    /// Applies the documents: all of them or none, as far as one transaction of 64 goes.
    ///
    /// An object whose spec, labels and annotations are as declared is not written. A store that was never used is made ready.
    pub async fn apply(&self, manifests: &[AnyObject]) -> Result<Vec<Applied>, PeopleError> {
        self.initialise().await?;
        let changes = self.changes(manifests).await?;
        let writes = self.writes(&changes)?;
        let mut written = 0;
        for batch in batches(&writes) {
            self.commit(batch).await.map_err(|cause| match written {
                0 => cause,
                _ => PeopleError::Partly { written, total: writes.len(), cause: Box::new(cause) },
            })?;
            written += batch.len();
        }
        Ok(changes.into_iter().map(|change| change.applied).collect())
    }

    /// What [`People::apply`] would do. Writes nothing, not even to a store that was never used.
    pub async fn preview(&self, manifests: &[AnyObject]) -> Result<Vec<Applied>, PeopleError> {
        Ok(self.changes(manifests).await?.into_iter().map(|change| change.applied).collect())
    }

    async fn changes(&self, manifests: &[AnyObject]) -> Result<Vec<Change>, PeopleError> {
        let names: Vec<ObjectRef> = manifests.iter().map(ObjectRef::of_any).collect();
        let reads = names.iter().map(|name| async move { self.object(name).await });
        let before: Vec<Option<Row<Stored>>> = stream::iter(reads).buffered(READS).try_collect().await?;
        let mut changes = Vec::with_capacity(manifests.len());
        for (manifest, before) in manifests.iter().zip(before) {
            changes.push(self.change(manifest, before)?);
        }
        self.check_service_names(manifests, &changes).await?;
        self.check_weights(manifests, &mut changes).await?;
        Ok(changes)
    }

    /// Decides about one object: unchanged, or what it is to become.
    fn change(&self, manifest: &AnyObject, before: Option<Row<Stored>>) -> Result<Change, PeopleError> {
        let object = ObjectRef::of_any(manifest);
        let unreadable = |error: serde_json::Error| PeopleError::Unreadable {
            key: self.keys().spec(object.kind, &object.key),
            why: error.to_string(),
        };
        let mut after = manifest::stored(manifest).map_err(unreadable)?;
        let Some(Row { value: stored, index }) = before else {
            after.metadata = self.first_metadata(&after.metadata);
            let applied = applied(object, Outcome::Created, None, after, None);
            return Ok(Change { applied, index: 0 });
        };
        if stored.is_deleting() {
            return Err(PeopleError::Deleting(object));
        }
        // What an older Helium wrote may lack defaults that are written out today; that alone is no change.
        let canonical = manifest::typed(&stored).and_then(|old| manifest::stored(&old));
        let same_spec = canonical.as_ref().is_ok_and(|canonical| canonical.spec == after.spec);
        let (old, new) = (&stored.metadata, &after.metadata);
        if same_spec && old.labels == new.labels && old.annotations == new.annotations {
            let applied = applied(object, Outcome::Unchanged, Some(stored.clone()), stored, None);
            return Ok(Change { applied, index });
        }
        let versions = versions(&stored, manifest);
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

    /// Refuses two Deployments that would register the same service. The store is listed only if a name is new.
    async fn check_service_names(&self, manifests: &[AnyObject], changes: &[Change]) -> Result<(), PeopleError> {
        let mut owners: BTreeMap<String, ObjectKey> = BTreeMap::new();
        let mut anything_new = false;
        for (manifest, change) in manifests.iter().zip(changes) {
            let AnyObject::Deployment(deployment) = manifest else { continue };
            let service = service_name(deployment);
            anything_new |= stored_service(change.applied.before.as_ref()).as_deref() != Some(service.as_str());
            if let Some(other) = owners.insert(service.clone(), deployment.key()) {
                return Err(PeopleError::ServiceClash {
                    object: ObjectRef::of_any(manifest),
                    other: Box::new(other),
                    service,
                });
            }
        }
        if !anything_new {
            return Ok(());
        }
        let applied: BTreeSet<ObjectRef> = manifests.iter().map(ObjectRef::of_any).collect();
        for Row { value: stored, .. } in self.objects().await? {
            if stored.kind != Kind::Deployment || applied.contains(&ObjectRef::of(&stored)) {
                continue;
            }
            let Some(service) = stored_service(Some(&stored)) else { continue };
            if let Some(key) = owners.get(&service) {
                let object = ObjectRef::new(Kind::Deployment, key.clone());
                return Err(PeopleError::ServiceClash { object, other: Box::new(stored.key()), service });
            }
        }
        Ok(())
    }

    /// Looks at every pair of Deployment and Canary of which a part changes, with the other part from the store.
    async fn check_weights(&self, manifests: &[AnyObject], changes: &mut [Change]) -> Result<(), PeopleError> {
        for place in 0..manifests.len() {
            let Some(change) = changes.get(place).filter(|change| change.applied.outcome != Outcome::Unchanged) else {
                continue;
            };
            let name = change.applied.object.clone();
            let other = ObjectRef::new(other_kind(name.kind), name.key.clone());
            let declared = manifests.iter().find(|manifest| ObjectRef::of_any(manifest) == other);
            // Where both parts are declared the Canary's own turn warns, unless only the Deployment changes.
            let canary_changes =
                |change: &Change| change.applied.object == other && change.applied.outcome != Outcome::Unchanged;
            if name.kind == Kind::Deployment && changes.iter().any(canary_changes) {
                continue;
            }
            let other = match declared {
                Some(other) => Some(other.clone()),
                None => self.object(&other).await?.and_then(|row| manifest::typed(&row.value).ok()),
            };
            let (Some(manifest), Some(other)) = (manifests.get(place), other) else { continue };
            let warnings = match name.kind {
                Kind::Deployment => weights::check(manifest, &other)?,
                Kind::Canary => weights::check(&other, manifest)?,
            };
            if let Some(change) = changes.get_mut(place) {
                change.applied.warnings.extend(warnings);
            }
        }
        Ok(())
    }

    fn writes(&self, changes: &[Change]) -> Result<Vec<Write>, PeopleError> {
        let real = changes.iter().filter(|change| change.applied.outcome != Outcome::Unchanged);
        real.map(|change| self.write_of(&change.applied.after, change.index)).collect()
    }

    /// The write that puts `stored` on top of `index`.
    pub(super) fn write_of(&self, stored: &Stored, index: u64) -> Result<Write, PeopleError> {
        let object = ObjectRef::of(stored);
        let key = self.keys().spec(object.kind, &object.key);
        let value = serde_json::to_vec(stored)
            .map_err(|error| PeopleError::Unreadable { key: key.clone(), why: error.to_string() })?;
        if value.len() > MAX_BYTES {
            return Err(PeopleError::TooLarge { object, size: value.len(), limit: MAX_BYTES });
        }
        Ok(Write { object, key, value, index })
    }
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

fn other_kind(kind: Kind) -> Kind {
    match kind {
        Kind::Deployment => Kind::Canary,
        Kind::Canary => Kind::Deployment,
    }
}

/// The labels before and after, if the template's label changes.
fn versions(stored: &Stored, manifest: &AnyObject) -> Option<(String, String)> {
    let old = stored.spec.pointer("/template/version")?.as_str()?;
    let AnyObject::Deployment(deployment) = manifest else { return None };
    let new = deployment.spec.template.version.as_str();
    (old != new).then(|| (old.to_owned(), new.to_owned()))
}

/// The service name of a stored Deployment.
fn stored_service(stored: Option<&Stored>) -> Option<String> {
    match manifest::typed(stored?).ok()? {
        AnyObject::Deployment(deployment) => Some(service_name(&deployment)),
        AnyObject::Canary(_) => None,
    }
}

/// Splits the writes into transactions, each within Consul's limits of operations and of bytes.
fn batches(writes: &[Write]) -> Vec<&[Write]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (place, write) in writes.iter().enumerate() {
        let full = place - start == consul_client::MAX_TXN_OPS || bytes + write.value.len() > MAX_BYTES;
        if full && place > start {
            batches.extend(writes.get(start..place));
            (start, bytes) = (place, 0);
        }
        bytes += write.value.len();
    }
    batches.extend(writes.get(start..).filter(|rest| !rest.is_empty()));
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(size: usize) -> Write {
        let object = ObjectRef::new(Kind::Deployment, ObjectKey::new("default", "hello"));
        Write { object, key: "key".to_owned(), value: vec![0; size], index: 0 }
    }

    #[test]
    fn a_batch_ends_at_sixty_four_operations_and_before_it_grows_too_large() {
        let sizes = |writes: &[Write]| batches(writes).iter().map(|batch| batch.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&vec![write(10); 130]), [64, 64, 2]);
        assert_eq!(sizes(&[write(MAX_BYTES / 2), write(MAX_BYTES / 2), write(1)]), [2, 1]);
        assert_eq!(sizes(&[write(1), write(MAX_BYTES)]), [1, 1]);
    }
}
