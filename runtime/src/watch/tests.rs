//! Each row of the table, the bucket, and the watch against a store that may lie, over random histories.

use proptest::prelude::*;

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const NO_CHECK: Duration = Duration::from_secs(1 << 40);

fn machine() -> WatchMachine {
    WatchMachine::new(Pace::default(), NO_CHECK)
}

fn page(index: u64) -> Page {
    let difference = Difference { held: 10, lost: 0, changed: 1, missed: 0 };
    Page {
        index,
        sentinel: true,
        known_leader: true,
        last_contact: Duration::ZERO,
        filtered_by_acls: false,
        difference,
    }
}

fn following(index: u64) -> WatchMachine {
    let mut machine = machine();
    machine.step(&Answer::Page(page(index)), s(0));
    assert_eq!(machine.state(), WatchState::Following { index });
    machine
}

fn follow(index: u64) -> Ask {
    Ask::Follow { index, wait: MAX_WAIT }
}

fn step(machine: &mut WatchMachine, page: Page, at: u64) -> Step {
    machine.step(&Answer::Page(page), s(at))
}

#[test]
fn the_first_question_is_a_list_and_its_page_the_first_snapshot() {
    let mut machine = machine();
    assert_eq!(machine.ask(), Ask::List);
    let step = step(&mut machine, page(7), 0);
    assert_eq!(step, Step { events: vec![WatchEvent::Snapshot], pause: Pause::None, ask: follow(7) });
}

#[test]
fn a_wait_longer_than_the_longest_is_cut() {
    let pace = Pace { wait: s(600), ..Pace::default() };
    let mut machine = WatchMachine::new(pace, NO_CHECK);
    assert_eq!(step(&mut machine, page(7), 0).ask, follow(7));
}

#[test]
fn a_list_without_the_sentinel_is_blind_whatever_else_it_holds() {
    for mut machine in [machine(), following(7)] {
        for answer in [Answer::Page(Page { sentinel: false, ..page(9) }), Answer::NotFound { index: 9 }] {
            let step = machine.step(&answer, s(1));
            assert_eq!(step.events, [WatchEvent::Blind(BlindReason::MissingSentinel)]);
            assert_eq!((machine.state(), step.ask), (WatchState::Listing, Ask::List));
            assert!(matches!(step.pause, Pause::UpTo(_)));
        }
    }
}

#[test]
fn a_denial_and_a_filtered_list_are_blind() {
    for answer in [Answer::Denied, Answer::Page(Page { filtered_by_acls: true, ..page(9) })] {
        let mut machine = following(7);
        assert_eq!(machine.step(&answer, s(1)).events, [WatchEvent::Blind(BlindReason::Denied)]);
        assert_eq!((machine.state(), machine.ask()), (WatchState::Listing, Ask::List));
    }
}

#[test]
fn the_same_index_is_only_a_sign_of_life() {
    let mut machine = following(7);
    let alive = step(&mut machine, page(7), 30);
    assert_eq!(alive, Step { events: vec![WatchEvent::Alive], pause: Pause::None, ask: Ask::Sentinel });
    let there = machine.step(&Answer::Sentinel, s(30));
    assert_eq!(there, Step { events: vec![], pause: Pause::None, ask: follow(7) });
}

#[test]
fn rights_that_went_during_a_poll_are_missed_by_the_look_at_the_sentinel() {
    let rows = [(Answer::Denied, BlindReason::Denied), (Answer::NotFound { index: 7 }, BlindReason::MissingSentinel)];
    for (answer, reason) in rows {
        let mut machine = following(7);
        step(&mut machine, page(7), 30);
        assert_eq!(machine.step(&answer, s(30)).events, [WatchEvent::Blind(reason)]);
        assert_eq!(machine.ask(), Ask::List);
    }
    let mut machine = following(7);
    step(&mut machine, page(7), 30);
    assert_eq!(machine.step(&Answer::Failed(Failure::Timeout), s(30)).ask, Ask::Probe);
}

#[test]
fn a_higher_index_is_a_snapshot() {
    let step = step(&mut following(7), page(9), 30);
    assert_eq!(step, Step { events: vec![WatchEvent::Snapshot], pause: Pause::None, ask: follow(9) });
}

