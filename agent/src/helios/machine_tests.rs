//! The machine on a world in memory: what it comes to, whenever the agent is killed.

use std::collections::BTreeSet;

use helium_processes::{Exit, ProcessIdentity};
use jiff::{SignedDuration, Timestamp};

use super::{
    machine::{Assigned, Checks, Facts, Green, Lock, Maintenance, Process, Registered, Step, decide},
    record::{Event, Found, Record, Target, after_restart, apply},
};
use crate::hooks::Hook;

/// So many steps are enough for everything here.
const ENOUGH: usize = 200;
const PROVE_WITHIN: SignedDuration = SignedDuration::from_secs(60);

fn target(version: &str, config: &str) -> Target {
    Target { version: version.to_owned(), config: config.to_owned() }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What is broken of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Install,
    Render,
    Red,
    Dies,
}

/// A story: how it begins, and what is to serve in the end.
type Story = (&'static str, fn(&mut World), Target);

/// A machine, its Consul, and what the agent has written down.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct World {
    record: Record,
    now: Timestamp,
    assigned: Assigned,
    wish: Option<Target>,
    halt: bool,
    bad: BTreeSet<String>,
    here: BTreeSet<String>,
    installed: BTreeSet<String>,
    current: Option<String>,
    rendered: Option<Target>,
    /// Processes that run, by pid, with what they run.
    running: Vec<(u32, Target)>,
    pids: u32,
    /// What is registered.
    registered: Option<Target>,
    maintenance: Maintenance,
    lock: Lock,
    asked_for: Option<String>,
    /// Nobody else gives the lock up.
    lock_taken: bool,
    consul: bool,
    /// Which versions are broken, and how.
    broken: Vec<(&'static str, Broken)>,
    /// Values that are broken.
    red_config: Option<&'static str>,
    hooks: BTreeSet<Hook>,
    no_process: bool,
    /// All that was done, in short.
    done: Vec<String>,
    forgotten: bool,
    /// The most processes that ran at once.
    most: usize,
}

impl World {
    fn new() -> Self {
        Self {
            record: Record::default(),
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1),
            assigned: Assigned::Yes,
            wish: Some(target("1", "a")),
            halt: false,
            bad: BTreeSet::new(),
            here: BTreeSet::new(),
            installed: BTreeSet::new(),
            current: None,
            rendered: None,
            running: Vec::new(),
            pids: 0,
            registered: None,
            maintenance: Maintenance::No,
            lock: Lock::Free,
            asked_for: None,
            lock_taken: false,
            consul: true,
            broken: Vec::new(),
            red_config: None,
            hooks: BTreeSet::new(),
            no_process: false,
            done: Vec::new(),
            forgotten: false,
            most: 0,
        }
    }

    /// One that serves the first version.
    fn serving() -> Self {
        let mut world = Self::new();
        world.run(None);
        world.done.clear();
        world
    }

    fn is_broken(&self, version: &str, how: Broken) -> bool {
        self.broken.iter().any(|(broken, by)| *broken == version && *by == how)
    }

    fn process(&self) -> Process {
        match &self.record.process {
            None => Process::None,
            Some(identity) if self.running.iter().any(|(pid, _)| *pid == identity.pid) => Process::Running,
            Some(_) => Process::Ended(Exit::Status(1)),
        }
    }

    fn shown(&self) -> (Registered, Green) {
        if !self.consul {
            return (Registered::Unknown, Green::Unknown);
        }
        let registered = match (&self.registered, &self.record.current) {
            (None, _) => Registered::Absent,
            (Some(one), Some(other)) if one == other => Registered::Same,
            _ => Registered::Retag,
        };
        let serves = self.no_process || !self.running.is_empty();
        let red = self.rendered.as_ref().is_none_or(|target| {
            self.is_broken(&target.version, Broken::Red) || self.red_config == Some(target.config.as_str())
        });
        (registered, if registered == Registered::Same && serves && !red { Green::Yes } else { Green::No })
    }

    fn decide(&self) -> Step {
        let (registered, green) = self.shown();
        decide(&Facts {
            record: &self.record,
            now: self.now,
            assigned: self.assigned,
            wish: self.wish.as_ref(),
            bad: &self.bad,
            here: &self.here,
            fetch_after: None,
            process: self.process(),
            registered,
            maintenance: if self.consul { self.maintenance } else { Maintenance::No },
            green,
            lock: self.lock,
            asked_for: self.asked_for.as_deref(),
            consul_after: (!self.consul).then(|| self.now + SignedDuration::from_secs(1)),
            prove_within: PROVE_WITHIN,
            seen_since: self.consul.then_some(Timestamp::UNIX_EPOCH),
            halt: self.halt,
        })
    }

    /// Does a step in the world; the event is what would be written down.
    fn perform(&mut self, step: &Step) -> Option<Event> {
        self.done.push(short(step));
        match step.clone() {
            Step::Rest(_) | Step::Leave => None,
            Step::Fetch(target) => {
                self.here.insert(target.version);
                None
            }
            Step::AskLock(what) => {
                self.asked_for = Some(what);
                self.lock = if self.lock_taken { Lock::Asked } else { Lock::Held };
                None
            }
            Step::ReleaseLock => {
                self.lock = Lock::Free;
                None
            }
            Step::Begin { target, live } => Some(Event::Begun { target, live }),
            Step::Drain => {
                assert!(self.registered.is_some());
                self.maintenance = Maintenance::Ours;
                None
            }
            Step::Undrain => {
                self.maintenance = Maintenance::No;
                None
            }
            Step::Stop => {
                self.running.clear();
                Some(Event::Stopped)
            }
            Step::Install(target) if self.is_broken(&target.version, Broken::Install) => {
                Some(Event::Failed("the hook install failed".to_owned()))
            }
            Step::Install(target) => {
                assert!(self.here.contains(&target.version), "{:?}", self.done);
                self.installed.insert(target.version);
                Some(Event::Installed)
            }
            Step::Switch(target) => {
                assert!(self.installed.contains(&target.version));
                self.current = Some(target.version);
                Some(Event::Switched)
            }
            Step::Render(target) if self.is_broken(&target.version, Broken::Render) => {
                Some(Event::Failed("a template is wrong".to_owned()))
            }
            Step::Render(target) => {
                if self.hooks.contains(&Hook::Config) {
                    self.running.iter_mut().for_each(|(_, runs)| *runs = target.clone());
                }
                self.rendered = Some(target);
                let run = if self.no_process { Vec::new() } else { vec!["web".to_owned()] };
                Some(Event::Rendered(Box::new(Found { run, hooks: self.hooks.clone(), ..Found::default() })))
            }
            Step::Start => {
                let rendered = self.rendered.clone().unwrap();
                assert_eq!(self.record.current.as_ref(), Some(&rendered));
                if self.no_process {
                    return Some(Event::Started(None));
                }
                self.pids += 1;
                Some(Event::Started(Some(ProcessIdentity { pid: self.pids, start: "then".to_owned() })))
            }
            Step::NoteEnd(exit) => Some(Event::Ended(exit)),
            Step::Register(checks) => {
                let live = self.record.attempt.as_ref().is_none_or(|attempt| attempt.live);
                assert_eq!(checks == Checks::Kept, live && self.registered.is_some());
                self.registered = self.record.current.clone();
                None
            }
            Step::NoteProven => Some(Event::Proven),
            Step::Fail(reason) => Some(Event::Failed(reason)),
            Step::MarkBad => {
                let failed = self.record.failed.clone().unwrap();
                self.bad.insert(failed.mark());
                Some(Event::Marked)
            }
            Step::Deregister => {
                (self.registered, self.maintenance) = (None, Maintenance::No);
                None
            }
            Step::Forget => {
                self.forgotten = true;
                None
            }
        }
    }

    /// The event is on the disk; only now a process passes its gate.
    fn note(&mut self, event: Event) {
        let started = matches!(&event, Event::Started(Some(_)));
        self.record = apply(&self.record, event, self.now);
        if started {
            let identity = self.record.process.clone().unwrap();
            let rendered = self.rendered.clone().unwrap();
            if !self.is_broken(&rendered.version, Broken::Dies) {
                self.running.push((identity.pid, rendered));
            }
            self.most = self.most.max(self.running.len());
        }
    }

    /// Runs until nothing is to be done; killed behind the effect of the `kill`-th step, before its event is written.
    fn run(&mut self, kill: Option<usize>) {
        let mut idle = 0;
        for number in 0..ENOUGH {
            let step = self.decide();
            if let Step::Rest(_) = step {
                // Consul may have to be waited for, a proof or a wait run its course.
                self.now += SignedDuration::from_secs(1);
                idle += 1;
                if idle > 130 {
                    return;
                }
                continue;
            }
            let event = self.perform(&step);
            if kill == Some(number) {
                self.record = after_restart(self.record.clone(), self.now);
                // The place is that of the next agent only once it has lined up for it again.
                (self.lock, self.asked_for) = (Lock::Free, None);
                continue;
            }
            if let Some(event) = event {
                self.note(event);
            }
            if self.forgotten {
                return;
            }
        }
    }

    /// The steps that were done, without the rests.
    fn steps(&self) -> Vec<&str> {
        self.done.iter().map(String::as_str).filter(|step| *step != "rest").collect()
    }

    #[track_caller]
    fn serves(&self, wanted: &Target) {
        assert_eq!(self.running.iter().map(|(_, target)| target).collect::<Vec<_>>(), [wanted], "{:?}", self.done);
        assert_eq!((self.record.good.as_ref(), self.registered.as_ref()), (Some(wanted), Some(wanted)));
        assert_eq!((self.lock, self.maintenance, self.record.attempt.as_ref()), (Lock::Free, Maintenance::No, None));
        assert_eq!(self.current.as_ref(), Some(&wanted.version));
        assert!(self.most <= 1, "never two copies");
    }
}

