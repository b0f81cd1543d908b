//! What is read of the real store for a preview. Nothing is ever written to it.

use std::collections::{BTreeMap, BTreeSet};

use consul_client::{KvPair, Read};
use helium_crds::{
    AnyObject, Kind, ObjectKey,
    instance::Assignment,
    keys::{Keys, SENTINEL},
};
use helium_engine::people::{Applied, Condition, ObjectRef, Outcome, People, PeopleError, read::NodeView};
use jiff::Timestamp;

use super::PreviewError;

/// A copy of what the real store holds of the Deployments that documents are about, of all nodes, and of the places that are taken.
///
/// Health is taken from the records, as the controller saw it last: whoever may apply need not have the right to read the catalog.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub(super) now: Timestamp,
    /// The documents that are not stored as they are declared.
    pub(super) changes: Vec<AnyObject>,
    /// The Deployments that those are about, and whether each is made by them.
    pub(super) objects: BTreeMap<ObjectKey, bool>,
    /// The records, under the keys that they have in a store with the usual root.
    pub(super) records: BTreeMap<String, Vec<u8>>,
    /// Every node that has joined.
    pub(super) nodes: Vec<NodeView>,
}

impl Snapshot {
    /// Reads what a preview of `declared` needs; `applied` is what [`People::preview`] said of it. None if nothing would change.
    pub async fn take(
        people: &People,
        declared: &[AnyObject],
        applied: &[Applied],
    ) -> Result<Option<Self>, PreviewError> {
        let differs = |object: &&AnyObject| {
            let name = ObjectRef::of_any(object);
            applied.iter().any(|applied| applied.object == name && applied.outcome != Outcome::Unchanged)
        };
        let changes: Vec<AnyObject> = declared.iter().filter(differs).cloned().collect();
        if changes.is_empty() {
            return Ok(None);
        }
        match people.condition().await? {
            Condition::LayoutLost => return Err(PeopleError::LayoutLost { key: people.keys().layout() }.into()),
            Condition::SentinelsLost(missing) => {
                let sentinel = missing.into_iter().next().unwrap_or_default();
                return Err(PreviewError::Damaged { sentinel });
            }
            Condition::New | Condition::HalfMade | Condition::Sound(_) => {}
        }
        let mut reading = Reading { people, records: BTreeMap::new() };
        let mut objects = BTreeMap::new();
        // What becomes of a Deployment is foreseen where it or its Canary changes.
        for object in changes.iter().filter(|object| Kind::OF_A_ROLLOUT.contains(&object.kind())) {
            let key = object.key();
            let deployment = reading.object(&key).await?;
            if deployment || object.kind() == Kind::Deployment {
                objects.insert(key, !deployment);
            }
        }
        for change in &changes {
            reading.version_of(change).await?;
        }
        reading.places(&objects.keys().cloned().collect()).await?;
        let nodes = people.nodes().await?;
        Ok(Some(Self { now: people.ports().now(), changes, objects, records: reading.records, nodes }))
    }
}

/// The records as they are being read.
struct Reading<'a> {
    people: &'a People,
    records: BTreeMap<String, Vec<u8>>,
}

impl Reading<'_> {
    /// Reads everything of one Deployment but its places. Gives whether there is one.
    async fn object(&mut self, key: &ObjectKey) -> Result<bool, PreviewError> {
        let keys = self.people.keys().clone();
        for kind in Kind::OF_A_ROLLOUT {
            self.one(&keys.spec(kind, key)).await?;
            self.one(&keys.control(kind, key)).await?;
        }
        self.one(&keys.status(Kind::Deployment, key)).await?;
        let stored = self.records.get(&Keys::default().spec(Kind::Deployment, key));
        if let Some(stored) = stored.and_then(|stored| AnyObject::from_json(stored).ok()) {
            self.version_of(&stored).await?;
        }
        self.all(&keys.instances(key)).await?;
        self.all(&keys.revisions(key)).await?;
        self.all(&keys.overrides(key)).await?;
        Ok(self.records.contains_key(&Keys::default().spec(Kind::Deployment, key)))
    }

    /// Reads what a Deployment takes its version from.
    async fn version_of(&mut self, object: &AnyObject) -> Result<(), PreviewError> {
        let AnyObject::Deployment(deployment) = object else { return Ok(()) };
        let Some(from) = &deployment.spec.version_from else { return Ok(()) };
        let job = ObjectKey::new(&deployment.metadata.namespace, &from.hydra_job);
        self.one(&self.people.keys().clone().status(Kind::HydraJob, &job)).await
    }

    /// Reads which places are taken, by whomever, and what is reported of the instances of `objects`.
    async fn places(&mut self, objects: &BTreeSet<ObjectKey>) -> Result<(), PreviewError> {
        let keys = self.people.keys().clone();
        let root = keys.assignments_root();
        let mut own = BTreeSet::new();
        let mut nodes = BTreeSet::new();
        for pair in self.all(&root).await? {
            let Some((node, id)) = pair.key.strip_prefix(&root).and_then(|rest| rest.split_once('/')) else { continue };
            let assigned: Option<Assignment> = serde_json::from_slice(&pair.value).ok();
            if id != SENTINEL && assigned.is_some_and(|assigned| objects.contains(&assigned.deployment)) {
                own.insert(id.to_owned());
                nodes.insert(node.into());
            }
        }
        for node in nodes {
            let prefix = keys.reports(&node);
            for pair in self.list(&prefix).await? {
                if pair.key.strip_prefix(&prefix).is_some_and(|id| own.contains(id)) {
                    self.keep(&pair);
                }
            }
        }
        Ok(())
    }

    async fn one(&mut self, key: &str) -> Result<(), PreviewError> {
        let found = self.people.client().kv_get(key, &Read::consistent()).await.map_err(PeopleError::from)?;
        if let Some(pair) = found.value {
            self.keep(&pair);
        }
        Ok(())
    }

    /// Keeps all pairs under a prefix, and gives them.
    async fn all(&mut self, prefix: &str) -> Result<Vec<KvPair>, PreviewError> {
        let pairs = self.list(prefix).await?;
        for pair in &pairs {
            self.keep(pair);
        }
        Ok(pairs)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KvPair>, PreviewError> {
        let found = self.people.client().kv_list(prefix, &Read::consistent()).await.map_err(PeopleError::from)?;
        Ok(found.value)
    }

    /// Keeps a pair under the key that it has where the root is the usual one.
    fn keep(&mut self, pair: &KvPair) {
        if let Some(rest) = pair.key.strip_prefix(self.people.keys().root()) {
            self.records.insert(format!("{}{rest}", Keys::default().root()), pair.value.to_vec());
        }
    }
}
