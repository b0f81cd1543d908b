use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn me(who: &str) -> Me {
    Me { who: who.to_owned(), session: format!("s-{who}"), version: "2".to_owned() }
}

fn limits(at_most: usize) -> Limits {
    Limits { at_most, ..Limits::default() }
}

/// A queue of so many holders and so many waiters, `a` first.
fn queue(holders: &str, waiting: &str) -> Queue {
    let holders = holders.chars().map(|who| hold_of(&me(&who.to_string()), at(0), &limits(1))).collect();
    let waiter = |who: char| {
        let Me { who, session, version } = me(&who.to_string());
        Waiter { who, session, version, since: at(0) }
    };
    Queue { holders, waiting: waiting.chars().map(waiter).collect() }
}

/// Who holds and who waits: `ab|c`.
fn picture(queue: &Queue) -> String {
    let holders: String = queue.holders.iter().map(|hold| hold.who.as_str()).collect();
    let waiting: String = queue.waiting.iter().map(|waiter| waiter.who.as_str()).collect();
    format!("{holders}|{waiting}")
}

fn outcome(queue: &Queue, who: &str, at_most: usize, dead: &str, now: i64) -> String {
    let dead = dead.chars().map(|who| format!("s-{who}")).collect();
    let view = View { queue, bad: None, dead: &dead, now: at(now) };
    match decide(view, &me(who), &limits(at_most)) {
        Decision::Enter { queue } => format!("enter {}", picture(&queue)),
        Decision::LineUp { queue } => format!("line up {}", picture(&queue)),
        Decision::Held(hold) => format!("held until {}", hold.until.as_second()),
        Decision::Wait { look_in } => format!("wait {}", look_in.as_secs()),
        Decision::Refuse { queue, .. } => format!("refuse {:?}", queue.as_ref().map(picture)),
    }
}

#[test]
fn who_may_enter_is_a_table() {
    let table = [
        // holders, waiting, who, at most, dead, now, outcome
        ("", "", "a", 1, "", 0, "enter a|"),
        ("a", "", "a", 1, "", 9, "held until 3600"),
        ("a", "", "b", 1, "", 0, "line up a|b"),
        ("a", "", "b", 2, "", 0, "enter ab|"),
        ("a", "b", "b", 1, "", 0, "wait 20"),
        ("a", "bc", "c", 1, "", 0, "wait 40"),
        ("a", "bcdefghi", "i", 1, "", 0, "wait 100"),
        ("a", "b", "b", 1, "", 3595, "wait 5"),
        ("", "bc", "c", 1, "", 0, "wait 40"),
        ("", "bc", "b", 1, "", 0, "enter b|c"),
        ("", "bc", "c", 2, "", 0, "enter c|b"),
        ("", "bc", "d", 2, "", 0, "line up |bcd"),
        // A dead holder and dead waiters give way to whoever finds them.
        ("a", "b", "b", 1, "a", 0, "enter b|"),
        ("a", "bcd", "d", 1, "ab", 0, "line up |cd"),
        ("a", "bcd", "d", 1, "abc", 0, "enter d|"),
        // Who is over its time is passed.
        ("a", "b", "b", 1, "", 3600, "enter b|"),
        // At most none would be for ever.
        ("", "", "a", 0, "", 0, "enter a|"),
    ];
    for (holders, waiting, who, at_most, dead, now, expected) in table {
        let got = outcome(&queue(holders, waiting), who, at_most, dead, now);
        assert_eq!(got, expected, "{holders}|{waiting}, {who} of at most {at_most}, dead: {dead:?}, at {now}");
    }
}

#[test]
fn a_bad_version_is_refused_and_leaves_the_line() {
    let bad = Bad { version: "2".to_owned(), why: "no".to_owned(), by: "a".to_owned(), at: None };
    let dead = BTreeSet::new();
    for (queue, left) in [(queue("", "bc"), Some("|c")), (queue("b", "c"), Some("|c")), (queue("a", ""), None)] {
        let view = View { queue: &queue, bad: Some(&bad), dead: &dead, now: at(0) };
        let Decision::Refuse { queue: got, .. } = decide(view, &me("b"), &limits(1)) else { panic!() };
        assert_eq!(got.as_ref().map(picture).as_deref(), left);
    }
}

