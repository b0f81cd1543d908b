//! How an instance stands at the Consul of its machine, as far as its agent knows: from what it saw last, and from what it did since.

use std::{collections::BTreeSet, time::Duration};

use consul_client::{AgentService, CheckDefinition, CheckStatus, Client, Error, ServiceDefinition, Weights};
use helium_crds::{
    InstanceId, NodeName,
    instance::{Assignment, STANDBY_CHECK, check_id, service_id},
    template::Check,
};
use helium_instance::machine::{Checks, Registered, Step};
use jiff::{SignedDuration, Timestamp};

use crate::{checks, rng::Rng};

/// The wait after the first call that failed, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// What is known of the service.
#[derive(Clone, Debug)]
enum Known {
    /// Nothing.
    Unknown,
    /// It is not there.
    Absent,
    /// It is there, with checks of these ids.
    Present(Box<AgentService>, BTreeSet<String>),
}

/// How an instance stands.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    known: Known,
    /// True once anything was known.
    pub(super) asked: bool,
    failures: u32,
    /// The last call failed; the next is not to be made before this instant.
    pub(super) after: Option<Timestamp>,
    /// Why Consul refuses it.
    pub(super) refusal: Option<String>,
}

impl Standing {
    /// Of one that was never registered, or of one of which nothing is known.
    pub(super) fn new(is_new: bool) -> Self {
        let known = if is_new { Known::Absent } else { Known::Unknown };
        Self { known, asked: is_new, failures: 0, after: None, refusal: None }
    }

    /// Takes over what was seen.
    pub(super) fn see(&mut self, service: Option<&AgentService>, checks: BTreeSet<String>) {
        self.asked = true;
        self.known = service.map_or(Known::Absent, |service| Known::Present(Box::new(service.clone()), checks));
    }

    pub(super) fn is_there(&self) -> bool {
        matches!(self.known, Known::Present(..))
    }

    /// Compared with what should be, in the order of the real agent: whoever asks by tag finds it under the right one before it serves.
    pub(super) fn registered(&self, wanted: &Assignment) -> Registered {
        let (there, checks) = match &self.known {
            Known::Unknown => return Registered::Unknown,
            Known::Absent => return Registered::Absent,
            Known::Present(there, checks) => (there, checks),
        };
        let entry = &wanted.service;
        let lacks = |check: &Check| !checks.contains(&check_id(&wanted.id, &check.name));
        let stands_by = checks.contains(&check_id(&wanted.id, STANDBY_CHECK));
        let standby = wanted.role.is_standby();
        if there.service != entry.name || wanted.template.checks.iter().any(lacks) {
            Registered::Anew
        } else if standby && !stands_by {
            Registered::Serving
        } else if there.tags != entry.tags
            || there.meta != entry.meta
            || there.weights != weights(wanted).unwrap_or_default()
        {
            Registered::Retag
        } else if stands_by && !standby {
            Registered::OnStandby
        } else {
            Registered::Same
        }
    }

    /// Does a step that is a call to Consul.
    pub(super) async fn call(
        &mut self,
        step: Step,
        client: &Client,
        node: &NodeName,
        wanted: &Assignment,
    ) -> Result<(), Error> {
        let (id, service) = (&wanted.id, service_id(&wanted.id));
        match step {
            Step::Register(checks) => {
                let definition = definition(node, wanted, checks);
                client.agent_register_service(&definition, false).await?;
                self.known = after(&definition, &self.known);
            }
            Step::StandBy(standby) => {
                let check = CheckDefinition { service_id: service, ..standby_check(id) };
                if standby {
                    client.agent_register_check(&check).await?;
                } else {
                    client.agent_deregister_check(&check.id).await?;
                }
                if let Known::Present(_, checks) = &mut self.known {
                    checks.remove(&check.id);
                    checks.extend(standby.then_some(check.id));
                }
            }
            Step::Deregister => {
                client.agent_deregister_service(&service).await?;
                self.known = Known::Absent;
            }
            // Nobody asks for maintenance in this world, and nothing else is a call.
            _ => {}
        }
        self.asked = true;
        (self.failures, self.after, self.refusal) = (0, None, None);
        Ok(())
    }

    /// A call failed, and may have arrived all the same: nothing is known any more, and the next one is a while later.
    pub(super) fn failed(&mut self, error: &Error, now: Timestamp, rng: &mut Rng) {
        self.known = Known::Unknown;
        self.refusal = (!error.is_unreachable()).then(|| error.to_string());
        let ceiling = RETRY.0.saturating_mul(1 << self.failures.min(16)).min(RETRY.1);
        self.failures = self.failures.saturating_add(1);
        let wait = RETRY.0 + rng.between(Duration::ZERO, ceiling);
        self.after = Some(now + SignedDuration::try_from(wait).unwrap_or_default());
    }

    /// A defect: it believes that its service is not there.
    pub(super) fn believe_absent(&mut self) {
        self.known = Known::Absent;
    }
}

fn weights(wanted: &Assignment) -> Option<Weights> {
    wanted.service.weight.map(|weight| Weights { passing: weight, warning: weight })
}

/// The registration, with its checks or, to keep those that are there and their state, without a word of them.
fn definition(node: &NodeName, wanted: &Assignment, checks: Checks) -> ServiceDefinition {
    let (id, entry) = (&wanted.id, &wanted.service);
    let check = |check: &Check| CheckDefinition {
        id: check_id(id, &check.name),
        name: check.name.clone(),
        http: checks::url(node, id, check.http.as_ref().map_or("/", |http| http.path.as_str())),
        interval: Some(check.interval.as_duration()),
        timeout: Some(check.timeout.as_duration()),
        status: Some(CheckStatus::Critical),
        success_before_passing: u64::from(check.success_before_passing),
        failures_before_critical: u64::from(check.failures_before_critical),
        ..CheckDefinition::default()
    };
    let standby = wanted.role.is_standby().then(|| standby_check(id));
    let inline = wanted.template.checks.iter().map(check).chain(standby);
    ServiceDefinition {
        id: entry.id.clone(),
        name: entry.name.clone(),
        tags: entry.tags.clone(),
        meta: entry.meta.clone(),
        weights: weights(wanted),
        checks: (checks == Checks::Inline).then(|| inline.collect()),
        ..ServiceDefinition::default()
    }
}

/// What is known after a registration.
fn after(wanted: &ServiceDefinition, before: &Known) -> Known {
    let service = AgentService {
        id: wanted.id.clone(),
        service: wanted.name.clone(),
        tags: wanted.tags.clone(),
        meta: wanted.meta.clone(),
        weights: wanted.weights.unwrap_or_default(),
        ..AgentService::default()
    };
    let checks = match (&wanted.checks, before) {
        (Some(checks), _) => checks.iter().map(|check| check.id.clone()).collect(),
        (None, Known::Present(_, checks)) => checks.clone(),
        (None, _) => BTreeSet::new(),
    };
    Known::Present(Box::new(service), checks)
}

/// The check that keeps an instance on standby from passing.
fn standby_check(id: &InstanceId) -> CheckDefinition {
    CheckDefinition {
        id: check_id(id, STANDBY_CHECK),
        name: "on standby".to_owned(),
        ttl: Some(Duration::from_hours(24 * 365)),
        status: Some(CheckStatus::Critical),
        ..CheckDefinition::default()
    }
}
