//! Weights of services in Consul, for a Canary that routes by them: which instance is to weigh what, and whether it does.
//!
//! What is no canary weighs [`STABLE_WEIGHT`] at all times, so that only canaries are registered anew from step to step. What was given up, or
//! has been overtaken by a newer version, keeps what it weighs while it goes: those that are left could not take all of its share at once, and
//! more than it had it must not get.

use helium_crds::{
    InstanceId, RevisionId,
    canary::TrafficRouting,
    instance::Instance,
    status::{RolloutKind, STABLE_WEIGHT, Stage, WaitingOn, Weight},
};

use crate::{census::count, draft::Draft};

/// What makes the weights of this Deployment's steps; the counts alone, without a Canary.
pub(crate) fn of(draft: &Draft<'_>) -> TrafficRouting {
    draft.canary().map_or(TrafficRouting::InstanceRatio, |canary| canary.traffic_routing)
}

/// What an instance is to weigh in Consul; none leaves it to Consul. Of a Canary that cannot be read everything keeps what it has.
pub(crate) fn service_weight(draft: &Draft<'_>, instance: &Instance) -> Option<u32> {
    if !is_weighed(draft) {
        return None;
    }
    let kept = || stored(draft, &instance.id).unwrap_or(STABLE_WEIGHT);
    Some(match part(draft, &instance.revision) {
        Part::Whole => STABLE_WEIGHT,
        Part::Tried => {
            let weight = draft.status.rollout.as_ref().and_then(|rollout| rollout.weight);
            weight.and_then(|weight| weight.service_weight).unwrap_or_else(kept)
        }
        Part::GoingAway => kept(),
    })
}

/// What is waited for where healthy instances do not weigh yet what `weight` asks for.
pub(crate) fn missing(draft: &Draft<'_>, weight: Weight) -> Option<WaitingOn> {
    let canary = weight.service_weight?;
    let has = |id: &InstanceId| draft.fleet.get().catalog.get(id).map(|entry| entry.weight);
    let should = |revision: &RevisionId| match part(draft, revision) {
        Part::Whole => Some(STABLE_WEIGHT),
        Part::Tried => Some(canary),
        Part::GoingAway => None,
    };
    let serving = || draft.census().live().filter(|member| member.is_healthy() && !member.is_standby());
    let is_so = |id: &InstanceId, should: Option<u32>| should.is_none() || has(id) == should;
    let weighed = serving().filter(|one| is_so(one.id(), should(&one.instance.revision)));
    let (weighed, instances) = (count(weighed), count(serving()));
    (weighed < instances).then_some(WaitingOn::Weights { weighed, instances })
}

/// The part that a revision has in the traffic.
enum Part {
    /// It has its whole share by its count.
    Whole,
    /// It has the share that the present step gives it.
    Tried,
    /// It goes, and its share with it.
    GoingAway,
}

fn part(draft: &Draft<'_>, revision: &RevisionId) -> Part {
    let rollout = draft.status.rollout.as_ref().filter(|rollout| rollout.revision == *revision);
    match rollout {
        _ if draft.by_hand || draft.stable() == Some(revision) => Part::Whole,
        Some(rollout) if rollout.kind == RolloutKind::Canary && rollout.stage == Stage::Steps => Part::Tried,
        Some(rollout) if rollout.stage.is_under_way() => Part::Whole,
        Some(rollout) if rollout.kind == RolloutKind::First => Part::Whole,
        _ => Part::GoingAway,
    }
}

fn is_weighed(draft: &Draft<'_>) -> bool {
    if draft.world.canary_problem.is_some() {
        return draft.fleet.get().assignments.values().any(|assignment| assignment.service.weight.is_some());
    }
    of(draft) == TrafficRouting::ConsulWeights
}

fn stored(draft: &Draft<'_>, id: &InstanceId) -> Option<u32> {
    draft.fleet.get().assignments.get(id).and_then(|assignment| assignment.service.weight)
}
