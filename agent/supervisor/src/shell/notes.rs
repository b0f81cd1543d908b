//! Notes of the processes that run, so that whoever comes after a supervisor that was killed ends what it has left.
//!
//! A process is written down while it stands at its gate, and the gate is opened after that: there is never one that runs and is in no note.
//! Notes are not synced, since what they tell of is gone when the machine loses its power. One supervisor at a time has the folder: it holds a lock
//! that the system takes back when it ends.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use helium_processes::{ProcessIdentity, Signal};

/// The file that is locked.
const LOCK: &str = "lock";

/// A folder of notes, or none.
#[derive(Default)]
pub(crate) struct Notes {
    folder: Option<(PathBuf, File)>,
}

impl Notes {
    /// Takes a folder, which is made if it is missing, and kills all that the notes in it tell of.
    pub(crate) fn take(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("another supervisor has its notes in {}: give each a folder of its own", folder.display()),
            ),
            TryLockError::Error(error) => error,
        })?;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if !path.ends_with(LOCK) {
                end_what_is_left(&path);
                fs::remove_file(&path)?;
            }
        }
        Ok(Self { folder: Some((folder.to_owned(), lock)) })
    }

    /// Writes a process down.
    pub(crate) fn write(&self, run: u64, identity: &ProcessIdentity) -> io::Result<()> {
        self.path("run", run).map_or(Ok(()), |path| fs::write(path, serde_json::to_vec(identity)?))
    }

    /// A process has ended.
    pub(crate) fn remove(&self, run: u64) {
        if let Some(path) = self.path("run", run) {
            let _ = fs::remove_file(path);
        }
    }

    /// Where a check writes its process down.
    pub(crate) fn of_check(&self, check: u64) -> Option<PathBuf> {
        self.path("check", check)
    }

    fn path(&self, kind: &str, number: u64) -> Option<PathBuf> {
        self.folder.as_ref().map(|(folder, _)| folder.join(format!("{kind}-{number}.json")))
    }
}

/// Kills a process of an earlier supervisor with its group. A note that was cut off was written before its gate was opened.
fn end_what_is_left(note: &Path) {
    let left = fs::read(note).ok().and_then(|bytes| serde_json::from_slice::<ProcessIdentity>(&bytes).ok());
    if let Some(left) = left {
        tracing::warn!(pid = left.pid, "an earlier supervisor was killed; what it has left is killed");
        let _ = left.signal_group(Signal::KILL);
        left.sweep_group();
    }
}
