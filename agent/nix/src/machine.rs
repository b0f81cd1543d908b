//! What to do next with a profile, as a pure function of what is remembered and what is so.
//!
//! [`decide`] names one [`Step`]; whoever does it turns what came of it into an [`Event`], writes the record that [`apply`] makes of that, and
//! asks again. Nothing else is remembered, so a program that is killed between any two instructions goes on where it was. The rules:
//!
//! - an attempt is in the record before the profile is touched, and leaves it only when its activation has succeeded or was given up;
//! - what has failed so often as it may is refused, and the profile goes back to the newest other path that was found good;
//! - a way back that fails too is no reason to go further back: it stops there, and says so;
//! - a profile that is not where it came to rest was set by somebody else. It is activated, and what was left that way is refused until a
//!   person asks for it: a person's hand counts more than Hydra's latest build;
//! - what is refused is not taken again, whatever Hydra says, until a person asks.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::record::{Attempt, Generation, Good, Record, Refused, Settled, Target, Way, Why};

/// A wait that ends later than this from now was noted by another clock, and is over.
pub const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(15);

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wish {
    /// Go back from this path to the newest other one that was found good. Nothing happens if the profile is elsewhere by then.
    Rollback {
        /// From where.
        from: String,
    },
    /// Refuse nothing any more.
    Retry,
}

/// A person's wish, and an id by which it is granted once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Random.
    pub id: String,
    /// The wish.
    pub wish: Wish,
}

/// All that a decision depends on, beside the record.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Where the profile is.
    pub current: Option<&'a Generation>,
    /// The build that Hydra has; none while that is not known.
    pub wanted: Option<&'a Target>,
    /// What a person asks for.
    pub ask: Option<&'a Ask>,
    /// Whether the profile is to be activated wherever it is.
    pub anyway: bool,
    /// How often an activation is tried; 1 or more.
    pub tries: u32,
    /// The present.
    pub now: Timestamp,
}

/// The one thing to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something changes, or until this instant.
    Rest(Option<Timestamp>),
    /// Note an attempt.
    Begin(Attempt),
    /// Note what a person asks for.
    Answer(Ask),
    /// Set the profile to the path of the attempt.
    Switch(Attempt),
    /// Run the activation.
    Activate(Attempt),
    /// Note that the activation has failed too often.
    GiveUp,
    /// Note that the profile, which was to be activated where it is, is elsewhere.
    Drop,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An attempt begins.
    Began(Attempt),
    /// A person's wish is taken up; of a rollback, from where the profile is.
    Asked(Ask),
    /// The profile could not be set.
    SwitchFailed {
        /// Whether that is so because the path is not in the store any more.
        gone: bool,
    },
    /// The activation has succeeded.
    Activated,
    /// The activation has failed; the next try is not before this instant.
    ActivationFailed {
        /// How.
        words: String,
        /// When to try again.
        not_before: Timestamp,
    },
    /// The attempt is given up.
    GaveUp,
    /// The attempt is pointless.
    Dropped,
}

/// The next step.
pub fn decide(record: &Record, facts: &Facts<'_>) -> Step {
    if let Some(attempt) = &record.attempt {
        return go_on(attempt, facts);
    }
    if let Some(ask) = facts.ask.filter(|ask| record.answered.as_ref() != Some(&ask.id)) {
        return Step::Answer(ask.clone());
    }
    if let Some(current) = facts.current {
        let known = record.settled.as_ref().is_some_and(|settled| settled.generation == *current);
        if facts.anyway || !known {
            return begin(record.known(&current.path), Way::Here);
        }
    }
    match facts.wanted {
        Some(wanted) if !is_at(facts.current, &wanted.path) && record.refusal(&wanted.path).is_none() => {
            begin(wanted.clone(), Way::Forward)
        }
        _ => Step::Rest(None),
    }
}

fn go_on(attempt: &Attempt, facts: &Facts<'_>) -> Step {
    if !is_at(facts.current, &attempt.target.path) {
        return if attempt.way == Way::Here { Step::Drop } else { Step::Switch(attempt.clone()) };
    }
    if attempt.failures >= facts.tries {
        return Step::GiveUp;
    }
    let longest = facts.now.saturating_add(LONGEST_WAIT).unwrap_or(Timestamp::MAX);
    match attempt.not_before {
        Some(at) if at > facts.now && at <= longest => Step::Rest(Some(at)),
        _ => Step::Activate(attempt.clone()),
    }
}

