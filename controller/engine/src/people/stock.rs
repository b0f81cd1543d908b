//! What the store holds of the objects that an apply is about, read as cheaply as their number allows.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};

use super::{People, PeopleError, Row, manifest::ObjectRef, manifest::Stored};

/// More objects than this are read with one listing of all there are.
const FEW: usize = 16;
/// How many objects are read at a time.
const READS: usize = 8;

/// What the store holds.
pub(super) struct Stock<'a> {
    people: &'a People,
    /// Objects that were looked up, whether they are there or not.
    known: BTreeMap<ObjectRef, Option<Row<Stored>>>,
    /// Whether `known` is all there is.
    complete: bool,
}

impl<'a> Stock<'a> {
    /// Reads the objects of these names.
    pub(super) async fn of(people: &'a People, names: &[ObjectRef]) -> Result<Self, PeopleError> {
        let mut stock = Self { people, known: BTreeMap::new(), complete: false };
        stock.look_up(names).await?;
        Ok(stock)
    }

    /// Reads those of these names that are not known yet.
    pub(super) async fn look_up(&mut self, names: &[ObjectRef]) -> Result<(), PeopleError> {
        let new: Vec<ObjectRef> = names.iter().filter(|name| !self.known.contains_key(*name)).cloned().collect();
        if self.complete || new.is_empty() {
            return Ok(());
        }
        if new.len() > FEW {
            return self.list().await;
        }
        let people = self.people;
        let read = |name: ObjectRef| async move {
            let row = people.object(&name).await?;
            Ok::<_, PeopleError>((name, row))
        };
        let rows: Vec<_> = stream::iter(new.into_iter().map(read)).buffered(READS).try_collect().await?;
        self.known.extend(rows);
        Ok(())
    }

    /// Reads everything there is. What is known already stays as it was read first, since that is what is written on top of.
    pub(super) async fn list(&mut self) -> Result<(), PeopleError> {
        if !self.complete {
            for row in self.people.objects().await? {
                self.known.entry(ObjectRef::of(&row.value)).or_insert(Some(row));
            }
            self.complete = true;
        }
        Ok(())
    }

    /// An object, if it is there; it must have been looked up.
    pub(super) fn get(&self, name: &ObjectRef) -> Option<&Row<Stored>> {
        self.known.get(name)?.as_ref()
    }

    /// Everything that is known to be there.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Stored> {
        self.known.values().flatten().map(|row| &row.value)
    }
}
