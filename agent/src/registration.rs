//! How an instance stands in Consul, and what differs between that and what is there.
//!
//! The first registration of a service carries its checks, which begin critical. A later change of tags or weights leaves the checks
//! out, which keeps them and their state. Every check belongs to its service by being registered with it: a check without one would
//! take down every service of its Consul node.
//!
//! An instance on standby has one check more, which is critical as long as it is there: whoever asks Consul for those that pass is not
//! told of it. It comes with the first registration, so that there is no moment before it, and later comes and goes alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use consul_client::{AgentService, CheckDefinition, CheckStatus, ServiceDefinition, Weights};
use helium_crds::{
    ids::InstanceId,
    instance::{STANDBY_CHECK, check_id, service_id},
    job::JOBS_CHECK,
    template::Check,
};

use crate::{
    checks::{self, CheckKind},
    config::AgentConfig,
    instance::{machine::Registered, record::Record},
    leading::LEADER_TAG,
    maintenance,
};

/// The meta key that says which Helium node a service is of; an agent touches only services that bear its own.
pub(crate) const NODE_META: &str = "helium-node";

/// The meta key that tells one set of a package's checks from another.
const CHECKS_META: &str = "helium-checks";

/// What is known of the service at the local Consul agent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    /// Nothing yet.
    Unknown,
    /// It is not there.
    Absent,
    /// It is there, with these checks.
    Present(Box<AgentService>, Checks),
}

/// The checks of a service that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    /// The ids of all but the mark of maintenance.
    pub(crate) ids: BTreeSet<String>,
    /// The note of the mark of maintenance, if it has one: ours, or one that somebody set by hand.
    pub(crate) mark: Option<String>,
}

impl Checks {
    /// The note of a mark that is not ours.
    fn foreign(&self) -> Option<&str> {
        self.mark.as_deref().filter(|notes| !maintenance::is_ours(notes))
    }
}

/// The registration that an instance should have, checks and all.
pub(crate) fn wanted(config: &AgentConfig, record: &Record) -> ServiceDefinition {
    let assignment = &record.assignment;
    let template = &assignment.template;
    let first = template.ports.first().and_then(|port| record.ports.get(&port.name));
    let mut meta = assignment.service.meta.clone();
    meta.insert(NODE_META.to_owned(), config.node.to_string());
    if !record.checks.is_empty() {
        meta.insert(CHECKS_META.to_owned(), digest_of(record));
    }
    let standby = assignment.role.is_standby().then(|| standby_check(&assignment.id));
    let checks = template.checks.iter().map(|check| definition(config, record, check));
    let packaged = record.checks.iter().map(|check| checks::definition(check, &assignment.id));
    let jobs = template.is_supervised().then(|| jobs_check(&assignment.id));
    let maintenance = record.maintenance.as_deref().map(|reason| maintenance::mark(&assignment.id, reason));
    let checks = checks.chain(packaged).chain(jobs).chain(standby).chain(maintenance).collect();
    ServiceDefinition {
        id: service_id(&assignment.id),
        name: assignment.service.name.clone(),
        address: config.address.clone(),
        port: first.copied().unwrap_or_default(),
        tags: tags(record),
        meta,
        // One that warns is as good for traffic as one that passes: that it is not is for the planner to say.
        weights: assignment.service.weight.map(|weight| Weights { passing: weight, warning: weight }),
        checks: Some(checks),
        ..ServiceDefinition::default()
    }
}

/// A registration with its checks as it may be sent: it takes away every check that it does not name, and a mark that somebody set by hand is
/// theirs to take away. It stays in place of ours, too: that there is one is enough.
pub(crate) fn keeping_marks(mut wanted: ServiceDefinition, known: &Known) -> ServiceDefinition {
    let Known::Present(_, there) = known else { return wanted };
    if let (Some(notes), Some(checks)) = (there.foreign(), &mut wanted.checks) {
        let id = maintenance::mark_of(&wanted.id);
        checks.retain(|check| check.id != id);
        checks.push(maintenance::mark_saying(id, notes.to_owned()));
    }
    wanted
}

