//! Why the store cannot do something.

use std::{io, path::PathBuf};

use super::Name;

/// Why the store cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name cannot be that of a folder.
    #[error(
        "`{name}` is no name of a service or a version: letters, digits and `._+-`, at most 244, a letter or digit first, and not `current`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Another process has it open.
    #[error("the packages of {service} are in use by another process, which holds {}", path.display())]
    Busy {
        /// Of which service.
        service: Name,
        /// The lock.
        path: PathBuf,
    },
    /// `current` leads somewhere else than to a version.
    #[error("{} leads to {}, which is no version here: remove it, or let it lead to one", path.display(), target.display())]
    Foreign {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// There is no such version.
    #[error("version {version} of {service} is not on this machine")]
    Absent {
        /// Of which service.
        service: Name,
        /// Which.
        version: Name,
    },
    /// The place of a version is taken by something that was not installed.
    #[error("{} is there already: move it away, or give the package another version", path.display())]
    Taken {
        /// The place.
        path: PathBuf,
    },
    /// A file of the store makes no sense.
    #[error("{} cannot be understood: {reason}", path.display())]
    Garbled {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The disk does not do what it is asked.
    #[error("cannot {verb} {}: {source}", path.display())]
    Disk {
        /// What.
        verb: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
