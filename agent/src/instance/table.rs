//! The instances of this agent, and the cells through which each one's task hears of the world.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use consul_client::{AgentCheck, AgentService};
use helium_crds::{
    ids::InstanceId,
    instance::{Assignment, service_id},
};
use tokio::sync::watch;

/// What the view of the assignments says of one instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum AssignedCell {
    /// Nothing to be relied on.
    #[default]
    Unknown,
    /// It has none.
    Missing,
    /// This one.
    Present(Arc<Assignment>),
}

/// What the local Consul agent holds of one instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The number of the round in which it was asked, from 1; 0 before the first.
    pub(crate) round: u64,
    /// The service, if it is there.
    pub(crate) service: Option<AgentService>,
    /// Its checks by id.
    pub(crate) checks: BTreeMap<String, AgentCheck>,
}

/// The receiving ends of one instance.
pub(crate) struct Cells {
    pub(crate) assigned: watch::Receiver<AssignedCell>,
    pub(crate) seen: watch::Receiver<Seen>,
}

struct Entry {
    assigned: watch::Sender<AssignedCell>,
    seen: watch::Sender<Seen>,
    ports: BTreeSet<u16>,
    /// The service and the version, of an instance that has a package.
    package: Option<(String, String)>,
}

/// The instances of this agent.
#[derive(Default)]
pub(crate) struct Table(Mutex<BTreeMap<InstanceId, Entry>>);

impl Table {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the instance of an assignment.
    pub(crate) fn add(&self, one: &Assignment, assigned: AssignedCell, ports: BTreeSet<u16>) -> Cells {
        let (assigned_sender, assigned) = watch::channel(assigned);
        let (seen_sender, seen) = watch::channel(Seen::default());
        let package = one.template.package.as_ref();
        let package = package.map(|_| (one.service.name.clone(), one.template.version.clone()));
        self.entries().insert(one.id.clone(), Entry { assigned: assigned_sender, seen: seen_sender, ports, package });
        Cells { assigned, seen }
    }

    /// Removes an instance.
    pub(crate) fn remove(&self, id: &InstanceId) {
        self.entries().remove(id);
    }

    /// The versions of a service of which an instance here has the package.
    pub(crate) fn versions_of(&self, service: &str) -> Vec<String> {
        let entries = self.entries();
        let of_service = entries.values().filter_map(|entry| entry.package.as_ref());
        of_service.filter(|(name, _)| name == service).map(|(_, version)| version.clone()).collect()
    }

    /// The ids of all.
    pub(crate) fn ids(&self) -> BTreeSet<InstanceId> {
        self.entries().keys().cloned().collect()
    }

    /// Tells every instance what a trusted view of the assignments says; gives those that nobody stands for yet. An assignment
    /// that is there and cannot be read is not a missing one.
    pub(crate) fn assign(
        &self,
        all: &BTreeMap<InstanceId, Arc<Assignment>>,
        unreadable: &BTreeSet<InstanceId>,
    ) -> Vec<Arc<Assignment>> {
        let entries = self.entries();
        for (id, entry) in entries.iter() {
            let cell = match all.get(id) {
                Some(one) => AssignedCell::Present(Arc::clone(one)),
                None if unreadable.contains(id) => AssignedCell::Unknown,
                None => AssignedCell::Missing,
            };
            entry.assigned.send_if_modified(|old| {
                let differs = *old != cell;
                *old = cell;
                differs
            });
        }
        all.iter().filter(|(id, _)| !entries.contains_key(id)).map(|(_, one)| Arc::clone(one)).collect()
    }

    /// Leaves every instance without news of its assignment: one that has stopped must not be forgotten on an old view.
    pub(crate) fn unassign(&self) {
        for entry in self.entries().values() {
            entry.assigned.send_if_modified(|old| std::mem::take(old) == AssignedCell::Missing);
        }
    }

    /// Tells every instance what the local Consul agent holds of it.
    pub(crate) fn show(
        &self,
        round: u64,
        services: &BTreeMap<String, AgentService>,
        checks: &BTreeMap<String, AgentCheck>,
    ) {
        let mut by_service: BTreeMap<&str, BTreeMap<String, AgentCheck>> = BTreeMap::new();
        for (id, check) in checks.iter().filter(|(_, check)| check.service_id.starts_with("helium-")) {
            by_service.entry(check.service_id.as_str()).or_default().insert(id.clone(), check.clone());
        }
        for (id, entry) in self.entries().iter() {
            let id = service_id(id);
            let checks = by_service.remove(id.as_str()).unwrap_or_default();
            entry.seen.send_replace(Seen { round, service: services.get(&id).cloned(), checks });
        }
    }

    /// The ports of all other instances.
    pub(crate) fn ports_of_others(&self, id: &InstanceId) -> BTreeSet<u16> {
        let entries = self.entries();
        entries.iter().filter(|(other, _)| *other != id).flat_map(|(_, entry)| entry.ports.iter().copied()).collect()
    }

    /// Gives an instance its ports, unless another took one of them in the meantime.
    pub(crate) fn reserve(&self, id: &InstanceId, ports: &BTreeMap<String, u16>) -> bool {
        let wanted: BTreeSet<u16> = ports.values().copied().collect();
        let mut entries = self.entries();
        if entries.iter().any(|(other, entry)| other != id && !entry.ports.is_disjoint(&wanted)) {
            return false;
        }
        if let Some(entry) = entries.get_mut(id) {
            entry.ports = wanted;
        }
        true
    }

    /// Takes an instance's ports back.
    pub(crate) fn release(&self, id: &InstanceId) {
        if let Some(entry) = self.entries().get_mut(id) {
            entry.ports.clear();
        }
    }
}
