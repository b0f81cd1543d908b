//! The machine in a small world: a disk, a process table and a Consul agent, and an agent that can be killed between any two
//! effects.

use std::{collections::BTreeSet, time::Duration};

use helium_crds::{Period, instance::Role, package::Package};

use super::*;
use crate::{
    hooks::Hook,
    instance::{
        apply::{after_restart, apply, wait_after},
        record::Stopping,
        stopping::DRAIN_LIMIT,
        work::{Prepared, Trouble},
    },
    testing::{assignment, instant},
};

/// What of a world outlives an agent.
#[derive(Default)]
struct World {
    clock: i64,
    disk: Option<Record>,
    assigned: Option<Assignment>,
    /// All processes that ever executed something, by id: alive or not.
    processes: Vec<Proc>,
    /// The tags it is registered with, if it is, and whether it is on standby.
    consul: Option<(Vec<String>, bool)>,
    consul_up: bool,
    stubborn: bool,
    /// The hooks of its package, if it has one.
    hooks: BTreeSet<Hook>,
    /// Work that never ends.
    hangs: Option<Work>,
    /// Work that is in vain.
    fails: Option<(Work, Trouble)>,
    log: Vec<String>,
    /// Effects until the agent is killed; none if it is not.
    fuse: Option<usize>,
    forgotten: bool,
}

struct Proc {
    identity: ProcessIdentity,
    alive: bool,
}

/// The agent was killed.
struct Killed;

/// What an agent forgets when it is killed.
struct Agent {
    record: Record,
    registered: Registered,
    consul_after: Option<Timestamp>,
    work: Working,
}

impl World {
    fn new() -> Self {
        Self { consul_up: true, assigned: Some(assignment("hello-0")), ..Self::default() }
    }

    fn now(&self) -> Timestamp {
        instant(self.clock)
    }

