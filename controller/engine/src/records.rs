//! What the controller alone writes, kept in memory: status, instances, assignments, history and events of every Deployment.
//!
//! Design: nobody else writes these keys, so they are not watched. They are read past every cache when this controller takes
//! the lead and on each resync ([`reread`](crate::reread)); in between, each committed transaction says what the keys are now.
//! Values stay as the bytes that Consul holds and are decoded by each capture: ten thousand instances then cost a few megabytes,
//! and a value that cannot be read blinds one object and not the controller.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use helium_crds::{InstanceId, Kind, NodeName, ObjectKey, RevisionId, keys::Keys};
use serde::Deserialize;

/// One key as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The value.
    pub value: Bytes,
    /// Consul's `ModifyIndex` of the key.
    pub index: u64,
}

/// Which of an object's keys is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The status.
    Status,
    /// The last events.
    Events,
    /// One instance's record.
    Instance(InstanceId),
    /// One instance's assignment to its node.
    Assignment(NodeName, InstanceId),
    /// One past template.
    Revision(RevisionId),
}

impl Slot {
    /// The key of this slot of `object`.
    pub fn key(&self, keys: &Keys, object: &ObjectKey) -> String {
        match self {
            Slot::Status => keys.status(Kind::Deployment, object),
            Slot::Events => keys.events(Kind::Deployment, object),
            Slot::Instance(id) => keys.instance(object, id),
            Slot::Assignment(node, id) => keys.assignment(node, id),
            Slot::Revision(id) => keys.revision(object, id),
        }
    }
}

/// The events of an object, which are read only when there is one to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KnownEvents {
    /// Not read yet.
    #[default]
    Unread,
    /// Read; none if the key is not there.
    Read(Option<Raw>),
}

/// An assignment, with what placement needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The node that it is for.
    pub node: NodeName,
    /// The fixed ports that it takes.
    pub ports: Vec<u16>,
    /// The key.
    pub raw: Raw,
}

impl Placed {
    /// Reads of an assignment what placement needs, and whose it is.
    pub fn read(node: NodeName, raw: Raw) -> Result<(ObjectKey, Self), serde_json::Error> {
        let head: AssignmentHead = serde_json::from_slice(&raw.value)?;
        let ports = head.template.ports.into_iter().filter_map(|port| port.port).collect();
        Ok((head.deployment, Self { node, ports, raw }))
    }
}

/// The part of an assignment that placement needs.
#[derive(Deserialize)]
struct AssignmentHead {
    deployment: ObjectKey,
    template: TemplateHead,
}

/// The part of a template that placement needs.
#[derive(Deserialize)]
struct TemplateHead {
    #[serde(default)]
    ports: Vec<PortHead>,
}

/// The part of a port that placement needs.
#[derive(Deserialize)]
struct PortHead {
    #[serde(default)]
    port: Option<u16>,
}

/// Everything that the controller has written about one Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its status.
    pub status: Option<Raw>,
    /// Its last events.
    pub events: KnownEvents,
    /// Its instances.
    pub instances: BTreeMap<InstanceId, Raw>,
    /// Their assignments.
    pub assignments: BTreeMap<InstanceId, Placed>,
    /// Its history.
    pub revisions: BTreeMap<RevisionId, Raw>,
    /// Why one of these cannot be read at all, if so.
    pub unreadable: Option<String>,
}

impl Held {
    /// Whether nothing at all is held.
    pub fn is_empty(&self) -> bool {
        let Self { status, events: _, instances, assignments, revisions, unreadable } = self;
        let kept = instances.len() + assignments.len() + revisions.len();
        status.is_none() && kept == 0 && unreadable.is_none()
    }

    /// Every node that an instance of this Deployment is assigned to, or may be.
    pub fn nodes(&self) -> BTreeSet<NodeName> {
        self.assignments.values().map(|placed| placed.node.clone()).collect()
    }

    /// The node of each assignment and the fixed ports that it takes there.
    fn places(&self) -> impl Iterator<Item = (&NodeName, &[u16])> {
        self.assignments.values().map(|placed| (&placed.node, placed.ports.as_slice()))
    }

    fn put(&mut self, slot: Slot, raw: Raw) {
        match slot {
            Slot::Status => self.status = Some(raw),
            Slot::Events => self.events = KnownEvents::Read(Some(raw)),
            Slot::Instance(id) => drop(self.instances.insert(id, raw)),
            Slot::Revision(id) => drop(self.revisions.insert(id, raw)),
            Slot::Assignment(node, id) => match Placed::read(node, raw) {
                Ok((_, placed)) => drop(self.assignments.insert(id, placed)),
                Err(error) => self.unreadable = Some(format!("assignment of {id}: {error}")),
            },
        }
    }

