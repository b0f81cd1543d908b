//! The data folder of an agent: who owns it, and where in it everything is.
//!
//! ```text
//! agent.lock               held with flock by the agent that owns the folder; holds its process id for people
//! session                  the heartbeat's session, so that the next agent can end it and take over at once
//! maintenance.json         what of the node is in maintenance, as it was last known
//! believed.json            what was known to hold something, so that it is not taken for empty after a restart
//! instances/<id>/          record.json, log, log.1, work/, package/, state/, hook-*.log; ended.json in place of record.json once it is forgotten
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_crds::{ids::InstanceId, maintenance::Maintenance};
use helium_templates::guard::Believed;
use rustix::fs::{FlockOperation, flock};

use crate::instance::{dir::InstanceDir, record::Record};

/// The note of what is believed of Consul's data.
const BELIEVED: &str = "believed.json";

/// The folder of the instances.
pub(crate) const FOLDER_OF_INSTANCES: &str = "instances";
/// The note of what is in maintenance.
const MAINTENANCE: &str = "maintenance.json";

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another agent owns the folder.
    #[error("{} belongs to another agent that runs already (process {owner})", .folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The process id that the other agent wrote down.
        owner: String,
    },
    /// The folder cannot be made or opened.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What was opened.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A data folder that is ours until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: File,
}

/// The records that a data folder holds.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Those that can be read.
    pub(crate) records: Vec<Record>,
    /// Those that cannot: these instances are left alone, for a second copy of one may be the worse harm.
    pub(crate) unreadable: Vec<(InstanceId, io::Error)>,
}

impl DataDir {
    /// Takes the folder, making it where there is none.
    pub(crate) fn take(root: &Path) -> Result<Self, DataError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DataError::Io { path, source }
        };
        let instances = root.join(FOLDER_OF_INSTANCES);
        // Records hold what templates hold, and that may be secret.
        // Programs that run as other users pass through to their package; what is private in here has its own mode.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&instances).map_err(failed(&instances))?;
        let root = root.canonicalize().map_err(failed(root))?;
        let path = root.join("agent.lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed(&path))?;
        match take_lock(&lock) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut owner = String::new();
                let _ = lock.read_to_string(&mut owner);
                return Err(DataError::Locked { folder: root, owner: owner.trim().to_owned() });
            }
            Err(error) => return Err(failed(&path)(error.into())),
        }
        let noted =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        noted.map_err(failed(&path))?;
        Ok(Self { root, _lock: lock })
    }

    /// The folder, absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The files of one instance.
    pub(crate) fn instance(&self, id: &InstanceId) -> InstanceDir {
        InstanceDir::at(self.root.join(FOLDER_OF_INSTANCES).join(id.as_str()))
    }

    /// All records.
    pub(crate) fn load(&self) -> io::Result<Loaded> {
        let mut loaded = Loaded::default();
        for entry in fs::read_dir(self.root.join(FOLDER_OF_INSTANCES))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match InstanceDir::at(entry.path()).load() {
                Ok(None) => {}
                Ok(Some(record)) if record.assignment.id.as_str() == name => loaded.records.push(record),
                Ok(Some(_)) => {
                    loaded.unreadable.push((InstanceId::new(name), io::Error::other("it is of another instance")));
                }
                Err(error) => loaded.unreadable.push((InstanceId::new(name), error)),
            }
        }
        loaded.records.sort_by(|one, other| one.assignment.id.cmp(&other.assignment.id));
        Ok(loaded)
    }

    /// What an earlier run knew of the emptiness of what templates ask.
    pub(crate) fn believed(&self) -> BTreeMap<String, Believed> {
        let noted = fs::read(self.root.join(BELIEVED)).ok();
        noted.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Notes that. It is a precaution: that it cannot be noted stops nothing.
    pub(crate) fn note_believed(&self, believed: &BTreeMap<String, Believed>) {
        if let Err(error) = self.note(BELIEVED, believed) {
            tracing::warn!(%error, "what is believed of Consul's data cannot be noted");
        }
    }

    /// What was in maintenance when that was last known; none where the note cannot be understood, and Consul is to be asked. That the disk does not
    /// give it is an error: instances would serve that must not.
    pub(crate) fn maintenance(&self) -> io::Result<Option<Maintenance>> {
        match fs::read(self.root.join(MAINTENANCE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)
                .inspect_err(|error| {
                    tracing::warn!(%error, "{MAINTENANCE} cannot be understood; what is in maintenance is what Consul says");
                })
                .ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Maintenance::default())),
            Err(error) => Err(error),
        }
    }

    /// Notes that, and waits until the disk has it.
    pub(crate) fn note_maintenance(&self, maintenance: &Maintenance) {
        if let Err(error) = self.note(MAINTENANCE, maintenance) {
            tracing::error!(%error, "what is in maintenance cannot be noted, and is forgotten by a restart without Consul");
        }
    }

    /// Writes a note, the whole of it or nothing, and waits until the disk has it.
    fn note(&self, name: &str, value: &impl serde::Serialize) -> io::Result<()> {
        let fresh = self.root.join(name).with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(value).map_err(io::Error::other)?)?;
        file.sync_all()?;
        fs::rename(&fresh, self.root.join(name))?;
        File::open(&self.root)?.sync_all()
    }

    /// The session that the last agent here had.
    pub(crate) fn session(&self) -> Option<String> {
        let text = fs::read_to_string(self.root.join("session")).ok()?;
        Some(text.trim().to_owned()).filter(|session| !session.is_empty())
    }

    /// Notes the session.
    pub(crate) fn note_session(&self, session: &str) -> io::Result<()> {
        fs::write(self.root.join("session"), format!("{session}\n"))
    }
}

