//! The folders of this machine: whether they can be written, and whether what is in them can be read and is as it was.

use std::{fs, path::Path};

use helium_packages::store::{Name, listing};

use super::{Finding, State, nearest};
use crate::{data::FOLDER_OF_INSTANCES, instance::dir::InstanceDir};

/// More changed files than these are counted and not named.
const NAMED: usize = 10;

/// The data folder and the records in it.
pub(super) fn data(folder: &Path) -> Vec<Finding> {
    let mut found = vec![writable("data", folder)];
    let Ok(entries) = fs::read_dir(folder.join(FOLDER_OF_INSTANCES)) else { return found };
    let mut read = 0;
    for entry in entries.flatten() {
        match InstanceDir::at(entry.path()).load() {
            Ok(record) => read += usize::from(record.is_some()),
            Err(error) => found.push(Finding::new(
                State::Failed,
                "data",
                entry.path().display(),
                format!("its record cannot be read ({error}); an agent leaves this instance alone until the folder is removed"),
            )),
        }
    }
    found.push(Finding::new(State::Ok, "data", folder.display(), format!("{read} records of instances can be read")));
    found
}

/// Whether something can be written there, by writing something that nobody sees.
fn writable(area: &'static str, folder: &Path) -> Finding {
    let there = nearest(folder);
    let place = folder.display();
    match rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        Ok(()) if there == folder => Finding::new(State::Ok, area, place, "can be written"),
        Ok(()) => {
            Finding::new(State::Ok, area, place, format!("is not there yet, and can be made in {}", there.display()))
        }
        Err(error) => Finding::new(
            State::Failed,
            area,
            place,
            format!("{} cannot be written ({error}); run as its owner, or name another folder", there.display()),
        ),
    }
}

/// The installed packages: each file is as it was when its version was installed.
pub(super) fn packages(root: &Path, only: Option<&Name>) -> Vec<Finding> {
    let mut found = vec![writable("packages", root)];
    let checked = match listing::check(root, only) {
        Ok(checked) => checked,
        Err(error) => {
            found.push(Finding::new(State::Failed, "packages", root.display(), error.to_string()));
            return found;
        }
    };
    if let (Some(only), true) = (only, checked.is_empty()) {
        found.push(Finding::new(State::Warning, "packages", only, "no version of it is installed here"));
    }
    for one in checked {
        let place = format!("{} {}", one.service, one.version);
        found.push(match one.changes {
            None => Finding::new(
                State::Warning,
                "packages",
                place,
                "was installed before its files were noted: it cannot be told whether they are as they were",
            ),
            Some(changes) if changes.is_empty() => {
                Finding::new(State::Ok, "packages", place, "every file is as it was installed")
            }
            Some(changes) => {
                let named = changes.iter().take(NAMED).map(|(name, change)| format!("{name} {change}"));
                let mut words = named.collect::<Vec<_>>().join(", ");
                if changes.len() > NAMED {
                    words = format!("{words}, and {} more", changes.len() - NAMED);
                }
                Finding::new(State::Failed, "packages", place, format!("{words} (in {})", one.folder.display()))
            }
        });
    }
    found
}
