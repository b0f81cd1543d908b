//! Reads what the controller itself has written back from the store, past every cache.
//!
//! Design: an empty list proves nothing, since that is also what a token without rights and a wiped prefix look like. So a listing
//! of a shard counts only if its sentinel is in it, and the reads of one object count only if the sentinels of their prefixes can be
//! read after them.

use std::collections::{BTreeMap, BTreeSet};

use consul_client::{Client, KvPair, Read};
use futures::{StreamExt, TryStreamExt, stream};
use helium_crds::{
    InstanceId, Kind, NodeName, ObjectKey, RevisionId,
    keys::{self, Keys, SENTINEL},
};

use crate::records::{Held, KnownEvents, Placed, Raw, parts_below};

/// How many of these reads go on at the same time.
const AT_ONCE: usize = 6;

/// Why the records could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RereadError {
    /// The token has no right to read them.
    #[error("{0}")]
    Denied(consul_client::Error),
    /// A prefix has lost its sentinel, or the token has lost the right to see it.
    #[error("the sentinel {key} is missing: the prefix was wiped, or the token cannot read it (see helium doctor)")]
    MissingSentinel {
        /// The sentinel's key.
        key: String,
    },
    /// The store did not answer.
    #[error("{0}")]
    Store(consul_client::Error),
}

impl From<consul_client::Error> for RereadError {
    fn from(error: consul_client::Error) -> Self {
        if error.is_denied() { Self::Denied(error) } else { Self::Store(error) }
    }
}

/// Reads records past every cache.
#[derive(Clone)]
pub struct Reader {
    client: Client,
    keys: Keys,
}

impl Reader {
    /// A reader of the records under `keys`.
    pub fn new(client: Client, keys: Keys) -> Self {
        Self { client, keys }
    }

    /// The records of every Deployment. Events are left [`KnownEvents::Unread`].
    pub async fn everything(&self) -> Result<BTreeMap<ObjectKey, Held>, RereadError> {
        let shards: Vec<char> = keys::shards().collect();
        let parts = stream::iter(shards).map(|shard| self.shard(shard)).buffered(AT_ONCE);
        let mut objects: BTreeMap<ObjectKey, Held> = BTreeMap::new();
        for part in parts.try_collect::<Vec<_>>().await? {
            objects.extend(part);
        }
        for (object, id, placed) in self.all_assignments(&mut objects).await? {
            objects.entry(object).or_default().assignments.insert(id, placed);
        }
        Ok(objects)
    }

    /// The records of one Deployment. `nodes`: where assignments of it were last known to be.
    pub async fn object(&self, object: &ObjectKey, nodes: &BTreeSet<NodeName>) -> Result<Held, RereadError> {
        let mut held = Held { status: self.get(&self.keys.status(Kind::Deployment, object)).await?, ..Held::default() };
        let prefix = self.keys.instances(object);
        for pair in self.list(&prefix).await? {
            if let [id] = parts_below(&pair.key, &prefix).as_slice() {
                held.instances.insert(InstanceId::new(*id), raw(&pair));
            }
        }
        let prefix = self.keys.revisions(object);
        for pair in self.list(&prefix).await? {
            if let [id] = parts_below(&pair.key, &prefix).as_slice() {
                held.revisions.insert(RevisionId::new(*id), raw(&pair));
            }
        }
        held.events = KnownEvents::Read(self.events(object).await?);
        self.assignments_of(object, nodes, &mut held).await?;
        self.prove(object).await?;
        Ok(held)
    }

    /// The events of one Deployment.
    pub async fn events(&self, object: &ObjectKey) -> Result<Option<Raw>, RereadError> {
        self.get(&self.keys.events(Kind::Deployment, object)).await
    }

