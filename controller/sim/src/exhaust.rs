//! A crash at every call: a story is told once for each call of each controller in each of its lives, and the controller dies there,
//! before the call takes effect, or after it where it is a write. However often it dies, the end is the same. So it is with the agents, whose
//! effects on their own machines count as calls.
//!
//! A controller that dies leaves nothing but the store. So a crash after a read is the same as one before the next call, and crashes
//! before calls between which nobody wrote anything are one and the same; [`Scope::States`] tells the story once for each of these.

use crate::{
    controllers::CrashPoint,
    parallel,
    story::{self, StoryError, Told, Trial},
    wire::{Actor, Call, Death},
};

/// Which crash points are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One for each state of the store in which a controller can die.
    States,
    /// Every call, although most leave the same behind.
    Calls,
}

/// Who dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Victims {
    /// Each controller.
    #[default]
    Controllers,
    /// Each agent.
    Agents,
}

/// What came of all crashes of one story.
#[derive(Clone, Debug)]
pub struct Exhausted {
    /// How many calls they made, in all their lives.
    pub calls: usize,
    /// How many crash points there were.
    pub points: usize,
    /// The first that ended in another way: where, and how.
    pub failure: Option<(CrashPoint, String)>,
}

/// Tells a story again and again, with a crash at each of its crash points.
///
/// # Errors
/// A line that makes no sense.
pub fn exhaust(script: &str, victims: Victims, scope: Scope) -> Result<Exhausted, StoryError> {
    let whole = story::tell(script, None)?;
    let (lives, actor): (_, fn(usize) -> Actor) = match victims {
        Victims::Controllers => (&whole.calls, Actor::Controller),
        Victims::Agents => (&whole.agents_calls, Actor::Agent),
    };
    let points = points(lives, actor, scope);
    let calls = lives.iter().flatten().map(Vec::len).sum();
    let tell = |place: usize| story::tell(script, Some(Trial { crash: points[place], end: &whole.end }));
    let mut outcome = Ok(None);
    parallel::in_order(points.len(), tell, |place, told| {
        outcome = told.map(|told| differs(&whole, &told).map(|how| (points[place], how)));
        matches!(outcome, Ok(None))
    });
    Ok(Exhausted { calls, points: points.len(), failure: outcome? })
}

/// The points at which somebody may die, given the calls of each in each of their lives.
pub fn points(calls: &[Vec<Vec<Call>>], whose: fn(usize) -> Actor, scope: Scope) -> Vec<CrashPoint> {
    let mut points = Vec::new();
    for (number, lives) in calls.iter().enumerate() {
        for (life, calls) in lives.iter().enumerate() {
            let mut point =
                |call, after| points.push(CrashPoint { whose: whose(number), life, death: Death { call, after } });
            let mut last = None;
            for (place, call) in (1..).zip(calls) {
                if scope == Scope::Calls || last != Some(call.index) {
                    point(place, false);
                }
                last = Some(call.index);
                if call.writes {
                    point(place, true);
                }
            }
        }
    }
    points
}

fn differs(whole: &Told, told: &Told) -> Option<String> {
    if let Some(violation) = &told.violation {
        return Some(format!("{violation}\n{}", told.trace.join("\n")));
    }
    if !told.crashed {
        return Some("nothing crashed: the story was told in another way up to there".to_owned());
    }
    (whole.end != told.end).then(|| {
        let trace: Vec<&str> = told.trace.iter().rev().take(10).rev().map(String::as_str).collect();
        format!("ends as {:#?}\nand not as {:#?}\n{}\n{}", told.end, whole.end, told.output, trace.join("\n"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const C0: Actor = Actor::Controller(0);
    const C1: Actor = Actor::Controller(1);

    fn found(scope: Scope) -> Vec<(Actor, usize, u64, bool)> {
        let calls = |calls: &[(bool, u64)]| calls.iter().map(|&(writes, index)| Call { writes, index }).collect();
        let first = vec![calls(&[(false, 4), (false, 4), (true, 4), (false, 5)]), calls(&[(true, 5)])];
        let all = points(&[first, vec![calls(&[(false, 4)])]], Actor::Controller, scope).into_iter();
        all.map(|point| (point.whose, point.life, point.death.call, point.death.after)).collect()
    }

    #[test]
    fn a_controller_may_die_before_each_call_and_after_each_write() {
        let (before, after) = (false, true);
        let first = [(C0, 0, 1, before), (C0, 0, 2, before), (C0, 0, 3, before), (C0, 0, 3, after), (C0, 0, 4, before)];
        let others = [(C0, 1, 1, before), (C0, 1, 1, after), (C1, 0, 1, before)];
        assert_eq!(found(Scope::Calls), [&first[..], &others[..]].concat());
    }

    #[test]
    fn calls_between_which_nobody_wrote_are_one_point() {
        let (before, after) = (false, true);
        let first = [(C0, 0, 1, before), (C0, 0, 3, after), (C0, 0, 4, before)];
        let others = [(C0, 1, 1, before), (C0, 1, 1, after), (C1, 0, 1, before)];
        assert_eq!(found(Scope::States), [&first[..], &others[..]].concat());
    }
}
