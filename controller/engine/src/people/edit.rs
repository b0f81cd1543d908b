//! Small edits of objects that are there: read, change, compare-and-set, and again if somebody else was faster.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use helium_crds::{Kind, diagnose};

use super::{
    People, PeopleError, Row,
    commit::batches,
    manifest::{ObjectRef, Stored},
};

/// How often an edit is tried before the conflict is given back.
const TRIES: u32 = 5;
/// The longest wait before the second try; it doubles from try to try.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// How many objects are read at a time.
const READS: usize = 8;

/// An edit of several objects, over all its tries.
#[derive(Default)]
struct Progress {
    /// The objects that were written, by their place, before and after.
    done: BTreeMap<usize, (Stored, Stored)>,
    /// How many are to be written in all.
    total: usize,
}

impl People {
    /// Edits all of `objects` or none, as far as one transaction goes; none of them may be given twice. `change` gives the new form of
    /// each, or none where there is nothing to change; it may be called again on fresh reads. `first` is the kind that is
    /// written before the other where a pair does not fit into one transaction. Gives the objects before and after.
    ///
    /// A changed spec is checked as one that is applied, before anything is written.
    pub(super) async fn edit<F>(
        &self,
        objects: &[ObjectRef],
        first: Kind,
        change: F,
    ) -> Result<Vec<(Stored, Stored)>, PeopleError>
    where
        F: Fn(usize, &Stored) -> Result<Option<Stored>, PeopleError> + Send + Sync,
    {
        let (mut progress, mut longest, mut tries) = (Progress::default(), FIRST_WAIT, 1);
        loop {
            match self.edit_rest(objects, first, &mut progress, &change).await {
                Err(error) if error.is_conflict() && tries < TRIES => {}
                settled => return settled.map_err(|cause| cause.after(progress.done.len(), progress.total)),
            }
            tokio::time::sleep(self.ports().up_to(longest)).await;
            longest *= 2;
            tries += 1;
        }
    }

    /// One try: everything that is not written yet.
    async fn edit_rest<F>(
        &self,
        objects: &[ObjectRef],
        first: Kind,
        progress: &mut Progress,
        change: &F,
    ) -> Result<Vec<(Stored, Stored)>, PeopleError>
    where
        F: Fn(usize, &Stored) -> Result<Option<Stored>, PeopleError> + Send + Sync,
    {
        let left: Vec<usize> = (0..objects.len()).filter(|place| !progress.done.contains_key(place)).collect();
        let names: Vec<ObjectRef> = left.iter().filter_map(|place| objects.get(*place)).cloned().collect();
        let rows = self.rows(names).await?;
        let (mut writes, mut changed, mut results) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (place, Row { value: before, index }) in left.into_iter().zip(rows) {
            let Some(mut after) = change(place, &before)? else {
                results.insert(place, (before.clone(), before));
                continue;
            };
            if after.spec != before.spec {
                valid(&after)?;
                after.metadata.generation += 1;
            }
            self.sign(&mut after.metadata);
            writes.push(self.write_of(&after, index)?);
            changed.insert(ObjectRef::of(&after), (place, (before, after)));
        }
        progress.total = progress.done.len() + writes.len();
        for batch in batches(writes, first) {
            self.commit(&batch).await?;
            progress.done.extend(batch.iter().filter_map(|write| changed.remove(&write.object)));
        }
        results.append(&mut progress.done);
        Ok(results.into_values().collect())
    }

    /// Objects that must be there, in this order.
    async fn rows(&self, names: Vec<ObjectRef>) -> Result<Vec<Row<Stored>>, PeopleError> {
        let read = |name: ObjectRef| async move { self.existing(&name).await };
        stream::iter(names.into_iter().map(read)).buffered(READS).try_collect().await
    }
}

/// Refuses a spec that an apply of the same would refuse.
fn valid(stored: &Stored) -> Result<(), PeopleError> {
    let object = ObjectRef::of(stored);
    let value = serde_json::to_value(stored)
        .map_err(|error| PeopleError::Unreadable { key: object.to_string(), why: error.to_string() })?;
    diagnose::check(&object.to_string(), &value).map_err(|report| {
        let told = |problem: &helium_crds::Problem| match &problem.help {
            Some(help) => format!("{}: {} ({help})", problem.path, problem.message),
            None => format!("{}: {}", problem.path, problem.message),
        };
        PeopleError::Invalid { object, problems: report.problems.iter().map(told).collect() }
    })
}
