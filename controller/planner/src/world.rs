//! What the planner is given: everything about one Deployment, at one instant.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use helium_crds::{
    Canary, Deployment, DeploymentStatus, InstanceId, NodeName, RevisionId,
    control::{ControlRequest, Unreadable},
    features::Features,
    instance::{Assignment, Instance, Report},
    measurement::{Answer, Probe},
    revision::Revision,
};
use jiff::{SignedDuration, Timestamp};

/// Everything that is known about one Deployment at one instant.
#[derive(Clone, Debug)]
pub struct World {
    /// The instant.
    pub now: Timestamp,
    /// Since when this leadership has seen the world without a break: the later of the take-over and the end of the last
    /// blindness. Time before it counts against no deadline.
    pub watching_since: Timestamp,
    /// How long a heartbeat may be absent before its node is lost.
    pub lost_after: SignedDuration,
    /// The Deployment.
    pub deployment: Deployment,
    /// The Canary of the same name, unless it is being deleted.
    pub canary: Option<Canary>,
    /// What is wrong with the Canary of the same name, if there is one that cannot be followed; `canary` is none then.
    pub canary_problem: Option<String>,
    /// Why values in Consul are not taken into the revision, where those of the present one go on to hold.
    pub values_problem: Option<String>,
    /// People's requests, oldest first, those included that the status has answered already.
    pub requests: Vec<ControlRequest>,
    /// Those of them that cannot be read.
    pub unreadable_requests: Vec<Unreadable>,
    /// The status as it was last written.
    pub status: Option<DeploymentStatus>,
    /// What metric sources and gates have answered.
    pub answers: BTreeMap<Probe, Answer>,
    /// The history.
    pub revisions: BTreeMap<RevisionId, Revision>,
    /// What runs, or the reason why that cannot be told.
    pub fleet: Sight<Fleet>,
}

/// The Deployment's instances in all their records, and the nodes.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The controller's records.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// The assignments, as they stand in the store.
    pub assignments: BTreeMap<InstanceId, Assignment>,
    /// What the agents say.
    pub reports: BTreeMap<InstanceId, Report>,
    /// What Consul's catalog says; an instance that is not in the catalog is not in here.
    pub catalog: BTreeMap<InstanceId, CatalogEntry>,
    /// Every node that has joined.
    pub nodes: BTreeMap<NodeName, Node>,
}

/// One instance in Consul's catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogEntry {
    /// The status of each of its own checks by the template's name for it.
    pub checks: BTreeMap<String, CheckState>,
    /// Whether Helium's own check is there that keeps one on standby from passing.
    pub on_standby: bool,
    /// Whether a check that is not the template's (maintenance, or one of its Consul node's) is critical.
    pub blocked_by: Option<String>,
    /// The highest `ModifyIndex` among the checks.
    pub check_index: u64,
    /// What it weighs while it passes.
    pub weight: u32,
}

/// The status of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// Passing.
    Passing,
    /// Warning: not passing, and not critical.
    Warning,
    /// Critical.
    Critical,
    /// Critical because Consul has not asked yet: after a registration, and after a restart of Consul. It has no output then.
    Unasked,
}

/// One node as placement sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Whether its heartbeat is there.
    pub alive: bool,
    /// Whether it is in maintenance: it keeps what it has, and gets nothing new.
    pub in_maintenance: bool,
    /// What its machine has; none if that is not known, and then it is taken to have what is needed.
    pub features: Option<Arc<Features>>,
    /// How many instances of all Deployments are assigned to it.
    pub load: u32,
    /// The fixed ports that those take.
    pub ports: BTreeSet<u16>,
}

/// Something that was looked at, or the reason why it could not be seen. Absence is not intent: only what was seen to be
/// absent is absent.
#[derive(Clone, Debug)]
pub enum Sight<T> {
    /// Seen, by reads that can be trusted.
    Trusted(Trusted<T>),
    /// Not seen.
    Blind {
        /// Why not, for people.
        reason: String,
    },
}

/// Something seen by reads that can be trusted. Whatever takes an instance down asks for one.
#[derive(Clone, Debug)]
pub struct Trusted<T>(T);

impl<T> Trusted<T> {
    /// Vouches that `seen` comes from complete and fresh reads.
    pub fn vouch(seen: T) -> Self {
        Self(seen)
    }

    /// What was seen.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// Enters what was seen of a part of it since, by reads that can be trusted as much.
    pub fn amend(&mut self, enter: impl FnOnce(&mut T)) {
        enter(&mut self.0);
    }

    /// What follows from what was seen can be trusted as much.
    pub fn map<U>(&self, conclude: impl FnOnce(&T) -> U) -> Trusted<U> {
        Trusted(conclude(&self.0))
    }
}
