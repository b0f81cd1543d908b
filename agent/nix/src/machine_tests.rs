//! Every way of a profile, without Nix; and the same with a program that is killed at any step of it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const TRIES: u32 = 2;

/// A profile, what Hydra has, and which paths fail when they are activated.
#[derive(Clone, Debug, Default)]
struct World {
    record: Record,
    generations: Vec<String>,
    /// The number of the current generation; 0 for none.
    current: usize,
    wanted: Option<String>,
    ask: Option<Ask>,
    bad: BTreeSet<String>,
    /// Paths that were activated, in order.
    activated: Vec<String>,
    /// Set by `--set` so far.
    sets: usize,
    now: i64,
}

impl World {
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
        self.sets += 1;
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.now).unwrap()
    }

    /// One step, or none; a program that is killed in the middle of one does it and writes nothing down.
    fn step(&mut self, is_killed: bool) -> bool {
        let (current, now) = (self.current(), self.now());
        let target = |path: &String| Target { path: path.clone(), build: None, evaluation: None };
        let wanted = self.wanted.as_ref().map(target);
        let facts = Facts {
            current: current.as_ref(),
            wanted: wanted.as_ref(),
            ask: self.ask.as_ref(),
            anyway: false,
            tries: TRIES,
            now,
        };
        let event = match decide(&self.record, &facts) {
            Step::Rest(None) => return false,
            Step::Rest(Some(until)) => {
                self.now = until.as_second();
                return true;
            }
            Step::Begin(attempt) => Event::Began(attempt),
            Step::Answer(ask) => Event::Asked(ask),
            Step::Switch(attempt) => {
                self.set(&attempt.target.path);
                return true;
            }
            Step::Activate(attempt) => {
                self.activated.push(attempt.target.path.clone());
                if self.bad.contains(&attempt.target.path) {
                    let not_before = now.saturating_add(SignedDuration::from_secs(5)).unwrap();
                    Event::ActivationFailed { words: "no".to_owned(), not_before }
                } else {
                    Event::Activated
                }
            }
            Step::GiveUp => Event::GaveUp,
            Step::Drop => Event::Dropped,
        };
        if !is_killed {
            self.record = apply(self.record.clone(), event, current.as_ref(), now);
        }
        true
    }

    fn settle(&mut self) {
        let steps = (0..200).take_while(|_| self.step(false)).count();
        assert!(steps < 200, "it never comes to rest: {self:?}");
    }

    fn hydra_has(&mut self, path: &str) {
        self.wanted = Some(path.to_owned());
        self.settle();
    }

    fn at(&self) -> &str {
        &self.generations[self.current - 1]
    }

    fn settled_well(&self) -> bool {
        self.record.settled.as_ref().is_some_and(|settled| settled.well)
    }
}

fn world(bad: &[&str]) -> World {
    World { bad: bad.iter().map(ToString::to_string).collect(), now: 1000, ..World::default() }
}

#[test]
fn the_same_build_again_changes_nothing() {
    let mut world = world(&[]);
    world.hydra_has("a");
    let before = world.record.clone();
    world.settle();
    assert_eq!((world.activated.len(), world.generations.len(), &world.record), (1, 1, &before));
}

#[test]
fn the_way_back_is_to_what_was_good_last_and_not_to_the_number_before() {
    let mut world = world(&["b", "c"]);
    for path in ["a", "b", "c"] {
        world.hydra_has(path);
    }
    assert_eq!((world.at(), world.settled_well()), ("a", true));
    assert_eq!(world.activated, ["a", "b", "b", "a", "c", "c", "a"]);
    let sets = world.sets;
    world.settle();
    world.hydra_has("b");
    assert_eq!((world.sets, world.at()), (sets, "a"), "what has failed is not taken again, even after another one");
    world.hydra_has("d");
    assert_eq!(world.at(), "d");
}

#[test]
fn a_way_back_that_fails_too_stops_and_a_newer_build_is_taken_all_the_same() {
    let mut world = world(&["c"]);
    for path in ["a", "b"] {
        world.hydra_has(path);
    }
    world.bad.insert("b".to_owned());
    world.hydra_has("c");
    assert_eq!((world.at(), world.settled_well()), ("b", false), "it does not go on to a");
    world.hydra_has("d");
    assert_eq!((world.at(), world.settled_well()), ("d", true));
}

#[test]
fn a_first_build_that_fails_stays_where_it_is_until_a_person_asks() {
    let mut world = world(&["a"]);
    world.hydra_has("a");
    assert_eq!((world.at(), world.settled_well(), world.activated.len()), ("a", false, 2));
    world.bad.clear();
    world.settle();
    assert_eq!(world.activated.len(), 2);
    world.ask = Some(Ask { id: "1".to_owned(), wish: Wish::Retry });
    world.settle();
    assert!(world.settled_well() && world.record.refused.is_empty());
}

