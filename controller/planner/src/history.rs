//! The history of revisions: the present template is kept, and what is neither in use nor recent is dropped.

use std::{cmp::Reverse, collections::BTreeSet};

use helium_crds::{
    RevisionId,
    deployment::STEPS_ANNOTATION,
    revision::{Revision, revision_id},
    template::Template,
};

use crate::{draft::Draft, plan::Action};

/// So many changed values are named.
const NAMED_VALUES: usize = 5;

/// Records the present template under a new number when it is new or has come back, so that a label means its newest revision.
/// What is being deleted needs no history.
pub(crate) fn record(draft: &mut Draft<'_>, came_back: bool) -> Option<Action> {
    let known = draft.world.revisions.get(&draft.target.revision);
    if draft.world.deployment.is_deleting() || (known.is_some() && !came_back) {
        return None;
    }
    let number = draft.status.next_revision;
    draft.status.next_revision += 1;
    Some(Action::RecordRevision(Box::new(Revision {
        id: draft.target.revision.clone(),
        number,
        formerly: known.map(numbers_until_now).unwrap_or_default(),
        template: draft.spec().template.clone(),
        created_at: draft.now(),
    })))
}

/// The numbers of a revision that comes back, so that whoever asks for one of them can be told of the new one.
fn numbers_until_now(known: &Revision) -> Vec<u64> {
    let all: Vec<u64> = known.formerly.iter().copied().chain([known.number]).collect();
    all[all.len().saturating_sub(Revision::FORMERLY)..].to_vec()
}

/// Drops the oldest revisions beyond `revisionHistoryLimit`, never one that is in use.
pub(crate) fn prune(draft: &Draft<'_>, named: &BTreeSet<RevisionId>) -> Vec<Action> {
    let mut in_use: BTreeSet<&RevisionId> = named.iter().collect();
    in_use.insert(&draft.target.revision);
    in_use.extend(draft.stable());
    in_use.extend(draft.status.rollout.as_ref().map(|rollout| &rollout.revision));
    in_use.extend(draft.census().members.values().map(|member| &member.instance.revision));
    let mut idle: Vec<&Revision> =
        draft.world.revisions.values().filter(|revision| !in_use.contains(&revision.id)).collect();
    idle.sort_by_key(|revision| Reverse(revision.number));
    let limit = draft.spec().revision_history_limit as usize;
    idle.into_iter().skip(limit).map(|revision| Action::ForgetRevision(revision.id.clone())).collect()
}

/// In words, which values in Consul the present revision has otherwise than the stable one; none if the template differs, too, since that is
/// what people look at.
pub(crate) fn changed_values(draft: &Draft<'_>) -> Option<String> {
    let stable = &draft.world.revisions.get(draft.stable()?)?.template;
    let target = &draft.spec().template;
    if stable.overrides == target.overrides || stable.as_written() != target.as_written() {
        return None;
    }
    let names: BTreeSet<&String> = stable.overrides.keys().chain(target.overrides.keys()).collect();
    let differs = |name: &&&String| stable.overrides.get(**name) != target.overrides.get(**name);
    let changed: Vec<&str> = names.iter().filter(differs).map(|name| name.as_str()).collect();
    let (some, more) =
        (changed.iter().take(NAMED_VALUES).copied().collect::<Vec<_>>(), changed.len().saturating_sub(NAMED_VALUES));
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!("values changed in Consul: {}{more}", some.join(", ")))
}

/// In words, whose build the present version is, where nothing but the version differs from the stable revision and no person chose it.
pub(crate) fn new_build(draft: &Draft<'_>) -> Option<String> {
    let from = draft.spec().version_from.as_ref()?;
    let stable = &draft.world.revisions.get(draft.stable()?)?.template;
    let target = &draft.spec().template;
    let is_chosen = from.instead.as_ref().is_some_and(|instead| instead.take == target.version);
    let but_the_version = Template { version: target.version.clone(), ..stable.clone() };
    (!is_chosen && but_the_version == *target).then(|| format!("a build of hydrajob/{}", from.hydra_job))
}

/// Whether the rollout to the present template takes no steps: because a person said so for this very revision, or for its template whatever
/// the values in Consul are, or because it goes back within `rollbackWindow` to one that has served before.
///
/// Example: 1, 2, 3 and 4 have served, 4 does now, and the window is of 2 revisions. Back to 2 takes no steps, for only 3 lies between.
pub(crate) fn skips_steps(draft: &Draft<'_>) -> bool {
    let target = &draft.target.revision;
    let said = draft.world.deployment.metadata.annotations.get(STEPS_ANNOTATION);
    match said.and_then(|said| said.split_once(' ')) {
        Some(("skip", revision)) if is_meant(draft, revision) => return true,
        Some(("take", revision)) if is_meant(draft, revision) => return false,
        _ => {}
    }
    let Some(window) = draft.spec().rollback_window else { return false };
    let number = |revision: &RevisionId| draft.world.revisions.get(revision).map(|known| known.number);
    let (Some(back), Some(stable)) = (number(target), draft.stable().and_then(number)) else { return false };
    let between = draft.world.revisions.values().filter(|known| known.number > back && known.number < stable).count();
    back < stable && between < window.revisions as usize && draft.status.served.contains(target)
}

/// Whether a person's word about `revision` is about the present one. Who names a template without values of Consul's means it with those that
/// there are, which may have changed since; but once it serves, a change of values is a rollout of its own.
fn is_meant(draft: &Draft<'_>, revision: &str) -> bool {
    if revision == draft.target.revision.as_str() {
        return true;
    }
    let written = draft.spec().template.as_written();
    let stable = draft.stable().and_then(|stable| draft.world.revisions.get(stable));
    let serves = |stable: &Revision| stable.template.as_written() == written;
    stable.is_some_and(|stable| !serves(stable)) && revision_id(&written).as_str() == revision
}

/// Notes that the stable revision serves.
pub(crate) fn note_served(draft: &mut Draft<'_>) {
    let Some(stable) = draft.stable().cloned() else { return };
    let limit = draft.spec().revision_history_limit as usize + 1;
    let served = &mut draft.status.served;
    if served.last() == Some(&stable) {
        return;
    }
    served.retain(|revision| *revision != stable);
    served.push(stable);
    let surplus = served.len().saturating_sub(limit);
    served.drain(..surplus);
}
