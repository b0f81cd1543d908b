//! The rules of the queue one by one, and its invariants over random histories.

use proptest::prelude::*;

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn queue() -> Queue<&'static str> {
    Queue::new(Limits::default())
}

fn pop(queue: &mut Queue<&'static str>, now: u64) -> Option<&'static str> {
    queue.pop(ms(now)).map(|popped| popped.ticket.key)
}

fn take(queue: &mut Queue<&'static str>, now: u64) -> Ticket<&'static str> {
    queue.pop(ms(now)).unwrap().ticket
}

/// Ends a run; the jitter draws the ceiling itself, so that waits are known.
fn done(queue: &mut Queue<&'static str>, ticket: Ticket<&'static str>, outcome: Outcome, now: u64) -> Option<u64> {
    let due = queue.done(ticket, outcome, ms(now), |ceiling| ceiling);
    due.map(|due| u64::try_from(due.as_millis()).unwrap())
}

#[test]
fn a_key_added_twice_runs_once_at_the_earlier_time() {
    let mut queue = queue();
    queue.add(&"a", ms(500), Priority::CHANGE, "One");
    queue.add(&"a", ms(100), Priority::RESYNC, "Other");
    queue.add(&"a", ms(900), Priority::RESYNC, "Other");
    assert_eq!(queue.next_wake(), Some(ms(100)));
    assert_eq!(pop(&mut queue, 99), None);
    let popped = queue.pop(ms(100)).unwrap();
    assert_eq!(popped.reasons, ["One", "Other"]);
    assert_eq!(pop(&mut queue, 1000), None);
}

#[test]
fn the_higher_priority_goes_first_and_within_one_the_key_due_longest() {
    let mut queue = queue();
    queue.add(&"resync", ms(0), Priority::RESYNC, "");
    queue.add(&"late", ms(3), Priority::CHANGE, "");
    queue.add(&"early", ms(2), Priority::CHANGE, "");
    queue.add(&"same time", ms(3), Priority::CHANGE, "");
    queue.add(&"user", ms(9), Priority::USER, "");
    queue.add(&"future", ms(11), Priority::USER, "");
    let order: Vec<_> = (0..6).map(|_| pop(&mut queue, 10)).collect();
    assert_eq!(order, [Some("user"), Some("early"), Some("late"), Some("same time"), Some("resync"), None]);
}

#[test]
fn a_raised_priority_counts_for_a_key_that_is_due_already() {
    let mut queue = queue();
    for key in ["a", "b", "c"] {
        queue.add(&key, ms(0), Priority::RESYNC, "");
    }
    assert_eq!(pop(&mut queue, 1), Some("a"));
    queue.add(&"c", ms(1), Priority::USER, "");
    assert_eq!((pop(&mut queue, 1), pop(&mut queue, 1)), (Some("c"), Some("b")));
}

#[test]
fn a_key_that_has_lost_patience_goes_before_every_priority() {
    let mut queue = queue();
    queue.add(&"old", ms(0), Priority::RESYNC, "");
    queue.add(&"new", ms(29_999), Priority::USER, "");
    assert_eq!(pop(&mut queue, 29_999), Some("new"));
    queue.add(&"newer", ms(30_000), Priority::USER, "");
    assert_eq!((pop(&mut queue, 30_000), pop(&mut queue, 30_000)), (Some("old"), Some("newer")));
}

#[test]
fn a_key_added_while_it_runs_runs_again_afterwards_and_not_before() {
    let mut queue = queue();
    queue.add(&"a", ms(0), Priority::CHANGE, "");
    let ticket = take(&mut queue, 0);
    queue.add(&"a", ms(5), Priority::CHANGE, "Again");
    assert_eq!((queue.next_wake(), pop(&mut queue, 10)), (None, None), "it is running");
    assert_eq!(done(&mut queue, ticket, Outcome::Done, 20), Some(5));
    assert_eq!(queue.pop(ms(20)).unwrap().reasons, ["Again"]);
}

#[test]
fn a_change_during_a_run_outruns_the_requeue_it_asks_for() {
    let mut queue = queue();
    queue.add(&"a", ms(0), Priority::CHANGE, "");
    let ticket = take(&mut queue, 0);
    queue.add(&"a", ms(1), Priority::CHANGE, "");
    let outcome = Outcome::Again(ms(60_000), Priority::REQUEUE, "Requeue");
    assert_eq!(done(&mut queue, ticket, outcome, 2), Some(1));
    let ticket = take(&mut queue, 2);
    assert_eq!(done(&mut queue, ticket, outcome, 3), Some(60_003));
}

#[test]
fn failures_double_the_wait_and_a_success_forgets_them() {
    let mut queue = queue();
    queue.add(&"a", ms(0), Priority::CHANGE, "");
    let mut now = 0;
    for wait in [500, 1000, 2000, 4000, 8000] {
        let ticket = take(&mut queue, now);
        assert_eq!(done(&mut queue, ticket, Outcome::Failed, now), Some(now + wait));
        assert_eq!(pop(&mut queue, now + wait - 1), None);
        now += wait;
    }
    let popped = queue.pop(ms(now)).unwrap();
    assert_eq!((popped.failures, popped.reasons), (5, vec!["Retry"]));
    assert_eq!(done(&mut queue, popped.ticket, Outcome::Done, now), None);
    queue.add(&"a", ms(now), Priority::CHANGE, "");
    let ticket = take(&mut queue, now);
    assert_eq!(done(&mut queue, ticket, Outcome::Failed, now), Some(now + 500));
}

/// Fails `a` at 0, 500, 1500, 3500 and 7500 ms; it is then due at 15,500 ms.
fn failing() -> Queue<&'static str> {
    let mut queue = queue();
    queue.add(&"a", ms(0), Priority::CHANGE, "");
    for now in [0, 500, 1500, 3500, 7500] {
        let ticket = take(&mut queue, now);
        done(&mut queue, ticket, Outcome::Failed, now);
    }
    assert_eq!(queue.due_at(&"a"), Some(ms(15_500)));
    queue
}

#[test]
fn an_event_hurries_a_failing_key_but_not_more_often_than_every_5_s() {
    let mut queue = failing();
    queue.add(&"a", ms(7600), Priority::CHANGE, "");
    assert_eq!(queue.due_at(&"a"), Some(ms(12_500)));
}

#[test]
fn an_event_cannot_hurry_a_key_whose_backoff_is_shorter_than_that() {
    let mut queue = queue();
    queue.add(&"a", ms(0), Priority::CHANGE, "");
    let ticket = take(&mut queue, 0);
    queue.add(&"a", ms(1), Priority::CHANGE, "during the run");
    assert_eq!(done(&mut queue, ticket, Outcome::Failed, 2), Some(502));
    queue.add(&"a", ms(3), Priority::CHANGE, "after it");
    assert_eq!(queue.due_at(&"a"), Some(ms(502)));
}

#[test]
fn a_hurried_run_that_fails_does_not_lengthen_the_backoff() {
    let mut queue = failing();
    queue.add(&"a", ms(7600), Priority::CHANGE, "");
    let popped = queue.pop(ms(12_500)).unwrap();
    assert_eq!(popped.failures, 5);
    assert_eq!(done(&mut queue, popped.ticket, Outcome::Failed, 12_500), Some(15_500), "as if it had not run");
    let popped = queue.pop(ms(15_500)).unwrap();
    assert_eq!(popped.failures, 5);
    assert_eq!(done(&mut queue, popped.ticket, Outcome::Failed, 15_500), Some(15_500 + 16_000));
}

#[test]
fn a_hurried_run_that_outlasts_the_backoff_waits_as_long_again() {
    let mut queue = failing();
    queue.add(&"a", ms(7600), Priority::CHANGE, "");
    let ticket = take(&mut queue, 12_500);
    assert_eq!(done(&mut queue, ticket, Outcome::Failed, 20_000), Some(28_000));
}

#[test]
fn a_forgiven_key_runs_at_once_and_begins_its_backoff_anew() {
    let mut queue = failing();
    queue.forgive(&"a");
    queue.add(&"a", ms(7600), Priority::USER, "");
    let popped = queue.pop(ms(7600)).unwrap();
    assert_eq!(popped.failures, 0);
    assert_eq!(done(&mut queue, popped.ticket, Outcome::Failed, 7600), Some(8100));
}

#[test]
fn a_forgotten_key_is_gone_and_the_outcome_of_its_last_run_with_it() {
    let mut queue = failing();
    queue.forget(&"a");
    assert_eq!((queue.waiting(), queue.keys().count()), (0, 0));
    queue.add(&"a", ms(0), Priority::CHANGE, "");
    let ticket = take(&mut queue, 9000);
    queue.forget(&"a");
    assert_eq!(done(&mut queue, ticket, Outcome::Failed, 9001), None);
    assert_eq!(queue.keys().count(), 0);
}

#[test]
fn a_key_forgotten_while_it_runs_and_added_again_waits_for_the_end_of_the_run() {
    let mut queue = queue();
    queue.add(&"a", ms(0), Priority::CHANGE, "");
    let ticket = take(&mut queue, 0);
    queue.forget(&"a");
    queue.add(&"a", ms(1), Priority::CHANGE, "New");
    assert_eq!(pop(&mut queue, 5), None);
    assert_eq!(done(&mut queue, ticket, Outcome::Failed, 6), Some(1));
    assert_eq!(queue.pop(ms(6)).unwrap().reasons, ["New"]);
}

#[test]
fn adding_all_hurries_every_known_key_and_no_other() {
    let mut queue = queue();
    queue.add(&"a", ms(60_000), Priority::RESYNC, "Resync");
    queue.add(&"b", ms(90_000), Priority::RESYNC, "Resync");
    queue.add(&"c", ms(0), Priority::RESYNC, "");
    let ticket = take(&mut queue, 0);
    queue.add_all(ms(10), Priority::CHANGE, "Leadership");
    assert_eq!((pop(&mut queue, 10), pop(&mut queue, 10), pop(&mut queue, 10)), (Some("a"), Some("b"), None));
    assert_eq!(done(&mut queue, ticket, Outcome::Done, 11), Some(10), "the running one too");
}

#[test]
fn reasons_are_kept_once_each_and_not_without_end() {
    let mut queue = queue();
    for reason in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "a"] {
        queue.add(&"k", ms(0), Priority::CHANGE, reason);
    }
    assert_eq!(queue.pop(ms(0)).unwrap().reasons, ["a", "b", "c", "d", "e", "f", "g", "h"]);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Add { key: u8, after: u64, priority: i16 },
    Pop,
    Done { which: prop::sample::Index, outcome: u8 },
    Advance(u64),
    Forgive(u8),
    Forget(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..6_u8, prop_oneof![Just(0), 0..3000_u64], prop::sample::select(vec![-100, 10, 50, 100]))
            .prop_map(|(key, after, priority)| Op::Add { key, after, priority }),
        4 => Just(Op::Pop),
        3 => (any::<prop::sample::Index>(), 0..3_u8).prop_map(|(which, outcome)| Op::Done { which, outcome }),
        2 => prop_oneof![1..50_u64, 1000..20_000_u64].prop_map(Op::Advance),
        1 => (0..6_u8).prop_map(Op::Forgive),
        1 => (0..6_u8).prop_map(Op::Forget),
    ]
}

