//! What to do next for one instance, as a pure function of what is so.
//!
//! [`decide`] looks at the assignment, the local record, the process and the registration, and names one [`Step`]. The
//! runner does it, turns what came of it into an [`Event`], writes the record that [`apply`](super::apply::apply) makes of that, and
//! asks again. Nothing is remembered anywhere but in the record, so an agent that is killed between any two instructions goes on
//! where it was. The rules:
//!
//! - a process is started only while the record holds none, and the record holds it before it executes anything: it waits at a
//!   gate until the record is on the disk, and dies there if the agent does (see `gate` in `helium-processes`). So there are never
//!   two copies;
//! - an instance is registered while its process lives and at no other time: what has ended takes no traffic, and an instance
//!   without checks is healthy just while it is registered;
//! - what a package needs before a start, and its hooks, are [work](super::work) beside the process, one at a time, done by a task of
//!   its own: nothing that hangs in there keeps an instance from being stopped;
//! - a stop takes the instance out of Consul first, and lets `drain` pass before the signal (see [`super::stopping`]);
//! - a missing assignment changes nothing, but for an instance that has stopped: that one is forgotten;
//! - while Consul is away all runs on, but for an instance that says for how long (`stopAfterDisconnect`): that one stops after it, and starts again
//!   when Consul is back. That it stopped for that is in the record: the next agent does not start it either before Consul has answered.

use helium_crds::instance::{Assignment, Desired, InstancePhase};
use jiff::{SignedDuration, Timestamp};

use super::{
    record::Record,
    stopping::decide_stop,
    work::{Outcome, Work, Working, cancel_unless, work_on},
};
use crate::process::{Exit, ProcessIdentity};

/// An instance that has ended before is called running again once it has run so long.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// An end after so long a run is the first of its row.
pub(super) const STABLE_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// After SIGKILL has been sent, it is sent again at this interval until the process is seen to have ended.
pub const KILL_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// What the controller wants of the instance, as far as this agent can see.
#[derive(Clone, Copy, Debug)]
pub enum Assigned<'a> {
    /// Nothing is known: the view of the assignments is not to be trusted.
    Unknown,
    /// A trusted view holds no assignment of this instance.
    Missing,
    /// The assignment.
    Present(&'a Assignment),
}

/// What is so with the process that the record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// It runs. Also said where the record holds none.
    AliveIfAny,
    /// It has ended.
    Ended(Exit),
}

/// What is so with the registration, compared with the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
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
    /// It bears no mark of maintenance, or one of ours for another reason, and is to be in it.
    InUse,
    /// It bears the mark, and its maintenance is over.
    InMaintenance,
    /// Address, port or checks differ.
    Anew,
}

/// Whether Consul answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contact {
    /// Nobody knows: this agent has only just begun to ask.
    #[default]
    Unknown,
    /// It does.
    Answers,
    /// It has not, since this instant.
    AwaySince(Timestamp),
}

/// How a service is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// With its checks, which begin critical.
    Inline,
    /// Without a word on checks, which keeps those that are there and their state.
    Kept,
}

/// All that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the controller wants, as far as can be seen.
    pub assigned: Assigned<'a>,
    /// What is remembered.
    pub record: &'a Record,
    /// How the process of the record is.
    pub process: Process,
    /// How the instance stands in Consul.
    pub registered: Registered,
    /// What is being done beside the process.
    pub work: &'a Working,
    /// What its templates ask may have other answers than those that its files were made with.
    pub stale: bool,
    /// The last call to Consul failed; the next is not to be made before this instant.
    pub consul_after: Option<Timestamp>,
    /// Whether Consul answers.
    pub contact: Contact,
    /// The agent is stopping, and its instances with it.
    pub halt: bool,
    /// The present, by the clock of this agent.
    pub now: Timestamp,
}

impl Facts<'_> {
    /// When Consul will have been away for longer than the instance may run without it.
    fn cut_off_at(&self) -> Option<Timestamp> {
        let Contact::AwaySince(since) = self.contact else { return None };
        since.checked_add(self.record.assignment.stop_after_disconnect?.as_signed()).ok()
    }

    /// Whether it has been, in this life of the agent or in one before, and has not answered since.
    pub(super) fn is_cut_off(&self) -> bool {
        let noted = self.record.cut_off.is_some() && self.contact != Contact::Answers;
        noted || self.cut_off_at().is_some_and(|at| at <= self.now)
    }

    /// Whether an earlier agent had begun to stop a process that runs yet, and it is not known whether Consul is back: a moment decides.
    fn may_be_back(&self) -> bool {
        let signalled = self.record.stopping.is_some_and(|stopping| stopping.signalled.is_some());
        self.record.cut_off.is_some() && self.contact == Contact::Unknown && self.record.process.is_some() && !signalled
    }
}

