//! Delete: a mark in the object. The controller takes everything down that belongs to it, then the object itself.

use std::collections::BTreeSet;

use helium_crds::Kind;

use super::{
    People, PeopleError,
    manifest::{ObjectRef, Stored},
};

/// An object that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// What it is called.
    pub object: ObjectRef,
    /// Whether it was marked before, so that nothing was written.
    pub already: bool,
}

impl People {
    /// Marks the objects for deletion: all of them or none, as far as one transaction goes. Gives each once, in the order in which
    /// they were given, be they given once or several times.
    pub async fn delete(&self, objects: &[ObjectRef]) -> Result<Vec<Deleted>, PeopleError> {
        let mut seen = BTreeSet::new();
        let objects: Vec<ObjectRef> = objects.iter().filter(|object| seen.insert(*object)).cloned().collect();
        let mark = |_: usize, stored: &Stored| {
            if stored.is_deleting() {
                return Ok(None);
            }
            let mut marked = stored.clone();
            marked.metadata.deletion_requested_at = Some(self.ports().now());
            Ok(Some(marked))
        };
        // A Deployment goes before its Canary: without the Canary, what it still guards would be rolled out at once.
        let results = self.edit(&objects, Kind::Deployment, mark).await?;
        let deleted = |(before, after): &(Stored, Stored)| Deleted {
            object: ObjectRef::of(after),
            already: before.is_deleting(),
        };
        Ok(results.iter().map(deleted).collect())
    }
}
