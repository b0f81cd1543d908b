//! What of an election outlives a restart of the agent: the session and the token, in a small file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The session of a candidate, and the number of its token if it leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The session.
    pub session: String,
    /// The number of the token, once it leads.
    #[serde(default)]
    pub token: Option<u64>,
}

/// The file of the note. Its loss costs an election and nothing else, so it is not synced to the disk.
#[derive(Clone, Debug)]
pub struct NoteFile(PathBuf);

impl NoteFile {
    /// A note at `path`; its folder must exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// What is noted. A file that cannot be read as a note counts as none.
    pub fn read(&self) -> io::Result<Option<Note>> {
        match fs::read(&self.0) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes; a kill in between leaves the note before.
    pub fn write(&self, note: &Note) -> io::Result<()> {
        let mut beside = self.0.clone().into_os_string();
        beside.push(".new");
        fs::write(&beside, serde_json::to_vec(note)?)?;
        fs::rename(Path::new(&beside), &self.0)
    }

    /// Forgets.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_kept_until_it_is_removed_and_a_torn_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = NoteFile::at(folder.path().join("note"));
        assert_eq!(file.read().unwrap(), None);
        let note = Note { session: "s".to_owned(), token: Some(9) };
        file.write(&note).unwrap();
        assert_eq!(file.read().unwrap(), Some(note));
        fs::write(folder.path().join("note"), "{\"sess").unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.read().unwrap(), None);
    }
}
