//! The status that people read: phase, reason, message, conditions, counts, and what is waited for.

use std::collections::BTreeMap;

use helium_crds::{
    DeploymentStatus, Phase, RevisionId,
    status::{
        Condition, ConditionKind, HoldKind, Reason, Rollout, RolloutKind, Stage, VersionStatus, WaitingOn, Weight,
    },
    step::StepKind,
};

use crate::{
    act,
    census::{self, Member, State, count},
    draft::Draft,
    holds, records,
    scale::Targets,
    steps,
};

/// Why things stand as they do, for a Deployment that is neither deleted nor invalid nor counted by hand.
pub(crate) fn reason(draft: &Draft<'_>) -> Reason {
    let Some(rollout) = draft.status.rollout.as_ref() else { return settled_reason(draft) };
    match act::hold_kind(draft) {
        Some(HoldKind::Person) => return Reason::PausedByPerson,
        Some(HoldKind::Failure) => return Reason::PausedOnFailure,
        Some(HoldKind::Inconclusive) => return Reason::Inconclusive,
        Some(HoldKind::Gate) => return Reason::AtGate,
        Some(HoldKind::Lock) => return Reason::Locked,
        Some(HoldKind::Schedule) => return Reason::OutsideWindow,
        Some(HoldKind::StableUnhealthy) => return Reason::StableUnhealthy,
        None => {}
    }
    match (rollout.stage, rollout.kind) {
        (Stage::Steps, _) => step_reason(draft, rollout),
        (Stage::Promoting, RolloutKind::First) => first_reason(draft, rollout),
        (Stage::Promoting, RolloutKind::Canary) => Reason::Promoting,
        (Stage::Promoting, RolloutKind::Rolling | RolloutKind::Recreate) => Reason::RollingUpdate,
        (Stage::Promoting, RolloutKind::Return) => Reason::ReturningToStable,
        (Stage::Baking, _) => Reason::Baking,
        (Stage::RollingBack, _) => Reason::RollingBack,
        (Stage::Aborted, _) => Reason::RolloutAborted,
        (Stage::RollbackFailed, _) => Reason::RollbackFailed,
    }
}

fn step_reason(draft: &Draft<'_>, rollout: &Rollout) -> Reason {
    match rollout.steps.get(rollout.step as usize).map(|step| &step.kind) {
        Some(StepKind::Pause(_)) => Reason::PausedAtStep,
        Some(StepKind::Gate(_)) => Reason::AtGate,
        None if draft.canary().is_some_and(|canary| !canary.promotes_itself()) => Reason::AwaitingPromotion,
        _ => Reason::CanaryStep,
    }
}

fn first_reason(draft: &Draft<'_>, rollout: &Rollout) -> Reason {
    let nothing_runs = draft.census().members.is_empty();
    if rollout.abort.is_some() {
        Reason::ProgressDeadlineExceeded
    } else if nothing_runs && draft.waiting.iter().any(|waiting| matches!(waiting, WaitingOn::Agents)) {
        Reason::NoAgents
    } else if nothing_runs && draft.waiting.iter().any(|waiting| matches!(waiting, WaitingOn::Place { .. })) {
        Reason::NoPlace
    } else {
        Reason::FirstRollout
    }
}

fn settled_reason(draft: &Draft<'_>) -> Reason {
    let census = draft.census();
    let wanted = draft.wanted;
    let live = count(census.live());
    let outdated = draft.status.restart_before.is_some_and(|before| {
        census.members.values().any(|member| member.takes_room() && member.instance.created_at < before)
    });
    if outdated {
        Reason::Restarting
    } else if live == wanted && census.healthy() == wanted && !others_serve(draft) {
        Reason::AllHealthy
    } else if census.live().any(|member| matches!(member.state, State::Unhealthy(_))) {
        Reason::InstancesUnhealthy
    } else {
        Reason::Scaling
    }
}

/// Whether an instance of another version than the one that should serve is there: left by counts by hand.
fn others_serve(draft: &Draft<'_>) -> bool {
    let serving = draft.stable().unwrap_or(&draft.target.revision);
    draft.census().live().any(|member| member.instance.revision != *serving)
}

