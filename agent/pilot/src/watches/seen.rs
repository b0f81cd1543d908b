//! What a watch has seen, and the events that follow from what it sees next; pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use consul_client::{KvPair, ServiceHealth};
use helium_supervisor::Code;

/// One instance of a service, as far as a change of it counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Instance {
    id: String,
    address: String,
    port: u16,
    tags: Vec<String>,
    meta: BTreeMap<String, String>,
}

/// What a watch has seen last; at first nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    instances: Vec<Instance>,
    keys: BTreeMap<String, Bytes>,
}

impl Seen {
    /// The healthy instances of a service. A change of them is `changed`, and then `healthy` if there are any and `unhealthy` if there are none. So a
    /// service that has none at the first look has no event.
    pub(super) fn services(&mut self, healthy: Vec<ServiceHealth>) -> Vec<Code> {
        let mut instances: Vec<Instance> = healthy.into_iter().map(instance).collect();
        instances.sort();
        if instances == self.instances {
            return Vec::new();
        }
        self.instances = instances;
        vec![Code::Changed, if self.instances.is_empty() { Code::Unhealthy } else { Code::Healthy }]
    }

    /// How many instances there are.
    pub(super) fn count(&self) -> usize {
        self.instances.len()
    }

    /// Keys and their values. A change of them is `changed`; the first that come are `healthy`, and the last that go are `unhealthy`.
    pub(super) fn keys(&mut self, pairs: Vec<KvPair>) -> Vec<Code> {
        let keys: BTreeMap<String, Bytes> = pairs.into_iter().map(|pair| (pair.key, pair.value)).collect();
        if keys == self.keys {
            return Vec::new();
        }
        let was = std::mem::replace(&mut self.keys, keys);
        let more = match (was.is_empty(), self.keys.is_empty()) {
            (true, false) => Some(Code::Healthy),
            (false, true) => Some(Code::Unhealthy),
            _ => None,
        };
        std::iter::once(Code::Changed).chain(more).collect()
    }
}

fn instance(health: ServiceHealth) -> Instance {
    let ServiceHealth { node, service, .. } = health;
    let address = if service.address.is_empty() { node.address } else { service.address };
    let mut tags = service.tags;
    tags.sort();
    Instance { id: service.id, address, port: service.port, tags, meta: service.meta }
}

#[cfg(test)]
mod tests {
    use consul_client::Service;

    use super::*;

    fn at(id: &str, address: &str, tags: &[&str]) -> ServiceHealth {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let service = Service { id: id.to_owned(), address: address.to_owned(), port: 80, tags, ..Service::default() };
        ServiceHealth { service, ..ServiceHealth::default() }
    }

    #[test]
    fn a_change_of_instances_is_told_and_nothing_else() {
        let mut seen = Seen::default();
        assert_eq!(seen.services(vec![]), [], "none at the first look");
        assert_eq!(seen.services(vec![at("a", "1", &[]), at("b", "2", &[])]), [Code::Changed, Code::Healthy]);
        assert_eq!(seen.services(vec![at("b", "2", &[]), at("a", "1", &[])]), [], "the order does not count");
        assert_eq!(seen.services(vec![at("a", "1", &[])]), [Code::Changed, Code::Healthy]);
        assert_eq!(seen.services(vec![at("a", "3", &[])]), [Code::Changed, Code::Healthy]);
        assert_eq!(seen.services(vec![at("a", "3", &["blue"])]), [Code::Changed, Code::Healthy]);
        assert_eq!(seen.count(), 1);
        assert_eq!(seen.services(vec![]), [Code::Changed, Code::Unhealthy]);
        assert_eq!(seen.services(vec![]), []);
    }

    #[test]
    fn keys_come_change_and_go() {
        let pair =
            |key: &str, value: &'static str| KvPair { key: key.into(), value: value.into(), ..KvPair::default() };
        let mut seen = Seen::default();
        assert_eq!(seen.keys(vec![]), []);
        assert_eq!(seen.keys(vec![pair("a", "1")]), [Code::Changed, Code::Healthy]);
        assert_eq!(seen.keys(vec![pair("a", "1")]), []);
        assert_eq!(seen.keys(vec![pair("a", "2"), pair("b", "1")]), [Code::Changed]);
        assert_eq!(seen.keys(vec![]), [Code::Changed, Code::Unhealthy]);
    }
}
