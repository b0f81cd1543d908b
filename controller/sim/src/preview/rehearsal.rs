//! A store to try previews on: a simulated world with a controller and agents, in which things were deployed before. For tests.

use std::{sync::Arc, time::Duration};

use helium_crds::AnyObject;
use helium_engine::people::{Applied, People, PeopleError};
use tokio::runtime::Runtime;

use super::{Assumptions, Outlook, PreviewError, Snapshot, foresee};
use crate::world::{Setup, World};

/// How long a new world takes until its controller leads and its agents have joined.
const BEGIN: Duration = Duration::from_secs(5);

/// A world that stands still between two calls.
pub struct Rehearsal {
    runtime: Runtime,
    world: Arc<World>,
    people: People,
}

impl Rehearsal {
    /// A world with so many nodes.
    pub fn of(nodes: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let world = runtime.block_on(World::make(&Setup::calm(7, nodes, 1)));
        let people = world.people(0);
        let rehearsal = Self { runtime, world, people };
        rehearsal.run(BEGIN);
        Ok(rehearsal)
    }

    /// The world itself.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Does something in it.
    pub fn act<T>(&self, deed: impl Future<Output = T>) -> T {
        self.runtime.block_on(deed)
    }

    /// Lets time pass.
    pub fn run(&self, time: Duration) {
        self.act(async { tokio::time::sleep(time).await });
    }

    /// Applies objects.
    pub fn apply(&self, objects: &[AnyObject]) -> Result<Vec<Applied>, PeopleError> {
        self.act(self.people.apply(objects))
    }

    /// Reads the store for a preview of these objects.
    pub fn snapshot(&self, objects: &[AnyObject]) -> Result<Option<Snapshot>, PreviewError> {
        self.act(async {
            let applied = self.people.preview(objects).await?;
            Snapshot::take(&self.people, objects, &applied).await
        })
    }

    /// Previews them; nothing if nothing would change.
    pub fn plan(&self, objects: &[AnyObject], assumptions: Assumptions) -> Result<Vec<Outlook>, PreviewError> {
        self.snapshot(objects)?.map_or_else(|| Ok(Vec::new()), |snapshot| foresee(&snapshot, assumptions))
    }
}
