//! The machines of a preview, all in one: they make the assignments true as is assumed of them, and wake only when something is due.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use consul_client::{CheckStatus, Error, Put};
use consul_embedded::{Server, state::State};
use helium_crds::{
    InstanceId, NodeName, ObjectKey,
    instance::{Assignment, Desired, Instance, InstancePhase, Report, check_id},
    keys::Keys,
};
use helium_runtime::ports::Ports;

use super::{
    STOP,
    record::Recorder,
    stage::{Agent, Stage, json, register},
};
use crate::truth::{self, Registered};

/// What a check says that fails because it was asked for.
const MADE_TO_FAIL: &str = "made to fail, as was asked for";

/// How an instance stands on its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is being started, and passes its checks from this instant on.
    Starting(Duration),
    /// It runs, well or not.
    Up,
    /// It runs, and was made to fail.
    Failing,
    /// It is being stopped, and is gone at this instant.
    Stopping(Duration),
    /// It has stopped.
    Gone,
}

/// All machines.
pub(super) struct Machines {
    server: Server,
    ports: Ports,
    recorder: Arc<Recorder>,
    agents: BTreeMap<NodeName, Agent>,
    objects: BTreeSet<ObjectKey>,
    start: Duration,
    standing: BTreeMap<InstanceId, Standing>,
    reported: BTreeMap<InstanceId, NodeName>,
}

impl Machines {
    /// The machines of a stage, on which an instance takes so long to start.
    pub(super) fn of(stage: &Stage, objects: impl IntoIterator<Item = ObjectKey>, start: Duration) -> Self {
        Self {
            server: stage.server.clone(),
            ports: stage.ports.clone(),
            recorder: Arc::clone(&stage.recorder),
            agents: stage.agents.clone(),
            objects: objects.into_iter().collect(),
            start,
            standing: stage.standing.clone(),
            reported: BTreeMap::new(),
        }
    }

    /// Works for ever; ended from outside.
    pub(super) async fn run(mut self) {
        loop {
            // The Consul of a preview refuses nothing; if it did, the rollout would show it by not coming forward.
            let _shown_by_the_rollout = self.turn().await;
            let next = self.standing.values().filter_map(|standing| match standing {
                Standing::Starting(at) | Standing::Stopping(at) => Some(*at),
                Standing::Up | Standing::Failing | Standing::Gone => None,
            });
            let next = next.min();
            tokio::select! {
                biased;
                () = self.recorder.for_machines.notified() => {}
                () = self.ports.sleep_until(next.unwrap_or_default()), if next.is_some() => {}
            }
        }
    }

    async fn turn(&mut self) -> Result<(), Error> {
        let (present, assigned) = self.server.with_state(|state| self.look(state)).unwrap_or_default();
        for told in assigned {
            match told.assignment.desired {
                Desired::Run => self.keep_running(&told).await?,
                Desired::Stop => self.stop(&told).await?,
            }
        }
        self.forget_gone(&present).await
    }

    /// The instances that there are, and what the machines are told of them.
    fn look(&self, state: &State) -> (BTreeSet<InstanceId>, Vec<Told>) {
        let registered = Registered::of(state);
        let (mut present, mut assigned) = (BTreeSet::new(), Vec::new());
        for object in &self.objects {
            for instance in truth::shared_instances(state, &Keys::default().instances(object)) {
                present.insert(instance.id.clone());
                let Some(agent) = self.agents.get(&instance.node).cloned() else { continue };
                let Some(assignment) = truth::assignment(state, &instance) else { continue };
                let service = registered.service(&assignment);
                let registered = service.map(|service| {
                    service.tags == assignment.service.tags
                        && service.weights.passing == assignment.service.weight.unwrap_or(1)
                });
                assigned.push(Told { agent, instance, assignment, registered });
            }
        }
        (present, assigned)
    }

