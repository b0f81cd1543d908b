//! Archives: read with guards ([`read`]), written so that the same folder always gives the same bytes ([`mod@write`]).

use std::{
    io,
    path::{Path, PathBuf},
};

pub mod guard;
pub mod read;
pub mod write;

pub use guard::Limits;
pub use read::Inspected;

use crate::source::Form;

/// Looks through a package of this machine, an archive or a folder.
pub fn inspect(package: &Path, limits: Limits) -> Result<Inspected, Error> {
    if package.is_dir() {
        return write::inspect(package);
    }
    match Form::of_name(&package.to_string_lossy()) {
        Some(form) => read::inspect(package, form, limits),
        None => {
            Err(Error::Unfit { path: package.to_owned(), reason: "its name ends in neither `.tar.gz` nor `.tar.zst`" })
        }
    }
}

/// Why an archive is not taken, or not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry would end up outside of the folder that the archive is unpacked to.
    #[error("the entry `{entry}` leads out of the package: {reason}")]
    Escapes {
        /// The name of the entry.
        entry: String,
        /// How.
        reason: &'static str,
    },
    /// An entry is neither a file, nor a folder, nor a link.
    #[error("the entry `{entry}` is a {kind}: a package holds files, folders and links alone")]
    Kind {
        /// The name of the entry.
        entry: String,
        /// What it is.
        kind: String,
    },
    /// Two entries have one name.
    #[error("the entry `{entry}` is in the way of another one of its name")]
    Twice {
        /// The name of the entry.
        entry: String,
    },
    /// The archive holds too much.
    #[error("the package is too large: it holds more than {limit} {of}")]
    TooLarge {
        /// How much it may be.
        limit: u64,
        /// Of what.
        of: &'static str,
    },
    /// The archive is not one, or is cut short.
    #[error("the archive cannot be read: {0}")]
    Unread(#[source] io::Error),
    /// A file of this machine cannot be read or written.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the package says of itself cannot be read.
    #[error("the package's manifest: {0}")]
    Manifest(#[from] crate::manifest::Error),
    /// A folder is no package.
    #[error("{} is not for a package: {reason}", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

/// An error of the disk at `path`.
fn disk(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Disk { path: path.to_owned(), source }
}