    /// One effect on what outlives the agent; the agent may be killed just before it.
    fn effect(&mut self, words: &str) -> Result<(), Killed> {
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

    fn alive(&self) -> usize {
        self.processes.iter().filter(|process| process.alive).count()
    }

    fn process_of(&self, record: &Record) -> Process {
        let alive = record
            .process
            .as_ref()
            .is_none_or(|ours| self.processes.iter().any(|process| process.alive && process.identity == *ours));
        if alive { Process::AliveIfAny } else { Process::Ended(Exit::Unseen) }
    }

    /// A start of the agent: from the disk, or by admitting the assignment.
    fn boot(&mut self) -> Result<Option<Agent>, Killed> {
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
        Ok(Some(Agent { record, registered, consul_after: None, work: Working::Nothing }))
    }

    fn save(&mut self, agent: &mut Agent, event: Event) -> Result<(), Killed> {
        let next = apply(&agent.record, event, self.now(), 0);
        self.effect("save")?;
        self.disk = Some(next.clone());
        agent.record = next;
        Ok(())
    }

    /// A round of the observer: what Consul really has.
    fn poll(&self, agent: &mut Agent) {
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
    fn run(&mut self, halt: bool) -> Result<(), Killed> {
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
                halt,
                now: self.now(),
            };
            let step = decide(&facts);
            if matches!(step, Step::Rest(None)) && agent.registered != Registered::Unknown {
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
    fn perform(&mut self, agent: &mut Agent, step: Step) -> Result<bool, Killed> {
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
            Step::Register(_) | Step::StandBy(_) | Step::Deregister => self.call_consul(agent, step)?,
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
    fn work(&mut self, agent: &mut Agent, work: Work) -> Result<(), Killed> {
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
    fn with_package(mut self, hooks: &[Hook]) -> Self {
        self.hooks = hooks.iter().copied().collect();
        let package = Package { url: "file:///srv/hello".to_owned(), sha256: None, signature: None };
        self.edit(|wanted| wanted.template.package = Some(package));
        self
    }

    /// What has been done since, without the notes.
    fn effects(&self) -> Vec<&str> {
        self.log.iter().map(String::as_str).filter(|effect| *effect != "save").collect()
    }

    /// A process at its gate dies with its agent, so it is in the table only once the gate is open.
    fn launch(&mut self, agent: &mut Agent) -> Result<(), Killed> {
        assert!(self.consul.is_none() || !self.consul_up, "started under an old registration: {:#?}", self.log);
        let pid = u32::try_from(self.processes.len()).unwrap() + 100;
        let identity = ProcessIdentity { pid, start: format!("boot/{pid}") };
        self.save(agent, Event::Launched(identity.clone()))?;
        self.effect("open the gate")?;
        self.processes.push(Proc { identity, alive: true });
        Ok(())
    }

    /// Registering or deregistering; with Consul away it fails, and is tried again later.
    fn call_consul(&mut self, agent: &mut Agent, step: Step) -> Result<(), Killed> {
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

    fn end_all(&mut self, really: bool) {
        self.processes.iter_mut().for_each(|process| process.alive &= !really);
    }

    fn edit(&mut self, change: impl FnOnce(&mut Assignment)) {
        change(self.assigned.as_mut().unwrap());
    }

    fn phase(&self) -> InstancePhase {
        self.disk.as_ref().unwrap().phase
    }
}

/// The life of an instance: it starts, ends by itself, gets another tag, goes on standby and serves again, is lost by Consul, is stopped, and is forgotten. Each scene changes the
/// world, and then the agent runs until it rests, started anew as often as it was killed.
fn live(world: &mut World) -> usize {
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

#[test]
fn an_instance_lives_and_is_forgotten() {
    let mut world = World::new();
    assert_eq!(live(&mut world), 0);
    assert_eq!((world.alive(), world.forgotten, world.disk.is_some(), &world.consul), (0, true, false, &None));
    assert_eq!(world.processes.len(), 2);
}

#[test]
fn killed_before_any_effect_the_agent_goes_on_and_there_is_never_a_second_copy() {
    let mut effects = BTreeSet::new();
    for (stubborn, drain) in [(false, 0), (true, 0), (false, 7)] {
        for fuse in 0.. {
            let mut world = World { fuse: Some(fuse), stubborn, ..World::new() };
            world.edit(|wanted| wanted.drain = Period::from_secs(drain));
            if live(&mut world) == 0 {
                assert!(fuse > 15, "the story has more effects than that");
                break;
            }
            effects.extend(world.log.iter().filter_map(|line| line.strip_prefix("killed before: ").map(str::to_owned)));
            assert!(world.forgotten && world.consul.is_none() && world.alive() == 0, "{fuse}: {:#?}", world.log);
            assert!(world.processes.len() <= 3, "{fuse}: started more often than needed: {:#?}", world.log);
        }
    }
    let all = ["deregister", "forget", "kill", "open the gate", "register", "save", "signal", "stand by"];
    assert_eq!(effects.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn an_adopted_instance_is_not_registered_again_before_consul_was_asked() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    world.log.clear();
    assert!(world.run(false).is_ok());
    assert_eq!(world.log, Vec::<String>::new());
}

#[test]
fn a_missing_assignment_stops_nothing() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    world.assigned = None;
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.phase()), (1, InstancePhase::Running));
}

#[test]
fn with_consul_away_an_instance_starts_and_stops_all_the_same() {
    let mut world = World { consul_up: false, ..World::new() };
    let mut agent = world.boot().ok().flatten().unwrap();
    for _ in 0..5 {
        let assigned = world.assigned.clone().unwrap();
        let facts = facts(&agent, Assigned::Present(&assigned), world.now());
        let step = decide(&Facts { process: world.process_of(&agent.record), ..facts });
        assert!(world.perform(&mut agent, step).is_ok());
    }
    assert_eq!(world.alive(), 1);
    world.edit(|wanted| wanted.desired = Desired::Stop);
    agent.registered = Registered::Same;
    let began = world.now();
    while world.alive() == 1 {
        let assigned = world.assigned.clone().unwrap();
        let step = decide(&facts(&agent, Assigned::Present(&assigned), world.now()));
        assert!(world.perform(&mut agent, step).is_ok());
    }
    assert!(world.now().duration_since(began) >= DRAIN_LIMIT, "it was not given the time to be taken out of Consul");
}

fn facts<'a>(agent: &'a Agent, assigned: Assigned<'a>, now: Timestamp) -> Facts<'a> {
    Facts {
        assigned,
        record: &agent.record,
        process: Process::AliveIfAny,
        registered: agent.registered,
        work: &agent.work,
        stale: false,
        consul_after: agent.consul_after,
        halt: false,
        now,
    }
}

#[test]
fn a_stubborn_process_is_killed_after_its_grace_period_and_not_before() {
    let mut world = World { stubborn: true, ..World::new() };
    assert!(world.run(false).is_ok());
    world.edit(|wanted| wanted.desired = Desired::Stop);
    let began = world.clock;
    assert!(world.run(false).is_ok());
    assert!((10..=12).contains(&(world.clock - began)), "{}", world.clock - began);
    assert_eq!((world.alive(), world.phase()), (0, InstancePhase::Stopped));
}

#[test]
fn an_instance_goes_on_for_its_drain_once_it_is_out_of_consul_and_then_stops() {
    let mut world = World::new();
    world.edit(|wanted| wanted.drain = Period::from_secs(7));
    assert!(world.run(false).is_ok());
    world.log.clear();
    world.edit(|wanted| wanted.desired = Desired::Stop);
    let began = world.clock;
    assert!(world.run(false).is_ok());
    assert!((7..=8).contains(&(world.clock - began)), "{}", world.clock - began);
    assert_eq!(world.effects(), ["deregister", "signal"]);
}

#[test]
fn an_instance_that_is_wanted_again_while_it_drains_is_registered_again_and_never_stopped() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    let begun = apply(world.disk.as_ref().unwrap(), Event::StopBegun, world.now(), 0);
    world.disk = Some(apply(&begun, Event::Out, world.now(), 0));
    world.consul = None;
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.processes.len(), world.consul.is_some()), (1, 1, true));
}

#[test]
fn with_consul_away_nobody_can_notice_and_no_drain_is_waited_for() {
    let mut world = World::new();
    world.edit(|wanted| (wanted.drain, wanted.desired) = (Period::from_secs(600), Desired::Stop));
    let mut record = Record::admit(world.assigned.clone().unwrap(), world.now());
    record.process = Some(ProcessIdentity { pid: 100, start: "boot/100".to_owned() });
    let since = world.now();
    record.stopping = Some(Stopping::begun(since));
    let agent =
        Agent { record, registered: Registered::Same, consul_after: Some(instant(100)), work: Working::Nothing };
    let assigned = world.assigned.clone().unwrap();
    let at = |now| decide(&facts(&agent, Assigned::Present(&assigned), now));
    assert_eq!(at(since), Step::Rest(Some(since + DRAIN_LIMIT)));
    assert_eq!(at(since + DRAIN_LIMIT), Step::Signal);
}

#[test]
fn a_stop_that_is_taken_back_before_the_signal_changes_nothing() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    let record = world.disk.clone().unwrap();
    let begun = apply(&record, Event::StopBegun, world.now(), 0);
    world.disk = Some(begun);
    assert!(world.run(false).is_ok());
    assert_eq!(world.disk, Some(record));
    assert_eq!(world.processes.len(), 1);
}

#[test]
fn an_instance_that_stops_with_its_agent_is_started_again_by_the_next() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    assert!(world.run(true).is_ok());
    assert_eq!((world.alive(), world.consul.is_some(), world.phase()), (0, false, InstancePhase::Starting));
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.consul.is_some(), world.phase()), (1, true, InstancePhase::Running));
    assert_eq!(world.disk.as_ref().unwrap().restarts, 0);
}