    /// Adds the assignments of one Deployment, which lie under the nodes that its instances name and those known before.
    async fn assignments_of(
        &self,
        object: &ObjectKey,
        nodes: &BTreeSet<NodeName>,
        held: &mut Held,
    ) -> Result<(), RereadError> {
        let named = held.instances.values().filter_map(|raw| {
            let record: serde_json::Value = serde_json::from_slice(&raw.value).ok()?;
            record.get("node").and_then(|node| node.as_str()).map(NodeName::from)
        });
        let nodes: BTreeSet<NodeName> = named.chain(nodes.iter().cloned()).collect();
        let lists = stream::iter(nodes).map(|node| self.node_assignments(node)).buffered(AT_ONCE);
        for (node, id, raw) in lists.try_collect::<Vec<_>>().await?.into_iter().flatten() {
            match Placed::read(node, raw) {
                Ok((owner, placed)) if owner == *object => drop(held.assignments.insert(id, placed)),
                Err(error) if held.instances.contains_key(&id) => {
                    held.unreadable = Some(format!("assignment of {id}: {error}"));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Status, instances and history of one shard.
    async fn shard(&self, shard: char) -> Result<BTreeMap<ObjectKey, Held>, RereadError> {
        let mut objects: BTreeMap<ObjectKey, Held> = BTreeMap::new();
        let prefix = self.keys.status_shard(shard);
        for pair in self.list_proven(&prefix).await? {
            if let [namespace, kind, name] = parts_below(&pair.key, &prefix).as_slice()
                && *kind == Kind::Deployment.singular()
            {
                objects.entry(ObjectKey::new(*namespace, *name)).or_default().status = Some(raw(&pair));
            }
        }
        let prefix = self.keys.instance_shard(shard);
        for pair in self.list_proven(&prefix).await? {
            if let [namespace, name, id] = parts_below(&pair.key, &prefix).as_slice() {
                let held = objects.entry(ObjectKey::new(*namespace, *name)).or_default();
                held.instances.insert(InstanceId::new(*id), raw(&pair));
            }
        }
        let prefix = self.keys.revision_shard(shard);
        for pair in self.list_proven(&prefix).await? {
            if let [namespace, name, id] = parts_below(&pair.key, &prefix).as_slice() {
                let held = objects.entry(ObjectKey::new(*namespace, *name)).or_default();
                held.revisions.insert(RevisionId::new(*id), raw(&pair));
            }
        }
        Ok(objects)
    }

    /// Every assignment with its owner. One that cannot be read blinds the object whose instance it is.
    async fn all_assignments(
        &self,
        objects: &mut BTreeMap<ObjectKey, Held>,
    ) -> Result<Vec<(ObjectKey, InstanceId, Placed)>, RereadError> {
        let root = self.keys.assignments_root();
        let names = self.client.kv_keys(&root, Some("/"), &Read::consistent()).await?.value;
        let sentinel = format!("{root}{SENTINEL}");
        if !names.contains(&sentinel) {
            return Err(RereadError::MissingSentinel { key: sentinel });
        }
        let nodes = names.iter().filter_map(|name| name.strip_prefix(&root)?.strip_suffix('/').map(NodeName::from));
        let lists = stream::iter(nodes.collect::<Vec<_>>()).map(|node| self.node_assignments(node)).buffered(AT_ONCE);
        let mut all = Vec::new();
        for (node, id, raw) in lists.try_collect::<Vec<_>>().await?.into_iter().flatten() {
            match Placed::read(node, raw) {
                Ok((owner, placed)) => all.push((owner, id, placed)),
                Err(error) => {
                    let owner = objects.values_mut().find(|held| held.instances.contains_key(&id));
                    tracing::warn!(instance = %id, %error, "an assignment cannot be read");
                    if let Some(held) = owner {
                        held.unreadable = Some(format!("assignment of {id}: {error}"));
                    }
                }
            }
        }
        Ok(all)
    }

    async fn node_assignments(&self, node: NodeName) -> Result<Vec<(NodeName, InstanceId, Raw)>, RereadError> {
        let prefix = self.keys.assignments(&node);
        let mut found = Vec::new();
        for pair in self.list(&prefix).await? {
            if let [id] = parts_below(&pair.key, &prefix).as_slice()
                && *id != SENTINEL
            {
                found.push((node.clone(), InstanceId::new(*id), raw(&pair)));
            }
        }
        Ok(found)
    }

    /// Proves that what was just read of one object could be read: the sentinels of its prefixes are there.
    async fn prove(&self, object: &ObjectKey) -> Result<(), RereadError> {
        let shard = keys::shard(object);
        let prefixes = [
            self.keys.status_shard(&shard),
            self.keys.instance_shard(&shard),
            self.keys.revision_shard(&shard),
            self.keys.assignments_root(),
        ];
        for prefix in prefixes {
            let key = format!("{prefix}{SENTINEL}");
            if self.get(&key).await?.is_none() {
                return Err(RereadError::MissingSentinel { key });
            }
        }
        Ok(())
    }

    /// All pairs of a shard but its sentinel, which must be there.
    async fn list_proven(&self, prefix: &str) -> Result<Vec<KvPair>, RereadError> {
        let mut pairs = self.list(prefix).await?;
        let key = format!("{prefix}{SENTINEL}");
        let before = pairs.len();
        pairs.retain(|pair| pair.key != key);
        if pairs.len() == before { Err(RereadError::MissingSentinel { key }) } else { Ok(pairs) }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<KvPair>, RereadError> {
        Ok(self.client.kv_list(prefix, &Read::consistent()).await?.value)
    }

    async fn get(&self, key: &str) -> Result<Option<Raw>, RereadError> {
        Ok(self.client.kv_get(key, &Read::consistent()).await?.value.as_ref().map(raw))
    }
}

fn raw(pair: &KvPair) -> Raw {
    Raw { value: pair.value.clone(), index: pair.modify_index }
}
