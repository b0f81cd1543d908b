//! What outlives an agent, and what happens to it.

use std::{collections::BTreeMap, path::PathBuf, rc::Rc};

use helium_crds::{
    ids::InstanceId,
    instance::{Assignment, Desired, Role},
    package::Package,
};
use helium_instance::process::ProcessIdentity;
use jiff::{SignedDuration, Timestamp};

use super::{
    defects::Defect,
    files::{Fuse, Memory},
    rules::{Past, Stop},
};
use crate::{
    hooks::Hook,
    instance::record::Record,
    testing::{assignment, instant},
};

/// What is drawn, from a seed alone (`SplitMix64`).
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Up to so many milliseconds.
    pub(super) fn millis(&mut self, most: usize) -> SignedDuration {
        SignedDuration::from_millis(i64::try_from(self.below(most)).unwrap())
    }
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits at its gate, and dies with its agent.
    AtGate,
    /// It runs.
    Runs,
    /// It has ended.
    Ended,
}

/// A process.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) instance: InstanceId,
    pub(super) identity: ProcessIdentity,
    pub(super) state: State,
    /// What it has read in its files.
    pub(super) seen: Option<String>,
    /// When it ends.
    pub(super) ends_at: Option<Timestamp>,
}

/// What Consul's agent holds of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tags: Vec<String>,
    pub(super) standby: bool,
}