/// The tags of the assignment, and one more for who leads.
fn tags(record: &Record) -> Vec<String> {
    let own = record.assignment.service.tags.iter().cloned();
    own.chain(record.leads.then(|| LEADER_TAG.to_owned())).collect()
}

/// Where the instance listens: `10.0.0.7:8080`, or the address alone where it has no port.
pub(crate) fn addressed(config: &AgentConfig, record: &Record) -> String {
    match wanted(config, record) {
        ServiceDefinition { address, port: 0, .. } => address,
        ServiceDefinition { address, port, .. } => format!("{}:{port}", bracketed(&address)),
    }
}

/// The ids of the checks that Consul itself runs. One that only waits to be told turns critical when a Consul agent was stopped for a while.
pub(crate) fn consul_checks(record: &Record) -> Vec<String> {
    let own = record.assignment.template.checks.iter().map(|check| &check.name);
    let asks = |kind: &CheckKind| matches!(kind, CheckKind::Http { .. } | CheckKind::Tcp(_));
    let packaged = record.checks.iter().filter(|check| asks(&check.kind)).map(|check| &check.name);
    own.chain(packaged).map(|name| check_id(&record.assignment.id, name)).collect()
}

/// What the package's checks are, in a word: they may be made by templates, and change while the instance runs.
fn digest_of(record: &Record) -> String {
    let all = serde_json::to_vec(&record.checks).unwrap_or_default();
    helium_packages::digest::Digest::of(&all).to_string()[..16].to_owned()
}

/// Nobody ever renews it, so that it stays as critical as it begins; Consul wants to know after how long it would be.
const STANDBY_TTL: Duration = Duration::from_hours(24 * 365);

/// The check that keeps an instance on standby from passing.
pub(crate) fn standby_check(instance: &InstanceId) -> CheckDefinition {
    CheckDefinition {
        id: check_id(instance, STANDBY_CHECK),
        name: "on standby".to_owned(),
        notes: "Runs, and is to serve nobody: Helium takes this check away when it is.".to_owned(),
        ttl: Some(STANDBY_TTL),
        status: Some(CheckStatus::Critical),
        ..CheckDefinition::default()
    }
}

/// How long Consul believes what it was told of the jobs of an instance while its agent is silent: an agent that is away is no reason to take
/// what it has started out of service.
const JOBS_TTL: Duration = Duration::from_hours(1);

/// The check by which an instance with jobs is critical until its main process was started, and while a job that it requires is not well. Its agent
/// tells it.
fn jobs_check(instance: &InstanceId) -> CheckDefinition {
    CheckDefinition {
        id: check_id(instance, JOBS_CHECK),
        name: "jobs".to_owned(),
        notes: "The main process was started, and the jobs that it requires are well.".to_owned(),
        ttl: Some(JOBS_TTL),
        status: Some(CheckStatus::Critical),
        ..CheckDefinition::default()
    }
}

fn definition(config: &AgentConfig, record: &Record, check: &Check) -> CheckDefinition {
    let template = &record.assignment.template;
    let port_of = |name: &Option<String>| {
        let name = name.as_ref().or_else(|| template.ports.first().map(|port| &port.name));
        name.and_then(|name| record.ports.get(name)).copied().unwrap_or_default()
    };
    let host = bracketed(&config.address);
    let http = check.http.as_ref().map(|http| format!("http://{host}:{}{}", port_of(&http.port), http.path));
    let tcp = check.tcp.as_ref().map(|tcp| format!("{host}:{}", port_of(&tcp.port)));
    CheckDefinition {
        id: check_id(&record.assignment.id, &check.name),
        name: check.name.clone(),
        http: http.unwrap_or_default(),
        tcp: tcp.unwrap_or_default(),
        interval: Some(check.interval.as_duration()),
        timeout: Some(check.timeout.as_duration()),
        status: Some(CheckStatus::Critical),
        success_before_passing: u64::from(check.success_before_passing),
        failures_before_critical: u64::from(check.failures_before_critical),
        ..CheckDefinition::default()
    }
}

