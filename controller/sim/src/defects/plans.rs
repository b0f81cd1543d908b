//! Planners with a bug.

use std::{cell::RefCell, collections::BTreeMap};

use helium_crds::{
    RevisionId,
    instance::{Assignment, Desired, Instance, instance_id},
    status::{AbortCause, Rollout, STABLE_WEIGHT, Stage},
};
use helium_planner::{Action, Decision, Fleet, Plan, Sight, StopCause, Trusted, World, plan};
use jiff::{SignedDuration, Timestamp};

use super::{Defect, values};

/// After how long a hasty planner calls a node lost.
const HASTY: SignedDuration = SignedDuration::from_secs(4);

/// The planner with this bug; none if the bug is on the wire.
pub(super) fn planner(defect: Defect) -> Option<fn(&World) -> Decision> {
    Some(match defect {
        Defect::S1 => |world| changed(world, stop_all_others),
        Defect::S1OneLess => |world| changed(world, stop_one_too_many),
        Defect::S1Withdrawn => |world| changed(world, withdraw_at_once),
        Defect::S2 => |world| changed(world, |_, plan| make_more(plan, 2)),
        Defect::S2OneMore => |world| changed(world, |_, plan| make_more(plan, 1)),
        Defect::S4Ordinal => |world| changed(world, repeat_an_ordinal),
        Defect::S5 => |world| changed(world, promote_at_once),
        Defect::S5OneMore => |world| changed(world, one_canary_more),
        Defect::S5Shown => |world| changed(world, show_previews),
        Defect::S5Heavy => |world| changed(world, |_, plan| weigh_all_the_same(plan)),
        Defect::S5Unweighed => plan_as_if_weighed,
        Defect::S5Again => |world| changed(world, make_it_again),
        Defect::S5Kept => |world| changed(world, keep_canaries),
        Defect::S6 => plan_by_memory,
        Defect::S7 => |world| changed(world, remove_unasked),
        Defect::S8 => plan_without_hold,
        Defect::S10 => |world| changed(world, |_, plan| plan.status.observed_generation += 1),
        Defect::S10Back => |world| changed(world, see_less),
        Defect::S10Clock => |world| changed(world, set_clocks_back),
        Defect::S11 => |world| changed(world, |world, plan| plan.status.message = world.now.to_string()),
        Defect::S12 => plan_without_metrics,
        Defect::S13 => |world| changed(world, go_on_nevertheless),
        Defect::S14 => plan_with_others_as_one,
        Defect::S15Lost => |world| plan(&World { lost_after: HASTY, ..world.clone() }),
        Defect::S16 => |world| changed(world, values::give_the_newest),
        Defect::S17 => values::plan_without_rest,
        Defect::S17Wiped => values::plan_believing_a_wipe,
        Defect::S17Unseen => values::plan_with_unseen_as_empty,
        Defect::L1Values => values::plan_with_old_values,
        Defect::L1 => |world| changed(world, leave_one_out),
        Defect::L1Record => |world| changed(world, keep_records),
        Defect::L1Forgotten => |world| changed(world, forget_what_runs),
        Defect::L2 | Defect::L2Refused => |world| changed(world, say_the_minute),
        Defect::L3 => |world| changed(world, say_nothing),
        Defect::S3 | Defect::S4 | Defect::S6Sentinel | Defect::S7Canary | Defect::S7Unguarded | Defect::S9 => {
            return None;
        }
        // These are in the clock, and in what is asked of Hydra.
        Defect::S15 | Defect::S15Set | Defect::S18 | Defect::L1Build
        // And these in the agents.
        | Defect::S4Unwritten | Defect::S4Forgetful | Defect::S19 | Defect::S19Early => return None,
    })
}

fn changed(world: &World, change: fn(&World, &mut Plan)) -> Decision {
    match plan(world) {
        Decision::Go(mut good) => {
            change(world, &mut good);
            Decision::Go(good)
        }
        blind @ Decision::Blind { .. } => blind,
    }
}

fn seen(world: &World) -> Option<&Fleet> {
    match &world.fleet {
        Sight::Trusted(fleet) => Some(fleet.get()),
        Sight::Blind { .. } => None,
    }
}

