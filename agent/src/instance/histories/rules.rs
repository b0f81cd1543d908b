//! What must hold at each effect of an agent, and what must have come about in the end.

use helium_crds::ids::InstanceId;
use helium_crds::instance::{Desired, InstancePhase};
use jiff::{SignedDuration, Timestamp};

use super::world::{State, World};
use crate::{
    hooks::Hook,
    instance::{machine::Event, record::Record, work::Work},
};

/// Why a life of an agent goes no further.
pub(super) enum Stop {
    /// It was killed.
    Killed { with_node: bool },
    /// A rule is broken.
    Broken(Broken),
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// An instance has one process at most.
    TwoCopies,
    /// Every process that runs is in a record.
    StrayProcess,
    /// Nothing starts while Consul holds what was before, unless Consul could not be asked.
    StartedUnderOldRegistration,
    /// Nobody is asked to stop who still gets requests, unless Consul could not be asked.
    SignalledWhileRegistered,
    /// Nobody is stopped whom nobody has asked to stop.
    StoppedUnasked,
    /// Who may not run without Consul, and was stopped for that, is not started before it has answered.
    RunsUnseen,
    /// What is called stopped or is forgotten does not run.
    StoppedButRuns,
    /// What failed waits: half of 500 ms, twice as long each time, half a minute at most.
    StartedTooSoon,
    /// A set of files is whole whenever somebody reads it.
    TornFiles,
    /// Hooks run at their places.
    HookLeftOut,
    /// A process has its grace.
    KilledTooSoon,
    /// What runs knows the last files.
    OldFiles,
    /// Once nothing goes wrong any more, everything comes to be as it is wanted.
    NotAsWanted,
    /// The machine rests when there is nothing to do, and never until an instant that has passed.
    NoRest,
}

/// What the rules remember of an instance.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// The last order that an agent could believe and has noted.
    pub(super) ordered: Option<Desired>,
    /// When what has failed was noted, and how often in a row.
    failed: Option<(Timestamp, u32)>,
    /// When it was noted that Consul had been away for too long.
    cut_off: Option<Timestamp>,
    /// The hook `post-stop` is owed.
    owes_post_stop: bool,
    /// These have run since the stop began.
    drained: bool,
    pre_stopped: bool,
    /// Since when the grace period runs.
    grace_from: Option<Timestamp>,
}

impl Past {
    /// A record was written after an event.
    pub(super) fn noted(&mut self, event: &Event, record: &Record, now: Timestamp) {
        match event {
            Event::CutOff => self.cut_off = Some(now),
            Event::StopCancelled => self.cut_off = None,
            Event::StopBegun => (self.drained, self.pre_stopped, self.grace_from) = (false, false, None),
            Event::Closing | Event::Signalled => drop(self.grace_from.get_or_insert(now)),
            Event::Ended(_) => {
                self.owes_post_stop = record.hooks.contains(&Hook::PostStop);
                // Who was asked to stop has not failed.
                self.failed = record.stopping.is_none().then_some((now, record.failures));
            }
            Event::LaunchFailed(_) | Event::Worked(Work::Prepare, Err(_)) => {
                self.failed = Some((now, record.failures));
            }
            Event::Accepted(_) | Event::Left | Event::Stable if record.failures == 0 => self.failed = None,
            Event::Stopped => (self.failed, self.cut_off) = (None, None),
            _ => {}
        }
    }

    /// A hook has ended, well or not.
    pub(super) fn ran(&mut self, hook: Hook) {
        match hook {
            Hook::PostStop => self.owes_post_stop = false,
            Hook::Drain => self.drained = true,
            Hook::PreStop => self.pre_stopped = true,
            _ => {}
        }
    }
}

/// A process is let through its gate.
pub(super) fn at_the_gate(world: &World, id: &InstanceId, excused: bool, now: Timestamp) -> Result<(), Broken> {
    let past = world.past(id);
    if world.running(id) > 0 {
        return Err(Broken::TwoCopies);
    }
    if past.cut_off.is_some() {
        return Err(Broken::RunsUnseen);
    }
    if world.consul.contains_key(id) && !excused {
        return Err(Broken::StartedUnderOldRegistration);
    }
    if past.owes_post_stop {
        return Err(Broken::HookLeftOut);
    }
    if let Some((at, failures)) = past.failed {
        let ceiling = 500_i64.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(60_000);
        if now.duration_since(at) < SignedDuration::from_millis(ceiling / 2) {
            return Err(Broken::StartedTooSoon);
        }
    }
    whole_files(world, id)
}

