//! Captures the World of one object: everything that the planner needs, from views that are all trusted, or the reason why not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use helium_crds::{
    Canary, Deployment, DeploymentStatus, InstanceId, NodeName, ObjectKey, RevisionId,
    deployment::service_name,
    instance::{Assignment, Instance, InstancePhase, Report},
    revision::Revision,
};
use helium_planner::{Fleet, Node, Sight, Trusted, World};
use helium_runtime::ports::Ports;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;

use crate::{
    commit::{Guards, lock},
    config::EngineConfig,
    health::Health,
    records::{Held, Raw, Records},
    rows::InvalidSpec,
    sources::{Sources, Specs},
};

/// What was found under one key.
pub enum Captured {
    /// A Deployment, and everything that belongs to it.
    World(Box<Capture>),
    /// A Deployment, or the Canary of one, that cannot be followed. What runs is left alone.
    Invalid(Box<InvalidCapture>),
    /// A Canary without a Deployment, marked for deletion, with its `ModifyIndex`.
    LoneCanary(u64),
    /// No spec at all.
    Nothing,
}

/// A World and what it was made from.
pub struct Capture {
    /// What the planner gets.
    pub world: World,
    /// What must be so still at the commit.
    pub guards: Guards,
    /// The records as they were read.
    pub held: Held,
    /// The names under which the instances are registered.
    pub services: BTreeSet<String>,
}

/// A spec that cannot be followed, and what it was made from.
pub struct InvalidCapture {
    /// What is wrong.
    pub spec: InvalidSpec,
    /// The status as it was last written.
    pub status: Option<DeploymentStatus>,
    /// What must be so still at the commit.
    pub guards: Guards,
    /// The records as they were read.
    pub held: Held,
}

/// Something that has to be seen cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Blind(pub String);

/// Everything that a capture looks at.
pub struct Eyes<'a> {
    /// The settings.
    pub config: &'a EngineConfig,
    /// The clock.
    pub ports: &'a Ports,
    /// The watches.
    pub sources: &'a Sources,
    /// The records.
    pub records: &'a Mutex<Records>,
    /// The catalog.
    pub health: &'a Health,
}

impl Eyes<'_> {
    /// Captures the world of `object` for a leadership that began at `leading_since`. `fresh`: health past every cache.
    pub async fn capture(&self, object: &ObjectKey, leading_since: Timestamp, fresh: bool) -> Result<Captured, Blind> {
        let specs = self.sources.specs_of(object).map_err(|unseen| Blind(unseen.to_string()))?;
        let held = lock(self.records).held(object);
        if let Some(problem) = &held.unreadable {
            return Err(Blind(problem.clone()));
        }
        let (deployment, guards) = match &specs {
            Specs { deployment: None, canary: Some((Ok(canary), index)), .. } if canary.is_deleting() => {
                return Ok(Captured::LoneCanary(*index));
            }
            Specs { deployment: None, .. } => return Ok(Captured::Nothing),
            Specs { deployment: Some((deployment, spec)), canary, .. } => {
                (deployment, guards(*spec, canary.as_ref(), &specs.asked_in))
            }
        };
        let status = held.status.as_ref().map(|raw| decode(raw, "status")).transpose()?;
        match (deployment, &specs.canary) {
            (Err(spec), _) => {
                Ok(Captured::Invalid(Box::new(InvalidCapture { spec: spec.clone(), status, guards, held })))
            }
            (Ok(deployment), Some((Err(canary), _))) => {
                let spec = invalid_by_canary(deployment, canary);
                Ok(Captured::Invalid(Box::new(InvalidCapture { spec, status, guards, held })))
            }
            (Ok(deployment), canary) => {
                let canary = canary.as_ref().and_then(|(canary, _)| canary.as_ref().ok());
                let found = Found { deployment: deployment.clone(), canary, specs: &specs, status, leading_since };
                self.world(object, found, guards, held, fresh).await.map(|capture| Captured::World(Box::new(capture)))
            }
        }
    }

    async fn world(
        &self,
        object: &ObjectKey,
        found: Found<'_>,
        guards: Guards,
        held: Held,
        fresh: bool,
    ) -> Result<Capture, Blind> {
        let Found { deployment, canary, specs, status, leading_since } = found;
        let instances: BTreeMap<InstanceId, Instance> = decode_all(held.instances.iter(), "instance")?;
        let assignments = held.assignments.iter().map(|(id, placed)| (id, &placed.raw));
        let assignments: BTreeMap<InstanceId, Assignment> = decode_all(assignments, "assignment")?;
        let revisions: BTreeMap<RevisionId, Revision> = decode_all(held.revisions.iter(), "revision")?;
        let services = services(&deployment, &assignments);
        let (fleet, seen_since) = self.fleet(object, instances, assignments, &services, fresh).await;
        let world = World {
            now: self.ports.now(),
            watching_since: leading_since.max(specs.since).max(seen_since),
            lost_after: SignedDuration::try_from(self.config.lost_after).unwrap_or(SignedDuration::MAX),
            deployment,
            canary: canary.filter(|canary| !canary.is_deleting()).cloned(),
            requests: specs.requests.clone(),
            status,
            revisions,
            fleet,
        };
        Ok(Capture { world, guards, held, services })
    }

    /// The instances as all sources show them, and since when these have been seen without a break.
    async fn fleet(
        &self,
        object: &ObjectKey,
        instances: BTreeMap<InstanceId, Instance>,
        assignments: BTreeMap<InstanceId, Assignment>,
        services: &BTreeSet<String>,
        fresh: bool,
    ) -> (Sight<Fleet>, Timestamp) {
        let blind = |reason: String| (Sight::Blind { reason }, self.ports.now());
        // The catalog comes first: what the other sources say is then never older than it.
        let catalog = match self.health.look(object, services, fresh).await {
            Ok(catalog) => catalog,
            Err(reason) => return blind(reason),
        };
        let placed: BTreeMap<InstanceId, NodeName> = {
            let recorded = instances.values().map(|instance| (instance.id.clone(), instance.node.clone()));
            let records = lock(self.records);
            let assigned = records.held(object).assignments;
            recorded.chain(assigned.into_iter().map(|(id, placed)| (id, placed.node))).collect()
        };
        let (reports, reports_since) = match self.sources.reports_of(placed.iter()) {
            Ok(reports) => reports,
            Err(unseen) => return blind(unseen.to_string()),
        };
        let registered = |report: &Report| report.phase != InstancePhase::Running || catalog.contains_key(&report.id);
        if !reports.values().all(registered) {
            // The agent says it runs, the catalog does not know it yet: look there again soon.
            self.health.hurry(services);
        }
        let (alive, nodes_since) = match self.sources.nodes() {
            Ok(nodes) => nodes,
            Err(unseen) => return blind(unseen.to_string()),
        };
        let nodes = with_load(alive, &lock(self.records));
        let since = nodes_since.max(self.health.since()).max(reports_since.unwrap_or(nodes_since));
        (Sight::Trusted(Trusted::vouch(Fleet { instances, assignments, reports, catalog, nodes })), since)
    }
}