#[test]
fn a_stopped_instance_that_is_wanted_again_runs_again() {
    let mut world = World::new();
    assert!(world.run(false).is_ok());
    world.edit(|wanted| wanted.desired = Desired::Stop);
    assert!(world.run(false).is_ok());
    assert_eq!(world.phase(), InstancePhase::Stopped);
    world.edit(|wanted| wanted.desired = Desired::Run);
    assert!(world.run(false).is_ok());
    assert_eq!((world.alive(), world.phase()), (1, InstancePhase::Running));
}

#[test]
fn an_assignment_to_stop_what_never_ran_is_answered_without_running_it() {
    let mut world = World::new();
    world.edit(|wanted| wanted.desired = Desired::Stop);
    assert!(world.run(false).is_ok());
    assert_eq!((world.processes.len(), world.phase()), (0, InstancePhase::Stopped));
}

#[test]
fn waits_between_starts_double_up_to_a_minute_and_the_third_end_is_a_failure() {
    let mut record = Record::admit(assignment("hello-0"), instant(0));
    let mut waits = Vec::new();
    let mut phases = Vec::new();
    for _ in 0..10 {
        let process = ProcessIdentity { pid: 1, start: "b/1".to_owned() };
        record = apply(&record, Event::Launched(process), instant(0), 0);
        record = apply(&record, Event::Ended(Exit::Status(1)), instant(0), u64::MAX);
        waits.push(record.next_start.unwrap().duration_since(instant(0)).as_millis());
        phases.push(record.phase);
    }
    assert!(waits.iter().all(|wait| (250..=60_000).contains(wait)), "{waits:?}");
    for (failures, ceiling) in [(1, 500), (2, 1000), (3, 2000), (7, 32_000), (8, 60_000), (40, 60_000)] {
        assert_eq!(wait_after(failures, ceiling / 2), Duration::from_millis(ceiling));
        assert_eq!(wait_after(failures, 0), Duration::from_millis(ceiling / 2));
    }
    assert_eq!(phases.iter().position(|phase| *phase == InstancePhase::Failed), Some(2));
    assert_eq!(record.message.as_deref(), Some("ended 10 times in a row, last: exit status 1"));
    assert_eq!(record.restarts, 10);
}

