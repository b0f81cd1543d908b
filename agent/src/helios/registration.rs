//! How a service of Helios' layout stands at the local Consul agent: under its name, with tags that tell its version and its values.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use consul_client::{AgentCheck, AgentService, CheckDefinition, CheckStatus, ServiceDefinition};
use helium_packages::digest::Digest;

use super::{
    machine::{Green, Maintenance, Registered},
    record::Record,
};
use crate::checks::{PackageCheck, definition_as};

/// The meta key that says which node's agent registered a service.
pub(super) const NODE_META: &str = "helium-helios";
/// The meta key with the digest of the checks.
const CHECKS_META: &str = "helium-checks";
/// What our maintenance says of itself.
pub(super) const REASON: &str = "helium: it is being changed";
/// How long the result of a script stands while no agent runs that could renew it.
const ONCE_TTL: Duration = Duration::from_hours(1);

/// The id in Consul of one of a service's checks.
pub(super) fn check_id(service: &str, check: &str) -> String {
    format!("{service}:{check}")
}

fn maintenance_id(service: &str) -> String {
    format!("_service_maintenance:{service}")
}

/// The registration that a service should have, checks and all. `once` is that of an agent that does not stay.
pub(super) fn wanted(node: &str, service: &str, record: &Record, once: bool) -> ServiceDefinition {
    let checks: Vec<CheckDefinition> =
        record.found.checks.iter().map(|check| definition(service, check, once)).collect();
    let digest = Digest::of(&serde_json::to_vec(&checks).unwrap_or_default()).to_string();
    let version = record.current.as_ref().map_or("", |current| &current.version);
    ServiceDefinition {
        id: service.to_owned(),
        name: service.to_owned(),
        tags: vec![format!("version-{version}"), format!("config-{}", record.found.tag)],
        meta: BTreeMap::from([
            (NODE_META.to_owned(), node.to_owned()),
            (CHECKS_META.to_owned(), digest[..16].to_owned()),
        ]),
        checks: Some(checks),
        ..ServiceDefinition::default()
    }
}

fn definition(service: &str, check: &PackageCheck, once: bool) -> CheckDefinition {
    let usual = definition_as(check, check_id(service, &check.name));
    let ttl = if once && check.is_script() { Some(ONCE_TTL) } else { usual.ttl };
    CheckDefinition { ttl, ..usual }
}

/// What the local Consul agent shows of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// How it stands.
    pub(super) registered: Registered,
    /// Who has put it into maintenance.
    pub(super) maintenance: Maintenance,
    /// What its checks say.
    pub(super) green: Green,
    /// Checks of it that should not be there.
    pub(super) surplus: Vec<String>,
}

/// Nobody has looked.
pub(super) const UNSEEN: Shown =
    Shown { registered: Registered::Unknown, maintenance: Maintenance::No, green: Green::Unknown, surplus: Vec::new() };

