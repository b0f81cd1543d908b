//! Reading back what the store holds: objects, their status and history, instances and nodes.

use std::collections::BTreeMap;

use consul_client::{KvPair, Read};
use helium_crds::{
    DeploymentStatus, Kind, NodeName, ObjectKey,
    event::{Event, EventLog},
    instance::{Instance, Report},
    keys::{SENTINEL, SpecKey},
    node::{Heartbeat, NodeRecord},
    revision::Revision,
    status::HydraJobStatus,
};
use serde::de::DeserializeOwned;

use super::{
    People, PeopleError,
    manifest::{ObjectRef, Stored},
};

/// A value and the index at which it was last written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<T> {
    /// The value.
    pub value: T,
    /// Consul's `ModifyIndex` of its key.
    pub index: u64,
}

/// A node as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// What its agent wrote when it joined.
    pub record: NodeRecord,
    /// Its heartbeat, if its agent's session holds it now.
    pub heartbeat: Option<Heartbeat>,
}

/// An instance as people see it: what the controller intends and what its agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceView {
    /// The controller's record.
    pub instance: Instance,
    /// The agent's report, once there is one.
    pub report: Option<Report>,
}

impl People {
    /// One object, past every cache.
    pub async fn object(&self, name: &ObjectRef) -> Result<Option<Row<Stored>>, PeopleError> {
        self.value(&self.keys().spec(name.kind, &name.key)).await
    }

    /// One object that must be there.
    pub async fn existing(&self, name: &ObjectRef) -> Result<Row<Stored>, PeopleError> {
        self.object(name).await?.ok_or_else(|| PeopleError::NotFound(name.clone()))
    }

    /// Every object, in the order of kind, namespace and name. Values that are no objects are left out.
    pub async fn objects(&self) -> Result<Vec<Row<Stored>>, PeopleError> {
        let pairs = self.list(&format!("{}spec/", self.keys().root())).await?;
        Ok(self.parse_objects(&pairs))
    }

    /// The objects among the pairs of a listing of `spec/`.
    pub fn parse_objects(&self, pairs: &[KvPair]) -> Vec<Row<Stored>> {
        let is_object = |pair: &&KvPair| matches!(self.keys().parse_spec(&pair.key), Some(SpecKey::Object(..)));
        let mut rows: Vec<Row<Stored>> = pairs.iter().filter(is_object).filter_map(|pair| row(pair).ok()).collect();
        rows.sort_by_key(|row| ObjectRef::of(&row.value));
        rows
    }

    /// The status of one Deployment.
    pub async fn status(&self, key: &ObjectKey) -> Result<Option<DeploymentStatus>, PeopleError> {
        Ok(self.value(&self.keys().status(Kind::Deployment, key)).await?.map(|row| row.value))
    }

    /// The status of every Deployment.
    pub async fn statuses(&self) -> Result<BTreeMap<ObjectKey, DeploymentStatus>, PeopleError> {
        Ok(self.parse_statuses(&self.list(&format!("{}status/", self.keys().root())).await?))
    }

    /// The statuses among the pairs of a listing of `status/`.
    pub fn parse_statuses(&self, pairs: &[KvPair]) -> BTreeMap<ObjectKey, DeploymentStatus> {
        let parsed = |pair: &KvPair| match tail(&pair.key)? {
            (Kind::Deployment, key) => Some((key, row(pair).ok()?.value)),
            (Kind::Canary | Kind::HydraJob, _) => None,
        };
        pairs.iter().filter_map(parsed).collect()
    }

    /// The status of every Deployment, and of every HydraJob.
    pub async fn all_statuses(
        &self,
    ) -> Result<(BTreeMap<ObjectKey, DeploymentStatus>, BTreeMap<ObjectKey, HydraJobStatus>), PeopleError> {
        let pairs = self.list(&format!("{}status/", self.keys().root())).await?;
        Ok((self.parse_statuses(&pairs), self.parse_hydra_job_statuses(&pairs)))
    }

    /// The statuses of HydraJobs among the pairs of a listing of `status/`.
    pub fn parse_hydra_job_statuses(&self, pairs: &[KvPair]) -> BTreeMap<ObjectKey, HydraJobStatus> {
        let parsed = |pair: &KvPair| match tail(&pair.key)? {
            (Kind::HydraJob, key) => Some((key, row(pair).ok()?.value)),
            _ => None,
        };
        pairs.iter().filter_map(parsed).collect()
    }

    /// The history of one Deployment, oldest first.
    pub async fn revisions(&self, key: &ObjectKey) -> Result<Vec<Revision>, PeopleError> {
        let mut revisions: Vec<Revision> = self.values(&self.keys().revisions(key)).await?;
        revisions.sort_by_key(|revision| revision.number);
        Ok(revisions)
    }