#[test]
fn a_next_life_takes_over_the_place_of_the_one_before_with_what_is_left_of_its_time() {
    let dead = BTreeSet::from(["s-b".to_owned()]);
    let again = Me { session: "new".to_owned(), ..me("b") };
    let before = queue("b", "c");
    let view = View { queue: &before, bad: None, dead: &dead, now: at(100) };
    let Decision::Enter { queue: after } = decide(view, &again, &limits(1)) else { panic!() };
    assert_eq!((after.holders[0].session.as_str(), after.holders[0].until), ("new", at(3600)));
    let before = queue("a", "bc");
    let view = View { queue: &before, bad: None, dead: &dead, now: at(100) };
    let Decision::LineUp { queue: after } = decide(view, &again, &limits(1)) else { panic!() };
    assert_eq!((picture(&after).as_str(), after.waiting[0].session.as_str()), ("a|bc", "new"));
}

/// What happens to one of the nodes.
#[derive(Clone, Debug)]
enum Act {
    /// It reads the queue, and decides by it later.
    Look(usize),
    /// It decides by what it read, and writes if the queue is still as it was.
    Do(usize),
    /// It has upgraded.
    Finish(usize),
    /// It dies.
    Die(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (0..12_u8, 0..6_usize).prop_map(|(what, who)| match what {
        0..4 => Act::Look(who),
        4..9 => Act::Do(who),
        9..11 => Act::Finish(who),
        _ => Act::Die(who),
    });
    prop::collection::vec(act, 1..200)
}

/// The value under compare-and-swap, and what each node last read of it.
struct Fleet {
    queue: Queue,
    index: u64,
    read: Vec<(Queue, u64)>,
    dead: BTreeSet<String>,
    done: BTreeSet<usize>,
    /// The living in the order in which they lined up or entered.
    came: VecDeque<usize>,
    at_most: usize,
}

impl Fleet {
    fn new(at_most: usize) -> Self {
        let read = vec![(Queue::default(), 0); 6];
        let (queue, dead, done, came) = (Queue::default(), BTreeSet::new(), BTreeSet::new(), VecDeque::new());
        Self { queue, index: 0, read, dead, done, came, at_most }
    }

    fn gone(&self, node: usize) -> bool {
        self.done.contains(&node) || self.dead.contains(&me(&node.to_string()).session)
    }

    fn holds(&self, node: usize) -> bool {
        self.queue.holders.iter().any(|hold| hold.who == node.to_string())
    }

    fn write(&mut self, queue: Queue) {
        self.queue = queue;
        self.index += 1;
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match *act {
            Act::Look(node) => self.read[node] = (self.queue.clone(), self.index),
            Act::Do(node) if !self.gone(node) => self.decide(node)?,
            Act::Finish(node) if self.holds(node) && !self.gone(node) => {
                self.write(without(&self.queue, &node.to_string()));
                self.done.insert(node);
            }
            Act::Die(node) if self.dead.len() < 3 && !self.gone(node) => {
                self.dead.insert(me(&node.to_string()).session);
                self.came.retain(|other| *other != node);
            }
            Act::Do(_) | Act::Finish(_) | Act::Die(_) => {}
        }
        Ok(())
    }

    fn decide(&mut self, node: usize) -> Result<(), TestCaseError> {
        let (read, index) = self.read[node].clone();
        let view = View { queue: &read, bad: None, dead: &self.dead, now: at(1) };
        let decision = decide(view, &me(&node.to_string()), &limits(self.at_most));
        if index != self.index {
            return Ok(());
        }
        let enters = matches!(decision, Decision::Enter { .. });
        if let Decision::Enter { queue } | Decision::LineUp { queue } = decision {
            if !self.came.contains(&node) {
                self.came.push_back(node);
            }
            if enters {
                // Nobody who lives and came before is passed, but for those whom a free place is left for.
                let before = self.came.iter().take_while(|other| **other != node);
                let passed = before.filter(|other| !self.holds(**other) && !self.gone(**other)).count();
                let free = self.at_most - queue.holders.len() + 1;
                prop_assert!(passed < free, "{node} passed {passed} with {free} free");
            }
            self.write(queue);
        }
        prop_assert!(self.queue.holders.len() <= self.at_most);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn at_most_n_hold_nobody_is_passed_and_in_the_end_all_who_live_have_upgraded(acts in acts(), at_most in 1..4_usize) {
        let mut fleet = Fleet::new(at_most);
        for act in &acts {
            fleet.act(act)?;
        }
        for _ in 0..10 {
            for node in 0..6 {
                for act in [Act::Look(node), Act::Do(node), Act::Look(node), Act::Do(node), Act::Finish(node)] {
                    fleet.act(&act)?;
                }
            }
        }
        prop_assert!((0..6).all(|node| fleet.gone(node)), "{:?}", picture(&fleet.queue));
    }
}
