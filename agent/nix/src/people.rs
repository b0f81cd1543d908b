//! What a person asks for: to go back, to try again what was refused, to remove everything.
//!
//! A wish is a file beside the state. Whoever holds the lock of the state grants it: the program that follows the profile, within a second
//! or as soon as it has finished what it does; or else the one that asks.

use std::{fs, io, path::Path};

use helium_runtime::ports::Ports;

use crate::{
    activate::Ran,
    hail::{Hail, scripts},
    machine::{Ask, Wish},
    options::{Error, Options},
    outcome::Outcome,
    record::{self, Record, beside},
};

/// The length of the id of a wish, in hexadecimal digits.
const ID: usize = 16;

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// It was done, with this outcome.
    Now(Outcome),
    /// It is left to the program that follows the profile.
    Left,
}

/// Goes back to the newest other generation that was found good. What is gone away from is not taken again before a person asks for it.
///
/// # Errors
/// There is no profile, or no such generation; or as [`Hail::open`] and [`Hail::once`].
pub async fn roll_back(options: Options, ports: Ports) -> Result<Granted, Error> {
    options.check()?;
    let current = options.profile().current()?;
    let current = current.ok_or_else(|| Error::NoProfile { profile: options.profile.clone() })?;
    Record::load(&options.state())?.way_back(&current.path).ok_or(Error::NothingGood)?;
    match wish(options, ports, Wish::Rollback { from: current.path })? {
        Some(mut hail) => Ok(Granted::Now(hail.obey().await?)),
        None => Ok(Granted::Left),
    }
}

/// Refuses nothing any more, and looks at Hydra if its job is named.
///
/// # Errors
/// As [`Hail::open`] and [`Hail::once`].
pub async fn retry(options: Options, ports: Ports) -> Result<Granted, Error> {
    options.check()?;
    let asks_hydra = options.job_uri.is_some();
    match wish(options, ports, Wish::Retry)? {
        Some(mut hail) if asks_hydra => Ok(Granted::Now(hail.once().await?)),
        Some(mut hail) => Ok(Granted::Now(hail.obey().await?)),
        None => Ok(Granted::Left),
    }
}

/// Notes a wish, and gives who is to grant it, if that is nobody else.
fn wish(options: Options, ports: Ports, wish: Wish) -> Result<Option<Hail>, Error> {
    let (file, ask) = (options.ask(), Ask { id: ports.random_hex(ID), wish });
    let granting = match Hail::open(options, ports) {
        Ok(hail) => Some(hail),
        Err(Error::Locked { .. }) => None,
        Err(error) => return Err(error),
    };
    record::replace(&file, &ask)?;
    Ok(granting)
}

/// Deactivates the profile by its `bin/deactivate`, if it has one, and removes it with all its generations and all that is remembered of it.
/// Only the file of the lock stays. If it is cut off it may be called again; whoever follows the profile instead activates it again.
///
/// # Errors
/// Somebody follows the profile, the deactivation has failed, or something cannot be removed.
pub async fn remove(options: &Options) -> Result<(), Error> {
    options.check()?;
    let _lock = options.lock()?;
    let (profile, state) = (options.profile(), options.state());
    if let Some(current) = profile.current()? {
        let record = Record { settled: None, attempt: None, ..Record::load(&state)? };
        record.store(&state)?;
        if let Ran::Badly(words) = scripts(options).run("bin/deactivate", &current).await {
            return Err(Error::Deactivation { words });
        }
    }
    profile.remove()?;
    let log = beside(&state, ".log");
    for file in [options.ask(), options.status(), beside(&log, ".1"), log, state] {
        forget(&file)?;
    }
    Ok(())
}

fn forget(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(record::disk(file)(error).into()),
        _ => Ok(()),
    }
}
