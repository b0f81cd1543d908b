//! What to do next for one service of the layout of Helios: the one place that decides.
//!
//! A change of the version or of its values goes: fetched while the old one serves; the upgrade lock, so that only so many nodes change at a time;
//! drained; stopped; installed, which the hook `install` may refuse; switched; rendered; started; registered; its checks pass; out of maintenance;
//! the lock is released. What fails on the way is marked bad for all nodes and taken back here, still under the lock. The first version on a node takes nothing away
//! from anybody and so waits for no lock; nor is it marked, since what is wrong may be the node.
//!
//! Every step may be done twice, and its event is on the disk before the next one: whenever the agent is killed, it goes on.

use std::collections::BTreeSet;

use helium_processes::Exit;
use jiff::{SignedDuration, Timestamp};

use super::record::{Attempt, Record, Stage, Target};
use crate::hooks::Hook;

/// What has run for less has proved nothing.
pub(super) const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(2);
/// What has run for less may prove itself before anything newer takes its place.
const YOUNG: SignedDuration = SignedDuration::from_secs(6);
/// After Consul was away checks have this time to pass before that they do not is held against anybody.
pub(super) const SIGHT_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// Whether this node has the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assigned {
    /// It has, or nothing that can be believed says otherwise.
    Yes,
    /// It has not any more.
    No,
}

/// How the service stands at the local Consul agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    /// Nobody has looked.
    Unknown,
    /// It is not there.
    Absent,
    /// As it should be.
    Same,
    /// With other tags.
    Retag,
    /// With other checks.
    Anew,
}

/// Who has put the service into maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maintenance {
    /// Nobody.
    No,
    /// An agent of Helium.
    Ours,
    /// Somebody else, who will know when it is over.
    Theirs,
}

/// The upgrade lock, as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Not asked for.
    Free,
    /// Asked for.
    Asked,
    /// Held.
    Held,
}

/// The process of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// There is none.
    None,
    /// It runs.
    Running,
    /// It has ended.
    Ended(Exit),
}

/// What the checks of the service say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Green {
    /// Nobody can tell.
    Unknown,
    /// Some do not pass.
    No,
    /// All pass, or there are none.
    Yes,
}

/// All that a decision rests on.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) record: &'a Record,
    pub(crate) now: Timestamp,
    pub(crate) assigned: Assigned,
    /// What Consul wants, or wanted when it could be asked last.
    pub(crate) wish: Option<&'a Target>,
    /// What is marked bad: versions, and `config-<digest>`.
    pub(crate) bad: &'a BTreeSet<String>,
    /// Versions that are on this machine.
    pub(crate) here: &'a BTreeSet<String>,
    /// When fetching is tried again, if it failed.
    pub(crate) fetch_after: Option<Timestamp>,
    pub(crate) process: Process,
    pub(crate) registered: Registered,
    pub(crate) maintenance: Maintenance,
    pub(crate) green: Green,
    pub(crate) lock: Lock,
    /// What the lock was asked for.
    pub(crate) asked_for: Option<&'a str>,
    /// When Consul is asked again, if it does not answer.
    pub(crate) consul_after: Option<Timestamp>,
    /// How long an attempt may take until its checks pass.
    pub(crate) prove_within: SignedDuration,
    /// Since when Consul has been seen without a break.
    pub(crate) seen_since: Option<Timestamp>,
    /// The agent stops, and the service with it.
    pub(crate) halt: bool,
}

/// What the checks of a registration do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    /// They are registered, and begin critical.
    Inline,
    /// They stay with their state.
    Kept,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing until something changes, or until then.
    Rest(Option<Timestamp>),
    /// Bring a version to this machine.
    Fetch(Target),
    /// Ask for the upgrade lock, for what is marked by that name if it fails.
    AskLock(String),
    /// Give it back.
    ReleaseLock,
    /// Note that this change begins.
    Begin { target: Target, live: bool },
    /// Put the service into maintenance.
    Drain,
    /// Stop what runs.
    Stop,
    /// Install a version.
    Install(Target),
    /// Make it the current one.
    Switch(Target),
    /// Render its files.
    Render(Target),
    /// Start it.
    Start,
    /// Note the end of the process.
    NoteEnd(Exit),
    /// Register it.
    Register(Checks),
    /// Take it out of maintenance.
    Undrain,
    /// Note that it has proved itself.
    NoteProven,
    /// Note that it has failed.
    Fail(String),
    /// Tell the others what failed.
    MarkBad,
    /// Take it out of Consul.
    Deregister,
    /// Run the hook `uninstall`, and forget the service.
    Forget,
    /// The service has stopped with its agent, which may go.
    Leave,
}

