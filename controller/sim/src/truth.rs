//! The truth about one object, read from the server's state itself: no actor sees so much.

use std::{
    any::Any,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use consul_embedded::state::{Entry, Node, Service, State};
use helium_crds::{
    AnyObject, Canary, Deployment, DeploymentStatus, InstanceId, Kind, NodeName, ObjectKey, RevisionId,
    instance::{Assignment, Desired, Instance, InstancePhase, Report, STANDBY_CHECK, check_id, service_id},
    keys::{Keys, SENTINEL},
    revision::Revision,
};
use serde::de::DeserializeOwned;

/// Everything about one Deployment that is in the store.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// The Deployment, if there is one that can be read.
    pub deployment: Option<Deployment>,
    /// Whether there is a spec, readable or not.
    pub has_spec: bool,
    /// Its Canary.
    pub canary: Option<Canary>,
    /// Its status.
    pub status: Option<DeploymentStatus>,
    /// Its instances, those included of which only the assignment is left.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// Those of which only the assignment is left.
    pub orphans: BTreeSet<InstanceId>,
}

/// The bytes of a value, and what they were parsed into.
type Parsed = (Bytes, Arc<dyn Any + Send + Sync>);

/// What a value that cannot be read was parsed into.
struct Unreadable;

thread_local! {
    /// What was parsed last under each key: most values stay the same from look to look, and parsing is what looking costs.
    static PARSED: RefCell<HashMap<String, Parsed>> = RefCell::new(HashMap::new());
}

/// The value under a key.
pub fn value<T: DeserializeOwned + Clone + Send + Sync + 'static>(state: &State, key: &str) -> Option<T> {
    shared(state, key).map(Arc::unwrap_or_clone)
}

/// The same for who only looks: the same value is the same place in memory from look to look.
pub fn shared<T: DeserializeOwned + Send + Sync + 'static>(state: &State, key: &str) -> Option<Arc<T>> {
    parsed(state.kv().get(key)?, from_json)
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

fn parsed<T: Send + Sync + 'static>(entry: &Entry, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<Arc<T>> {
    let known = PARSED.with_borrow(|parsed| {
        let (bytes, value) = parsed.get(&entry.key)?;
        // What was not written anew is not even compared.
        let same = bytes.as_ptr() == entry.value.as_ptr() && bytes.len() == entry.value.len();
        (same || *bytes == entry.value).then(|| Arc::clone(value))
    });
    match known.map(|known| (known.is::<Unreadable>(), known.downcast::<T>())) {
        Some((_, Ok(value))) => return Some(value),
        Some((true, _)) => return None,
        _ => {}
    }
    let value = parse(&entry.value).map(Arc::new);
    let kept: Arc<dyn Any + Send + Sync> = match &value {
        Some(value) => Arc::clone(value) as _,
        None => Arc::new(Unreadable),
    };
    PARSED.with_borrow_mut(|parsed| parsed.insert(entry.key.clone(), (entry.value.clone(), kept)));
    value
}

/// Every object of which there is a spec.
pub fn objects(state: &State) -> Vec<ObjectKey> {
    let keys = Keys::default();
    let root = format!("{}spec/", keys.root());
    let mut found = Vec::new();
    for entry in state.kv().under(&root) {
        if let Some(helium_crds::keys::SpecKey::Object(Kind::Deployment, object)) = keys.parse_spec(&entry.key) {
            found.push(object);
        }
    }
    found.sort();
    found
}

impl Truth {
    /// What the store holds about an object.
    pub fn of(state: &State, object: &ObjectKey) -> Self {
        let keys = Keys::default();
        let spec = state.kv().get(&keys.spec(Kind::Deployment, object));
        let deployment = spec.and_then(|entry| {
            parsed(entry, |bytes| match AnyObject::from_json(bytes).ok()? {
                AnyObject::Deployment(deployment) => Some(deployment),
                AnyObject::Canary(_) | AnyObject::HydraJob(_) => None,
            })
        });
        let prefix = keys.instances(object);
        let mut all: BTreeMap<_, _> = instances(state, &prefix).map(|one| (one.id.clone(), one)).collect();
        let mut orphans = BTreeSet::new();
        for orphan in orphans_of(state).filter(|orphan| orphan.deployment == *object) {
            orphans.insert(orphan.id.clone());
            all.insert(orphan.id.clone(), orphan);
        }
        Self {
            deployment: deployment.map(Arc::unwrap_or_clone),
            has_spec: spec.is_some(),
            canary: value(state, &keys.spec(Kind::Canary, object)),
            status: value(state, &keys.status(Kind::Deployment, object)),
            instances: all,
            orphans,
        }
    }