fn stop_all_others(world: &World, plan: &mut Plan) {
    let Some(fleet) = seen(world) else { return };
    for instance in fleet.instances.values() {
        let touched = plan.actions.iter().any(|action| action.instance() == Some(&instance.id));
        let other = instance.revision != plan.status.current.revision && instance.desired == Desired::Run;
        if let (true, false, Some(assignment)) = (other, touched, fleet.assignments.get(&instance.id)) {
            plan.actions.push(stop(instance, assignment));
        }
    }
}

/// Those that are let serve are taken for serving.
fn withdraw_at_once(world: &World, plan: &mut Plan) {
    let Some(fleet) = seen(world) else { return };
    if !plan.actions.iter().any(|action| matches!(action, Action::Expose(..))) {
        return;
    }
    for instance in fleet.instances.values() {
        let touched = plan.actions.iter().any(|action| action.instance() == Some(&instance.id));
        let old = instance.revision != plan.status.current.revision && !instance.role.is_standby();
        if let (true, false, Some(assigned)) = (old, touched, fleet.assignments.get(&instance.id)) {
            let role = instance.role.on_standby(true);
            let instance = Instance { role, ..instance.clone() };
            let assigned = Assignment { role, ..assigned.clone() };
            plan.actions.push(Action::Withdraw(Box::new(instance), Box::new(assigned)));
        }
    }
}

fn show_previews(_: &World, plan: &mut Plan) {
    for action in &mut plan.actions {
        if let Action::Create(instance, assigned) = action {
            (instance.role, assigned.role) = (instance.role.on_standby(false), assigned.role.on_standby(false));
        }
    }
}

/// While just enough are healthy, one of the old ones goes all the same.
fn stop_one_too_many(world: &World, plan: &mut Plan) {
    let (Some(fleet), Some(floor)) = (seen(world), floor(world)) else { return };
    let stops = plan.actions.iter().any(|action| matches!(action, Action::Stop(..)));
    if stops || plan.status.healthy != floor || floor == 0 {
        return;
    }
    let old = |one: &&Instance| {
        one.revision != plan.status.current.revision && one.desired == Desired::Run && one.healthy_since.is_some()
    };
    let Some(victim) = fleet.instances.values().find(old) else { return };
    if let Some(assignment) = fleet.assignments.get(&victim.id) {
        plan.actions.retain(|action| action.instance() != Some(&victim.id));
        plan.actions.push(stop(victim, assignment));
    }
}

fn floor(world: &World) -> Option<u32> {
    use helium_crds::deployment::Strategy;
    let wanted = world.deployment.spec.wanted();
    match world.deployment.spec.strategy {
        Strategy::Rolling(rolling) => Some(wanted.saturating_sub(rolling.max_unavailable.rounded_down(wanted))),
        Strategy::Recreate(_) => None,
    }
}

fn stop(instance: &Instance, assignment: &Assignment) -> Action {
    let stopped = Instance { desired: Desired::Stop, ..instance.clone() };
    let assignment = Assignment { desired: Desired::Stop, ..assignment.clone() };
    Action::Stop(Box::new(stopped), Box::new(assignment), StopCause::Superseded)
}

/// So many more for each one that is made.
fn make_more(plan: &mut Plan, more: u32) {
    let made: Vec<Action> = plan.actions.clone();
    for action in made {
        for _ in 0..more {
            plan.actions.extend(another(&action, &mut plan.status.next_ordinal));
        }
    }
}

/// Another instance like one that is made.
fn another(action: &Action, next_ordinal: &mut u64) -> Option<Action> {
    let Action::Create(instance, assignment) = action else { return None };
    let ordinal = *next_ordinal;
    *next_ordinal += 1;
    Some(renamed(instance, assignment, &instance.revision, ordinal))
}

fn renamed(instance: &Instance, assignment: &Assignment, revision: &RevisionId, ordinal: u64) -> Action {
    let id = instance_id(&instance.deployment, &instance.uid, revision, ordinal);
    let instance = Instance { id: id.clone(), revision: revision.clone(), ..instance.clone() };
    let assignment = Assignment { id, revision: revision.clone(), ..assignment.clone() };
    Action::Create(Box::new(instance), Box::new(assignment))
}

