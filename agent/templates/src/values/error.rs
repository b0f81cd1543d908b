//! Why values cannot be read. No variant holds a value: it may be secret.

use std::path::PathBuf;

use super::Origin;

/// Why values cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// A file of defaults is not what its name says; the text shows the line.
    #[error("{report}")]
    Syntax {
        /// File, line, column and the line itself.
        report: String,
    },
    /// There are defaults in more than one format.
    #[error("{} and {} are both there: keep one of them", .one.display(), .other.display())]
    TwoDefaults {
        /// The first.
        one: PathBuf,
        /// The second.
        other: PathBuf,
    },
    /// A layer that has to be a map of names is something else.
    #[error("{origin} is {what}, and has to be a map of names to values")]
    NotAMap {
        /// Where it is.
        origin: Origin,
        /// What it is.
        what: &'static str,
    },
    /// A hook printed what is no JSON. What it printed is not shown, for it may be secret.
    #[error(
        "what {origin} printed is no JSON (line {line}, column {column}): print one JSON object and nothing else, logs to stderr"
    )]
    NotJson {
        /// The hook.
        origin: Origin,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// One name is a value and a map of values in the same layer.
    #[error("{one} is a value, and {other} needs it to be a map: remove one of the two")]
    Conflict {
        /// The value.
        one: Origin,
        /// What lies below it.
        other: Origin,
    },
    /// In flat naming two keys end in the same name.
    #[error("{one} and {other} both mean {name:?}, as only the last part of a key counts: rename one of them")]
    SameName {
        /// The first key.
        one: Origin,
        /// The second key.
        other: Origin,
        /// The name.
        name: String,
    },
    /// A key does not hold text.
    #[error("{origin} is no UTF-8 text")]
    NotText {
        /// The key.
        origin: Origin,
    },
    /// An environment variable without `=`.
    #[error("the variable number {number} has no `=`: write NAME=VALUE")]
    NoEquals {
        /// Its place in the list, from 1.
        number: usize,
    },
}
