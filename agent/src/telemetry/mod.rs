//! What is to be seen of an agent while it runs: its pulse, whether it is ready, what it counts, and the conditions of all that is here.
//!
//! The parts of the agent tell it what happens ([`Telemetry`], in what they share); whoever looks after the agent from outside asks an
//! [`AgentHandle`]. Nothing in here waits for anything.

pub(crate) mod condition;
mod handle;
pub(crate) mod metrics;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use consul_client::{AgentCheck, CheckStatus};
use helium_crds::{
    condition::{Condition, ConditionKind as Kind},
    ids::InstanceId,
    instance::Report,
};
use helium_runtime::{ports::Ports, pulse::Pulse};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::instance::record::Record;
use condition::{Conditions, Facts, Verdict};
pub use handle::AgentHandle;
pub(crate) use handle::PHASES;
use metrics::{Metrics, Part, Status};

/// How long after the start the agent is ready at the latest, whatever Consul does: what is on the disk has been taken up by then.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// What the calls are for that keep the node present.
pub(crate) const HEARTBEAT: &str = "heartbeat";
/// What the calls are for by which an instance stands in Consul as it should.
const REGISTRATION: &str = "registration";

/// What the parts of an agent tell of what happens; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ports: Ports,
    began: Duration,
    metrics: Metrics,
    pulse: Pulse,
    ready: watch::Sender<bool>,
    /// Asks the main loop to look at everything again.
    again: Notify,
    known: Mutex<Known>,
}

/// What is known of the node.
#[derive(Debug, Default)]
struct Known {
    consul: Contact,
    /// The heartbeat is held.
    joined: bool,
    /// Whether the assignments can be believed; none before they were read.
    assignments: Option<Result<(), String>>,
    /// Instances of which nobody has done yet what can be done at once.
    unsettled: BTreeSet<InstanceId>,
    node: Conditions,
    instances: BTreeMap<InstanceId, Shown>,
}

/// How it stands with Consul.
#[derive(Clone, Debug, Default)]
struct Contact {
    last: Option<Timestamp>,
    /// Since when each sort of call fails, and why; of a sort that each instance makes for itself, of which instance.
    failing: BTreeMap<Call, (Timestamp, String)>,
}

