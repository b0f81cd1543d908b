//! Scale: how many instances there should be, in all or by version.

use std::collections::BTreeSet;

use helium_crds::{Kind, ObjectKey, deployment::VersionCount};
use serde_json::{Value, json};

use super::{
    People, PeopleError, checks,
    manifest::{self, ObjectRef, Stored},
    stock::Stock,
    undo::template,
    versions,
};

/// A Deployment that was scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// The object before.
    pub before: Stored,
    /// The object after; the same as before if it was so already, and then nothing was written.
    pub after: Stored,
    /// What the person may want to know about it.
    pub warnings: Vec<String>,
}

impl People {
    /// Sets the number of instances of each Deployment. Counts by version, if there were any, are over.
    ///
    /// A Canary is looked at as by an apply: with `exact: true` a count of which its weights cannot be made is refused, and
    /// weights that come out far from what they ask for are a warning.
    pub async fn scale(&self, counts: &[(ObjectKey, u32)]) -> Result<Vec<Scaled>, PeopleError> {
        let objects: Vec<ObjectRef> = counts.iter().map(|(key, _)| deployment(key)).collect();
        let mut seen = BTreeSet::new();
        if let Some(twice) = objects.iter().find(|object| !seen.insert(*object)) {
            return Err(PeopleError::GivenTwice(twice.clone()));
        }
        let canaries: Vec<ObjectRef> = objects.iter().filter_map(checks::other).collect();
        let canaries = Stock::of(self, &canaries).await?;
        let change = |place: usize, stored: &Stored| {
            let replicas = counts.get(place).map_or(0, |(_, replicas)| *replicas);
            let after = edited(stored, |spec| {
                spec.remove("versions");
                spec.insert("replicas".to_owned(), json!(replicas));
            })?;
            if let Some(after) = &after {
                beside_canary(after, &canaries)?;
            }
            Ok(after)
        };
        let results = self.edit(&objects, Kind::Deployment, change).await?;
        let scaled = |(before, after): (Stored, Stored)| {
            let mut warnings = Vec::new();
            if before.spec != after.spec {
                warnings.extend(counts_are_over(&before));
                warnings.extend(beside_canary(&after, &canaries)?);
            }
            Ok(Scaled { before, after, warnings })
        };
        results.into_iter().map(scaled).collect()
    }

    /// Holds several versions of one Deployment at chosen counts. The Canary is suspended until `scale` sets one count again.
    ///
    /// Every version must be in the history: a label, or `label@hash` for one revision of that label.
    pub async fn scale_versions(&self, key: &ObjectKey, counts: &[VersionCount]) -> Result<Scaled, PeopleError> {
        let object = deployment(key);
        let stored = self.existing(&object).await?.value;
        let history = self.revisions(key).await?;
        versions::check(&object, counts, &history, template(&stored).as_ref())?;
        let change = |_: usize, stored: &Stored| {
            edited(stored, |spec| {
                spec.remove("replicas");
                spec.insert("versions".to_owned(), json!(counts));
            })
        };
        let results = self.edit(std::slice::from_ref(&object), Kind::Deployment, change).await?;
        let scaled = |(before, after)| Scaled { before, after, warnings: Vec::new() };
        results.into_iter().next().map(scaled).ok_or(PeopleError::NotFound(object))
    }
}

fn deployment(key: &ObjectKey) -> ObjectRef {
    ObjectRef::new(Kind::Deployment, key.clone())
}

/// What apply would say of the Deployment beside its Canary, if it has one.
fn beside_canary(deployment: &Stored, canaries: &Stock<'_>) -> Result<Vec<String>, PeopleError> {
    let canary = checks::other(&ObjectRef::of(deployment)).and_then(|canary| canaries.get(&canary));
    let canary = canary.and_then(|row| manifest::typed(&row.value).ok());
    match (manifest::typed(deployment), canary) {
        (Ok(deployment), Some(canary)) => checks::pair(&deployment, &canary),
        _ => Ok(Vec::new()),
    }
}

/// One count in place of counts by version lets the template have its way again.
fn counts_are_over(before: &Stored) -> Option<String> {
    before.spec.get("versions")?;
    let version = template(before)?.version;
    Some(format!("counts by version are over; every instance is to be {version}, the version of the template"))
}

/// The counts by version that an object holds, as they are typed: `v23=0,v24=7`.
pub fn counts_by_version(stored: &Stored) -> Option<String> {
    let count = |count: &Value| Some(format!("{}={}", count.get("version")?.as_str()?, count.get("replicas")?));
    let counts: Vec<String> = stored.spec.get("versions")?.as_array()?.iter().filter_map(count).collect();
    Some(counts.join(","))
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