    async fn keep_running(&mut self, told: &Told) -> Result<(), Error> {
        let now = self.ports.monotonic();
        let id = &told.instance.id;
        let fails = self.recorder.fails(&told.instance.revision);
        match self.standing.get(id) {
            None => {
                self.standing.insert(id.clone(), Standing::Starting(now + self.start));
                self.say(told, InstancePhase::Starting, false).await
            }
            Some(Standing::Starting(at)) if *at <= now => {
                let status = if fails { CheckStatus::Critical } else { CheckStatus::Passing };
                register(&told.agent, &told.assignment, Some(status)).await?;
                let standing = if fails { Standing::Failing } else { Standing::Up };
                self.standing.insert(id.clone(), standing);
                if fails {
                    return self.fail(told).await;
                }
                self.say(told, InstancePhase::Running, false).await
            }
            Some(Standing::Up) if fails => {
                self.standing.insert(id.clone(), Standing::Failing);
                self.fail(told).await
            }
            Some(Standing::Up | Standing::Failing) if told.registered == Some(false) => {
                register(&told.agent, &told.assignment, None).await
            }
            Some(_) => Ok(()),
        }
    }

    /// Has every check of an instance fail; one without any ends.
    async fn fail(&mut self, told: &Told) -> Result<(), Error> {
        for check in &told.assignment.template.checks {
            let check = check_id(&told.instance.id, &check.name);
            told.agent.client.agent_update_ttl(&check, CheckStatus::Critical, MADE_TO_FAIL).await?;
        }
        let phase =
            if told.assignment.template.checks.is_empty() { InstancePhase::Failed } else { InstancePhase::Running };
        self.say(told, phase, true).await
    }

    async fn stop(&mut self, told: &Told) -> Result<(), Error> {
        let now = self.ports.monotonic();
        let id = &told.instance.id;
        match self.standing.get(id) {
            Some(Standing::Gone) => Ok(()),
            Some(Standing::Stopping(at)) if *at > now => Ok(()),
            Some(Standing::Stopping(_)) => {
                self.standing.insert(id.clone(), Standing::Gone);
                self.say(told, InstancePhase::Stopped, false).await
            }
            _ => {
                self.standing.insert(id.clone(), Standing::Stopping(now + STOP));
                if told.registered.is_some() {
                    told.agent.client.agent_deregister_service(&told.assignment.service.id).await?;
                }
                Ok(())
            }
        }
    }

    async fn say(&mut self, told: &Told, phase: InstancePhase, fails: bool) -> Result<(), Error> {
        let instance = &told.instance;
        let said = |check: &helium_crds::template::Check| (check.name.clone(), MADE_TO_FAIL.to_owned());
        let failing = told.assignment.template.checks.iter().filter(|_| fails).map(said).collect();
        let report = Report {
            id: instance.id.clone(),
            deployment: instance.deployment.clone(),
            node: instance.node.clone(),
            phase,
            message: (phase == InstancePhase::Failed).then(|| MADE_TO_FAIL.to_owned()),
            address: told.agent.address.clone(),
            ports: BTreeMap::new(),
            pid: None,
            restarts: 0,
            failing,
            checks: Vec::new(),
            unheld: BTreeMap::new(),
            jobs: BTreeMap::new(),
            conditions: Vec::new(),
            since: self.ports.now(),
        };
        self.reported.insert(instance.id.clone(), instance.node.clone());
        let key = Keys::default().report(&instance.node, &instance.id);
        told.agent.client.kv_put(&key, json(&report), &Put::default()).await.map(drop)
    }

    /// Forgets what was stopped and is assigned no more.
    async fn forget_gone(&mut self, present: &BTreeSet<InstanceId>) -> Result<(), Error> {
        self.standing.retain(|id, _| present.contains(id));
        let gone: Vec<InstanceId> = self.reported.keys().filter(|id| !present.contains(*id)).cloned().collect();
        for id in gone {
            let Some(node) = self.reported.remove(&id) else { continue };
            if let Some(agent) = self.agents.get(&node) {
                agent.client.kv_delete(&Keys::default().report(&node, &id), None).await?;
            }
        }
        Ok(())
    }
}

/// What the agent of a node is told of an instance, and what it has made of it.
struct Told {
    agent: Agent,
    instance: Arc<Instance>,
    assignment: Arc<Assignment>,
    /// Whether its service bears the tags and the weight that it should; none if it is not registered.
    registered: Option<bool>,
}
