//! What a transaction writes down before it touches a file, so that the next start can complete or undo it.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::files::Files;

/// The name of the journal in a service's state folder.
const NAME: &str = "templates.journal";

/// How far a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Phase {
    /// New files are written beside their targets; no target is touched. After a crash they are removed.
    Staging,
    /// Decided: targets are replaced. After a crash the rest of them is.
    Renaming,
    /// Decided otherwise: targets are put back. After a crash the rest of them is.
    Undoing,
}

/// One file of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) target: PathBuf,
    /// The new file, beside the target.
    pub(super) staged: PathBuf,
    /// The old file under a second name, beside the target; none if there was none.
    pub(super) kept: Option<PathBuf>,
    /// What the old file is called in the end, if it is wanted then.
    #[serde(default)]
    pub(super) backup: Option<PathBuf>,
    /// Whether the target goes, in place of getting a new file.
    #[serde(default)]
    pub(super) removed: bool,
}

/// A transaction that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) phase: Phase,
    pub(super) entries: Vec<Entry>,
}

impl Journal {
    /// Notes the journal, for good.
    pub(super) fn save(&self, files: &dyn Files, state: &Path) -> io::Result<()> {
        let (path, draft) = (state.join(NAME), state.join(format!("{NAME}.new")));
        files.write(&draft, &serde_json::to_vec(self)?, 0o600)?;
        files.rename(&draft, &path)?;
        files.sync_folder(state)
    }

    /// The journal of a transaction that has not ended.
    pub(super) fn load(files: &dyn Files, state: &Path) -> io::Result<Option<Self>> {
        let bytes = files.read(&state.join(NAME))?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// Notes that the transaction has ended.
    pub(super) fn remove(files: &dyn Files, state: &Path) -> io::Result<()> {
        files.remove(&state.join(NAME))?;
        files.sync_folder(state)
    }
}
