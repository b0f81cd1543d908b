//! A small world for tests of the machine: a disk, a process table and a Consul agent, and an agent that can be killed between any two effects.

use std::collections::BTreeSet;

use helium_crds::{
    instance::{Assignment, Desired, InstancePhase, Role},
    package::Package,
};
use jiff::{SignedDuration, Timestamp};

use super::{
    apply::{after_restart, apply},
    machine::{Assigned, Checks, Contact, Event, Facts, Process, Registered, Step, decide},
    record::Record,
    work::{Prepared, Trouble, Work, Working},
};
use crate::{
    hooks::Hook,
    process::{Exit, ProcessIdentity},
    testing::{assignment, instant},
};

/// What of a world outlives an agent.
#[derive(Default)]
pub(super) struct World {
    pub(super) clock: i64,
    pub(super) disk: Option<Record>,
    pub(super) assigned: Option<Assignment>,
    /// All processes that ever executed something, by id: alive or not.
    pub(super) processes: Vec<Proc>,
    /// The tags it is registered with, if it is, and whether it is on standby.
    pub(super) consul: Option<(Vec<String>, bool)>,
    pub(super) consul_up: bool,
    pub(super) stubborn: bool,
    /// The hooks of its package, if it has one.
    pub(super) hooks: BTreeSet<Hook>,
    /// Work that never ends.
    pub(super) hangs: Option<Work>,
    /// Work that is in vain.
    pub(super) fails: Option<(Work, Trouble)>,
    pub(super) log: Vec<String>,
    /// Effects until the agent is killed; none if it is not.
    pub(super) fuse: Option<usize>,
    pub(super) forgotten: bool,
}

pub(super) struct Proc {
    pub(super) identity: ProcessIdentity,
    pub(super) alive: bool,
}

/// The agent was killed.
pub(super) struct Killed;

/// What an agent forgets when it is killed.
pub(super) struct Agent {
    pub(super) record: Record,
    pub(super) registered: Registered,
    pub(super) contact: Contact,
    pub(super) consul_after: Option<Timestamp>,
    pub(super) work: Working,
}

impl World {
    pub(super) fn new() -> Self {
        Self { consul_up: true, assigned: Some(assignment("hello-0")), ..Self::default() }
    }

    pub(super) fn now(&self) -> Timestamp {
        instant(self.clock)
    }

    /// One effect on what outlives the agent; the agent may be killed just before it.
    pub(super) fn effect(&mut self, words: &str) -> Result<(), Killed> {
        if let Some(left) = &mut self.fuse {
            if *left == 0 {
                self.log.push(format!("killed before: {words}"));
                return Err(Killed);
            }
            *left -= 1;
        }
        self.log.push(words.to_owned());
        Ok(())
    }

    pub(super) fn alive(&self) -> usize {
        self.processes.iter().filter(|process| process.alive).count()
    }

    pub(super) fn process_of(&self, record: &Record) -> Process {
        let alive = record
            .process
            .as_ref()
            .is_none_or(|ours| self.processes.iter().any(|process| process.alive && process.identity == *ours));
        if alive { Process::AliveIfAny } else { Process::Ended(Exit::Unseen) }
    }

    /// A start of the agent: from the disk, or by admitting the assignment.
    pub(super) fn boot(&mut self) -> Result<Option<Agent>, Killed> {
        let record = match (&self.disk, &self.assigned) {
            (Some(record), _) => after_restart(record.clone(), self.now()),
            (None, Some(wanted)) => Record::admit(wanted.clone(), self.now()),
            (None, None) => return Ok(None),
        };
        let mut registered = Registered::Unknown;
        if self.disk.is_none() {
            self.effect("save")?;
            self.disk = Some(record.clone());
            registered = Registered::Absent;
        }
        Ok(Some(Agent { record, registered, contact: Contact::Unknown, consul_after: None, work: Working::Nothing }))
    }

    pub(super) fn save(&mut self, agent: &mut Agent, event: Event) -> Result<(), Killed> {
        let next = apply(&agent.record, event, self.now(), 0);
        self.effect("save")?;
        self.disk = Some(next.clone());
        agent.record = next;
        Ok(())
    }

