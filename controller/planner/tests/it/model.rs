//! A small model of the world: agents that do what assignments say, a catalog that follows, and a clock that is stepped.

use std::collections::{BTreeMap, BTreeSet};

use helium_crds::{
    Amount, Canary, Deployment, DeploymentStatus, InstanceId, NodeName, Number, Percent, Period, Phase,
    canary::{Analysis, CanarySpec},
    control::{ControlRequest, Verb},
    deployment::{Rolling, Strategy},
    instance::{Desired, InstancePhase, Report},
    measurement::{Answer, Found, GateReading, Probe, Question, Reading},
    object::{Kind, Metadata, Object},
    status::{Reason, Stage},
    step::{Step, StepKind},
    template::Template,
};
use helium_planner::{Action, CatalogEntry, CheckState, Decision, Fleet, Node, Plan, Sight, Trusted, World, plan};
use jiff::{SignedDuration, Timestamp};

pub(crate) const NODE: &str = "node-a";

/// The world, and what its agents and checks do.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) world: World,
    pub(crate) fleet: Fleet,
    /// The Canary as it was before its document became one that cannot be followed.
    broken_canary: Option<Canary>,
    /// Versions whose health check fails.
    pub(crate) bad: BTreeSet<String>,
    /// Instances whose check is failing although their version is good.
    pub(crate) sick: BTreeSet<InstanceId>,
    /// Versions whose process ends again and again.
    pub(crate) crashing: BTreeSet<String>,
    /// How long an instance takes from its assignment to its first good check.
    pub(crate) start_time: SignedDuration,
    /// How long an instance takes to stop.
    pub(crate) stop_time: SignedDuration,
    /// How long these take to stop.
    pub(crate) slow: BTreeMap<InstanceId, SignedDuration>,
    /// The agents of these nodes are away.
    pub(crate) away: BTreeSet<NodeName>,
    stopping_since: BTreeMap<InstanceId, Timestamp>,
    /// Since when their agents know them, and those that have had the time to start.
    known_since: BTreeMap<InstanceId, Timestamp>,
    started: BTreeSet<InstanceId>,
    /// Every event's reason, in order.
    pub(crate) events: Vec<String>,
    /// What they say.
    pub(crate) told: Vec<String>,
    requests: u64,
    /// What metric sources say: of the canary, and of the stable version. A metric that is not in here is never answered.
    pub(crate) readings: BTreeMap<String, (Reading, Option<Reading>)>,
    /// What the gate says; without it, it never answers.
    pub(crate) gate: Option<GateReading>,
    /// Every question that was asked, when it was.
    pub(crate) asked: Vec<(Timestamp, Probe, Question)>,
    /// Whether a new weight stays away from Consul.
    pub(crate) weighs_late: bool,
    /// What every commit is checked for.
    pub(crate) strict: bool,
}

pub(crate) fn seconds(number: i64) -> SignedDuration {
    SignedDuration::from_secs(number)
}

pub(crate) fn number(value: f64) -> Reading {
    Reading::Value { value: Number::new(value).unwrap() }
}

/// Steps and analysis as people write them.
pub(crate) fn canary_of(spec: serde_json::Value) -> CanarySpec {
    serde_json::from_value(spec).unwrap()
}

pub(crate) fn weight(percent: u8) -> Step {
    Step::from(StepKind::SetWeight(Percent::new(percent).unwrap()))
}

pub(crate) fn soak(period: u64) -> Step {
    Step::from(StepKind::Soak(Period::from_secs(period)))
}

pub(crate) fn open_pause() -> Step {
    Step::from(StepKind::Pause(helium_crds::step::Pause::default()))
}

