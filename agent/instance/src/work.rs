//! Work beside the process of an instance: what comes before a start, and the hooks around it.
//!
//! There is one at a time, done by a task of its own, and nothing waits for it but the next step of the same instance. Its end is noted in the
//! record before anything follows from it; a crash in the middle means that it is done again, so every hook may run twice.

use std::collections::BTreeSet;

use helium_crds::instance::InstancePhase;

use super::machine::{Facts, Step};
use crate::{checks::PackageCheck, hooks::Hook};

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The package is brought, its templates are rendered, and the hooks `init` and `pre-start` run.
    Prepare,
    /// The files of the running instance are made again, and it is told if they have changed.
    Refresh,
    /// The hook `post-start`.
    PostStart,
    /// The hook `drain`.
    Drain,
    /// The hook `pre-stop`.
    PreStop,
    /// The hook `post-stop`.
    PostStop,
}

impl Work {
    /// The hook that it is, if it is one.
    pub fn hook(self) -> Option<Hook> {
        match self {
            Work::Prepare | Work::Refresh => None,
            Work::PostStart => Some(Hook::PostStart),
            Work::Drain => Some(Hook::Drain),
            Work::PreStop => Some(Hook::PreStop),
            Work::PostStop => Some(Hook::PostStop),
        }
    }
}

/// Why work was in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong, in one line.
    pub words: String,
    /// More of it than fits in a line, for the log of the instance.
    pub details: Option<String>,
    /// Whether it may be gone by itself in a moment.
    pub may_heal: bool,
    /// What it is of.
    pub part: Part,
}

/// What trouble is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// The package could not be brought into place.
    Package,
    /// The files of the instance could not be made.
    Config,
    /// The package is in place and the files are made, and what comes after was in vain: a hook, or telling the process.
    After {
        /// The files are those of before, since they could not be made anew.
        behind: bool,
    },
    /// Something else, which says nothing of the package or the files.
    #[default]
    Other,
}

impl Trouble {
    /// Trouble that may be gone in a moment.
    pub fn may_heal(words: impl Into<String>) -> Self {
        Self { words: words.into(), details: None, may_heal: true, part: Part::Other }
    }

    /// Trouble that somebody has to mend.
    pub fn lasting(words: impl Into<String>) -> Self {
        Self { words: words.into(), details: None, may_heal: false, part: Part::Other }
    }

    /// The same, of a part.
    #[must_use]
    pub fn of(self, part: Part) -> Self {
        Self { part, ..self }
    }

    /// The same with more of it for the log.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self { details: Some(details.into()), ..self }
    }
}

/// What has become of work.
pub type Outcome = Result<Prepared, Trouble>;

/// What a preparation has found in the package; other work finds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// The hooks that it has.
    pub hooks: BTreeSet<Hook>,
    /// The checks that it brings.
    pub checks: Vec<PackageCheck>,
    /// Why the files of before are used, if they are.
    pub behind: Option<String>,
}

/// What is being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Working {
    /// Nothing.
    Nothing,
    /// This; a preparation tells how far it is.
    Busy(Work, Option<InstancePhase>),
    /// This has ended and is not noted yet.
    Done(Work, Outcome),
}

/// Ends whatever is being done that is none of these.
pub(super) fn cancel_unless(facts: &Facts<'_>, wanted: &[Work]) -> Option<Step> {
    match facts.work {
        Working::Busy(work, _) if !wanted.contains(work) => Some(Step::CancelWork),
        _ => None,
    }
}

/// Begins work, or waits for it if it is being done.
pub(super) fn work_on(facts: &Facts<'_>, work: Work) -> Step {
    match facts.work {
        Working::Busy(busy, Some(progress)) if *busy == work && *progress != facts.record.phase => {
            Step::NoteProgress(*progress)
        }
        Working::Busy(busy, _) if *busy == work => Step::Rest(None),
        Working::Busy(..) => Step::CancelWork,
        Working::Nothing | Working::Done(..) => Step::Begin(work),
    }
}
