//! All that is remembered of one profile: what is under way, what was found good, and what is not to be taken.
//!
//! It is one JSON file, replaced by a rename after the new one has reached the disk. Nix itself knows only which generation came after which,
//! and not which of them ever worked.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// So many good paths, and so many refused ones, are remembered: the newest.
const KEPT: usize = 16;
/// The version of the file's form.
const VERSION: u32 = 1;

/// A generation of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number, from 1 on.
    pub number: u64,
    /// The store path that it leads to.
    pub path: String,
}

/// A store path that Hydra has built, or that was found in the profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The store path.
    pub path: String,
    /// The number of Hydra's build, if it is one of Hydra's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<u64>,
    /// The number of the evaluation that it is of, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<u64>,
}

impl From<helium_hydra::Built> for Target {
    fn from(built: helium_hydra::Built) -> Self {
        Self { path: built.path, build: Some(built.build), evaluation: built.evaluation }
    }
}

/// How an attempt came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// Hydra has a new build.
    Forward,
    /// What was there before is to be there again.
    Back,
    /// The profile is there already, and is to be activated.
    Here,
}

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What is to be in the profile, and active.
    pub target: Target,
    /// How it came about.
    pub way: Way,
    /// How often its activation has failed so far.
    #[serde(default)]
    pub failures: u32,
    /// No activation before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// How the last activation failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
}

/// A store path whose activation has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    /// Which.
    #[serde(flatten)]
    pub target: Target,
    /// The generation that it was activated as.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
}

/// Why a store path is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// Its activation has failed.
    Failed,
    /// A person has gone away from it.
    Left,
}

/// A store path that is not taken until a person asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which.
    #[serde(flatten)]
    pub target: Target,
    /// Why.
    pub why: Why,
    /// The same in words.
    pub words: String,
    /// Since when.
    pub at: Timestamp,
}

/// Where the profile came to rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// At which generation.
    #[serde(flatten)]
    pub generation: Generation,
    /// Whether its activation has succeeded.
    pub well: bool,
}

/// All that is remembered of one profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Where the profile came to rest the last time. A profile that is elsewhere has been set by somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// What was found good, each path once, the newest last.
    #[serde(default)]
    pub good: Vec<Good>,
    /// What is not taken, each path once, the newest last.
    #[serde(default)]
    pub refused: Vec<Refused>,
    /// The id of the last request of a person that was dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
}

/// The file's form.
#[derive(Serialize, Deserialize)]
struct Form<R> {
    version: u32,
    #[serde(flatten)]
    record: R,
}

impl Record {
    /// Why a path is not taken; none if it may be.
    pub fn refusal(&self, path: &str) -> Option<&Refused> {
        self.refused.iter().find(|refused| refused.target.path == path)
    }

    /// The newest good path to go back to from `path`.
    pub fn way_back(&self, path: &str) -> Option<&Good> {
        self.good.iter().rev().find(|good| good.target.path != path && self.refusal(&good.target.path).is_none())
    }

    /// Lets a path be taken again, whatever is said against it; where the profile is at it and it is not well, it is activated again.
    pub(crate) fn allow(&mut self, path: &str) {
        self.refused.retain(|refused| refused.target.path != path);
        self.settled = self.settled.take().filter(|settled| settled.well || settled.generation.path != path);
    }

    pub(crate) fn add_good(&mut self, good: Good) {
        self.refused.retain(|refused| refused.target.path != good.target.path);
        self.good.retain(|other| other.target.path != good.target.path);
        self.good.push(good);
        shorten(&mut self.good);
    }

    pub(crate) fn refuse(&mut self, refused: Refused) {
        self.refused.retain(|other| other.target.path != refused.target.path);
        self.refused.push(refused);
        shorten(&mut self.refused);
    }

    /// Reads the file; a profile that has none is new.
    ///
    /// # Errors
    /// It cannot be read, is no such file, or is of a later program.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let bytes = match fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(disk(file)(source)),
        };
        let form: Form<Self> = serde_json::from_slice(&bytes)
            .map_err(|error| Error::NoRecord { file: file.to_owned(), reason: error.to_string() })?;
        if form.version != VERSION {
            return Err(Error::Version { file: file.to_owned(), version: form.version });
        }
        Ok(form.record)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written; then the one that was there is whole.
    pub fn store(&self, file: &Path) -> Result<(), Error> {
        replace(file, &Form { version: VERSION, record: self })
    }
}

fn shorten<T>(list: &mut Vec<T>) {
    list.drain(..list.len().saturating_sub(KEPT));
}

/// Replaces a JSON file: whoever reads it, and whenever the power goes, it is the old one or the new one.
pub(crate) fn replace(file: &Path, content: &impl Serialize) -> Result<(), Error> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fresh = beside(file, ".fresh");
    let write = || {
        fs::create_dir_all(folder)?;
        let mut opened = File::create(&fresh)?;
        opened.write_all(&serde_json::to_vec_pretty(content)?)?;
        opened.write_all(b"\n")?;
        opened.sync_all()?;
        fs::rename(&fresh, file)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(disk(file))
}

/// The file of the same name with `ending` behind it.
pub(crate) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

pub(crate) fn disk(file: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Disk { file: file.to_owned(), source }
}

/// A file of ours cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written.
    #[error("{}: {source}", file.display())]
    Disk {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} is no state of a profile ({reason}): name another file, or move this one away to begin anew", file.display())]
    NoRecord {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// A later program has written it.
    #[error("{} is of version {version}, and this program knows version {VERSION}", file.display())]
    Version {
        /// Which.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(path: &str, generation: u64) -> Good {
        let target = Target { path: path.to_owned(), build: Some(generation), evaluation: None };
        Good { target, generation, at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn the_way_back_is_the_newest_other_good_path_that_is_not_refused() {
        let mut record = Record::default();
        for (number, path) in (1..).zip(["a", "b", "c"]) {
            record.add_good(good(path, number));
        }
        let back = |record: &Record, from: &str| record.way_back(from).map(|good| good.target.path.clone());
        assert_eq!(back(&record, "c").as_deref(), Some("b"));
        assert_eq!(back(&record, "d").as_deref(), Some("c"));
        let target = record.good[1].target.clone();
        record.refuse(Refused { target, why: Why::Left, words: String::new(), at: Timestamp::UNIX_EPOCH });
        assert_eq!(back(&record, "c").as_deref(), Some("a"));
        record.add_good(good("b", 4));
        assert_eq!((back(&record, "c").as_deref(), record.good.len()), (Some("b"), 3));
    }

    #[test]
    fn a_record_is_kept_as_it_was_and_what_is_none_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/p.hail.json");
        assert_eq!(Record::load(&file).unwrap(), Record::default());
        let mut record = Record::default();
        (0..20).for_each(|number| record.add_good(good(&number.to_string(), number)));
        record.store(&file).unwrap();
        assert_eq!(Record::load(&file).unwrap(), record);
        assert_eq!((record.good.len(), record.good[0].generation), (16, 4));
        fs::write(&file, "[]").unwrap();
        assert!(Record::load(&file).unwrap_err().to_string().contains("is no state of a profile"));
        fs::write(&file, "{\"version\": 9}").unwrap();
        assert!(Record::load(&file).unwrap_err().to_string().contains("version 9"));
    }
}