    fn remove(&mut self, slot: &Slot) {
        match slot {
            Slot::Status => self.status = None,
            Slot::Events => self.events = KnownEvents::Read(None),
            Slot::Instance(id) => drop(self.instances.remove(id)),
            Slot::Revision(id) => drop(self.revisions.remove(id)),
            Slot::Assignment(_, id) => drop(self.assignments.remove(id)),
        }
    }
}

/// What all assignments together make of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLoad {
    /// How many instances are assigned to it.
    pub instances: u32,
    /// How many of them take each fixed port.
    pub ports: BTreeMap<u16, u32>,
}

/// A place on a node: what one instance takes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: NodeName,
    /// The fixed ports that it takes.
    pub ports: Vec<u16>,
}

/// The records of all Deployments.
#[derive(Debug, Default)]
pub struct Records {
    objects: BTreeMap<ObjectKey, Arc<Held>>,
    /// Places that a plan has taken and that are not in the store yet, by the plan's object; see [`places`](crate::places).
    reserved: BTreeMap<ObjectKey, Vec<Place>>,
    loads: BTreeMap<NodeName, NodeLoad>,
    doubtful: BTreeSet<ObjectKey>,
}

impl Records {
    /// Records of exactly these objects.
    pub fn of(objects: BTreeMap<ObjectKey, Held>) -> Self {
        let mut records = Self::default();
        for (key, held) in objects {
            records.replace(key, held);
        }
        records
    }

    /// What is held of one Deployment; empty if nothing is. What is written later does not change it.
    pub fn held(&self, object: &ObjectKey) -> Arc<Held> {
        self.objects.get(object).cloned().unwrap_or_default()
    }

    /// Every Deployment of which something is held.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.keys()
    }

    /// The Deployments that have an assignment on `node`.
    pub fn on_node(&self, node: &NodeName) -> Vec<ObjectKey> {
        let there = |held: &Held| held.assignments.values().any(|placed| placed.node == *node);
        self.objects.iter().filter(|(_, held)| there(held.as_ref())).map(|(key, _)| key.clone()).collect()
    }

    /// Takes places for `object` in advance: they count as load until they are given up or what is held of it is read again.
    pub fn reserve(&mut self, object: &ObjectKey, places: Vec<Place>) {
        self.release(object);
        self.count(places.iter().map(|place| (&place.node, place.ports.as_slice())), true);
        self.reserved.insert(object.clone(), places);
    }

    /// Gives up the places that were taken in advance for `object`.
    pub fn release(&mut self, object: &ObjectKey) {
        let places = self.reserved.remove(object).unwrap_or_default();
        self.count(places.iter().map(|place| (&place.node, place.ports.as_slice())), false);
    }

    /// The load of every node that has any, places taken in advance among it.
    pub fn loads(&self) -> &BTreeMap<NodeName, NodeLoad> {
        &self.loads
    }

    /// The Deployments that differ from those in `other`, not counting events, which are read only when needed.
    pub fn differences(&self, other: &Self) -> BTreeSet<ObjectKey> {
        let keys: BTreeSet<&ObjectKey> = self.objects.keys().chain(other.objects.keys()).collect();
        let bare =
            |records: &Self, key: &ObjectKey| Held { events: KnownEvents::Unread, ..(*records.held(key)).clone() };
        keys.into_iter().filter(|key| bare(self, key) != bare(other, key)).cloned().collect()
    }

    /// How many instance records there are.
    pub fn instances(&self) -> usize {
        self.objects.values().map(|held| held.instances.len()).sum()
    }

    /// Puts what was read of one Deployment in the place of what was held. Says whether that changed anything.
    pub fn replace(&mut self, object: ObjectKey, held: Held) -> bool {
        self.doubtful.remove(&object);
        self.release(&object);
        let before = self.objects.remove(&object).unwrap_or_default();
        self.count(before.places(), false);
        self.count(held.places(), true);
        let changed = *before != held;
        if !held.is_empty() || held.events != KnownEvents::Unread {
            self.objects.insert(object, Arc::new(held));
        }
        changed
    }

    /// Takes in what was written of one Deployment: its keys as they stand now, none for one that was removed.
    pub fn take_in(&mut self, object: &ObjectKey, written: Vec<(Slot, Option<Raw>)>) {
        let mut held = self.objects.remove(object).unwrap_or_default();
        self.count(held.places(), false);
        let now = Arc::make_mut(&mut held);
        for (slot, raw) in written {
            match raw {
                Some(raw) => now.put(slot, raw),
                None => now.remove(&slot),
            }
        }
        self.count(held.places(), true);
        self.objects.insert(object.clone(), held);
    }

    /// Takes in that everything of one Deployment was removed.
    pub fn forget(&mut self, object: &ObjectKey) {
        self.replace(object.clone(), Held::default());
    }

    /// What is held of this Deployment may not be what is in the store: it has to be read again before it is used.
    pub fn doubt(&mut self, object: &ObjectKey) {
        self.doubtful.insert(object.clone());
    }

    /// What is held of this Deployment is what is in the store.
    pub fn believe(&mut self, object: &ObjectKey) {
        self.doubtful.remove(object);
    }

    /// Whether what is held of this Deployment has to be read again first.
    pub fn is_doubtful(&self, object: &ObjectKey) -> bool {
        self.doubtful.contains(object)
    }

    /// Adds what is on these nodes to their load, or takes it off.
    fn count<'a>(&mut self, places: impl Iterator<Item = (&'a NodeName, &'a [u16])>, add: bool) {
        let step = |count: &mut u32| *count = if add { *count + 1 } else { count.saturating_sub(1) };
        for (node, ports) in places {
            let load = self.loads.entry(node.clone()).or_default();
            step(&mut load.instances);
            for port in ports {
                step(load.ports.entry(*port).or_default());
            }
            load.ports.retain(|_, count| *count > 0);
            if load.instances == 0 {
                self.loads.remove(node);
            }
        }
    }
}

