//! Where everything lives in Consul KV. No other place of Helium spells a key.
//!
//! ```text
//! layout                                        schema and uid; whoever creates it writes the sentinels
//! spec/<s>/<ns>/<kind>/<name>[/control]         desired; people's requests
//! status/<s>/<ns>/<kind>/<name>                 written by the controller, fenced
//! inst/<s>/<ns>/<deployment>/<id>               one record an instance; controller
//! assign/<node>/<id>                            the same instance for its agent; controller
//! report/<h>/<node>/<id>                        what the agent says of it
//! node/<node>, alive/<node>                     facts and heartbeat of a node
//! revision/<s>/<ns>/<deployment>/<hash>         past templates
//! events/<s>/<ns>/<kind>/<name>                 the last events
//! config/<ns>/<deployment>/<name>               values above a package's defaults; people
//! maintenance/<node>                            what of a node is out of service for a while; people
//! secret/<name>                                 what metric sources and gates are shown; people
//! lock/controller, lock/service/<ns>/<name>     session locks
//! <each watched prefix>/.keep                   sentinels
//! ```
//!
//! `<s>` is one hex digit of a hash of namespace and name, `<h>` one of a hash of the node: Consul's long polls return whole
//! prefixes, so sixteen shards keep a wake-up to a sixteenth.

use crate::{
    ids::{InstanceId, NodeName, ObjectKey, RevisionId},
    object::Kind,
    revision::short_hash,
};

/// The prefix of everything, unless configured otherwise.
pub const DEFAULT_ROOT: &str = "helium/v1/";
/// The last part of a sentinel's key.
pub const SENTINEL: &str = ".keep";
/// The number of shards.
pub const SHARDS: usize = 16;

/// The shards' names: one hex digit each.
pub fn shards() -> impl Iterator<Item = char> {
    "0123456789abcdef".chars()
}

/// The shard of an object: one hex digit of a hash of `namespace/name`.
pub fn shard(key: &ObjectKey) -> String {
    short_hash(&format!("{}/{}", key.namespace, key.name), 1)
}

/// The shard of a node's reports.
pub fn node_shard(node: &NodeName) -> String {
    short_hash(node.as_str(), 1)
}

/// Builds keys under one root, and reads them back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    root: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self { root: DEFAULT_ROOT.to_owned() }
    }
}

/// What a key under `spec/` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecKey {
    /// An object.
    Object(Kind, ObjectKey),
    /// People's requests to an object.
    Control(Kind, ObjectKey),
}

impl SpecKey {
    /// What a key under `spec/` is, whatever the root in front. An object may itself be called `control`: where `spec` stands tells the
    /// two apart, since a shard's name is a single digit.
    pub fn under_any_root(key: &str) -> Option<Self> {
        let parts: Vec<&str> = key.split('/').collect();
        let of_last = |count: usize| parts.get(parts.len().checked_sub(count)?..).and_then(Self::of_parts);
        of_last(5).or_else(|| of_last(6))
    }

    fn of_parts(parts: &[&str]) -> Option<Self> {
        match *parts {
            ["spec", _, namespace, kind, name] => {
                Some(SpecKey::Object(Kind::from_name(kind)?, ObjectKey::new(namespace, name)))
            }
            ["spec", _, namespace, kind, name, "control"] => {
                Some(SpecKey::Control(Kind::from_name(kind)?, ObjectKey::new(namespace, name)))
            }
            _ => None,
        }
    }
}

impl Keys {
    /// Keys under `root`; a slash is added at its end where there is none.
    pub fn under(root: &str) -> Self {
        Self { root: format!("{}/", root.trim_end_matches('/')) }
    }

    /// The root, with its slash.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The key that says which layout this is.
    pub fn layout(&self) -> String {
        format!("{}layout", self.root)
    }

    /// All specs of one shard.
    pub fn spec_shard(&self, shard: impl std::fmt::Display) -> String {
        format!("{}spec/{shard}/", self.root)
    }

    /// One object.
    pub fn spec(&self, kind: Kind, key: &ObjectKey) -> String {
        format!("{}{}", self.root, object_path("spec", kind, key))
    }

    /// People's requests to one object.
    pub fn control(&self, kind: Kind, key: &ObjectKey) -> String {
        format!("{}/control", self.spec(kind, key))
    }

    /// What a key under `spec/` is; none for a sentinel or anything that is not Helium's.
    pub fn parse_spec(&self, key: &str) -> Option<SpecKey> {
        let parts: Vec<&str> = key.strip_prefix(&self.root)?.split('/').collect();
        SpecKey::of_parts(&parts)
    }

    /// All status of one shard.
    pub fn status_shard(&self, shard: impl std::fmt::Display) -> String {
        format!("{}status/{shard}/", self.root)
    }

    /// The status of one object.
    pub fn status(&self, kind: Kind, key: &ObjectKey) -> String {
        format!("{}{}", self.root, object_path("status", kind, key))
    }

    /// The events of one object.
    pub fn events(&self, kind: Kind, key: &ObjectKey) -> String {
        format!("{}{}", self.root, object_path("events", kind, key))
    }

    /// All instance records of one shard.
    pub fn instance_shard(&self, shard: impl std::fmt::Display) -> String {
        format!("{}inst/{shard}/", self.root)
    }

    /// All instance records of one Deployment.
    pub fn instances(&self, deployment: &ObjectKey) -> String {
        format!("{}inst/{}/{}/{}/", self.root, shard(deployment), deployment.namespace, deployment.name)
    }

