//! Undo: the template of an earlier revision becomes the template again.

use helium_crds::{DeploymentStatus, Kind, ObjectKey, revision::Revision, revision::revision_id, template::Template};
use serde_json::{Value, json};

use super::{
    People, PeopleError,
    manifest::{ObjectRef, Stored},
    scale::{counts_by_version, edited},
};

/// What an undo did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// The revision that was gone back to.
    pub to: Revision,
    /// The object before.
    pub before: Stored,
    /// The object after; the same as before if it was at that revision already.
    pub after: Stored,
}

impl People {
    /// Puts the template of revision `number` back, or without one that of the version before.
    ///
    /// The version before is the stable one while another is being rolled out or was given up, else the newest in the history
    /// that is not the present one. What follows is a rollout like any other; so it is refused while counts by version hold what
    /// runs, since nothing would come of it.
    pub async fn undo(&self, key: &ObjectKey, number: Option<u64>) -> Result<Undone, PeopleError> {
        let object = ObjectRef::new(Kind::Deployment, key.clone());
        let stored = self.existing(&object).await?.value;
        counts_are_not_held(&stored)?;
        let history = self.revisions(key).await?;
        let status = self.status(key).await?;
        let present = template(&stored);
        let target = match number {
            Some(number) => history.iter().find(|revision| revision.number == number),
            None => before(&history, status.as_ref(), present.as_ref()),
        };
        let Some(to) = target.cloned() else {
            let known = history.iter().map(|revision| revision.number.to_string()).collect();
            let wanted = number.map_or("earlier revision".to_owned(), |number| format!("revision {number}"));
            return Err(PeopleError::NoRevision { object, wanted, known });
        };
        let change = |_: usize, stored: &Stored| {
            counts_are_not_held(stored)?;
            edited(stored, |spec| put_back(spec, &to))
        };
        let results = self.edit(std::slice::from_ref(&object), Kind::Deployment, change).await?;
        let (before, after) = results.into_iter().next().ok_or(PeopleError::NotFound(object))?;
        Ok(Undone { to, before, after })
    }
}

fn put_back(spec: &mut serde_json::Map<String, Value>, revision: &Revision) {
    spec.insert("template".to_owned(), json!(revision.template));
}

fn counts_are_not_held(stored: &Stored) -> Result<(), PeopleError> {
    match counts_by_version(stored) {
        Some(counts) => Err(PeopleError::CountsHeld { object: ObjectRef::of(stored), counts }),
        None => Ok(()),
    }
}

/// The template of a stored Deployment, if it can be read.
pub(super) fn template(stored: &Stored) -> Option<Template> {
    serde_json::from_value(stored.spec.get("template")?.clone()).ok()
}

/// The revision to go back to when none is named.
fn before<'a>(
    history: &'a [Revision],
    status: Option<&DeploymentStatus>,
    present: Option<&Template>,
) -> Option<&'a Revision> {
    let present = present.map(revision_id);
    let is_present = |revision: &Revision| Some(&revision.id) == present.as_ref();
    let stable = status.and_then(|status| status.stable.as_ref());
    let serving = history.iter().find(|revision| stable.is_some_and(|stable| stable.revision == revision.id));
    match serving {
        Some(serving) if !is_present(serving) => Some(serving),
        _ => history.iter().rev().find(|revision| !is_present(revision)),
    }
}