#[test]
fn a_lower_index_or_none_is_a_reset_followed_by_a_list_at_once() {
    for to in [3, 0] {
        let mut machine = following(7);
        let reset = step(&mut machine, page(to), 30);
        let events = vec![WatchEvent::Reset { from: 7, to }, WatchEvent::Blind(BlindReason::IndexReset)];
        assert_eq!(reset, Step { events, pause: Pause::None, ask: Ask::List });
        assert_eq!(step(&mut machine, page(3), 31).events, [WatchEvent::Snapshot]);
        assert_eq!(machine.ask(), follow(3));
    }
}

#[test]
fn resets_without_end_are_slowed_down() {
    let mut machine = following(100);
    let mut pauses = Vec::new();
    for index in (0..4).map(|turn| 90 - 10 * turn) {
        pauses.push(step(&mut machine, page(index), 30).pause);
        step(&mut machine, page(index), 30);
    }
    let up_to = |ms| Pause::UpTo(Duration::from_millis(ms));
    assert_eq!(pauses, [Pause::None, up_to(800), up_to(1600), up_to(3200)]);
    step(&mut machine, page(60), 60);
    assert_eq!(step(&mut machine, page(5), 90).pause, Pause::None, "a quiet poll in between forgets them");
}

#[test]
fn an_older_state_restored_while_blind_is_a_reset_too() {
    let mut machine = following(7);
    machine.step(&Answer::Denied, s(1));
    let events = step(&mut machine, page(5), 2).events;
    assert_eq!(events, [WatchEvent::Reset { from: 7, to: 5 }, WatchEvent::Snapshot]);
}

#[test]
fn a_page_without_a_leader_or_too_old_says_nothing() {
    let old = Page { last_contact: s(11), ..page(9) };
    for stale in [Page { known_leader: false, ..page(9) }, old] {
        let mut machine = following(7);
        assert_eq!(step(&mut machine, stale, 1).events, [WatchEvent::Failed(Failure::Stale)]);
        assert_eq!(machine.state(), WatchState::Following { index: 7 });
    }
}

#[test]
fn after_a_failure_the_first_question_does_not_block_and_the_index_is_kept() {
    for failure in [Failure::Transport, Failure::Timeout, Failure::Server] {
        let mut machine = following(7);
        let failed = machine.step(&Answer::Failed(failure), s(1));
        assert_eq!(failed.events, [WatchEvent::Failed(failure)]);
        assert_eq!((failed.ask, machine.state()), (Ask::Probe, WatchState::Following { index: 7 }));
        assert_eq!(step(&mut machine, page(7), 2).events, [WatchEvent::Alive]);
        assert_eq!(machine.ask(), follow(7));
    }
}

#[test]
fn a_store_that_comes_back_older_is_noticed_by_that_question() {
    let mut machine = following(7);
    machine.step(&Answer::Failed(Failure::Transport), s(1));
    assert_eq!(step(&mut machine, page(4), 2).events[0], WatchEvent::Reset { from: 7, to: 4 });
}

#[test]
fn failures_back_off_and_after_10_s_the_view_is_blind_until_a_page_comes() {
    let mut machine = following(7);
    let mut fail = |at| machine.step(&Answer::Failed(Failure::Transport), s(at));
    let unreachable = WatchEvent::Blind(BlindReason::Unreachable);
    let ceilings: Vec<Pause> = (0..6).map(|turn| fail(100 + turn).pause).collect();
    assert_eq!(ceilings, [800, 1600, 3200, 6400, 10_000, 10_000].map(|ms| Pause::UpTo(Duration::from_millis(ms))));
    assert!(!fail(109).events.contains(&unreachable));
    assert!(fail(110).events.contains(&unreachable));
    assert_eq!(step(&mut machine, page(7), 111).events, [WatchEvent::Alive]);
    let first = machine.step(&Answer::Failed(Failure::Transport), s(200));
    assert_eq!(first.events, [WatchEvent::Failed(Failure::Transport)], "the row of failures was broken");
    assert_eq!(first.pause, Pause::UpTo(Duration::from_millis(800)));
}

#[test]
fn blindness_is_looked_into_at_least_every_5_s() {
    let mut machine = following(7);
    let ceilings: Vec<Pause> = (0..5).map(|turn| machine.step(&Answer::Denied, s(turn)).pause).collect();
    assert_eq!(ceilings, [800, 1600, 3200, 5000, 5000].map(|ms| Pause::UpTo(Duration::from_millis(ms))));
}