/// A history of the queue, with what can be known of it from outside.
#[derive(Default)]
struct History {
    now: Duration,
    running: Vec<Ticket<u8>>,
    /// The highest priority wished for since the key was last popped.
    priority: BTreeMap<u8, i16>,
    /// Keys that were added, and not popped since.
    owed: BTreeSet<u8>,
    /// Running keys that were forgotten since they began.
    forgotten: BTreeSet<u8>,
}

impl History {
    fn apply(&mut self, queue: &mut Queue<u8>, op: Op) {
        match op {
            Op::Add { key, after, priority } => self.add(queue, key, ms(after), priority),
            Op::Pop => self.pop(queue),
            Op::Done { which, outcome } if !self.running.is_empty() => {
                let ticket = self.running.swap_remove(which.index(self.running.len()));
                self.done(queue, ticket, outcome);
            }
            Op::Done { .. } => {}
            Op::Advance(by) => self.now += ms(by),
            Op::Forgive(key) => queue.forgive(&key),
            Op::Forget(key) => {
                queue.forget(&key);
                self.owed.remove(&key);
                self.priority.remove(&key);
                self.forgotten.extend(self.running.iter().map(|ticket| ticket.key).filter(|running| *running == key));
            }
        }
    }

    fn add(&mut self, queue: &mut Queue<u8>, key: u8, after: Duration, priority: i16) {
        let before = queue.due_at(&key);
        queue.add(&key, self.now + after, Priority(priority), "");
        let due = queue.due_at(&key).expect("an added key is due some time");
        assert!(before.is_none_or(|before| due <= before), "adding never puts a key off");
        self.owed.insert(key);
        let known = self.priority.entry(key).or_insert(priority);
        *known = priority.max(*known);
    }

