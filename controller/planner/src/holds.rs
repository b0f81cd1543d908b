//! Holds that come and go by themselves: locks, `suspend` in the spec, the schedule, and a stable version that is not well.
//!
//! They keep a rollout from starting and from coming forward. What fails under them goes back all the same, and so does a rollout
//! that returns to the stable version: safety waits for no window. A hold of a person's, and one that a failure has caused, stands before
//! them; when that one ends, theirs may begin.

use helium_crds::{
    canary::IfStableUnhealthy,
    deployment::Suspend,
    schedule::Access,
    status::{Hold, HoldKind, Lock, Rollout, RolloutKind, Stage, WaitingOn},
};
use jiff::Timestamp;

use crate::{census::count, draft::Draft, rollout};

/// What keeps the rollout where it is at the moment.
struct Shut {
    kind: HoldKind,
    by: Option<String>,
    why: String,
    until: Option<Timestamp>,
}

/// Begins, changes and ends these holds as the world now asks for it.
pub(crate) fn keep(draft: &mut Draft<'_>) {
    drop_ended_lock(draft);
    let shut = shut(draft);
    if let Some(until) = shut.as_ref().and_then(|shut| shut.until) {
        draft.wake_at(until);
    }
    let now = draft.now();
    let Some(rollout) = draft.status.rollout.as_ref().filter(|rollout| may_be_held(rollout)) else { return };
    let held = rollout.hold.as_ref();
    let ended = held.and_then(|hold| hold.until).is_some_and(|until| until <= now);
    match (held.map(|hold| hold.kind), shut) {
        (Some(HoldKind::Person), _) if ended => rollout::let_go(draft),
        (None, Some(shut)) => begin(draft, shut),
        (Some(kind), Some(shut)) if is_own(kind) => change(draft, shut),
        (Some(kind), None) if is_own(kind) => rollout::let_go(draft),
        (Some(HoldKind::Person), _) => {
            if let Some(until) = held.and_then(|hold| hold.until) {
                draft.wake_at(until);
            }
        }
        _ => {}
    }
}

/// Says what lets no rollout come forward, whether one is under way or not: in words, and until when.
pub(crate) fn in_force(draft: &Draft<'_>) -> Option<(String, Option<Timestamp>)> {
    let shut = shut(draft).filter(|shut| shut.kind != HoldKind::StableUnhealthy)?;
    Some((in_words(&shut), shut.until))
}

/// What is waited for under one of these holds.
pub(crate) fn waiting(draft: &Draft<'_>) -> Option<WaitingOn> {
    let hold = draft.status.rollout.as_ref()?.hold.as_ref().filter(|hold| is_own(hold.kind))?;
    let why = hold.reason.clone().unwrap_or_default();
    Some(WaitingOn::Shut { why, until: hold.until })
}

fn is_own(kind: HoldKind) -> bool {
    match kind {
        HoldKind::Lock | HoldKind::Schedule | HoldKind::StableUnhealthy => true,
        HoldKind::Person | HoldKind::Failure | HoldKind::Inconclusive | HoldKind::Gate => false,
    }
}

fn may_be_held(rollout: &Rollout) -> bool {
    rollout.kind != RolloutKind::Return && matches!(rollout.stage, Stage::Steps | Stage::Promoting)
}

fn drop_ended_lock(draft: &mut Draft<'_>) {
    let now = draft.now();
    let ended = |lock: &Lock| lock.until.is_some_and(|until| until <= now);
    if draft.status.lock.as_ref().is_some_and(ended) {
        draft.status.lock = None;
        draft.tell("LockEnded", "the lock has ended by itself".to_owned());
    }
}

/// What lets the rollout not come forward, the most deliberate first.
fn shut(draft: &Draft<'_>) -> Option<Shut> {
    let now = draft.now();
    if let Some(Lock { by, reason, until, .. }) = draft.status.lock.clone() {
        return Some(Shut { kind: HoldKind::Lock, by: Some(by), why: reason.unwrap_or_default(), until });
    }
    let suspend = draft.spec().suspend.as_ref();
    if let Some(Suspend { reason, until }) = suspend.filter(|suspend| suspend.until.is_none_or(|until| until > now)) {
        return Some(Shut { kind: HoldKind::Lock, by: None, why: format!("suspended: {reason}"), until: *until });
    }
    match draft.spec().schedule.as_ref().map(|schedule| schedule.at(now)) {
        Some(Access::Shut { why, until }) => return Some(Shut { kind: HoldKind::Schedule, by: None, why, until }),
        Some(Access::Open { .. }) | None => {}
    }
    stable_is_unwell(draft)
}

/// Too few instances of the stable version are healthy, and the Canary says that it waits for them.
fn stable_is_unwell(draft: &Draft<'_>) -> Option<Shut> {
    let waits = draft.canary().is_some_and(|canary| canary.if_stable_unhealthy == IfStableUnhealthy::Pause);
    let rollout = draft.status.rollout.as_ref().filter(|rollout| rollout.stage == Stage::Steps)?;
    let stable = draft.stable().filter(|stable| waits && **stable != rollout.revision)?;
    let live = count(draft.census().of(stable));
    let healthy = count(draft.census().of(stable).filter(|member| member.is_healthy()));
    let needed = live.min(draft.budget().floor());
    let why = format!("{healthy} of {live} stable instances are healthy (needs {needed})");
    (healthy < needed).then_some(Shut { kind: HoldKind::StableUnhealthy, by: None, why, until: None })
}

fn in_words(shut: &Shut) -> String {
    match &shut.by {
        Some(by) if shut.why.is_empty() => format!("locked by {by}"),
        Some(by) => format!("locked by {by}: {}", shut.why),
        None => shut.why.clone(),
    }
}

fn begin(draft: &mut Draft<'_>, shut: Shut) {
    let since = draft.now();
    let why = in_words(&shut);
    let Some(rollout) = draft.rollout_mut() else { return };
    rollout.deadline_at = None;
    let Shut { kind, by, until, .. } = shut;
    rollout.hold = Some(Hold { kind, since, by, reason: Some(why.clone()), until, rescaled: false });
    let message = format!("{} is held: {why}", rollout.version);
    draft.tell("RolloutHeld", message);
}

fn change(draft: &mut Draft<'_>, shut: Shut) {
    let why = in_words(&shut);
    let Some(hold) = draft.rollout_mut().and_then(|rollout| rollout.hold.as_mut()) else { return };
    let Shut { kind, by, until, .. } = shut;
    (hold.kind, hold.by, hold.reason, hold.until) = (kind, by, Some(why), until);
}