/// What a call is for, and for which instance, if it is for one.
type Call = (&'static str, Option<InstanceId>);

/// What is shown of an instance.
#[derive(Clone, Debug)]
struct Shown {
    service: String,
    version: String,
    leads: bool,
    report: Report,
    conditions: Conditions,
}

impl Telemetry {
    /// Of an agent that begins now.
    pub(crate) fn new(ports: Ports) -> Self {
        let pulse = Pulse::new(ports.clone());
        let inner = Inner {
            began: ports.monotonic(),
            metrics: Metrics::new(),
            pulse,
            ready: watch::channel(false).0,
            again: Notify::new(),
            known: Mutex::default(),
            ports,
        };
        Self(Arc::new(inner))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The time since some instant of the past, for how long something takes.
    pub(crate) fn clock(&self) -> Duration {
        self.0.ports.monotonic()
    }

    /// The main loop comes round. `maintenance` is why the node is in maintenance, if it is.
    pub(crate) fn beat(&self, maintenance: Option<&str>) {
        self.0.pulse.beat();
        if !*self.0.ready.borrow() && self.has_converged() {
            tracing::info!("ready: what was to be done at once is done");
            self.0.metrics.ready.set(1);
            self.0.ready.send_replace(true);
        }
        // Since when a condition is so is when it became so, and not when somebody asked.
        self.node_conditions(maintenance);
    }

    /// Whether what is known to be wanted is done as far as it can be at once. While Consul is away that is what is on the disk.
    fn has_converged(&self) -> bool {
        let known = self.known();
        let told = known.assignments.is_some() || known.consul.failing.contains_key(&(HEARTBEAT, None));
        let late = self.0.ports.monotonic().saturating_sub(self.0.began) >= READY_WITHIN;
        (told && known.unsettled.is_empty()) || late
    }

    /// Waits until somebody asks for a look at everything.
    pub(crate) async fn asked_again(&self) {
        self.0.again.notified().await;
    }

    /// A call to Consul has ended, well or not. `part` is what it was for.
    pub(crate) fn heard(&self, part: &'static str, outcome: Result<(), String>) {
        self.heard_of((part, None), outcome);
    }

    /// A call that registers an instance, or takes it out of Consul, has ended.
    pub(crate) fn heard_of_registration(&self, id: &InstanceId, outcome: Result<(), String>) {
        self.heard_of((REGISTRATION, Some(id.clone())), outcome);
    }

    /// An instance stands in Consul as it should, whatever became of its last call: one that was not answered may have arrived.
    pub(crate) fn stands_well(&self, id: &InstanceId) {
        self.known().consul.failing.remove(&(REGISTRATION, Some(id.clone())));
    }

    fn heard_of(&self, call: Call, outcome: Result<(), String>) {
        let part = call.0;
        let now = self.0.ports.now();
        let mut known = self.known();
        match outcome {
            Ok(()) => {
                known.consul.last = Some(now);
                known.consul.failing.remove(&call);
                #[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in 53 bits")]
                self.0.metrics.consul_contact.set(now.as_millisecond() as f64 / 1000.0);
            }
            Err(words) => {
                self.0.metrics.consul_errors.get_or_create(&Part { part }).inc();
                known.consul.failing.entry(call).or_insert((now, String::new())).1 = words;
            }
        }
    }

    /// The heartbeat is held, or not.
    pub(crate) fn joined(&self, joined: bool) {
        self.known().joined = joined;
    }

    /// The assignments were read: they can be believed, or why not.
    pub(crate) fn assignments(&self, state: Result<(), String>) {
        self.known().assignments = Some(state);
    }

    /// There is a task for an instance, which has done nothing yet.
    pub(crate) fn expect(&self, id: &InstanceId) {
        self.known().unsettled.insert(id.clone());
    }

    /// It has done what can be done at once.
    pub(crate) fn settled(&self, id: &InstanceId) {
        self.known().unsettled.remove(id);
    }

    /// What is so with an instance; gives its conditions.
    pub(crate) fn show(&self, record: &Record, facts: &Facts<'_>) -> Vec<Condition> {
        let mut verdicts = condition::of_instance(facts);
        let now = self.0.ports.now();
        let assignment = &record.assignment;
        let mut known = self.known();
        let before = known.instances.remove(&assignment.id);
        let mut conditions = before.map(|shown| shown.conditions).unwrap_or_default();
        let failing = known.consul.failing.get(&(REGISTRATION, Some(assignment.id.clone())));
        verdicts.extend(condition::consul(failing.map(|(_, words)| words.as_str()), facts.refusal.is_some()));
        conditions.take(verdicts, now);
        let all = conditions.all();
        let shown = Shown {
            service: assignment.service.name.clone(),
            version: assignment.template.version.clone(),
            leads: record.leads,
            report: facts.report.clone(),
            conditions,
        };
        known.instances.insert(assignment.id.clone(), shown);
        all
    }

    /// An instance is here no more.
    pub(crate) fn forget(&self, id: &InstanceId) {
        let mut known = self.known();
        known.instances.remove(id);
        known.unsettled.remove(id);
        known.consul.failing.remove(&(REGISTRATION, Some(id.clone())));
    }

    /// What the local Consul agent says of the checks of the instances here.
    pub(crate) fn checks<'a>(&self, checks: impl Iterator<Item = &'a AgentCheck>) {
        let mut counts = [("passing", 0), ("warning", 0), ("critical", 0)];
        for check in checks {
            let index = match check.status {
                CheckStatus::Passing => 0,
                CheckStatus::Warning => 1,
                CheckStatus::Critical => 2,
            };
            counts[index].1 += 1;
        }
        for (status, count) in counts {
            self.0.metrics.checks.get_or_create(&Status { status }).set(count);
        }
    }

    /// How it stands with Consul, as JSON: when it last answered well, and which calls fail.
    pub(crate) fn consul(&self) -> serde_json::Value {
        let known = self.known();
        let failing = known.consul.failing.iter().map(|((part, instance), (since, words))| {
            serde_json::json!({ "call": part, "instance": instance, "since": since, "message": words })
        });
        let failing: Vec<serde_json::Value> = failing.collect();
        serde_json::json!({ "lastContact": known.consul.last, "failing": failing })
    }

    /// The conditions of the node, as they are now.
    fn node_conditions(&self, maintenance: Option<&str>) -> Conditions {
        let now = self.0.ports.now();
        let ready = *self.0.ready.borrow();
        let mut known = self.known();
        let mut found = vec![condition::maintenance(maintenance)];
        found.push(match (known.joined, ready) {
            (true, true) => Verdict::of(Kind::Ready, true, "Joined", ""),
            (true, false) => Verdict::of(Kind::Ready, false, "Starting", "the first desired state is not applied yet"),
            (false, _) => Verdict::of(Kind::Ready, false, "NotJoined", "the heartbeat of this node is not held"),
        });
        found.push(match (known.consul.failing.iter().min_by_key(|(_, (since, _))| *since), known.consul.last) {
            (Some(((part, instance), (_, words))), _) => {
                let of = instance.as_ref().map(|id| format!(" of {id}")).unwrap_or_default();
                Verdict::of(Kind::ConsulReachable, false, "CallsFail", format!("{part}{of}: {words}"))
            }
            (None, Some(_)) => Verdict::of(Kind::ConsulReachable, true, "Answers", ""),
            (None, None) => Verdict::unknown(Kind::ConsulReachable, "NotAsked", ""),
        });
        found.push(match &known.assignments {
            Some(Ok(())) => Verdict::of(Kind::AssignmentsKnown, true, "Followed", ""),
            Some(Err(words)) => Verdict::of(Kind::AssignmentsKnown, false, "Blind", words.clone()),
            None => Verdict::unknown(Kind::AssignmentsKnown, "NotRead", ""),
        });
        known.node.take(found, now);
        known.node.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry() -> Telemetry {
        Telemetry::new(Ports::seeded(1, crate::testing::instant(0)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_of_the_node_is_so_since_it_became_so_and_not_since_somebody_asked() {
        let telemetry = telemetry();
        let since = |reason: Option<&str>| {
            let all = serde_json::to_value(telemetry.node_conditions(reason).all()).unwrap();
            let one = all.as_array().unwrap().iter().find(|one| one["type"] == "Maintenance").unwrap().clone();
            one["since"].as_str().unwrap().parse::<Timestamp>().unwrap()
        };
        telemetry.beat(None);
        tokio::time::sleep(Duration::from_mins(1)).await;
        telemetry.beat(Some("a new disk"));
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert_eq!(since(Some("a new disk")), crate::testing::instant(60));
    }

    fn failing(telemetry: &Telemetry) -> Vec<String> {
        let known = telemetry.known();
        let told =
            known.consul.failing.iter().map(|((_, id), (_, words))| format!("{}: {words}", id.as_ref().unwrap()));
        told.collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_consul_refuses_is_told_until_it_stands_well_or_is_gone_whatever_others_do() {
        let telemetry = telemetry();
        let [one, other] = ["hello-0", "hello-1"].map(InstanceId::from);
        telemetry.heard_of_registration(&one, Err("denied".to_owned()));
        telemetry.heard_of_registration(&other, Err("no answer".to_owned()));
        telemetry.heard_of_registration(&other, Ok(()));
        assert_eq!(failing(&telemetry), ["hello-0: denied"]);
        telemetry.stands_well(&other);
        assert_eq!(failing(&telemetry), ["hello-0: denied"]);
        telemetry.stands_well(&one);
        assert!(failing(&telemetry).is_empty());
        telemetry.heard_of_registration(&one, Err("denied".to_owned()));
        telemetry.forget(&one);
        assert!(failing(&telemetry).is_empty());
    }

    fn is_ready(telemetry: &Telemetry) -> bool {
        telemetry.beat(None);
        *telemetry.0.ready.borrow()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_ready_once_its_assignments_were_read_and_each_instance_has_done_what_it_can_at_once() {
        let telemetry = telemetry();
        let id = InstanceId::from("hello-0");
        telemetry.heard("heartbeat", Ok(()));
        assert!(!is_ready(&telemetry), "what is wanted is not known");
        telemetry.expect(&id);
        telemetry.assignments(Ok(()));
        assert!(!is_ready(&telemetry), "an instance has done nothing yet");
        telemetry.settled(&id);
        assert!(is_ready(&telemetry));
        telemetry.expect(&id);
        assert!(is_ready(&telemetry), "it is the first time that counts");
    }

    #[tokio::test(start_paused = true)]
    async fn without_consul_it_is_ready_once_what_is_on_the_disk_is_taken_up() {
        let telemetry = telemetry();
        telemetry.expect(&InstanceId::from("hello-0"));
        telemetry.heard("heartbeat", Err("connection refused".to_owned()));
        assert!(!is_ready(&telemetry));
        telemetry.settled(&InstanceId::from("hello-0"));
        assert!(is_ready(&telemetry));
    }

    #[tokio::test(start_paused = true)]
    async fn a_consul_that_swallows_every_call_delays_that_by_ten_seconds_at_most() {
        let telemetry = telemetry();
        tokio::time::sleep(Duration::from_millis(9_999)).await;
        assert!(!is_ready(&telemetry));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(is_ready(&telemetry));
    }
}