fn repeat_an_ordinal(world: &World, plan: &mut Plan) {
    let Some(fleet) = seen(world) else { return };
    for action in &mut plan.actions {
        let Action::Create(instance, assignment) = &*action else { continue };
        let other = fleet.instances.values().find(|other| other.revision != instance.revision);
        let ordinal = other.and_then(|other| other.id.as_str().rsplit('-').nth(1)?.parse().ok());
        if let Some(ordinal) = ordinal {
            *action = renamed(instance, assignment, &instance.revision.clone(), ordinal);
        }
    }
}

/// As if there were no metrics at all.
fn plan_without_metrics(world: &World) -> Decision {
    let mut world = world.clone();
    if let Some(canary) = world.canary.as_mut() {
        canary.spec.analysis.metrics.clear();
    }
    plan(&world)
}

/// All versions that are neither the stable nor the wanted one are taken for a single one.
fn plan_with_others_as_one(world: &World) -> Decision {
    let (Some(fleet), Some(status)) = (seen(world), world.status.as_ref()) else { return plan(world) };
    let target = helium_crds::revision::revision_id(&world.deployment.spec.template);
    let stable = status.stable.as_ref().map(|stable| &stable.revision);
    let is_other = |one: &Instance| one.revision != target && Some(&one.revision) != stable;
    let own: BTreeMap<_, _> = fleet.instances.values().map(|one| (one.id.clone(), one.revision.clone())).collect();
    let Some(first) = fleet.instances.values().find(|one| is_other(one)).map(|one| one.revision.clone()) else {
        return plan(world);
    };
    let mut fleet = fleet.clone();
    fleet.instances.values_mut().filter(|one| is_other(one)).for_each(|one| one.revision = first.clone());
    let mut world = world.clone();
    world.fleet = Sight::Trusted(Trusted::vouch(fleet));
    let Decision::Go(mut good) = plan(&world) else { return plan(&world) };
    for action in &mut good.actions {
        if let Action::Stop(one, assigned, _) | Action::Restore(one, assigned) = action
            && let Some(revision) = own.get(&one.id)
        {
            (one.revision, assigned.revision) = (revision.clone(), revision.clone());
        }
        if let Action::Note(one) | Action::Forget(one) = action
            && let Some(revision) = own.get(&one.id)
        {
            one.revision = revision.clone();
        }
    }
    Decision::Go(good)
}

/// What was just given up by a metric is at its step again.
fn go_on_nevertheless(world: &World, plan: &mut Plan) {
    let before = world.status.as_ref().and_then(|status| status.rollout.clone());
    let Some(rollout) = plan.status.rollout.as_mut() else { return };
    let given_up = rollout.abort.as_ref().is_some_and(|abort| abort.cause == AbortCause::MetricFailed);
    if let Some(before) = before.filter(|before| given_up && before.stage == Stage::Steps) {
        (rollout.stage, rollout.abort) = (before.stage, None);
        plan.actions.clear();
    }
}

fn one_canary_more(_: &World, plan: &mut Plan) {
    let Some(rollout) = rollout_at(plan, &[Stage::Steps]) else { return };
    let is_canary = |action: &&Action| matches!(action, Action::Create(one, _) if one.revision == rollout.revision);
    if let Some(action) = plan.actions.iter().find(is_canary).cloned() {
        plan.actions.extend(another(&action, &mut plan.status.next_ordinal));
    }
}

/// The plan's rollout, if it is at one of these stages.
fn rollout_at(plan: &Plan, stages: &[Stage]) -> Option<Rollout> {
    plan.status.rollout.clone().filter(|rollout| stages.contains(&rollout.stage))
}

fn weigh_all_the_same(plan: &mut Plan) {
    for action in &mut plan.actions {
        if let Action::Create(_, assigned) | Action::Restore(_, assigned) = action
            && let Some(weight) = assigned.service.weight.as_mut()
        {
            *weight = STABLE_WEIGHT;
        }
    }
}

fn plan_as_if_weighed(world: &World) -> Decision {
    let Some(mut fleet) = seen(world).cloned() else { return plan(world) };
    for (id, entry) in &mut fleet.catalog {
        let assigned = fleet.assignments.get(id).and_then(|assigned| assigned.service.weight);
        entry.weight = assigned.unwrap_or(entry.weight);
    }
    plan(&World { fleet: Sight::Trusted(Trusted::vouch(fleet)), ..world.clone() })
}