/// An IPv6 address goes into brackets where a port follows: `::1` becomes `[::1]`.
fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// Compares what should be there with what is.
pub(crate) fn compare(wanted: &ServiceDefinition, known: &Known) -> Registered {
    let (service, checks) = match known {
        Known::Unknown => return Registered::Unknown,
        Known::Absent => return Registered::Absent,
        Known::Present(service, checks) => (service, checks),
    };
    let is_standby = |id: &String| id.ends_with(STANDBY_CHECK);
    let mark = maintenance::mark_of(&wanted.id);
    let mut wanted_checks =
        wanted.checks.iter().flatten().map(|check| &check.id).filter(|id| !is_standby(id) && **id != mark);
    let maintained = wanted.checks.iter().flatten().find(|check| check.id == mark).map(|check| check.notes.as_str());
    let standby = wanted.checks.iter().flatten().any(|check| is_standby(&check.id));
    let stands_by = checks.ids.iter().any(is_standby);
    if service.service != wanted.name
        || service.address != wanted.address
        || service.port != wanted.port
        || service.meta.get(CHECKS_META) != wanted.meta.get(CHECKS_META)
        || wanted_checks.any(|id| !checks.ids.contains(id))
    {
        Registered::Anew
    } else if maintained.is_some() && checks.foreign().is_none() && checks.mark.as_deref() != maintained {
        Registered::InUse
    } else if standby && !stands_by {
        Registered::Serving
    } else if service.tags != wanted.tags
        || service.meta != wanted.meta
        || service.weights != wanted.weights.unwrap_or_default()
    {
        Registered::Retag
    } else if stands_by && !standby {
        Registered::OnStandby // nearly the last thing that is changed: whoever asks by tag finds it under the right one
    } else if maintained.is_none() && checks.mark.is_some() && checks.foreign().is_none() {
        Registered::InMaintenance
    } else {
        Registered::Same
    }
}

/// What is known after `wanted` was registered; a registration that kept the checks has those of `before`.
pub(crate) fn after(wanted: &ServiceDefinition, before: &Known) -> Known {
    let service = AgentService {
        id: wanted.id.clone(),
        service: wanted.name.clone(),
        address: wanted.address.clone(),
        port: wanted.port,
        tags: wanted.tags.clone(),
        meta: wanted.meta.clone(),
        weights: wanted.weights.unwrap_or_default(),
        ..AgentService::default()
    };
    let mark = maintenance::mark_of(&wanted.id);
    let checks = match (&wanted.checks, before) {
        (Some(checks), _) => Checks {
            ids: checks.iter().map(|check| check.id.clone()).filter(|id| *id != mark).collect(),
            mark: checks.iter().find(|check| check.id == mark).map(|check| check.notes.clone()),
        },
        (None, Known::Present(_, checks)) => checks.clone(),
        (None, _) => Checks::default(),
    };
    Known::Present(Box::new(service), checks)
}

/// What is known after the mark of maintenance came with this note, or went.
pub(crate) fn after_maintenance(mark: Option<String>, before: &Known) -> Known {
    let mut known = before.clone();
    if let Known::Present(_, checks) = &mut known {
        checks.mark = mark;
    }
    known
}

/// What is known after the check that keeps an instance on standby came or went.
pub(crate) fn after_standby(instance: &InstanceId, standby: bool, before: &Known) -> Known {
    let mut known = before.clone();
    if let Known::Present(_, checks) = &mut known {
        let id = check_id(instance, STANDBY_CHECK);
        if standby {
            checks.ids.insert(id);
        } else {
            checks.ids.remove(&id);
        }
    }
    known
}

