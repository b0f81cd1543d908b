//! One life of an agent: all of its instances, each a step at a time in a drawn order. It does what the real runner does, in the same order.

use std::{collections::BTreeMap, path::PathBuf};

use helium_crds::{
    ids::InstanceId,
    instance::{Assignment, Desired},
};
use helium_instance::process::{Exit, ProcessIdentity};
use helium_templates::{
    files::Files as _,
    output::{Output, Secrecy},
    transaction::{self, Applied, Check, Staged},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    defects::Defect,
    files::Memory,
    rules::{self, Broken, Stop},
    world::{Entry, Happened, Process, State, World},
};
use crate::instance::{
    apply::{after_restart, apply},
    machine::{self, Assigned, Checks, Contact, Event, Facts, KILL_AGAIN, Registered, Step, decide},
    record::Record,
    work::{Outcome, Prepared, Trouble, Work, Working},
};

/// Each turn is so short that nothing is due twice.
const MOMENT: SignedDuration = SignedDuration::from_millis(1);
/// So many turns without a rest are no more than what there may be to do.
const BUSY: usize = 300;

/// One life.
#[derive(Default)]
pub(super) struct Life {
    mine: BTreeMap<InstanceId, Mine>,
    begun: bool,
    halt: bool,
    busy: usize,
    /// What it knows of Consul.
    contact: Contact,
}

/// What an agent knows of an instance and forgets when it dies.
struct Mine {
    record: Record,
    registered: Registered,
    consul_after: Option<Timestamp>,
    work: Working,
    /// When the work ends.
    work_ends: Option<Timestamp>,
    /// Whether its files may be old, and when they are made again.
    stale: Option<Timestamp>,
    /// The runner waits.
    pause: Option<Timestamp>,
    left: bool,
}

/// What an agent sees of an assignment.
enum View {
    Unknown,
    Missing,
    Present(Box<Assignment>),
}

impl Life {
    /// A turn of every instance, and then time passes.
    pub(super) fn turn(&mut self, world: &mut World) -> Result<(), Stop> {
        if !self.begun {
            self.begin(world)?;
        }
        match world.happen()? {
            Some(Happened::Halt) => self.halt = true,
            Some(Happened::NewValues) => {
                let due = world.now + world.draw.millis(2000);
                self.mine.values_mut().for_each(|mine| mine.stale = Some(due));
            }
            None => {}
        }
        self.listen(world);
        // An agent that stops with its instances is followed by another.
        if self.halt && self.mine.values().all(|mine| mine.left) {
            *self = Self::default();
            return Ok(());
        }
        self.admit(world)?;
        self.sweep(world)?;
        let mut ids: Vec<InstanceId> = self.mine.keys().cloned().collect();
        let mut rests = Vec::new();
        while !ids.is_empty() {
            let id = ids.swap_remove(world.draw.below(ids.len()));
            if let Some(until) = self.step(world, &id)? {
                rests.push(until);
            } else {
                rests.clear();
                self.busy += 1;
                if self.busy > BUSY {
                    return Err(Stop::Broken(Broken::NoRest));
                }
                world.advance(world.now + MOMENT);
                return Ok(());
            }
        }
        self.busy = 0;
        let next = rests.into_iter().min().unwrap_or(world.now + SignedDuration::from_secs(1));
        world.advance(next.max(world.now + MOMENT));
        Ok(())
    }

    /// What an earlier life has left half done of files is ended before anything else.
    fn begin(&mut self, world: &mut World) -> Result<(), Stop> {
        self.begun = true;
        if world.faults && world.draw.percent(60) {
            let effects = world.draw.below(60);
            world.fuse.light(effects);
        }
        for (id, record) in &world.disk {
            let registered = match world.defect {
                Some(Defect::NothingIsRegistered) => Registered::Absent,
                _ => Registered::Unknown,
            };
            let mut record = after_restart(record.clone(), world.now);
            record.cut_off = record.cut_off.filter(|_| world.defect != Some(Defect::CutOffForgotten));
            self.mine.insert(id.clone(), Mine::new(record, registered, world.now));
        }
        for id in self.mine.keys().filter(|_| world.defect != Some(Defect::NoRecovery)) {
            let _ = transaction::recover(&world.files, &state_of(id));
        }
        if world.fuse.is_blown() { Err(Stop::Killed { with_node: false }) } else { Ok(()) }
    }

