//! What Consul's answer about a service says of each instance.

use std::{collections::BTreeMap, net::SocketAddr};

use consul_client::{CheckStatus, HealthCheck, ServiceHealth};
use helium_crds::instance::{Role, STANDBY_CHECK};

use crate::server::{Server, Who, place, scaled};

/// The service meta that names the instance.
const INSTANCE_META: &str = "helium-instance";

/// One instance as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The instance, or the id of the service.
    pub name: String,
    /// Where it listens.
    pub at: SocketAddr,
    /// Its weight in Consul while all its checks pass.
    pub weight: u32,
    /// Whether all its checks pass, its node's among them.
    pub passing: bool,
}

/// All instances of an answer, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// Those that requests could be sent to.
    pub registered: Vec<Registered>,
    /// The names of those that bear no IP address or no port.
    pub unusable: Vec<String>,
}

impl Instances {
    /// Reads an answer of `health/service`.
    pub fn of(rows: &[ServiceHealth], who: Who) -> Self {
        let mut by_place: BTreeMap<SocketAddr, (bool, u64, Registered)> = BTreeMap::new();
        let mut unusable = Vec::new();
        for row in rows.iter().filter(|row| who == Who::Serving || is_preview(row)) {
            let Some(one) = registered(row, who) else {
                unusable.push(name(row));
                continue;
            };
            // Two entries of one place: what a dead node has left there, and whoever listens there now.
            let rank = (one.passing, row.service.modify_index);
            if by_place.get(&one.at).is_none_or(|(passing, index, _)| (*passing, *index) < rank) {
                by_place.insert(one.at, (rank.0, rank.1, one));
            }
        }
        let mut registered: Vec<Registered> = by_place.into_values().map(|(_, _, one)| one).collect();
        registered.sort_by(|a, b| (&a.name, a.at).cmp(&(&b.name, b.at)));
        unusable.sort();
        Self { registered, unusable }
    }

    /// Whether Consul knows the service at all.
    pub fn is_empty(&self) -> bool {
        self.registered.is_empty() && self.unusable.is_empty()
    }

    /// The servers that pass.
    pub fn passing(&self) -> Vec<Server> {
        let passing: Vec<&Registered> = self.registered.iter().filter(|one| one.passing).collect();
        let weights: Vec<u32> = passing.iter().map(|one| one.weight).collect();
        let server = |(one, weight): (&&Registered, u16)| Server { name: one.name.clone(), at: one.at, weight };
        passing.iter().zip(scaled(&weights)).map(server).collect()
    }

    /// Whether something is registered at a place.
    pub fn knows(&self, at: SocketAddr) -> bool {
        self.registered.iter().any(|one| one.at == at)
    }
}

fn name(row: &ServiceHealth) -> String {
    row.service.meta.get(INSTANCE_META).unwrap_or(&row.service.id).clone()
}

/// Whether it is of a version that is tried out, and still on standby.
fn is_preview(row: &ServiceHealth) -> bool {
    row.service.tags.iter().any(|tag| tag == Role::Preview.tag()) && row.checks.iter().any(is_standby)
}

/// Whether a check is there for nothing but to keep an instance on standby from passing.
fn is_standby(check: &HealthCheck) -> bool {
    check.check_id.ends_with(STANDBY_CHECK)
}

/// A service without an address of its own is at its node's.
fn registered(row: &ServiceHealth, who: Who) -> Option<Registered> {
    let own = Some(&row.service.address).filter(|address| !address.is_empty());
    let address = own.unwrap_or(&row.node.address).parse().ok()?;
    let at = (row.service.port != 0).then(|| place(address, row.service.port))?;
    let counts = |check: &&HealthCheck| who == Who::Serving || !is_standby(check);
    let passing = row.checks.iter().filter(counts).all(|check| check.status == CheckStatus::Passing);
    Some(Registered { name: name(row), at, weight: row.service.weights.passing, passing })
}

#[cfg(test)]
mod tests {
    use consul_client::{Node, Service, Weights};

    use super::*;

    fn row(id: &str, address: &str, port: u16, status: CheckStatus) -> ServiceHealth {
        ServiceHealth {
            node: Node { address: "10.0.0.1".to_owned(), ..Node::default() },
            service: Service { id: id.to_owned(), address: address.to_owned(), port, ..Service::default() },
            checks: vec![HealthCheck { status, ..HealthCheck::default() }],
        }
    }

