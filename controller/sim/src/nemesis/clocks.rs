//! F7: the wall clock of a machine leaps, for a while or for good.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Nemesis, seconds};
use crate::wire::Actor;

/// Leaps that are followed little by little, and those that are too far for that.
const NEAR: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(10));
const FAR: (Duration, Duration) = (Duration::from_mins(10), Duration::from_hours(5));

impl Nemesis {
    /// The clock of a controller, mostly the one that leads, or of an agent.
    pub(super) async fn clock_leaps(&mut self) -> bool {
        let whose = if self.rng.chance(800) {
            let any = self.rng.below(self.world.controllers.number() as u64);
            let leader = self.world.controllers.leader().filter(|_| self.rng.chance(700));
            Actor::Controller(leader.unwrap_or(usize::try_from(any).unwrap_or(0)))
        } else {
            Actor::Agent(self.a_node())
        };
        let (from, to) = if self.rng.chance(500) { NEAR } else { FAR };
        let length = SignedDuration::try_from(self.rng.between(from, to)).unwrap_or_default();
        let by = if self.rng.chance(500) { length } else { -length };
        self.leap(whose, by);
        if self.rng.chance(500) {
            tokio::time::sleep(self.rng.between(seconds(3), seconds(90))).await;
            self.leap(whose, -by);
        }
        true
    }

    fn leap(&self, whose: Actor, by: SignedDuration) {
        self.world.net.tell(&format!("the clock of {whose} leaps by {by:#}"));
        self.world.net.clocks.leap(whose, by);
    }
}
