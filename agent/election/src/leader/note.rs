//! What of an election outlives a restart of the agent: the session and the token, in a small file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use consul_client::SessionRequest;
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

/// A note as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The note.
    pub note: Note,
    /// Whether its session was made as one is made now.
    pub fits: bool,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    note: Note,
    /// As what the session was made.
    request: SessionRequest,
}

/// The file of the note. Its loss costs an election and nothing else, so it is not synced to the disk.
#[derive(Clone, Debug)]
pub struct NoteFile(PathBuf);

impl NoteFile {
    /// A note at `path`; its folder must exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// What is noted, and whether its session was made by such a request. A file that cannot be read as a note counts as none.
    pub fn read(&self, request: &SessionRequest) -> io::Result<Option<Noted>> {
        match fs::read(&self.0) {
            Ok(text) => Ok(serde_json::from_slice::<Kept>(&text)
                .ok()
                .map(|kept| Noted { note: kept.note, fits: kept.request == *request })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes a session that was made by this request; a kill in between leaves the note before.
    pub fn write(&self, note: &Note, request: &SessionRequest) -> io::Result<()> {
        let mut beside = self.0.clone().into_os_string();
        beside.push(".new");
        let kept = Kept { note: note.clone(), request: request.clone() };
        fs::write(&beside, serde_json::to_vec(&kept)?)?;
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
        let request = SessionRequest { ttl: Some(std::time::Duration::from_secs(30)), ..SessionRequest::default() };
        assert_eq!(file.read(&request).unwrap(), None);
        let note = Note { session: "s".to_owned(), token: Some(9) };
        file.write(&note, &request).unwrap();
        assert_eq!(file.read(&request).unwrap(), Some(Noted { note: note.clone(), fits: true }));
        assert_eq!(file.read(&SessionRequest::default()).unwrap(), Some(Noted { note, fits: false }));
        fs::write(folder.path().join("note"), "{\"sess").unwrap();
        assert_eq!(file.read(&request).unwrap(), None);
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.read(&request).unwrap(), None);
    }
}