    fn pop(&mut self, queue: &mut Queue<u8>) {
        let wake = queue.next_wake();
        let idle = |key: &u8| self.running.iter().all(|ticket| ticket.key != *key);
        let due: BTreeMap<u8, Duration> = (0..6)
            .filter(idle)
            .filter_map(|key| Some((key, queue.due_at(&key)?)))
            .filter(|(_, due)| *due <= self.now)
            .collect();
        assert_eq!(wake.is_some_and(|wake| wake <= self.now), !due.is_empty(), "next_wake is past if a key is due");
        let popped = queue.pop(self.now);
        assert_eq!(popped.is_some(), !due.is_empty());
        let Some(popped) = popped else { return };
        let key = popped.ticket.key;
        assert!(idle(&key), "no key runs twice at once");
        let chosen = due[&key];
        let patience = Limits::default().patience;
        let oldest = *due.values().min().unwrap();
        if oldest + patience <= self.now {
            assert_eq!(chosen, oldest, "whoever has lost patience is first");
        } else {
            let rank = |key: &u8| (Reverse(self.priority[key]), due[key]);
            assert!(due.keys().all(|other| rank(&key) <= rank(other)), "priority, then time due");
        }
        self.owed.remove(&key);
        self.priority.remove(&key);
        self.running.push(popped.ticket);
    }

