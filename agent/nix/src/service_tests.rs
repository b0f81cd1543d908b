//! A profile that is led from path to path, and a program that is killed at any step of it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

/// A profile, and which paths fail when they are activated.
#[derive(Clone, Debug, Default)]
struct World {
    record: Record,
    generations: Vec<String>,
    /// The number of the current generation; 0 for none.
    current: usize,
    bad: BTreeSet<String>,
    /// Paths that were activated, in order.
    activated: Vec<String>,
    now: i64,
}

impl World {
    fn with_bad(bad: &[&str]) -> Self {
        Self { bad: bad.iter().map(ToString::to_string).collect(), now: 1000, ..Self::default() }
    }

    fn current(&self) -> Option<Generation> {
        let path = self.generations.get(self.current.checked_sub(1)?)?.clone();
        Some(Generation { number: self.current as u64, path })
    }

    /// As `nix-env --set` does.
    fn set(&mut self, path: &str) {
        if self.generations.last().is_none_or(|last| last != path) {
            self.generations.push(path.to_owned());
        }
        self.current = self.generations.len();
    }

    /// As [`ServiceProfile::lead_to`]; a program that is killed does the step at which it is, writes nothing down, and nobody calls it again.
    fn lead_to(&mut self, path: &str, mut lives: usize) -> bool {
        self.record.allow(path);
        for _ in 0..100 {
            let (current, now) = (self.current(), Timestamp::from_second(self.now).unwrap());
            let Some(step) = next_at(&self.record, path, current.as_ref(), now) else {
                return self.record.settled.as_ref().is_some_and(|at| at.well && at.generation.path == path);
            };
            let event = match step {
                Next::Allow => {
                    self.record.allow(path);
                    continue;
                }
                Next::Step(Step::Rest(until)) => {
                    self.now = until.unwrap().as_second();
                    continue;
                }
                Next::Step(Step::Begin(attempt)) => Some(Event::Began(attempt)),
                Next::Step(Step::Switch(attempt)) => {
                    self.set(&attempt.target.path);
                    None
                }
                Next::Step(Step::Activate(attempt)) => Some(self.activate(&attempt.target.path, now)),
                Next::Step(Step::GiveUp) => Some(Event::GaveUp),
                Next::Step(Step::Drop) => Some(Event::Dropped),
                Next::Step(Step::Answer(_)) => panic!("nobody asks"),
            };
            if lives == 0 {
                return false;
            }
            lives -= 1;
            if let Some(event) = event {
                self.record = apply(self.record.clone(), event, current.as_ref(), now);
            }
        }
        panic!("it never comes to rest: {self:?}")
    }

    fn activate(&mut self, path: &str, now: Timestamp) -> Event {
        self.activated.push(path.to_owned());
        if self.bad.contains(path) {
            let not_before = now.saturating_add(SignedDuration::from_secs(1)).unwrap();
            Event::ActivationFailed { words: "no".to_owned(), not_before }
        } else {
            Event::Activated
        }
    }

    fn leads_to(&mut self, path: &str) -> bool {
        self.lead_to(path, usize::MAX)
    }

    fn at(&self) -> &str {
        &self.generations[self.current - 1]
    }
}

#[test]
fn what_is_active_is_left_alone_and_another_one_is_activated() {
    let mut world = World::with_bad(&[]);
    assert!(world.leads_to("a") && world.leads_to("a") && world.leads_to("b") && world.leads_to("a"));
    assert_eq!(world.activated, ["a", "b", "a"]);
}

#[test]
fn what_fails_is_taken_back_each_time_and_tried_again_each_time_that_it_is_wanted() {
    let mut world = World::with_bad(&["b", "c"]);
    assert!(world.leads_to("a") && !world.leads_to("b") && !world.leads_to("c") && !world.leads_to("c"));
    assert_eq!(world.at(), "a", "not b, which has the number before");
    assert_eq!(world.activated, ["a", "b", "a", "c", "a", "c", "a"]);
    world.bad.clear();
    assert!(world.leads_to("c"));
}

#[test]
fn a_first_one_that_fails_has_no_way_back_and_is_tried_where_it_is() {
    let mut world = World::with_bad(&["a"]);
    assert!(!world.leads_to("a") && !world.leads_to("a"));
    world.bad.clear();
    assert!(world.leads_to("a"));
    assert_eq!((world.activated.len(), world.generations.len()), (3, 1));
}

#[test]
fn a_way_back_that_fails_is_tried_thrice_and_keeps_nobody_from_going_on() {
    let mut world = World::with_bad(&["b"]);
    assert!(world.leads_to("a"));
    world.bad.insert("a".to_owned());
    assert!(!world.leads_to("b"));
    assert_eq!(world.activated, ["a", "b", "a", "a", "a"]);
    assert!(world.leads_to("c"));
    world.bad.clear();
    assert!(world.leads_to("a"));
}

#[test]
fn what_somebody_sets_by_hand_is_activated_and_then_what_is_wanted() {
    let mut world = World::with_bad(&[]);
    assert!(world.leads_to("a"));
    world.set("x");
    assert!(world.leads_to("a"), "though somebody has gone away from it");
    assert_eq!(world.activated, ["a", "x", "a"]);
}

proptest! {
    #[test]
    fn whenever_it_is_killed_the_next_call_comes_to_the_same_end(
        wanted in prop::collection::vec((0..4_u8, 0..12_usize), 1..8),
        bad in prop::collection::btree_set((0..4_u8).prop_map(|path| path.to_string()), 0..3),
    ) {
        let mut calm = World { bad, now: 1000, ..World::default() };
        let mut killed = calm.clone();
        for (path, lives) in wanted {
            let path = path.to_string();
            killed.lead_to(&path, lives);
            let (calmly, after_all) = (calm.leads_to(&path), killed.leads_to(&path));
            prop_assert_eq!(calmly, after_all);
            // What comes first and fails stays where it is; all else is at what is wanted, or at what was good last.
            prop_assert_eq!(calm.current().map(|at| at.path), killed.current().map(|at| at.path));
            let good = |world: &World| {
                world.record.settled.as_ref().filter(|at| at.well).map(|at| at.generation.path.clone())
            };
            prop_assert_eq!(good(&calm), good(&killed));
            prop_assert!(!after_all || killed.activated.last() == Some(&path) || calm.activated.last() != Some(&path));
        }
    }
}