impl Model {
    /// A Deployment of `replicas` at version `v1`, with surge and unavailable bounds as given, already applied.
    pub(crate) fn new(replicas: u32, surge: u32, unavailable: u32) -> Self {
        let template: Template = serde_json::from_value(serde_json::json!({
            "version": "v1",
            "exec": { "command": ["/bin/serve"] },
            "ports": [{ "name": "http" }],
            "checks": [{ "name": "up", "http": { "path": "/health" }, "interval": "1s" }],
        }))
        .unwrap();
        let mut spec: helium_crds::DeploymentSpec =
            serde_json::from_value(serde_json::json!({ "template": template })).unwrap();
        spec.replicas = Some(replicas);
        spec.min_healthy_time = Period::from_secs(2);
        spec.progress_deadline = Period::from_secs(60);
        spec.strategy =
            Strategy::Rolling(Rolling { max_surge: Amount::Count(surge), max_unavailable: Amount::Count(unavailable) });
        let mut metadata = Metadata::named("default", "web");
        "u1".clone_into(&mut metadata.uid);
        metadata.generation = 1;
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let nodes = [(NodeName::new(NODE), Node { alive: true, ..Node::default() })].into();
        Self {
            world: World {
                now,
                watching_since: now,
                lost_after: seconds(60),
                deployment: Object::new(Kind::Deployment, metadata, spec),
                canary: None,
                canary_problem: None,
                values_problem: None,
                requests: Vec::new(),
                unreadable_requests: Vec::new(),
                status: None,
                answers: BTreeMap::new(),
                revisions: BTreeMap::new(),
                fleet: Sight::Blind { reason: "set at every plan".to_owned() },
            },
            fleet: Fleet { nodes, ..Fleet::default() },
            broken_canary: None,
            bad: BTreeSet::new(),
            sick: BTreeSet::new(),
            crashing: BTreeSet::new(),
            start_time: seconds(1),
            stop_time: seconds(1),
            slow: BTreeMap::new(),
            away: BTreeSet::new(),
            stopping_since: BTreeMap::new(),
            known_since: BTreeMap::new(),
            started: BTreeSet::new(),
            events: Vec::new(),
            told: Vec::new(),
            requests: 0,
            readings: BTreeMap::new(),
            gate: None,
            asked: Vec::new(),
            weighs_late: false,
            strict: true,
        }
    }

    pub(crate) fn with_canary(mut self, steps: Vec<Step>) -> Self {
        let spec = CanarySpec {
            steps,
            blue_green: None,
            scale_down_delay: None,
            analysis: Analysis::default(),
            auto_promote: true,
            exact: false,
            traffic_routing: helium_crds::canary::TrafficRouting::InstanceRatio,
            if_stable_unhealthy: helium_crds::canary::IfStableUnhealthy::Proceed,
        };
        self.world.canary = Some(Canary::new(Kind::Canary, Metadata::named("default", "web"), spec));
        self
    }

    /// The Canary is this from now on.
    pub(crate) fn with_spec(mut self, spec: CanarySpec) -> Self {
        self.world.canary = Some(Canary::new(Kind::Canary, Metadata::named("default", "web"), spec));
        self
    }

    /// Settled at `v1`: all healthy, no rollout.
    pub(crate) fn settled(mut self) -> Self {
        self.run_until(60, |model| model.status().phase == Phase::Healthy);
        self.run(3); // so that health alone asks for no more planning
        self
    }

    pub(crate) fn deployment(&mut self) -> &mut Deployment {
        &mut self.world.deployment
    }

    pub(crate) fn apply_version(&mut self, version: &str) {
        version.clone_into(&mut self.world.deployment.spec.template.version);
        self.world.deployment.metadata.generation += 1;
    }

    pub(crate) fn apply_bad_version(&mut self, version: &str) {
        self.bad.insert(version.to_owned());
        self.apply_version(version);
    }

    /// The stored Canary becomes one that cannot be followed.
    pub(crate) fn break_canary(&mut self, problem: &str) {
        self.world.canary_problem = Some(problem.to_owned());
        self.broken_canary = self.world.canary.take().or(self.broken_canary.take());
    }

    /// The stored Canary is again what it was.
    pub(crate) fn mend_canary(&mut self) {
        self.world.canary_problem = None;
        self.world.canary = self.broken_canary.take().or(self.world.canary.take());
    }

    pub(crate) fn drop_canary(&mut self) {
        (self.world.canary, self.world.canary_problem, self.broken_canary) = (None, None, None);
    }

    pub(crate) fn scale(&mut self, replicas: u32) {
        self.world.deployment.spec.replicas = Some(replicas);
        self.world.deployment.metadata.generation += 1;
    }

    pub(crate) fn ask(&mut self, verb: Verb) {
        self.ask_with(verb, |_| {});
    }

    /// Asks for something with more to it than its verb.
    pub(crate) fn ask_with(&mut self, verb: Verb, more: impl FnOnce(&mut ControlRequest)) {
        self.requests += 1;
        let mut request = ControlRequest {
            id: format!("q{}", self.requests),
            by: "alice".to_owned(),
            at: self.world.now,
            reason: None,
            verb,
            rollout: None,
            step: None,
            to_step: None,
            until: None,
        };
        more(&mut request);
        self.world.requests.push(request);
    }

