//! Captures the World of one object: everything that the planner needs, from views that are all trusted, or the reason why not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use helium_crds::{
    Canary, Deployment, DeploymentStatus, InstanceId, NodeName, ObjectKey, RevisionId,
    deployment::service_name,
    instance::{Assignment, Instance, InstancePhase, Report},
    revision::Revision,
    status::WaitingOn,
};
use helium_planner::{CatalogEntry, Fleet, Node, Sight, Trusted, World};
use helium_runtime::ports::Ports;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;

use crate::{
    builds::versions::Versions,
    commit::{Guards, lock},
    config::EngineConfig,
    health::Health,
    measuring::Measuring,
    overrides::OverridesError,
    records::{Held, Raw, Records},
    rows::InvalidSpec,
    set_clock,
    sources::{Said, Sources, Specs, Unseen},
};

/// What was found under one key.
pub enum Captured {
    /// A Deployment, and everything that belongs to it.
    World(Box<Capture>),
    /// A Deployment that cannot be followed and is not marked for deletion. What runs is left alone.
    Invalid(Box<InvalidCapture>),
    /// A Deployment that takes its version from a build, of which there is none yet. Nothing of it runs.
    Unversioned(Box<UnversionedCapture>),
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
    pub held: Arc<Held>,
    /// The names under which the instances are registered.
    pub services: BTreeSet<String>,
    /// Whether their health was read past every cache for this capture.
    pub fresh: bool,
    /// When to look again at values in Consul that have not rested yet.
    pub look_again: Option<Duration>,
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
    pub held: Arc<Held>,
}

/// A Deployment without a version, and what it was made from.
pub struct UnversionedCapture {
    /// The Deployment.
    pub deployment: Deployment,
    /// What it waits for.
    pub waiting: WaitingOn,
    /// The status as it was last written.
    pub status: Option<DeploymentStatus>,
    /// What must be so still at the commit.
    pub guards: Guards,
    /// The records as they were read.
    pub held: Arc<Held>,
}

/// Something that has to be seen cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Blind(pub String);

impl Blind {
    #[allow(clippy::needless_pass_by_value, reason = "an error is passed as it is caught")]
    fn of(unseen: Unseen) -> Self {
        Self(unseen.to_string())
    }
}

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
    /// The answers of metric sources and gates.
    pub measuring: &'a Measuring,
    /// The versions that builds give.
    pub versions: &'a Versions,
}

