//! What to do next for one instance, as a pure function of what is so.
//!
//! [`decide`] looks at the assignment, the local record, the process and the registration, and names one [`Step`]. The
//! [runner](super::runner) does it, turns what came of it into an [`Event`], writes the record that [`apply`] makes of that, and
//! asks again. Nothing is remembered anywhere but in the record, so an agent that is killed between any two instructions goes on
//! where it was. The rules:
//!
//! - a process is started only while the record holds none, and the record holds it before it executes anything: it waits at a
//!   gate until the record is on the disk, and dies there if the agent does (see [`crate::driver::exec`]). So there are never
//!   two copies;
//! - an instance is registered while its process lives and at no other time: what has ended takes no traffic, and an instance
//!   without checks is healthy just while it is registered;
//! - a stop takes the instance out of Consul first, and lets `drain` pass before the signal. Only if Consul cannot be reached for [`DRAIN_LIMIT`] the signal comes before;
//! - a missing assignment changes nothing, but for an instance that has stopped: that one is forgotten.

use std::time::Duration;

use helium_crds::instance::{Assignment, Desired, InstancePhase};
use jiff::{SignedDuration, Timestamp};

use super::record::{Record, Stopping};
use helium_processes::{Exit, ProcessIdentity};

/// The longest wait before an instance that ended is started again.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// The wait, at most, after the first end.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// So many ends, or vain starts, in a row make an instance `failed`: a port may be free a moment later.
const FAILED_AFTER: u32 = 3;
/// An instance that has ended before is called running again once it has run so long.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// An end after so long a run is the first of its row.
const STABLE_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// How long a stop waits for a Consul that cannot be reached.
pub(crate) const DRAIN_LIMIT: SignedDuration = SignedDuration::from_secs(5);
/// After SIGKILL has been sent, it is sent again at this interval until the process is seen to have ended.
pub(crate) const KILL_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// What the controller wants of the instance, as far as this agent can see.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Assigned<'a> {
    /// Nothing is known: the view of the assignments is not to be trusted.
    Unknown,
    /// A trusted view holds no assignment of this instance.
    Missing,
    /// The assignment.
    Present(&'a Assignment),
}

/// What is so with the process that the record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    /// It runs. Also said where the record holds none.
    AliveIfAny,
    /// It has ended.
    Ended(Exit),
}

/// What is so with the registration, compared with the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    /// Consul has not been asked since this agent started.
    Unknown,
    /// The local Consul agent does not know the service.
    Absent,
    /// It knows it as it should be.
    Same,
    /// Tags or meta differ.
    Retag,
    /// It is on standby, and is to serve.
    OnStandby,
    /// It serves, and is to be on standby.
    Serving,
    /// Address, port or checks differ.
    Anew,
}

/// How a service is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    /// With its checks, which begin critical.
    Inline,
    /// Without a word on checks, which keeps those that are there and their state.
    Kept,
}

/// All that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) assigned: Assigned<'a>,
    pub(crate) record: &'a Record,
    pub(crate) process: Process,
    pub(crate) registered: Registered,
    /// The last call to Consul failed; the next is not to be made before this instant.
    pub(crate) consul_after: Option<Timestamp>,
    /// The agent is stopping, and its instances with it.
    pub(crate) halt: bool,
    pub(crate) now: Timestamp,
}

/// The one thing to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until something changes, or this instant at the latest.
    Rest(Option<Timestamp>),
    /// Take the assignment over into the record.
    Accept,
    /// Note that the process has ended.
    NoteEnd(Exit),
    /// Choose ports and start a process.
    Launch,
    /// Note that it runs well again.
    NoteRunning,
    /// Note that it has run long enough for its past to be forgiven.
    NoteStable,
    /// Register the service.
    Register(Checks),
    /// Let it serve, or be on standby.
    StandBy(bool),
    /// Take the service out of Consul.
    Deregister,
    /// Note that a stop has begun.
    BeginStop,
    /// Note that it is out of Consul.
    NoteOut,
    /// Note that a stop is not wanted any more.
    CancelStop,
    /// Send the stop signal.
    Signal,
    /// Send SIGKILL.
    Kill,
    /// Note that it has stopped, for good.
    NoteStopped,
    /// The instance has stopped with its agent, which may go.
    Leave,
    /// Forget the instance: it has stopped, and nobody asks for it any more.
    Forget,
}

/// What came of a step.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The assignment was taken over.
    Accepted(Box<Assignment>),
    /// The process ended.
    Ended(Exit),
    /// The process stands at its gate.
    Launched(ProcessIdentity),
    /// It could not be started.
    LaunchFailed(String),
    /// It runs well again.
    Running,
    /// Its past is forgiven.
    Stable,
    /// A stop has begun.
    StopBegun,
    /// It is out of Consul.
    Out,
    /// The stop is not wanted any more.
    StopCancelled,
    /// The stop signal was sent.
    Signalled,
    /// It has stopped, for good.
    Stopped,
    /// It has stopped with its agent.
    Left,
}