#[test]
fn what_cannot_be_started_three_times_in_a_row_has_failed() {
    let mut record = Record::admit(assignment("hello-0"), instant(0));
    let mut phases = Vec::new();
    for _ in 0..3 {
        record = apply(&record, Event::LaunchFailed("no program `x`".to_owned()), instant(0), 0);
        phases.push(record.phase);
    }
    assert_eq!(phases, [InstancePhase::Starting, InstancePhase::Starting, InstancePhase::Failed]);
    assert_eq!((record.message.as_deref(), record.restarts), (Some("no program `x`"), 0));
}

#[test]
fn an_end_after_a_stable_run_is_the_first_of_its_row() {
    let process = ProcessIdentity { pid: 1, start: "b/1".to_owned() };
    let mut record = Record::admit(assignment("hello-0"), instant(0));
    record.failures = 7;
    record = apply(&record, Event::Launched(process), instant(0), 0);
    record = apply(&record, Event::Ended(Exit::Signal(9)), instant(31), 0);
    assert_eq!((record.failures, record.phase), (1, InstancePhase::Starting));
    assert_eq!(record.message.as_deref(), Some("ended by itself: killed by signal 9"));
}

#[test]
fn instants_from_a_clock_that_went_back_count_as_now() {
    let mut record = Record::admit(assignment("hello-0"), instant(9_000));
    record.next_start = Some(instant(9_000));
    record.stopping = Some(Stopping {
        out: Some(instant(9_000)),
        signalled: Some(instant(9_001)),
        ..Stopping::begun(instant(9_000))
    });
    let record = after_restart(record, instant(0));
    assert_eq!((record.since, record.next_start), (instant(0), Some(instant(60))));
    assert_eq!(
        record.stopping,
        Some(Stopping { out: Some(instant(0)), signalled: Some(instant(0)), ..Stopping::begun(instant(0)) })
    );
}

const STOP_HOOKS: [Hook; 4] = [Hook::PostStart, Hook::Drain, Hook::PreStop, Hook::PostStop];

#[test]
fn a_package_is_prepared_before_every_start_and_its_hooks_run_in_their_places() {
    let mut world = World::new().with_package(&STOP_HOOKS);
    assert!(world.run(false).is_ok());
    assert_eq!(world.effects(), ["prepare", "open the gate", "post-start", "register"]);
    world.log.clear();
    world.end_all(true);
    assert!(world.run(false).is_ok());
    assert_eq!(world.effects(), ["deregister", "post-stop", "prepare", "open the gate", "post-start", "register"]);
    world.log.clear();
    world.edit(|wanted| wanted.desired = Desired::Stop);
    assert!(world.run(false).is_ok());
    assert_eq!(world.effects(), ["deregister", "drain", "pre-stop", "signal", "post-stop"]);
}

