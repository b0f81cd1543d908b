//! The machines, what runs on them, and what their agents wrote on their disks. Agents come and go; this stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use helium_crds::{InstanceId, NodeName, ObjectKey, instance::Assignment};
use helium_instance::{
    process::{Exit, ProcessIdentity},
    record::Record,
};

use crate::net::lock;

/// How long a process that heeds its stop signal takes to end.
const ENDING: Duration = Duration::from_millis(1500);
/// How long one runs that ends by itself.
const CRASHING: Duration = Duration::from_secs(1);
/// How one ends that ends by itself.
const CRASHED: Exit = Exit::Status(1);
/// SIGTERM and SIGKILL, by their numbers.
const TERM: Exit = Exit::Signal(15);
const KILL: Exit = Exit::Signal(9);

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits at its gate, executes nothing, and dies with its agent.
    AtGate,
    /// It runs.
    Runs,
    /// It has ended, and nobody has taken note of that.
    Ended(Exit),
}

/// One process on one machine.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number, which no other process of the world ever has.
    pub pid: u32,
    /// Of what it is an instance.
    pub deployment: ObjectKey,
    /// Its version, which says how it behaves.
    pub version: String,
    /// When it was started.
    pub started: Duration,
    /// How it is.
    pub state: State,
    /// When it ends, having heard its stop signal.
    ends_at: Option<Duration>,
}

impl Process {
    /// What its agent knows it by.
    pub fn identity(&self) -> ProcessIdentity {
        ProcessIdentity { pid: self.pid, start: format!("sim/{}", self.pid) }
    }
}

/// The processes and disks of all machines.
#[derive(Debug, Default)]
pub struct Fleet {
    table: Mutex<Table>,
}

/// A place on a machine: the node, and the instance.
type Place = (NodeName, InstanceId);

/// The table itself.
#[derive(Debug, Default)]
pub struct Table {
    /// By node and instance. There is more than one only if something is wrong.
    processes: BTreeMap<Place, Vec<Process>>,
    /// What agents wrote on the disks of their machines.
    records: BTreeMap<Place, Record>,
    /// Machines that are switched off.
    off: BTreeSet<NodeName>,
    /// How many processes were ever started.
    spawned: u32,
}

/// How a version behaves, by the end of its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Passes its checks soon.
    Good,
    /// `-bad`: answers every check with an error.
    Bad,
    /// `-flap`: passes and fails by turns, until all is healed.
    Flapping,
    /// `-slow`: passes after half a minute.
    Slow,
    /// `-crash`: ends after a second.
    Crashing,
    /// `-err`: passes its checks, and answers most requests with errors.
    Failing,
}

impl Behaviour {
    /// The behaviour of a version.
    pub fn of(version: &str) -> Self {
        match version.rsplit_once('-').map(|(_, end)| end) {
            Some("bad") => Self::Bad,
            Some("flap") => Self::Flapping,
            Some("slow") => Self::Slow,
            Some("crash") => Self::Crashing,
            Some("err") => Self::Failing,
            _ => Self::Good,
        }
    }

    /// Whether a process of this age answers its checks well.
    pub fn passes(self, age: Duration, healed: bool) -> bool {
        let seconds = age.as_secs();
        match self {
            Self::Good | Self::Failing => seconds >= 1,
            Self::Bad | Self::Crashing => false,
            Self::Flapping => seconds >= 1 && (healed || seconds % 17 < 12),
            Self::Slow => seconds >= 30,
        }
    }

    /// Whether it will ever be healthy once all is healed.
    pub fn is_sound(self) -> bool {
        !matches!(self, Self::Bad | Self::Crashing)
    }
}

impl Fleet {
    /// The table.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

/// What runs.
impl Table {
    /// Starts a process, which waits at its gate.
    pub fn start(&mut self, node: &NodeName, assignment: &Assignment, now: Duration) -> ProcessIdentity {
        self.spawned += 1;
        let process = Process {
            pid: self.spawned,
            deployment: assignment.deployment.clone(),
            version: assignment.template.version.clone(),
            started: now,
            state: State::AtGate,
            ends_at: None,
        };
        let identity = process.identity();
        self.processes.entry((node.clone(), assignment.id.clone())).or_default().push(process);
        identity
    }

