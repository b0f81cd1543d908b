//! The files of one instance on its machine, and how its record is kept.
//!
//! A record is written whole to a temporary file, synced, and renamed over the old one, so that a reader finds the old or the
//! new record and never a part.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use helium_instance::{hooks::Hook, record::Record};

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
    use helium_instance::record::Stopping;

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