fn make_it_again(_: &World, plan: &mut Plan) {
    let Some(rollout) = rollout_at(plan, &[Stage::RollingBack, Stage::Aborted]) else { return };
    for action in &mut plan.actions {
        if let Action::Create(instance, assignment) = &*action
            && let Some(ordinal) = instance.id.as_str().rsplit('-').nth(1).and_then(|digits| digits.parse().ok())
        {
            *action = renamed(instance, assignment, &rollout.revision, ordinal);
        }
    }
}

fn keep_canaries(_: &World, plan: &mut Plan) {
    let Some(rollout) = rollout_at(plan, &[Stage::RollingBack, Stage::Aborted]) else { return };
    let before = plan.actions.len();
    plan.actions.retain(|action| !matches!(action, Action::Stop(one, _, _) if one.revision == rollout.revision));
    if plan.actions.len() < before {
        plan.events.clear(); // else each look would tell again of what it does not do
    }
}

fn see_less(world: &World, plan: &mut Plan) {
    let before = world.status.as_ref().map_or(0, |status| status.observed_generation);
    if before >= 2 {
        plan.status.observed_generation = before - 1;
    }
}

fn set_clocks_back(world: &World, plan: &mut Plan) {
    if world.deployment.metadata.generation >= 2 {
        for condition in &mut plan.status.conditions {
            condition.last_transition_time = Timestamp::UNIX_EPOCH;
        }
    }
}

fn keep_records(_: &World, plan: &mut Plan) {
    plan.actions.retain(|action| !matches!(action, Action::Forget(_)));
}

fn forget_what_runs(_: &World, plan: &mut Plan) {
    for action in &mut plan.actions {
        if let Action::Stop(instance, _, _) = action {
            *action = Action::Forget(instance.clone());
        }
    }
}

fn say_the_minute(world: &World, plan: &mut Plan) {
    plan.status.message = (world.now.as_second() / 60).to_string();
}

fn say_nothing(_: &World, plan: &mut Plan) {
    plan.status.waiting_on.clear();
    plan.status.message.clear();
}

fn promote_at_once(_: &World, plan: &mut Plan) {
    if let Some(rollout) = plan.status.rollout.as_mut().filter(|rollout| rollout.stage == Stage::Steps) {
        rollout.stage = Stage::Promoting;
        rollout.step = u32::try_from(rollout.steps.len()).unwrap_or(0);
    }
}

thread_local! {
    static MEMORY: RefCell<BTreeMap<String, Fleet>> = const { RefCell::new(BTreeMap::new()) };
}

/// Forgets what buggy planners remember.
pub(super) fn reset() {
    MEMORY.with_borrow_mut(BTreeMap::clear);
}

fn plan_by_memory(world: &World) -> Decision {
    let uid = world.deployment.metadata.uid.clone();
    if let Some(fleet) = seen(world) {
        MEMORY.with_borrow_mut(|memory| memory.insert(uid, fleet.clone()));
        return plan(world);
    }
    let known = MEMORY.with_borrow(|memory| memory.get(&uid).cloned());
    let fleet = known.map_or_else(|| world.fleet.clone(), |fleet| Sight::Trusted(Trusted::vouch(fleet)));
    plan(&World { fleet, ..world.clone() })
}

fn remove_unasked(world: &World, plan: &mut Plan) {
    if world.deployment.metadata.generation >= 2 {
        plan.actions = vec![Action::RemoveObject];
    }
}

fn plan_without_hold(world: &World) -> Decision {
    let mut free = world.clone();
    let rollout = free.status.as_mut().and_then(|status| status.rollout.as_mut());
    let hold = rollout.and_then(|rollout| rollout.hold.take());
    match plan(&free) {
        Decision::Go(mut good) => {
            if let (Some(rollout), Some(hold)) = (good.status.rollout.as_mut(), hold) {
                rollout.hold = Some(hold);
            }
            Decision::Go(good)
        }
        blind @ Decision::Blind { .. } => blind,
    }
}

fn leave_one_out(world: &World, plan: &mut Plan) {
    let wanted = world.deployment.spec.wanted();
    let before = world.status.as_ref().map_or(1, |status| status.next_ordinal);
    if wanted > 1 && plan.status.healthy + 1 >= wanted && plan.status.rollout.is_none() {
        plan.actions.retain(|action| !matches!(action, Action::Create(..)));
        plan.status.next_ordinal = before;
        plan.events.clear();
    }
}