    /// A round of the observer: what Consul really has, if it answers.
    pub(super) fn poll(&self, agent: &mut Agent) {
        agent.contact = match agent.contact {
            _ if self.consul_up => Contact::Answers,
            Contact::AwaySince(since) => Contact::AwaySince(since),
            Contact::Unknown | Contact::Answers => Contact::AwaySince(self.now()),
        };
        if self.consul_up {
            agent.registered = match &self.consul {
                None => Registered::Absent,
                Some((_, false)) if agent.record.assignment.role.is_standby() => Registered::Serving,
                Some((tags, _)) if *tags != agent.record.assignment.service.tags => Registered::Retag,
                Some((_, true)) if !agent.record.assignment.role.is_standby() => Registered::OnStandby,
                Some(_) => Registered::Same,
            };
        }
    }

    /// Runs the agent until it rests with nothing to wait for, or is gone. Time passes when it waits.
    pub(super) fn run(&mut self, halt: bool) -> Result<(), Killed> {
        let Some(mut agent) = self.boot()? else { return Ok(()) };
        for round in 0..200 {
            if round % 4 == 3 {
                self.poll(&mut agent);
            }
            let assigned = self.assigned.clone();
            let facts = Facts {
                assigned: assigned.as_ref().map_or(Assigned::Missing, Assigned::Present),
                record: &agent.record,
                process: self.process_of(&agent.record),
                registered: agent.registered,
                work: &agent.work,
                stale: false,
                consul_after: agent.consul_after,
                contact: agent.contact,
                halt,
                now: self.now(),
            };
            let step = decide(&facts);
            let asked = agent.registered != Registered::Unknown || !self.consul_up;
            if matches!(step, Step::Rest(None)) && asked && agent.contact != Contact::Unknown {
                return Ok(());
            }
            if self.perform(&mut agent, step)? {
                return Ok(());
            }
            assert!(self.alive() <= 1, "two copies: {:#?}", self.log);
        }
        panic!("the machine does not come to rest: {:#?}", self.log);
    }

