//! The wall clocks of the machines. They leap (F7), and whatever runs on a machine keeps a steady clock of its own over it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use helium_runtime::{
    ports::{Clock, Ports},
    steady::{Bounds, SteadyClock},
};
use jiff::{SignedDuration, Timestamp};

use crate::{defects::Defect, net::lock, wire::Actor};

/// How long a wall clock that is far off must stay so until it is followed: less than in earnest, since a world lasts minutes.
const LASTING: Duration = Duration::from_mins(1);

/// The wall clocks of all machines, and the clocks of the controllers that run.
pub struct Clocks {
    /// The clock that is right.
    right: Ports,
    ahead: Mutex<BTreeMap<Actor, SignedDuration>>,
    lives: Mutex<BTreeMap<Actor, Life>>,
}

/// The clock of one life of a controller.
#[derive(Clone)]
struct Life {
    number: u64,
    clock: Arc<dyn Clock>,
}

/// How the clock of a controller stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Whose it is, and in which life: within one it does not leap.
    pub life: (Actor, u64),
    /// How far it is ahead of the right one.
    pub ahead: SignedDuration,
}

impl Clocks {
    /// Clocks that are all right.
    pub fn new(right: Ports) -> Arc<Self> {
        Arc::new(Self { right, ahead: Mutex::default(), lives: Mutex::default() })
    }

    /// The time that it is.
    pub fn right(&self) -> Timestamp {
        self.right.now()
    }

    /// The wall clock of somebody's machine leaps.
    pub fn leap(&self, whose: Actor, by: SignedDuration) {
        *lock(&self.ahead).entry(whose).or_default() += by;
    }

    /// A clock for a new life of somebody.
    pub fn begin(self: &Arc<Self>, whose: Actor, defect: Option<Defect>) -> Arc<dyn Clock> {
        let wall: Arc<dyn Clock> = Arc::new(WallClock { clocks: Arc::clone(self), whose });
        let steady = |wall| SteadyClock::over(wall, Bounds { lasting: LASTING, ..Bounds::default() });
        let clock: Arc<dyn Clock> = match defect {
            Some(Defect::S15) => wall,
            Some(Defect::S15Set) => Arc::new(Secretive(steady(wall))),
            _ => Arc::new(steady(wall)),
        };
        let mut lives = lock(&self.lives);
        let number = lives.get(&whose).map_or(1, |life| life.number + 1);
        lives.insert(whose, Life { number, clock: Arc::clone(&clock) });
        clock
    }

    /// How somebody's clock stands; none if nothing of theirs has begun.
    pub fn stand(&self, whose: Actor) -> Option<Stand> {
        let Life { number, clock } = lock(&self.lives).get(&whose).cloned()?;
        Some(Stand { life: (whose, number), ahead: clock.now().duration_since(self.right.now()) })
    }
}

/// The wall clock of one machine.
struct WallClock {
    clocks: Arc<Clocks>,
    whose: Actor,
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let ahead = lock(&self.clocks.ahead).get(&self.whose).copied().unwrap_or_default();
        self.clocks.right.now() + ahead
    }
}

/// A steady clock that does not tell when it is set (a defect).
struct Secretive(SteadyClock);

impl Clock for Secretive {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn wall(&self) -> Timestamp {
        self.0.wall()
    }
}
