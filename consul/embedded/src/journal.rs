//! Durability: a journal of commands, and a snapshot of the state from time to time.
//!
//! A folder holds `lock` (one server at a time), `snapshot.json` (the state at some index) and `journal.log` (the
//! commands since, one a line: a checksum and JSON). A command is appended before its answer is given. When the
//! journal has grown large, the state is written to a new snapshot, which replaces the old one in one step, and the
//! journal starts empty; should the server die between the two, records that the snapshot already holds are passed over.
//! A record that was cut short by a crash can only be the last one, and was never answered: it is dropped. Anything else that
//! is wrong with the files is an error, and nothing is guessed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::state::{Command, State};

/// Whether an answer waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It does: what was answered survives a loss of power.
    #[default]
    Disk,
    /// It does not: what was answered survives the death of the process, but not of the machine.
    OperatingSystem,
}

/// Why a folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server uses it.
    #[error("{} is in use by another server", .0.display())]
    Locked(PathBuf),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// A file is not what this version writes, or was damaged.
    #[error("{}: {problem}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// The version of the files' form.
const VERSION: u32 = 1;
/// A journal below this size is never compacted, in bytes.
const COMPACT_FLOOR: u64 = 4 * 1024 * 1024;
/// The journal is compacted when it is this many times as large as the snapshot.
const COMPACT_RATIO: u64 = 2;

#[derive(Deserialize)]
struct Snapshot {
    version: u32,
    state: State,
}

#[derive(Serialize)]
struct SnapshotRef<'a> {
    version: u32,
    state: &'a State,
}

#[derive(Deserialize)]
struct Record {
    sequence: u64,
    index: u64,
    command: Command,
}

#[derive(Serialize)]
struct RecordRef<'a> {
    sequence: u64,
    index: u64,
    command: &'a Command,
}

/// An open folder.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    log: File,
    log_size: u64,
    snapshot_size: u64,
    durability: Durability,
    /// Holds the lock for as long as it lives.
    _lock: File,
}

impl Journal {
    /// Opens a folder, which is made if it does not exist, and gives the state that is in it, if any.
    pub(crate) fn open(folder: &Path, durability: Durability) -> Result<(Self, Option<State>), OpenError> {
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        let lock_path = folder.join("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(OpenError::Io { path: lock_path, error }),
        }
        let (state, snapshot_size) = read_snapshot(&folder.join("snapshot.json"))?;
        let log_path = folder.join("journal.log");
        let mut options = OpenOptions::new();
        let mut log =
            options.create(true).truncate(false).read(true).write(true).open(&log_path).map_err(at(&log_path))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes).map_err(at(&log_path))?;
        let (state, log_size) = replay(state, &bytes, &log_path)?;
        // What follows is a record that was never answered.
        log.set_len(log_size).map_err(at(&log_path))?;
        log.seek(SeekFrom::Start(log_size)).map_err(at(&log_path))?;
        let folder = folder.to_owned();
        Ok((Self { folder, log, log_size, snapshot_size, durability, _lock: lock }, state))
    }

    /// Writes a command that was applied; `state` is the state after it. Whether it is to be `durable` when this
    /// returns is the caller's to say: what nobody was told may be lost.
    pub(crate) fn append(&mut self, state: &State, command: &Command, durable: bool) -> io::Result<()> {
        let json = serde_json::to_vec(&RecordRef { sequence: state.sequence(), index: state.index(), command })?;
        let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
        line.extend_from_slice(&json);
        line.push(b'\n');
        self.log.write_all(&line)?;
        if durable && self.durability == Durability::Disk {
            self.log.sync_data()?;
        }
        self.log_size += line.len() as u64;
        if self.log_size > COMPACT_FLOOR.max(self.snapshot_size * COMPACT_RATIO) {
            self.compact(state)?;
        }
        Ok(())
    }

    /// Writes the whole state to a new snapshot and empties the journal.
    pub(crate) fn compact(&mut self, state: &State) -> io::Result<()> {
        let bytes = serde_json::to_vec(&SnapshotRef { version: VERSION, state })?;
        let new = self.folder.join("snapshot.new");
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, self.folder.join("snapshot.json"))?;
        File::open(&self.folder)?.sync_all()?;
        self.log.set_len(0)?;
        self.log.seek(SeekFrom::Start(0))?;
        self.log.sync_all()?;
        self.log_size = 0;
        self.snapshot_size = bytes.len() as u64;
        Ok(())
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io { path, error }
}

