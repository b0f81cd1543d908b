//! Where everything is, and what names may be used for it.
//!
//! ```text
//! <root>/<service>/<version>/            a package, as it was unpacked; or a link to a path of the Nix store
//! <root>/<service>/current               a link to one of them, by its name alone
//! <root>/<service>/.helium/              what the store keeps for itself:
//!     lock                               held by whoever has this store open
//!     receipts/<version>                 what that version was made of: a folder without one is none of ours, and is left alone
//!     files/<version>                    what files it had when it took its place
//!     history                            the versions that were current, the newest last
//!     journal                            a switch that is under way
//!     staging/<version>/                 a version that is being made ready
//!     trash/<version>/                   one that is being removed
//!     roots/<version>                    what keeps the path of a version in the Nix store, for one that is such a path
//!     downloads/                         what has come of a download so far
//! ```

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::Error;

/// The name of a service or of a version: safe as the name of a folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// The name of the link.
const CURRENT: &str = "current";
/// As long as the last part of a path in the Nix store may be, which may be a version. With the few characters that are put behind it this is a file name still.
const LONGEST: usize = 244;

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+');
        let begins = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        if begins && text.len() <= LONGEST && text.bytes().all(allowed) && text != CURRENT {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::Name { name: text.to_owned() })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl AsRef<Path> for Name {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The folders and files of one service.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    service: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path, service: &Name) -> Self {
        Self { service: root.join(service) }
    }

    pub(crate) fn service(&self) -> &Path {
        &self.service
    }

    pub(crate) fn version(&self, version: &Name) -> PathBuf {
        self.service.join(version)
    }

    pub(crate) fn current(&self) -> PathBuf {
        self.service.join(CURRENT)
    }

    pub(crate) fn own(&self) -> PathBuf {
        self.service.join(".helium")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.own().join("lock")
    }

    pub(crate) fn receipts(&self) -> PathBuf {
        self.own().join("receipts")
    }

    pub(crate) fn receipt(&self, version: &Name) -> PathBuf {
        self.receipts().join(version)
    }

    pub(crate) fn listings(&self) -> PathBuf {
        self.own().join("files")
    }

    pub(crate) fn listing(&self, version: &Name) -> PathBuf {
        self.listings().join(version)
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.own().join("history")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.own().join("journal")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.own().join("staging")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.own().join("trash")
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.own().join("downloads")
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.own().join("roots")
    }

    pub(crate) fn root(&self, version: &Name) -> PathBuf {
        self.roots().join(version)
    }

    /// Where a file or link is made before it takes its place.
    pub(crate) fn new_one(&self) -> PathBuf {
        self.own().join("new")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_safe_as_a_folder_is_a_name() {
        for name in ["web", "1.2.0", "1.0+build-3_x", "0a1b2c3"] {
            assert_eq!(name.parse::<Name>().unwrap().to_string(), name);
        }
        for name in ["", ".", "..", ".helium", "a/b", "current", "-x", "a b", "é", &"x".repeat(245)] {
            assert!(name.parse::<Name>().unwrap_err().to_string().contains("letters"), "{name}");
        }
    }
}