/// Compares what should be there with what is.
pub(super) fn compare(
    wanted: &ServiceDefinition,
    services: &BTreeMap<String, AgentService>,
    checks: &BTreeMap<String, AgentCheck>,
) -> Shown {
    let own: BTreeMap<&String, &AgentCheck> =
        checks.iter().filter(|(_, check)| check.service_id == wanted.id).collect();
    let maintained = maintenance_id(&wanted.id);
    let ids: BTreeSet<&String> = wanted.checks.iter().flatten().map(|check| &check.id).collect();
    let there: BTreeSet<&String> = own.keys().copied().filter(|id| **id != maintained).collect();
    let registered = match services.get(&wanted.id) {
        None => Registered::Absent,
        Some(_) if !ids.is_subset(&there) => Registered::Anew,
        Some(service)
            if service.service != wanted.name || service.meta.get(CHECKS_META) != wanted.meta.get(CHECKS_META) =>
        {
            Registered::Anew
        }
        Some(service) if service.tags != wanted.tags || service.meta != wanted.meta => Registered::Retag,
        Some(_) => Registered::Same,
    };
    let maintenance = match own.get(&maintained) {
        None => Maintenance::No,
        Some(check) if check.notes == REASON || check.output == REASON => Maintenance::Ours,
        Some(_) => Maintenance::Theirs,
    };
    let all_pass = ids.iter().all(|id| own.get(*id).is_some_and(|check| check.status == CheckStatus::Passing));
    let green = if registered == Registered::Same && all_pass { Green::Yes } else { Green::No };
    let surplus = there.difference(&ids).map(|id| (*id).clone()).collect();
    Shown { registered, maintenance, green, surplus }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helios::record::{Found, Target};

    fn record(tag: &str) -> Record {
        let check = crate::checks::of_health(Duration::from_secs(5));
        let found = Found { tag: tag.to_owned(), checks: vec![check], ..Found::default() };
        let current = Some(Target { version: "1a".to_owned(), config: "c".to_owned() });
        Record { current, found, ..Record::default() }
    }

    /// What Consul shows of a registration, with more checks and a status.
    fn shown(of: &ServiceDefinition, more: &[(&str, &str)], status: CheckStatus) -> Shown {
        let service = AgentService {
            id: of.id.clone(),
            service: of.name.clone(),
            tags: of.tags.clone(),
            meta: of.meta.clone(),
            ..AgentService::default()
        };
        let own = of.checks.iter().flatten().map(|check| (check.id.clone(), String::new()));
        let more = more.iter().map(|(id, notes)| ((*id).to_owned(), (*notes).to_owned()));
        let check = |(id, notes): (String, String)| {
            let shown = AgentCheck { service_id: of.id.clone(), status, notes, ..AgentCheck::default() };
            (id, shown)
        };
        let services = BTreeMap::from([(of.id.clone(), service)]);
        compare(&wanted("n1", "web", &record("t"), false), &services, &own.chain(more).map(check).collect())
    }

    #[test]
    fn a_registration_tells_the_version_and_the_values() {
        let wanted = wanted("n1", "web", &record("t"), false);
        assert_eq!((wanted.id.as_str(), wanted.tags.join(" ")), ("web", "version-1a config-t".to_owned()));
        assert_eq!(wanted.checks.unwrap()[0].id, "web:health");
    }

    #[test]
    fn what_differs_is_found() {
        let same = wanted("n1", "web", &record("t"), false);
        let passing = CheckStatus::Passing;
        assert_eq!(shown(&same, &[], passing).green, Green::Yes);
        assert_eq!(shown(&same, &[], CheckStatus::Warning).green, Green::No);
        assert_eq!(shown(&wanted("n1", "web", &record("u"), false), &[], passing).registered, Registered::Retag);
        // The same checks that stand longer are other checks.
        assert_eq!(shown(&wanted("n1", "web", &record("t"), true), &[], passing).registered, Registered::Anew);
        let bare = ServiceDefinition { checks: None, ..same.clone() };
        assert_eq!(shown(&bare, &[], passing).registered, Registered::Anew);
        let absent = compare(&same, &BTreeMap::new(), &BTreeMap::new());
        assert_eq!((absent.registered, absent.green), (Registered::Absent, Green::No));
    }

    #[test]
    fn our_maintenance_is_told_from_that_of_people_and_old_checks_are_found() {
        let same = wanted("n1", "web", &record("t"), false);
        let passing = CheckStatus::Passing;
        let ours = shown(&same, &[("_service_maintenance:web", REASON)], passing);
        assert_eq!((ours.maintenance, ours.surplus.len()), (Maintenance::Ours, 0));
        let theirs = shown(&same, &[("_service_maintenance:web", "the disk is full"), ("web:old", "")], passing);
        assert_eq!((theirs.maintenance, theirs.surplus), (Maintenance::Theirs, vec!["web:old".to_owned()]));
    }
}
