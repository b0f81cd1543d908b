//! One report: what it should be, what the store holds, and when it is to be written.
//!
//! What the controller waits for is written at once, and the conditions go along. Conditions are for people: where nothing else has changed they wait
//! for a moment after the last write, so that a start costs one more write and not one for each step, and one that comes and goes costs a few writes
//! a minute at most.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use helium_crds::{
    condition::{Condition, ConditionKind, ConditionStatus},
    instance::Report,
};
use jiff::Timestamp;

use crate::telemetry::condition::NOT_ASKED;

/// The least time between the last write of a report, whatever it was for, and one for its conditions alone.
const REST: Duration = Duration::from_secs(1);
/// At most so many writes for conditions alone in a [`WHILE`].
const MOST: usize = 3;
/// The time in which they are counted.
const WHILE: Duration = Duration::from_mins(1);

/// What a report should be; none: there should be none.
pub(super) type Wanted = Option<Report>;

/// When something is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The store holds what it should, or nobody has said anything yet.
    Never,
    /// Now.
    Now,
    /// Not before this time of the steady clock.
    At(Duration),
}

/// One report of this agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    wanted: Option<Wanted>,
    written: Option<Report>,
    /// When this run of the agent wrote it last, or told of it first: an instance that was adopted stands as before after a moment.
    written_at: Option<Duration>,
    /// When it was written for its conditions alone: the last [`MOST`] times.
    alone: VecDeque<Duration>,
    /// Since when each condition was so when it was first told of in this run; none while nobody has looked.
    first: BTreeMap<ConditionKind, Option<Timestamp>>,
    /// The conditions that were not among the first of this run: they came up in it, whatever an earlier run has told.
    late: BTreeSet<ConditionKind>,
    /// The conditions that an earlier run has left in the store, once that was read.
    earlier: Option<BTreeMap<ConditionKind, (ConditionStatus, Timestamp)>>,
}

impl Slot {
    /// Says what it should be; true if that is news.
    pub(super) fn say(&mut self, mut wanted: Wanted, now: Duration) -> bool {
        self.written_at.get_or_insert(now);
        if let Some(report) = &mut wanted {
            let is_first = self.wanted.is_none();
            for condition in &report.conditions {
                if !is_first && !self.first.contains_key(&condition.kind) {
                    self.late.insert(condition.kind);
                }
                let since = Some(condition.since).filter(|_| !is_unasked(condition));
                let first = self.first.entry(condition.kind).or_insert(since);
                *first = first.or(since);
            }
            self.date_back(&mut report.conditions);
        }
        let is_news = self.wanted.as_ref() != Some(&wanted);
        self.wanted = Some(wanted);
        is_news
    }

    /// Takes up what the store holds.
    pub(super) fn found(&mut self, written: Option<Report>) {
        if self.earlier.is_none() {
            let left = written.iter().flat_map(|report| &report.conditions);
            self.earlier = Some(left.map(|one| (one.kind, (one.status, one.since))).collect());
            if let Some(Some(mut report)) = self.wanted.take() {
                self.date_back(&mut report.conditions);
                self.wanted = Some(Some(report));
            }
        }
        self.written = written;
    }

    /// A condition that has not changed in this run and is as an earlier run left it has been so for longer than this run knows.
    fn date_back(&self, conditions: &mut [Condition]) {
        for one in conditions {
            let first = self.first.get(&one.kind).is_some_and(|first| first.is_none_or(|since| since == one.since));
            let unchanged = first && !self.late.contains(&one.kind);
            match self.earlier.as_ref().and_then(|earlier| earlier.get(&one.kind)) {
                Some((status, since)) if unchanged && *status == one.status => one.since = one.since.min(*since),
                _ => {}
            }
        }
    }

    /// Takes up that this was written.
    pub(super) fn wrote(&mut self, written: &Wanted, now: Duration) {
        if let (Some(old), Some(new)) = (&self.written, written)
            && new.says_as_much_as(old)
        {
            self.alone.push_back(now);
            self.alone.drain(..self.alone.len().saturating_sub(MOST));
        }
        self.written.clone_from(written);
        self.written_at = Some(now);
    }

    /// What it should be, if anybody has said.
    pub(super) fn wanted(&self) -> Option<&Wanted> {
        self.wanted.as_ref()
    }

    /// When it is to be written.
    pub(super) fn due(&self, now: Duration) -> Due {
        let Some(wanted) = &self.wanted else { return Due::Never };
        if *wanted == self.written {
            return Due::Never;
        }
        let (Some(wanted), Some(written)) = (wanted, &self.written) else { return Due::Now };
        let rested = self.written_at.map(|at| at + REST);
        let spent = self.alone.front().filter(|_| self.alone.len() == MOST).map(|first| *first + WHILE);
        match rested.max(spent).filter(|at| *at > now) {
            Some(at) if wanted.says_as_much_as(written) => Due::At(at),
            _ => Due::Now,
        }
    }

    /// Whether there should be no such report, and there is none.
    pub(super) fn is_over(&self) -> bool {
        self.wanted == Some(None) && self.written.is_none()
    }
}

/// Whether nobody has looked yet, in which case nothing is known to have changed either.
fn is_unasked(condition: &Condition) -> bool {
    condition.status == ConditionStatus::Unknown && condition.reason == NOT_ASKED
}

#[cfg(test)]
mod tests {
    use helium_crds::instance::InstancePhase;