    fn names(servers: &[Server]) -> Vec<(&str, String, u16)> {
        servers.iter().map(|server| (server.name.as_str(), server.at.to_string(), server.weight)).collect()
    }

    #[test]
    fn only_what_passes_all_checks_is_a_server() {
        let rows = [
            row("a", "10.0.0.7", 80, CheckStatus::Passing),
            row("b", "10.0.0.7", 81, CheckStatus::Critical),
            row("c", "10.0.0.7", 82, CheckStatus::Warning),
        ];
        let instances = Instances::of(&rows, Who::Serving);
        assert_eq!(names(&instances.passing()), [("a", "10.0.0.7:80".to_owned(), 1)]);
        assert!(instances.knows("10.0.0.7:81".parse().unwrap()));
    }

    #[test]
    fn previews_are_those_on_standby_of_a_new_version_that_else_pass() {
        let one = |id: &str, port: u16, tag: &str, status: CheckStatus| {
            let mut row = row(id, "10.0.0.7", port, status);
            row.service.tags = vec![tag.to_owned()];
            let check_id = format!("helium-{id}:{STANDBY_CHECK}");
            row.checks.push(HealthCheck { check_id, status: CheckStatus::Critical, ..HealthCheck::default() });
            row
        };
        let mut serves = one("d", 83, "preview", CheckStatus::Passing);
        serves.checks.pop();
        let rows = [
            one("a", 80, "preview", CheckStatus::Passing),
            one("b", 81, "preview", CheckStatus::Critical),
            one("c", 82, "standby", CheckStatus::Passing),
            serves,
        ];
        let names = |who| Instances::of(&rows, who).passing().into_iter().map(|one| one.name).collect::<Vec<_>>();
        assert_eq!((names(Who::Previews), names(Who::Serving)), (vec!["a".to_owned()], vec!["d".to_owned()]));
        let previews = Instances::of(&rows, Who::Previews);
        assert!(previews.knows("10.0.0.7:81".parse().unwrap()) && !previews.knows("10.0.0.7:83".parse().unwrap()));
    }

    #[test]
    fn a_service_without_an_address_is_at_its_nodes_and_helium_names_its_own() {
        let mut one = row("helium-web-1", "", 80, CheckStatus::Passing);
        one.service.meta.insert(INSTANCE_META.to_owned(), "web-1".to_owned());
        let six = row("b", "::1", 81, CheckStatus::Passing);
        let servers = Instances::of(&[six, one], Who::Serving).passing();
        assert_eq!(names(&servers), [("b", "[::1]:81".to_owned(), 1), ("web-1", "10.0.0.1:80".to_owned(), 1)]);
    }

    #[test]
    fn an_instance_without_an_ip_address_or_port_is_named_and_not_used() {
        let rows = [row("a", "web.example", 80, CheckStatus::Passing), row("b", "10.0.0.7", 0, CheckStatus::Passing)];
        let instances = Instances::of(&rows, Who::Serving);
        assert_eq!(instances.unusable, ["a", "b"]);
        assert!(instances.passing().is_empty() && !instances.is_empty());
    }

    #[test]
    fn of_two_entries_of_one_place_the_one_that_passes_counts_and_then_the_newer() {
        let mut old = row("old", "10.0.0.7", 80, CheckStatus::Passing);
        let mut new = row("new", "10.0.0.7", 80, CheckStatus::Passing);
        (old.service.modify_index, new.service.modify_index) = (5, 9);
        assert_eq!(Instances::of(&[new.clone(), old.clone()], Who::Serving).passing()[0].name, "new");
        new.checks[0].status = CheckStatus::Critical;
        assert_eq!(Instances::of(&[old, new], Who::Serving).passing()[0].name, "old");
    }

    #[test]
    fn weights_are_those_of_consul() {
        let weighted = |id: &str, port: u16, passing: u32| {
            let mut row = row(id, "10.0.0.7", port, CheckStatus::Passing);
            row.service.weights = Weights { passing, warning: 1 };
            row
        };
        let weights = |rows: &[ServiceHealth]| -> Vec<u16> {
            Instances::of(rows, Who::Serving).passing().iter().map(|server| server.weight).collect()
        };
        assert_eq!(weights(&[weighted("a", 1, 30), weighted("b", 2, 10)]), [30, 10]);
        assert_eq!(weights(&[weighted("a", 1, 3000), weighted("b", 2, 1000)]), [256, 85]);
    }
}