fn short(step: &Step) -> String {
    let text = format!("{step:?}");
    let name: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    name.to_lowercase()
}

#[test]
fn the_first_version_is_installed_and_served_without_the_lock() {
    let mut world = World::new();
    world.run(None);
    world.serves(&target("1", "a"));
    let steps = ["fetch", "begin", "install", "switch", "render", "start", "register", "noteproven"];
    assert_eq!(world.steps(), steps);
}

#[test]
fn a_new_version_takes_its_steps_in_order() {
    let mut world = World::serving();
    world.wish = Some(target("2", "a"));
    world.run(None);
    world.serves(&target("2", "a"));
    let steps = [
        "fetch",
        "asklock",
        "begin",
        "drain",
        "stop",
        "install",
        "switch",
        "render",
        "start",
        "register",
        "undrain",
        "noteproven",
        "releaselock",
    ];
    assert_eq!(world.steps(), steps);
}

#[test]
fn while_the_lock_is_with_another_node_what_runs_is_looked_after() {
    let mut world = World::serving();
    (world.wish, world.lock_taken) = (Some(target("2", "a")), true);
    world.run(None);
    assert_eq!(world.running[0].1, target("1", "a"));
    world.running.clear();
    world.registered = None;
    world.run(None);
    assert_eq!((world.running[0].1.clone(), world.registered.clone()), (target("1", "a"), Some(target("1", "a"))));
}