/// The status's message: the reason with its numbers.
pub(crate) fn message(draft: &Draft<'_>, reason: Reason) -> String {
    let wanted = draft.wanted;
    let healthy = format!("{}/{wanted} healthy", draft.census().healthy());
    let rollout = draft.status.rollout.as_ref();
    let version = rollout.map_or(draft.target.version.as_str(), |rollout| rollout.version.as_str());
    let stable = draft.status.stable.as_ref().map_or("nothing", |stable| stable.version.as_str());
    match reason {
        Reason::AllHealthy | Reason::Scaling | Reason::Restarting | Reason::InstancesUnhealthy => {
            format!("{stable}: {healthy}")
        }
        Reason::ManualCountsHeld | Reason::ManualCountsInProgress => format!("counts by hand: {healthy}"),
        Reason::NoAgents => "no agent has joined; start `helium agent` on a machine".to_owned(),
        Reason::NoVersion => "its version comes from a build, and there is none yet".to_owned(),
        Reason::NoPlace => "no node can take an instance".to_owned(),
        Reason::AtGate if rollout.is_some_and(|rollout| rollout.hold.is_some()) => held(rollout),
        Reason::CanaryStep | Reason::PausedAtStep | Reason::AtGate | Reason::AwaitingPromotion => {
            rollout.map(|rollout| at_step(draft, rollout)).unwrap_or_default()
        }
        Reason::RolloutAborted | Reason::ProgressDeadlineExceeded | Reason::RollbackFailed | Reason::RollingBack => {
            rollout.map(|rollout| given_up(rollout, stable)).unwrap_or_default()
        }
        Reason::PausedByPerson
        | Reason::PausedOnFailure
        | Reason::Inconclusive
        | Reason::Locked
        | Reason::OutsideWindow
        | Reason::StableUnhealthy => held(rollout),
        Reason::DeletionRequested => format!("{} instances are left", draft.census().members.len()),
        Reason::ReturningToStable => format!("back to {version}: {healthy}"),
        Reason::Baking => format!("{version} serves alone: {healthy}, and {stable} is on standby"),
        Reason::FirstRollout | Reason::RollingUpdate | Reason::Promoting => format!("{version}: {healthy}"),
        Reason::InvalidSpec | Reason::VersionNotFound | Reason::WeightNotPossible => {
            problem(draft).map_or_else(|| format!("{version}: {healthy}"), str::to_owned)
        }
    }
}

/// What is wrong with the spec.
fn problem<'d>(draft: &'d Draft<'_>) -> Option<&'d str> {
    draft.waiting.iter().find_map(|waiting| match waiting {
        WaitingOn::Spec { problem } => Some(problem.as_str()),
        _ => None,
    })
}

/// Tells people that the spec cannot be followed, once for each problem.
pub(crate) fn tell_problem(draft: &mut Draft<'_>, reason: Reason) {
    let message = draft.status.message.clone();
    let told = |before: &DeploymentStatus| before.reason == reason && before.message == message;
    if reason.phase() == Phase::Invalid && !draft.world.status.as_ref().is_some_and(told) {
        draft.warn(&reason.to_string(), message);
    }
}

/// `2.0.0 at step 1/4 (setWeight 25%): canary 25% (1 of 4), 1 of 1 passing`
fn at_step(draft: &Draft<'_>, rollout: &Rollout) -> String {
    let all = rollout.steps.len();
    let place = match rollout.steps.get(rollout.step as usize) {
        Some(step) => format!("at step {}/{all} ({step})", rollout.step + 1),
        None => format!("through its {all} steps"),
    };
    let weight = steps::weight(draft, rollout);
    let Weight { canary, preview, .. } = weight;
    let instances = count(steps::canaries(draft));
    let passing = count(steps::canaries(draft).filter(|member| member.is_healthy()));
    let serving = format!("canary {}% ({})", weight.achieved(), weight.in_words());
    let share = match (canary, preview) {
        (0, 1..) => format!("{preview} on standby"),
        (_, 0) => serving,
        _ => format!("{serving}, {preview} on standby"),
    };
    format!("{} {place}: {share}, {passing} of {instances} passing", rollout.version)
}

