//! Delete: a mark in the object. The controller takes everything down that belongs to it, then the object itself.

use super::{
    People, PeopleError,
    manifest::{ObjectRef, Stored},
};

impl People {
    /// Marks the objects for deletion: all of them or none. Gives those that were marked by this call.
    pub async fn delete(&self, objects: &[ObjectRef]) -> Result<Vec<ObjectRef>, PeopleError> {
        let mark = |_: usize, stored: &Stored| {
            if stored.is_deleting() {
                return Ok(None);
            }
            let mut marked = stored.clone();
            marked.metadata.deletion_requested_at = Some(self.ports().now());
            Ok(Some(marked))
        };
        let results = self.edit(objects, mark).await?;
        Ok(results.iter().filter(|(before, _)| !before.is_deleting()).map(|(_, after)| ObjectRef::of(after)).collect())
    }
}
