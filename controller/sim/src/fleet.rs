//! The machines and what runs on them. Agents come and go; the processes stay, and are counted here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use helium_crds::{InstanceId, NodeName, instance::Assignment};

use crate::net::lock;

/// One process on one machine, and what its agent wrote down about it on that machine's disk.
#[derive(Clone, Debug)]
pub struct Process {
    /// What it is.
    pub assignment: Assignment,
    /// When it was started, last.
    pub started: Duration,
    /// Whether it runs.
    pub alive: bool,
    /// How often it was started again after it had ended by itself.
    pub restarts: u32,
    /// When it may be started again.
    pub restart_at: Duration,
    /// Since when it is being stopped.
    pub stopping: Option<Duration>,
}

/// The processes of all machines.
#[derive(Debug, Default)]
pub struct Fleet {
    table: Mutex<Table>,
}

/// The table itself.
#[derive(Debug, Default)]
pub struct Table {
    /// By node and instance.
    pub processes: BTreeMap<(NodeName, InstanceId), Process>,
    /// Machines that are switched off.
    pub off: BTreeSet<NodeName>,
    /// How many processes were ever started.
    pub spawned: u64,
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

impl Table {
    /// Starts a process. Gives the machines on which another one of the same instance runs already: there must be none.
    pub fn spawn(&mut self, node: &NodeName, assignment: &Assignment, now: Duration) -> Vec<NodeName> {
        let id = &assignment.id;
        let running = self.processes.iter().filter(|((_, other), process)| other == id && process.alive);
        let others = running.map(|((node, _), _)| node.clone()).collect();
        self.spawned += 1;
        let restarts = self.get(node, id).map_or(0, |process| process.restarts);
        let process = Process {
            assignment: assignment.clone(),
            started: now,
            alive: true,
            restarts,
            restart_at: now,
            stopping: None,
        };
        self.processes.insert((node.clone(), id.clone()), process);
        others
    }

    /// A process.
    pub fn get(&self, node: &NodeName, id: &InstanceId) -> Option<&Process> {
        self.processes.get(&(node.clone(), id.clone()))
    }

    /// A process, to be changed.
    pub fn get_mut(&mut self, node: &NodeName, id: &InstanceId) -> Option<&mut Process> {
        self.processes.get_mut(&(node.clone(), id.clone()))
    }

    /// The processes of a machine.
    pub fn on<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = (&'a InstanceId, &'a Process)> {
        self.processes.iter().filter(move |((at, _), _)| at == node).map(|((_, id), process)| (id, process))
    }

    /// Ends a process, as a signal that cannot be caught does.
    pub fn kill(&mut self, node: &NodeName, id: &InstanceId, now: Duration) {
        if let Some(process) = self.get_mut(node, id).filter(|process| process.alive) {
            process.alive = false;
            process.restarts += 1;
            let wait = Duration::from_secs(1 << process.restarts.min(4));
            process.restart_at = now + wait;
        }
    }

    /// Switches a machine off: nothing is left of what it ran.
    pub fn switch_off(&mut self, node: &NodeName) {
        self.processes.retain(|(at, _), _| at != node);
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