/// `3.0.0 aborted at step 1/4: 0 of 1 canary passing (needs 1)`
fn given_up(rollout: &Rollout, stable: &str) -> String {
    let abort = rollout.abort.as_ref();
    if rollout.kind == RolloutKind::Return {
        let why = abort.map(|abort| format!(": {}", abort.message)).unwrap_or_default();
        return format!("the way back to {} failed{why}", rollout.version);
    }
    let Some(abort) = abort else { return format!("{} was given up", rollout.version) };
    if rollout.kind == RolloutKind::First && rollout.stage != Stage::Aborted {
        return format!(
            "{} has not become healthy: {}; there is no version to go back to",
            rollout.version, abort.message
        );
    }
    let failed = match rollout.stage {
        Stage::RollbackFailed => format!("; the way back to {stable} failed too"),
        _ => String::new(),
    };
    let place = match abort.steps {
        0 => String::new(),
        _ if abort.baking => " while it baked".to_owned(),
        steps if abort.step >= steps => " while it was promoted".to_owned(),
        steps => format!(" at step {}/{steps}", abort.step + 1),
    };
    format!("{} aborted{place}: {}{failed}", rollout.version, abort.message)
}

fn held(rollout: Option<&Rollout>) -> String {
    let Some((rollout, hold)) = rollout.and_then(|rollout| rollout.hold.as_ref().map(|hold| (rollout, hold))) else {
        return "held".to_owned();
    };
    // A lock says in its reason who has put it on.
    let by = hold.by.as_ref().filter(|_| hold.kind != HoldKind::Lock);
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    let why = hold.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let until = hold.until.filter(|_| hold.kind == HoldKind::Person);
    let until = until.map(|until| format!(" until {}", until.round(jiff::Unit::Second).unwrap_or(until)));
    format!("{} held{by}{}{why}", rollout.version, until.unwrap_or_default())
}

/// The counts of every version that runs, is wanted, or serves.
pub(crate) fn versions(draft: &Draft<'_>, targets: &Targets) -> Vec<VersionStatus> {
    let mut desired: BTreeMap<RevisionId, u32> = BTreeMap::new();
    for (group, share) in targets.iter().filter(|(group, _)| !group.outdated) {
        let standby = count(draft.census().of(&group.revision).filter(|member| member.is_standby()));
        *desired.entry(group.revision.clone()).or_default() += share.total + share.kept.min(standby);
    }
    for member in draft.census().live() {
        desired.entry(member.instance.revision.clone()).or_default();
    }
    let known = desired.into_iter().map(|(revision, number)| one_version(draft, revision, number));
    let mut versions: Vec<VersionStatus> =
        known.filter(|version| version.desired > 0 || version.assigned > 0).collect();
    versions.sort_by(|a, b| (a.role, &a.version, &a.revision).cmp(&(b.role, &b.version, &b.revision)));
    versions
}

fn one_version(draft: &Draft<'_>, revision: RevisionId, desired: u32) -> VersionStatus {
    let members: Vec<&Member> = draft.census().of(&revision).collect();
    VersionStatus {
        version: draft.label(&revision),
        role: records::role_of(draft, &revision, !members.is_empty() && members.iter().all(|one| one.is_standby())),
        desired,
        assigned: count(members.iter()),
        registered: count(members.iter().filter(|member| member.registered)),
        healthy: count(members.iter().filter(|member| member.is_healthy())),
        standby: count(members.iter().filter(|member| member.is_standby())),
        revision,
    }
}

/// Adds what the instances themselves make one wait for.
pub(crate) fn wait_for_instances(draft: &mut Draft<'_>) {
    let members: Vec<Member> = draft.census().members.values().cloned().collect();
    let mut starting: BTreeMap<String, Vec<helium_crds::InstanceId>> = BTreeMap::new();
    let mut stopping: BTreeMap<String, u32> = BTreeMap::new();
    for member in &members {
        let version = member.instance.version.clone();
        match &member.state {
            State::Starting => starting.entry(version).or_default().push(member.id().clone()),
            State::Stopping => {
                *stopping.entry(version).or_default() += 1;
                // When its node is lost, it takes no room any more.
                if let Some(lost_at) = census::lost_at(draft.world, &member.instance) {
                    draft.wake_at(lost_at);
                }
            }
            State::Unhealthy(why) if named(draft, |one| matches!(one, WaitingOn::Unhealthy { .. })) => {
                let (instance, why) = (member.id().clone(), why.clone());
                draft.wait_for(WaitingOn::Unhealthy { version, instance, why });
            }
            State::Unknown => wait_for_sight(draft, member),
            State::StoppingLost if named(draft, |one| matches!(one, WaitingOn::Sight { .. })) => {
                let (instance, node) = (member.id().clone(), member.instance.node.clone());
                draft.wait_for(WaitingOn::Sight { instance, node, lost_at: None });
            }
            State::StoppingLost | State::Unhealthy(_) | State::Healthy | State::Lost | State::Stopped => {}
        }
    }
    for (version, mut instances) in starting {
        let count = count(instances.iter());
        instances.truncate(WaitingOn::EXAMPLES);
        draft.wait_for(WaitingOn::Starting { version, count, instances });
    }
    for (version, instances) in stopping {
        draft.wait_for(WaitingOn::Stopping { version, instances });
    }
    wait_for_availability(draft, &members);
}