    pub(crate) fn last_refusal(&self) -> Option<String> {
        self.status().control.last().and_then(|answer| answer.refused.clone())
    }

    pub(crate) fn status(&self) -> &DeploymentStatus {
        self.world.status.as_ref().unwrap()
    }

    pub(crate) fn reason(&self) -> Reason {
        self.status().reason
    }

    pub(crate) fn stage(&self) -> Option<Stage> {
        self.status().rollout.as_ref().map(|rollout| rollout.stage)
    }

    /// Live instances of a version, on standby or not: wanted to run, and not on a lost node.
    pub(crate) fn live(&self, version: &str) -> u32 {
        let live = |instance: &&helium_crds::instance::Instance| {
            instance.version == version && instance.desired == Desired::Run
        };
        u32::try_from(self.fleet.instances.values().filter(live).count()).unwrap()
    }

    /// Healthy instances of a version, or of all, that serve.
    pub(crate) fn healthy(&self, version: Option<&str>) -> u32 {
        let healthy = self.fleet.instances.values().filter(|instance| {
            version.is_none_or(|version| instance.version == version) && self.is_healthy(&instance.id)
        });
        u32::try_from(healthy.count()).unwrap()
    }

    fn is_healthy(&self, id: &InstanceId) -> bool {
        let seen = |node: &NodeName| self.fleet.nodes.get(node).is_some_and(|node| node.alive);
        let serves = |one: &helium_crds::instance::Instance| {
            one.desired == Desired::Run && !one.role.is_standby() && seen(&one.node)
        };
        self.fleet.instances.get(id).is_some_and(serves)
            && self.fleet.catalog.get(id).is_some_and(|entry| {
                !entry.on_standby && entry.checks.values().all(|check| *check == CheckState::Passing)
            })
    }

    /// Instances of a version that can be reached by the service.
    pub(crate) fn reached(&self, version: &str) -> u32 {
        let reached = self.fleet.instances.values().filter(|one| one.version == version && self.passes(&one.id));
        u32::try_from(reached.count()).unwrap()
    }

    /// Whether in Consul everything of an instance passes.
    pub(crate) fn passes(&self, id: &InstanceId) -> bool {
        let entry = self.fleet.catalog.get(id);
        entry.is_some_and(|one| !one.on_standby && one.checks.values().all(|check| *check == CheckState::Passing))
    }

    /// Instances of a version that are on standby.
    pub(crate) fn standby(&self, version: &str) -> u32 {
        let standby = |one: &&helium_crds::instance::Instance| {
            one.version == version && one.desired == Desired::Run && one.role.is_standby()
        };
        u32::try_from(self.fleet.instances.values().filter(standby).count()).unwrap()
    }

    /// The message of the status.
    pub(crate) fn message(&self) -> &str {
        &self.status().message
    }

    /// The present step of the canary, counted from 0.
    pub(crate) fn at_step(&self) -> Option<u32> {
        self.status().rollout.as_ref().map(|rollout| rollout.step)
    }

    /// An instance of this version vanishes with all its records, as if nobody had ever made it.
    pub(crate) fn wipe_one(&mut self, version: &str) {
        let id = self.fleet.instances.values().find(|one| one.version == version).unwrap().id.clone();
        self.fleet.instances.remove(&id);
        self.fleet.assignments.remove(&id);
        self.fleet.catalog.remove(&id);
        self.fleet.reports.remove(&id);
    }

    /// Instances that take room, those on standby included: not reported stopped, and not on a node whose loss was noted.
    pub(crate) fn total(&self) -> u32 {
        let takes_room = |instance: &&helium_crds::instance::Instance| {
            !self.away.contains(&instance.node)
                && self.fleet.reports.get(&instance.id).is_none_or(|report| report.phase != InstancePhase::Stopped)
        };
        u32::try_from(self.fleet.instances.values().filter(takes_room).count()).unwrap()
    }

    /// Runs for so many seconds, a quarter at a time, planning at each.
    pub(crate) fn run(&mut self, length: i64) {
        for _ in 0..length * 4 {
            self.step();
        }
    }

    /// Runs until `done`, at most so many seconds.
    pub(crate) fn run_until(&mut self, limit: i64, done: impl Fn(&Model) -> bool) {
        for _ in 0..limit * 4 {
            if self.world.status.is_some() && done(self) {
                return;
            }
            self.step();
        }
        panic!("not reached within {limit} s: {:#?}", self.status());
    }

