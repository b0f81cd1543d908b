//! What the planner answers: a plan is data.

use std::{collections::BTreeMap, time::Duration};

use helium_crds::{
    DeploymentStatus, InstanceId, Phase, RevisionId,
    event::Event,
    instance::{Assignment, Instance},
    measurement::{Probe, Question},
    revision::Revision,
};

/// The answer to one World.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Do this.
    Go(Box<Plan>),
    /// Change nothing: the world cannot be seen well enough to act.
    Blind {
        /// Why not, for people.
        reason: String,
    },
}

/// What to do, in the order in which it is committed: the status first, since it permits the rest.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The status to be. Written only if it differs from the one that was read.
    pub status: DeploymentStatus,
    /// What to do to the records.
    pub actions: Vec<Action>,
    /// What to tell people.
    pub events: Vec<Event>,
    /// What to ask of metric sources and gates. What is asked already is not asked twice.
    pub questions: BTreeMap<Probe, Question>,
    /// When to look again even if nothing happens.
    pub requeue_after: Option<Duration>,
    /// Whether this plan promotes, advances, or stops what is healthy on health that must be read again, past every cache, before
    /// it is committed.
    pub needs_fresh_health: bool,
}

impl Plan {
    /// Whether the next plan will have nothing to do, unless something happens or `requeue_after` is over: all is as wanted, and this
    /// plan does no more than say so.
    pub fn comes_to_rest(&self) -> bool {
        let says = |action: &Action| matches!(action, Action::Note(_) | Action::RecordRevision(_));
        let DeploymentStatus { phase, rollout, waiting_on, .. } = &self.status;
        let all_is_well = *phase == Phase::Healthy && rollout.is_none() && waiting_on.is_empty();
        all_is_well && self.actions.iter().all(says)
    }
}

/// One change of the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Keep this template in the history.
    RecordRevision(Box<Revision>),
    /// Drop this template from the history.
    ForgetRevision(RevisionId),
    /// Make an instance: its record and its assignment, together.
    Create(Box<Instance>, Box<Assignment>),
    /// Stop an instance: `desired: stop` in its record and its assignment, together.
    Stop(Box<Instance>, Box<Assignment>, StopCause),
    /// Let an instance serve that was on standby.
    Expose(Box<Instance>, Box<Assignment>),
    /// Let an instance serve nobody any more, and run on: its place is taken, and it is on standby.
    Withdraw(Box<Instance>, Box<Assignment>),
    /// Write record and assignment again as they should be: a changed role, or one of the two was lost.
    Restore(Box<Instance>, Box<Assignment>),
    /// Write the record alone: since when it is healthy, since when its node is missing.
    Note(Box<Instance>),
    /// Remove record and assignment of an instance that has stopped.
    Forget(Box<Instance>),
    /// Remove the Deployment and all that is kept about it. Nothing of it is left.
    RemoveObject,
}

/// Why an instance is stopped. There are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopCause {
    /// There are more instances of its version than wanted.
    ScaleDown,
    /// Another version, or its own replacement elsewhere, takes its place.
    Superseded,
    /// Its Deployment is being deleted.
    Deleted,
}

impl Action {
    /// The instance that this is about, if any.
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Action::Create(instance, _)
            | Action::Stop(instance, _, _)
            | Action::Expose(instance, _)
            | Action::Withdraw(instance, _)
            | Action::Restore(instance, _)
            | Action::Note(instance)
            | Action::Forget(instance) => Some(&instance.id),
            Action::RecordRevision(_) | Action::ForgetRevision(_) | Action::RemoveObject => None,
        }
    }
}
