//! The local record of one instance: all that its agent must remember over a crash.
//!
//! A record is written whole to a temporary file, synced, and renamed over the old one, so that a reader finds the old or the
//! new record and never a part. Every timer of the [machine](super::machine) is an instant in here, none lives in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use helium_cgroups::Group;
use helium_crds::instance::{Assignment, InstancePhase};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{checks::PackageCheck, hooks::Hook};

use helium_processes::ProcessIdentity;

/// All that the agent remembers of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// The last assignment that was seen. It goes on to hold while Consul is away, or the assignment is missing.
    pub(crate) assignment: Assignment,
    /// The number of each port, by name; it is kept over restarts.
    #[serde(default)]
    pub(crate) ports: BTreeMap<String, u16>,
    /// The process that was started last, until its end has been noted.
    #[serde(default)]
    pub(crate) process: Option<ProcessIdentity>,
    /// When that process was started.
    #[serde(default)]
    pub(crate) started_at: Option<Timestamp>,
    /// How often it was started again after it had ended by itself.
    #[serde(default)]
    pub(crate) restarts: u32,
    /// How often in a row it ended, or could not be started, without having run long enough to be called stable.
    #[serde(default)]
    pub(crate) failures: u32,
    /// Not to be started before this instant.
    #[serde(default)]
    pub(crate) next_start: Option<Timestamp>,
    /// How far the stop is, once one has begun.
    #[serde(default)]
    pub(crate) stopping: Option<Stopping>,
    /// When Consul had been away for longer than the instance may run without it, until it is known to have answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cut_off: Option<Timestamp>,
    /// What a start needs of the package is done, and no start has come of it yet.
    #[serde(default)]
    pub(crate) prepared: bool,
    /// The hook `init`, which runs once in the life of an instance, has run.
    #[serde(default)]
    pub(crate) initialised: bool,
    /// The hooks that the package has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) hooks: BTreeSet<Hook>,
    /// The checks that the package brings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) checks: Vec<PackageCheck>,
    /// When the hook `post-start` is due, until it has run.
    #[serde(default)]
    pub(crate) post_start_at: Option<Timestamp>,
    /// Since when the hook `post-stop` is due: a process has ended, and it has not run since.
    #[serde(default)]
    pub(crate) post_stop_at: Option<Timestamp>,
    /// The control group of its process, noted before it is made and until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<Group>,
    /// Limits that do not hold for its process, by the names of their fields, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) unheld: BTreeMap<String, String>,
    /// How many processes of its last group were killed for lack of memory; until its end is noted.
    #[serde(skip)]
    pub(crate) memory_kills: u64,
    /// Why the process runs with files that were rendered before, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) behind: Option<String>,
    /// Whether it leads its service, as far as this run of the agent knows.
    #[serde(skip)]
    pub(crate) leads: bool,
    /// Why it is in maintenance, if it is.
    #[serde(skip)]
    pub(crate) maintenance: Option<String>,
    /// The phase that is reported.
    pub(crate) phase: InstancePhase,
    /// When that phase was entered.
    pub(crate) since: Timestamp,
    /// The words that go with the phase.
    #[serde(default)]
    pub(crate) message: Option<String>,
}

/// How far a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stopping {
    /// When it began: the instance is taken out of Consul from here on.
    pub(crate) since: Timestamp,
    /// When it was out of Consul; the time that balancers have to notice runs from here. Only noted where they have any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) out: Option<Timestamp>,
    /// The hook `drain` has run.
    #[serde(default)]
    pub(crate) drained: bool,
    /// When the hook `pre-stop` began, of an instance that has one; the grace period runs from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closing: Option<Timestamp>,
    /// The hook `pre-stop` has run.
    #[serde(default)]
    pub(crate) pre_stopped: bool,
    /// When the stop signal was sent; the grace period runs from here if it does not yet.
    #[serde(default)]
    pub(crate) signalled: Option<Timestamp>,
}

impl Stopping {
    /// A stop that begins now.
    pub(crate) fn begun(now: Timestamp) -> Self {
        Self { since: now, out: None, drained: false, closing: None, pre_stopped: false, signalled: None }
    }
}

