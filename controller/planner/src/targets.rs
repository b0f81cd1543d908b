//! How many instances of which revision there should be, given how far the rollout is.

use std::collections::BTreeMap;

use helium_crds::{
    RevisionId,
    deployment::Strategy,
    status::{Rollout, RolloutKind, Stage, WaitingOn},
};

use crate::{
    bake,
    census::{State, count},
    draft::Draft,
    scale::{Group, Share, Targets, group_of},
    steps, weights,
};

/// The wanted counts, and the revision that is served first where room is short.
pub(crate) struct Wanted {
    pub(crate) targets: Targets,
    pub(crate) first: Option<RevisionId>,
}

/// The wanted counts of a Deployment without counts by hand.
pub(crate) fn wanted(draft: &mut Draft<'_>) -> Wanted {
    let wanted = draft.wanted;
    let stable = draft.stable().cloned();
    let Some(rollout) = draft.status.rollout.as_ref() else {
        let revision = stable.unwrap_or_else(|| draft.target.revision.clone());
        return only(revision, wanted);
    };
    if rollout.stage == Stage::RollbackFailed {
        return as_it_is(draft);
    }
    match rollout.hold.as_ref().map(|hold| hold.rescaled) {
        Some(false) => return as_it_is(draft),
        Some(true) if !matches!(rollout.stage, Stage::Steps | Stage::Baking) => return held(draft),
        _ => {}
    }
    let target = rollout.revision.clone();
    let unmixed = is_unmixed(draft, rollout);
    match (rollout.stage, stable) {
        (Stage::RollingBack, Some(stable)) if unmixed => after_others(draft, stable, wanted),
        (Stage::RollingBack | Stage::Aborted, Some(stable)) => only(stable, wanted),
        // A first rollout that a person gave up: there is nothing to go back to, and nothing more is made of it.
        (Stage::Aborted, None) => as_it_is_at_most(draft, &target),
        (Stage::Promoting | Stage::Baking, _) if unmixed => after_others(draft, target, wanted),
        (stage, stable) => match (stand_in(draft, &target), stage, stable) {
            (Some(stand_in), _, _) => only(stand_in, wanted),
            (None, Stage::Steps, Some(stable)) => canary(draft, &target, stable),
            (None, Stage::Promoting | Stage::Baking, Some(stable)) if stable != target => {
                beside_standby(target, &stable, wanted, bake::places(draft, 0))
            }
            _ => only(target, wanted),
        },
    }
}

/// The present count without coming any further: every other version keeps what it has, as far as the count goes, and the stable
/// one, or the only one there is, takes the rest. Like a count of canaries it uses the surge, as a roll does in its midst.
///
/// Example: 3 old and 2 new ones of 4, surge 1. Of 8 there are 7 and 2, and of 1 there are 1 and 1.
pub(crate) fn held(draft: &Draft<'_>) -> Wanted {
    let Some(rollout) = draft.status.rollout.as_ref() else { return as_it_is(draft) };
    let base = draft.stable().unwrap_or(&rollout.revision).clone();
    let present = as_it_is(draft);
    if leftovers(draft, &rollout.revision).len() >= 2 {
        return present; // a third version is not begun beside them
    }
    if is_unmixed(draft, rollout) {
        let there = |revision: &RevisionId| count(draft.census().of(revision)) > 0;
        let serving = [&rollout.revision, &base].into_iter().find(|revision| there(revision));
        return serving.map_or(present, |revision| after_others(draft, revision.clone(), draft.wanted));
    }
    let budget = draft.budget();
    let fresh = fresh(&base);
    let (mut own, mut others): (Vec<_>, Vec<_>) =
        present.targets.iter().filter(|(group, _)| **group != fresh).partition(|(group, _)| group.revision == base);
    others.append(&mut own);
    let mut kept: BTreeMap<Group, u32> = BTreeMap::new();
    for (group, there) in others {
        let taken: u32 = kept.values().sum();
        kept.insert(group.clone(), there.serving.min(budget.wanted.saturating_sub(taken)));
    }
    let beside = kept.iter().filter(|(group, _)| group.revision != base).map(|(_, number)| number).sum();
    let outdated: u32 = kept.iter().filter(|(group, _)| group.revision == base).map(|(_, number)| number).sum();
    let rest = weights::replica_counts(budget.wanted, beside, budget.surge).stable;
    kept.insert(fresh, rest.saturating_sub(outdated));
    // Those on standby stay so, whatever the count.
    let share = |(group, serving): (Group, u32)| {
        let standby = present.targets.get(&group).map_or(0, |there| there.standby());
        (group, Share { total: serving + standby, serving, kept: 0 })
    };
    Wanted { targets: kept.into_iter().map(share).collect(), first: Some(base) }
}

/// Whether the versions of this rollout must not run beside each other.
fn is_unmixed(draft: &Draft<'_>, rollout: &Rollout) -> bool {
    let recreate = matches!(draft.spec().strategy, Strategy::Recreate(_));
    rollout.kind == RolloutKind::Recreate || (rollout.kind == RolloutKind::Return && recreate)
}