    /// One instance record.
    pub fn instance(&self, deployment: &ObjectKey, id: &InstanceId) -> String {
        format!("{}{id}", self.instances(deployment))
    }

    /// All revisions of one shard.
    pub fn revision_shard(&self, shard: impl std::fmt::Display) -> String {
        format!("{}revision/{shard}/", self.root)
    }

    /// All revisions of one Deployment.
    pub fn revisions(&self, deployment: &ObjectKey) -> String {
        format!("{}revision/{}/{}/{}/", self.root, shard(deployment), deployment.namespace, deployment.name)
    }

    /// One revision.
    pub fn revision(&self, deployment: &ObjectKey, id: &RevisionId) -> String {
        format!("{}{id}", self.revisions(deployment))
    }

    /// All assignments.
    pub fn assignments_root(&self) -> String {
        format!("{}assign/", self.root)
    }

    /// All assignments of one node.
    pub fn assignments(&self, node: &NodeName) -> String {
        format!("{}assign/{node}/", self.root)
    }

    /// One assignment.
    pub fn assignment(&self, node: &NodeName, id: &InstanceId) -> String {
        format!("{}{id}", self.assignments(node))
    }

    /// All reports of one shard.
    pub fn report_shard(&self, shard: impl std::fmt::Display) -> String {
        format!("{}report/{shard}/", self.root)
    }

    /// All reports of one node.
    pub fn reports(&self, node: &NodeName) -> String {
        format!("{}report/{}/{node}/", self.root, node_shard(node))
    }

    /// One report.
    pub fn report(&self, node: &NodeName, id: &InstanceId) -> String {
        format!("{}{id}", self.reports(node))
    }

    /// All nodes.
    pub fn nodes(&self) -> String {
        format!("{}node/", self.root)
    }

    /// One node.
    pub fn node(&self, node: &NodeName) -> String {
        format!("{}node/{node}", self.root)
    }

    /// What of a node is in maintenance.
    pub fn maintenance(&self, node: &NodeName) -> String {
        format!("{}maintenance/{node}", self.root)
    }

    /// All heartbeats.
    pub fn heartbeats(&self) -> String {
        format!("{}alive/", self.root)
    }

    /// One heartbeat.
    pub fn heartbeat(&self, node: &NodeName) -> String {
        format!("{}alive/{node}", self.root)
    }

    /// The lock of whoever leads a service.
    pub fn service_lock(&self, namespace: &str, service: &str) -> String {
        format!("{}lock/service/{namespace}/{service}", self.root)
    }

    /// The overrides of a service's values: what of the prefix follows is the name of a value.
    pub fn overrides(&self, deployment: &ObjectKey) -> String {
        format!("{}config/{}/{}/", self.root, deployment.namespace, deployment.name)
    }

    /// All overrides of all services.
    pub fn overrides_root(&self) -> String {
        format!("{}config/", self.root)
    }

    /// The Deployment whose override a key is; none for a sentinel or what is no override.
    pub fn overridden(&self, key: &str) -> Option<ObjectKey> {
        let mut parts = key.strip_prefix(&self.overrides_root())?.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), Some(path)) if !path.is_empty() => Some(ObjectKey::new(namespace, name)),
            _ => None,
        }
    }

    /// All secrets.
    pub fn secrets(&self) -> String {
        format!("{}secret/", self.root)
    }

    /// One secret, by the name that a spec gives it.
    pub fn secret(&self, name: &str) -> String {
        format!("{}{name}", self.secrets())
    }

    /// The lock that the leading controller holds.
    pub fn controller_lock(&self) -> String {
        format!("{}lock/controller", self.root)
    }

    /// Every sentinel key: one for each prefix that is watched as a whole. An assignment prefix's is written by its agent.
    pub fn sentinels(&self) -> Vec<String> {
        let sharded = shards().flat_map(|shard| {
            [self.spec_shard(shard), self.status_shard(shard), self.instance_shard(shard), self.revision_shard(shard)]
                .into_iter()
                .chain([self.report_shard(shard)])
        });
        sharded
            .chain([self.nodes(), self.heartbeats(), self.assignments_root(), self.overrides_root()])
            .map(|prefix| format!("{prefix}{SENTINEL}"))
            .collect()
    }
}

fn object_path(room: &str, kind: Kind, key: &ObjectKey) -> String {
    format!("{room}/{}/{}/{}/{}", shard(key), key.namespace, kind.singular(), key.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_an_object_that_is_called_control() {
        for root in ["helium/v1/", "spec/", "a/spec/b/"] {
            let keys = Keys::under(root);
            for kind in Kind::ALL {
                for name in ["hello", "control", "spec", "deployment"] {
                    let key = ObjectKey::new(name, name);
                    let (spec, control) = (keys.spec(kind, &key), keys.control(kind, &key));
                    assert_eq!(keys.parse_spec(&spec), Some(SpecKey::Object(kind, key.clone())), "{spec}");
                    assert_eq!(keys.parse_spec(&control), Some(SpecKey::Control(kind, key.clone())), "{control}");
                    assert_eq!(SpecKey::under_any_root(&spec), keys.parse_spec(&spec), "{spec}");
                    assert_eq!(SpecKey::under_any_root(&control), keys.parse_spec(&control), "{control}");
                }
            }
            let sentinel = format!("{}.keep", keys.spec_shard('0'));
            assert_eq!((keys.parse_spec(&sentinel), SpecKey::under_any_root(&sentinel)), (None, None));
        }
    }
}