    /// Does one step; true if the agent is done with the instance.
    pub(super) fn perform(&mut self, agent: &mut Agent, step: Step) -> Result<bool, Killed> {
        match step {
            Step::Rest(None) => self.poll(agent),
            Step::Rest(Some(until)) => {
                let wait = until.duration_since(self.now()).as_millis();
                assert!(wait >= 0, "a rest until the past");
                self.clock += i64::try_from(wait).unwrap() / 1000 + 1;
            }
            Step::Accept => {
                let wanted = self.assigned.clone().unwrap();
                self.save(agent, Event::Accepted(Box::new(wanted)))?;
            }
            Step::Begin(work) => self.work(agent, work)?,
            Step::NoteProgress(phase) => self.save(agent, Event::Progress(phase))?,
            Step::NoteWork => {
                let Working::Done(work, outcome) = agent.work.clone() else { panic!("nothing has ended") };
                self.save(agent, Event::Worked(work, outcome))?;
                agent.work = Working::Nothing;
            }
            Step::CancelWork => agent.work = Working::Nothing,
            Step::NoteClosing => self.save(agent, Event::Closing)?,
            Step::NoteEnd(exit) => self.save(agent, Event::Ended(exit))?,
            Step::Launch => self.launch(agent)?,
            Step::NoteRunning => self.save(agent, Event::Running)?,
            Step::NoteStable => self.save(agent, Event::Stable)?,
            Step::Maintain(_) => panic!("nothing is in maintenance in this world"),
            Step::Register(_) | Step::StandBy(_) | Step::Deregister => self.call_consul(agent, step)?,
            Step::NoteCutOff => self.save(agent, Event::CutOff)?,
            Step::BeginStop => self.save(agent, Event::StopBegun)?,
            Step::NoteOut => self.save(agent, Event::Out)?,
            Step::CancelStop => self.save(agent, Event::StopCancelled)?,
            Step::Signal => {
                assert!(self.consul.is_none() || !self.consul_up, "signalled while registered: {:#?}", self.log);
                self.effect("signal")?;
                self.end_all(!self.stubborn);
                self.save(agent, Event::Signalled)?;
            }
            Step::Kill => {
                self.effect("kill")?;
                self.end_all(true);
            }
            Step::NoteStopped => self.save(agent, Event::Stopped)?,
            Step::Leave => {
                self.save(agent, Event::Left)?;
                return Ok(true);
            }
            Step::Forget => {
                self.effect("forget")?;
                self.disk = None;
                self.forgotten = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Work has ended by the time that anybody looks, unless it hangs.
    pub(super) fn work(&mut self, agent: &mut Agent, work: Work) -> Result<(), Killed> {
        self.effect(&work.hook().map_or_else(|| "prepare".to_owned(), |hook| hook.to_string()))?;
        let failed = self.fails.clone().filter(|(which, _)| *which == work).map(|(_, trouble)| trouble);
        agent.work = match failed {
            _ if self.hangs == Some(work) => Working::Busy(work, None),
            Some(trouble) => Working::Done(work, Err(trouble)),
            None => Working::Done(work, Ok(Prepared { hooks: self.hooks.clone(), ..Prepared::default() })),
        };
        Ok(())
    }

    /// The instance has a package with all these hooks.
    pub(super) fn with_package(mut self, hooks: &[Hook]) -> Self {
        self.hooks = hooks.iter().copied().collect();
        let package = Package { url: "file:///srv/hello".to_owned(), sha256: None, signature: None };
        self.edit(|wanted| wanted.template.package = Some(package));
        self
    }

    /// What has been done since, without the notes.
    pub(super) fn effects(&self) -> Vec<&str> {
        self.log.iter().map(String::as_str).filter(|effect| *effect != "save").collect()
    }

    /// A process at its gate dies with its agent, so it is in the table only once the gate is open.
    pub(super) fn launch(&mut self, agent: &mut Agent) -> Result<(), Killed> {
        assert!(self.consul.is_none() || !self.consul_up, "started under an old registration: {:#?}", self.log);
        let pid = u32::try_from(self.processes.len()).unwrap() + 100;
        let identity = ProcessIdentity { pid, start: format!("boot/{pid}") };
        self.save(agent, Event::Launched(identity.clone()))?;
        self.effect("open the gate")?;
        self.processes.push(Proc { identity, alive: true });
        Ok(())
    }

    /// Registering or deregistering; with Consul away it fails, and is tried again later.
    pub(super) fn call_consul(&mut self, agent: &mut Agent, step: Step) -> Result<(), Killed> {
        if !self.consul_up {
            agent.consul_after = Some(self.now() + SignedDuration::from_secs(2));
            return Ok(());
        }
        let tags = agent.record.assignment.service.tags.clone();
        let standby = agent.record.assignment.role.is_standby();
        match step {
            Step::Deregister => {
                self.effect("deregister")?;
                self.consul = None;
            }
            Step::StandBy(wanted) => {
                self.effect("stand by")?;
                self.consul = self.consul.take().map(|(tags, _)| (tags, wanted));
            }
            _ => {
                self.effect("register")?;
                let before = self.consul.take().map(|(_, standby)| standby);
                let kept = before.filter(|_| step == Step::Register(Checks::Kept));
                self.consul = Some((tags, kept.unwrap_or(standby)));
            }
        }
        self.poll(agent);
        Ok(())
    }

    pub(super) fn end_all(&mut self, really: bool) {
        self.processes.iter_mut().for_each(|process| process.alive &= !really);
    }

    pub(super) fn edit(&mut self, change: impl FnOnce(&mut Assignment)) {
        change(self.assigned.as_mut().unwrap());
    }

    pub(super) fn phase(&self) -> InstancePhase {
        self.disk.as_ref().unwrap().phase
    }
}

/// The life of an instance: it starts, ends by itself, gets another tag, goes on standby and serves again, is lost by Consul, is stopped, and is forgotten. Each scene changes the
/// world, and then the agent runs until it rests, started anew as often as it was killed.
pub(super) fn live(world: &mut World) -> usize {
    let scenes: [fn(&mut World); 8] = [
        |_| {},
        |world| world.end_all(true),
        |world| world.edit(|wanted| wanted.service.tags = vec!["canary".to_owned()]),
        |world| {
            world.edit(|wanted| (wanted.role, wanted.service.tags) = (Role::Preview, vec!["preview".to_owned()]));
        },
        |world| {
            assert_eq!(world.consul, Some((vec!["preview".to_owned()], true)));
            world.edit(|wanted| (wanted.role, wanted.service.tags) = (Role::Canary, vec!["canary".to_owned()]));
        },
        |world| {
            assert_eq!(world.consul, Some((vec!["canary".to_owned()], false)));
            world.consul = None;
        },
        |world| world.edit(|wanted| wanted.desired = Desired::Stop),
        |world| world.assigned = None,
    ];
    let mut kills = 0;
    for scene in scenes {
        scene(world);
        while world.run(false).is_err() {
            world.fuse = None;
            kills += 1;
        }
    }
    kills
}

pub(super) fn facts<'a>(agent: &'a Agent, assigned: Assigned<'a>, now: Timestamp) -> Facts<'a> {
    Facts {
        assigned,
        record: &agent.record,
        process: Process::AliveIfAny,
        registered: agent.registered,
        work: &agent.work,
        stale: false,
        consul_after: agent.consul_after,
        contact: agent.contact,
        halt: false,
        now,
    }
}