/// What to do next.
pub(crate) fn decide(facts: &Facts<'_>) -> Step {
    let record = facts.record;
    if let (Some(_), Process::Ended(exit)) = (&record.process, facts.process) {
        return Step::NoteEnd(exit);
    }
    if facts.halt {
        return close_down(facts).unwrap_or(Step::Leave);
    }
    if facts.assigned == Assigned::No {
        return close_down(facts).unwrap_or(Step::Forget);
    }
    if record.failed.is_some() && consul_waits(facts).is_none() {
        return Step::MarkBad;
    }
    match &record.attempt {
        Some(attempt) => superseded(facts, attempt).unwrap_or_else(|| go_on(facts, attempt)),
        None => match goal(facts) {
            Some(goal) if record.good.as_ref() != Some(goal) => change(facts, goal),
            _ => settled(facts, Lock::Free),
        },
    }
}

/// What the service is to be here: what is wished unless it is bad, and otherwise what was good.
pub(crate) fn goal<'a>(facts: &Facts<'a>) -> Option<&'a Target> {
    facts.wish.filter(|wish| !is_bad(facts, wish)).or(facts.record.good.as_ref())
}

fn is_bad(facts: &Facts<'_>, target: &Target) -> bool {
    let record = facts.record;
    let runs = record.good.as_ref().is_some_and(|good| good.version == target.version);
    let version = !runs && facts.bad.contains(&target.version);
    let config = facts.bad.contains(&target.config_mark());
    version || config || record.failed.as_ref().is_some_and(|failed| failed.target == *target)
}

fn consul_waits(facts: &Facts<'_>) -> Option<Timestamp> {
    facts.consul_after.filter(|after| *after > facts.now)
}

/// A change towards what nobody wants any more gives way to what is wanted, once that is on this machine. What runs may prove itself first, so that
/// there is a way back to it; and as nobody knows whether it serves, it is stopped under the lock.
fn superseded(facts: &Facts<'_>, attempt: &Attempt) -> Option<Step> {
    let goal = goal(facts).filter(|goal| **goal != attempt.target)?;
    let runs = attempt.stage == Stage::Started && facts.record.up;
    let young = attempt.since.is_none_or(|since| facts.now < since + YOUNG);
    if runs && (young || facts.green == Green::Yes) {
        return None;
    }
    if !facts.here.contains(&goal.version) {
        let fetches = facts.fetch_after.is_none_or(|after| after <= facts.now);
        return fetches.then(|| Step::Fetch(goal.clone()));
    }
    match facts.lock {
        Lock::Free if runs => consul_waits(facts).is_none().then(|| ask_lock(facts, goal)),
        Lock::Asked if runs => None,
        Lock::Free | Lock::Asked | Lock::Held => Some(Step::Begin { target: goal.clone(), live: false }),
    }
}

/// The begin of a change. Whatever it waits for, what runs is looked after.
fn change(facts: &Facts<'_>, goal: &Target) -> Step {
    let record = facts.record;
    if !facts.here.contains(&goal.version) {
        return match facts.fetch_after.filter(|after| *after > facts.now) {
            None => Step::Fetch(goal.clone()),
            Some(after) => sooner(settled(facts, Lock::Free), after),
        };
    }
    let begin = Step::Begin { target: goal.clone(), live: is_live(record, goal) };
    match facts.lock {
        _ if record.good.is_none() => begin,
        Lock::Held => begin,
        Lock::Free | Lock::Asked => line_up(facts, goal),
    }
}

/// Whoever has no place yet is in line for it; what runs is looked after meanwhile.
fn line_up(facts: &Facts<'_>, goal: &Target) -> Step {
    let mark = goal.mark(facts.record.good.as_ref());
    let in_line = facts.lock != Lock::Free && facts.asked_for == Some(mark.as_str());
    if in_line || consul_waits(facts).is_some() { settled(facts, Lock::Asked) } else { Step::AskLock(mark) }
}

fn ask_lock(facts: &Facts<'_>, goal: &Target) -> Step {
    Step::AskLock(goal.mark(facts.record.good.as_ref()))
}

/// New values of the same version reach what runs without a restart if a hook tells it of them, or if hooks are all that it has.
fn is_live(record: &Record, goal: &Target) -> bool {
    let same = record.good.as_ref().is_some_and(|good| good.version == goal.version) && record.current == record.good;
    record.up && same && (record.found.run.is_empty() || record.found.hooks.contains(&Hook::Config))
}