/// The ids of services that this agent registered once and that no instance of it stands for any more.
pub(crate) fn leftovers(
    config: &AgentConfig,
    services: &BTreeMap<String, AgentService>,
    instances: &BTreeSet<InstanceId>,
) -> Vec<String> {
    let own: BTreeSet<String> = instances.iter().map(service_id).collect();
    let ours = |service: &AgentService| {
        service.id.starts_with("helium-")
            && service.meta.get(NODE_META).is_some_and(|node| node == config.node.as_str())
            && service.meta.contains_key("helium-instance")
    };
    services.values().filter(|service| ours(service) && !own.contains(&service.id)).map(|one| one.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use helium_crds::{Period, instance::Role};

    use super::*;
    use crate::testing;

    fn record() -> Record {
        let mut record = Record::admit(testing::assignment("hello-0"), testing::instant(0));
        record.ports.insert("http".to_owned(), 20_001);
        record
    }

    #[test]
    fn the_first_registration_has_its_checks_inline_and_critical() {
        let service = wanted(&testing::config(), &record());
        assert_eq!((service.id.as_str(), service.port), ("helium-hello-0", 20_001));
        assert_eq!(service.meta[NODE_META], "n1");
        let checks = service.checks.unwrap();
        assert_eq!(checks[0].http, "http://127.0.0.1:20001/health");
        assert_eq!((checks[0].id.as_str(), checks[0].status), ("helium-hello-0:up", Some(CheckStatus::Critical)));
    }

    #[test]
    fn a_check_is_registered_with_its_intervals_and_with_how_often_it_must_pass_or_fail() {
        let mut record = record();
        let check = &mut record.assignment.template.checks[0];
        (check.interval, check.timeout) = (Period::from_secs(7), Period::from_secs(3));
        (check.success_before_passing, check.failures_before_critical) = (2, 4);
        let definition = wanted(&testing::config(), &record).checks.unwrap().remove(0);
        let seconds = |time: Option<std::time::Duration>| time.unwrap().as_secs();
        assert_eq!((seconds(definition.interval), seconds(definition.timeout)), (7, 3));
        assert_eq!((definition.success_before_passing, definition.failures_before_critical), (2, 4));
    }

    #[test]
    fn a_tcp_check_of_a_named_port_connects_to_it_over_ipv6_too() {
        let mut record = record();
        record.ports.insert("admin".to_owned(), 20_002);
        let check = &mut record.assignment.template.checks[0];
        check.http = None;
        check.tcp = Some(helium_crds::template::TcpCheck { port: Some("admin".to_owned()) });
        let config = AgentConfig { address: "::1".to_owned(), ..testing::config() };
        assert_eq!(wanted(&config, &record).checks.unwrap()[0].tcp, "[::1]:20002");
    }

    #[test]
    fn only_what_differs_is_put_right() {
        let wanted = wanted(&testing::config(), &record());
        let there = after(&wanted, &Known::Absent);
        assert_eq!(compare(&wanted, &Known::Unknown), Registered::Unknown);
        assert_eq!(compare(&wanted, &Known::Absent), Registered::Absent);
        assert_eq!(compare(&wanted, &there), Registered::Same);
        let canary = ServiceDefinition { tags: vec!["canary".to_owned()], ..wanted.clone() };
        assert_eq!(compare(&canary, &there), Registered::Retag);
        let heavier = ServiceDefinition { weights: Some(Weights { passing: 16, warning: 16 }), ..wanted.clone() };
        assert_eq!(compare(&heavier, &there), Registered::Retag);
        assert_eq!(
            compare(&wanted, &after(&heavier, &there)),
            Registered::Retag,
            "without a weight it is Consul's own"
        );
        let moved = ServiceDefinition { port: 1, ..wanted.clone() };
        assert_eq!(compare(&moved, &there), Registered::Anew);
        let Known::Present(service, _) = there.clone() else { unreachable!() };
        assert_eq!(compare(&wanted, &Known::Present(service, Checks::default())), Registered::Anew);
        let kept = ServiceDefinition { checks: None, ..canary.clone() };
        assert_eq!(compare(&canary, &after(&kept, &there)), Registered::Same);
    }

    #[test]
    fn an_instance_on_standby_is_registered_with_the_check_that_keeps_it_from_passing() {
        let mut record = record();
        record.assignment.role = Role::Preview;
        let service = wanted(&testing::config(), &record);
        let check = service.checks.unwrap().pop().unwrap();
        assert_eq!((check.id.as_str(), check.status), ("helium-hello-0:.standby", Some(CheckStatus::Critical)));
        assert!(check.ttl.is_some() && check.http.is_empty());
    }

    #[test]
    fn to_serve_or_to_be_on_standby_changes_one_check_and_leaves_the_others_alone() {
        let mut record = record();
        let serving = wanted(&testing::config(), &record);
        let id = record.assignment.id.clone();
        record.assignment.role = Role::Preview;
        let standby = wanted(&testing::config(), &record);
        let there = after(&standby, &Known::Absent);
        assert_eq!(compare(&standby, &there), Registered::Same);
        assert_eq!(compare(&serving, &there), Registered::OnStandby);
        assert_eq!(compare(&serving, &after_standby(&id, false, &there)), Registered::Same);
        let there = after(&serving, &Known::Absent);
        assert_eq!(compare(&standby, &there), Registered::Serving);
        assert_eq!(compare(&standby, &after_standby(&id, true, &there)), Registered::Same);
        let retagged = ServiceDefinition { tags: vec!["canary".to_owned()], ..serving };
        let there = after(&standby, &Known::Absent);
        assert_eq!(compare(&retagged, &there), Registered::Retag, "it is found under its new tag once it passes");
    }

    #[test]
    fn an_instance_in_maintenance_is_registered_with_the_mark_and_gets_or_loses_it_alone_later() {
        let mut record = record();
        let in_use = wanted(&testing::config(), &record);
        record.maintenance = Some("a new disk".to_owned());
        let marked = wanted(&testing::config(), &record);
        let mark = marked.checks.clone().unwrap().pop().unwrap();
        assert_eq!(
            (mark.id.as_str(), mark.status),
            ("_service_maintenance:helium-hello-0", Some(CheckStatus::Critical))
        );
        assert_eq!(mark.notes, "helium: a new disk");
        let there = after(&in_use, &Known::Absent);
        assert_eq!(compare(&marked, &there), Registered::InUse);
        assert_eq!(
            compare(&marked, &after_maintenance(Some("helium: a new disk".to_owned()), &there)),
            Registered::Same
        );
        let there = after(&marked, &Known::Absent);
        assert_eq!(compare(&marked, &there), Registered::Same, "there is no instant in which it is registered without");
        assert_eq!(compare(&in_use, &there), Registered::InMaintenance);
        assert_eq!(compare(&in_use, &after_maintenance(None, &there)), Registered::Same);
    }

    #[test]
    fn a_mark_that_somebody_set_by_hand_is_good_enough_and_stays_and_one_of_ours_gives_the_reason_of_now() {
        let mut record = record();
        let in_use = wanted(&testing::config(), &record);
        record.maintenance = Some("a new disk".to_owned());
        let marked = wanted(&testing::config(), &record);
        let with = |mark: &str| after_maintenance(Some(mark.to_owned()), &after(&in_use, &Known::Absent));
        for (mark, of_marked, of_in_use) in [
            ("by hand", Registered::Same, Registered::Same),
            ("helium: a new disk", Registered::Same, Registered::InMaintenance),
            ("helium: a new board", Registered::InUse, Registered::InMaintenance),
        ] {
            let is = (compare(&marked, &with(mark)), compare(&in_use, &with(mark)));
            assert_eq!(is, (of_marked, of_in_use), "{mark}");
        }
        for whole in [&marked, &in_use] {
            let kept = keeping_marks((*whole).clone(), &with("by hand"));
            assert_eq!(after(&kept, &Known::Absent), with("by hand"));
            assert_eq!(
                keeping_marks((*whole).clone(), &with("helium: a new board")),
                *whole,
                "ours is as it should be"
            );
        }
    }

    #[test]
    fn only_own_services_without_an_instance_are_leftovers() {
        let config = testing::config();
        let service = |id: &str, node: &str, instance: bool| {
            let mut meta = BTreeMap::from([(NODE_META.to_owned(), node.to_owned())]);
            if instance {
                meta.insert("helium-instance".to_owned(), "x".to_owned());
            }
            (id.to_owned(), AgentService { id: id.to_owned(), meta, ..AgentService::default() })
        };
        let services = BTreeMap::from([
            service("helium-hello-0", "n1", true),
            service("helium-old-1", "n1", true),
            service("helium-else-2", "n2", true),
            service("helium-controller", "n1", false),
            service("foreign", "n1", true),
        ]);
        let instances = BTreeSet::from([InstanceId::from("hello-0")]);
        assert_eq!(leftovers(&config, &services, &instances), ["helium-old-1"]);
    }
}
