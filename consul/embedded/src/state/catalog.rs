//! The catalog: nodes, services and checks, with the indexes that their readers wait on.
//!
//! Every table has an index, and every service name has its own, which moves when one of its instances changes, one of
//! their checks, or a check or fact of a node that hosts one. A name without instances has no index of its own: its
//! readers see when last any service lost its last instance, or, if that never happened, the index of the whole
//! catalog.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::records::{Check, Node, Service};
use super::{Refusal, Touched};

/// The three tables.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Catalog {
    nodes: BTreeMap<String, Node>,
    /// node -> service id -> instance.
    services: BTreeMap<String, BTreeMap<String, Service>>,
    /// node -> check id -> check.
    checks: BTreeMap<String, BTreeMap<String, Check>>,
    indexes: Indexes,
    /// service name -> the instances' nodes and ids; derived.
    #[serde(skip)]
    by_name: BTreeMap<String, BTreeSet<(String, String)>>,
}

/// The indexes of the tables and of the services.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Indexes {
    nodes: u64,
    services: u64,
    checks: u64,
    by_service: BTreeMap<String, u64>,
    last_extinction: Option<u64>,
}

/// What is registered in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The node, with its indexes left at 0.
    pub node: Node,
    /// Leave the node as it is, if it exists.
    pub skip_node_update: bool,
    /// One instance on it.
    pub service: Option<Service>,
    /// Checks of the node or of its services.
    pub checks: Vec<Check>,
}

/// What a change to the catalog did beyond it: checks that turned critical or went, whose sessions end.
#[derive(Debug, Default)]
pub(super) struct Consequences {
    /// node and check id.
    pub failed_checks: Vec<(String, String)>,
    /// Nodes that went.
    pub lost_nodes: Vec<String>,
}

impl Catalog {
    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// One node.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The instances on a node, by id.
    pub fn services_of(&self, node: &str) -> impl Iterator<Item = &Service> {
        self.services.get(node).into_iter().flat_map(BTreeMap::values)
    }

    /// One instance.
    pub fn service(&self, node: &str, id: &str) -> Option<&Service> {
        self.services.get(node)?.get(id)
    }

