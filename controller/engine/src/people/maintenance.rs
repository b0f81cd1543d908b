//! Maintenance of a node or of single instances: begun and ended by people, from anywhere; their agent does it.

use std::collections::BTreeSet;

use bytes::Bytes;
use consul_client::{Error, Put, Read};
use helium_crds::{
    InstanceId, NodeName,
    keys::SENTINEL,
    maintenance::{Maintenance, Mark},
    node::NodeRecord,
};

use super::People;

/// How often somebody else may be faster before this gives up.
const TRIES: usize = 5;

/// What of a node is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The node, with all that is or comes to be on it.
    Node,
    /// Single instances.
    Instances(Vec<InstanceId>),
}

/// Why maintenance could not begin or end. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// Consul did not answer, or refused.
    #[error(transparent)]
    Store(#[from] Error),
    /// No such node has joined.
    #[error("no node `{node}` has joined; there is {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    NoNode {
        /// The node.
        node: NodeName,
        /// Those that have.
        known: Vec<String>,
    },
    /// No such instance is assigned to the node.
    #[error("no instance `{id}` on node `{node}`; there is {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    NoInstance {
        /// The instance.
        id: InstanceId,
        /// The node.
        node: NodeName,
        /// Those that are.
        known: Vec<String>,
    },
    /// What is there cannot be read.
    #[error("`{key}` cannot be read ({reason}); remove or mend it by hand")]
    Garbled {
        /// The key.
        key: String,
        /// Why.
        reason: String,
    },
    /// Others change it again and again.
    #[error("others change the maintenance of `{node}` at the same time; try again")]
    Busy {
        /// The node.
        node: NodeName,
    },
}

impl People {
    /// What of a node is in maintenance, and the node's own record, which its agent has written.
    pub async fn maintenance(&self, node: &NodeName) -> Result<(Maintenance, NodeRecord), MaintenanceError> {
        let record = self.joined(node).await?;
        Ok((self.marks(node).await?.0, record))
    }

    /// Begins maintenance, or gives it another reason: what is so from now on, and whether that is a change.
    pub async fn begin_maintenance(
        &self,
        node: &NodeName,
        whom: &Whom,
        reason: &str,
    ) -> Result<(Maintenance, bool), MaintenanceError> {
        let assigned = self.assigned(node).await?;
        if let (Whom::Instances(ids), Some(known)) = (whom, &assigned)
            && let Some(id) = ids.iter().find(|id| !known.contains(id))
        {
            let known = known.iter().map(ToString::to_string).collect();
            return Err(MaintenanceError::NoInstance { id: id.clone(), node: node.clone(), known });
        }
        let mark = Mark { reason: reason.to_owned(), by: self.who.by.clone(), since: self.ports().now() };
        self.remark(node, assigned, |marks| begin(marks, whom, &mark)).await
    }

    /// Ends maintenance: what is so from now on, and whether that is a change. What is in none is no error.
    pub async fn end_maintenance(&self, node: &NodeName, whom: &Whom) -> Result<(Maintenance, bool), MaintenanceError> {
        let assigned = self.assigned(node).await?;
        self.remark(node, assigned, |marks| end(marks, whom)).await
    }

    async fn remark(
        &self,
        node: &NodeName,
        assigned: Option<BTreeSet<InstanceId>>,
        edit: impl Fn(&mut Maintenance),
    ) -> Result<(Maintenance, bool), MaintenanceError> {
        self.joined(node).await?;
        for _ in 0..TRIES {
            let (before, index) = self.marks(node).await?;
            let mut marks = before.clone();
            if let Some(assigned) = &assigned {
                marks.instances.retain(|id, _| assigned.contains(id));
            }
            edit(&mut marks);
            if marks == before && index > 0 {
                return Ok((marks, false));
            }
            let value = Bytes::from(serde_json::to_vec(&marks).unwrap_or_default());
            // An answer that was lost is no trouble: whoever tries again finds what is wanted, or writes it.
            if self.client().kv_put(&self.keys().maintenance(node), value, &Put::cas(index)).await? {
                return Ok((marks, true));
            }
        }
        Err(MaintenanceError::Busy { node: node.clone() })
    }