    /// Whether Consul answers, once the first question has come back.
    fn listen(&mut self, world: &mut World) {
        self.contact = match self.contact {
            Contact::Unknown if world.draw.percent(50) => Contact::Unknown,
            _ if world.away_since.is_none() => Contact::Answers,
            Contact::AwaySince(since) => Contact::AwaySince(since),
            Contact::Unknown | Contact::Answers => Contact::AwaySince(world.now),
        };
    }

    /// What is assigned for the first time.
    fn admit(&mut self, world: &mut World) -> Result<(), Stop> {
        if !world.trusted || self.halt || world.files.full.get() {
            return Ok(());
        }
        let new: Vec<Assignment> =
            world.store.values().filter(|wanted| !self.mine.contains_key(&wanted.id)).cloned().collect();
        for wanted in new {
            let (id, record) = (wanted.id.clone(), Record::admit(wanted, world.now));
            world.effect(&id, "admit")?;
            world.disk.insert(id.clone(), record.clone());
            world.past.remove(&id);
            world.note_order(&id);
            self.mine.insert(id, Mine::new(record, Registered::Absent, world.now));
        }
        Ok(())
    }

    /// The observer takes out of Consul what no instance here stands for any more.
    fn sweep(&self, world: &mut World) -> Result<(), Stop> {
        if world.away_since.is_some() || !world.draw.percent(30) {
            return Ok(());
        }
        let left: Vec<InstanceId> = world.consul.keys().filter(|id| !self.mine.contains_key(*id)).cloned().collect();
        for id in left {
            world.effect(&id, "sweep")?;
            world.consul.remove(&id);
        }
        Ok(())
    }

    /// A step of one instance; an instant if it rests.
    fn step(&mut self, world: &mut World, id: &InstanceId) -> Result<Option<Timestamp>, Stop> {
        let later = world.now + SignedDuration::from_secs(2);
        let Some(mine) = self.mine.get_mut(id).filter(|mine| !mine.left) else { return Ok(Some(later)) };
        if let Some(until) = mine.pause.filter(|until| *until > world.now) {
            return Ok(Some(until));
        }
        if mine.work_ends.is_some_and(|at| at <= world.now) {
            mine.end_work(world)?;
        }
        if world.draw.percent(30) {
            mine.poll(world);
        }
        match mine.decide(world, self.contact, self.halt) {
            Step::Rest(Some(at)) if at <= world.now => Err(Stop::Broken(Broken::NoRest)),
            Step::Rest(until) => {
                mine.poll(world);
                Ok([until, mine.work_ends, mine.stale.filter(|at| *at > world.now), Some(later)]
                    .into_iter()
                    .flatten()
                    .min())
            }
            Step::Forget => {
                rules::before_it_is_called_stopped(world, id).map_err(Stop::Broken)?;
                if world.defect != Some(Defect::NothingIsForgotten) {
                    world.effect(id, "forget")?;
                    world.disk.remove(id);
                    self.mine.remove(id);
                }
                Ok(Some(later))
            }
            step => mine.perform(world, step, self.halt).map(|()| None),
        }
    }
}

impl Mine {
    fn new(record: Record, registered: Registered, now: Timestamp) -> Self {
        let work = Working::Nothing;
        Self {
            record,
            registered,
            consul_after: None,
            work,
            work_ends: None,
            stale: Some(now),
            pause: None,
            left: false,
        }
    }

    fn id(&self) -> InstanceId {
        self.record.assignment.id.clone()
    }

    /// What is assigned, as far as the agent can see.
    fn view(&self, world: &World) -> View {
        let stop = || View::Present(Box::new(Assignment { desired: Desired::Stop, ..self.record.assignment.clone() }));
        match (world.store.get(&self.record.assignment.id), world.trusted, world.defect) {
            (None, true, Some(Defect::MissingIsStop)) | (_, false, Some(Defect::BlindIsMissingAndStop)) => stop(),
            (_, false, _) => View::Unknown,
            (None, true, _) => View::Missing,
            (Some(wanted), true, _) => View::Present(Box::new(wanted.clone())),
        }
    }

    fn decide(&self, world: &World, contact: Contact, halt: bool) -> Step {
        let view = self.view(world);
        let assigned = match &view {
            View::Unknown => Assigned::Unknown,
            View::Missing => Assigned::Missing,
            View::Present(wanted) => Assigned::Present(wanted),
        };
        let alive = self.record.process.as_ref().is_none_or(|identity| world.is_alive(identity));
        let passes = world.defect == Some(Defect::StopPassesConsul) && self.record.stopping.is_some();
        let step = decide(&Facts {
            assigned,
            record: &self.record,
            process: if alive { machine::Process::AliveIfAny } else { machine::Process::Ended(Exit::Status(1)) },
            registered: if passes { Registered::Absent } else { self.registered },
            work: &self.work,
            stale: self.record.assignment.template.package.is_some() && self.stale.is_some_and(|at| at <= world.now),
            consul_after: self.consul_after,
            contact,
            halt,
            now: world.now,
        });
        let signalled = self.record.stopping.is_some_and(|stopping| stopping.signalled.is_some());
        match (step, world.defect) {
            (Step::Rest(Some(_)), Some(Defect::NoGrace)) if signalled => Step::Kill,
            (step, _) => step,
        }
    }

