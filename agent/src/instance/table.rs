//! The instances of this agent, and the cells through which each one's task hears of the world.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use consul_client::{AgentCheck, AgentService};
use helium_crds::{
    ids::InstanceId,
    instance::{Assignment, Desired, Role, service_id},
};
use jiff::Timestamp;
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
    /// Of an instance that has a package.
    package: Option<Packaged>,
}

/// What the packages of this machine have to know of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packaged {
    service: String,
    version: String,
    /// Whether it is to run.
    runs: bool,
    /// Whether it is to run, and to serve as the stable version.
    serves: bool,
    created_at: Timestamp,
}

impl Packaged {
    fn of(one: &Assignment) -> Option<Self> {
        one.template.package.as_ref().map(|_| Self {
            service: one.service.name.clone(),
            version: one.template.version.clone(),
            runs: one.desired == Desired::Run,
            serves: one.desired == Desired::Run && one.role == Role::Stable,
            created_at: one.created_at,
        })
    }
}

/// The instances of this agent; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Table(Arc<Mutex<BTreeMap<InstanceId, Entry>>>);

impl Table {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the instance of an assignment.
    pub(crate) fn add(&self, one: &Assignment, assigned: AssignedCell, ports: BTreeSet<u16>) -> Cells {
        let (assigned_sender, assigned) = watch::channel(assigned);
        let (seen_sender, seen) = watch::channel(Seen::default());
        let package = Packaged::of(one);
        self.entries().insert(one.id.clone(), Entry { assigned: assigned_sender, seen: seen_sender, ports, package });
        Cells { assigned, seen }
    }

    /// Removes an instance.
    pub(crate) fn remove(&self, id: &InstanceId) {
        self.entries().remove(id);
    }

    /// Takes up that an assignment has changed.
    pub(crate) fn note(&self, one: &Assignment) {
        if let Some(entry) = self.entries().get_mut(&one.id) {
            entry.package = Packaged::of(one);
        }
    }

    /// The versions of a service of which an instance here has the package.
    pub(crate) fn versions_of(&self, service: &str) -> Vec<String> {
        let entries = self.entries();
        let of_service = entries.values().filter_map(|entry| entry.package.as_ref());
        of_service.filter(|one| one.service == service).map(|one| one.version.clone()).collect()
    }

    /// The version of a service that is the current one here: that of the newest instance that serves as the stable version. None while
    /// there is no such instance, and then what was current stays so.
    pub(crate) fn current_version(&self, service: &str) -> Option<String> {
        let entries = self.entries();
        let serving = entries.values().filter_map(|entry| entry.package.as_ref());
        let serving = serving.filter(|one| one.serves && one.service == service);
        serving.max_by_key(|one| one.created_at).map(|one| one.version.clone())
    }

    /// The version of a service that the newest instance here has that is to run, whatever its role; none while there is no such instance.
    pub(crate) fn newest_version(&self, service: &str) -> Option<String> {
        let entries = self.entries();
        let running = entries.values().filter_map(|entry| entry.package.as_ref());
        let running = running.filter(|one| one.runs && one.service == service);
        running.max_by_key(|one| one.created_at).map(|one| one.version.clone())
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

#[cfg(test)]
mod tests {
    use helium_crds::package::Package;

    use super::*;
    use crate::testing::{assignment, instant};

    #[test]
    fn the_current_version_is_that_of_the_newest_instance_that_serves_and_is_to_run() {
        let table = Table::default();
        let package = Some(Package { url: "file:///srv/hello".to_owned(), sha256: None, signature: None });
        let of = |id: &str, version: &str, age: i64, role| {
            let mut one = assignment(id);
            one.template.package.clone_from(&package);
            one.template.version = version.to_owned();
            (one.created_at, one.role) = (instant(age), role);
            one
        };
        let (old, canary) = (of("hello-0", "1", 0, Role::Stable), of("hello-1", "2", 5, Role::Canary));
        for one in [&old, &canary] {
            table.add(one, AssignedCell::Unknown, BTreeSet::new());
        }
        assert_eq!(table.current_version("hello").as_deref(), Some("1"), "a canary is not what serves");
        assert_eq!(table.newest_version("hello").as_deref(), Some("2"), "and it runs");
        table.note(&Assignment { role: Role::Stable, ..canary.clone() });
        assert_eq!(table.current_version("hello").as_deref(), Some("2"));
        table.note(&Assignment { desired: Desired::Stop, ..canary });
        assert_eq!(table.current_version("hello").as_deref(), Some("1"), "a version that was taken back");
        assert_eq!(table.newest_version("hello").as_deref(), Some("1"));
        table.note(&Assignment { desired: Desired::Stop, ..old });
        assert_eq!(table.current_version("hello"), None);
        assert_eq!(table.versions_of("hello"), ["1", "2"]);
    }
}
