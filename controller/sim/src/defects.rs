//! Bugs on purpose: one for each checker, to see that it is caught.
//!
//! A defect is put in through the seams only: another planner, or transactions that are changed on the wire.

use std::{cell::RefCell, collections::BTreeMap};

use bytes::Bytes;
use consul_embedded::Server;
use helium_crds::{
    instance::{Desired, Instance, instance_id},
    keys::Keys,
    status::Stage,
};
use helium_planner::{Action, Decision, Fleet, Plan, Sight, StopCause, Trusted, World, plan};
use http::Request;

use crate::{
    agent::node_name,
    ops::{self, Op, Written},
};

/// A bug, named after the checker that must catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    /// Stops every instance of another revision at once.
    S1,
    /// Makes three for one.
    S2,
    /// Deletes a key that is not the controller's.
    S3,
    /// Assigns each instance to a second node too.
    S4,
    /// Promotes a canary without evidence.
    S5,
    /// Goes on by memory when it cannot see.
    S6,
    /// Removes an object that nobody asked to delete.
    S7,
    /// Does not mind that a rollout is held.
    S8,
    /// Writes without the fence.
    S9,
    /// Claims to have seen a generation that is still to come.
    S10,
    /// Writes the time into the status.
    S11,
    /// Never makes the last instance that is missing.
    L1,
    /// Writes the minute into the status.
    L2,
    /// Does not say why something is not yet so.
    L3,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::S1,
        Self::S2,
        Self::S3,
        Self::S4,
        Self::S5,
        Self::S6,
        Self::S7,
        Self::S8,
        Self::S9,
        Self::S10,
        Self::S11,
        Self::L1,
        Self::L2,
        Self::L3,
    ];

    /// The defect of a name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|defect| defect.to_string().eq_ignore_ascii_case(name))
    }
}

impl std::fmt::Display for Defect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The planner with this bug.
pub fn planner(defect: Defect) -> fn(&World) -> Decision {
    match defect {
        Defect::S1 => |world| changed(world, stop_all_others),
        Defect::S2 => |world| changed(world, make_three),
        Defect::S5 => |world| changed(world, promote_at_once),
        Defect::S6 => plan_by_memory,
        Defect::S7 => |world| changed(world, remove_unasked),
        Defect::S8 => plan_without_hold,
        Defect::S10 => |world| changed(world, |_, plan| plan.status.observed_generation += 1),
        Defect::S11 => |world| changed(world, |world, plan| plan.status.message = world.now.to_string()),
        Defect::L1 => |world| changed(world, leave_one_out),
        Defect::L2 => |world| {
            changed(world, |world, plan| {
                plan.status.message = (world.now.as_second() / 60).to_string();
            })
        },
        Defect::L3 => |world| {
            changed(world, |_, plan| {
                plan.status.waiting_on.clear();
                plan.status.message.clear();
            })
        },
        Defect::S3 | Defect::S4 | Defect::S9 => plan,
    }
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
            let stopped = Instance { desired: Desired::Stop, ..instance.clone() };
            let mut assignment = assignment.clone();
            assignment.desired = Desired::Stop;
            plan.actions.push(Action::Stop(Box::new(stopped), Box::new(assignment), StopCause::Superseded));
        }
    }
}

fn make_three(_: &World, plan: &mut Plan) {
    let made: Vec<Action> = plan.actions.clone();
    for action in made {
        let Action::Create(instance, assignment) = action else { continue };
        for _ in 0..2 {
            let (mut instance, mut assignment) = (instance.clone(), assignment.clone());
            let ordinal = plan.status.next_ordinal;
            plan.status.next_ordinal += 1;
            instance.id = instance_id(&instance.deployment, &instance.uid, &instance.revision, ordinal);
            assignment.id = instance.id.clone();
            plan.actions.push(Action::Create(instance, assignment));
        }
    }
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

/// Forgets what defects remember: a new world begins.
pub fn reset() {
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

/// Changes a controller's request on the wire.
pub fn rewrite(defect: Defect, request: &mut Request<Bytes>, written: &mut Written, server: &Server) {
    if !written.is_txn {
        return;
    }
    match defect {
        Defect::S3 => {
            let key = "app/colour".to_owned();
            written.ops.push(Op { verb: "delete".to_owned(), key, ..Op::default() });
        }
        Defect::S4 => assign_twice(written, server),
        Defect::S9 => written.ops.retain(|op| op.verb != "check-session"),
        _ => return,
    }
    *request.body_mut() = ops::body(&written.ops);
}

fn assign_twice(written: &mut Written, server: &Server) {
    let keys = Keys::default();
    let root = keys.assignments_root();
    let index = server.index();
    let other = node_name(usize::try_from(index % 3).unwrap_or(0));
    let made = written.ops.iter().filter(|op| op.verb == "cas" && op.index == 0 && op.key.starts_with(&root));
    let doubles = made.filter_map(|op| {
        let id = op.key.rsplit('/').next()?;
        Some(Op::set(format!("{root}{other}/{id}"), &op.bytes()))
    });
    let doubles: Vec<Op> = doubles.collect();
    written.ops.extend(doubles);
}
