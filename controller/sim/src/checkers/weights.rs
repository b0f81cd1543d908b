//! S5 of weights in Consul: a canary weighs no more than its step gives it, and no step is over before Consul has what it asks for.

use consul_embedded::state::State;
use helium_crds::{
    InstanceId, Phase,
    canary::{CanarySpec, TrafficRouting},
    instance::{Instance, service_id},
    status::{Rollout, RolloutKind, STABLE_WEIGHT, Stage},
    step::StepKind,
};
use helium_planner::weights;

use super::{Checkers, Commit, STALENESS, canary::allowed, evidence::asked_for};
use crate::truth;

impl Checkers {
    /// At every commit: what it assigns anew weighs what it should, and what comes forward has the share that its step asks for.
    pub(super) fn check_weights(&mut self, commit: &Commit<'_>) {
        let canary = commit.before.canary.as_ref().filter(|canary| !canary.is_deleting());
        let Some(canary) = canary.map(|canary| &canary.spec) else { return };
        for (id, weight, should) in weighed_anew(commit, canary) {
            if weight != should {
                let message = format!("{}: {id} is to weigh {weight:?}, and should {should:?}", commit.object);
                return self.fail("S5", message);
            }
        }
        self.check_weighed(commit, canary);
    }

    fn check_weighed(&mut self, commit: &Commit<'_>, canary: &CanarySpec) {
        let rollout = |truth: &truth::Truth| truth.status.as_ref().and_then(|status| status.rollout.clone());
        let (Some(before), Some(after)) = (rollout(&commit.before), rollout(&commit.after)) else { return };
        let same = before.id == after.id && before.steps == after.steps && before.steps == *canary.all_steps();
        let forward = after.stage == Stage::Promoting || (after.stage == Stage::Steps && after.step > before.step);
        let sets =
            before.steps.get(before.step as usize).is_some_and(|step| matches!(step.kind, StepKind::SetWeight(_)));
        if !same || !forward || !sets || before.stage != Stage::Steps || asked_for(commit) {
            return;
        }
        // What an older state of Consul says of weights is as old as what it says of health.
        if self.staleness(commit.net.now()) > STALENESS {
            return;
        }
        let Some(should) = weight_of_step(commit, &before).filter(|_| is_routed(canary)) else { return };
        let canaries = commit.before.running().filter(|one| one.revision == before.revision);
        let light = canaries
            .filter(|one| truth::is_healthy(commit.state_before, one))
            .find(|one| registered(commit.state_before, one).is_some_and(|weight| weight != should));
        if let Some(light) = light {
            let (object, version) = (&commit.object, &before.version);
            let message = format!("{object}: {version} went forward, and {} does not weigh {should} yet", light.id);
            self.fail("S5", message);
        }
    }
}

/// What is assigned under another weight than before, and what it should be, as far as that is known.
fn weighed_anew(commit: &Commit<'_>, canary: &CanarySpec) -> Vec<(InstanceId, Option<u32>, Option<u32>)> {
    let Some(status) = commit.after.status.as_ref() else { return Vec::new() };
    let by_hand = commit.before.deployment.as_ref().is_none_or(|deployment| deployment.spec.versions.is_some());
    if by_hand || status.phase == Phase::Invalid || status.phase == Phase::Deleting {
        return Vec::new();
    }
    let stable = status.stable.as_ref().map(|stable| &stable.revision);
    let tried = status.rollout.as_ref().filter(|rollout| {
        rollout.kind == RolloutKind::Canary && rollout.stage == Stage::Steps && rollout.hold.is_none()
    });
    let should = |one: &Instance| match tried {
        _ if !is_routed(canary) => Some(None),
        _ if Some(&one.revision) == stable => Some(Some(STABLE_WEIGHT)),
        Some(rollout) if one.revision == rollout.revision => weight_of_step(commit, rollout).map(Some),
        _ => None,
    };
    let assigned = |state: &State, one: &Instance| truth::assignment(state, one).map(|found| found.service.weight);
    let anew = commit.after.running().filter_map(|one| {
        let after = assigned(commit.state_after, one)?;
        (assigned(commit.state_before, one) != Some(after)).then(|| Some((one.id.clone(), after, should(one)?)))?
    });
    anew.collect()
}

fn is_routed(canary: &CanarySpec) -> bool {
    canary.traffic_routing == TrafficRouting::ConsulWeights
}

/// What each canary is to weigh at the present step.
fn weight_of_step(commit: &Commit<'_>, rollout: &Rollout) -> Option<u32> {
    let wanted = commit.before.deployment.as_ref()?.spec.wanted();
    let surge = commit.before.bounds().map_or(0, |(_, ceiling)| ceiling - wanted);
    let mut upto = rollout.steps.iter().take(rollout.step as usize + 1).rev();
    let counts = upto.find(|step| matches!(step.kind, StepKind::SetWeight(_) | StepKind::SetReplicas(_)));
    match counts.map(|step| &step.kind) {
        Some(StepKind::SetWeight(_)) => weights::weighed(allowed(rollout, wanted, surge)).service_weight,
        _ => Some(STABLE_WEIGHT),
    }
}

/// What an instance weighs in Consul's catalog.
fn registered(state: &State, instance: &Instance) -> Option<u32> {
    state.catalog().service(instance.node.as_str(), &service_id(&instance.id)).map(|service| service.weights.passing)
}

/// Whether an instance weighs in Consul what its assignment says.
pub(super) fn is_weighed(state: &State, instance: &Instance) -> bool {
    let assigned = truth::assignment(state, instance).map(|assignment| assignment.service.weight.unwrap_or(1));
    registered(state, instance).is_none_or(|weight| Some(weight) == assigned)
}
