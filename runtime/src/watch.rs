//! The watch of one prefix as a pure machine: what each answer of the store means, and what to ask next.
//!
//! Consul has no event stream. A watch is a loop of long polls that return the whole prefix, and each answer can be a
//! trap: an empty list may be a lost right, an index may fall, a poll may return without a change, or hang on an index
//! that will not come. The machine knows nothing of rows, sockets or time zones; it is told what an answer looked like and
//! says what to make of it:
//!
//! | state, answer | events | next |
//! |---|---|---|
//! | any, page or 404 without the sentinel | `Blind(MissingSentinel)` | list, after a backoff |
//! | any, denied or filtered by ACLs | `Blind(Denied)` | list, after a backoff |
//! | listing, page at i >= 1 | `Snapshot` | follow i |
//! | following n, page at n | `Alive` | after a poll look at the sentinel; follow n |
//! | following n, page at i > n | `Snapshot` | follow i, by the token bucket |
//! | following n, page at i >= n lacking many rows, or with changes of before n | `Suspicious` | list |
//! | the same, from a list | `Snapshot`, for changes of before n after `Missed` and `Reset` | follow i |
//! | following n, page at i < n | `Reset`, `Blind(IndexReset)` | list at once, then after a backoff |
//! | any, no leader, or a last contact too long ago | `Failed(Stale)` | the same, after a backoff |
//! | any, transport or timeout | `Failed` | the same, after a backoff |
//!
//! Four things go beyond "resume at the index". A *list* asks a quorum (`?consistent`), so that what replaces a cache is
//! never the answer of a paused ex-leader; that is also how a mass loss is confirmed. After a failure the first question
//! does not block: a server that came back with older data answers with a lower index at once, where a poll on the higher
//! one would hang until its `wait` ends. For the same reason `wait` is at most [`MAX_WAIT`]. And from time to time a
//! *check* lists without need; if it finds a change that no poll has shown, that is counted and applied. Such changes also
//! betray an older state that was restored and then written to until its index had caught up with ours.
//!
//! And one thing more: Consul resolves a token when a poll begins, and a list without rights has the same index as one with
//! rights. So a poll that ended without a change is followed by a look at the sentinel alone, which is refused at once if
//! the rights are gone; else that would take two polls to notice.

use std::time::Duration;

use crate::{
    backoff::ceiling_after,
    snapshot::{BlindReason, Difference},
};

/// The longest `wait` of a poll: how long a restored older state may stay unseen. Some 1.22 releases cut polls at 30 s.
pub const MAX_WAIT: Duration = Duration::from_secs(25);

/// The numbers of a watch.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long a poll waits for a change; more than [`MAX_WAIT`] is cut to it.
    pub wait: Duration,
    /// The shortest time between two snapshots once a burst of two is used up.
    pub min_interval: Duration,
    /// What that time grows to while changes go on without a break.
    pub max_interval: Duration,
    /// The first ceiling of the backoff after a failure.
    pub retry_base: Duration,
    /// The last ceiling of the backoff after a failure.
    pub retry_cap: Duration,
    /// The last ceiling of the backoff while blind for want of rights or of the sentinel.
    pub blind_cap: Duration,
    /// How long after the first of a row of failures the view turns blind; also the oldest `last_contact` accepted.
    pub max_stale: Duration,
    /// How often to list without need.
    pub check_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            wait: MAX_WAIT,
            min_interval: Duration::from_millis(250),
            max_interval: Duration::from_secs(1),
            retry_base: Duration::from_millis(800),
            retry_cap: Duration::from_secs(10),
            blind_cap: Duration::from_secs(5),
            max_stale: Duration::from_secs(10),
            check_every: Duration::from_mins(10),
        }
    }
}

/// What an answer of the store looked like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A list of rows.
    Page(Page),
    /// The sentinel alone: it is there.
    Sentinel,
    /// No key at all under the prefix, or no sentinel.
    NotFound {
        /// The index that came with it.
        index: u64,
    },
    /// The token has no right to it.
    Denied,
    /// No answer came, or one that says nothing.
    Failed(Failure),
}

/// A list of rows, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The index of the answer; 0 if there was none.
    pub index: u64,
    /// Whether the sentinel was among the rows.
    pub sentinel: bool,
    /// Whether the answering server knew a leader.
    pub known_leader: bool,
    /// How long ago that server had heard of it.
    pub last_contact: Duration,
    /// Whether rows were left out for want of rights.
    pub filtered_by_acls: bool,
    /// How the rows differ from those of the last snapshot.
    pub difference: Difference,
}