/// Whether one more instance may be named for this reason.
fn named(draft: &Draft<'_>, same: impl Fn(&WaitingOn) -> bool) -> bool {
    draft.waiting.iter().filter(|one| same(one)).count() < WaitingOn::EXAMPLES
}

fn wait_for_sight(draft: &mut Draft<'_>, member: &Member) {
    let lost_at = census::lost_at(draft.world, &member.instance);
    if let Some(lost_at) = lost_at {
        draft.wake_at(lost_at);
    }
    if named(draft, |one| matches!(one, WaitingOn::Sight { .. })) {
        let (instance, node) = (member.id().clone(), member.instance.node.clone());
        draft.wait_for(WaitingOn::Sight { instance, node, lost_at });
    }
}

/// During a rollout or restart, healthy instances that are not available yet are waited for.
fn wait_for_availability(draft: &mut Draft<'_>, members: &[Member]) {
    let moving = draft.status.rollout.as_ref().is_some_and(|rollout| rollout.stage != Stage::Aborted)
        || draft.status.reason == Reason::Restarting;
    let now = draft.now();
    let soon: Vec<_> =
        members.iter().filter_map(|member| member.ready_at(draft.world)).filter(|at| *at > now).collect();
    let instances = count(soon.iter());
    // Time alone makes them available; a plan that counts on it has to be made again then, at rest as well.
    for at in &soon {
        draft.wake_at(*at);
    }
    if let Some(until) = soon.into_iter().max().filter(|_| moving) {
        draft.wait_for(WaitingOn::MinHealthyTime { instances, until });
    }
}

/// Sets a condition; the time of its last change stays when the status stays.
pub(crate) fn conditions(draft: &mut Draft<'_>, manual: bool) {
    let healthy = draft.census().healthy();
    let floor = draft.budget().floor();
    let under_way = draft.status.rollout.as_ref().is_some_and(|rollout| {
        rollout.hold.is_none() && !matches!(rollout.stage, Stage::Aborted | Stage::RollbackFailed)
    }) && draft.status.phase != Phase::Invalid;
    let reason = draft.status.reason.to_string();
    let message = draft.status.message.clone();
    let available = format!("{healthy} healthy, at least {floor} needed");
    set(draft, ConditionKind::Available, healthy >= floor, "HealthyInstances", available);
    set(draft, ConditionKind::Progressing, under_way, &reason, message);
    tell_lock(draft);
    let had_manual = draft.status.conditions.iter().any(|condition| condition.kind == ConditionKind::ManualCounts);
    if manual || had_manual {
        let message =
            if manual { "`versions` sets the counts; the Canary is suspended" } else { "`replicas` sets the count" };
        set(draft, ConditionKind::ManualCounts, manual, "VersionsGiven", message.to_owned());
    }
}

/// Says what lets no rollout start, whether one is under way or not; nothing of an object that was never locked.
fn tell_lock(draft: &mut Draft<'_>) {
    let in_force = holds::in_force(draft);
    let known = draft.status.conditions.iter().any(|condition| condition.kind == ConditionKind::Locked);
    match in_force {
        Some((why, _)) => set(draft, ConditionKind::Locked, true, "Shut", why),
        None if known => set(draft, ConditionKind::Locked, false, "Open", "rollouts may start and go on".to_owned()),
        None => {}
    }
}

fn set(draft: &mut Draft<'_>, kind: ConditionKind, status: bool, reason: &str, message: String) {
    let now = draft.now();
    let conditions = &mut draft.status.conditions;
    match conditions.iter_mut().find(|condition| condition.kind == kind) {
        Some(condition) => {
            if condition.status != status {
                condition.last_transition_time = condition.last_transition_time.max(now);
            }
            condition.status = status;
            reason.clone_into(&mut condition.reason);
            condition.message = message;
        }
        None => {
            conditions.push(Condition { kind, status, reason: reason.to_owned(), message, last_transition_time: now });
        }
    }
}
