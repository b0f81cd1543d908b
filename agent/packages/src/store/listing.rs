//! What a version was made of, file by file, as it was when it took its place: by it a file that was changed since is told by its name.
//!
//! The digest in a receipt is that of the archive, and says nothing of a folder in which an install hook has worked. So a listing is taken
//! after the hook, and kept beside the receipts.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Error, Name, at, layout::Layout};
use crate::digest::Digest;

/// What stands under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Entry {
    /// A file.
    File {
        sha256: Digest,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
    },
    /// A link.
    Link(PathBuf),
    /// Something that is neither, as a socket.
    Other,
}

/// The files and links of a folder, by their path within it; folders show by what is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Listing(BTreeMap<String, Entry>);

/// How a file differs from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has another content, or leads elsewhere.
    Changed,
    /// It may be executed and was not to be, or the other way round.
    Mode,
    /// It is gone.
    Missing,
    /// It was not there.
    Added,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Changed => "was changed",
            Self::Mode => "has another mode",
            Self::Missing => "is gone",
            Self::Added => "was added",
        })
    }
}

impl Listing {
    /// That of a folder as it is now. Links are not followed.
    ///
    /// # Errors
    /// A file cannot be read; the error names it.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut listing = Self::default();
        listing.collect(folder, Path::new(""))?;
        Ok(listing)
    }

    fn collect(&mut self, folder: &Path, within: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder.join(within))? {
            let entry = entry?;
            let (kind, name, path) = (entry.file_type()?, within.join(entry.file_name()), entry.path());
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            let what = if kind.is_dir() {
                self.collect(folder, &name)?;
                continue;
            } else if kind.is_symlink() {
                Entry::Link(fs::read_link(&path).map_err(named)?)
            } else if kind.is_file() {
                let sha256 = File::open(&path).and_then(Digest::of_stream).map_err(named)?;
                Entry::File { sha256, executable: entry.metadata()?.permissions().mode() & 0o111 != 0 }
            } else {
                Entry::Other
            };
            self.0.insert(name.to_string_lossy().into_owned(), what);
        }
        Ok(())
    }

    /// How many files and links there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What has become of this by `now`, by name.
    pub fn changes(&self, now: &Self) -> Vec<(String, Change)> {
        let gone = self.0.iter().filter_map(|(name, old)| {
            let change = match (old, now.0.get(name)) {
                (_, None) => Change::Missing,
                (old, Some(new)) if old == new => return None,
                (Entry::File { sha256: old, .. }, Some(Entry::File { sha256: new, .. })) if old == new => Change::Mode,
                _ => Change::Changed,
            };
            Some((name.clone(), change))
        });
        let added = now.0.keys().filter(|name| !self.0.contains_key(*name)).map(|name| (name.clone(), Change::Added));
        let mut all: Vec<(String, Change)> = gone.chain(added).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}

/// What was found of an installed version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The service.
    pub service: Name,
    /// The version.
    pub version: Name,
    /// Its folder.
    pub folder: PathBuf,
    /// What is not as it was; none if it was installed when no listings were kept yet.
    pub changes: Option<Vec<(String, Change)>>,
}

/// Compares every installed version below `root`, or those of one service, with what it was when it was installed. It reads alone and needs no
/// lock, so it may run beside an agent; a version that is removed meanwhile may show as one with files that are gone.
///
/// # Errors
/// Something cannot be read.
pub fn check(root: &Path, only: Option<&Name>) -> Result<Vec<Checked>, Error> {
    let mut all = Vec::new();
    for service in names(root)?.into_iter().filter(|service| only.is_none_or(|only| only == service)) {
        let layout = Layout::new(root, &service);
        for version in names(&layout.receipts())? {
            let folder = layout.version(&version);
            if !folder.is_dir() {
                continue;
            }
            let changes = match load(&layout.listing(&version))? {
                Some(before) => Some(before.changes(&Listing::of(&folder).map_err(at("read", &folder))?)),
                None => None,
            };
            all.push(Checked { service: service.clone(), version, folder, changes });
        }
    }
    Ok(all)
}

fn load(path: &Path) -> Result<Option<Listing>, Error> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Garbled { path: path.to_owned(), reason: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("read", path)(error)),
    }
}

fn names(folder: &Path) -> Result<Vec<Name>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at("list", folder)(error)),
    };
    let names: io::Result<Vec<_>> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let names = names.map_err(at("list", folder))?;
    let mut names: Vec<Name> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_change_is_told_by_the_name_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for name in ["bin/run", "conf", "gone", "mode"] {
            write(name, name);
        }
        std::os::unix::fs::symlink("conf", folder.path().join("link")).unwrap();
        let before = Listing::of(folder.path()).unwrap();
        assert!(before.changes(&Listing::of(folder.path()).unwrap()).is_empty());
        let text = serde_json::to_string(&before).unwrap();
        assert_eq!(serde_json::from_str::<Listing>(&text).unwrap(), before);

        write("bin/run", "something else");
        write("new/file", "");
        fs::remove_file(folder.path().join("gone")).unwrap();
        fs::set_permissions(folder.path().join("mode"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let said: Vec<String> = before
            .changes(&Listing::of(folder.path()).unwrap())
            .into_iter()
            .map(|(name, change)| format!("{name} {change}"))
            .collect();
        let wanted =
            ["bin/run was changed", "gone is gone", "link was changed", "mode has another mode", "new/file was added"];
        assert_eq!(said, wanted);
    }
}
