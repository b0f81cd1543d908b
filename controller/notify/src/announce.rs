//! What a controller has to say to the world outside.

use helium_crds::{DeploymentStatus, ObjectKey, event::Event};

/// Is told of events that were committed.
pub trait Announce: Send + Sync {
    /// Takes note of an event and of the status that was committed with it. Comes back at once, whatever becomes of it.
    fn announce(&self, object: &ObjectKey, status: &DeploymentStatus, event: &Event);
}

/// Where nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Announce for Nobody {
    fn announce(&self, _: &ObjectKey, _: &DeploymentStatus, _: &Event) {}
}
