//! Undo: the template of an earlier revision becomes the template again.

use std::collections::BTreeSet;

use helium_crds::{
    DeploymentStatus, Kind, ObjectKey, RevisionId,
    deployment::{CAUSE_ANNOTATION, STEPS_ANNOTATION},
    revision::{Revision, revision_id},
    status::HydraJobStatus,
    template::Template,
    version_from::VersionFrom,
};
use serde_json::{Value, json};

use super::{
    People, PeopleError,
    manifest::{ObjectRef, Stored},
    scale::{counts_by_version, edited},
};
use crate::overrides::Values;

/// Whether the rollout that follows an undo takes the steps of the Canary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// As the spec says: those within `rollbackWindow` take none.
    #[default]
    AsDeclared,
    /// It takes none.
    Fast,
    /// It takes them all.
    Staged,
}

/// What an undo did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// The revision that was gone back to.
    pub to: Revision,
    /// The object before.
    pub before: Stored,
    /// The object after; the same as before if it was at that revision already.
    pub after: Stored,
    /// The names of the values in Consul that were others in that revision. They are no part of a spec and stay as they are.
    pub values: Vec<String>,
}

impl People {
    /// Puts the template of revision `number` back, or without one that of the version before.
    ///
    /// The version before is the stable one while another is being rolled out or was given up, else the newest in the history
    /// that is not the present one. What follows is a rollout like any other; so it is refused while counts by version hold what
    /// runs, since nothing would come of it.
    pub async fn undo(&self, key: &ObjectKey, number: Option<u64>) -> Result<Undone, PeopleError> {
        self.undo_by(key, number, Way::AsDeclared, None).await
    }

    /// The same, with the way and the reason.
    ///
    /// # Errors
    /// As [`People::undo`].
    pub async fn undo_by(
        &self,
        key: &ObjectKey,
        number: Option<u64>,
        way: Way,
        reason: Option<&str>,
    ) -> Result<Undone, PeopleError> {
        let object = ObjectRef::new(Kind::Deployment, key.clone());
        let stored = self.existing(&object).await?.value;
        counts_are_not_held(&stored)?;
        let history = self.revisions(key).await?;
        let status = self.status(key).await?;
        let present = present(&stored, status.as_ref());
        let newest = self.newest_version(key, &stored, status.as_ref()).await?;
        let target = match number {
            Some(number) => history.iter().find(|revision| revision.number == number),
            None => before(&history, status.as_ref(), template(&stored).as_ref()),
        };
        let Some(to) = target.cloned() else {
            return Err(no_revision(object, number, &history));
        };
        let overrides = overrides(&history, status.as_ref());
        let values = differing(&to.template.overrides, &overrides);
        if !values.is_empty() && present.as_ref().is_some_and(|present| to.template.as_written() == *present) {
            let prefix = self.keys().overrides(key);
            return Err(PeopleError::OnlyValues { object, number: to.number, prefix, values });
        }
        // The values may change before the controller comes to it: they are no part of what is meant.
        let goes_to = revision_id(&to.template.as_written());
        let change = |_: usize, stored: &Stored| {
            counts_are_not_held(stored)?;
            let put_back = edited(stored, |spec| put_back(spec, &to, newest.as_deref()))?;
            Ok(put_back.map(|mut after| {
                say_way(&mut after, way, &goes_to);
                say_why(&mut after, reason);
                after
            }))
        };
        let results = self.edit(std::slice::from_ref(&object), Kind::Deployment, change).await?;
        let (before, after) = results.into_iter().next().ok_or(PeopleError::NotFound(object))?;
        Ok(Undone { to, before, after, values })
    }

    /// The status of a HydraJob.
    ///
    /// # Errors
    /// The store does not answer, or what it holds cannot be read.
    pub async fn hydra_job_status(&self, job: &ObjectKey) -> Result<Option<HydraJobStatus>, PeopleError> {
        Ok(self.value(&self.keys().status(Kind::HydraJob, job)).await?.map(|row| row.value))
    }