/// What to do next.
pub(crate) fn decide(facts: &Facts<'_>) -> Step {
    let record = facts.record;
    if let Assigned::Present(assignment) = facts.assigned
        && *assignment != record.assignment
    {
        return Step::Accept;
    }
    if let (Some(_), Process::Ended(exit)) = (&record.process, facts.process) {
        return Step::NoteEnd(exit);
    }
    let stop = facts.halt || record.assignment.desired == Desired::Stop;
    let signalled = record.stopping.is_some_and(|stopping| stopping.signalled.is_some());
    if stop || (signalled && record.process.is_some()) { decide_stop(facts) } else { decide_run(facts) }
}

fn decide_run(facts: &Facts<'_>) -> Step {
    let record = facts.record;
    let consul_waits = facts.consul_after.filter(|after| *after > facts.now);
    if record.stopping.is_some() {
        return Step::CancelStop;
    }
    if record.process.is_none() {
        // What an earlier process left in Consul goes first, for its checks would vouch for the next one until they run again.
        let left = facts.registered != Registered::Absent;
        let next_start = record.next_start.filter(|at| *at > facts.now);
        return match (left, consul_waits, next_start) {
            (true, None, _) => Step::Deregister,
            (_, _, None) => Step::Launch,
            (left, waits, next_start) => Step::Rest(earliest([next_start, waits.filter(|_| left)])),
        };
    }
    let up = facts.now.duration_since(record.started_at.unwrap_or(facts.now));
    if record.phase != InstancePhase::Running && (record.failures == 0 || up >= SETTLED_AFTER) {
        return Step::NoteRunning;
    }
    if record.failures > 0 && up >= STABLE_AFTER {
        return Step::NoteStable;
    }
    let register = match facts.registered {
        // An adopted instance is most likely registered already, and registering it again would turn its checks critical: look first.
        Registered::Same | Registered::Unknown => None,
        Registered::Retag => Some(Step::Register(Checks::Kept)),
        Registered::OnStandby => Some(Step::StandBy(false)),
        Registered::Serving => Some(Step::StandBy(true)),
        Registered::Absent | Registered::Anew => Some(Step::Register(Checks::Inline)),
    };
    match (register, consul_waits) {
        (Some(step), None) => step,
        (register, waits) => {
            let goals = [(record.phase != InstancePhase::Running).then_some(SETTLED_AFTER), Some(STABLE_AFTER)];
            let goals = goals.map(|goal| goal.filter(|_| record.failures > 0).map(|goal| facts.now + (goal - up)));
            Step::Rest(earliest([earliest(goals), waits.filter(|_| register.is_some())]))
        }
    }
}

fn decide_stop(facts: &Facts<'_>) -> Step {
    let record = facts.record;
    let stopped = record.phase == InstancePhase::Stopped;
    let Some(stopping) = record.stopping else {
        return if stopped { after_stop(facts) } else { Step::BeginStop };
    };
    if let Some(step) = leave_consul(facts, stopping.since) {
        return step;
    }
    if record.process.is_none() {
        return if record.assignment.desired == Desired::Stop { Step::NoteStopped } else { after_stop(facts) };
    }
    let Some(signalled) = stopping.signalled else { return drain(facts, stopping.out) };
    let kill_at = signalled + record.assignment.stop_grace_period.as_signed();
    if facts.now >= kill_at { Step::Kill } else { Step::Rest(Some(kill_at)) }
}

/// What is left to do about Consul before the process may be signalled; none if nothing is, or it has taken too long.
fn leave_consul(facts: &Facts<'_>, since: Timestamp) -> Option<Step> {
    let never_ran = facts.record.process.is_none() && facts.registered == Registered::Unknown;
    let until = since + DRAIN_LIMIT;
    if facts.registered == Registered::Absent || never_ran {
        return None;
    }
    match facts.consul_after.filter(|after| *after > facts.now) {
        None => Some(Step::Deregister),
        Some(after) => (facts.now < until).then_some(Step::Rest(Some(after.min(until)))),
    }
}

/// Balancers are given time to notice that the instance is out of Consul, if it is: while it is in, there is nothing to notice.
fn drain(facts: &Facts<'_>, out: Option<Timestamp>) -> Step {
    let drain = facts.record.assignment.drain.as_signed();
    if drain.is_zero() || facts.registered != Registered::Absent {
        return Step::Signal;
    }
    match out.map(|out| out + drain) {
        None => Step::NoteOut,
        Some(until) if facts.now < until => Step::Rest(Some(until)),
        Some(_) => Step::Signal,
    }
}