fn corrupt(path: &Path, problem: impl Into<String>) -> OpenError {
    OpenError::Corrupt { path: path.to_owned(), problem: problem.into() }
}

fn read_snapshot(path: &Path) -> Result<(Option<State>, u64), OpenError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, 0)),
        Err(error) => return Err(at(path)(error)),
    };
    let snapshot: Snapshot = serde_json::from_slice(&bytes).map_err(|error| corrupt(path, error.to_string()))?;
    if snapshot.version != VERSION {
        return Err(corrupt(path, format!("version {} of the file is not known here", snapshot.version)));
    }
    let mut state = snapshot.state;
    state.rearm(std::time::Duration::ZERO);
    Ok((Some(state), bytes.len() as u64))
}

/// Applies the records to the state. Gives the length of the part of the journal that is whole.
fn replay(mut state: Option<State>, bytes: &[u8], path: &Path) -> Result<(Option<State>, u64), OpenError> {
    let mut whole = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(record) = read_record(line) else {
            if whole + line.len() == bytes.len() {
                break;
            }
            return Err(corrupt(path, format!("the record at byte {whole} is damaged, and others follow it")));
        };
        apply(&mut state, &record, path)?;
        whole += line.len();
    }
    if let Some(state) = &mut state {
        state.rearm(std::time::Duration::ZERO);
    }
    Ok((state, whole as u64))
}

fn apply(state: &mut Option<State>, record: &Record, path: &Path) -> Result<(), OpenError> {
    let Some(state) = state else { return Err(corrupt(path, "there is a journal without a snapshot")) };
    if record.sequence <= state.sequence() {
        return Ok(());
    }
    state.replay(&record.command);
    if (state.sequence(), state.index()) == (record.sequence, record.index) {
        return Ok(());
    }
    let problem = format!("record {} of index {} gives index {} here", record.sequence, record.index, state.index());
    Err(corrupt(path, problem))
}