fn begin(target: Target, way: Way) -> Step {
    Step::Begin(attempt(target, way))
}

fn attempt(target: Target, way: Way) -> Attempt {
    Attempt { target, way, failures: 0, not_before: None, words: String::new() }
}

fn is_at(current: Option<&Generation>, path: &str) -> bool {
    current.is_some_and(|current| current.path == path)
}

/// The record after an event. `current` is where the profile is then.
#[must_use]
pub fn apply(mut record: Record, event: Event, current: Option<&Generation>, now: Timestamp) -> Record {
    match event {
        Event::Began(attempt) => {
            leave_by_hand(&mut record, &attempt, current, now);
            record.attempt = Some(attempt);
        }
        Event::Asked(ask) => {
            match ask.wish {
                Wish::Rollback { from } if is_at(current, &from) => roll_back(&mut record, &from, now),
                Wish::Rollback { .. } => {}
                Wish::Retry => forgive(&mut record),
            }
            record.answered = Some(ask.id);
        }
        Event::SwitchFailed { gone } => switch_failed(&mut record, gone, current),
        Event::Activated => {
            if let (Some(attempt), Some(current)) = (record.attempt.take(), current) {
                record.add_good(Good { target: attempt.target, generation: current.number, at: now });
                record.settled = Some(Settled { generation: current.clone(), well: true });
            }
        }
        Event::ActivationFailed { words, not_before } => {
            if let Some(attempt) = &mut record.attempt {
                attempt.failures += 1;
                attempt.not_before = Some(not_before);
                attempt.words = words;
            }
        }
        Event::GaveUp => give_up(&mut record, current, now),
        Event::Dropped => record.attempt = None,
    }
    record
}

/// What a person has left by setting the profile is not taken again.
fn leave_by_hand(record: &mut Record, attempt: &Attempt, current: Option<&Generation>, now: Timestamp) {
    let left = record.settled.as_ref().filter(|settled| settled.well).map(|settled| settled.generation.path.clone());
    let Some(left) = left.filter(|left| attempt.way == Way::Here && !is_at(current, left)) else { return };
    let words = "somebody has set the profile to another generation".to_owned();
    let target = record.known(&left);
    record.refuse(Refused { target, why: Why::Left, words, at: now });
}

fn roll_back(record: &mut Record, from: &str, now: Timestamp) {
    let Some(back) = record.way_back(from).map(|good| good.target.clone()) else { return };
    let target = record.known(from);
    record.refuse(Refused { target, why: Why::Left, words: "a person asked to go back".to_owned(), at: now });
    record.attempt = Some(attempt(back, Way::Back));
}

/// What is not well where it is, is to be activated again.
fn forgive(record: &mut Record) {
    record.refused.clear();
    record.settled = record.settled.take().filter(|settled| settled.well);
}

/// Nothing has changed. Hydra may have what is needed in a while; a way back is the only one as long as it is there at all.
fn switch_failed(record: &mut Record, gone: bool, current: Option<&Generation>) {
    match record.attempt.take() {
        Some(attempt) if attempt.way == Way::Back && !gone => record.attempt = Some(attempt),
        Some(attempt) if attempt.way == Way::Back => {
            record.good.retain(|good| good.target.path != attempt.target.path);
            go_back(record, current);
        }
        _ => {}
    }
}

fn give_up(record: &mut Record, current: Option<&Generation>, now: Timestamp) {
    let Some(failed) = record.attempt.take() else { return };
    record.refuse(Refused { target: failed.target, why: Why::Failed, words: failed.words, at: now });
    if failed.way == Way::Back {
        settle_badly(record, current);
    } else {
        go_back(record, current);
    }
}

fn go_back(record: &mut Record, current: Option<&Generation>) {
    let back = current.and_then(|current| record.way_back(&current.path)).map(|good| good.target.clone());
    match back {
        Some(target) => record.attempt = Some(attempt(target, Way::Back)),
        None => settle_badly(record, current),
    }
}

fn settle_badly(record: &mut Record, current: Option<&Generation>) {
    record.settled = current.map(|current| Settled { generation: current.clone(), well: false });
}

impl Record {
    /// All that is known of a path.
    fn known(&self, path: &str) -> Target {
        let good = self.good.iter().map(|good| &good.target);
        let all = good.chain(self.refused.iter().map(|refused| &refused.target));
        let unknown = Target { path: path.to_owned(), build: None, evaluation: None };
        all.into_iter().find(|target| target.path == path).cloned().unwrap_or(unknown)
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