    /// Lets a process through its gate. Gives the machines on which another one of the same instance runs already: there must be none.
    pub fn open(&mut self, node: &NodeName, id: &InstanceId, pid: u32, now: Duration) -> Vec<NodeName> {
        let others = self.running().filter(|((_, other), process)| other == id && process.pid != pid);
        let others = others.map(|((node, _), _)| node.clone()).collect();
        if let Some(process) = self.process_mut(node, id, pid) {
            (process.state, process.started) = (State::Runs, now);
        }
        others
    }

    /// Sends a process its stop signal, which one that `lingers` does not heed.
    pub fn signal(&mut self, node: &NodeName, id: &InstanceId, pid: u32, lingers: bool, now: Duration) {
        if let Some(process) = self.process_mut(node, id, pid).filter(|_| !lingers) {
            process.ends_at.get_or_insert(now + ENDING);
        }
    }

    /// Ends a process, as a signal that cannot be caught does.
    pub fn end(&mut self, node: &NodeName, id: &InstanceId, pid: u32) {
        if let Some(process) = self.process_mut(node, id, pid) {
            process.state = State::Ended(KILL);
        }
    }

    /// The same for whatever runs of an instance.
    pub fn kill(&mut self, node: &NodeName, id: &InstanceId) {
        let pid = self.get(node, id).map(|process| process.pid);
        if let Some(pid) = pid {
            self.end(node, id, pid);
        }
    }

    /// Time has passed: what ends by itself has ended. Once all is `healed`, what crashes fails without ending, so that nothing keeps
    /// changing.
    pub fn pass(&mut self, now: Duration, healed: bool) {
        for process in self.processes.values_mut().flatten().filter(|process| process.state == State::Runs) {
            let crashes = Behaviour::of(&process.version) == Behaviour::Crashing && !healed;
            if process.ends_at.is_some_and(|at| at <= now) {
                process.state = State::Ended(TERM);
            } else if crashes && now.saturating_sub(process.started) >= CRASHING {
                process.state = State::Ended(CRASHED);
            }
        }
    }

    /// The agent of a machine is dead, and with it whatever waits at a gate.
    pub fn agent_dies(&mut self, node: &NodeName) {
        for (_, processes) in self.processes.iter_mut().filter(|((at, _), _)| at == node) {
            processes.retain(|process| process.state != State::AtGate);
        }
    }

    /// How a process ended; none while it has not. Of one that nobody knows of, nobody saw how.
    pub fn exit(&self, node: &NodeName, id: &InstanceId, pid: u32) -> Option<Exit> {
        let of_place = self.processes.get(&(node.clone(), id.clone())).into_iter().flatten();
        match of_place.filter(|process| process.pid == pid).map(|process| process.state).next() {
            Some(State::AtGate | State::Runs) => None,
            Some(State::Ended(exit)) => Some(exit),
            None => Some(Exit::Unseen),
        }
    }

    /// The end of a process was noted: the system forgets it.
    pub fn reap(&mut self, node: &NodeName, id: &InstanceId, pid: u32) {
        if let Some(processes) = self.processes.get_mut(&(node.clone(), id.clone())) {
            processes.retain(|process| process.pid != pid);
        }
        self.processes.retain(|_, processes| !processes.is_empty());
    }

    /// The process that runs of an instance on a machine.
    pub fn get(&self, node: &NodeName, id: &InstanceId) -> Option<&Process> {
        let processes = self.processes.get(&(node.clone(), id.clone()));
        processes.into_iter().flatten().find(|process| process.state == State::Runs)
    }

    /// All that runs.
    pub fn running(&self) -> impl Iterator<Item = (&(NodeName, InstanceId), &Process)> {
        let all = self.processes.iter().flat_map(|(place, processes)| processes.iter().map(move |one| (place, one)));
        all.filter(|(_, process)| process.state == State::Runs)
    }

