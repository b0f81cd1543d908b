//! Why something that a person asked of the store was not done.

use helium_crds::{ObjectKey, limits};

use super::manifest::ObjectRef;

/// Why something that a person asked of the store was not done. Nothing was written, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// Consul did not answer, or refused.
    #[error(transparent)]
    Store(#[from] consul_client::Error),
    /// The store has never been used by Helium, and this token may not make it ready.
    #[error("no Helium store at `{root}` yet, and this token may not create one")]
    NotInitialised {
        /// The prefix of all keys.
        root: String,
    },
    /// The store was written by a Helium that this one does not understand.
    #[error("the store at `{root}` has layout {found}; this Helium knows {known}")]
    Layout {
        /// The prefix of all keys.
        root: String,
        /// The layout found.
        found: u32,
        /// The layout that this Helium knows.
        known: u32,
    },
    /// The layout is gone, but records are there: something was lost.
    #[error("the key `{key}` is missing although records are there: something was lost")]
    LayoutLost {
        /// The key of the layout.
        key: String,
    },
    /// Somebody else changed the object between read and write.
    #[error("{} changed while this was being written", list(objects))]
    Conflict {
        /// The objects, where Consul says which.
        objects: Vec<ObjectRef>,
    },
    /// There is no such object.
    #[error("{0} not found")]
    NotFound(ObjectRef),
    /// There is no such revision or version in the history.
    #[error("{object} has no {wanted} in its history; there is {}", if known.is_empty() { "none yet".to_owned() } else { known.join(", ") })]
    NoRevision {
        /// The object.
        object: ObjectRef,
        /// What was asked for: `revision 7`, `version v23`.
        wanted: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The revision has come back since, and has another number now.
    #[error("{object} has no revision {number} any more: its template came back and is revision {now} now; there is {}", known.join(", "))]
    Renumbered {
        /// The object.
        object: ObjectRef,
        /// What was asked for.
        number: u64,
        /// The number that its template has now.
        now: u64,
        /// What there is.
        known: Vec<String>,
    },
    /// `label@hash` fits several revisions.
    #[error("`{wanted}` fits several revisions of {object}: {}; give more digits", fits.join(", "))]
    Ambiguous {
        /// The object.
        object: ObjectRef,
        /// What was asked for: `v23@ab12`.
        wanted: String,
        /// The revisions that it fits, each told apart.
        fits: Vec<String>,
    },
    /// Two counts are for the same revision.
    #[error("`{}` are one revision of {object}; give it one count, or another version: there is {}", named.join("` and `"), known.join(", "))]
    SameVersion {
        /// The object.
        object: ObjectRef,
        /// How the two counts name it.
        named: Vec<String>,
        /// What there is.
        known: Vec<String>,
    },
    /// One object is given two counts.
    #[error("{0} is given twice; give it one count")]
    GivenTwice(ObjectRef),
    /// After the change, the object would not be one that could be applied.
    #[error("{object} would not be valid: {}", problems.join("; "))]
    Invalid {
        /// The object.
        object: ObjectRef,
        /// What would be wrong with it, each with its field.
        problems: Vec<String>,
    },
    /// Counts by version hold what runs, so that a template would be put back and nothing would come of it.
    #[error("{object} is held at counts by version ({counts}), so that no template is rolled out")]
    CountsHeld {
        /// The object.
        object: ObjectRef,
        /// The counts: `v23=1,v24=2`.
        counts: String,
    },
    /// A revision differs from the present one in nothing that a spec says.
    #[error("revision {number} of {object} has the same template; only the values {} below {prefix} were others", values.join(", "))]
    OnlyValues {
        /// The object.
        object: ObjectRef,
        /// The revision.
        number: u64,
        /// What the keys of the values begin with.
        prefix: String,
        /// Their names.
        values: Vec<String>,
    },
    /// The object is on its way out.
    #[error("{0} is being deleted; apply it again once it is gone")]
    Deleting(ObjectRef),
    /// Two Deployments would register the same service in Consul.
    #[error("{object} and deployment/{other} would both be the Consul service `{service}`")]
    ServiceClash {
        /// The object that was to be written.
        object: ObjectRef,
        /// The Deployment that has the name already.
        other: Box<ObjectKey>,
        /// The name.
        service: String,
    },
    /// The Canary asks for exact weights, and whole instances cannot make this one.
    #[error("{object} asks for exactly {requested}%, and {wanted} instance{} can only make {achieved}%", if *wanted == 1 { "" } else { "s" })]
    WeightNotPossible {
        /// The Canary.
        object: ObjectRef,
        /// The weight asked for, in percent.
        requested: u32,
        /// The nearest weight there is, in percent.
        achieved: u32,
        /// How many instances are wanted.
        wanted: u32,
    },
    /// The object is too large: what follows from it would not fit into Consul.
    #[error("{object} is too large: {}", limits::too_large(*size, *limit))]
    TooLarge {
        /// The object.
        object: ObjectRef,
        /// Its size in bytes.
        size: usize,
        /// The most, in bytes.
        limit: usize,
    },
    /// The batch did not fit into one transaction, and stopped in the middle: what came before was written.
    #[error("only {written} of {total} objects were written: {cause}")]
    Partly {
        /// How many objects were written.
        written: usize,
        /// How many there were to write.
        total: usize,
        /// Why it stopped.
        cause: Box<PeopleError>,
    },
    /// The answer to a write was lost, and what is in the store now does not tell what became of it.
    #[error("the answer to the write was lost ({cause}); whether it was done cannot be told")]
    Unknown {
        /// What happened to the answer.
        cause: String,
    },
    /// The rollout is not in a state in which this makes sense.
    #[error("{0}")]
    Refused(String),
    /// A value in the store is not what it should be.
    #[error("the value of `{key}` cannot be read: {why}")]
    Unreadable {
        /// The key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

impl PeopleError {
    /// This as the end of something that takes several transactions, of which those before it wrote so many of all objects.
    pub(super) fn after(self, written: usize, total: usize) -> Self {
        match written {
            0 => self,
            _ => PeopleError::Partly { written, total, cause: Box::new(self) },
        }
    }

    /// True if another try on fresh reads may well succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, PeopleError::Conflict { .. })
    }
}

fn list(objects: &[ObjectRef]) -> String {
    match objects {
        [] => "an object".to_owned(),
        _ => objects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
