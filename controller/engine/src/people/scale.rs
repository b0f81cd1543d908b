//! Scale: how many instances there should be, in all or by version.

use helium_crds::{Kind, ObjectKey, deployment::VersionCount, revision::Revision};
use serde_json::{Value, json};

use super::{
    People, PeopleError,
    manifest::{ObjectRef, Stored},
};

impl People {
    /// Sets the number of instances of each Deployment, in one transaction. Counts by version, if there were any, are over.
    ///
    /// Gives the objects before and after; those that are so already are not written.
    pub async fn scale(&self, counts: &[(ObjectKey, u32)]) -> Result<Vec<(Stored, Stored)>, PeopleError> {
        let objects: Vec<ObjectRef> = counts.iter().map(|(key, _)| deployment(key)).collect();
        let change = |place: usize, stored: &Stored| {
            let replicas = counts.get(place).map_or(0, |(_, replicas)| *replicas);
            edited(stored, |spec| {
                spec.remove("versions");
                spec.insert("replicas".to_owned(), json!(replicas));
            })
        };
        self.edit(&objects, change).await
    }

    /// Holds several versions of one Deployment at chosen counts. The Canary is suspended until `scale` sets one count again.
    ///
    /// Every version must be in the history: a label, or `label@hash` for one revision of that label.
    pub async fn scale_versions(
        &self,
        key: &ObjectKey,
        counts: &[VersionCount],
    ) -> Result<(Stored, Stored), PeopleError> {
        let object = deployment(key);
        self.existing(&object).await?;
        let history = self.revisions(key).await?;
        for count in counts {
            if !history.iter().any(|revision| names(&count.version, revision)) {
                let known = history.iter().map(label).collect();
                let wanted = format!("version {}", count.version);
                return Err(PeopleError::NoRevision { object, wanted, known });
            }
        }
        let change = |_: usize, stored: &Stored| {
            edited(stored, |spec| {
                spec.remove("replicas");
                spec.insert("versions".to_owned(), json!(counts));
            })
        };
        let results = self.edit(std::slice::from_ref(&object), change).await?;
        results.into_iter().next().ok_or(PeopleError::NotFound(object))
    }
}

fn deployment(key: &ObjectKey) -> ObjectRef {
    ObjectRef::new(Kind::Deployment, key.clone())
}

/// Whether `label` or `label@hash` means this revision.
fn names(wanted: &str, revision: &Revision) -> bool {
    match wanted.split_once('@') {
        None => revision.template.version == wanted,
        Some((label, hash)) => revision.template.version == label && hash_of(revision).starts_with(hash),
    }
}

/// The hash of a revision without the scheme in front.
fn hash_of(revision: &Revision) -> &str {
    let id = revision.id.as_str();
    id.split_once('-').map_or(id, |(_, hash)| hash)
}

fn label(revision: &Revision) -> String {
    format!("{}@{}", revision.template.version, revision.id.short())
}

/// The object with another spec; none if `change` changes nothing. An object on its way out is refused.
pub(super) fn edited(
    stored: &Stored,
    change: impl FnOnce(&mut serde_json::Map<String, Value>),
) -> Result<Option<Stored>, PeopleError> {
    if stored.is_deleting() {
        return Err(PeopleError::Deleting(ObjectRef::of(stored)));
    }
    let mut after = stored.clone();
    if let Value::Object(spec) = &mut after.spec {
        change(spec);
    }
    Ok((after.spec != stored.spec).then_some(after))
}