fn go_on(facts: &Facts<'_>, attempt: &Attempt) -> Step {
    let record = facts.record;
    if let Some(at) = record.next_try.filter(|at| *at > facts.now) {
        return Step::Rest(Some(at));
    }
    let target = || attempt.target.clone();
    // Whoever has lost its place before it has stopped anything needs another. The way back waits for none.
    let stops_what_serves = attempt.stage == Stage::Begun && record.up && !attempt.back && record.good.is_some();
    if stops_what_serves && facts.lock != Lock::Held {
        return line_up(facts, &attempt.target);
    }
    match attempt.stage {
        Stage::Begun if record.up => drain_and_stop(facts),
        Stage::Begun => Step::Install(target()),
        Stage::Installed => Step::Switch(target()),
        Stage::Switched => Step::Render(target()),
        Stage::Rendered => Step::Start,
        Stage::Started if !record.up => Step::Start,
        Stage::Started => prove(facts, attempt),
    }
}

/// Without Consul nobody can be told that it stops, and it stops all the same.
fn drain_and_stop(facts: &Facts<'_>) -> Step {
    match (facts.registered, facts.maintenance) {
        _ if consul_waits(facts).is_some() => Step::Stop,
        (Registered::Unknown, _) => Step::Rest(None),
        (Registered::Absent, _) | (_, Maintenance::Ours | Maintenance::Theirs) => Step::Stop,
        (_, Maintenance::No) => Step::Drain,
    }
}

/// An attempt whose program runs: registered, all checks passing, and for long enough; or too late.
fn prove(facts: &Facts<'_>, attempt: &Attempt) -> Step {
    let record = facts.record;
    if let Some(after) = consul_waits(facts) {
        return Step::Rest(Some(after));
    }
    let kept = if attempt.live { Checks::Kept } else { Checks::Inline };
    if let Some(step) = register(facts, kept) {
        return step;
    }
    let since = attempt.since.unwrap_or(facts.now);
    let settled = record.started_at.unwrap_or(since).max(since) + SETTLED_AFTER;
    let until = since + facts.prove_within;
    let seen = facts.seen_since.is_some_and(|seen| seen + SIGHT_GRACE.min(facts.prove_within) <= facts.now);
    match facts.green {
        Green::Yes if facts.now < settled => Step::Rest(Some(settled)),
        Green::Yes if facts.maintenance == Maintenance::Ours => Step::Undrain,
        Green::Yes => Step::NoteProven,
        Green::No if facts.now >= until && seen && !attempt.back && record.good.is_some() => {
            Step::Fail("its checks did not pass in time".to_owned())
        }
        Green::No | Green::Unknown => Step::Rest((facts.now < until).then_some(until)),
    }
}

fn register(facts: &Facts<'_>, retag: Checks) -> Option<Step> {
    match facts.registered {
        Registered::Unknown => Some(Step::Rest(None)),
        Registered::Absent | Registered::Anew => Some(Step::Register(Checks::Inline)),
        Registered::Retag => Some(Step::Register(retag)),
        Registered::Same => None,
    }
}

/// What is good is kept running and registered. `lock` is what is wanted of the lock.
fn settled(facts: &Facts<'_>, lock: Lock) -> Step {
    let record = facts.record;
    if lock == Lock::Free && facts.lock != Lock::Free {
        return Step::ReleaseLock;
    }
    if record.current.is_none() {
        return Step::Rest(None);
    }
    if !record.up {
        return match record.next_try.filter(|at| *at > facts.now) {
            None => Step::Start,
            at => Step::Rest(at),
        };
    }
    if let Some(after) = consul_waits(facts) {
        return Step::Rest(Some(after));
    }
    register(facts, Checks::Kept).unwrap_or(if facts.maintenance == Maintenance::Ours {
        Step::Undrain
    } else {
        Step::Rest(None)
    })
}

fn sooner(step: Step, at: Timestamp) -> Step {
    match step {
        Step::Rest(None) => Step::Rest(Some(at)),
        Step::Rest(Some(other)) => Step::Rest(Some(at.min(other))),
        step => step,
    }
}

/// Out of Consul, stopped, and the lock given back; none once all of that is done.
fn close_down(facts: &Facts<'_>) -> Option<Step> {
    let record = facts.record;
    match (facts.registered, consul_waits(facts)) {
        (_, Some(after)) if !facts.halt => return Some(Step::Rest(Some(after))),
        (_, Some(_)) | (Registered::Absent, None) => {}
        (Registered::Unknown, None) => return Some(Step::Rest(None)),
        (_, None) => return Some(Step::Deregister),
    }
    if record.up || record.process.is_some() {
        return Some(Step::Stop);
    }
    (facts.lock != Lock::Free).then_some(Step::ReleaseLock)
}