#[test]
fn a_mass_loss_is_believed_only_from_a_quorum() {
    let difference = Difference { held: 20, lost: 6, changed: 0, missed: 0 };
    let mut machine = following(7);
    let suspicious = step(&mut machine, Page { difference, ..page(9) }, 30);
    assert_eq!(
        suspicious,
        Step { events: vec![WatchEvent::Suspicious(difference)], pause: Pause::None, ask: Ask::List }
    );
    machine.step(&Answer::Failed(Failure::Stale), s(31));
    assert_eq!(machine.ask(), Ask::List, "a failure does not make it believed");
    let confirmed = step(&mut machine, Page { difference, ..page(9) }, 32);
    assert_eq!(confirmed.events, [WatchEvent::Snapshot]);
    assert_eq!(machine.ask(), follow(9));
}

#[test]
fn a_check_is_due_only_while_following_and_applies_what_the_polls_have_missed() {
    let mut machine = WatchMachine::new(Pace::default(), s(600));
    assert!(!machine.check_if_due(s(601)), "a watch that lists needs no check");
    step(&mut machine, page(7), 601);
    assert!(machine.check_if_due(s(601)));
    machine.check_again_at(s(1200));
    assert_eq!(machine.ask(), Ask::List);
    let difference = Difference { held: 10, lost: 1, changed: 1, missed: 2 };
    let found = step(&mut machine, Page { difference, ..page(7) }, 602);
    assert_eq!(found.events, [WatchEvent::Missed(2), WatchEvent::Reset { from: 7, to: 7 }, WatchEvent::Snapshot]);
    assert!(!machine.check_if_due(s(1199)) && machine.check_if_due(s(1200)));
    let difference = Difference { held: 10, ..Difference::default() };
    let nothing = step(&mut machine, Page { difference, ..page(7) }, 1201);
    assert_eq!((nothing.events, nothing.ask), (vec![WatchEvent::Alive], follow(7)));
}

#[test]
fn a_restored_state_that_has_caught_up_with_the_index_is_found_by_its_rows() {
    for index in [7, 9] {
        let mut machine = following(7);
        let other = Page { difference: Difference { held: 10, lost: 0, changed: 3, missed: 2 }, ..page(index) };
        let suspicious = step(&mut machine, other, 30);
        assert_eq!((suspicious.events, suspicious.ask), (vec![WatchEvent::Suspicious(other.difference)], Ask::List));
        let reset = WatchEvent::Reset { from: 7, to: index };
        assert_eq!(step(&mut machine, other, 31).events, [WatchEvent::Missed(2), reset, WatchEvent::Snapshot]);
    }
}

#[test]
fn a_bucket_lets_two_pass_and_then_one_an_interval_which_grows_while_they_come() {
    let mut bucket = Bucket::new(Duration::from_millis(250), s(1));
    let ms = |bucket: &mut Bucket, now| bucket.take(Duration::from_millis(now)).as_millis();
    assert_eq!(ms(&mut bucket, 10_000), 0);
    assert_eq!(ms(&mut bucket, 10_000), 250);
    // Whoever waits as told meets 500 ms, then the most there is.
    let waits: Vec<u128> = [10_250, 10_750, 11_750, 12_750].map(|now| ms(&mut bucket, now)).into();
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]) && waits[3] <= 1000, "{waits:?}");
    assert_eq!(ms(&mut bucket, 60_000), 0, "a quiet time fills it");
    assert_eq!(ms(&mut bucket, 60_000), 250, "and makes it fast again");
}

/// A store that holds one number of rows and an index, and what may happen to it.
#[derive(Clone, Debug)]
enum Op {
    /// A write that adds or changes rows.
    Write,
    /// So many rows of the 100 are deleted.
    Lose(usize),
    /// An older state comes back.
    Restore(u64),
    /// Someone wipes the prefix, or the token loses its rights.
    Hide(bool),
    /// Rights and sentinel come back.
    Show,
    /// One question is answered.
    Ask,
    /// One question is not answered.
    Fail,
    /// One question is answered by an ex-leader that knows nothing new and has lost this many rows of it.
    Lie(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Write),
        2 => (1..60_usize).prop_map(Op::Lose),
        1 => (1..40_u64).prop_map(Op::Restore),
        1 => any::<bool>().prop_map(Op::Hide),
        2 => Just(Op::Show),
        9 => Just(Op::Ask),
        2 => Just(Op::Fail),
        2 => (0..60_usize).prop_map(Op::Lie),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hidden {
    Denied,
    Wiped,
}

#[derive(Debug)]
struct World {
    index: u64,
    /// A number that stands for the content: another one with every change.
    version: u64,
    rows: usize,
    hidden: Option<Hidden>,
    machine: WatchMachine,
    /// What the reader holds: index, version, rows.
    held: Option<(u64, u64, usize)>,
    trusted: bool,
    now: Duration,
}

impl World {
    fn new() -> Self {
        let (machine, now) = (machine(), Duration::ZERO);
        Self { index: 50, version: 1, rows: 100, hidden: None, machine, held: None, trusted: false, now }
    }

