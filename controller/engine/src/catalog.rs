//! Turns Consul's answer about a service into what the planner wants to know of each instance.
//!
//! A node whose `serfHealth` is critical is one that Consul itself has lost sight of. What its catalog entries say is then
//! hearsay, so its instances count as not in the catalog, which means unknown: neither healthy nor to be replaced.

use std::collections::BTreeMap;

use consul_client::{CheckStatus, HealthCheck, ServiceHealth};
use helium_crds::{
    InstanceId,
    instance::{self, STANDBY_CHECK},
};
use helium_planner::{CatalogEntry, CheckState};

/// The check by which Consul's gossip speaks of a node.
const SERF_HEALTH: &str = "serfHealth";
/// The check by which Consul keeps a node out of service, and what that of a service begins with.
const NODE_MAINTENANCE: &str = "_node_maintenance";
const SERVICE_MAINTENANCE: &str = "_service_maintenance:";
/// The service meta that names the instance.
const INSTANCE_META: &str = "helium-instance";

/// The instances of Helium's among the instances of a service.
pub(crate) fn entries(service: &[ServiceHealth]) -> BTreeMap<InstanceId, CatalogEntry> {
    let mut found: BTreeMap<InstanceId, CatalogEntry> = BTreeMap::new();
    for row in service.iter().filter(|row| !node_is_away(row)) {
        let Some(id) = instance_of(row) else { continue };
        let entry = entry(&id, row);
        // The same instance under two Consul nodes: the one that changed last is the one that is kept up to date.
        let newer = |old: &CatalogEntry| old.check_index >= entry.check_index;
        if !found.get(&id).is_some_and(newer) {
            found.insert(id, entry);
        }
    }
    found
}

/// The instance that a row is about: by its meta, or else by its service id.
fn instance_of(row: &ServiceHealth) -> Option<InstanceId> {
    let named = row.service.meta.get(INSTANCE_META).map(String::as_str);
    named.or_else(|| row.service.id.strip_prefix("helium-")).map(InstanceId::new)
}

fn node_is_away(row: &ServiceHealth) -> bool {
    row.checks.iter().any(|check| is_serf(check) && check.status == CheckStatus::Critical)
}

fn is_serf(check: &HealthCheck) -> bool {
    check.check_id == SERF_HEALTH && check.service_id.is_empty()
}

fn entry(id: &InstanceId, row: &ServiceHealth) -> CatalogEntry {
    let own_prefix = instance::check_id(id, "");
    let mut entry = CatalogEntry { weight: row.service.weights.passing, ..CatalogEntry::default() };
    for check in row.checks.iter().filter(|check| !is_serf(check)) {
        let name = check.check_id.strip_prefix(&own_prefix);
        // It comes and goes with what is wanted, and says nothing about health.
        if name == Some(STANDBY_CHECK) {
            entry.on_standby = true;
            continue;
        }
        entry.check_index = entry.check_index.max(check.modify_index);
        match name {
            Some(name) => drop(entry.checks.insert(name.to_owned(), state(check))),
            None if check.status == CheckStatus::Critical => entry.blocked_by = Some(blocker(check)),
            None => {}
        }
    }
    entry
}

/// What keeps an instance from serving, in words: `in maintenance: new disk`, or the id of the check.
fn blocker(check: &HealthCheck) -> String {
    let id = check.check_id.as_str();
    match check.notes.as_str() {
        _ if id != NODE_MAINTENANCE && !id.starts_with(SERVICE_MAINTENANCE) => id.to_owned(),
        "" => "in maintenance".to_owned(),
        notes => format!("in maintenance: {notes}"),
    }
}

fn state(check: &HealthCheck) -> CheckState {
    match check.status {
        CheckStatus::Passing => CheckState::Passing,
        CheckStatus::Warning => CheckState::Warning,
        CheckStatus::Critical if check.output.is_empty() => CheckState::Unasked,
        CheckStatus::Critical => CheckState::Critical,
    }
}