    use super::*;
    use crate::{
        instance::{
            record::Record,
            report::{Extras, report},
        },
        testing,
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// A report with `CrashLoop` as it became so many seconds ago.
    fn said(status: ConditionStatus, since: i64) -> Report {
        let record = Record::admit(testing::assignment("hello-0"), testing::instant(0));
        let kind = ConditionKind::CrashLoop;
        let since = testing::instant(since);
        let one = Condition { kind, status, reason: "Ended".to_owned(), message: String::new(), since };
        Report { conditions: vec![one], ..report(&testing::config().node, &record, Extras::default()) }
    }

    fn written(report: &Report, at: Duration) -> Slot {
        let mut slot = Slot::default();
        slot.found(None);
        slot.say(Some(report.clone()), at);
        assert_eq!(slot.due(at), Due::Now);
        slot.wrote(&Some(report.clone()), at);
        assert_eq!(slot.due(at), Due::Never);
        slot
    }

    #[test]
    fn a_condition_that_comes_and_goes_is_written_three_times_a_minute_at_most() {
        use ConditionStatus::{False, True};
        let mut slot = written(&said(False, 0), SECOND);
        let mut writes = Vec::new();
        for second in 2..=130 {
            let now = SECOND * second;
            slot.say(Some(said(if second % 2 == 0 { True } else { False }, i64::from(second))), now);
            if slot.due(now) == Due::Now {
                writes.push(second);
                let wanted = slot.wanted().unwrap().clone();
                slot.wrote(&wanted, now);
            }
        }
        assert_eq!(writes, [2, 3, 4, 62, 63, 64, 122, 123, 124]);
    }

    #[test]
    fn after_a_while_of_rest_a_condition_is_written_at_once_and_with_anything_else_it_always_is() {
        let half = SECOND / 2;
        let mut slot = written(&said(ConditionStatus::False, 0), SECOND);
        let changed = said(ConditionStatus::True, 2);
        slot.say(Some(changed.clone()), SECOND + half);
        assert_eq!(slot.due(SECOND + half), Due::At(SECOND * 2));
        assert_eq!(slot.due(SECOND * 2), Due::Now);
        slot.say(Some(Report { phase: InstancePhase::Failed, ..changed }), SECOND + half);
        assert_eq!(slot.due(SECOND + half), Due::Now);
        slot.say(None, SECOND + half);
        assert_eq!(slot.due(SECOND + half), Due::Now);
    }

    #[test]
    fn an_agent_that_was_restarted_writes_nothing_that_is_there_and_knows_since_when_it_is_so() {
        let left = said(ConditionStatus::True, 5);
        for read_first in [true, false] {
            let mut slot = Slot::default();
            if read_first {
                slot.found(Some(left.clone()));
            }
            slot.say(Some(said(ConditionStatus::True, 500)), SECOND);
            if !read_first {
                slot.found(Some(left.clone()));
            }
            assert_eq!((slot.due(SECOND), slot.wanted()), (Due::Never, Some(&Some(left.clone()))));
        }
    }

    #[test]
    fn what_nobody_has_looked_at_yet_has_not_changed_when_somebody_has() {
        use ConditionStatus::{False, True, Unknown};
        let unasked = || {
            let mut report = said(Unknown, 500);
            NOT_ASKED.clone_into(&mut report.conditions[0].reason);
            report
        };
        let mut slot = Slot::default();
        slot.found(Some(said(True, 5)));
        slot.say(Some(unasked()), SECOND);
        assert_eq!(slot.due(SECOND), Due::At(SECOND * 2), "it may be known in a moment");
        slot.say(Some(said(True, 501)), SECOND);
        assert_eq!((slot.due(SECOND), slot.wanted()), (Due::Never, Some(&Some(said(True, 5)))));
        slot.say(Some(said(False, 600)), SECOND);
        slot.say(Some(said(True, 700)), SECOND);
        assert_eq!(slot.wanted(), Some(&Some(said(True, 700))));
        // What was found to be unknown is a finding.
        let mut slot = Slot::default();
        slot.found(Some(said(True, 5)));
        slot.say(Some(said(Unknown, 500)), SECOND);
        slot.say(Some(said(True, 501)), SECOND);
        assert_eq!(slot.wanted(), Some(&Some(said(True, 501))));
    }

    #[test]
    fn what_comes_up_in_this_run_is_no_older_than_that() {
        for read_first in [true, false] {
            let mut slot = Slot::default();
            let left = Some(said(ConditionStatus::False, 5));
            if read_first {
                slot.found(left.clone());
            }
            slot.say(Some(Report { conditions: Vec::new(), ..said(ConditionStatus::False, 500) }), SECOND);
            slot.say(Some(said(ConditionStatus::False, 510)), SECOND * 10);
            if !read_first {
                slot.found(left);
            }
            assert_eq!(slot.wanted(), Some(&Some(said(ConditionStatus::False, 510))));
        }
    }

    #[test]
    fn what_has_changed_in_this_run_is_as_old_as_its_change() {
        use ConditionStatus::{False, True};
        let mut slot = Slot::default();
        slot.say(Some(said(False, 500)), SECOND);
        slot.say(Some(said(True, 510)), SECOND * 10);
        slot.found(Some(said(True, 5)));
        assert_eq!(slot.wanted(), Some(&Some(said(True, 510))));
    }
}
