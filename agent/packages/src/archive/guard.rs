//! What an archive may hold: a decision about the names, kinds and sizes of its entries, before anything of them is written.
//!
//! Links are allowed, as packages have them, but none that leads out. It is enough to look at the words of a link because of three rules
//! together: no entry goes through a link, so that the folder of each link is a real one; `..` stands only at the start of a link's target,
//! so that it goes up from that real folder and never from where another link leads; and there are no more of them than folders to go up.
//! By example: `a/b/up -> ../../c` stays inside, `up2 -> a/b/up/../..` would not, though its words alone stay inside, and is refused.

use std::{
    collections::{HashMap, HashSet},
    path::{Component, Path, PathBuf},
};

use super::Error;

/// How much a package may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of all its files together; 8 GiB by default.
    pub bytes: u64,
    /// Its entries; 200 000 by default.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 8 << 30, entries: 200_000 }
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A symbolic link to this target.
    Link(PathBuf),
    /// Another name of a file that came before.
    Same(PathBuf),
    /// Anything else, in its own word.
    Other(String),
}

/// What came before, in one archive.
pub struct Guard {
    limits: Limits,
    bytes: u64,
    entries: u64,
    /// What is at each name; a folder that was never named itself is here, too.
    seen: HashMap<PathBuf, What>,
    /// The names without regard to case that are files or links, for file systems that have none.
    folded: HashSet<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    File,
    Folder,
    Link,
}

impl Guard {
    /// A guard at the start of an archive.
    pub fn new(limits: Limits) -> Self {
        Self { limits, bytes: 0, entries: 0, seen: HashMap::new(), folded: HashSet::new() }
    }

    /// Lets an entry pass, as the path that it has in the package; none for the package's own folder.
    pub fn pass(&mut self, name: &Path, kind: &Kind) -> Result<Option<PathBuf>, Error> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::TooLarge { limit: self.limits.entries, of: "entries" });
        }
        if let Kind::Other(kind) = kind {
            return Err(Error::Kind { entry: shown(name), kind: kind.clone() });
        }
        let path = inside(name).map_err(|reason| Error::Escapes { entry: shown(name), reason })?;
        if path.as_os_str().is_empty() {
            let folder = *kind == Kind::Folder;
            return if folder {
                Ok(None)
            } else {
                Err(Error::Escapes { entry: shown(name), reason: "it has no name" })
            };
        }
        self.ways(&path)?;
        let what = self.what(&path, kind)?;
        match self.seen.get(&path) {
            Some(What::Folder) if what == What::Folder => {}
            Some(_) => return Err(Error::Twice { entry: shown(&path) }),
            None => {
                let folded = path.to_string_lossy().to_lowercase();
                if !self.folded.insert(folded) && what != What::Folder {
                    return Err(Error::Twice { entry: shown(&path) });
                }
                self.seen.insert(path.clone(), what);
            }
        }
        Ok(Some(path))
    }

    /// All folders on the way to an entry must be folders.
    fn ways(&mut self, path: &Path) -> Result<(), Error> {
        for way in path.ancestors().skip(1).filter(|way| !way.as_os_str().is_empty()) {
            match self.seen.get(way) {
                Some(What::Folder) => return Ok(()),
                Some(What::Link) => {
                    return Err(Error::Escapes { entry: shown(path), reason: "it goes through a link" });
                }
                Some(What::File) => return Err(Error::Twice { entry: shown(way) }),
                None => {
                    self.folded.insert(way.to_string_lossy().to_lowercase());
                    self.seen.insert(way.to_owned(), What::Folder);
                }
            }
        }
        Ok(())
    }

    fn what(&mut self, path: &Path, kind: &Kind) -> Result<What, Error> {
        let escapes = |reason| Error::Escapes { entry: shown(path), reason };
        match kind {
            Kind::File(size) => {
                self.bytes = self.bytes.saturating_add(*size);
                if self.bytes > self.limits.bytes {
                    return Err(Error::TooLarge { limit: self.limits.bytes, of: "bytes" });
                }
                Ok(What::File)
            }
            Kind::Link(target) => {
                stays(path, target).map_err(escapes)?;
                Ok(What::Link)
            }
            Kind::Same(target) => {
                let target = inside(target).map_err(escapes)?;
                match self.seen.get(&target) {
                    Some(What::File) => Ok(What::File),
                    _ => Err(escapes("it is another name of something that is no file before it")),
                }
            }
            Kind::Folder | Kind::Other(_) => Ok(What::Folder),
        }
    }
}