/// The one thing to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something changes, or this instant at the latest.
    Rest(Option<Timestamp>),
    /// Take the assignment over into the record.
    Accept,
    /// Note that the process has ended.
    NoteEnd(Exit),
    /// Begin work beside the process.
    Begin(Work),
    /// Note how far the preparation is.
    NoteProgress(InstancePhase),
    /// Note what has become of work.
    NoteWork,
    /// End work that is not wanted any more.
    CancelWork,
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
    /// Put its service into maintenance, or take it out.
    Maintain(bool),
    /// Take the service out of Consul.
    Deregister,
    /// Note that Consul has been away for longer than the instance may run without it.
    NoteCutOff,
    /// Note that a stop has begun.
    BeginStop,
    /// Note that it is out of Consul.
    NoteOut,
    /// Note that the instance is being closed down, from which on its grace period runs.
    NoteClosing,
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
pub enum Event {
    /// The assignment was taken over.
    Accepted(Box<Assignment>),
    /// The process ended.
    Ended(Exit),
    /// The preparation has come so far.
    Progress(InstancePhase),
    /// Work has ended.
    Worked(Work, Outcome),
    /// The process stands at its gate.
    Launched(ProcessIdentity),
    /// It could not be started.
    LaunchFailed(String),
    /// It runs well again.
    Running,
    /// Its past is forgiven.
    Stable,
    /// Consul has been away for too long.
    CutOff,
    /// A stop has begun.
    StopBegun,
    /// It is out of Consul.
    Out,
    /// It is being closed down.
    Closing,
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
pub fn decide(facts: &Facts<'_>) -> Step {
    let record = facts.record;
    if let Assigned::Present(assignment) = facts.assigned
        && *assignment != record.assignment
    {
        return Step::Accept;
    }
    if let (Some(_), Process::Ended(exit)) = (&record.process, facts.process) {
        return Step::NoteEnd(exit);
    }
    if let Working::Done(..) = facts.work {
        return Step::NoteWork;
    }
    let is_ordered = facts.halt || record.assignment.desired == Desired::Stop;
    if !is_ordered && facts.may_be_back() {
        return Step::Rest(None);
    }
    let is_to_stop = is_ordered || facts.is_cut_off();
    let signalled = record.stopping.is_some_and(|stopping| stopping.signalled.is_some());
    if is_to_stop || (signalled && record.process.is_some()) {
        return decide_stop(facts);
    }
    match decide_run(facts) {
        Step::Rest(until) => Step::Rest(earliest([until, facts.cut_off_at()])),
        step => step,
    }
}

fn decide_run(facts: &Facts<'_>) -> Step {
    let record = facts.record;
    let consul_waits = facts.consul_after.filter(|after| *after > facts.now);
    if record.stopping.is_some() || record.cut_off.is_some() {
        return Step::CancelStop;
    }
    if record.process.is_none() {
        return decide_start(facts, consul_waits);
    }
    if let Some(step) = cancel_unless(facts, &[Work::PostStart, Work::Refresh]) {
        return step;
    }
    let up = facts.now.duration_since(record.started_at.unwrap_or(facts.now));
    if record.phase != InstancePhase::Running && (record.failures == 0 || up >= SETTLED_AFTER) {
        return Step::NoteRunning;
    }
    if record.failures > 0 && up >= STABLE_AFTER {
        return Step::NoteStable;
    }
    if facts.stale && *facts.work == Working::Nothing {
        return Step::Begin(Work::Refresh);
    }
    if record.post_start_at.is_some_and(|at| at <= facts.now) && *facts.work == Working::Nothing {
        return Step::Begin(Work::PostStart);
    }
    let register = match facts.registered {
        // An adopted instance is most likely registered already, and registering it again would turn its checks critical: look first.
        Registered::Same | Registered::Unknown => None,
        Registered::Retag => Some(Step::Register(Checks::Kept)),
        Registered::OnStandby => Some(Step::StandBy(false)),
        Registered::Serving => Some(Step::StandBy(true)),
        Registered::InUse => Some(Step::Maintain(true)),
        Registered::InMaintenance => Some(Step::Maintain(false)),
        Registered::Absent | Registered::Anew => Some(Step::Register(Checks::Inline)),
    };
    match (register, consul_waits) {
        (Some(step), None) => step,
        (register, waits) => {
            let goals = [(record.phase != InstancePhase::Running).then_some(SETTLED_AFTER), Some(STABLE_AFTER)];
            let goals = goals.map(|goal| goal.filter(|_| record.failures > 0).map(|goal| facts.now + (goal - up)));
            let post_start = record.post_start_at.filter(|_| *facts.work == Working::Nothing);
            Step::Rest(earliest([earliest(goals), waits.filter(|_| register.is_some()), post_start]))
        }
    }
}

/// What to do for an instance that is to run and has no process.
fn decide_start(facts: &Facts<'_>, consul_waits: Option<Timestamp>) -> Step {
    let record = facts.record;
    if let Some(step) = cancel_unless(facts, &[Work::PostStop, Work::Prepare]) {
        return step;
    }
    // What an earlier process left in Consul goes first, for its checks would vouch for the next one until they run again.
    let left = facts.registered != Registered::Absent;
    let next_start = record.next_start.filter(|at| *at > facts.now);
    match (left, consul_waits, next_start) {
        (true, None, _) => Step::Deregister,
        _ if record.post_stop_at.is_some() => work_on(facts, Work::PostStop),
        (_, _, None) if record.assignment.template.package.is_some() && !record.prepared => {
            work_on(facts, Work::Prepare)
        }
        (_, _, None) => Step::Launch,
        (left, waits, next_start) => Step::Rest(earliest([next_start, waits.filter(|_| left)])),
    }
}

/// The earliest of some instants.
pub(super) fn earliest<const N: usize>(instants: [Option<Timestamp>; N]) -> Option<Timestamp> {
    instants.into_iter().flatten().min()
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