impl Record {
    /// The record of an instance that has just been assigned.
    pub(crate) fn admit(assignment: Assignment, now: Timestamp) -> Self {
        Self {
            assignment,
            ports: BTreeMap::new(),
            process: None,
            started_at: None,
            restarts: 0,
            failures: 0,
            next_start: None,
            stopping: None,
            cut_off: None,
            prepared: false,
            initialised: false,
            hooks: BTreeSet::new(),
            checks: Vec::new(),
            post_start_at: None,
            post_stop_at: None,
            group: None,
            unheld: BTreeMap::new(),
            memory_kills: 0,
            behind: None,
            leads: false,
            maintenance: None,
            phase: InstancePhase::Starting,
            since: now,
            message: None,
        }
    }
}

/// The files of one instance.
#[derive(Clone, Debug)]
pub(crate) struct InstanceDir(PathBuf);

impl InstanceDir {
    /// The files in this folder.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The local record.
    pub(crate) fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }

    /// What the record was when the instance was forgotten, so that its log can still be found by its Deployment's name.
    pub(crate) fn ended(&self) -> PathBuf {
        self.0.join("ended.json")
    }

    /// The log.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The older part of the log.
    pub(crate) fn old_log(&self) -> PathBuf {
        self.0.join("log.1")
    }

    /// The package as this instance sees it, if it has templates.
    pub(crate) fn view(&self) -> PathBuf {
        self.0.join("package")
    }

    /// What the agent notes for itself about the package: journals, answers, marks of hooks that run.
    pub(crate) fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// The log of a hook.
    pub(crate) fn hook_log(&self, hook: Hook) -> PathBuf {
        self.0.join(format!("hook-{hook}.log"))
    }

    /// The working directory of an instance that names none.
    pub(crate) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Makes the folder where there is none.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::create_dir_all(self.work())?;
        DirBuilder::new().recursive(true).mode(0o700).create(self.state())
    }

    /// The record; none where there is none.
    pub(crate) fn load(&self) -> io::Result<Option<Record>> {
        match fs::read(self.record()) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the record, all or nothing, and waits until the disk has it.
    pub(crate) fn save(&self, record: &Record) -> io::Result<()> {
        let fresh = self.0.join("record.json.new");
        // It holds the environment, which may be secret.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.sync_all()?;
        fs::rename(&fresh, self.record())?;
        File::open(&self.0)?.sync_all()
    }

    /// Forgets the record and keeps the log.
    pub(crate) fn forget(&self) -> io::Result<()> {
        let kept = fs::rename(self.record(), self.ended());
        for folder in [self.work(), self.view(), self.state()] {
            let _ = fs::remove_dir_all(folder);
        }
        match kept {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_record_survives_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let dir = InstanceDir::at(folder.path().join("hello-0"));
        dir.create().unwrap();
        assert_eq!(dir.load().unwrap(), None);
        let mut record = Record::admit(testing::assignment("hello-0"), testing::instant(0));
        record.ports.insert("http".to_owned(), 20_000);
        record.stopping =
            Some(Stopping { signalled: Some(testing::instant(2)), ..Stopping::begun(testing::instant(1)) });
        dir.save(&record).unwrap();
        assert_eq!(dir.load().unwrap(), Some(record));
    }

    #[test]
    fn an_instance_that_was_never_cut_off_has_the_record_that_it_always_had() {
        let record = Record::admit(testing::assignment("hello-0"), testing::instant(0));
        let mut json = serde_json::to_value(&record).unwrap();
        assert_eq!(json.get("cutOff"), None);
        assert_eq!(serde_json::from_value::<Record>(json.clone()).unwrap(), record);
        json["cutOff"] = "2026-01-02T03:04:05Z".into();
        assert!(serde_json::from_value::<Record>(json).unwrap().cut_off.is_some());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_error_and_not_an_absence() {
        let folder = tempfile::tempdir().unwrap();
        let dir = InstanceDir::at(folder.path().to_owned());
        fs::write(dir.record(), "{\"assignment\":").unwrap();
        assert!(dir.load().is_err());
    }

    #[test]
    fn forgetting_keeps_the_log_and_the_name_of_the_deployment() {
        let folder = tempfile::tempdir().unwrap();
        let dir = InstanceDir::at(folder.path().join("hello-0"));
        dir.create().unwrap();
        dir.save(&Record::admit(testing::assignment("hello-0"), testing::instant(0))).unwrap();
        fs::write(dir.log(), "a line\n").unwrap();
        dir.forget().unwrap();
        dir.forget().unwrap();
        assert_eq!(dir.load().unwrap(), None);
        assert!(dir.log().exists() && dir.ended().exists() && !dir.work().exists());
    }
}
