//! What has to outlive this process, beside the journal of the files: what was believed, which files were made, which reactions are owed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use helium_templates::{files::Files, guard::Believed};
use serde::{Deserialize, Serialize};

/// The name of the note in the folder of the state.
const NAME: &str = "templates.memory";

/// What has to outlive this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// What was believed of Consul, by query.
    pub believed: BTreeMap<String, Believed>,
    /// The files that were made.
    pub made: BTreeSet<PathBuf>,
    /// The commands that have to be run since files changed, and have not been run to a good end.
    pub owed: Vec<String>,
}

impl Memory {
    /// What is remembered; nothing if there is no note. A note that cannot be read counts as none: all that it costs is one doubt less.
    pub fn load(files: &dyn Files, state: &Path) -> io::Result<Self> {
        let Some(bytes) = files.read(&state.join(NAME))? else { return Ok(Self::default()) };
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, folder = %state.display(), "what was remembered cannot be read, and is forgotten");
            Self::default()
        }))
    }

    /// Notes it, for good.
    pub(crate) fn save(&self, files: &dyn Files, state: &Path) -> io::Result<()> {
        files.create_folders(state)?;
        let (path, draft) = (state.join(NAME), state.join(format!("{NAME}.new")));
        files.write(&draft, &serde_json::to_vec(self)?, 0o600)?;
        files.rename(&draft, &path)?;
        files.sync_folder(state)
    }

    /// Whether another is worth a write: an index that went on is not.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let held = |memory: &Self| -> BTreeSet<String> {
            let held = memory.believed.iter().filter(|(_, believed)| believed.held_something);
            held.map(|(query, _)| query.clone()).collect()
        };
        self.made != other.made || self.owed != other.owed || held(self) != held(other)
    }
}
