//! How many requests there were, by sort: what a fleet of many objects costs is compared by that, and not by time.

use http::StatusCode;

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A long poll.
    LongPoll,
    /// A read of the health of one service.
    Health,
    /// Any other read.
    Read,
    /// A write of so many keys.
    Write(usize),
    /// Anything else that is told: heartbeats, sessions, registrations.
    Told,
}

/// The requests of somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Long polls.
    pub long_polls: u64,
    /// Reads of the health of one service.
    pub health: u64,
    /// All other reads.
    pub reads: u64,
    /// Writes of keys.
    pub writes: u64,
    /// What else was told: heartbeats, sessions, registrations.
    pub told: u64,
    /// The most operations in one of the writes.
    pub most_ops: usize,
    /// Those that were refused for their size.
    pub too_large: u64,
}

impl Tally {
    /// How many of each sort there were since then; the most operations are those of all time.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            long_polls: self.long_polls - before.long_polls,
            health: self.health - before.health,
            reads: self.reads - before.reads,
            writes: self.writes - before.writes,
            told: self.told - before.told,
            most_ops: self.most_ops,
            too_large: self.too_large - before.too_large,
        }
    }

    /// Counts a request, and what was answered.
    pub(crate) fn count(&mut self, sort: Sort, answer: Option<StatusCode>) {
        match sort {
            Sort::LongPoll => self.long_polls += 1,
            Sort::Health => self.health += 1,
            Sort::Read => self.reads += 1,
            Sort::Told => self.told += 1,
            Sort::Write(ops) => {
                self.writes += 1;
                self.most_ops = self.most_ops.max(ops);
            }
        }
        self.too_large += u64::from(answer == Some(StatusCode::PAYLOAD_TOO_LARGE));
    }
}
