//! The record of an instance after something has happened, as a pure function.

use std::time::Duration;

use helium_crds::instance::{Desired, InstancePhase};
use jiff::{SignedDuration, Timestamp};

use super::{
    machine::{Event, STABLE_AFTER},
    record::{Record, Stopping},
    work::{Outcome, Trouble, Work},
};
use crate::{hooks::Hook, process::Exit};

/// The longest wait before an instance that ended is started again.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// The wait, at most, after the first end.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// So many ends, or vain starts, in a row make an instance `failed`: a port may be free a moment later.
pub const FAILED_AFTER: u32 = 3;
/// How long after a vain `post-start` it is tried again.
const POST_START_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// The record after an event. `random` spreads the waits of instances that end together.
pub fn apply(record: &Record, event: Event, now: Timestamp, random: u64) -> Record {
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
            next.post_start_at = next.hooks.contains(&Hook::PostStart).then_some(now);
            next.next_start = None;
            if next.failures == 0 {
                enter(&mut next, InstancePhase::Running, None, now);
            }
        }
        Event::LaunchFailed(words) => note_vain_start(&mut next, Trouble::may_heal(words), now, random),
        Event::Progress(phase) => enter(&mut next, phase, None, now),
        Event::Worked(work, outcome) => note_work(&mut next, work, outcome, now, random),
        Event::Running => enter(&mut next, InstancePhase::Running, None, now),
        Event::Stable => next.failures = 0,
        Event::CutOff => {
            next.cut_off = Some(now);
            if next.process.is_none() {
                rest_without_consul(&mut next, now);
            }
        }
        Event::StopBegun => next.stopping = Some(Stopping::begun(now)),
        Event::Out => next.stopping = next.stopping.map(|begun| Stopping { out: Some(now), ..begun }),
        Event::Closing => next.stopping = next.stopping.map(|begun| Stopping { closing: Some(now), ..begun }),
        Event::StopCancelled => {
            next.stopping = None;
            if next.cut_off.take().is_some() && next.process.is_none() && next.phase == InstancePhase::Starting {
                next.message = None;
            }
        }
        Event::Signalled => next.stopping = next.stopping.map(|begun| Stopping { signalled: Some(now), ..begun }),
        Event::Stopped => {
            (next.stopping, next.cut_off) = (None, None);
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
pub fn after_restart(mut record: Record, now: Timestamp) -> Record {
    let longest = now.checked_add(SignedDuration::try_from(LONGEST_WAIT).unwrap_or_default()).unwrap_or(now);
    record.since = record.since.min(now);
    record.started_at = record.started_at.map(|at| at.min(now));
    record.next_start = record.next_start.map(|at| at.min(longest));
    let past = |at: Option<Timestamp>| at.map(|at| at.min(now));
    record.post_start_at = past(record.post_start_at);
    record.cut_off = past(record.cut_off);
    record.stopping = record.stopping.map(|begun| Stopping {
        since: begun.since.min(now),
        out: past(begun.out),
        closing: past(begun.closing),
        signalled: past(begun.signalled),
        ..begun
    });
    record
}

fn note_end(next: &mut Record, exit: Exit, now: Timestamp, random: u64) {
    let how = how_it_ended(exit, next);
    next.memory_kills = 0;
    next.process = None;
    next.prepared = false;
    next.post_start_at = None;
    next.post_stop_at = next.hooks.contains(&Hook::PostStop).then_some(now);
    if next.stopping.is_some() {
        next.started_at = None;
        if next.cut_off.is_some() && next.assignment.desired == Desired::Run {
            rest_without_consul(next, now);
        }
        return;
    }
    let up = now.duration_since(next.started_at.take().unwrap_or(now));
    if up >= STABLE_AFTER {
        next.failures = 0;
    }
    next.restarts = next.restarts.saturating_add(1);
    note_failure(next, now, random);
    if next.failures >= FAILED_AFTER {
        let words = format!("ended {} times in a row, last: {how}", next.failures);
        enter(next, InstancePhase::Failed, Some(words), now);
    } else {
        enter(next, InstancePhase::Starting, Some(format!("ended by itself: {how}")), now);
    }
}

/// It runs no more, and will again. What has failed goes on to be called so.
fn rest_without_consul(next: &mut Record, now: Timestamp) {
    if next.phase != InstancePhase::Failed {
        enter(next, InstancePhase::Starting, Some("stopped while Consul is away".to_owned()), now);
    }
}

/// How it ended, and whether that was for lack of memory. A system that kills for it sends signal 9, to whichever process of the group it chooses.
fn how_it_ended(exit: Exit, record: &Record) -> String {
    const KILL: Exit = Exit::Signal(9);
    let limit = record.assignment.template.resources.memory;
    let limit = limit.map(|limit| format!(" (its limit is {limit})")).unwrap_or_default();
    match (record.memory_kills, exit) {
        (0, exit) => exit.to_string(),
        (_, KILL) => format!("killed for lack of memory{limit}"),
        (1, exit) => format!("{exit}; one of its processes was killed for lack of memory{limit}"),
        (many, exit) => format!("{exit}; {many} of its processes were killed for lack of memory{limit}"),
    }
}

fn note_work(next: &mut Record, work: Work, outcome: Outcome, now: Timestamp, random: u64) {
    match (work, outcome) {
        (Work::Prepare, Ok(found)) => {
            next.prepared = true;
            next.initialised = true;
            (next.hooks, next.checks, next.behind) = (found.hooks, found.checks, found.behind);
        }
        (Work::Refresh, Ok(found)) => {
            (next.hooks, next.checks, next.behind) = (found.hooks, found.checks, found.behind);
            next.message = None;
        }
        (Work::Refresh, Err(trouble)) => next.message = Some(trouble.words),
        (Work::Prepare, Err(trouble)) => note_vain_start(next, trouble, now, random),
        (Work::PostStart, Ok(_)) => {
            next.post_start_at = None;
            next.message = None;
        }
        (Work::PostStart, Err(trouble)) => {
            next.post_start_at = Some(now + POST_START_AGAIN);
            next.message = Some(trouble.words);
        }
        (Work::PostStop, _) => next.post_stop_at = None,
        (Work::Drain, _) => next.stopping = next.stopping.map(|begun| Stopping { drained: true, ..begun }),
        (Work::PreStop, _) => next.stopping = next.stopping.map(|begun| Stopping { pre_stopped: true, ..begun }),
    }
}

/// What cannot heal by itself is told at once; it is tried again all the same, for a person may mend it.
fn note_vain_start(next: &mut Record, trouble: Trouble, now: Timestamp, random: u64) {
    next.prepared = false;
    note_failure(next, now, random);
    let failed = !trouble.may_heal || next.failures >= FAILED_AFTER;
    let phase = if failed { InstancePhase::Failed } else { InstancePhase::Starting };
    enter(next, phase, Some(trouble.words), now);
}

fn note_failure(next: &mut Record, now: Timestamp, random: u64) {
    next.failures = next.failures.saturating_add(1);
    let wait = SignedDuration::try_from(wait_after(next.failures, random)).unwrap_or(SignedDuration::ZERO);
    next.next_start = Some(now + wait);
}

/// How long to wait after the n-th failure in a row: `500 ms * 2^(n-1)`, at most a minute, and of that a random part between
/// the half and the whole. The third failure: 1 s to 2 s.
pub(super) fn wait_after(failures: u32, random: u64) -> Duration {
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