    /// The instances of one Deployment, oldest first.
    pub async fn instances(&self, key: &ObjectKey) -> Result<Vec<InstanceView>, PeopleError> {
        let instances: Vec<Instance> = self.values(&self.keys().instances(key)).await?;
        let mut views = Vec::with_capacity(instances.len());
        for instance in instances {
            let report = self.value(&self.keys().report(&instance.node, &instance.id)).await?.map(|row| row.value);
            views.push(InstanceView { instance, report });
        }
        views.sort_by(|a, b| (a.instance.created_at, &a.instance.id).cmp(&(b.instance.created_at, &b.instance.id)));
        Ok(views)
    }

    /// Every node that has joined, by name.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, PeopleError> {
        let records: Vec<NodeRecord> = self.values(&self.keys().nodes()).await?;
        let heartbeats = self.list(&self.keys().heartbeats()).await?;
        let held = heartbeats.iter().filter(|pair| pair.session.is_some());
        let held: Vec<Heartbeat> = held.filter_map(|pair| row(pair).ok()).map(|row| row.value).collect();
        let view = |record: NodeRecord| {
            let heartbeat = held.iter().find(|heartbeat| heartbeat.name == record.name).cloned();
            NodeView { record, heartbeat }
        };
        Ok(records.into_iter().map(view).collect())
    }

    /// How many instances are assigned to each node.
    pub async fn load(&self) -> Result<BTreeMap<NodeName, u32>, PeopleError> {
        let root = self.keys().assignments_root();
        let mut load = BTreeMap::new();
        for key in self.client().kv_keys(&root, None, &Read::consistent()).await?.value {
            let Some((node, id)) = key.strip_prefix(&root).and_then(|rest| rest.split_once('/')) else { continue };
            if id != SENTINEL {
                *load.entry(NodeName::from(node)).or_default() += 1;
            }
        }
        Ok(load)
    }

    /// The last events of one object.
    pub async fn events(&self, name: &ObjectRef) -> Result<EventLog, PeopleError> {
        let log = self.value(&self.keys().events(name.kind, &name.key)).await?;
        Ok(log.map(|row| row.value).unwrap_or_default())
    }

    /// The events among the pairs of a listing of `events/`, each with its object.
    pub fn parse_events(&self, pairs: &[KvPair]) -> Vec<(ObjectRef, Event)> {
        let object = |pair: &KvPair| {
            let (kind, key) = tail(&pair.key)?;
            Some(ObjectRef::new(kind, key))
        };
        let events = |pair: &KvPair| {
            let log: EventLog = row(pair).ok()?.value;
            let object = object(pair)?;
            Some(log.events.into_iter().map(move |event| (object.clone(), event)))
        };
        pairs.iter().filter_map(events).flatten().collect()
    }

    /// The key that the leading controller holds, with its session; none while nobody leads.
    pub async fn leader(&self) -> Result<Option<KvPair>, PeopleError> {
        let lock = self.client().kv_get(&self.keys().controller_lock(), &Read::consistent()).await?.value;
        Ok(lock.filter(|pair| pair.session.is_some()))
    }

    /// All pairs under a prefix, past every cache.
    async fn list(&self, prefix: &str) -> Result<Vec<KvPair>, PeopleError> {
        Ok(self.client().kv_list(prefix, &Read::consistent()).await?.value)
    }

    /// One value, past every cache.
    pub(super) async fn value<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Row<T>>, PeopleError> {
        self.pair(key).await?.as_ref().map(row).transpose()
    }

    /// One value as it is stored, past every cache.
    pub(super) async fn pair(&self, key: &str) -> Result<Option<KvPair>, PeopleError> {
        Ok(self.client().kv_get(key, &Read::consistent()).await?.value)
    }

    /// The values under a prefix that can be read; sentinels are none.
    async fn values<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, PeopleError> {
        let pairs = self.list(prefix).await?;
        let real = pairs.iter().filter(|pair| !pair.key.ends_with(SENTINEL));
        Ok(real.filter_map(|pair| row(pair).ok()).map(|row| row.value).collect())
    }
}

/// The object that a key ends in: `.../<namespace>/<kind>/<name>`.
fn tail(key: &str) -> Option<(Kind, ObjectKey)> {
    let mut parts = key.rsplit('/');
    let (name, kind, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    Some((Kind::from_name(kind)?, ObjectKey::new(namespace, name)))
}

/// Reads one pair.
pub(super) fn row<T: DeserializeOwned>(pair: &KvPair) -> Result<Row<T>, PeopleError> {
    let value = serde_json::from_slice(&pair.value)
        .map_err(|error| PeopleError::Unreadable { key: pair.key.clone(), why: error.to_string() })?;
    Ok(Row { value, index: pair.modify_index })
}
