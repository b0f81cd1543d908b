//! What a controller has to say to the world outside.

use helium_crds::{DeploymentStatus, ObjectKey, event::Event, status::HydraJobStatus};

/// Is told of events that were committed.
pub trait Announce: Send + Sync {
    /// Takes note of an event and of the status that was committed with it. Comes back at once, whatever becomes of it.
    fn announce(&self, object: &ObjectKey, status: &DeploymentStatus, event: &Event);

    /// The same of a HydraJob, from which these Deployments take their version.
    fn announce_job(&self, job: &ObjectKey, deployments: &[ObjectKey], status: &HydraJobStatus, event: &Event);
}

/// Where nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Announce for Nobody {
    fn announce(&self, _: &ObjectKey, _: &DeploymentStatus, _: &Event) {}

    fn announce_job(&self, _: &ObjectKey, _: &[ObjectKey], _: &HydraJobStatus, _: &Event) {}
}