impl Eyes<'_> {
    /// Captures the world of `object` for a leadership that began at `leading_since`. `fresh`: health past every cache.
    pub async fn capture(&self, object: &ObjectKey, leading_since: Timestamp, fresh: bool) -> Result<Captured, Blind> {
        let specs = self.sources.specs_of(object).map_err(Blind::of)?;
        let held = lock(self.records).held(object);
        if let Some(problem) = &held.unreadable {
            return Err(Blind(problem.clone()));
        }
        let (deployment, guards) = match &specs {
            Specs { deployment: None, canary: Some((canary, index)), .. } if is_marked(canary) => {
                return Ok(Captured::LoneCanary(*index));
            }
            Specs { deployment: None, .. } => return Ok(Captured::Nothing),
            Specs { deployment: Some((deployment, spec)), canary, .. } => {
                (deployment, guards(*spec, canary.as_ref(), &specs.asked_in))
            }
        };
        let status = held.status.as_ref().map(|raw| decode(raw, "status")).transpose()?;
        let mut deployment = match deployment.as_ref().map_err(|spec| spec.taken_down(object).ok_or(spec)) {
            Ok(deployment) => deployment.clone(),
            Err(Ok(taken_down)) => taken_down,
            Err(Err(spec)) => {
                let spec = spec.clone();
                return Ok(Captured::Invalid(Box::new(InvalidCapture { spec, status, guards, held })));
            }
        };
        if let Some(waiting) = self.versions.enter(&mut deployment, status.as_ref()).await? {
            if !deployment.is_deleting() {
                not_lost(&deployment, status.as_ref(), &held)?;
                let capture = UnversionedCapture { deployment, waiting, status, guards, held };
                return Ok(Captured::Unversioned(Box::new(capture)));
            }
            // What is taken down needs no version, and is told by one.
            "unknown".clone_into(&mut deployment.spec.template.version);
        }
        let revisions: BTreeMap<RevisionId, Revision> = decode_all(held.revisions.iter(), "revision")?;
        let current = status.as_ref().filter(|status| status.uid == deployment.metadata.uid);
        let present = current.and_then(|status| revisions.get(&status.current.revision));
        let (look_again, problem) = match self.take_overrides(object, &mut deployment, present).await {
            Ok(taken) => taken,
            Err(OverridesError::Unseen(unseen)) => return Err(Blind::of(unseen)),
            Err(OverridesError::Unfit(problem)) => {
                not_lost(&deployment, status.as_ref(), &held)?;
                let spec = InvalidSpec::of(&deployment, &problem);
                return Ok(Captured::Invalid(Box::new(InvalidCapture { spec, status, guards, held })));
            }
        };
        let found = Found { deployment, specs: &specs, status, revisions, leading_since };
        let mut capture = self.world(object, found, guards, held, fresh).await?;
        (capture.look_again, capture.world.values_problem) = (look_again, problem);
        Ok(Captured::World(Box::new(capture)))
    }

    /// Enters the values in Consul that the revision of a Deployment takes, if it takes any. Gives when to look at them again, and why others that
    /// are there are not taken. One that is being taken down stays as it is.
    async fn take_overrides(
        &self,
        object: &ObjectKey,
        deployment: &mut Deployment,
        present: Option<&Revision>,
    ) -> Result<(Option<Duration>, Option<String>), OverridesError> {
        deployment.spec.template.overrides.clear();
        if deployment.is_deleting() {
            let same = present.filter(|revision| revision.template.as_written() == deployment.spec.template);
            deployment.spec.template.overrides = same.map(|same| same.template.overrides.clone()).unwrap_or_default();
            return Ok((None, None));
        }
        if !deployment.spec.template.takes_overrides() {
            return Ok((None, None));
        }
        let taken = self.sources.overrides.of(object, deployment, present, self.ports.monotonic()).await?;
        deployment.spec.template.overrides = taken.values;
        Ok((taken.look_again, taken.problem))
    }

    /// Brings the places on the nodes up to date in a capture, which others have taken since; all else in it stays as it was seen.
    pub fn look_at_places(&self, capture: &mut Capture) -> Result<(), Blind> {
        let (alive, _) = self.sources.nodes().map_err(Blind::of)?;
        let nodes = with_load(alive, &self.sources.said_of_nodes(), &lock(self.records));
        if let Sight::Trusted(fleet) = &mut capture.world.fleet {
            fleet.amend(|fleet| fleet.nodes = nodes);
        }
        Ok(())
    }

    async fn world(
        &self,
        object: &ObjectKey,
        found: Found<'_>,
        guards: Guards,
        held: Arc<Held>,
        fresh: bool,
    ) -> Result<Capture, Blind> {
        let Found { deployment, specs, mut status, revisions, leading_since } = found;
        let canary = specs.canary.as_ref().map(|(canary, _)| canary).filter(|canary| !is_marked(canary));
        let mut instances: BTreeMap<InstanceId, Instance> = decode_all(held.instances.iter(), "instance")?;
        set_clock::begin_anew(self.ports.set_at(), status.as_mut(), &mut instances);
        let assignments = held.assignments.iter().map(|(id, placed)| (id, &placed.raw));
        let assignments: BTreeMap<InstanceId, Assignment> = decode_all(assignments, "assignment")?;
        let services = services(&deployment, &assignments);
        let recorded = instances.values().map(|instance| (instance.id.clone(), instance.node.clone()));
        let assigned = held.assignments.iter().map(|(id, placed)| (id.clone(), placed.node.clone()));
        let known = Known { nodes: recorded.chain(assigned).collect(), instances, assignments };
        let (fleet, seen_since, fresh) = match self.fleet(object, known, &services, fresh).await {
            Ok(Seen { fleet, since, fresh }) => (Sight::Trusted(Trusted::vouch(fleet)), since, fresh),
            Err(Blind(reason)) => (Sight::Blind { reason }, self.ports.now(), false),
        };
        let now = self.ports.now();
        let began = [leading_since, specs.since, seen_since];
        let world = World {
            now,
            watching_since: set_clock::watching_since(began, now, self.ports.set_at()),
            lost_after: SignedDuration::try_from(self.config.lost_after).unwrap_or(SignedDuration::MAX),
            deployment,
            canary: canary.and_then(|canary| canary.as_ref().ok()).cloned(),
            values_problem: None,
            canary_problem: canary.and_then(|canary| canary.as_ref().err()).map(canary_problem),
            requests: specs.requests.requests.clone(),
            unreadable_requests: specs.requests.unreadable.clone(),
            answers: self.measuring.answers(object),
            status,
            revisions,
            fleet,
        };
        Ok(Capture { world, guards, held, services, fresh, look_again: None })
    }

    /// The instances as all sources show them.
    async fn fleet(
        &self,
        object: &ObjectKey,
        known: Known,
        services: &BTreeSet<String>,
        fresh: bool,
    ) -> Result<Seen, Blind> {
        let Known { nodes: placed, instances, assignments } = known;
        let nowhere = BTreeSet::new();
        let services = if placed.is_empty() { &nowhere } else { services };
        let mut fresh = fresh;
        let (catalog, reports, reports_since) = loop {
            // The catalog comes first: what the other sources say is then never older than it.
            let look = self.health.look(object, services, fresh).await.map_err(Blind)?;
            fresh = look.fresh;
            let (reports, since) = self.sources.reports_of(placed.iter()).map_err(Blind::of)?;
            let unseen = reports.values().any(|report| runs_unseen(report, &look.entries));
            if !(unseen && have_all_come_up(&placed, &reports)) {
                break (look.entries, reports, since);
            }
            // The agents say that all of these run, and the catalog does not know them yet. While others are still on their way, the
            // sweep is soon enough.
            if fresh {
                self.health.hurry(services);
                break (look.entries, reports, since);
            }
            fresh = true;
        };
        let (alive, nodes_since) = self.sources.nodes().map_err(Blind::of)?;
        let nodes = with_load(alive, &self.sources.said_of_nodes(), &lock(self.records));
        let since = nodes_since.max(self.health.since()).max(reports_since.unwrap_or(nodes_since));
        let fleet = Fleet { instances, assignments, reports, catalog, nodes };
        Ok(Seen { fleet, since, fresh })
    }
}