/// While two other versions beside the stable one are still there, a third is not begun: no more than two are ever tried at
/// once. The stable version stands in meanwhile, or the most frequent where there is none, since somebody has to fill the
/// places that the others leave: without surge and at the least availability nothing could stop otherwise.
fn stand_in(draft: &mut Draft<'_>, target: &RevisionId) -> Option<RevisionId> {
    let left = leftovers(draft, target);
    if left.len() < 2 {
        return None;
    }
    let most = left.iter().max_by_key(|(_, instances)| *instances).map(|(revision, _)| revision.clone());
    for (other, instances) in left {
        let version = draft.label(&other);
        draft.wait_for(WaitingOn::Superseded { version, instances });
    }
    draft.stable().cloned().or(most)
}

/// Nothing but this revision.
pub(crate) fn only(revision: RevisionId, count: u32) -> Wanted {
    let targets = [(fresh(&revision), Share::serving(count))].into();
    Wanted { targets, first: Some(revision) }
}

/// The new revision alone serves, and as many of the old one as are there stay on standby.
fn beside_standby(target: RevisionId, stable: &RevisionId, count: u32, kept: u32) -> Wanted {
    let kept = Share { kept, ..Share::default() };
    let targets = [(fresh(&target), Share::serving(count)), (fresh(stable), kept)].into();
    Wanted { targets, first: Some(target) }
}

/// The instances of a revision that no restart is after.
fn fresh(revision: &RevisionId) -> Group {
    Group { revision: revision.clone(), outdated: false }
}

/// Nothing but this revision, and no more of it than there is while anything else takes room: versions are not to be mixed. What
/// is there of it goes on, for an old one may come back with its node when new ones serve already.
fn after_others(draft: &Draft<'_>, revision: RevisionId, wanted: u32) -> Wanted {
    let there = count(draft.census().of(&revision));
    let wanted = if others_left(draft, &revision) { there.min(wanted) } else { wanted };
    only(revision, wanted)
}

/// What the present step asks for, written into the rollout for people to see.
fn canary(draft: &mut Draft<'_>, target: &RevisionId, stable: RevisionId) -> Wanted {
    let weight = draft.status.rollout.as_ref().map(|rollout| steps::weight(draft, rollout));
    if let Some(rollout) = draft.rollout_mut() {
        rollout.weight = weight;
    }
    let weight = weight.unwrap_or_else(|| weights::preview_counts(draft.wanted, 0));
    let tried = Share { total: weight.of_new(), serving: weight.canary, kept: 0 };
    let kept = bake::places(draft, weight.stable);
    let beside = Share { kept, ..Share::serving(weight.stable) };
    let targets = [(fresh(target), tried), (fresh(&stable), beside)].into();
    Wanted { targets, first: Some(stable) }
}

/// Everything as it is: whatever was lost is made again, and nothing else moves.
pub(crate) fn as_it_is(draft: &Draft<'_>) -> Wanted {
    let mut targets = Targets::new();
    let kept = draft.census().members.values().filter(|member| member.is_live() || member.state == State::Lost);
    for member in kept {
        let mut group = group_of(member, draft.status.restart_before);
        // A lost one cannot be made again as outdated: what is made now is not.
        group.outdated &= member.state != State::Lost;
        let share = targets.entry(group).or_default();
        share.total += 1;
        share.serving += u32::from(!member.is_standby());
    }
    Wanted { targets, first: draft.stable().cloned() }
}

/// As it is, and no more than is wanted: what was given up goes first.
fn as_it_is_at_most(draft: &Draft<'_>, given_up: &RevisionId) -> Wanted {
    let mut present = as_it_is(draft);
    let all: u32 = present.targets.values().map(|share| share.total).sum();
    let mut surplus = all.saturating_sub(draft.wanted);
    let mut groups: Vec<(&Group, &mut Share)> = present.targets.iter_mut().collect();
    groups.sort_by_key(|(group, share)| (group.revision != *given_up, share.total));
    for (_, share) in groups {
        let goes = surplus.min(share.total);
        (share.total, share.serving) = (share.total - goes, share.serving.min(share.total - goes));
        surplus -= goes;
    }
    present
}

/// Whether anything but this revision still takes room.
fn others_left(draft: &Draft<'_>, revision: &RevisionId) -> bool {
    draft.census().members.values().any(|member| member.takes_room() && member.instance.revision != *revision)
}

/// The revisions other than the stable one and `revision` that still take room.
fn leftovers(draft: &Draft<'_>, revision: &RevisionId) -> Vec<(RevisionId, u32)> {
    let stable = draft.stable();
    let mut left: BTreeMap<&RevisionId, u32> = BTreeMap::new();
    for member in draft.census().members.values().filter(|member| member.takes_room()) {
        let other = &member.instance.revision;
        if other != revision && Some(other) != stable {
            *left.entry(other).or_default() += 1;
        }
    }
    left.into_iter().map(|(revision, number)| (revision.clone(), number)).collect()
}
