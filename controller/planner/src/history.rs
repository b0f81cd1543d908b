//! The history of revisions: the present template is kept, and what is neither in use nor recent is dropped.

use std::{cmp::Reverse, collections::BTreeSet};

use helium_crds::{RevisionId, revision::Revision};

use crate::{draft::Draft, plan::Action};

/// Records the present template under a new number when it is new or has come back, so that a label means its newest revision.
/// What is being deleted needs no history.
pub(crate) fn record(draft: &mut Draft<'_>, came_back: bool) -> Option<Action> {
    let known = draft.world.revisions.contains_key(&draft.target.revision);
    if draft.world.deployment.is_deleting() || (known && !came_back) {
        return None;
    }
    let number = draft.status.next_revision;
    draft.status.next_revision += 1;
    Some(Action::RecordRevision(Revision {
        id: draft.target.revision.clone(),
        number,
        template: draft.spec().template.clone(),
        created_at: draft.now(),
    }))
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
