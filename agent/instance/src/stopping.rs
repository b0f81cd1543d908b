//! How an instance is stopped, as a part of the [machine](super::machine).
//!
//! In this order: out of Consul; the hook `drain` and the time of `drain`, in which balancers notice; the hook `pre-stop`; the stop signal; SIGKILL.
//! From the begin of `pre-stop` on (without that hook: from the signal on) the grace period runs, which bounds all of the rest. Only if Consul
//! cannot be reached for [`DRAIN_LIMIT`] the rest begins before the instance is out of it. The hook `post-stop` follows the end of the process.

use helium_crds::instance::{Desired, InstancePhase};
use jiff::{SignedDuration, Timestamp};

use super::{
    machine::{Assigned, Facts, Registered, Step},
    record::Stopping,
    work::{Work, cancel_unless, work_on},
};
use crate::hooks::Hook;

/// How long a stop waits for a Consul that cannot be reached.
pub const DRAIN_LIMIT: SignedDuration = SignedDuration::from_secs(5);

/// What to do next for an instance that is to stop, or whose stop cannot be taken back.
pub(super) fn decide_stop(facts: &Facts<'_>) -> Step {
    let record = facts.record;
    let stopped = record.phase == InstancePhase::Stopped;
    if let Some(step) = cancel_unless(facts, &[Work::Drain, Work::PreStop, Work::PostStop]) {
        return step;
    }
    if facts.is_cut_off() && record.cut_off.is_none() && record.assignment.desired == Desired::Run {
        return Step::NoteCutOff;
    }
    let Some(stopping) = record.stopping else {
        return if stopped { after_stop(facts) } else { Step::BeginStop };
    };
    if let Some(step) = leave_consul(facts, stopping.since) {
        return step;
    }
    if record.process.is_none() {
        if record.post_stop_at.is_some() {
            return work_on(facts, Work::PostStop);
        }
        return if record.assignment.desired == Desired::Stop { Step::NoteStopped } else { after_stop(facts) };
    }
    let grace = record.assignment.stop_grace_period.as_signed();
    let kill_at = stopping.closing.or(stopping.signalled).map(|since| since + grace);
    match kill_at {
        Some(at) if facts.now >= at => cancel_unless(facts, &[]).unwrap_or(Step::Kill),
        Some(at) if stopping.signalled.is_some() => Step::Rest(Some(at)),
        _ => before_signal(facts, stopping, kill_at),
    }
}

/// What is left to do before the stop signal.
fn before_signal(facts: &Facts<'_>, stopping: Stopping, kill_at: Option<Timestamp>) -> Step {
    let has = |hook| facts.record.hooks.contains(&hook);
    if has(Hook::Drain) && !stopping.drained {
        return work_on(facts, Work::Drain);
    }
    match drain(facts, stopping.out) {
        Step::Signal if has(Hook::PreStop) && !stopping.pre_stopped => match kill_at {
            None => Step::NoteClosing,
            Some(at) => match work_on(facts, Work::PreStop) {
                Step::Rest(_) => Step::Rest(Some(at)),
                begin => begin,
            },
        },
        step => step,
    }
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
        // One that is to run, and may not without Consul, has only not been seen. One that Consul may know still is remembered, since another
        // of its name would be taken for it there.
        (false, _, Assigned::Missing)
            if facts.record.phase == InstancePhase::Stopped && facts.registered == Registered::Absent =>
        {
            Step::Forget
        }
        (false, ..) => Step::Rest(None),
    }
}
