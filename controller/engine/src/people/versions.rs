//! Which revisions counts by version mean: looked up before they are stored, so that nobody is told "scaled" of what no controller
//! can follow.

use helium_crds::{
    RevisionId,
    deployment::VersionCount,
    revision::{Revision, revision_id},
    template::Template,
};

use super::{PeopleError, manifest::ObjectRef};

/// A revision that counts can name.
struct Known {
    label: String,
    id: RevisionId,
}

impl Known {
    /// The hash without the scheme in front.
    fn hash(&self) -> &str {
        let id = self.id.as_str();
        id.split_once('-').map_or(id, |(_, hash)| hash)
    }

    /// `v23@ab12cd34`.
    fn name(&self) -> String {
        format!("{}@{}", self.label, self.id.short())
    }
}

/// Looks up every count: in the history, oldest first, and in the object's template, which enters the history as soon as a controller
/// has looked at it.
///
/// # Errors
/// A version that there is not, a hash that fits several revisions, and two counts of one revision.
pub(super) fn check(
    object: &ObjectRef,
    counts: &[VersionCount],
    history: &[Revision],
    template: Option<&Template>,
) -> Result<(), PeopleError> {
    let known = known(history, template);
    let all = || known.iter().map(Known::name).collect::<Vec<_>>();
    let mut seen: Vec<(&RevisionId, &str)> = Vec::new();
    for VersionCount { version, .. } in counts {
        let fits = fits(version, &known);
        let Some(revision) = fits.last() else {
            let wanted = format!("version {version}");
            return Err(PeopleError::NoRevision { object: object.clone(), wanted, known: all() });
        };
        if fits.len() > 1 && version.contains('@') {
            let fits = told_apart(&fits);
            return Err(PeopleError::Ambiguous { object: object.clone(), wanted: version.clone(), fits });
        }
        if let Some((_, first)) = seen.iter().find(|(id, _)| *id == &revision.id) {
            let both = vec![(*first).to_owned(), version.clone()];
            return Err(PeopleError::SameVersion { object: object.clone(), named: both, known: all() });
        }
        seen.push((&revision.id, version));
    }
    Ok(())
}

/// Everything that can be named, the newest last.
fn known(history: &[Revision], template: Option<&Template>) -> Vec<Known> {
    let mut known: Vec<Known> = history
        .iter()
        .map(|revision| Known { label: revision.template.version.clone(), id: revision.id.clone() })
        .collect();
    // One that takes its version from a build is in the history once it has one.
    if let Some(template) = template.filter(|template| !template.version.is_empty()) {
        let id = revision_id(template);
        // With values of Consul's its revisions have other ids.
        let is_kept = |revision: &Revision| revision.id == id || revision.template.as_written() == *template;
        if !history.iter().any(is_kept) {
            known.push(Known { label: template.version.clone(), id });
        }
    }
    known
}

/// What `label` or `label@hash` fits.
fn fits<'a>(wanted: &str, known: &'a [Known]) -> Vec<&'a Known> {
    let (label, hash) = wanted.split_once('@').unwrap_or((wanted, ""));
    known.iter().filter(|known| known.label == label && known.hash().starts_with(hash)).collect()
}

/// The names of several revisions of one label, with as many digits as it takes to tell them apart.
fn told_apart(revisions: &[&Known]) -> Vec<String> {
    let short: Vec<String> = revisions.iter().map(|known| known.name()).collect();
    let same = |name: &String| short.iter().filter(|other| *other == name).count() > 1;
    if short.iter().any(same) {
        return revisions.iter().map(|known| format!("{}@{}", known.label, known.hash())).collect();
    }
    short
}