    /// The newest version of a Deployment that takes its version from a build, as far as is known.
    async fn newest_version(
        &self,
        key: &ObjectKey,
        stored: &Stored,
        status: Option<&DeploymentStatus>,
    ) -> Result<Option<String>, PeopleError> {
        let Some(from) = version_from(stored) else { return Ok(None) };
        let found = self.hydra_job_status(&ObjectKey::new(&key.namespace, &from.hydra_job)).await?;
        let newest = found.and_then(|found| found.newest).map(|newest| newest.version);
        Ok(newest.or_else(|| status.map(|status| status.current.version.clone())))
    }
}

/// Where the version of a stored Deployment comes from, if not from its template.
pub fn version_from(stored: &Stored) -> Option<VersionFrom> {
    serde_json::from_value(stored.spec.get("versionFrom")?.clone()).ok()
}

/// The template of a stored Deployment, with the version that it has by now.
fn present(stored: &Stored, status: Option<&DeploymentStatus>) -> Option<Template> {
    let mut template = template(stored)?;
    if let Some(status) = status.filter(|_| template.version.is_empty()) {
        template.version.clone_from(&status.current.version);
    }
    Some(template)
}

/// There is nothing to go back to under this number; a template that has come back since is found under its new one.
fn no_revision(object: ObjectRef, number: Option<u64>, history: &[Revision]) -> PeopleError {
    let name = |revision: &Revision| format!("{} ({})", revision.number, revision.template.version);
    let known = history.iter().map(name).collect();
    let had = |revision: &&Revision| number.is_some_and(|number| revision.formerly.contains(&number));
    match (number, history.iter().find(had)) {
        (Some(number), Some(now)) => PeopleError::Renumbered { object, number, now: now.number, known },
        (Some(number), None) => PeopleError::NoRevision { object, wanted: format!("revision {number}"), known },
        (None, _) => PeopleError::NoRevision { object, wanted: "earlier revision".to_owned(), known },
    }
}

/// The values in Consul that the present revision has.
fn overrides(history: &[Revision], status: Option<&DeploymentStatus>) -> Values {
    let is_current = |revision: &&Revision| status.is_some_and(|status| status.current.revision == revision.id);
    history.iter().find(is_current).map(|revision| revision.template.overrides.clone()).unwrap_or_default()
}

/// The names whose values differ.
fn differing(one: &Values, other: &Values) -> Vec<String> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names.into_iter().filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

/// Puts a template back. Where the version comes from a build, that of the revision is taken in place of the `newest`, until there is a newer one.
fn put_back(spec: &mut serde_json::Map<String, Value>, revision: &Revision, newest: Option<&str>) {
    let mut template = revision.template.as_written();
    if let Some(Value::Object(from)) = spec.get_mut("versionFrom") {
        let take = std::mem::take(&mut template.version);
        match newest.filter(|newest| *newest != take) {
            Some(newest) => drop(from.insert("instead".to_owned(), json!({ "of": newest, "take": take }))),
            None => drop(from.remove("instead")),
        }
    }
    spec.insert("template".to_owned(), json!(template));
}

/// Says of this one template whether the rollout to it takes the steps.
fn say_way(after: &mut Stored, way: Way, to: &RevisionId) {
    let word = match way {
        Way::AsDeclared => return,
        Way::Fast => "skip",
        Way::Staged => "take",
    };
    after.metadata.annotations.insert(STEPS_ANNOTATION.to_owned(), format!("{word} {to}"));
}

/// Notes why an object was changed, for those who look later.
pub(super) fn say_why(after: &mut Stored, reason: Option<&str>) {
    match reason {
        Some(reason) => {
            after.metadata.annotations.insert(CAUSE_ANNOTATION.to_owned(), reason.to_owned());
        }
        None => drop(after.metadata.annotations.remove(CAUSE_ANNOTATION)),
    }
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
    let written = present.map(revision_id);
    let current = status.filter(|status| status.written.is_some() && status.written == written);
    let present = current.map(|status| status.current.revision.clone()).or(written);
    let is_present = |revision: &Revision| Some(&revision.id) == present.as_ref();
    let stable = status.and_then(|status| status.stable.as_ref());
    let serving = history.iter().find(|revision| stable.is_some_and(|stable| stable.revision == revision.id));
    match serving {
        Some(serving) if !is_present(serving) => Some(serving),
        _ => history.iter().rev().find(|revision| !is_present(revision)),
    }
}