/// What outlives an agent.
pub(super) struct World {
    pub(super) draw: Draw,
    pub(super) defect: Option<Defect>,
    pub(super) now: Timestamp,
    pub(super) fuse: Rc<Fuse>,
    /// Whether things go wrong.
    pub(super) faults: bool,
    pub(super) disk: BTreeMap<InstanceId, Record>,
    pub(super) files: Memory,
    pub(super) processes: Vec<Process>,
    pub(super) consul: BTreeMap<InstanceId, Entry>,
    /// Since when Consul is away, if it is.
    pub(super) away_since: Option<Timestamp>,
    pub(super) store: BTreeMap<InstanceId, Assignment>,
    /// Assignments that somebody has deleted.
    deleted: BTreeMap<InstanceId, Assignment>,
    /// Whether the view of the store can be trusted.
    pub(super) trusted: bool,
    /// The values that files are made of.
    pub(super) values: u64,
    pub(super) hooks: BTreeMap<InstanceId, Vec<Hook>>,
    pub(super) past: BTreeMap<InstanceId, Past>,
    pub(super) log: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, defect: Option<Defect>, fuse: Option<usize>) -> Self {
        let fuse = Fuse::new(fuse);
        let mut world = Self {
            draw: Draw(seed),
            defect,
            now: instant(0),
            files: Memory::under(Rc::clone(&fuse)),
            fuse,
            faults: true,
            disk: BTreeMap::new(),
            processes: Vec::new(),
            consul: BTreeMap::new(),
            away_since: None,
            store: BTreeMap::new(),
            deleted: BTreeMap::new(),
            trusted: true,
            values: 1,
            hooks: BTreeMap::new(),
            past: BTreeMap::new(),
            log: Vec::new(),
        };
        for number in 0..=world.draw.below(4) {
            let mut wanted = assignment(&format!("hello-{number}"));
            if world.draw.percent(70) {
                wanted.template.package =
                    Some(Package { url: "file:///srv/hello".to_owned(), sha256: None, signature: None });
                let hooks = [Hook::PostStart, Hook::Drain, Hook::PreStop, Hook::PostStop];
                let hooks = hooks.into_iter().filter(|_| world.draw.percent(60)).collect();
                world.hooks.insert(wanted.id.clone(), hooks);
            }
            if world.draw.percent(40) {
                wanted.drain = helium_crds::Period::from_secs(7);
            }
            if world.draw.percent(40) {
                wanted.stop_after_disconnect = Some(helium_crds::Period::from_secs(10));
            }
            world.store.insert(wanted.id.clone(), wanted);
        }
        world
    }

    /// One effect on what outlives the agent, before which it may be killed.
    pub(super) fn effect(&mut self, id: &InstanceId, what: &str) -> Result<(), Stop> {
        if self.fuse.burn() {
            self.tell(id, what);
            return Ok(());
        }
        self.tell(id, &format!("killed before: {what}"));
        Err(Stop::Killed { with_node: false })
    }

    pub(super) fn tell(&mut self, id: &InstanceId, what: &str) {
        let at = self.now.duration_since(instant(0)).as_millis();
        self.log.push(format!("{at:>8} {id} {what}"));
    }

    pub(super) fn past(&self, id: &InstanceId) -> &Past {
        static NONE: std::sync::LazyLock<Past> = std::sync::LazyLock::new(Past::default);
        self.past.get(id).unwrap_or(&NONE)
    }

    /// An agent has noted what the store holds now.
    pub(super) fn note_order(&mut self, id: &InstanceId) {
        if let Some(wanted) = self.store.get(id) {
            self.past.entry(id.clone()).or_default().ordered = Some(wanted.desired);
        }
    }

    /// How many processes of an instance execute something.
    pub(super) fn running(&self, id: &InstanceId) -> usize {
        self.processes.iter().filter(|process| process.instance == *id && process.state == State::Runs).count()
    }

    pub(super) fn process_mut(&mut self, identity: &ProcessIdentity) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.identity == *identity)
    }

    pub(super) fn is_alive(&self, identity: &ProcessIdentity) -> bool {
        self.processes.iter().any(|process| process.identity == *identity && process.state != State::Ended)
    }

    /// The files of an instance, of which there are two.
    pub(super) fn targets(id: &InstanceId) -> [PathBuf; 2] {
        ["a.conf", "b.conf"].map(|name| PathBuf::from(format!("/instances/{id}/package/{name}")))
    }

    pub(super) fn files_of(&self, id: &InstanceId) -> [Option<String>; 2] {
        Self::targets(id).map(|path| self.files.text(&path))
    }

    /// The agent has been killed, and maybe with its node.
    pub(super) fn after_death(&mut self, with_node: bool) {
        self.fuse.mend();
        for process in &mut self.processes {
            if with_node || process.state == State::AtGate {
                process.state = State::Ended;
            }
        }
        self.log.push(if with_node { "the node dies".to_owned() } else { "the agent dies".to_owned() });
        self.now += self.draw.millis(20_000);
    }

    /// From here on nothing goes wrong.
    pub(super) fn heal(&mut self) {
        self.log.push("calm".to_owned());
        (self.faults, self.away_since, self.trusted) = (false, None, true);
        self.files.full.set(false);
        self.fuse.mend();
    }

    /// Time passes, and what ends by itself ends.
    pub(super) fn advance(&mut self, to: Timestamp) {
        self.now = self.now.max(to);
        for process in &mut self.processes {
            if process.ends_at.is_some_and(|at| at <= self.now) {
                process.state = State::Ended;
            }
        }
    }

    /// Something happens that no agent does.
    pub(super) fn happen(&mut self) -> Result<Option<Happened>, Stop> {
        if !self.faults || !self.draw.percent(15) {
            return Ok(None);
        }
        let chosen = self.draw.below(14);
        self.log.push(format!("happens: {chosen}"));
        match chosen {
            0 | 1 => {
                let at = self.draw.below(self.processes.len());
                if let Some(process) = self.processes.get_mut(at) {
                    process.state = State::Ended;
                }
            }
            2 => self.away_since = self.away_since.xor(Some(self.now)),
            3 => self.trusted = !self.trusted,
            4 | 5 => self.change(|wanted| {
                wanted.desired = if wanted.desired == Desired::Run { Desired::Stop } else { Desired::Run };
            }),
            6 => {
                let role = [Role::Stable, Role::Canary, Role::Preview, Role::Standby][self.draw.below(4)];
                self.change(|wanted| {
                    wanted.role = role;
                    wanted.service.tags = vec![format!("{role:?}")];
                });
            }
            7 => {
                if let Some(id) = self.anyone() {
                    let gone = self.store.remove(&id);
                    self.deleted.extend(gone.map(|gone| (id, gone)));
                }
            }
            8 => self.store.append(&mut self.deleted),
            9 => {
                let entries: Vec<InstanceId> = self.consul.keys().cloned().collect();
                if !entries.is_empty() {
                    let at = self.draw.below(entries.len());
                    self.consul.remove(&entries[at]);
                }
            }
            10 => {
                self.values += 1;
                return Ok(Some(Happened::NewValues));
            }
            11 => return Err(Stop::Killed { with_node: self.draw.percent(30) }),
            12 => self.files.full.set(!self.files.full.get()),
            _ => return Ok(Some(Happened::Halt)),
        }
        Ok(None)
    }

    fn anyone(&mut self) -> Option<InstanceId> {
        let at = self.draw.below(self.store.len());
        self.store.keys().nth(at).cloned()
    }

    fn change(&mut self, change: impl FnOnce(&mut Assignment)) {
        if let Some(id) = self.anyone() {
            self.store.entry(id).and_modify(change);
        }
    }
}

/// What an agent is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// There are new values for files.
    NewValues,
    /// It is to stop, and its instances with it.
    Halt,
}
