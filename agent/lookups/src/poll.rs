//! What becomes of the answers to one query, as a pure machine: which index to wait behind, what to believe, and how long to pause.
//!
//! An index that goes back means another state of the store: it is asked again at once and from the beginning, and what it shows is judged by
//! the [`Guard`]. After a failure the first question does not block either, since Consul may have come back as it was long ago. What is
//! doubted is looked at again when it would be believed.

use std::{sync::Arc, time::Duration};

use helium_runtime::{backoff, ports::Ports};
use helium_templates::guard::{Believed, Doubt, Guard, Sight, Verdict};

use crate::answers::Data;

/// The longest that Consul is asked to wait. Consul adds a sixteenth of it; and a poll that nobody wants any more stays until then.
pub(crate) const WAIT: Duration = Duration::from_secs(25);
/// The shortest: a doubt that ends at once is not asked for in a circle.
const SHORTEST: Duration = Duration::from_millis(100);
/// The least time from one question to the next: a folder in which somebody writes without end is read fifty times a second.
const SPACING: Duration = Duration::from_millis(20);
/// The same where answers come at once and say nothing new: Consul wakes whoever waits for a key that is not there at every write.
const LONGEST_SPACING: Duration = Duration::from_secs(1);
/// The first and the longest pause after a failure, before jitter.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// What there is, at once.
    Now,
    /// What there is when the index has passed this one, or the time is over.
    Behind { index: u64, wait: Duration },
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is as it was.
    Same,
    /// It is this now.
    Changed(Arc<Data>),
    /// It is not believed, and what was known stands.
    Doubtful(Doubt),
}

/// One query's state.
#[derive(Debug)]
pub(crate) struct Poll {
    /// The index of the last answer; 0 if the next question must not block.
    index: u64,
    failures: u32,
    /// How many answers in a row came soon and said nothing new.
    idle: u32,
    patience: Duration,
    allow_empty: bool,
    guard: Guard,
    known: Option<Arc<Data>>,
    /// When what is doubted now will be believed.
    until: Option<Duration>,
}

impl Poll {
    pub(crate) fn new(patience: Duration, allow_empty: bool, believed: Believed, known: Option<Arc<Data>>) -> Self {
        let guard = Guard::new(patience, allow_empty, believed);
        Self { index: 0, failures: 0, idle: 0, patience, allow_empty, guard, known, until: None }
    }

    pub(crate) fn believed(&self) -> Believed {
        self.guard.believed()
    }

    /// What to ask now. The wait is a tenth shorter or not, so that a fleet does not come back in step.
    pub(crate) fn ask(&self, now: Duration, ports: &Ports) -> Ask {
        if self.index == 0 {
            return Ask::Now;
        }
        let usual = WAIT.saturating_sub(ports.up_to(WAIT / 10));
        let wait = self.until.map_or(usual, |until| until.saturating_sub(now).clamp(SHORTEST, usual));
        Ask::Behind { index: self.index, wait }
    }

    /// Takes what Consul shows.
    pub(crate) fn page(&mut self, now: Duration, index: u64, data: Data) -> Meaning {
        self.failures = 0;
        self.index = if index < self.index { 0 } else { index };
        let sight = Sight { index, empty: data.is_empty() };
        if self.known.as_deref() == Some(&data) {
            // Whatever its index is, it says nothing new: Consul forgets deleted keys after a while, and the index of a folder then goes back.
            let believed = Believed { index, held_something: !sight.empty };
            self.guard = Guard::new(self.patience, self.allow_empty, believed);
            self.until = None;
            return Meaning::Same;
        }
        match self.guard.judge(now, sight) {
            Verdict::Use => {
                self.until = None;
                let data = Arc::new(data);
                self.known = Some(Arc::clone(&data));
                Meaning::Changed(data)
            }
            Verdict::Keep { doubt, until } => {
                self.until = Some(until);
                Meaning::Doubtful(doubt)
            }
        }
    }

    /// How long to rest after an answer that took so long.
    pub(crate) fn rest(&mut self, meaning: &Meaning, took: Duration) -> Duration {
        let says_nothing = *meaning == Meaning::Same && took < LONGEST_SPACING;
        self.idle = if says_nothing { self.idle.saturating_add(1) } else { 0 };
        backoff::ceiling_after(self.idle + 1, SPACING, LONGEST_SPACING).saturating_sub(took)
    }

    /// Takes that there was no answer, and says how long to pause.
    pub(crate) fn failed(&mut self, ports: &Ports) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.index = 0;
        backoff::wait_after(self.failures, PAUSE.0, PAUSE.1, ports)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::answers::Row;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn data(keys: &[&str]) -> Data {
        let row = Row { value: "1".into(), leads: true };
        Data::Keys(keys.iter().map(|key| ((*key).to_owned(), row.clone())).collect::<BTreeMap<_, _>>())
    }