    fn process_mut(&mut self, node: &NodeName, id: &InstanceId, pid: u32) -> Option<&mut Process> {
        let processes = self.processes.get_mut(&(node.clone(), id.clone()));
        processes.into_iter().flatten().find(|process| process.pid == pid)
    }
}

/// What is written down, and the machines as a whole.
impl Table {
    /// Writes the record of an instance, all or nothing.
    pub fn write(&mut self, node: &NodeName, record: Record) {
        self.records.insert((node.clone(), record.assignment.id.clone()), record);
    }

    /// Removes a record.
    pub fn erase(&mut self, node: &NodeName, id: &InstanceId) {
        self.records.remove(&(node.clone(), id.clone()));
    }

    /// The records on a machine's disk.
    pub fn records(&self, node: &NodeName) -> Vec<Record> {
        self.records.iter().filter(|((at, _), _)| at == node).map(|(_, record)| record.clone()).collect()
    }

    /// Whether anything of an instance runs on a machine, or its agent remembers it.
    pub fn knows(&self, node: &NodeName, id: &InstanceId) -> bool {
        self.get(node, id).is_some() || self.records.contains_key(&(node.clone(), id.clone()))
    }

    /// Switches a machine off: nothing is left of what it ran, nor of what was written there.
    pub fn switch_off(&mut self, node: &NodeName) {
        self.processes.retain(|(at, _), _| at != node);
        self.records.retain(|(at, _), _| at != node);
        self.off.insert(node.clone());
    }

    /// Switches it on again, empty.
    pub fn switch_on(&mut self, node: &NodeName) {
        self.off.remove(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Assignment {
        helium_instance::testing::assignment("web-0")
    }

    #[test]
    fn what_waits_at_its_gate_dies_with_its_agent_and_what_runs_does_not() {
        let (mut table, node, one, now) = (Table::default(), NodeName::from("n1"), web(), Duration::ZERO);
        let first = table.start(&node, &one, now);
        assert!(table.get(&node, &one.id).is_none(), "it executes nothing at its gate");
        assert_eq!(table.exit(&node, &one.id, first.pid), None);
        table.agent_dies(&node);
        assert_eq!(table.exit(&node, &one.id, first.pid), Some(Exit::Unseen));
        let second = table.start(&node, &one, now);
        assert_eq!(table.open(&node, &one.id, second.pid, now), Vec::<NodeName>::new());
        table.agent_dies(&node);
        assert_eq!(table.get(&node, &one.id).map(Process::identity), Some(second));
    }

    #[test]
    fn a_second_copy_is_seen_wherever_it_is_let_through() {
        let (mut table, one, now) = (Table::default(), web(), Duration::ZERO);
        let nodes = ["n1", "n2", "n1"].map(NodeName::from);
        let others: Vec<usize> = nodes
            .iter()
            .map(|node| {
                let process = table.start(node, &one, now);
                table.open(node, &one.id, process.pid, now).len()
            })
            .collect();
        assert_eq!(others, [0, 1, 2]);
    }

    #[test]
    fn one_that_heeds_its_signal_ends_and_one_that_lingers_has_to_be_killed() {
        let (mut table, node, one, now) = (Table::default(), NodeName::from("n1"), web(), Duration::ZERO);
        let pid = table.start(&node, &one, now).pid;
        table.open(&node, &one.id, pid, now);
        table.signal(&node, &one.id, pid, true, now);
        table.pass(now + ENDING, false);
        assert_eq!(table.exit(&node, &one.id, pid), None);
        table.signal(&node, &one.id, pid, false, now);
        table.pass(now + ENDING, false);
        assert_eq!(table.exit(&node, &one.id, pid), Some(TERM));
        table.reap(&node, &one.id, pid);
        assert_eq!(table.exit(&node, &one.id, pid), Some(Exit::Unseen));
    }

    #[test]
    fn the_label_says_how_a_version_behaves() {
        let at = Duration::from_secs(13);
        for (version, passes, healed, sound) in [
            ("1", true, true, true),
            ("2-bad", false, false, false),
            ("3-flap", false, true, true),
            ("4-slow", false, false, true),
            ("5-crash", false, false, false),
        ] {
            let behaviour = Behaviour::of(version);
            let found = (behaviour.passes(at, false), behaviour.passes(at, true), behaviour.is_sound());
            assert_eq!(found, (passes, healed, sound), "{version}");
        }
    }
}