#[test]
fn who_has_lost_its_place_stops_nothing_until_it_has_one_again() {
    let mut whole = World::serving();
    whole.wish = Some(target("2", "a"));
    whole.run(None);
    let stops = whole.steps().iter().position(|step| *step == "stop").unwrap();
    for kill in 0..stops {
        let mut world = World::serving();
        world.wish = Some(target("2", "a"));
        while world.done.len() < kill {
            let step = world.decide();
            if let Some(event) = world.perform(&step) {
                world.note(event);
            }
        }
        // The agent was away for long, and another node has the place.
        (world.lock, world.asked_for, world.lock_taken) = (Lock::Free, None, true);
        world.run(None);
        assert_eq!(world.running[0].1, target("1", "a"), "killed at {kill}: {:?}", world.done);
        assert_eq!((world.lock, world.maintenance), (Lock::Asked, Maintenance::No));
        world.lock = Lock::Held;
        world.run(None);
        world.serves(&target("2", "a"));
    }
}

#[test]
fn who_waits_for_the_lock_waits_for_what_is_wanted_now() {
    let mut world = World::serving();
    (world.wish, world.lock_taken) = (Some(target("2", "a")), true);
    world.run(None);
    assert_eq!(world.asked_for.as_deref(), Some("2"));
    world.wish = Some(target("1", "b"));
    world.run(None);
    assert_eq!(world.asked_for.as_deref(), Some("config-b"));
    world.wish = Some(target("1", "a"));
    world.run(None);
    assert_eq!(world.lock, Lock::Free, "nothing is wanted any more");
}

