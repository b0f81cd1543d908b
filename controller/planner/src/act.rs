//! From moves to actions on the records.
//!
//! Every stop goes through one of the three functions at the end, and each of them asks for a census that can be trusted.

use std::collections::BTreeMap;

use helium_crds::{
    InstanceId, RevisionId,
    instance::{Assignment, Desired, Instance},
    status::{HoldKind, Stage, WaitingOn},
    template::Template,
};

use crate::{
    census::{Census, Member, State, count},
    draft::Draft,
    placement::{NoPlace, Places},
    plan::{Action, StopCause},
    records,
    scale::{self, Creation, Moves},
    targets::Wanted,
    world::Trusted,
};

/// The actions that bring the fleet nearer to what is wanted.
pub(crate) fn act(draft: &mut Draft<'_>, wanted: &Wanted) -> Vec<Action> {
    let restart_before = draft.status.restart_before;
    let moves = scale::moves(
        draft.world,
        &draft.census,
        &wanted.targets,
        draft.budget(),
        restart_before,
        wanted.first.as_ref(),
    );
    let mut touched = BTreeMap::new();
    let short = create_all(draft, &moves, &mut touched);
    expose(draft, &moves, &mut touched);
    stop_surplus(draft, &moves, &mut touched);
    stop_lost(draft, short, &mut touched);
    forget_stopped(draft, &mut touched);
    put_right(draft, &mut touched);
    touched.into_values().collect()
}

type Touched = BTreeMap<InstanceId, Action>;

/// Makes what is lacking, as far as there are places. Returns how many of each revision are lacking still.
fn create_all(draft: &mut Draft<'_>, moves: &Moves, touched: &mut Touched) -> BTreeMap<RevisionId, u32> {
    let mut nodes = Places::new(draft.fleet.get(), draft.census());
    let mut short = moves.short.clone();
    for Creation { revision, number, standby } in &moves.create {
        let Some(template) = template_of(draft, revision) else {
            let problem = format!("the template of {} is not in the history any more", draft.label(revision));
            draft.wait_for(WaitingOn::Spec { problem });
            *short.entry(revision.clone()).or_default() += number;
            continue;
        };
        let mut placed = 0;
        while placed < *number {
            match nodes.take(&template) {
                Ok(node) => create(draft, (revision, *standby), &template, node, touched),
                Err(refusal) => {
                    draft.wait_for(no_place(refusal, number - placed));
                    break;
                }
            }
            placed += 1;
        }
        if placed > 0 {
            let standby = if *standby { ", on standby" } else { "" };
            draft.tell("InstancesMade", format!("{placed} of {}{standby}", template.version));
        }
        *short.entry(revision.clone()).or_default() += number - placed;
    }
    short
}

fn create(
    draft: &mut Draft<'_>,
    (revision, standby): (&RevisionId, bool),
    template: &Template,
    node: helium_crds::NodeName,
    touched: &mut Touched,
) {
    let role = records::role_of(draft, revision, standby);
    let instance = records::new_instance(draft, revision, &template.version, node, role);
    let assignment = records::assignment_for(draft, &instance, template);
    touched.insert(instance.id.clone(), Action::Create(Box::new(instance), Box::new(assignment)));
}

fn template_of(draft: &Draft<'_>, revision: &RevisionId) -> Option<Template> {
    if draft.target.revision == *revision {
        return Some(draft.spec().template.clone());
    }
    records::template_of(draft.world, &draft.fleet.get().assignments, revision).cloned()
}

fn no_place(refusal: NoPlace, instances: u32) -> WaitingOn {
    match refusal {
        NoPlace::NoAgents => WaitingOn::Agents,
        NoPlace::Refused(why) => WaitingOn::Place { instances, why },
    }
}