    fn apply(&mut self, op: &Op) {
        self.now += s(1);
        match op {
            Op::Write => self.change(self.rows.max(1)),
            Op::Lose(lost) => self.change(self.rows.saturating_sub(*lost)),
            Op::Restore(back) => {
                self.index = self.index.saturating_sub(*back).max(1);
                self.version += 1;
            }
            Op::Hide(denied) => self.hidden = Some(if *denied { Hidden::Denied } else { Hidden::Wiped }),
            Op::Show => self.hidden = None,
            Op::Ask => self.ask(),
            Op::Fail => self.take(&Answer::Failed(Failure::Timeout), None),
            Op::Lie(lost) => self.lie(*lost),
        }
    }

    fn change(&mut self, rows: usize) {
        self.index += 1;
        self.version += 1;
        self.rows = rows;
    }

    /// An honest answer. A poll for an index that the store has not passed comes back with what there is.
    fn ask(&mut self) {
        let answer = match self.hidden {
            Some(Hidden::Denied) => Answer::Denied,
            Some(Hidden::Wiped) => Answer::NotFound { index: self.index },
            None if self.machine.ask() == Ask::Sentinel => Answer::Sentinel,
            None => Answer::Page(self.page(self.index, self.rows)),
        };
        self.take(&answer, Some((self.index, self.version, self.rows)));
    }

    /// A paused ex-leader answers what is not confirmed by a quorum; it cannot answer a list.
    fn lie(&mut self, lost: usize) {
        if matches!(self.machine.ask(), Ask::List | Ask::Sentinel) || self.hidden.is_some() {
            return self.ask();
        }
        let rows = self.rows.saturating_sub(lost);
        let answer = Answer::Page(self.page(self.index + 1, rows));
        let held = self.held.map_or(0, |(_, _, rows)| rows);
        let before = self.held;
        self.take(&answer, Some((self.index + 1, 0, rows)));
        if held.saturating_sub(rows) > 5.max(held / 5) {
            assert_eq!(self.held, before, "no mass loss is taken from whoever is not confirmed");
        }
        self.index += 1;
    }

    fn page(&self, index: u64, rows: usize) -> Page {
        let held = self.held.map_or(0, |(_, _, rows)| rows);
        let aba = self.held.is_some_and(|held| held.0 == index && held.1 != self.version);
        let difference = Difference { held, lost: held.saturating_sub(rows), changed: 1, missed: usize::from(aba) };
        Page { difference, ..page(index) }
    }

    fn take(&mut self, answer: &Answer, shown: Option<(u64, u64, usize)>) {
        let step = self.machine.step(answer, self.now);
        for event in &step.events {
            match event {
                WatchEvent::Snapshot => {
                    assert!(matches!(answer, Answer::Page(page) if page.sentinel), "only a page makes a snapshot");
                    (self.held, self.trusted) = (shown, true);
                }
                WatchEvent::Alive => {
                    assert_eq!(self.held.map(|held| held.0), shown.map(|shown| shown.0));
                    self.trusted = true;
                }
                WatchEvent::Blind(_) => self.trusted = false,
                _ => {}
            }
        }
        if matches!(answer, Answer::Denied | Answer::NotFound { .. }) {
            assert!(!self.trusted, "what cannot be read is not trusted");
        }
        if let Ask::Follow { index, wait } = step.ask {
            assert_eq!(Some(index), self.held.map(|held| held.0), "only the index held is followed");
            assert!(wait <= MAX_WAIT);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_has_happened_an_honest_store_is_shown_as_it_is(ops in prop::collection::vec(op(), 0..80)) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
        // Once it answers honestly, and has passed whatever index a lie has left behind, six answers are enough.
        world.hidden = None;
        world.change(world.rows.max(1));
        for _ in 0..6 {
            world.apply(&Op::Ask);
        }
        prop_assert!(world.trusted);
        prop_assert_eq!(world.held, Some((world.index, world.version, world.rows)));
    }
}