#[test]
fn killed_before_any_effect_a_package_with_hooks_goes_on_too() {
    for fuse in 0.. {
        let mut world = World { fuse: Some(fuse), ..World::new() }.with_package(&STOP_HOOKS);
        if live(&mut world) == 0 {
            assert!(fuse > 30, "the story has more effects than that");
            break;
        }
        assert!(world.forgotten && world.consul.is_none() && world.alive() == 0, "{fuse}: {:#?}", world.log);
        let ran = |effect: &str| world.log.iter().filter(|line| *line == effect).count();
        for hook in ["prepare", "post-stop", "drain", "pre-stop"] {
            assert!(ran(hook) >= 1, "{fuse}: {hook} never ran: {:#?}", world.log);
        }
    }
}

#[test]
fn a_preparation_that_hangs_keeps_nobody_from_stopping_the_instance() {
    let mut world = World { hangs: Some(Work::Prepare), ..World::new() }.with_package(&[]);
    assert!(world.run(false).is_ok());
    world.edit(|wanted| wanted.desired = Desired::Stop);
    assert!(world.run(false).is_ok());
    assert_eq!((world.processes.len(), world.phase()), (0, InstancePhase::Stopped));
}

#[test]
fn the_grace_period_bounds_a_pre_stop_that_hangs_and_the_signal_after_it() {
    let mut world = World { hangs: Some(Work::PreStop), ..World::new() }.with_package(&STOP_HOOKS);
    assert!(world.run(false).is_ok());
    world.edit(|wanted| wanted.desired = Desired::Stop);
    let began = world.clock;
    assert!(world.run(false).is_ok());
    assert!((10..=12).contains(&(world.clock - began)), "{}", world.clock - began);
    assert_eq!((world.alive(), world.phase()), (0, InstancePhase::Stopped));
}

#[test]
fn a_package_that_cannot_be_installed_is_failed_at_once_if_only_a_person_can_mend_it() {
    for (trouble, phase) in [
        (Trouble::lasting("another sha256"), InstancePhase::Failed),
        (Trouble::may_heal("connection refused"), InstancePhase::Starting),
    ] {
        let words = trouble.words.clone();
        let record = Record::admit(assignment("hello-0"), instant(0));
        let record = apply(&record, Event::Worked(Work::Prepare, Err(trouble)), instant(1), 0);
        assert_eq!((record.phase, record.message), (phase, Some(words)));
        assert!(record.next_start > Some(instant(1)), "it is tried again");
    }
}

#[test]
fn a_post_start_that_fails_is_told_and_tried_again_until_it_succeeds() {
    let mut world = World { fails: Some((Work::PostStart, Trouble::may_heal("no answer"))), ..World::new() };
    world = world.with_package(&[Hook::PostStart]);
    let mut agent = world.boot().ok().flatten().unwrap();
    for _ in 0..12 {
        let assigned = world.assigned.clone().unwrap();
        let step = decide(&facts(&agent, Assigned::Present(&assigned), world.now()));
        assert!(world.perform(&mut agent, step).is_ok());
    }
    assert_eq!(agent.record.message.as_deref(), Some("no answer"));
    assert!(world.effects().iter().filter(|effect| **effect == "post-start").count() >= 2);
    world.fails = None;
    assert!(world.run(false).is_ok());
    assert_eq!((world.disk.as_ref().unwrap().post_start_at, world.phase()), (None, InstancePhase::Running));
    assert_eq!(world.disk.as_ref().unwrap().message, None);
}

#[test]
fn files_that_may_be_old_are_made_again_beside_the_process_and_trouble_with_them_is_told() {
    let mut world = World::new().with_package(&[]);
    assert!(world.run(false).is_ok());
    let mut agent = world.boot().ok().flatten().unwrap();
    agent.registered = Registered::Same;
    let assigned = world.assigned.clone().unwrap();
    let step = decide(&Facts { stale: true, ..facts(&agent, Assigned::Present(&assigned), world.now()) });
    assert_eq!(step, Step::Begin(Work::Refresh));
    let vain = Event::Worked(Work::Refresh, Err(Trouble::lasting("nginx: unknown directive")));
    let troubled = apply(&agent.record, vain, world.now(), 0);
    assert_eq!(troubled.message.as_deref(), Some("nginx: unknown directive"));
    assert_eq!((troubled.phase, &troubled.process), (InstancePhase::Running, &agent.record.process));
    let mended = apply(&troubled, Event::Worked(Work::Refresh, Ok(Prepared::default())), world.now(), 0);
    assert_eq!(mended.message, None);
}
