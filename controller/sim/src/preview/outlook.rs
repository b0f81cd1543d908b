//! What is foreseen of one Deployment: data for whoever prints it.

use std::time::Duration;

use helium_crds::{DeploymentStatus, InstanceId, Kind, NodeName, ObjectKey, Phase, event::Event, status::Weight};

/// What is foreseen of one Deployment.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// Its key.
    pub object: ObjectKey,
    /// Whether it is made by this apply.
    pub is_new: bool,
    /// The versions that run when the documents are applied.
    pub before: Vec<Count>,
    /// What happens, in order.
    pub moments: Vec<Moment>,
    /// The steps that a canary goes through and that set a weight.
    pub steps: Vec<StepSeen>,
    /// The fewest healthy instances at any moment.
    pub least_healthy: u32,
    /// The most instances at any moment, those included that are still stopping.
    pub greatest_total: u32,
    /// When the last thing happens.
    pub took: Duration,
    /// Whether it has not come to rest within [`HORIZON`](super::HORIZON).
    pub goes_on: bool,
    /// How it stands in the end.
    pub end: DeploymentStatus,
}

/// How many instances of a version there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The version.
    pub version: String,
    /// How many should run.
    pub running: u32,
    /// How many of those are healthy.
    pub healthy: u32,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Moment {
    /// How long after the apply.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// An instance is made.
    Made(Named),
    /// An instance is asked to stop.
    Removed(Named),
    /// The controller tells something.
    Told(Event),
    /// The status is another one.
    Status(Box<DeploymentStatus>),
    /// The rollout waits for a person, who promotes at once in a preview.
    Promoted {
        /// What the person would type.
        command: String,
    },
    /// The instances of the new version begin to fail, as was asked for.
    Failing {
        /// The version.
        version: String,
        /// The step that is reached, from 1.
        step: u32,
    },
}

/// An instance by all its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its id; of one that is made, what can be known of it.
    pub id: InstanceId,
    /// Its version.
    pub version: String,
    /// Its node.
    pub node: NodeName,
}

/// A step of a canary that sets a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSeen {
    /// Its number, from 1.
    pub number: u32,
    /// How many steps there are.
    pub of: u32,
    /// The version that is tried out.
    pub version: String,
    /// What it asks for, and what whole instances make of it.
    pub weight: Weight,
    /// When it begins.
    pub begins: Duration,
    /// When it is over; none if it never is.
    pub over: Option<Duration>,
}

impl Outlook {
    /// What it is called: `deployment/hello`.
    pub fn name(&self) -> String {
        format!("{}/{}", Kind::Deployment.singular(), self.object)
    }

    /// Why the spec cannot be followed, if it ends so: then nothing more can be foreseen.
    pub fn unfollowed(&self) -> Option<&str> {
        (self.end.phase == Phase::Invalid).then_some(self.end.message.as_str())
    }

    /// How many instances are made, and how many are asked to stop.
    pub fn made_and_removed(&self) -> (usize, usize) {
        let count = |is: fn(&What) -> bool| self.moments.iter().filter(|moment| is(&moment.what)).count();
        (count(|what| matches!(what, What::Made(_))), count(|what| matches!(what, What::Removed(_))))
    }

    /// How many instances were healthy when the documents were applied.
    pub fn healthy_before(&self) -> u32 {
        self.before.iter().map(|count| count.healthy).sum()
    }
}