/// What is left to do for an instance that has no process and is to have none.
fn after_stop(facts: &Facts<'_>) -> Step {
    let known = !matches!(facts.registered, Registered::Unknown | Registered::Absent);
    let waits = facts.consul_after.filter(|after| *after > facts.now);
    if facts.halt {
        return Step::Leave;
    }
    match (known, waits, facts.assigned) {
        (true, None, _) => Step::Deregister,
        (true, waits, _) => Step::Rest(waits),
        (false, _, Assigned::Missing) => Step::Forget,
        (false, _, Assigned::Unknown | Assigned::Present(_)) => Step::Rest(None),
    }
}

/// The record after an event. `random` spreads the waits of instances that end together.
pub(crate) fn apply(record: &Record, event: Event, now: Timestamp, random: u64) -> Record {
    let mut next = record.clone();
    match event {
        Event::Accepted(assignment) => {
            let again = next.phase == InstancePhase::Stopped && assignment.desired == Desired::Run;
            next.assignment = *assignment;
            if again {
                next.failures = 0;
                enter(&mut next, InstancePhase::Starting, None, now);
            }
        }
        Event::Ended(exit) => note_end(&mut next, exit, now, random),
        Event::Launched(process) => {
            next.process = Some(process);
            next.started_at = Some(now);
            next.next_start = None;
            if next.failures == 0 {
                enter(&mut next, InstancePhase::Running, None, now);
            }
        }
        Event::LaunchFailed(words) => {
            note_failure(&mut next, now, random);
            let phase = if next.failures >= FAILED_AFTER { InstancePhase::Failed } else { InstancePhase::Starting };
            enter(&mut next, phase, Some(words), now);
        }
        Event::Running => enter(&mut next, InstancePhase::Running, None, now),
        Event::Stable => next.failures = 0,
        Event::StopBegun => next.stopping = Some(Stopping { since: now, out: None, signalled: None }),
        Event::Out => next.stopping = next.stopping.map(|begun| Stopping { out: Some(now), ..begun }),
        Event::StopCancelled => next.stopping = None,
        Event::Signalled => next.stopping = next.stopping.map(|begun| Stopping { signalled: Some(now), ..begun }),
        Event::Stopped => {
            next.stopping = None;
            next.next_start = None;
            enter(&mut next, InstancePhase::Stopped, None, now);
        }
        Event::Left => {
            next.stopping = None;
            next.next_start = None;
            if next.phase != InstancePhase::Stopped {
                next.failures = 0;
                enter(&mut next, InstancePhase::Starting, Some("stopped with its agent".to_owned()), now);
            }
        }
    }
    next
}

/// A record as it is after a restart of the agent: an instant in the future, which a clock that went back leaves behind, counts
/// as now.
pub(crate) fn after_restart(mut record: Record, now: Timestamp) -> Record {
    let longest = now.checked_add(SignedDuration::try_from(LONGEST_WAIT).unwrap_or_default()).unwrap_or(now);
    record.since = record.since.min(now);
    record.started_at = record.started_at.map(|at| at.min(now));
    record.next_start = record.next_start.map(|at| at.min(longest));
    let past = |at: Option<Timestamp>| at.map(|at| at.min(now));
    record.stopping = record.stopping.map(|begun| Stopping {
        since: begun.since.min(now),
        out: past(begun.out),
        signalled: past(begun.signalled),
    });
    record
}

fn note_end(next: &mut Record, exit: Exit, now: Timestamp, random: u64) {
    next.process = None;
    if next.stopping.is_some() {
        next.started_at = None;
        return;
    }
    let up = now.duration_since(next.started_at.take().unwrap_or(now));
    if up >= STABLE_AFTER {
        next.failures = 0;
    }
    next.restarts = next.restarts.saturating_add(1);
    note_failure(next, now, random);
    if next.failures >= FAILED_AFTER {
        let words = format!("ended {} times in a row, last: {exit}", next.failures);
        enter(next, InstancePhase::Failed, Some(words), now);
    } else {
        enter(next, InstancePhase::Starting, Some(format!("ended by itself: {exit}")), now);
    }
}

fn note_failure(next: &mut Record, now: Timestamp, random: u64) {
    next.failures = next.failures.saturating_add(1);
    let wait = SignedDuration::try_from(wait_after(next.failures, random)).unwrap_or(SignedDuration::ZERO);
    next.next_start = Some(now + wait);
}

/// How long to wait after the n-th failure in a row: `500 ms * 2^(n-1)`, at most a minute, and of that a random part between
/// the half and the whole. The third failure: 1 s to 2 s.
fn wait_after(failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let ceiling = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    let half = ceiling / 2;
    let half_millis = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
    half + Duration::from_millis(random % half_millis.saturating_add(1))
}

fn enter(next: &mut Record, phase: InstancePhase, message: Option<String>, now: Timestamp) {
    if next.phase != phase {
        next.since = now;
    }
    next.phase = phase;
    next.message = message;
}

fn earliest<const N: usize>(instants: [Option<Timestamp>; N]) -> Option<Timestamp> {
    instants.into_iter().flatten().min()
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