    fn perform(&mut self, world: &mut World, step: Step, halt: bool) -> Result<(), Stop> {
        let id = self.id();
        match step {
            Step::Accept => {
                let View::Present(wanted) = self.view(world) else { return Ok(()) };
                if self.saved(world, &Event::Accepted(wanted))? && world.trusted {
                    world.note_order(&id);
                }
            }
            Step::NoteEnd(exit) => self.save(world, &Event::Ended(exit))?,
            Step::Begin(work) => self.begin_work(world, work),
            Step::NoteProgress(phase) => self.save(world, &Event::Progress(phase))?,
            Step::NoteWork => self.note_work(world)?,
            Step::CancelWork => (self.work, self.work_ends) = (Working::Nothing, None),
            Step::Launch => self.launch(world)?,
            Step::NoteRunning => self.save(world, &Event::Running)?,
            Step::NoteStable => self.save(world, &Event::Stable)?,
            Step::Register(_) | Step::StandBy(_) | Step::Deregister => self.call_consul(world, step)?,
            Step::NoteCutOff => {
                rules::before_it_is_cut_off(world, &self.record).map_err(Stop::Broken)?;
                self.save(world, &Event::CutOff)?;
            }
            Step::BeginStop => {
                self.save(world, &Event::StopBegun)?;
                if world.defect == Some(Defect::StoppedAtOnce) {
                    self.called_stopped(world)?;
                }
            }
            Step::NoteOut => self.save(world, &Event::Out)?,
            Step::NoteClosing => self.save(world, &Event::Closing)?,
            Step::CancelStop => {
                rules::before_it_runs_again(world, &id).map_err(Stop::Broken)?;
                self.save(world, &Event::StopCancelled)?;
            }
            Step::Signal => self.signal(world, halt)?,
            Step::Kill => {
                rules::before_the_kill(world, &self.record, halt).map_err(Stop::Broken)?;
                world.effect(&id, "kill")?;
                self.end_process(world, world.now);
                self.pause = Some(world.now + KILL_AGAIN);
            }
            Step::NoteStopped => self.called_stopped(world)?,
            Step::Leave => {
                rules::before_it_is_called_stopped(world, &id).map_err(Stop::Broken)?;
                self.save(world, &Event::Left)?;
                self.left = true;
            }
            // Nothing is in maintenance here.
            Step::Rest(_) | Step::Forget | Step::Maintain(_) => {}
        }
        Ok(())
    }

    fn called_stopped(&mut self, world: &mut World) -> Result<(), Stop> {
        rules::before_it_is_called_stopped(world, &self.record.assignment.id).map_err(Stop::Broken)?;
        self.save(world, &Event::Stopped)
    }

    /// Writes the record; if there is no room nothing has changed, and it is tried again.
    fn save(&mut self, world: &mut World, event: &Event) -> Result<(), Stop> {
        self.saved(world, event).map(drop)
    }

    fn saved(&mut self, world: &mut World, event: &Event) -> Result<bool, Stop> {
        let id = self.id();
        let mut next = apply(&self.record, event.clone(), world.now, world.draw.next());
        match world.defect {
            Some(Defect::NoWait) => next.next_start = None,
            Some(Defect::NoPostStop) => next.post_stop_at = None,
            _ => {}
        }
        if world.files.full.get() {
            self.pause = Some(world.now + SignedDuration::from_secs(1));
            return Ok(false);
        }
        let words = format!("{event:?}");
        world.effect(&id, words.split(['(', ' ']).next().unwrap_or_default())?;
        world.disk.insert(id.clone(), next.clone());
        world.past.entry(id).or_default().noted(event, &next, world.now);
        self.record = next;
        Ok(true)
    }