    pub(crate) fn step(&mut self) {
        self.world.now += SignedDuration::from_millis(250);
        self.agents_act();
        self.reconcile();
    }

    /// Plans and commits, and checks the bounds that hold at every commit.
    pub(crate) fn reconcile(&mut self) -> Plan {
        self.count_loads();
        self.world.fleet = Sight::Trusted(Trusted::vouch(self.fleet.clone()));
        let Decision::Go(plan) = plan(&self.world) else { panic!("blind") };
        let healthy_before = self.healthy(None);
        self.commit(&plan);
        if self.strict {
            self.check_bounds(healthy_before, &plan);
        }
        self.answer(&plan);
        *plan
    }

    /// Has the questions of a plan answered before the next one is made.
    fn answer(&mut self, plan: &Plan) {
        let now = self.world.now;
        for (probe, question) in &plan.questions {
            if !self.asked.iter().any(|(_, asked, before)| asked == probe && before == question) {
                self.asked.push((now, probe.clone(), question.clone()));
            }
            let found = match probe {
                Probe::Gate => self.gate.clone().map(Found::Gate),
                Probe::Metric(name) => {
                    self.readings.get(name).cloned().map(|(canary, stable)| Found::Metric { canary, stable })
                }
            };
            let Some(found) = found else { continue };
            let answer = Answer { rollout: question.rollout.clone(), due: question.due, at: now, found };
            self.world.answers.insert(probe.clone(), answer);
        }
    }

    /// From now on a metric reads so.
    pub(crate) fn reads(&mut self, metric: &str, value: f64) {
        self.readings.insert(metric.to_owned(), (number(value), None));
    }

    fn count_loads(&mut self) {
        for (name, node) in &mut self.fleet.nodes {
            let here = self.fleet.assignments.values().filter(|one| one.service.meta["helium-node"] == name.as_str());
            node.load = u32::try_from(here.clone().count()).unwrap();
            node.ports = here.flat_map(|assignment| assignment.template.fixed_ports()).collect();
        }
    }

    fn commit(&mut self, plan: &Plan) {
        self.events.extend(plan.events.iter().map(|event| event.reason.clone()));
        self.told.extend(plan.events.iter().map(|event| event.message.clone()));
        self.world.status = Some(plan.status.clone());
        for action in &plan.actions {
            match action.clone() {
                Action::RecordRevision(revision) => {
                    self.world.revisions.insert(revision.id.clone(), *revision);
                }
                Action::ForgetRevision(id) => {
                    self.world.revisions.remove(&id);
                }
                Action::Create(instance, assignment)
                | Action::Stop(instance, assignment, _)
                | Action::Expose(instance, assignment)
                | Action::Withdraw(instance, assignment)
                | Action::Restore(instance, assignment) => {
                    self.fleet.assignments.insert(instance.id.clone(), *assignment);
                    self.fleet.instances.insert(instance.id.clone(), *instance);
                }
                Action::Note(instance) => {
                    self.fleet.instances.insert(instance.id.clone(), *instance);
                }
                Action::Forget(instance) => {
                    self.fleet.instances.remove(&instance.id);
                    self.fleet.assignments.remove(&instance.id);
                    self.fleet.reports.remove(&instance.id);
                }
                Action::RemoveObject => {}
            }
        }
    }

    /// Bounds of the design: the total never passes count + maxSurge, and no plan takes the healthy ones below
    /// count - maxUnavailable. (When the count itself was just lowered, the surplus is on its way out.) The count is the one that is
    /// followed: that of the status, since `versions` that name what nobody knows tell none.
    fn check_bounds(&self, healthy_before: u32, plan: &Plan) {
        let wanted = self.status().wanted;
        let (surge, unavailable) = match self.world.deployment.spec.strategy {
            Strategy::Recreate(_) => (0, wanted),
            Strategy::Rolling(rolling) => {
                let surge = rolling.max_surge.rounded_up(wanted);
                (surge, rolling.max_unavailable.rounded_down(wanted).max(u32::from(surge == 0)))
            }
        };
        let previews = |step: &Step| matches!(step.kind, StepKind::Preview(_));
        let uses_standby = self.world.canary.as_ref().is_some_and(|canary| {
            !canary.spec.bake().as_duration().is_zero() || canary.spec.all_steps().iter().any(previews)
        });
        // What is held goes by the steps that it had.
        let had = self.status().rollout.iter().flat_map(|rollout| &rollout.steps).any(previews);
        let uses_standby = uses_standby || had;
        let ceiling = wanted + surge + if uses_standby { wanted } else { 0 };
        let made = plan.actions.iter().any(|action| matches!(action, Action::Create(..)));
        assert!(!made || self.total() <= ceiling, "{} of at most {ceiling}: {:#?}", self.total(), plan.actions);
        let floor = wanted.saturating_sub(unavailable);
        let after = self.healthy(None);
        assert!(after >= healthy_before.min(floor), "{after} healthy of at least {floor}: {:#?}", plan.actions);
    }