#[test]
fn whatever_is_broken_of_a_version_it_is_marked_and_taken_back() {
    for how in [Broken::Install, Broken::Render, Broken::Red, Broken::Dies] {
        let mut world = World::serving();
        world.wish = Some(target("2", "a"));
        world.broken = vec![("2", how)];
        world.run(None);
        world.run(None);
        world.serves(&target("1", "a"));
        assert_eq!(world.bad, set(&["2"]), "{how:?}");
        assert_eq!(world.steps().iter().filter(|step| **step == "markbad").count(), 1, "{how:?}");
        // The next one is taken.
        world.wish = Some(target("3", "a"));
        world.run(None);
        world.serves(&target("3", "a"));
    }
}

#[test]
fn killed_at_every_effect_it_comes_to_the_same_end() {
    let stories: [Story; 6] = [
        ("first", |world| *world = World::new(), target("1", "a")),
        ("upgrade", |world| world.wish = Some(target("2", "a")), target("2", "a")),
        ("values", |world| world.wish = Some(target("1", "b")), target("1", "b")),
        (
            "values with a hook",
            |world| {
                world.record.found.hooks.insert(Hook::Config);
                world.hooks.insert(Hook::Config);
                world.wish = Some(target("1", "b"));
            },
            target("1", "b"),
        ),
        (
            "red",
            |world| (world.wish, world.broken) = (Some(target("2", "a")), vec![("2", Broken::Red)]),
            target("1", "a"),
        ),
        (
            "install",
            |world| (world.wish, world.broken) = (Some(target("2", "a")), vec![("2", Broken::Install)]),
            target("1", "a"),
        ),
    ];
    for (story, begin, end) in stories {
        let mut whole = World::serving();
        begin(&mut whole);
        whole.run(None);
        let length = whole.done.len() + 2;
        assert!(length > 7, "{story}");
        for kill in 0..length {
            let mut world = World::serving();
            begin(&mut world);
            world.run(Some(kill));
            world.run(None);
            assert_eq!(world.bad, whole.bad, "{story}, killed at {kill}");
            world.serves(&end);
        }
    }
}

#[test]
fn values_reach_a_service_with_the_hook_without_a_stop_and_bad_ones_are_taken_back() {
    let mut world = World::new();
    world.hooks.insert(Hook::Config);
    world.run(None);
    world.done.clear();
    (world.wish, world.red_config) = (Some(target("1", "b")), Some("b"));
    let pid = world.running[0].0;
    world.run(None);
    world.run(None);
    assert_eq!(world.bad, set(&["config-b"]));
    assert_eq!((world.running[0].0, world.rendered.clone()), (pid, Some(target("1", "a"))), "{:?}", world.done);
    assert!(!world.steps().contains(&"stop"), "{:?}", world.done);
    assert_eq!((world.record.good.clone(), world.lock), (Some(target("1", "a")), Lock::Free));
}

#[test]
fn what_is_not_assigned_any_more_goes_whenever_it_is_killed() {
    for kill in 0..6 {
        let mut world = World::serving();
        world.assigned = Assigned::No;
        world.run(Some(kill));
        world.run(None);
        assert!(world.forgotten && world.running.is_empty() && world.registered.is_none(), "{:?}", world.done);
    }
}

