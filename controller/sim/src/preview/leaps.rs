//! A wall clock that leaps: over the hours in which a soak or a pause lasts and nothing else can happen.
//!
//! Soaks, pauses and deadlines are kept as instants of the wall clock, so a leap is all that it takes for them to pass. Leases, long polls
//! and heartbeats go by the monotonic clock and do not notice.

use std::sync::{Arc, Mutex};

use helium_runtime::ports::{Clock, Ports};
use jiff::{SignedDuration, Timestamp};

use crate::net::lock;

/// The clock.
pub(super) struct Leaping {
    steady: Arc<dyn Clock>,
    ahead: Mutex<SignedDuration>,
}

impl Leaping {
    /// The same ports with a clock that leaps, and that clock.
    pub(super) fn with(ports: Ports) -> (Ports, Arc<Self>) {
        let clock = Arc::new(Self { steady: Arc::clone(&ports.clock), ahead: Mutex::new(SignedDuration::ZERO) });
        let as_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        (ports.with_clock(as_clock), clock)
    }

    /// Leaps to an instant, unless that has passed.
    pub(super) fn leap(&self, to: Timestamp) {
        let missing = to.duration_since(self.now());
        if missing > SignedDuration::ZERO {
            *lock(&self.ahead) += missing;
        }
    }
}

impl Clock for Leaping {
    fn now(&self) -> Timestamp {
        self.steady.now().saturating_add(*lock(&self.ahead)).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_leap_moves_the_wall_clock_alone_and_never_back() {
        let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (ports, clock) = Leaping::with(Ports::seeded(1, begin));
        clock.leap(begin + SignedDuration::from_hours(5));
        assert_eq!((ports.now().to_string().as_str(), ports.monotonic().as_secs()), ("2026-01-01T05:00:00Z", 0));
        clock.leap(begin);
        assert_eq!(ports.now().to_string(), "2026-01-01T05:00:00Z");
    }
}