    /// The instances of a service with their nodes, by node and id.
    pub fn instances<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a Node, &'a Service)> {
        let places = self.by_name.get(name).into_iter().flatten();
        places.filter_map(|(node, id)| Some((self.nodes.get(node)?, self.service(node, id)?)))
    }

    /// Every instance there is.
    pub fn all_services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().flat_map(BTreeMap::values)
    }

    /// Every check there is, by node and id.
    pub fn all_checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.values().flat_map(BTreeMap::values)
    }

    /// The checks of a node and of everything on it, by id.
    pub fn checks_of(&self, node: &str) -> impl Iterator<Item = &Check> {
        self.checks.get(node).into_iter().flat_map(BTreeMap::values)
    }

    /// One check.
    pub fn check(&self, node: &str, id: &str) -> Option<&Check> {
        self.checks.get(node)?.get(id)
    }

    /// The checks that decide whether an instance is healthy: its node's, then its own.
    pub fn checks_for(&self, node: &str, service_id: &str) -> Vec<&Check> {
        let of_node = self.checks_of(node).filter(|check| check.service_id.is_empty());
        let own = self.checks_of(node).filter(|check| check.service_id == service_id && !service_id.is_empty());
        of_node.chain(own).collect()
    }

    /// The index of the node table.
    pub fn nodes_index(&self) -> u64 {
        self.indexes.nodes
    }

    /// The index of the service table.
    pub fn services_index(&self) -> u64 {
        self.indexes.services
    }

    /// The index of the check table.
    pub fn checks_index(&self) -> u64 {
        self.indexes.checks
    }

    /// The index that readers of one service wait on.
    pub fn service_index(&self, name: &str) -> u64 {
        let Indexes { nodes, services, checks, by_service, last_extinction } = &self.indexes;
        if !self.by_name.contains_key(name)
            && let Some(index) = last_extinction
        {
            return *index;
        }
        by_service.get(name).copied().unwrap_or_else(|| (*nodes).max(*services).max(*checks))
    }

    /// Rebuilds what is derived from the tables.
    pub(super) fn rebuild(&mut self) {
        self.by_name.clear();
        for (node, services) in &self.services {
            for (id, service) in services {
                self.by_name.entry(service.service.clone()).or_default().insert((node.clone(), id.clone()));
            }
        }
    }

    /// Registers a node, an instance and checks under one index. What is there already in the same form stays
    /// untouched.
    pub(super) fn register(
        &mut self,
        wanted: &Registration,
        index: u64,
        touched: &mut Touched,
    ) -> Result<Consequences, Refusal> {
        let name = wanted.node.node.as_str();
        self.check_registration(wanted)?;
        if !(wanted.skip_node_update && self.nodes.contains_key(name)) {
            self.put_node(&wanted.node, index, touched);
        }
        if let Some(service) = &wanted.service {
            self.put_service(name, service, index, touched);
        }
        let mut consequences = Consequences::default();
        for check in &wanted.checks {
            self.put_check(name, check, index, touched, &mut consequences);
        }
        Ok(consequences)
    }

    fn check_registration(&self, wanted: &Registration) -> Result<(), Refusal> {
        let node = wanted.node.node.as_str();
        let known = self.nodes.contains_key(node);
        if node.is_empty() {
            return Err(Refusal::Failed("Must provide node".into()));
        }
        if wanted.node.address.is_empty() && !(wanted.skip_node_update && known) {
            return Err(Refusal::Failed("Must provide address if SkipNodeUpdate is not set".into()));
        }
        if wanted.service.as_ref().is_some_and(|service| service.service.is_empty()) {
            return Err(Refusal::Failed("Must provide service name with ID".into()));
        }
        for check in wanted.checks.iter().filter(|check| !check.service_id.is_empty()) {
            let comes = wanted.service.as_ref().is_some_and(|service| service.id == check.service_id);
            if !comes && self.service(node, &check.service_id).is_none() {
                let words = format!("failed inserting check: Missing service registration on node {node:?}");
                return Err(Refusal::Failed(words));
            }
        }
        Ok(())
    }

    fn put_node(&mut self, wanted: &Node, index: u64, touched: &mut Touched) {
        let mut node = wanted.clone();
        let existing = self.nodes.get(&node.node);
        node.create_index = existing.map_or(index, |node| node.create_index);
        node.modify_index = existing.map_or(index, |node| node.modify_index);
        if existing == Some(&node) {
            return;
        }
        node.modify_index = index;
        let name = node.node.clone();
        self.nodes.insert(name.clone(), node);
        self.indexes.nodes = index;
        touched.nodes = true;
        self.touch_services_of(&name, index, touched);
    }

    fn put_service(&mut self, node: &str, wanted: &Service, index: u64, touched: &mut Touched) {
        let mut service = wanted.clone();
        let existing = self.service(node, &service.id);
        service.create_index = existing.map_or(index, |service| service.create_index);
        service.modify_index = existing.map_or(index, |service| service.modify_index);
        if existing == Some(&service) {
            return;
        }
        let old_name = existing.map(|service| service.service.clone()).filter(|old| *old != service.service);
        service.modify_index = index;
        let place = (node.to_owned(), service.id.clone());
        if let Some(old) = old_name {
            touched.service_names.insert(old.clone());
            self.drop_place(&old, &place);
        }
        self.by_name.entry(service.service.clone()).or_default().insert(place);
        self.touch_service(&service.service.clone(), index, touched);
        self.services.entry(node.to_owned()).or_default().insert(service.id.clone(), service);
        self.indexes.services = index;
        touched.services = true;
    }

    fn put_check(
        &mut self,
        node: &str,
        wanted: &Check,
        index: u64,
        touched: &mut Touched,
        consequences: &mut Consequences,
    ) {
        let mut check = wanted.clone();
        if let Some(service) = self.service(node, &check.service_id) {
            check.service_name.clone_from(&service.service);
            check.service_tags.clone_from(&service.tags);
        }
        if check.status == "critical" {
            consequences.failed_checks.push((node.to_owned(), check.check_id.clone()));
        }
        let existing = self.check(node, &check.check_id);
        check.create_index = existing.map_or(index, |check| check.create_index);
        check.modify_index = existing.map_or(index, |check| check.modify_index);
        if existing == Some(&check) {
            return;
        }
        touched.check_states.extend(existing.map(|check| check.status.clone()));
        check.modify_index = index;
        self.touch_check(node, &check, index, touched);
        self.checks.entry(node.to_owned()).or_default().insert(check.check_id.clone(), check);
    }

    /// Removes an instance and its checks.
    pub(super) fn remove_service(&mut self, node: &str, id: &str, index: u64, touched: &mut Touched) -> Consequences {
        let mut consequences = Consequences::default();
        let Some(service) = self.services.get_mut(node).and_then(|services| services.remove(id)) else {
            return consequences;
        };
        let checks = self.checks.get_mut(node).into_iter();
        let checks = checks.flat_map(|checks| checks.extract_if(.., |_, check| check.service_id == id));
        for (_, check) in checks {
            touched.checks = true;
            touched.check_states.insert(check.status);
            consequences.failed_checks.push((node.to_owned(), check.check_id));
        }
        self.touch_service(&service.service, index, touched);
        self.indexes.services = index;
        // Of its checks too, even if it had none, and then nobody who waits for a check wakes.
        self.indexes.checks = index;
        touched.services = true;
        if self.drop_place(&service.service, &(node.to_owned(), id.to_owned())) {
            self.indexes.by_service.remove(&service.service);
            self.indexes.last_extinction = Some(index);
        }
        consequences
    }

    /// Removes one check.
    pub(super) fn remove_check(&mut self, node: &str, id: &str, index: u64, touched: &mut Touched) -> Consequences {
        let mut consequences = Consequences::default();
        if let Some(check) = self.checks.get_mut(node).and_then(|checks| checks.remove(id)) {
            self.touch_check(node, &check, index, touched);
            if check.service_id.is_empty() {
                self.indexes.services = index;
                touched.services = true;
            }
            consequences.failed_checks.push((node.to_owned(), check.check_id));
        }
        consequences
    }

    /// Removes a node with everything on it.
    pub(super) fn remove_node(&mut self, node: &str, index: u64, touched: &mut Touched) -> Consequences {
        let mut consequences = Consequences::default();
        if !self.nodes.contains_key(node) {
            return consequences;
        }
        let services: Vec<String> = self.services_of(node).map(|service| service.id.clone()).collect();
        for id in services {
            self.remove_service(node, &id, index, touched);
        }
        for check in self.checks.remove(node).unwrap_or_default().into_values() {
            self.indexes.checks = index;
            touched.checks = true;
            touched.check_states.insert(check.status);
        }
        self.services.remove(node);
        self.nodes.remove(node);
        self.indexes.nodes = index;
        touched.nodes = true;
        consequences.lost_nodes.push(node.to_owned());
        consequences
    }

    /// Takes an instance out of the derived map. True if it was the last of its name.
    fn drop_place(&mut self, name: &str, place: &(String, String)) -> bool {
        let Some(places) = self.by_name.get_mut(name) else { return false };
        places.remove(place);
        let last = places.is_empty();
        if last {
            self.by_name.remove(name);
        }
        last
    }

    fn touch_service(&mut self, name: &str, index: u64, touched: &mut Touched) {
        self.indexes.by_service.insert(name.to_owned(), index);
        touched.service_names.insert(name.to_owned());
    }

    fn touch_services_of(&mut self, node: &str, index: u64, touched: &mut Touched) {
        let names: BTreeSet<String> = self.services_of(node).map(|service| service.service.clone()).collect();
        for name in names {
            self.touch_service(&name, index, touched);
        }
    }

    /// A check of a service moves that service; one of a node moves every service on it.
    fn touch_check(&mut self, node: &str, check: &Check, index: u64, touched: &mut Touched) {
        if check.service_id.is_empty() {
            self.touch_services_of(node, index, touched);
        } else if let Some(service) = self.service(node, &check.service_id) {
            let name = service.service.clone();
            self.touch_service(&name, index, touched);
        }
        self.indexes.checks = index;
        touched.checks = true;
        touched.check_states.insert(check.status.clone());
    }
}
