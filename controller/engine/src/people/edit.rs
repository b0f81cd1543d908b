//! Small edits of objects that are there: read, change, compare-and-set, and again if somebody else was faster.

use std::time::Duration;

use super::{
    People, PeopleError, Row,
    manifest::{ObjectRef, Stored},
};

/// How often an edit is tried before the conflict is given back.
const TRIES: u32 = 5;
/// The longest wait before the second try; it doubles from try to try.
const FIRST_WAIT: Duration = Duration::from_millis(50);

impl People {
    /// Edits all of `objects` or none. `change` gives the new form of each, or none where there is nothing to change; it may be
    /// called again on fresh reads. Gives the objects before and after.
    pub(super) async fn edit<F>(&self, objects: &[ObjectRef], change: F) -> Result<Vec<(Stored, Stored)>, PeopleError>
    where
        F: Fn(usize, &Stored) -> Result<Option<Stored>, PeopleError> + Send + Sync,
    {
        let mut longest = FIRST_WAIT;
        for _ in 1..TRIES {
            match self.edit_once(objects, &change).await {
                Err(error) if error.is_conflict() => {}
                settled => return settled,
            }
            tokio::time::sleep(self.ports().up_to(longest)).await;
            longest *= 2;
        }
        self.edit_once(objects, &change).await
    }

    async fn edit_once<F>(&self, objects: &[ObjectRef], change: &F) -> Result<Vec<(Stored, Stored)>, PeopleError>
    where
        F: Fn(usize, &Stored) -> Result<Option<Stored>, PeopleError> + Send + Sync,
    {
        let (mut writes, mut results) = (Vec::new(), Vec::new());
        for (place, name) in objects.iter().enumerate() {
            let Row { value: before, index } = self.existing(name).await?;
            let Some(mut after) = change(place, &before)? else {
                results.push((before.clone(), before));
                continue;
            };
            after.metadata.generation += u64::from(after.spec != before.spec);
            self.sign(&mut after.metadata);
            writes.push(self.write_of(&after, index)?);
            results.push((before, after));
        }
        if !writes.is_empty() {
            self.commit(&writes).await?;
        }
        Ok(results)
    }
}