#[test]
fn a_registration_that_is_lost_is_made_again_and_nothing_else_is_done() {
    let mut world = World::serving();
    world.registered = None;
    world.run(None);
    world.serves(&target("1", "a"));
    assert_eq!(world.steps(), ["register"]);
}

#[test]
fn with_the_agent_it_leaves_consul_and_stops_whether_consul_answers_or_not() {
    for consul in [true, false] {
        let mut world = World::serving();
        (world.halt, world.consul) = (true, consul);
        while world.decide() != Step::Leave {
            let step = world.decide();
            if let Some(event) = world.perform(&step) {
                world.note(event);
            }
        }
        assert!(world.running.is_empty() && world.registered.is_none() == consul, "{:?}", world.done);
        (world.halt, world.consul) = (false, true);
        world.run(None);
        world.serves(&target("1", "a"));
    }
}

#[test]
fn without_consul_what_was_good_is_started_and_nothing_is_stopped() {
    let mut world = World::serving();
    (world.consul, world.wish) = (false, None);
    world.running.clear();
    world.run(None);
    assert_eq!(world.running[0].1, target("1", "a"));
    assert_eq!(world.steps(), ["noteend", "start"]);
}

#[test]
fn a_change_under_way_gives_way_to_a_newer_wish() {
    let mut world = World::serving();
    (world.wish, world.broken) = (Some(target("2", "a")), vec![("2", Broken::Red)]);
    for _ in 0..10 {
        let step = world.decide();
        if let Some(event) = world.perform(&step) {
            world.note(event);
        }
    }
    assert_eq!(world.rendered, Some(target("2", "a")), "it waits for its checks");
    world.wish = Some(target("3", "a"));
    world.run(None);
    world.serves(&target("3", "a"));
    assert_eq!(world.bad, BTreeSet::new());
}

#[test]
fn a_first_version_that_serves_proves_itself_before_the_next_one_which_waits_for_the_lock() {
    let mut world = World::new();
    while world.running.is_empty() || world.shown().1 != Green::Yes {
        let step = world.decide();
        if let Some(event) = world.perform(&step) {
            world.note(event);
        }
    }
    (world.wish, world.lock_taken) = (Some(target("2", "a")), true);
    world.run(None);
    assert_eq!(world.running[0].1, target("1", "a"), "{:?}", world.done);
    assert_eq!(world.lock, Lock::Asked);
}

#[test]
fn the_maintenance_of_a_person_is_left_alone() {
    let mut world = World::serving();
    world.maintenance = Maintenance::Theirs;
    world.wish = Some(target("2", "a"));
    world.run(None);
    assert_eq!((world.maintenance, world.record.good.clone()), (Maintenance::Theirs, Some(target("2", "a"))));
    assert!(!world.steps().contains(&"undrain"));
}

#[test]
fn a_service_of_hooks_alone_has_no_process_and_proves_itself_by_its_checks() {
    let mut world = World::new();
    world.no_process = true;
    world.run(None);
    assert_eq!(world.record.good, Some(target("1", "a")));
    assert!(world.record.up && world.record.process.is_none());
    world.done.clear();
    world.wish = Some(target("1", "b"));
    world.run(None);
    assert!(!world.steps().contains(&"stop"), "new values need no stop: {:?}", world.done);
    world.wish = Some(target("2", "b"));
    world.run(None);
    assert_eq!(world.record.good, Some(target("2", "b")));
    assert!(world.steps().contains(&"stop"));
}

#[test]
fn a_first_version_that_fails_is_tried_again_and_told_to_nobody() {
    let mut world = World::new();
    world.broken = vec![("1", Broken::Install)];
    world.run(None);
    assert!(world.bad.is_empty() && world.record.failures > 2, "{:?}", world.done);
    world.broken.clear();
    world.now += SignedDuration::from_mins(2);
    world.run(None);
    world.serves(&target("1", "a"));
}