/// Takes the lock. An agent that was killed while it started a process may leave the lock for an instant to that process, which
/// drops it as soon as it executes its program, so a lock that is held is tried again for a second.
#[allow(clippy::disallowed_methods, reason = "nothing runs yet that could be held up")]
fn take_lock(lock: &File) -> Result<(), rustix::io::Errno> {
    for _ in 0..20 {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(50)),
            outcome => return outcome,
        }
    }
    flock(lock, FlockOperation::NonBlockingLockExclusive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn two_agents_never_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::take(folder.path()).unwrap();
        let refused = DataDir::take(folder.path()).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("runs already (process {})", std::process::id())), "{refused}");
        drop(first);
        DataDir::take(folder.path()).unwrap();
    }

    #[test]
    fn what_a_lock_file_holds_keeps_nobody_out_once_its_agent_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("agent.lock");
        // Of a process that has ended, of one that lives and is no agent, and of nobody.
        for left in ["4194304\n", "1\n", "", "no process"] {
            fs::write(&lock, left).unwrap();
            let data = DataDir::take(folder.path()).unwrap();
            assert_eq!(fs::read_to_string(&lock).unwrap(), format!("{}\n", std::process::id()), "after {left:?}");
            assert!(matches!(DataDir::take(folder.path()), Err(DataError::Locked { .. })), "after {left:?}");
            drop(data);
        }
    }

    #[test]
    fn records_are_found_again_and_broken_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::take(folder.path()).unwrap();
        for name in ["b-1", "a-0"] {
            let dir = data.instance(&InstanceId::from(name));
            dir.create().unwrap();
            dir.save(&Record::admit(testing::assignment(name), testing::instant(0))).unwrap();
        }
        let broken = data.instance(&InstanceId::from("c-2"));
        broken.create().unwrap();
        fs::write(broken.record(), "{").unwrap();
        data.instance(&InstanceId::from("d-3")).create().unwrap();
        let loaded = data.load().unwrap();
        let ids: Vec<&str> = loaded.records.iter().map(|record| record.assignment.id.as_str()).collect();
        assert_eq!(ids, ["a-0", "b-1"]);
        assert_eq!(loaded.unreadable.len(), 1);
        assert_eq!(loaded.unreadable[0].0.as_str(), "c-2");
    }

    #[test]
    fn what_is_in_maintenance_is_remembered_and_a_note_that_cannot_be_understood_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::take(folder.path()).unwrap();
        assert_eq!(data.maintenance().unwrap(), Some(Maintenance::default()));
        let mark =
            serde_json::json!({"node": {"reason": "a new disk", "by": "alice", "since": "2026-01-01T00:00:00Z"}});
        let noted: Maintenance = serde_json::from_value(mark).unwrap();
        data.note_maintenance(&noted);
        assert_eq!(data.maintenance().unwrap(), Some(noted));
        for torn in ["", "{\"node\": {\"rea", "\0\0\0\0"] {
            fs::write(folder.path().join(MAINTENANCE), torn).unwrap();
            assert_eq!(data.maintenance().unwrap(), None, "{torn:?}");
        }
    }

    #[test]
    fn the_session_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::take(folder.path()).unwrap();
        assert_eq!(data.session(), None);
        data.note_session("abc").unwrap();
        assert_eq!(data.session().as_deref(), Some("abc"));
    }
}