#[cfg(test)]
mod tests {
    use consul_client::{Node, Service};

    use super::*;

    fn check(check_id: &str, service_id: &str, status: CheckStatus, modify_index: u64) -> HealthCheck {
        HealthCheck {
            check_id: check_id.to_owned(),
            service_id: service_id.to_owned(),
            status,
            modify_index,
            ..HealthCheck::default()
        }
    }

    fn row(checks: Vec<HealthCheck>) -> ServiceHealth {
        let service = Service {
            id: "helium-hello-1-ab".to_owned(),
            service: "hello".to_owned(),
            meta: BTreeMap::from([("helium-instance".to_owned(), "hello-1-ab".to_owned())]),
            ..Service::default()
        };
        ServiceHealth { node: Node::default(), service, checks }
    }

    fn only(rows: &[ServiceHealth]) -> CatalogEntry {
        entries(rows).remove(&InstanceId::from("hello-1-ab")).unwrap()
    }

    #[test]
    fn a_critical_check_without_an_output_has_not_been_asked_yet() {
        let silent = check("helium-hello-1-ab:up", "helium-hello-1-ab", CheckStatus::Critical, 40);
        let failing = HealthCheck { output: "HTTP GET: 500".to_owned(), ..silent.clone() };
        assert_eq!(only(&[row(vec![silent])]).checks["up"], CheckState::Unasked);
        assert_eq!(only(&[row(vec![failing])]).checks["up"], CheckState::Critical);
    }

    #[test]
    fn an_entry_has_the_checks_of_its_template_by_name_and_the_highest_index() {
        let entry = only(&[row(vec![
            check("helium-hello-1-ab:up", "helium-hello-1-ab", CheckStatus::Passing, 40),
            check("helium-hello-1-ab:deep", "helium-hello-1-ab", CheckStatus::Warning, 42),
            check("serfHealth", "", CheckStatus::Passing, 99),
        ])]);
        let checks = [("deep".to_owned(), CheckState::Warning), ("up".to_owned(), CheckState::Passing)];
        assert_eq!(entry.checks, BTreeMap::from(checks));
        assert_eq!((entry.check_index, entry.blocked_by), (42, None));
    }

    #[test]
    fn an_entry_has_the_weight_of_its_service() {
        let mut heavy = row(vec![]);
        assert_eq!(only(&[heavy.clone()]).weight, 1);
        heavy.service.weights.passing = 16;
        assert_eq!(only(&[heavy]).weight, 16);
    }

    #[test]
    fn maintenance_and_critical_checks_of_the_node_block_an_instance() {
        let of_service = "_service_maintenance:helium-hello-1-ab";
        for (id, service, notes, told) in [
            (of_service, "helium-hello-1-ab", "new disk", "in maintenance: new disk"),
            ("_node_maintenance", "", "", "in maintenance"),
            ("disk", "", "looks at the disk", "disk"),
        ] {
            let check = HealthCheck { notes: notes.to_owned(), ..check(id, service, CheckStatus::Critical, 1) };
            assert_eq!(only(&[row(vec![check])]).blocked_by.as_deref(), Some(told));
        }
        let entry = only(&[row(vec![check("disk", "", CheckStatus::Warning, 1)])]);
        assert_eq!(entry.blocked_by, None, "a warning about a node blocks nothing");
    }

    #[test]
    fn an_instance_on_a_node_that_consul_has_lost_is_not_in_the_catalog() {
        let rows = [row(vec![
            check("helium-hello-1-ab:up", "helium-hello-1-ab", CheckStatus::Passing, 4),
            check("serfHealth", "", CheckStatus::Critical, 5),
        ])];
        assert!(entries(&rows).is_empty());
    }

    #[test]
    fn what_helium_did_not_register_is_not_looked_at() {
        let mut foreign = row(vec![]);
        foreign.service.meta.clear();
        foreign.service.id = "hello-by-hand".to_owned();
        assert!(entries(&[foreign]).is_empty());
    }
}