/// The parts of a World that were found before the fleet was looked at.
struct Found<'a> {
    deployment: Deployment,
    canary: Option<&'a Canary>,
    specs: &'a Specs,
    status: Option<DeploymentStatus>,
    leading_since: Timestamp,
}

fn guards(spec: u64, canary: Option<&(Result<Canary, InvalidSpec>, u64)>, asked_in: &[(String, u64)]) -> Guards {
    let deleting = |(canary, _): &(Result<Canary, InvalidSpec>, u64)| canary.as_ref().is_ok_and(Canary::is_deleting);
    let remove_canary = canary.is_some_and(deleting);
    Guards { spec, canary: canary.map(|(_, index)| *index), remove_canary, requests: asked_in.to_vec() }
}

/// A Canary that cannot be followed makes the Deployment unfollowable too: how it should be rolled out is not known.
fn invalid_by_canary(deployment: &Deployment, canary: &InvalidSpec) -> InvalidSpec {
    InvalidSpec {
        uid: deployment.metadata.uid.clone(),
        generation: deployment.metadata.generation,
        version: deployment.spec.template.version.clone(),
        problem: format!("its Canary: {}", canary.problem),
    }
}

/// The names under which instances are registered now, and under which new ones will be.
fn services(deployment: &Deployment, assignments: &BTreeMap<InstanceId, Assignment>) -> BTreeSet<String> {
    let assigned = assignments.values().map(|assignment| assignment.service.name.clone());
    assigned.chain([service_name(deployment)]).collect()
}

fn with_load(alive: BTreeMap<NodeName, bool>, records: &Records) -> BTreeMap<NodeName, Node> {
    let node = |(name, alive): (NodeName, bool)| {
        let load = records.loads().get(&name).cloned().unwrap_or_default();
        let node = Node { alive, load: load.instances, ports: load.ports.into_keys().collect() };
        (name, node)
    };
    alive.into_iter().map(node).collect()
}

fn decode<T: DeserializeOwned>(raw: &Raw, what: &str) -> Result<T, Blind> {
    serde_json::from_slice(&raw.value).map_err(|error| Blind(format!("the {what} cannot be read: {error}")))
}

fn decode_all<'a, K: Clone + Ord + std::fmt::Display + 'a, T: DeserializeOwned>(
    raws: impl Iterator<Item = (&'a K, &'a Raw)>,
    what: &str,
) -> Result<BTreeMap<K, T>, Blind> {
    raws.map(|(id, raw)| Ok((id.clone(), decode(raw, &format!("{what} {id}"))?))).collect()
}