/// Lets instances serve that were on standby.
fn expose(draft: &mut Draft<'_>, moves: &Moves, touched: &mut Touched) {
    let mut exposed: BTreeMap<String, u32> = BTreeMap::new();
    for id in &moves.expose {
        let Some((instance, assignment)) = on_standby(draft, draft.census(), id, false) else { continue };
        *exposed.entry(instance.version.clone()).or_default() += 1;
        touched.insert(id.clone(), Action::Expose(Box::new(instance), Box::new(assignment)));
    }
    for (version, number) in exposed {
        draft.tell("InstancesServe", format!("{number} of {version}, until now on standby"));
    }
}

fn stop_surplus(draft: &mut Draft<'_>, moves: &Moves, touched: &mut Touched) {
    let serving = draft.status.rollout.as_ref().map_or(draft.stable(), |rollout| match rollout.stage {
        Stage::Steps | Stage::Promoting | Stage::Baking => Some(&rollout.revision),
        Stage::RollingBack | Stage::Aborted | Stage::RollbackFailed => draft.stable(),
    });
    let serving = serving.cloned();
    let mut relies_on_health = false;
    for id in &moves.stop {
        let Some(member) = draft.census().members.get(id) else { continue };
        // A healthy one goes only because others are healthy, and that has to be so now.
        relies_on_health |= member.is_healthy() && !member.is_standby();
        let same = serving.as_ref() == Some(&member.instance.revision) && draft.status.restart_before.is_none();
        let stop = if same { scale_down(draft, &draft.census, id) } else { superseded(draft, &draft.census, id) };
        touched.extend(stop.map(|action| (id.clone(), action)));
    }
    let mut withdrawn: BTreeMap<String, u32> = BTreeMap::new();
    for id in &moves.withdraw {
        let Some(action) = withdraw(draft, &draft.census, id) else { continue };
        if let Action::Withdraw(instance, _) = &action {
            *withdrawn.entry(instance.version.clone()).or_default() += 1;
        }
        relies_on_health = true;
        touched.insert(id.clone(), action);
    }
    for (version, number) in withdrawn {
        draft.tell("InstancesWithdrawn", format!("{number} of {version}, on standby from now on"));
    }
    if let Some(at) = moves.settles_at {
        draft.wake_at(at);
    }
    draft.relies_on_health |= relies_on_health;
    if moves.held_by_availability {
        let available = count(draft.census().live().filter(|member| member.is_available(draft.world)));
        let needed = draft.budget().floor();
        draft.wait_for(WaitingOn::Available { available, needed });
    }
}

/// Instances on lost nodes are told to stop, for when their node returns; replacements start elsewhere. One is given up only
/// if its replacement could be made, or is not wanted: else its node, when it returns, would stop what nothing has replaced.
fn stop_lost(draft: &mut Draft<'_>, mut short: BTreeMap<RevisionId, u32>, touched: &mut Touched) {
    let lost = draft.census().members.values().filter(|member| member.state == State::Lost);
    let given_up: Vec<InstanceId> = lost
        .filter(|member| {
            let lacking = short.entry(member.instance.revision.clone()).or_default();
            let kept = *lacking > 0;
            *lacking = lacking.saturating_sub(1);
            !kept
        })
        .map(|member| member.id().clone())
        .collect();
    for id in given_up {
        let Some(stop) = superseded(draft, &draft.census, &id) else { continue };
        draft.warn("InstanceLost", format!("{id}: its node has been away for too long"));
        touched.insert(id, stop);
    }
}

fn forget_stopped(draft: &Draft<'_>, touched: &mut Touched) {
    for member in draft.census().members.values().filter(|member| member.state == State::Stopped) {
        touched.insert(member.id().clone(), Action::Forget(Box::new(member.instance.clone())));
    }
}

/// Writes again what is not as it should be: roles and tags, records or assignments that were lost, and notes.
fn put_right(draft: &Draft<'_>, touched: &mut Touched) {
    for member in draft.census().members.values().filter(|member| !matches!(member.state, State::Stopped)) {
        if !touched.contains_key(member.id()) {
            touched.extend(mended(draft, member).map(|action| (member.id().clone(), action)));
        }
    }
}