    /// Those that should run.
    pub fn running(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(|instance| instance.desired == Desired::Run)
    }

    /// How many healthy ones there must be at least, and how many may take room at most.
    pub fn bounds(&self) -> Option<(u32, u32)> {
        use helium_crds::deployment::Strategy;
        let spec = &self.deployment.as_ref()?.spec;
        let wanted = spec.wanted();
        Some(match spec.strategy {
            Strategy::Recreate(_) => (0, wanted),
            Strategy::Rolling(rolling) => {
                let surge = rolling.max_surge.rounded_up(wanted);
                let down = rolling.max_unavailable.rounded_down(wanted);
                let down = if surge == 0 { down.max(1) } else { down };
                (wanted.saturating_sub(down), wanted + surge)
            }
        })
    }
}

/// The instances under a prefix.
pub fn instances<'a>(state: &'a State, prefix: &'a str) -> impl Iterator<Item = Instance> + 'a {
    shared_instances(state, prefix).map(Arc::unwrap_or_clone)
}

/// The same for who only looks.
pub fn shared_instances<'a>(state: &'a State, prefix: &'a str) -> impl Iterator<Item = Arc<Instance>> + 'a {
    state.kv().under(prefix).filter_map(|entry| parsed(entry, from_json))
}

/// The record of an instance.
pub fn instance(state: &State, object: &ObjectKey, id: &InstanceId) -> Option<Instance> {
    value(state, &Keys::default().instance(object, id))
}

/// The revisions that are kept of an object.
pub fn revisions(state: &State, object: &ObjectKey) -> Vec<Revision> {
    let prefix = Keys::default().revisions(object);
    let entries = state.kv().under(&prefix);
    entries.filter_map(|entry| parsed(entry, from_json)).map(Arc::unwrap_or_clone).collect()
}

/// One revision that is kept of an object.
pub fn revision(state: &State, object: &ObjectKey, id: &RevisionId) -> Option<Arc<Revision>> {
    shared(state, &Keys::default().revision(object, id))
}

/// What is stored below a prefix, folders aside.
pub fn keys_under<'a>(state: &'a State, prefix: &'a str) -> impl Iterator<Item = &'a Entry> + 'a {
    state.kv().under(prefix).filter(move |entry| entry.key.len() > prefix.len() && !entry.key.ends_with('/'))
}

/// The values of a Deployment as they are in the store; none if they cannot be seen, for want of the sentinel, or are no text.
pub fn values(state: &State, object: &ObjectKey) -> Option<BTreeMap<String, String>> {
    let keys = Keys::default();
    state.kv().get(&format!("{}{SENTINEL}", keys.overrides_root()))?;
    let prefix = keys.overrides(object);
    let text = |entry: &Entry| {
        let text = std::str::from_utf8(&entry.value).ok()?;
        Some((entry.key[prefix.len()..].to_owned(), text.to_owned()))
    };
    keys_under(state, &prefix).map(text).collect()
}

/// Instances of which only the assignment is left, because somebody deleted the record by hand.
pub fn orphans_of(state: &State) -> impl Iterator<Item = Instance> + '_ {
    let keys = Keys::default();
    let entries = state.kv().under("helium/v1/assign/");
    entries.filter_map(move |entry| {
        let assigned: Arc<Assignment> = parsed(entry, from_json)?;
        if state.kv().get(&keys.instance(&assigned.deployment, &assigned.id)).is_some() {
            return None;
        }
        let assigned = Arc::unwrap_or_clone(assigned);
        let node = entry.key.rsplit('/').nth(1).map(NodeName::from)?;
        Some(Instance {
            id: assigned.id,
            deployment: assigned.deployment,
            uid: assigned.uid,
            revision: assigned.revision,
            version: assigned.template.version,
            node,
            desired: assigned.desired,
            role: assigned.role,
            created_at: assigned.created_at,
            healthy_since: None,
            check_index: 0,
            has_been_healthy: false,
            serves_since: None,
            node_missing_since: None,
        })
    })
}