    /// Agents follow their assignments, checks follow the instances.
    pub(crate) fn agents_act(&mut self) {
        let now = self.world.now;
        for (id, assignment) in self.fleet.assignments.clone() {
            let node = NodeName::new(assignment.service.meta["helium-node"].clone());
            if self.away.contains(&node) {
                continue;
            }
            match assignment.desired {
                Desired::Stop => {
                    self.fleet.catalog.remove(&id);
                    let since = self.stopping_since.entry(id.clone()).or_insert(now);
                    *since = now.min(*since); // the clock may have been put back
                    let since = *since;
                    if now >= since + self.slow.get(&id).copied().unwrap_or(self.stop_time) {
                        self.report(&assignment, node, InstancePhase::Stopped);
                    }
                }
                Desired::Run if self.crashing.contains(&assignment.template.version) => {
                    self.report(&assignment, node, InstancePhase::Failed);
                    self.fleet.catalog.remove(&id);
                }
                Desired::Run => {
                    self.start(&assignment);
                    self.report(&assignment, node, InstancePhase::Running);
                    self.check(&assignment);
                }
            }
        }
    }

    fn report(&mut self, assignment: &helium_crds::instance::Assignment, node: NodeName, phase: InstancePhase) {
        let now = self.world.now;
        let said = match (phase == InstancePhase::Running, self.has_started(assignment), self.fails(assignment)) {
            (true, false, _) => Some("GET /health -> connection refused"), // nobody listens yet
            (true, true, true) => Some("GET /health -> 500"),
            _ => None,
        };
        let failing = said.map(|said| ("up".to_owned(), said.to_owned()));
        let report = self.fleet.reports.entry(assignment.id.clone()).or_insert_with(|| Report {
            id: assignment.id.clone(),
            deployment: assignment.deployment.clone(),
            node,
            phase,
            message: None,
            address: "127.0.0.1".to_owned(),
            ports: BTreeMap::new(),
            pid: Some(1),
            restarts: 0,
            failing: BTreeMap::new(),
            checks: Vec::new(),
            unheld: BTreeMap::new(),
            jobs: BTreeMap::new(),
            conditions: Vec::new(),
            since: now,
        });
        report.phase = phase;
        report.failing = failing.into_iter().collect();
    }

    fn fails(&self, assignment: &helium_crds::instance::Assignment) -> bool {
        self.bad.contains(&assignment.template.version) || self.sick.contains(&assignment.id)
    }

    fn start(&mut self, assignment: &helium_crds::instance::Assignment) {
        let known_since = assignment.created_at.min(self.world.now); // now, if the clock was put back
        let known_since = *self
            .known_since
            .entry(assignment.id.clone())
            .and_modify(|since| *since = (*since).min(known_since))
            .or_insert(known_since);
        if self.world.now >= known_since + self.start_time {
            self.started.insert(assignment.id.clone());
        }
    }

    fn has_started(&self, assignment: &helium_crds::instance::Assignment) -> bool {
        self.started.contains(&assignment.id)
    }

    fn check(&mut self, assignment: &helium_crds::instance::Assignment) {
        let passing = self.has_started(assignment) && !self.fails(assignment);
        let state = if passing { CheckState::Passing } else { CheckState::Critical };
        let entry = self
            .fleet
            .catalog
            .entry(assignment.id.clone())
            .or_insert_with(|| CatalogEntry { check_index: 1, ..CatalogEntry::default() });
        entry.on_standby = assignment.role.is_standby();
        if !self.weighs_late {
            entry.weight = assignment.service.weight.unwrap_or(1);
        }
        if entry.checks.insert("up".to_owned(), state).is_some_and(|before| before != state) {
            entry.check_index += 1;
        }
    }
}