/// All files of an instance are of one set.
pub(super) fn whole_files(world: &World, id: &InstanceId) -> Result<(), Broken> {
    let [one, other] = world.files_of(id);
    if one == other { Ok(()) } else { Err(Broken::TornFiles) }
}

/// The stop signal is about to be sent.
pub(super) fn before_the_signal(world: &World, record: &Record, excused: bool, halt: bool) -> Result<(), Broken> {
    let (id, past) = (&record.assignment.id, world.past(&record.assignment.id));
    asked(record, past, halt)?;
    if world.consul.contains_key(id) && !excused {
        return Err(Broken::SignalledWhileRegistered);
    }
    let has = world.hooks.get(id).cloned().unwrap_or_default();
    let lacks = |hook: Hook, ran: bool| has.contains(&hook) && !ran;
    if lacks(Hook::Drain, past.drained) || lacks(Hook::PreStop, past.pre_stopped) {
        return Err(Broken::HookLeftOut);
    }
    Ok(())
}

/// It is about to be noted that Consul has been away for too long.
pub(super) fn before_it_is_cut_off(world: &World, record: &Record) -> Result<(), Broken> {
    let after = record.assignment.stop_after_disconnect;
    let at = world.away_since.zip(after).map(|(since, after)| since + after.as_signed());
    if at.is_some_and(|at| at <= world.now) { Ok(()) } else { Err(Broken::StoppedUnasked) }
}

/// A stop is about to be taken back.
pub(super) fn before_it_runs_again(world: &World, id: &InstanceId) -> Result<(), Broken> {
    let unseen = world.past(id).cut_off.is_some() && world.away_since.is_some();
    if unseen { Err(Broken::RunsUnseen) } else { Ok(()) }
}

/// A process is about to be killed.
pub(super) fn before_the_kill(world: &World, record: &Record, halt: bool) -> Result<(), Broken> {
    let past = world.past(&record.assignment.id);
    asked(record, past, halt)?;
    let grace = record.assignment.stop_grace_period.as_signed();
    match past.grace_from {
        Some(from) if from + grace <= world.now => Ok(()),
        _ => Err(Broken::KilledTooSoon),
    }
}

fn asked(record: &Record, past: &Past, halt: bool) -> Result<(), Broken> {
    // What has been signalled cannot be taken back.
    let begun = record.stopping.is_some_and(|stopping| stopping.signalled.is_some());
    if halt || begun || past.cut_off.is_some() || past.ordered == Some(Desired::Stop) {
        Ok(())
    } else {
        Err(Broken::StoppedUnasked)
    }
}

/// It is about to be noted that an instance has stopped, or that there never was one.
pub(super) fn before_it_is_called_stopped(world: &World, id: &InstanceId) -> Result<(), Broken> {
    if world.running(id) == 0 { Ok(()) } else { Err(Broken::StoppedButRuns) }
}

/// Nothing has gone wrong for long.
pub(super) fn in_the_end(world: &World) -> Result<(), Broken> {
    for (id, wanted) in &world.store {
        let Some(record) = world.disk.get(id) else { return Err(Broken::NotAsWanted) };
        let known = world.consul.get(id);
        let as_wanted = match wanted.desired {
            Desired::Run => {
                let entry = known.is_some_and(|entry| {
                    entry.tags == wanted.service.tags && entry.standby == wanted.role.is_standby()
                });
                world.running(id) == 1 && entry && record.phase == InstancePhase::Running
            }
            Desired::Stop => world.running(id) == 0 && known.is_none() && record.phase == InstancePhase::Stopped,
        };
        if !as_wanted || record.assignment != *wanted {
            return Err(Broken::NotAsWanted);
        }
    }
    let kept = |id: &InstanceId| world.store.contains_key(id);
    if world.disk.iter().any(|(id, record)| !kept(id) && record.phase == InstancePhase::Stopped) {
        return Err(Broken::NotAsWanted);
    }
    if world.consul.keys().any(|id| !world.disk.contains_key(id)) {
        return Err(Broken::NotAsWanted);
    }
    for process in world.processes.iter().filter(|process| process.state == State::Runs) {
        let known = world.disk.get(&process.instance).and_then(|record| record.process.as_ref());
        if known != Some(&process.identity) {
            return Err(Broken::StrayProcess);
        }
        whole_files(world, &process.instance)?;
        let has_files = world.hooks.contains_key(&process.instance);
        if has_files && process.seen.as_deref() != Some(world.values.to_string().as_str()) {
            return Err(Broken::OldFiles);
        }
    }
    Ok(())
}
