//! What has come of a download so far: `<name>.part`, and beside it a note of whose bytes these are.
//!
//! The bytes may be gone on from only if the server still has the same ones: by a strong `ETag`, or else by `Last-Modified`.
//! The note is written before the first byte, so there are no bytes whose origin is not known.

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

use super::{Error, disk};

/// Whose bytes a part holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// From where, without what may not be told.
    pub(super) place: String,
    /// What tells whether they are still the same there.
    pub(super) validator: String,
}

impl Note {
    /// What an answer says of its bytes; none if they cannot be gone on from later.
    pub(super) fn of(place: &str, headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let strong = text(header::ETAG).filter(|etag| !etag.starts_with("W/"));
        let validator = strong.or_else(|| text(header::LAST_MODIFIED))?;
        Some(Self { place: place.to_owned(), validator })
    }
}

/// The files of one download.
pub(super) struct Part {
    pub(super) bytes: PathBuf,
    note: PathBuf,
}

impl Part {
    pub(super) fn of(to: &Path) -> Self {
        let with = |ending: &str| {
            let mut name = to.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        Self { bytes: with(".part"), note: with(".part.note") }
    }

    /// How many bytes there are to go on from, and what they are of.
    pub(super) fn resumable(&self, place: &str) -> Option<(u64, Note)> {
        let note: Note = serde_json::from_slice(&fs::read(&self.note).ok()?).ok()?;
        let there = fs::metadata(&self.bytes).ok()?.len();
        (there > 0 && note.place == place).then_some((there, note))
    }

    /// Starts anew, with a note if the answer allows one.
    pub(super) fn begin(&self, note: Option<&Note>) -> Result<(), Error> {
        self.forget();
        let Some(note) = note else { return Ok(()) };
        let bytes = serde_json::to_vec(note).unwrap_or_default();
        fs::write(&self.note, bytes).map_err(disk(&self.note))
    }

    /// Gives the whole of it its name.
    pub(super) fn finish(&self, to: &Path) -> Result<(), Error> {
        fs::rename(&self.bytes, to).map_err(disk(to))?;
        self.forget();
        Ok(())
    }

    /// Removes both; the bytes first, since a note without bytes does no harm.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(&self.bytes);
        let _ = fs::remove_file(&self.note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_that_can_be_told_again_are_noted() {
        let mut headers = HeaderMap::new();
        assert_eq!(Note::of("p", &headers), None);
        headers.insert(header::ETAG, "W/\"1\"".parse().unwrap());
        assert_eq!(Note::of("p", &headers), None, "a weak tag says nothing about bytes");
        headers.insert(header::LAST_MODIFIED, "Mon".parse().unwrap());
        assert_eq!(Note::of("p", &headers).unwrap().validator, "Mon");
        headers.insert(header::ETAG, "\"1\"".parse().unwrap());
        assert_eq!(Note::of("p", &headers).unwrap().validator, "\"1\"");
    }
}