    fn done(&mut self, queue: &mut Queue<u8>, ticket: Ticket<u8>, outcome: u8) {
        let key = ticket.key;
        let (outcome, priority) = match outcome {
            0 => (Outcome::Done, None),
            1 => (Outcome::Again(ms(700), Priority::REQUEUE, "Requeue"), Some(10)),
            _ => (Outcome::Failed, Some(10)),
        };
        let wanted = queue.due_at(&key).is_some();
        let due = queue.done(ticket, outcome, self.now, |ceiling| ceiling / 2);
        assert_eq!(due, queue.due_at(&key));
        assert!(!wanted || due.is_some(), "a wish made during the run is not lost");
        let forgotten = self.forgotten.remove(&key);
        assert!(!forgotten || wanted || due.is_none(), "a forgotten run has no outcome");
        if let Some(priority) = priority.filter(|_| !forgotten) {
            let known = self.priority.entry(key).or_insert(priority);
            *known = priority.max(*known);
        }
    }

    /// Lets everything end well; then nothing may be left.
    fn settle(&mut self, queue: &mut Queue<u8>) {
        for _ in 0..100 {
            for ticket in std::mem::take(&mut self.running) {
                self.done(queue, ticket, 0);
            }
            match queue.next_wake() {
                Some(wake) => self.now = self.now.max(wake),
                None => break,
            }
            self.pop(queue);
        }
        assert!(self.owed.is_empty(), "after its last add a key is popped once more");
        assert_eq!((queue.waiting(), queue.keys().count()), (0, 0), "a queue at rest holds nothing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_in_every_history(ops in prop::collection::vec(op(), 0..120)) {
        let (mut queue, mut history) = (Queue::new(Limits::default()), History::default());
        for op in ops {
            history.apply(&mut queue, op);
        }
        history.settle(&mut queue);
    }
}

#[test]
fn a_key_that_has_just_run_rests_unless_a_person_asks_for_it() {
    let rest = Duration::from_millis(200);
    let at = Duration::from_millis;
    let mut queue = Queue::new(Limits { rest, ..Limits::default() });
    let run = |queue: &mut Queue<&str>, now: Duration| {
        let popped = queue.pop(now)?;
        queue.done(popped.ticket, Outcome::Again(at(9000), Priority::RESYNC, "Resync"), now, |length| length);
        Some(popped.reasons)
    };
    queue.add(&"a", at(0), Priority::CHANGE, "First");
    assert!(run(&mut queue, at(0)).is_some(), "the first change is answered at once");
    queue.add(&"a", at(10), Priority::CHANGE, "Second");
    queue.add(&"a", at(20), Priority::CHANGE, "Third");
    assert_eq!(run(&mut queue, at(199)), None);
    assert_eq!(run(&mut queue, at(200)), Some(vec!["Second", "Third"]), "two changes are one run");
    queue.add(&"a", at(210), Priority::CHANGE, "Fourth");
    queue.add(&"a", at(220), Priority::USER, "Person");
    assert!(run(&mut queue, at(220)).is_some());
}