/// Why an answer says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The connection failed.
    Transport,
    /// The deadline passed.
    Timeout,
    /// The server has no leader, or has not heard of it for too long.
    Stale,
    /// Any other error of the server.
    Server,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The page is the new snapshot, and may be trusted.
    Snapshot,
    /// Nothing changed; the snapshot may be trusted.
    Alive,
    /// The snapshot may not be trusted any more. Its rows stay as they were.
    Blind(BlindReason),
    /// The index went back.
    Reset {
        /// The index followed.
        from: u64,
        /// The index that came.
        to: u64,
    },
    /// The page lacks so many rows, or differs in rows that should have been seen before, that a quorum is asked before it is
    /// believed.
    Suspicious(Difference),
    /// A list found this many changes that no poll had shown when they were made.
    Missed(usize),
    /// The answer says nothing; to be counted.
    Failed(Failure),
}

/// What to ask the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// All rows at once, confirmed by a quorum.
    List,
    /// All rows at once.
    Probe,
    /// The sentinel alone, at once.
    Sentinel,
    /// All rows once the index has passed `index`, or after `wait`.
    Follow {
        /// The index of the last page.
        index: u64,
        /// How long to wait.
        wait: Duration,
    },
}

/// How long to wait before asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Not at all.
    None,
    /// This long: the token bucket is empty.
    Exactly(Duration),
    /// Anything evenly between nothing and this long.
    UpTo(Duration),
}

/// What one answer leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it means, in order.
    pub events: Vec<WatchEvent>,
    /// How long to wait then.
    pub pause: Pause,
    /// What to ask then.
    pub ask: Ask,
}

/// Where a watch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchState {
    /// It needs a full list.
    Listing,
    /// It has a snapshot of this index.
    Following {
        /// The index.
        index: u64,
    },
}

/// The machine.
#[derive(Clone, Debug)]
pub struct WatchMachine {
    pace: Pace,
    state: WatchState,
    /// The index of the last snapshot, kept while blind.
    seen: u64,
    bucket: Bucket,
    asked: Ask,
    failures: u32,
    failing_since: Option<Duration>,
    blind_answers: u32,
    resets_in_a_row: u32,
    check_at: Duration,
}

impl WatchMachine {
    /// A watch that has read nothing. Its first check is due at `check_at` on the clock whose times [`Self::step`] is given.
    pub fn new(pace: Pace, check_at: Duration) -> Self {
        let pace = Pace { wait: pace.wait.min(MAX_WAIT), ..pace };
        Self {
            bucket: Bucket::new(pace.min_interval, pace.max_interval),
            pace,
            state: WatchState::Listing,
            seen: 0,
            asked: Ask::List,
            failures: 0,
            failing_since: None,
            blind_answers: 0,
            resets_in_a_row: 0,
            check_at,
        }
    }

    /// What to ask now.
    pub fn ask(&self) -> Ask {
        self.asked
    }

    /// Where the watch stands.
    pub fn state(&self) -> WatchState {
        self.state
    }

    /// Takes the answer to [`Self::ask`] that came at `now`, on a clock that never goes back.
    pub fn step(&mut self, answer: &Answer, now: Duration) -> Step {
        let step = match answer {
            Answer::Failed(failure) => self.failed(*failure, now),
            Answer::Denied => self.blind(BlindReason::Denied),
            Answer::NotFound { .. } => self.blind(BlindReason::MissingSentinel),
            Answer::Sentinel => self.sentinel(),
            Answer::Page(page) => self.page(page, now),
        };
        self.asked = step.ask;
        step
    }

    /// Puts the next check off until `at`; to be called once it was asked for.
    pub fn check_again_at(&mut self, at: Duration) {
        self.check_at = at;
    }

    /// Whether a check is due at `now`; if so, it is what [`Self::ask`] now says.
    pub fn check_if_due(&mut self, now: Duration) -> bool {
        let due = now >= self.check_at && matches!(self.state, WatchState::Following { .. });
        if due {
            self.asked = Ask::List;
        }
        due
    }

    fn page(&mut self, page: &Page, now: Duration) -> Step {
        if !page.known_leader || page.last_contact > self.pace.max_stale {
            return self.failed(Failure::Stale, now);
        }
        if page.filtered_by_acls {
            return self.blind(BlindReason::Denied);
        }
        if !page.sentinel {
            return self.blind(BlindReason::MissingSentinel);
        }
        self.failures = 0;
        self.failing_since = None;
        self.blind_answers = 0;
        match self.state {
            WatchState::Listing if page.index == 0 => self.reset(0, 0),
            WatchState::Listing => self.snapshot(page, now, Vec::new()),
            WatchState::Following { index } if page.index < index => self.reset(index, page.index),
            WatchState::Following { index } => self.followed(index, page, now),
        }
    }

    /// The sentinel is there, and says no more than that.
    fn sentinel(&mut self) -> Step {
        self.failures = 0;
        self.failing_since = None;
        let ask = match self.state {
            WatchState::Listing => Ask::List,
            WatchState::Following { index } => self.follow(index),
        };
        Step { events: Vec::new(), pause: Pause::None, ask }
    }

