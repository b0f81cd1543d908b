//! How steps of the [machine](crate::machine) are done, by whoever does them.

use std::{fs, io};

use crate::{
    profile::{Error, Profile},
    record::{Attempt, Record, Way},
};

/// Sets the profile to what an attempt is of. On a way back that is the generation that was found good, if it is still there.
///
/// # Errors
/// As [`Profile::set`].
pub(crate) async fn switch(profile: &Profile, record: &Record, attempt: &Attempt) -> Result<(), Error> {
    let path = &attempt.target.path;
    let known = record.good.iter().find(|good| good.target.path == *path).map(|good| good.generation);
    let is_there = |number: &u64| {
        let all = profile.generations().unwrap_or_default();
        all.iter().any(|generation| generation.number == *number && generation.path == *path)
    };
    match known.filter(|number| attempt.way == Way::Back && is_there(number)) {
        Some(number) => profile.switch(number).await,
        None => profile.set(path).await,
    }
}

/// Whether what is to be gone to is not in the store any more, where only fetching it again could help.
pub(crate) fn is_gone(attempt: &Attempt) -> bool {
    fs::symlink_metadata(&attempt.target.path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