    /// A process waits at its gate until the record names it.
    fn launch(&mut self, world: &mut World) -> Result<(), Stop> {
        let id = self.id();
        let excused = self.consul_after.is_some_and(|after| after > world.now);
        if world.faults && world.draw.percent(10) {
            return self.save(world, &Event::LaunchFailed("no such program".to_owned()));
        }
        let decided = world.now;
        let pid = u32::try_from(world.processes.len()).unwrap() + 100;
        let identity = ProcessIdentity { pid, start: format!("boot/{pid}") };
        let (state, seen, ends_at) = (State::AtGate, None, None);
        world.processes.push(Process { instance: id.clone(), identity: identity.clone(), state, seen, ends_at });
        let noted_later = world.defect == Some(Defect::GateBeforeNote);
        let passes = noted_later || self.saved(world, &Event::Launched(identity.clone()))?;
        if !passes {
            if let Some(process) = world.process_mut(&identity) {
                process.state = State::Ended;
            }
            return Ok(());
        }
        world.effect(&id, "open the gate")?;
        rules::at_the_gate(world, &id, excused, decided).map_err(Stop::Broken)?;
        let [read, _] = world.files_of(&id);
        let bare = self.record.assignment.template.package.is_none();
        let seen = if bare { None } else { read };
        let ends_at = (world.faults && world.draw.percent(30)).then(|| world.now + world.draw.millis(40_000));
        if let Some(process) = world.process_mut(&identity) {
            (process.state, process.seen, process.ends_at) = (State::Runs, seen, ends_at);
        }
        if noted_later {
            self.save(world, &Event::Launched(identity))?;
        }
        Ok(())
    }

    fn end_process(&self, world: &mut World, at: Timestamp) {
        if let Some(process) = self.record.process.as_ref().and_then(|identity| world.process_mut(identity)) {
            process.ends_at = Some(process.ends_at.map_or(at, |other| other.min(at)));
        }
        world.advance(world.now);
    }

    fn signal(&mut self, world: &mut World, halt: bool) -> Result<(), Stop> {
        let id = self.id();
        let excused = self.consul_after.is_some_and(|after| after > world.now);
        rules::before_the_signal(world, &self.record, excused, halt).map_err(Stop::Broken)?;
        world.effect(&id, "signal")?;
        if world.draw.percent(70) {
            let at = world.now + world.draw.millis(3000);
            self.end_process(world, at);
        }
        self.save(world, &Event::Signalled)
    }

    /// After a failure nothing is known: a call may have arrived all the same.
    fn call_consul(&mut self, world: &mut World, step: Step) -> Result<(), Stop> {
        let id = self.id();
        let lost = world.faults && world.draw.percent(10);
        if world.away_since.is_none() {
            let wanted = &self.record.assignment;
            let (tags, standby) = (wanted.service.tags.clone(), wanted.role.is_standby());
            world.effect(&id, &format!("{step:?}"))?;
            match step {
                Step::Deregister => drop(world.consul.remove(&id)),
                Step::StandBy(standby) => drop(world.consul.entry(id).and_modify(|entry| entry.standby = standby)),
                step => {
                    let before = world.consul.get(&id).filter(|_| step == Step::Register(Checks::Kept));
                    let standby = before.map_or(standby, |entry| entry.standby);
                    world.consul.insert(id, Entry { tags, standby });
                }
            }
        }
        if world.away_since.is_some() || lost {
            self.registered = Registered::Unknown;
            self.consul_after = Some(world.now + SignedDuration::from_millis(250) + world.draw.millis(3000));
        } else {
            self.consul_after = None;
            self.see(world);
        }
        Ok(())
    }

    /// A round of the observer.
    fn poll(&mut self, world: &World) {
        if world.away_since.is_none() && self.consul_after.is_none_or(|after| after <= world.now) {
            self.see(world);
        }
    }

    fn see(&mut self, world: &World) {
        let wanted = &self.record.assignment;
        let standby = wanted.role.is_standby();
        self.registered = match (world.consul.get(&wanted.id), world.defect) {
            (None, Some(Defect::LossUnseen)) if self.registered == Registered::Same => Registered::Same,
            (None, _) => Registered::Absent,
            (Some(entry), _) if !entry.standby && standby => Registered::Serving,
            (Some(entry), defect) if entry.tags != wanted.service.tags && defect != Some(Defect::TagsUnseen) => {
                Registered::Retag
            }
            (Some(entry), _) if entry.standby && !standby => Registered::OnStandby,
            (Some(_), _) => Registered::Same,
        };
    }

    fn begin_work(&mut self, world: &mut World, work: Work) {
        let long = world.faults && world.draw.percent(10);
        self.work = Working::Busy(work, None);
        self.work_ends = Some(world.now + world.draw.millis(if long { 60_000 } else { 2000 }));
        let id = self.id();
        world.tell(&id, &format!("begins {work:?}"));
    }