/// A name as a path inside of the package.
pub(super) fn inside(name: &Path) -> Result<PathBuf, &'static str> {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err("its name has `..`"),
            Component::RootDir | Component::Prefix(_) => return Err("its name is absolute"),
        }
    }
    Ok(path)
}

/// Whether a link at `path` stays inside of the package.
pub(super) fn stays(path: &Path, target: &Path) -> Result<(), &'static str> {
    let mut above = path.components().count().saturating_sub(1);
    let mut down = false;
    for part in target.components() {
        match part {
            Component::ParentDir if down => {
                return Err("its target goes down and up again: write it without the detour");
            }
            Component::ParentDir => above = above.checked_sub(1).ok_or("its target is outside")?,
            Component::Normal(_) => down = true,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return Err("its target is absolute"),
        }
    }
    if target.as_os_str().is_empty() { Err("its target is empty") } else { Ok(()) }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(entries: &[(&str, Kind)]) -> String {
        let mut guard = Guard::new(Limits { bytes: 100, entries: 5 });
        for (name, kind) in entries {
            if let Err(error) = guard.pass(Path::new(name), kind) {
                return error.to_string();
            }
        }
        "passed".to_owned()
    }

    fn link(target: &str) -> Kind {
        Kind::Link(target.into())
    }

    #[test]
    fn what_packages_have_passes() {
        let same = Kind::Same("./a/file".into());
        assert_eq!(
            told(&[("./", Kind::Folder), ("a/file", Kind::File(1)), ("a/", Kind::Folder), ("b", same)]),
            "passed"
        );
        assert_eq!(told(&[("a/b/up", link("../../c")), ("a/l", link("b/up")), ("c/d", Kind::File(1))]), "passed");
    }

    #[test]
    fn no_name_and_no_link_leads_out() {
        let rows = [
            ("/etc/passwd", Kind::File(1)),
            ("a/../../b", Kind::File(1)),
            ("l", link("/etc")),
            ("l", link("..")),
            ("a/l", link("../../x")),
            ("l", link("a/..")),
            ("l", link("")),
            ("h", Kind::Same("../x".into())),
            ("h", Kind::Same("never".into())),
        ];
        for (name, kind) in rows {
            let told = told(&[(name, kind.clone())]);
            assert!(told.contains("leads out of the package"), "{name} {kind:?}: {told}");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link_or_over_another_entry() {
        assert!(told(&[("l", link("d")), ("l/x", Kind::File(1))]).contains("through a link"));
        assert!(told(&[("d", Kind::Folder), ("l", link("d")), ("h", Kind::Same("l".into()))]).contains("no file"));
        for second in [Kind::File(1), link("x"), Kind::Folder] {
            assert!(told(&[("a", link("d")), ("a", second)]).contains("in the way"));
        }
        assert!(told(&[("a", Kind::File(1)), ("a/b", Kind::File(1))]).contains("in the way"));
        assert!(told(&[("Readme", link("d")), ("README", Kind::File(1))]).contains("in the way"), "case is no name");
    }

    #[test]
    fn neither_devices_nor_too_much_pass() {
        assert!(told(&[("null", Kind::Other("character device".to_owned()))]).contains("character device"));
        assert!(told(&[("a", Kind::File(60)), ("b", Kind::File(41))]).contains("more than 100 bytes"));
        assert!(told(&[("a", Kind::File(u64::MAX)), ("b", Kind::File(1))]).contains("100 bytes"));
        let many: Vec<_> = ["1", "2", "3", "4", "5", "6"].map(|name| (name, Kind::Folder)).into();
        assert!(told(&many).contains("more than 5 entries"));
    }
}