/// The parts of a key below the prefix that it was listed under: `inst/3/` and `inst/3/ns/name/id` give `ns`, `name`, `id`.
pub(crate) fn parts_below<'a>(key: &'a str, prefix: &str) -> Vec<&'a str> {
    key.strip_prefix(prefix).map(|rest| rest.split('/').collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(object: &ObjectKey, ports: &[u16]) -> Bytes {
        let ports: Vec<_> = ports.iter().map(|port| serde_json::json!({"name": "p", "port": port})).collect();
        let head = serde_json::json!({
            "deployment": {"namespace": object.namespace, "name": object.name},
            "template": {"version": "1", "ports": ports},
        });
        Bytes::from(head.to_string())
    }

    #[test]
    fn the_load_of_a_node_follows_every_write_and_removal() {
        let mut records = Records::default();
        let (one, other) = (ObjectKey::new("default", "one"), ObjectKey::new("default", "other"));
        let slot = |id: &str| Slot::Assignment(NodeName::from("n1"), InstanceId::from(id));
        let raw = |object, ports: &[u16], index| Some(Raw { value: assignment(object, ports), index });
        records.take_in(&one, vec![(slot("a"), raw(&one, &[80], 1))]);
        records.take_in(&one, vec![(slot("a"), raw(&one, &[80], 2))]);
        records.take_in(&other, vec![(slot("b"), raw(&other, &[443], 3))]);
        let load = records.loads()[&NodeName::from("n1")].clone();
        assert_eq!(load.instances, 2, "written twice is still one instance");
        assert_eq!(load.ports.keys().copied().collect::<Vec<_>>(), [80, 443]);
        assert_eq!(records.on_node(&NodeName::from("n1")), [one.clone(), other.clone()]);

        records.take_in(&one, vec![(slot("a"), None)]);
        records.forget(&other);
        assert!(records.loads().is_empty(), "{:?}", records.loads());
    }

    #[test]
    fn a_place_taken_in_advance_counts_until_it_is_given_up_or_the_object_is_read_again() {
        let mut records = Records::default();
        let (one, other) = (ObjectKey::new("default", "one"), ObjectKey::new("default", "other"));
        let place = |port| vec![Place { node: NodeName::from("n1"), ports: vec![port] }];
        records.reserve(&one, place(80));
        records.reserve(&one, place(81));
        records.reserve(&other, place(443));
        let load = records.loads()[&NodeName::from("n1")].clone();
        assert_eq!((load.instances, load.ports.into_keys().collect::<Vec<_>>()), (2, vec![81, 443]));

        records.release(&one);
        records.release(&one);
        assert_eq!(records.loads()[&NodeName::from("n1")].instances, 1);
        records.replace(other, Held::default());
        assert!(records.loads().is_empty(), "{:?}", records.loads());
    }

    #[test]
    fn reading_one_object_again_ends_the_doubt_about_it_alone() {
        let mut records = Records::default();
        let (one, other) = (ObjectKey::new("default", "one"), ObjectKey::new("default", "other"));
        records.doubt(&one);
        records.doubt(&other);
        let held = Held { status: Some(Raw { value: Bytes::from_static(b"{}"), index: 4 }), ..Held::default() };
        assert!(records.replace(one.clone(), held.clone()));
        assert!(!records.replace(one.clone(), held), "the same again is no change");
        assert!(!records.is_doubtful(&one) && records.is_doubtful(&other));
    }

    #[test]
    fn an_assignment_that_cannot_be_read_blinds_its_object() {
        let mut records = Records::default();
        let one = ObjectKey::new("default", "one");
        let slot = Slot::Assignment(NodeName::from("n1"), InstanceId::from("a"));
        records.take_in(&one, vec![(slot, Some(Raw { value: Bytes::from_static(b"{"), index: 1 }))]);
        assert!(records.held(&one).unreadable.is_some());
    }
}