fn mended(draft: &Draft<'_>, member: &Member) -> Option<Action> {
    let fleet = draft.fleet.get();
    let mut instance = member.instance.clone();
    instance.role = records::role_of(draft, &instance.revision, member.is_standby());
    let stored = fleet.assignments.get(&instance.id);
    let assignment = assignment_of(draft, &instance)?;
    let recorded = fleet.instances.contains_key(&instance.id);
    if stored != Some(&assignment) || !recorded {
        return Some(Action::Restore(Box::new(instance), Box::new(assignment)));
    }
    (member.noted || instance != member.instance).then(|| Action::Note(Box::new(instance)))
}

/// The assignment that an instance should have: of the template that it has already, whatever the history holds since.
fn assignment_of(draft: &Draft<'_>, instance: &Instance) -> Option<Assignment> {
    let stored = draft.fleet.get().assignments.get(&instance.id).map(|stored| stored.template.clone());
    let template = stored.or_else(|| template_of(draft, &instance.revision))?;
    Some(records::assignment_for(draft, instance, &template))
}

/// Writes record and assignment again if one of them is gone: without an assignment no agent ever stops an instance.
pub(crate) fn made_whole(draft: &Draft<'_>, member: &Member) -> Option<Action> {
    let fleet = draft.fleet.get();
    let whole = fleet.assignments.contains_key(member.id()) && fleet.instances.contains_key(member.id());
    mended(draft, member).filter(|_| !whole)
}

/// Takes an instance out of service without stopping it. Like a stop it asks for a census that can be trusted: somebody serves less.
fn withdraw(draft: &Draft<'_>, census: &Trusted<Census>, id: &InstanceId) -> Option<Action> {
    let (instance, assignment) = on_standby(draft, census.get(), id, true)?;
    Some(Action::Withdraw(Box::new(instance), Box::new(assignment)))
}

/// Record and assignment of an instance that is to be on standby, or to serve.
fn on_standby(draft: &Draft<'_>, census: &Census, id: &InstanceId, standby: bool) -> Option<(Instance, Assignment)> {
    let member = census.members.get(id)?;
    let role = records::role_of(draft, &member.instance.revision, standby);
    let serves_since = (!standby).then(|| draft.now());
    let instance = Instance { role, serves_since, ..member.instance.clone() };
    let assignment = assignment_of(draft, &instance)?;
    Some((instance, assignment))
}

/// Stops one of more instances of a version than are wanted.
fn scale_down(draft: &Draft<'_>, census: &Trusted<Census>, id: &InstanceId) -> Option<Action> {
    stop(draft, census, id, StopCause::ScaleDown)
}

/// Stops an instance whose place another takes: of another version, or its own replacement elsewhere.
fn superseded(draft: &Draft<'_>, census: &Trusted<Census>, id: &InstanceId) -> Option<Action> {
    stop(draft, census, id, StopCause::Superseded)
}

/// Stops an instance of a Deployment that is being deleted, by what its assignment says: the spec may not even be readable.
pub(crate) fn deleted(draft: &Draft<'_>, census: &Trusted<Census>, id: &InstanceId) -> Option<Action> {
    let action = stop(draft, census, id, StopCause::Deleted)?;
    match (action, draft.fleet.get().assignments.get(id)) {
        (Action::Stop(instance, _, cause), Some(stored)) => {
            Some(Action::Stop(instance, Box::new(Assignment { desired: Desired::Stop, ..stored.clone() }), cause))
        }
        (action, _) => Some(action),
    }
}

fn stop(draft: &Draft<'_>, census: &Trusted<Census>, id: &InstanceId, cause: StopCause) -> Option<Action> {
    let member = census.get().members.get(id)?;
    let instance = Instance { desired: Desired::Stop, ..member.instance.clone() };
    let assignment = assignment_of(draft, &instance)?;
    Some(Action::Stop(Box::new(instance), Box::new(assignment), cause))
}

/// Whether the rollout is held by a failure or a person.
pub(crate) fn hold_kind(draft: &Draft<'_>) -> Option<HoldKind> {
    draft.status.rollout.as_ref().and_then(|rollout| rollout.hold.as_ref()).map(|hold| hold.kind)
}
