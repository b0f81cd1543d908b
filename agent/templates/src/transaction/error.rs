//! Why a set of files was not put in place, and what stands instead.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a set of files was not put in place. Except for [`TransactionError::Torn`] the old set stands.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// A file cannot be read, written or renamed.
    #[error("{}: cannot {what}: {source}; the old files stand", .path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Two templates make the same file.
    #[error("two templates make {}: give one of them another name", .path.display())]
    SameTarget {
        /// The file.
        path: PathBuf,
    },
    /// A target is no place for a file.
    #[error("{}: {why}", .path.display())]
    BadTarget {
        /// The target.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The check refused the new files.
    #[error("the check refused the new files, the old ones stand: {0}")]
    Refused(String),
    /// Some files are new and some are old, and neither way could be gone to its end; the next start goes it.
    #[error("{}: cannot {what}: {source}; some files are new and some are old until this is tried again", .path.display())]
    Torn {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Says of an error what was to be done with which file.
pub(super) fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> TransactionError + 'a {
    move |source| TransactionError::Io { what, path: path.to_owned(), source }
}

impl TransactionError {
    /// The same, when the old set could not be brought back.
    pub(super) fn torn(self) -> Self {
        match self {
            Self::Io { what, path, source } => Self::Torn { what, path, source },
            other => other,
        }
    }
}