#[test]
fn a_person_goes_back_once_and_what_was_left_is_not_taken_again() {
    let mut world = world(&[]);
    for path in ["a", "b"] {
        world.hydra_has(path);
    }
    world.ask = Some(Ask { id: "1".to_owned(), wish: Wish::Rollback { from: "b".to_owned() } });
    world.settle();
    assert_eq!((world.at(), world.settled_well()), ("a", true));
    world.ask = Some(Ask { id: "2".to_owned(), wish: Wish::Rollback { from: "b".to_owned() } });
    world.settle();
    assert_eq!(world.at(), "a", "it is not at b any more");
    world.hydra_has("c");
    assert_eq!(world.at(), "c");
}

#[test]
fn a_profile_that_somebody_has_set_is_activated_and_counts_more_than_hydra() {
    let mut world = world(&[]);
    for path in ["a", "b"] {
        world.hydra_has(path);
    }
    world.current = 1;
    world.settle();
    assert_eq!((world.at(), world.activated.last().unwrap().as_str()), ("a", "a"));
    assert_eq!(world.record.refusal("b").unwrap().why, Why::Left);
    world.current = 2;
    world.settle();
    assert_eq!((world.at(), world.record.refusal("b")), ("b", None));
}

#[test]
fn a_profile_that_was_there_before_is_activated_first_and_is_a_way_back() {
    let mut world = world(&["b"]);
    world.set("a");
    world.hydra_has("b");
    assert_eq!((world.at(), world.settled_well()), ("a", true));
    assert_eq!(world.activated, ["a", "b", "b", "a"]);
}

#[test]
fn a_way_back_that_is_gone_is_followed_by_the_next_one() {
    let mut world = world(&[]);
    for path in ["a", "b", "c"] {
        world.hydra_has(path);
    }
    let current = world.current();
    let ask = Ask { id: "1".to_owned(), wish: Wish::Rollback { from: "c".to_owned() } };
    let record = apply(world.record, Event::Asked(ask), current.as_ref(), Timestamp::UNIX_EPOCH);
    let goes_to = |record: &Record| record.attempt.as_ref().map(|attempt| attempt.target.path.clone());
    assert_eq!(goes_to(&record).as_deref(), Some("b"));
    let kept = apply(record.clone(), Event::SwitchFailed { gone: false }, current.as_ref(), Timestamp::UNIX_EPOCH);
    assert_eq!(kept, record, "it is tried again");
    let record = apply(record, Event::SwitchFailed { gone: true }, current.as_ref(), Timestamp::UNIX_EPOCH);
    assert_eq!(goes_to(&record).as_deref(), Some("a"));
    let record = apply(record, Event::SwitchFailed { gone: true }, current.as_ref(), Timestamp::UNIX_EPOCH);
    assert!(record.attempt.is_none() && !record.settled.unwrap().well);
}

#[test]
fn a_clock_that_was_wrong_delays_no_try_for_long() {
    let mut world = world(&["a"]);
    world.wanted = Some("a".to_owned());
    while world.record.attempt.as_ref().is_none_or(|attempt| attempt.failures == 0) {
        world.step(false);
    }
    let before = world.now;
    world.now -= 100_000;
    world.settle();
    assert!(world.now < before && world.activated.len() == 2);
}

/// What happens to a world from outside.
#[derive(Clone, Debug)]
enum Turn {
    Hydra(u8),
    Rollback,
    Retry,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![4 => (0..5_u8).prop_map(Turn::Hydra), 1 => Just(Turn::Rollback), 1 => Just(Turn::Retry)]
}

fn take(world: &mut World, number: usize, turn: &Turn) {
    let ask = |wish| Some(Ask { id: number.to_string(), wish });
    match turn {
        Turn::Hydra(path) => world.wanted = Some(path.to_string()),
        Turn::Rollback => world.ask = world.current().and_then(|at| ask(Wish::Rollback { from: at.path })),
        Turn::Retry => world.ask = ask(Wish::Retry),
    }
}

proptest! {
    #[test]
    fn whenever_it_is_killed_it_comes_to_the_same_end(
        turns in prop::collection::vec(turn(), 1..8),
        bad in prop::collection::btree_set((0..5_u8).prop_map(|path| path.to_string()), 0..4),
        kills in prop::collection::vec(any::<bool>(), 0..60),
    ) {
        let mut calm = World { bad, now: 1000, ..World::default() };
        let mut killed = calm.clone();
        let mut kills = kills.into_iter();
        for (number, turn) in turns.iter().enumerate() {
            take(&mut calm, number, turn);
            take(&mut killed, number, turn);
            calm.settle();
            while killed.step(kills.next().unwrap_or(false)) {}
            prop_assert_eq!(calm.current(), killed.current());
            let of = |record: &Record| (
                record.settled.clone(),
                record.good.iter().map(|good| good.target.path.clone()).collect::<Vec<_>>(),
                record.refused.iter().map(|refused| (refused.target.path.clone(), refused.why)).collect::<Vec<_>>(),
            );
            prop_assert_eq!(of(&calm.record), of(&killed.record));
            if let Some(settled) = calm.record.settled.as_ref().filter(|settled| settled.well) {
                prop_assert!(calm.record.refusal(&settled.generation.path).is_none());
                prop_assert_eq!(calm.activated.last(), killed.activated.last());
            }
        }
    }
}