    /// A good page whose index is at least the one followed.
    fn followed(&mut self, index: u64, page: &Page, now: Duration) -> Step {
        let confirmed = self.asked == Ask::List;
        let missed = page.difference.missed;
        if (missed > 0 || page.difference.is_mass_loss()) && !confirmed {
            let events = vec![WatchEvent::Suspicious(page.difference)];
            return Step { events, pause: Pause::None, ask: Ask::List };
        }
        if missed > 0 {
            let reset = WatchEvent::Reset { from: index, to: page.index };
            return self.snapshot(page, now, vec![WatchEvent::Missed(missed), reset]);
        }
        if page.index == index {
            self.resets_in_a_row = 0;
            let polled = matches!(self.asked, Ask::Follow { .. });
            let ask = if polled { Ask::Sentinel } else { self.follow(index) };
            return Step { events: vec![WatchEvent::Alive], pause: Pause::None, ask };
        }
        self.snapshot(page, now, Vec::new())
    }

    fn snapshot(&mut self, page: &Page, now: Duration, mut events: Vec<WatchEvent>) -> Step {
        match self.state {
            WatchState::Following { .. } => self.resets_in_a_row = 0,
            // An older state was restored while the watch was blind.
            WatchState::Listing if page.index < self.seen => {
                events.push(WatchEvent::Reset { from: self.seen, to: page.index });
            }
            WatchState::Listing => {}
        }
        self.state = WatchState::Following { index: page.index };
        self.seen = page.index;
        events.push(WatchEvent::Snapshot);
        let pause = match self.bucket.take(now) {
            Duration::ZERO => Pause::None,
            wait => Pause::Exactly(wait),
        };
        Step { events, pause, ask: self.follow(page.index) }
    }

    fn reset(&mut self, from: u64, to: u64) -> Step {
        self.state = WatchState::Listing;
        self.seen = to;
        let pause = self.retry(self.resets_in_a_row, self.pace.retry_cap);
        self.resets_in_a_row = self.resets_in_a_row.saturating_add(1);
        let events = vec![WatchEvent::Reset { from, to }, WatchEvent::Blind(BlindReason::IndexReset)];
        Step { events, pause, ask: Ask::List }
    }

    fn blind(&mut self, reason: BlindReason) -> Step {
        self.state = WatchState::Listing;
        self.failures = 0;
        self.failing_since = None;
        self.blind_answers = self.blind_answers.saturating_add(1);
        let pause = self.retry(self.blind_answers, self.pace.blind_cap);
        Step { events: vec![WatchEvent::Blind(reason)], pause, ask: Ask::List }
    }

    fn failed(&mut self, failure: Failure, now: Duration) -> Step {
        let since = *self.failing_since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        let mut events = vec![WatchEvent::Failed(failure)];
        if now.saturating_sub(since) >= self.pace.max_stale {
            events.push(WatchEvent::Blind(BlindReason::Unreachable));
        }
        let ask = match (self.state, self.asked) {
            (WatchState::Listing, _) | (_, Ask::List) => Ask::List,
            (WatchState::Following { .. }, _) => Ask::Probe,
        };
        Step { events, pause: self.retry(self.failures, self.pace.retry_cap), ask }
    }

    fn retry(&self, times: u32, cap: Duration) -> Pause {
        match ceiling_after(times, self.pace.retry_base, cap) {
            Duration::ZERO => Pause::None,
            ceiling => Pause::UpTo(ceiling),
        }
    }

    fn follow(&self, index: u64) -> Ask {
        Ask::Follow { index, wait: self.pace.wait }
    }
}

/// A token bucket with a burst of two, whose refill slows down while it is asked for more than it has.
#[derive(Clone, Debug)]
struct Bucket {
    min_interval: Duration,
    max_interval: Duration,
    interval: Duration,
    /// When the bucket is, or was, full again.
    full_at: Duration,
}

/// How many snapshots may follow one another without a pause.
const BURST: u32 = 2;

impl Bucket {
    fn new(min_interval: Duration, max_interval: Duration) -> Self {
        let max_interval = max_interval.max(min_interval);
        Self { min_interval, max_interval, interval: min_interval, full_at: Duration::ZERO }
    }

    /// Takes a token at `now` and says how long to wait until the next one can be had.
    ///
    /// With 250 ms, from full: the first two takes in one instant wait 0 and 250 ms.
    fn take(&mut self, now: Duration) -> Duration {
        if now >= self.full_at {
            self.interval = self.min_interval;
        }
        self.full_at = self.full_at.max(now) + self.interval;
        // One token is there again when the bucket is no more than BURST - 1 refills from full.
        let wait = self.full_at.saturating_sub(self.interval * (BURST - 1)).saturating_sub(now);
        if !wait.is_zero() {
            self.interval = (self.interval * 2).min(self.max_interval);
        }
        wait
    }
}

#[cfg(test)]
mod tests;