    fn poll() -> Poll {
        Poll::new(s(60), false, Believed::default(), None)
    }

    fn waits(poll: &Poll, now: Duration) -> (u64, Duration) {
        match poll.ask(now, &Ports::real()) {
            Ask::Now => (0, Duration::ZERO),
            Ask::Behind { index, wait } => (index, wait),
        }
    }

    #[test]
    fn it_asks_at_once_and_then_waits_behind_the_index_for_less_than_25_s() {
        let mut poll = poll();
        assert_eq!(waits(&poll, s(0)).0, 0);
        assert_eq!(poll.page(s(0), 7, data(&["a"])), Meaning::Changed(Arc::new(data(&["a"]))));
        let (index, wait) = waits(&poll, s(0));
        assert_eq!(index, 7);
        assert!(wait <= WAIT && wait >= WAIT.mul_f64(0.9), "{wait:?}");
        assert_eq!(poll.page(s(25), 7, data(&["a"])), Meaning::Same);
    }

    #[test]
    fn an_index_that_goes_back_is_asked_from_the_beginning_and_doubted_if_it_shows_something_else() {
        let mut poll = poll();
        poll.page(s(0), 7, data(&["a"]));
        assert_eq!(poll.page(s(1), 3, data(&["b"])), Meaning::Doubtful(Doubt::WentBack));
        assert_eq!(waits(&poll, s(1)).0, 0);
        assert_eq!(poll.page(s(1), 3, data(&["b"])), Meaning::Doubtful(Doubt::WentBack));
        assert_eq!(waits(&poll, s(51)), (3, s(10)), "it is looked at again when it will be believed");
        assert_eq!(poll.page(s(61), 3, data(&["b"])), Meaning::Changed(Arc::new(data(&["b"]))));
    }

    #[test]
    fn an_index_that_goes_back_over_the_same_data_is_no_doubt() {
        let mut poll = poll();
        poll.page(s(0), 7, data(&["a"]));
        assert_eq!(poll.page(s(1), 3, data(&["a"])), Meaning::Same);
        assert_eq!(poll.page(s(2), 4, data(&["a", "b"])), Meaning::Changed(Arc::new(data(&["a", "b"]))));
    }

    #[test]
    fn what_becomes_empty_is_doubted_and_what_comes_back_meanwhile_is_the_same() {
        let mut poll = poll();
        poll.page(s(0), 7, data(&["a"]));
        assert_eq!(poll.page(s(1), 8, data(&[])), Meaning::Doubtful(Doubt::Emptied));
        assert_eq!(poll.page(s(5), 9, data(&["a"])), Meaning::Same);
        assert!(waits(&poll, s(5)).1 > s(20), "nothing is doubted any more");
    }

    #[test]
    fn what_is_remembered_guards_the_first_answer_too() {
        let mut poll = Poll::new(s(60), false, Believed { index: 5, held_something: true }, None);
        assert_eq!(poll.page(s(0), 8, data(&[])), Meaning::Doubtful(Doubt::Emptied));
    }

    #[test]
    fn answers_that_come_at_once_and_say_nothing_new_are_asked_for_less_and_less_often() {
        let mut poll = poll();
        let mut rest = |meaning: &Meaning| poll.rest(meaning, Duration::from_millis(1)).as_millis();
        let news = Meaning::Changed(Arc::new(data(&["a"])));
        assert_eq!(rest(&news), 19);
        let rests: Vec<u128> = (0..8).map(|_| rest(&Meaning::Same)).collect();
        assert_eq!(rests, [39, 79, 159, 319, 639, 999, 999, 999]);
        assert_eq!(rest(&news), 19);
        assert_eq!(poll.rest(&Meaning::Same, s(25)), Duration::ZERO, "a poll that waited to its end needs no rest");
    }

    #[test]
    fn failures_pause_longer_and_longer_up_to_10_s_and_the_next_question_does_not_block() {
        let mut poll = poll();
        poll.page(s(0), 7, data(&["a"]));
        let pauses: Vec<Duration> = (0..50).map(|_| poll.failed(&Ports::real())).collect();
        assert!(pauses.iter().all(|pause| *pause <= PAUSE.1) && pauses[0] <= PAUSE.0);
        assert_eq!(waits(&poll, s(9)).0, 0);
        assert_eq!(poll.page(s(9), 7, data(&["a"])), Meaning::Same);
    }
}
