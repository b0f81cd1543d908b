//! A group that was made: the same name in each hierarchy that limits something.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_processes::{ProcessIdentity, Signal};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::limits::kills;

/// How often it is looked at whether the processes of a group have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// The file with the processes of a group; one is moved by being written there.
pub(crate) const PROCESSES: &str = "cgroup.procs";
/// The folder of all groups that Helium makes.
pub(crate) const HELIUM: &str = "helium";
/// The file with the controllers that a group of v2 has.
pub(crate) const CONTROLLERS: &str = "cgroup.controllers";
/// The files that count whom the lack of memory has cost its life: of v1, of v2.
const COUNTS: [&str; 2] = ["memory.oom_control", "memory.events"];

/// A group, by its folders. It outlives whoever made it, so that it is to be written down before it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its folders, one a hierarchy.
    pub folders: Vec<PathBuf>,
}

/// A group is left over.
#[derive(Debug, thiserror::Error)]
pub enum LeftError {
    /// What is in it does not end, though it was killed.
    #[error("{} processes in {} do not end, though they were killed", .left, .folder.display())]
    Alive {
        /// Where.
        folder: PathBuf,
        /// How many.
        left: usize,
    },
    /// It cannot be removed.
    #[error("{} cannot be removed: {source}", .folder.display())]
    Folder {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Group {
    /// How many of its processes were killed since they needed more memory than it has.
    pub fn memory_kills(&self) -> u64 {
        let counts = self.folders.iter().flat_map(|folder| COUNTS.map(|file| folder.join(file)));
        counts.filter_map(|file| fs::read_to_string(file).ok()).map(|text| kills(&text)).sum()
    }

    /// The processes that are in it, or in a group below it.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let mut all = Vec::new();
        for folder in &self.folders {
            collect(folder, &mut all)?;
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Removes it, which nobody was ever in; what cannot be removed stays, and is in nobody's way.
    pub(crate) fn drop_empty(&self) {
        for folder in &self.folders {
            let _ = remove(folder);
            leave_nothing(folder);
        }
    }

    /// Kills whoever is in it, and removes it; what is gone already is no error.
    ///
    /// # Errors
    /// It is not gone `within` that time.
    pub async fn end(&self, within: Duration) -> Result<(), LeftError> {
        let until = Instant::now() + within;
        for folder in &self.folders {
            let whole = Self { folders: vec![folder.clone()] };
            loop {
                let failed = |source| LeftError::Folder { folder: folder.clone(), source };
                let left = whole.processes().map_err(failed)?;
                // The last of them may be in it for a moment after it has ended.
                let removed = if left.is_empty() { remove(folder) } else { Err(io::ErrorKind::ResourceBusy.into()) };
                match removed {
                    Ok(()) => {
                        leave_nothing(folder);
                        break;
                    }
                    Err(error) if Instant::now() < until && error.kind() == io::ErrorKind::ResourceBusy => {}
                    Err(_) if !left.is_empty() => {
                        return Err(LeftError::Alive { folder: folder.clone(), left: left.len() });
                    }
                    Err(source) => return Err(failed(source)),
                }
                for process in left.into_iter().filter_map(ProcessIdentity::of) {
                    let _ = process.signal(Signal::KILL);
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }
}

fn collect(folder: &Path, all: &mut Vec<u32>) -> io::Result<()> {
    let text = match fs::read_to_string(folder.join(PROCESSES)) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    // A process that is outside of what this one can see has the number 0.
    all.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
    for below in below(folder)? {
        collect(&below, all)?;
    }
    Ok(())
}

/// Removes a group and those below it.
fn remove(folder: &Path) -> io::Result<()> {
    for below in below(folder)? {
        remove(&below)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if is_gone(&error) => Ok(()),
        done => done,
    }
}

/// Removes the folder of all groups with its last one. Not in v2, where it hands on the controllers to a group that may just be made.
fn leave_nothing(folder: &Path) {
    if let Some(all) = folder.parent().filter(|all| all.ends_with(HELIUM) && !all.join(CONTROLLERS).exists()) {
        let _ = fs::remove_dir(all);
    }
}

/// The groups within a group.
fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// A file of a group that is removed while it is open says that there is no such device.
fn is_gone(error: &io::Error) -> bool {
    const NO_DEVICE: i32 = 19;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_DEVICE)
}
