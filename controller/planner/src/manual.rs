//! Counts by hand: `versions` holds several versions at chosen counts, and the Canary is suspended meanwhile.

use std::collections::BTreeMap;

use helium_crds::{
    RevisionId,
    deployment::VersionCount,
    revision::Revision,
    status::{RolloutKind, Stage, VersionRef},
};

use crate::{
    census::count,
    draft::Draft,
    scale::{Group, Share, Targets, group_of},
    targets::Wanted,
};

/// Resolves `versions` against the history. A label means its newest revision; `label@hash` the one whose hash so begins.
pub(crate) fn resolve(
    versions: &[VersionCount],
    revisions: &BTreeMap<RevisionId, Revision>,
) -> Result<BTreeMap<RevisionId, u32>, String> {
    let mut counts = BTreeMap::new();
    for VersionCount { version, replicas } in versions {
        let revision = find(version, revisions)?;
        *counts.entry(revision).or_default() += replicas;
    }
    Ok(counts)
}

fn find(version: &str, revisions: &BTreeMap<RevisionId, Revision>) -> Result<RevisionId, String> {
    let (label, hash) = version.split_once('@').map_or((version, None), |(label, hash)| (label, Some(hash)));
    let fits = |revision: &&Revision| {
        let digits = revision.id.as_str().split_once('-').map_or("", |(_, digits)| digits);
        revision.template.version == label && hash.is_none_or(|hash| digits.starts_with(hash))
    };
    let newest = revisions.values().filter(fits).max_by_key(|revision| revision.number);
    newest.map(|revision| revision.id.clone()).ok_or_else(|| {
        let known: Vec<&str> = revisions.values().map(|revision| revision.template.version.as_str()).collect();
        format!("version `{version}` is not in the history, which has: {}", known.join(", "))
    })
}

/// A rollout that was under way is dropped, since a person has taken over. One that was given up stays on record, so that it does not
/// begin again when the counts by hand end.
pub(crate) fn take_over(draft: &mut Draft<'_>) {
    let Some(mut rollout) = draft.status.rollout.take() else { return };
    let given_up = matches!(rollout.stage, Stage::RollingBack | Stage::Aborted | Stage::RollbackFailed);
    let over = rollout.stage == Stage::Aborted;
    let version = rollout.version.clone();
    if given_up && rollout.kind != RolloutKind::Return && rollout.revision == draft.target.revision {
        rollout.stage = Stage::Aborted;
        rollout.deadline_at = None;
        draft.status.rollout = Some(rollout);
    }
    if !over {
        draft.tell("ManualCounts", format!("counts by hand end the rollout to {version}"));
    }
}

/// The wanted counts.
pub(crate) fn wanted(draft: &mut Draft<'_>, counts: &BTreeMap<RevisionId, u32>) -> Wanted {
    let group = |revision: &RevisionId| Group { revision: revision.clone(), outdated: false };
    let targets: Targets = counts.iter().map(|(revision, &number)| (group(revision), Share::serving(number))).collect();
    if is_settled(draft, counts) {
        settle(draft, counts);
    }
    Wanted { targets, first: draft.stable().cloned() }
}

/// Whether the counts are there and healthy, and nothing else is, nor anything from before the last restart.
pub(crate) fn is_settled(draft: &Draft<'_>, counts: &BTreeMap<RevisionId, u32>) -> bool {
    let census = draft.census();
    let reached = counts.iter().all(|(revision, &wanted)| {
        count(census.of(revision)) == wanted
            && count(census.of(revision).filter(|member| member.is_healthy())) == wanted
    });
    let mut taking_room = census.members.values().filter(|member| member.takes_room());
    reached
        && taking_room.all(|member| {
            let group = group_of(member, draft.status.restart_before);
            !group.outdated && counts.contains_key(&group.revision)
        })
}

/// The version with the greatest count becomes the stable one, so that a later rollout starts from what serves.
fn settle(draft: &mut Draft<'_>, counts: &BTreeMap<RevisionId, u32>) {
    let number = |revision: &RevisionId| draft.world.revisions.get(revision).map_or(u64::MAX, |known| known.number);
    let most =
        counts.iter().filter(|(_, wanted)| **wanted > 0).max_by_key(|(revision, wanted)| (**wanted, number(revision)));
    let Some((revision, _)) = most else { return };
    if draft.stable() != Some(revision) {
        let version = draft.label(revision);
        draft.status.stable = Some(VersionRef { version, revision: revision.clone() });
    }
    // What a person lets serve is not given up any more.
    if draft.status.rollout.as_ref().is_some_and(|rollout| rollout.revision == *revision) {
        draft.status.rollout = None;
    }
}