/// Whether Consul has the check that keeps an instance on standby from passing.
pub fn is_shielded(state: &State, instance: &Instance) -> bool {
    let id = check_id(&instance.id, STANDBY_CHECK);
    state
        .catalog()
        .checks_for(instance.node.as_str(), &service_id(&instance.id))
        .iter()
        .any(|check| check.check_id == id)
}

/// Whether a node's heartbeat is there.
pub fn heartbeat(state: &State, node: &NodeName) -> bool {
    state.kv().get(&Keys::default().heartbeat(node)).is_some_and(|entry| entry.session.is_some())
}

/// What its agent says of an instance.
pub fn report(state: &State, instance: &Instance) -> Option<Arc<Report>> {
    shared(state, &Keys::default().report(&instance.node, &instance.id))
}

/// The assignment of an instance.
pub fn assignment(state: &State, instance: &Instance) -> Option<Arc<Assignment>> {
    shared(state, &Keys::default().assignment(&instance.node, &instance.id))
}

/// Whether an instance without an assignment still runs and is registered, with every check that it has passing.
pub fn serves_unassigned(state: &State, instance: &Instance) -> bool {
    let runs = report(state, instance).is_some_and(|report| report.phase == InstancePhase::Running);
    let id = service_id(&instance.id);
    let node = instance.node.as_str();
    let checks = state.catalog().checks_for(node, &id);
    runs && assignment(state, instance).is_none()
        && heartbeat(state, &instance.node)
        && state.catalog().service(node, &id).is_some()
        && checks.iter().all(|check| check.status == "passing")
}

/// Whether an instance is healthy by all that the store says: heartbeat, report, and every check of its assignment. One on standby may be.
pub fn is_healthy(state: &State, instance: &Instance) -> bool {
    let Some(assignment) = runs(state, instance) else { return false };
    let id = service_id(&instance.id);
    let mut registered = state.catalog().instances(&assignment.service.name).filter(|(_, service)| service.id == id);
    registered.any(|(node, _)| passes(state, instance, &assignment, node))
}

/// The assignment of an instance that its agent says to run, and whose heartbeat is there.
fn runs(state: &State, instance: &Instance) -> Option<Arc<Assignment>> {
    let runs = report(state, instance).is_some_and(|report| report.phase == InstancePhase::Running);
    if runs && heartbeat(state, &instance.node) { assignment(state, instance) } else { None }
}

/// Whether every check that counts for an instance passes on the Consul node where it is registered.
fn passes(state: &State, instance: &Instance, assignment: &Assignment, node: &Node) -> bool {
    let passing = |id: &str| state.catalog().check(&node.node, id).is_some_and(|check| check.status == "passing");
    let there = state.catalog().check(&node.node, "serfHealth").is_none_or(|check| check.status != "critical");
    there && assignment.template.checks.iter().all(|check| passing(&check_id(&instance.id, &check.name)))
}

/// Every service of the catalog by its id, for who looks at many instances at once: finding each among all of its service takes as long as
/// there are instances.
pub struct Registered<'s> {
    state: &'s State,
    by_id: HashMap<&'s str, (&'s Node, &'s Service)>,
}

impl<'s> Registered<'s> {
    /// The catalog of a state, in which no two nodes have a service of the same id.
    pub fn of(state: &'s State) -> Self {
        let catalog = state.catalog();
        let on =
            |node: &'s Node| catalog.services_of(&node.node).map(move |service| (service.id.as_str(), (node, service)));
        Self { state, by_id: catalog.nodes().flat_map(on).collect() }
    }

    /// The service that is registered for an assignment.
    pub fn service(&self, assignment: &Assignment) -> Option<&'s Service> {
        self.find(&assignment.service.id, &assignment.service.name).map(|(_, service)| service)
    }

    /// The same as [`is_healthy`].
    pub fn is_healthy(&self, instance: &Instance) -> bool {
        let Some(assignment) = runs(self.state, instance) else { return false };
        let found = self.find(&service_id(&instance.id), &assignment.service.name);
        found.is_some_and(|(node, _)| passes(self.state, instance, &assignment, node))
    }

    fn find(&self, id: &str, name: &str) -> Option<(&'s Node, &'s Service)> {
        self.by_id.get(id).copied().filter(|(_, service)| service.service == name)
    }
}
