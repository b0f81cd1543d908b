//! Bugs on purpose: at least one for each checker, and one for each of its finer rules, to see that it is caught.
//!
//! A defect is put in through the seams only: another planner, requests and answers that are changed on the wire, or what an agent
//! makes of a step of its machine.

mod plans;
mod values;
mod wires;

use helium_planner::{Decision, World, plan};

pub(crate) use wires::{pretend, rewrite};

/// A bug. Its name begins with the checker that must catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    /// Stops every instance of another revision at once.
    S1,
    /// Stops one healthy instance too many in a roll.
    S1OneLess,
    /// Puts every old instance on standby while the new ones are still to be seen serving.
    S1Withdrawn,
    /// Makes three for one.
    S2,
    /// Makes one too many.
    S2OneMore,
    /// Deletes a key that is not the controller's.
    S3,
    /// Assigns each instance to a second node too.
    S4,
    /// Gives a new instance the ordinal of an old one.
    S4Ordinal,
    /// An agent lets a process through its gate before it has written it down.
    S4Unwritten,
    /// An agent does not read what it wrote down in an earlier life.
    S4Forgetful,
    /// Promotes a canary without evidence.
    S5,
    /// Makes one canary more than the step asks for.
    S5OneMore,
    /// Lets previews serve.
    S5Shown,
    /// Lets each canary weigh as much as any other instance.
    S5Heavy,
    /// Takes weights for those of Consul that are only assigned.
    S5Unweighed,
    /// Makes another one of what was given up.
    S5Again,
    /// Stops no canary after it was given up.
    S5Kept,
    /// Goes on by memory when it cannot see.
    S6,
    /// Does not mind that a sentinel is missing.
    S6Sentinel,
    /// Removes an object that nobody asked to delete.
    S7,
    /// Removes a Canary that nobody asked to delete.
    S7Canary,
    /// Does not see that a spec is gone, and commits without asking whether it is there.
    S7Unguarded,
    /// Does not mind that a rollout is held.
    S8,
    /// Writes without the fence.
    S9,
    /// Claims to have seen a generation that is still to come.
    S10,
    /// Claims to have seen less than before.
    S10Back,
    /// Says that a condition changed long ago.
    S10Clock,
    /// Writes the time into the status.
    S11,
    /// Does not mind what metrics say, nor whether they say anything.
    S12,
    /// Does not give up what metrics say no to.
    S13,
    /// Begins a version while two others that never served are there.
    S14,
    /// Lets the leaps of the wall clock through.
    S15,
    /// Is set by the wall clock, and goes on with what it waited for.
    S15Set,
    /// Gives up a node that has been away for some seconds.
    S15Lost,
    /// Gives what it makes the values that are in the store, and not those of its revision.
    S16,
    /// Takes values as it sees them, before they have rested.
    S17,
    /// Believes at once that all values are gone.
    S17Wiped,
    /// Takes values that it cannot see for none.
    S17Unseen,
    /// Takes the newest build, whatever became of it.
    S18,
    /// An agent that stops an instance forgets to take it out of Consul.
    S19,
    /// An agent tells an instance to stop, and takes it out of Consul after that.
    S19Early,
    /// Never makes the last instance that is missing.
    L1,
    /// Keeps the records of what has stopped.
    L1Record,
    /// Forgets what it should stop.
    L1Forgotten,
    /// Takes no change of values.
    L1Values,
    /// Takes no build after the first.
    L1Build,
    /// Writes the minute into the status.
    L2,
    /// Wants to write the minute into the status, and is refused each time.
    L2Refused,
    /// Does not say why something is not yet so.
    L3,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 49] = [
        Self::S1,
        Self::S1OneLess,
        Self::S1Withdrawn,
        Self::S2,
        Self::S2OneMore,
        Self::S3,
        Self::S4,
        Self::S4Ordinal,
        Self::S4Unwritten,
        Self::S4Forgetful,
        Self::S5,
        Self::S5OneMore,
        Self::S5Shown,
        Self::S5Heavy,
        Self::S5Unweighed,
        Self::S5Again,
        Self::S5Kept,
        Self::S6,
        Self::S6Sentinel,
        Self::S7,
        Self::S7Canary,
        Self::S7Unguarded,
        Self::S8,
        Self::S9,
        Self::S10,
        Self::S10Back,
        Self::S10Clock,
        Self::S11,
        Self::S12,
        Self::S13,
        Self::S14,
        Self::S15,
        Self::S15Set,
        Self::S15Lost,
        Self::S16,
        Self::S17,
        Self::S17Wiped,
        Self::S17Unseen,
        Self::S18,
        Self::S19,
        Self::S19Early,
        Self::L1,
        Self::L1Record,
        Self::L1Forgotten,
        Self::L1Values,
        Self::L1Build,
        Self::L2,
        Self::L2Refused,
        Self::L3,
    ];

    /// The defect of a name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|defect| defect.name().eq_ignore_ascii_case(name))
    }

    /// Whether it is in what an agent makes of its machine.
    pub fn is_of_agents(self) -> bool {
        matches!(self, Self::S4Unwritten | Self::S4Forgetful | Self::S19 | Self::S19Early)
    }

    /// Its own name: `S5Kept`.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The checker that must catch it: `S5`.
    pub fn checker(self) -> String {
        let name = self.name();
        let digits = name.chars().skip(1).take_while(char::is_ascii_digit);
        name.chars().take(1).chain(digits).collect()
    }
}

/// The checker: whoever compares a violation with a defect does that by its name.
impl std::fmt::Display for Defect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.checker())
    }
}

/// Forgets what defects remember: a new world begins.
pub fn reset() {
    plans::reset();
    wires::reset();
    values::reset();
}

/// The planner with this bug.
pub fn planner(defect: Defect) -> fn(&World) -> Decision {
    plans::planner(defect).unwrap_or(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_with_the_checker() {
        for (defect, checker) in [(Defect::S1, "S1"), (Defect::S10Back, "S10"), (Defect::L2Refused, "L2")] {
            assert_eq!((defect.checker().as_str(), Defect::parse(&defect.name())), (checker, Some(defect)));
        }
    }
}