/// A record, if the line is whole and its checksum right.
fn read_record(line: &[u8]) -> Option<Record> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = line.split_at_checked(9)?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?.strip_suffix(' ')?, 16).ok()?;
    if crc32fast::hash(json) != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{AgentCheck, Check, CheckDefinition, CheckKind, KvOp, Session, Verb, own_node};
    use std::time::Duration;

    fn put(key: &str, value: &str) -> Command {
        let mut op = KvOp::new(Verb::Set, key);
        op.value = value.to_owned().into();
        Command::Kv(op)
    }

    fn session(id: u32) -> Session {
        let json = format!(
            r#"{{"ID":"00000000-0000-0000-0000-{id:012}","Name":"","Node":"n","LockDelay":15000000000,"Behavior":"release",
            "TTL":"10s","NodeChecks":["serfHealth"],"ServiceChecks":null,"CreateIndex":0,"ModifyIndex":0}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn lock(key: &str, id: u32) -> Command {
        let mut op = KvOp::new(Verb::Lock, key);
        op.session = session(id).id;
        Command::Kv(op)
    }

    fn check() -> AgentCheck {
        let check = Check { check_id: "c".into(), name: "c".into(), status: "critical".into(), ..Check::default() };
        AgentCheck::new(check, CheckDefinition::new(CheckKind::Ttl(Duration::from_mins(10))))
    }

    fn update(status: &str, output: &str) -> Command {
        let (status, output) = (status.to_owned(), output.to_owned());
        Command::UpdateCheck { node: "n".into(), check: "c".into(), status, output, by_ttl: true }
    }

    /// A life with everything in it that depends on time.
    fn life() -> Vec<(u64, Command)> {
        vec![
            (0, Command::Join(own_node("n", "", "127.0.0.1", "dc1"))),
            (1, put("a", "1")),
            (1, Command::CreateSession(session(1))),
            (1, lock("l", 1)),
            (2, Command::DestroySession { id: session(1).id }),
            (3, Command::CreateSession(session(2))),
            // The lock delay of 15 s is over.
            (20, lock("l", 2)),
            (21, Command::Kv(KvOp::new(Verb::Delete, "a"))),
            (22, put("a", "2")),
            (22, put("b", "3")),
            (23, Command::AgentRegisterCheck { node: "n".into(), check: check() }),
            (24, update("passing", "one")),
            // A new output alone takes no index, and the catalog learns of it later.
            (25, update("passing", "two")),
            (330, Command::SyncCheck { node: "n".into(), check: "c".into() }),
        ]
    }

    fn live(folder: &Path) -> (Journal, State) {
        let (mut journal, state) = Journal::open(folder, Durability::OperatingSystem).unwrap();
        assert!(state.is_none());
        let mut state = State::new("dc1");
        journal.compact(&state).unwrap();
        for (at, command) in life() {
            let outcome = state.apply(&command, Duration::from_secs(at));
            outcome.result.unwrap();
            assert!(!outcome.touched.is_empty());
            journal.append(&state, &command, true).unwrap();
        }
        (journal, state)
    }

    fn text(state: &State) -> String {
        String::from_utf8(state.snapshot().unwrap()).unwrap()
    }

    #[test]
    fn a_journal_gives_back_the_state_that_wrote_it() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, state) = live(folder.path());
        drop(journal);
        let (_journal, again) = Journal::open(folder.path(), Durability::Disk).unwrap();
        assert_eq!(text(&state), text(&again.unwrap()));
    }

    #[test]
    fn a_compacted_journal_gives_back_the_same_state() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, mut state) = live(folder.path());
        journal.compact(&state).unwrap();
        state.apply(&put("c", "4"), Duration::ZERO);
        journal.append(&state, &put("c", "4"), true).unwrap();
        drop(journal);
        let (_journal, again) = Journal::open(folder.path(), Durability::Disk).unwrap();
        assert_eq!(text(&state), text(&again.unwrap()));
    }

    #[test]
    fn records_that_the_snapshot_already_holds_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, state) = live(folder.path());
        let log = std::fs::read(folder.path().join("journal.log")).unwrap();
        journal.compact(&state).unwrap();
        drop(journal);
        // As if the server had died after the snapshot was put in place and before the journal was emptied.
        std::fs::write(folder.path().join("journal.log"), log).unwrap();
        let (_journal, again) = Journal::open(folder.path(), Durability::Disk).unwrap();
        assert_eq!(text(&state), text(&again.unwrap()));
    }

    #[test]
    fn a_journal_cut_at_any_byte_gives_the_state_of_its_whole_records() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = live(folder.path());
        drop(journal);
        let path = folder.path().join("journal.log");
        let log = std::fs::read(&path).unwrap();
        for end in 0..log.len() {
            std::fs::write(&path, &log[..end]).unwrap();
            let whole = log[..end].split(|byte| *byte == b'\n').count() - 1;
            let (journal, state) = Journal::open(folder.path(), Durability::OperatingSystem).unwrap();
            assert_eq!(state.unwrap().sequence(), whole as u64, "cut at {end}");
            drop(journal);
            assert!(std::fs::read(&path).unwrap().ends_with(b"\n") || whole == 0);
        }
    }

    #[test]
    fn a_damaged_record_before_others_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = live(folder.path());
        drop(journal);
        let path = folder.path().join("journal.log");
        let mut log = std::fs::read(&path).unwrap();
        log[40] ^= 1;
        std::fs::write(&path, &log).unwrap();
        let error = Journal::open(folder.path(), Durability::Disk).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn a_folder_is_opened_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = live(folder.path());
        assert!(matches!(Journal::open(folder.path(), Durability::Disk), Err(OpenError::Locked(_))));
        drop(journal);
        assert!(Journal::open(folder.path(), Durability::Disk).is_ok());
    }
}