    /// What has become of work. Its last effect may be the last of the agent.
    fn end_work(&mut self, world: &mut World) -> Result<(), Stop> {
        let Working::Busy(work, _) = self.work else { return Ok(()) };
        self.work_ends = None;
        let id = self.id();
        world.effect(&id, &format!("ends {work:?}"))?;
        let fails = world.faults && world.draw.percent(15);
        let outcome = if fails { Err(Trouble::may_heal("no luck")) } else { self.done(world, work)? };
        rules::whole_files(world, &id).map_err(Stop::Broken)?;
        if let Some(hook) = work.hook() {
            world.past.entry(id.clone()).or_default().ran(hook);
        }
        self.work = Working::Done(work, outcome);
        Ok(())
    }

    fn done(&mut self, world: &mut World, work: Work) -> Result<Outcome, Stop> {
        let id = self.id();
        let mut hooks = world.hooks.get(&id).cloned().unwrap_or_default();
        if world.defect == Some(Defect::NoPreStop) {
            hooks.retain(|hook| *hook != crate::hooks::Hook::PreStop);
        }
        let found = Prepared { hooks: hooks.into_iter().collect(), ..Prepared::default() };
        match work {
            Work::Prepare => Ok(match self.render(world)? {
                Ok(_) => {
                    world.effect(&id, "everybody knows")?;
                    let _ = world.files.remove(&untold(&id));
                    Ok(found)
                }
                Err(trouble) => Err(trouble),
            }),
            Work::Refresh => Ok(match self.render(world)? {
                Ok(changed) => {
                    if changed || world.files.text(&untold(&id)).is_some() {
                        self.tell_process(world)?;
                    }
                    Ok(found)
                }
                Err(trouble) => Err(trouble),
            }),
            _ => Ok(Ok(found)),
        }
    }

    fn tell_process(&self, world: &mut World) -> Result<(), Stop> {
        let id = self.id();
        world.effect(&id, "tell")?;
        rules::whole_files(world, &id).map_err(Stop::Broken)?;
        let [seen, _] = world.files_of(&id);
        if let Some(process) = self.record.process.as_ref().and_then(|identity| world.process_mut(identity)) {
            process.seen = seen;
        }
        let _ = world.files.remove(&untold(&id));
        Ok(())
    }

    /// The files of the instance with the present values, all or none; true if there are new ones.
    fn render(&mut self, world: &World) -> Result<Result<bool, Trouble>, Stop> {
        let id = self.id();
        self.stale = None;
        let output = |target: PathBuf| Output {
            target,
            bytes: world.values.to_string().into_bytes(),
            mode: None,
            owner: None,
            secrecy: Secrecy::Open,
            backup: false,
        };
        let outputs = World::targets(&id).map(output);
        let state = state_of(&id);
        let mark = Mark { files: &world.files, at: untold(&id), noted: world.defect != Some(Defect::NobodyIsTold) };
        let applied = if world.defect == Some(Defect::FilesOneByOne) {
            let each = outputs.iter().map(|output| world.files.write(&output.target, &output.bytes, 0o644));
            each.collect::<Result<(), _>>().map(|()| Applied::Changed(Vec::new())).map_err(|error| error.to_string())
        } else {
            transaction::apply(&world.files, &state, &outputs, &mark).map_err(|error| error.to_string())
        };
        if world.fuse.is_blown() {
            return Err(Stop::Killed { with_node: false });
        }
        Ok(applied.map(|applied| applied != Applied::Unchanged).map_err(Trouble::may_heal))
    }

    fn note_work(&mut self, world: &mut World) -> Result<(), Stop> {
        let Working::Done(work, outcome) = self.work.clone() else { return Ok(()) };
        if outcome.is_err() && matches!(work, Work::Prepare | Work::Refresh) {
            self.stale = Some(world.now + SignedDuration::from_secs(5));
        }
        if self.saved(world, &Event::Worked(work, outcome))? {
            self.work = Working::Nothing;
        }
        Ok(())
    }
}

fn state_of(id: &InstanceId) -> PathBuf {
    PathBuf::from(format!("/instances/{id}/state"))
}

fn untold(id: &InstanceId) -> PathBuf {
    state_of(id).join("untold")
}

/// The note that a process is to be told of new files, made before they are in place.
struct Mark<'a> {
    files: &'a Memory,
    at: PathBuf,
    noted: bool,
}

impl Check for Mark<'_> {
    fn check(&self, _: &[Staged]) -> Result<(), String> {
        if self.noted { self.files.write(&self.at, b"", 0o600).map_err(|error| error.to_string()) } else { Ok(()) }
    }
}
