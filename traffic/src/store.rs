//! The file on the disk: written whole or not at all, and only if HAProxy would take it.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::shell;

/// What stands in a check command for the file that is to be checked.
pub const CHECKED: &str = "{}";

/// Why the file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or a right.
    #[error("{path}: {source}")]
    Disk {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The check command says no.
    #[error("`{command}` refuses the new file, so the old one stays: {why}")]
    Refused {
        /// The command.
        command: String,
        /// Its last words.
        why: String,
    },
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    path: PathBuf,
    check: Option<String>,
}

impl Store {
    /// The file at `path`, checked by a command of the shell in which [`CHECKED`] stands for it.
    pub(crate) fn new(path: PathBuf, check: Option<String>) -> Self {
        Self { path, check }
    }

    /// What is there; none if there is no file.
    pub(crate) fn read(&self) -> Result<Option<String>, StoreError> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(disk(&self.path, source)),
        }
    }

    /// Puts `text` in its place, once it is checked and on the disk.
    pub(crate) async fn write(&self, text: &str) -> Result<(), StoreError> {
        let new = self.beside();
        put(&new, text).map_err(|source| disk(&new, source))?;
        if let Some(check) = &self.check {
            let command = check.replace(CHECKED, &shell::quoted(&new.to_string_lossy()));
            if let Err(why) = shell::run(&command).await {
                // What is left behind if this fails is written over the next time.
                let _ = fs::remove_file(&new);
                return Err(StoreError::Refused { command, why });
            }
        }
        fs::rename(&new, &self.path).map_err(|source| disk(&self.path, source))?;
        sync_folder(&self.path).map_err(|source| disk(&self.path, source))
    }

    /// The new file until it is in its place: a HAProxy that reads a whole folder reads only what ends in `.cfg`.
    fn beside(&self) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(self.path.file_name().unwrap_or_default());
        name.push(".new");
        self.path.with_file_name(name)
    }
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A rename is on the disk when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn disk(path: &Path, source: io::Error) -> StoreError {
    StoreError::Disk { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_the_check_refuses_leaves_the_old_one_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it's.cfg");
        let check = Some("! grep -q bad {} || { echo 'bad is no word' >&2; false; }".to_owned());
        let store = Store::new(path.clone(), check);
        assert_eq!(store.read().unwrap(), None);
        store.write("good").await.unwrap();
        let words = store.write("bad").await.unwrap_err().to_string();
        assert!(words.ends_with("so the old one stays: exit status: 1: bad is no word"), "{words}");
        assert_eq!(store.read().unwrap().as_deref(), Some("good"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("none/web.cfg"), None);
        assert_eq!(store.read().unwrap(), None);
        assert!(store.write("x").await.unwrap_err().to_string().contains("/none/.web.cfg.new: "));
    }
}