    /// The marks and the index of their key, which is 0 where there is none.
    async fn marks(&self, node: &NodeName) -> Result<(Maintenance, u64), MaintenanceError> {
        let key = self.keys().maintenance(node);
        let Some(pair) = self.client().kv_get(&key, &Read::consistent()).await?.value else {
            return Ok((Maintenance::default(), 0));
        };
        match serde_json::from_slice(&pair.value) {
            Ok(marks) => Ok((marks, pair.modify_index)),
            Err(error) => Err(MaintenanceError::Garbled { key, reason: error.to_string() }),
        }
    }

    async fn joined(&self, node: &NodeName) -> Result<NodeRecord, MaintenanceError> {
        let key = self.keys().node(node);
        if let Some(pair) = self.client().kv_get(&key, &Read::consistent()).await?.value {
            return serde_json::from_slice(&pair.value)
                .map_err(|error| MaintenanceError::Garbled { key, reason: error.to_string() });
        }
        let root = self.keys().nodes();
        let all = self.client().kv_keys(&root, None, &Read::default()).await?.value;
        let names = all.iter().filter_map(|key| key.strip_prefix(&root)).filter(|name| *name != SENTINEL);
        Err(MaintenanceError::NoNode { node: node.clone(), known: names.map(str::to_owned).collect() })
    }

    /// The instances that are assigned to a node; none if a list without its sentinel cannot be believed.
    async fn assigned(&self, node: &NodeName) -> Result<Option<BTreeSet<InstanceId>>, Error> {
        let root = self.keys().assignments(node);
        let all = self.client().kv_keys(&root, None, &Read::consistent()).await?.value;
        let names: Vec<&str> = all.iter().filter_map(|key| key.strip_prefix(&root)).collect();
        let ids = names.iter().filter(|name| **name != SENTINEL).map(|name| InstanceId::from(*name));
        Ok(names.contains(&SENTINEL).then(|| ids.collect()))
    }
}

/// Marks that hold already keep their instant unless the reason is another one.
fn begin(marks: &mut Maintenance, whom: &Whom, mark: &Mark) {
    let kept = |old: Option<&Mark>| old.filter(|old| old.reason == mark.reason).unwrap_or(mark).clone();
    match whom {
        Whom::Node => marks.node = Some(kept(marks.node.as_ref())),
        Whom::Instances(ids) => {
            for id in ids {
                let new = kept(marks.instances.get(id));
                marks.instances.insert(id.clone(), new);
            }
        }
    }
}

fn end(marks: &mut Maintenance, whom: &Whom) {
    match whom {
        Whom::Node => marks.node = None,
        Whom::Instances(ids) => marks.instances.retain(|id, _| !ids.contains(id)),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn mark(reason: &str, second: i64) -> Mark {
        let since = Timestamp::from_second(second).unwrap();
        Mark { reason: reason.to_owned(), by: "alice@laptop".to_owned(), since }
    }

    #[test]
    fn what_is_in_maintenance_for_the_same_reason_stays_as_it_is() {
        let mut marks = Maintenance::default();
        begin(&mut marks, &Whom::Node, &mark("disk", 1));
        begin(&mut marks, &Whom::Node, &mark("disk", 2));
        assert_eq!(marks.node, Some(mark("disk", 1)));
        begin(&mut marks, &Whom::Node, &mark("memory", 3));
        assert_eq!(marks.node, Some(mark("memory", 3)));
    }

    #[test]
    fn the_end_of_a_nodes_maintenance_leaves_single_instances_in_theirs() {
        let one = Whom::Instances(vec!["web-0".into()]);
        let mut marks = Maintenance::default();
        begin(&mut marks, &one, &mark("odd", 1));
        begin(&mut marks, &Whom::Node, &mark("disk", 2));
        end(&mut marks, &Whom::Node);
        assert_eq!((marks.node.clone(), marks.instances.len()), (None, 1));
        end(&mut marks, &one);
        assert_eq!(marks, Maintenance::default());
    }
}