/// What the records say of the instances.
struct Known {
    /// Where each is, those included of which only the assignment is there.
    nodes: BTreeMap<InstanceId, NodeName>,
    instances: BTreeMap<InstanceId, Instance>,
    assignments: BTreeMap<InstanceId, Assignment>,
}

/// The fleet as it was seen.
struct Seen {
    fleet: Fleet,
    /// Since when all sources have been seen without a break.
    since: Timestamp,
    /// Whether the health was just read past every cache.
    fresh: bool,
}

/// The parts of a World that were found before the fleet was looked at.
struct Found<'a> {
    deployment: Deployment,
    specs: &'a Specs,
    status: Option<DeploymentStatus>,
    revisions: BTreeMap<RevisionId, Revision>,
    leading_since: Timestamp,
}

/// Nothing is written of an object whose status is missing although instances of it are there: what is written would make a first deploy of it.
fn not_lost(deployment: &Deployment, status: Option<&DeploymentStatus>, held: &Held) -> Result<(), Blind> {
    let uid = &deployment.metadata.uid;
    if status.is_some_and(|status| status.uid == *uid) {
        return Ok(());
    }
    let instances: BTreeMap<InstanceId, Instance> = decode_all(held.instances.iter(), "instance")?;
    let assignments = held.assignments.iter().map(|(id, placed)| (id, &placed.raw));
    let assignments: BTreeMap<InstanceId, Assignment> = decode_all(assignments, "assignment")?;
    let runs = instances.values().any(|one| one.uid == *uid) || assignments.values().any(|one| one.uid == *uid);
    if runs { Err(Blind("the status is missing although instances are there".to_owned())) } else { Ok(()) }
}

fn guards(spec: u64, canary: Option<&(Result<Canary, InvalidSpec>, u64)>, asked_in: &[(String, u64)]) -> Guards {
    let remove_canary = canary.is_some_and(|(canary, _)| is_marked(canary));
    Guards { spec, canary: canary.map(|(_, index)| *index), remove_canary, requests: asked_in.to_vec() }
}

/// Whether a Canary is marked for deletion, be it valid or not.
fn is_marked(canary: &Result<Canary, InvalidSpec>) -> bool {
    match canary {
        Ok(canary) => canary.is_deleting(),
        Err(invalid) => invalid.deletion_requested_at.is_some(),
    }
}

fn canary_problem(canary: &InvalidSpec) -> String {
    format!("its Canary: {}", canary.problem)
}

/// The names under which instances are registered now, and under which new ones will be.
fn services(deployment: &Deployment, assignments: &BTreeMap<InstanceId, Assignment>) -> BTreeSet<String> {
    let assigned = assignments.values().map(|assignment| assignment.service.name.clone());
    assigned.chain([service_name(deployment)]).collect()
}

/// Whether no instance is still on its way to run, as far as the agents say.
fn have_all_come_up(placed: &BTreeMap<InstanceId, NodeName>, reports: &BTreeMap<InstanceId, Report>) -> bool {
    use InstancePhase::{Failed, Fetching, Installing, Running, Starting, Stopped};
    let is_up = |report: &Report| match report.phase {
        Fetching | Installing | Starting => false,
        Running | Stopped | Failed => true,
    };
    reports.len() == placed.len() && reports.values().all(is_up)
}

/// Whether an instance runs that the catalog does not know.
fn runs_unseen(report: &Report, catalog: &BTreeMap<InstanceId, CatalogEntry>) -> bool {
    report.phase == InstancePhase::Running && !catalog.contains_key(&report.id)
}

fn with_load(
    alive: BTreeMap<NodeName, bool>,
    said: &BTreeMap<NodeName, Said>,
    records: &Records,
) -> BTreeMap<NodeName, Node> {
    let node = |(name, alive): (NodeName, bool)| {
        let load = records.loads().get(&name).cloned().unwrap_or_default();
        let said = said.get(&name).cloned().unwrap_or_default();
        let node = Node {
            alive,
            in_maintenance: said.in_maintenance,
            features: said.features,
            load: load.instances,
            ports: load.ports.into_keys().collect(),
        };
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
