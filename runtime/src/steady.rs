//! A wall clock that does not leap while a process lives, as a pure machine; [`SteadyClock`] drives it.
//!
//! Whoever waits by the wall clock ("healthy since 12:00, and it needs an hour") is wrong when that clock is set: an hour's soak is
//! over at once, and a node that was away for a second is lost. So the wall clock is asked once, at the beginning. From there on time
//! is carried by the monotonic clock, and brought towards the wall clock by going at most a twentieth faster or slower, as time
//! daemons do. It never goes back, and no wait is shorter or longer by more than a twentieth.
//!
//! | monotonic | the wall clock | this clock | |
//! |---|---|---|---|
//! | 0 s | 12:00:00 | 12:00:00 | the anchor |
//! | 60 s | 12:01:00 | 12:01:00 | |
//! | 60 s | 12:01:03 | 12:01:00 | set 3 s forward: nothing yet |
//! | 80 s | 12:01:23 | 12:01:21 | 20 s have passed, and 21 are shown |
//! | 120 s | 12:02:03 | 12:02:03 | 40 s have passed, and 42 are shown: it is right again |
//! | 140 s | 12:02:13 | 12:02:22 | set 10 s back: 20 s have passed, and 19 are shown |
//!
//! What that costs: a clock that was set by ten minutes is right again after 200. For more than that it would take too long: by an hour
//! 20 h, by a night in which a laptop slept a week. So a wall clock that is off by more than [`Bounds::far`] is at first not
//! followed at all. If it stays so for [`Bounds::lasting`] this clock is set by it, once, and [`Clock::set_at`] tells when: whoever waits begins to wait anew.
//! The monotonic clock stands still while a machine sleeps, and so do waits.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::ports::Clock;

/// The part of the time that passes by which this clock goes faster or slower at most: a twentieth.
const SLEW: i32 = 20;
/// A wall clock that is off by so much more than it was, all at once, has leapt.
const LEAP: SignedDuration = SignedDuration::from_secs(1);
/// By how much two clocks that nobody sets may drift apart: by a thousandth of the time that passes.
const DRIFT: i32 = 1000;
/// A clock that is far off is off by the same as before if it differs by no more than this part of [`Bounds::far`].
const SAME: i32 = 10;

/// When a wall clock that is far off is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// By how much it must be off to be far off.
    pub far: SignedDuration,
    /// For how long it must be off by the same.
    pub lasting: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { far: SignedDuration::from_mins(10), lasting: Duration::from_mins(10) }
    }
}

/// The clock at one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steady {
    bounds: Bounds,
    /// The monotonic clock.
    at: Duration,
    /// What this clock showed.
    shown: Timestamp,
    /// How far the wall clock was ahead.
    ahead: SignedDuration,
    /// Since when it is far ahead, or far behind, and by how much.
    far: Option<(Duration, SignedDuration)>,
    /// When this clock was set last, as it showed then.
    set_at: Option<Timestamp>,
}

/// What a reading has found out about the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It has leapt by so much, and is ahead by so much; it is followed little by little.
    Leapt {
        /// How far forward.
        by: SignedDuration,
        /// How far it is ahead.
        ahead: SignedDuration,
    },
    /// It has leapt by so much, and is ahead by too much to be followed.
    LeaptFar {
        /// How far forward.
        by: SignedDuration,
        /// How far it is ahead.
        ahead: SignedDuration,
    },
    /// This clock was set, forward by so much.
    Set {
        /// How far forward.
        by: SignedDuration,
    },
}

impl Steady {
    /// A clock that shows what the wall clock shows now.
    pub fn anchored(monotonic: Duration, wall: Timestamp, bounds: Bounds) -> Self {
        Self { bounds, at: monotonic, shown: wall, ahead: SignedDuration::ZERO, far: None, set_at: None }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        self.shown
    }

    /// When it was set last, as it showed then; none if it never was.
    pub fn set_at(&self) -> Option<Timestamp> {
        self.set_at
    }

    /// The clock at another reading, and what was found out.
    #[must_use]
    pub fn next(&self, monotonic: Duration, wall: Timestamp) -> (Self, Option<News>) {
        let passed = monotonic.saturating_sub(self.at);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let carried = self.shown.saturating_add(passed).unwrap_or(Timestamp::MAX);
        let ahead = wall.duration_since(carried);
        let by = ahead - self.ahead;
        let leapt = by.abs() > LEAP + passed / DRIFT;
        if ahead.abs() > self.bounds.far {
            return self.far_off(monotonic, (carried, wall), leapt.then_some(News::LeaptFar { by, ahead }));
        }
        let most = passed / SLEW;
        let slewed = ahead.clamp(-most, most);
        let shown = carried.saturating_add(slewed).unwrap_or(carried);
        let next = Self { at: self.at.max(monotonic), shown, ahead: ahead - slewed, far: None, ..self.clone() };
        (next, leapt.then_some(News::Leapt { by, ahead }))
    }

    /// The clock at a reading at which the wall clock is far off: carried on without it, or set by it.
    fn far_off(
        &self,
        monotonic: Duration,
        (carried, wall): (Timestamp, Timestamp),
        news: Option<News>,
    ) -> (Self, Option<News>) {
        let ahead = wall.duration_since(carried);
        let same = |off: &SignedDuration| (ahead - *off).abs() <= self.bounds.far / SAME;
        let (since, off) = self.far.filter(|(_, off)| same(off)).unwrap_or((monotonic, ahead));
        let at = self.at.max(monotonic);
        if monotonic.saturating_sub(since) >= self.bounds.lasting {
            let next = Self { set_at: Some(wall), ..Self::anchored(at, wall, self.bounds) };
            return (next, Some(News::Set { by: ahead }));
        }
        (Self { at, shown: carried, ahead, far: Some((since, off)), ..self.clone() }, news)
    }
}

/// A wall clock that is kept steady.
pub struct SteadyClock {
    wall: Arc<dyn Clock>,
    started: Instant,
    steady: Mutex<Steady>,
}

impl SteadyClock {
    /// A clock that shows what `wall` shows now, and does not leap with it.
    #[allow(clippy::disallowed_methods, reason = "this is the port through which the monotonic clock comes in")]
    pub fn over(wall: Arc<dyn Clock>, bounds: Bounds) -> Self {
        let steady = Mutex::new(Steady::anchored(Duration::ZERO, wall.now(), bounds));
        Self { wall, started: Instant::now(), steady }
    }

    #[allow(clippy::disallowed_methods, reason = "this is the port through which the monotonic clock comes in")]
    fn read(&self) -> Steady {
        // Readings are in order: both clocks are read under the lock.
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        let monotonic = Instant::now().saturating_duration_since(self.started);
        let (next, news) = steady.next(monotonic, self.wall.now());
        *steady = next.clone();
        drop(steady);
        if let Some(news) = news {
            tell(news, next.bounds);
        }
        next
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.read().now()
    }

    fn wall(&self) -> Timestamp {
        self.wall.wall()
    }

    fn set_at(&self) -> Option<Timestamp> {
        self.read().set_at()
    }
}

/// Tells whoever reads the log what was found out.
fn tell(news: News, bounds: Bounds) {
    let seconds = |by: SignedDuration| by.as_secs_f64();
    match news {
        News::Leapt { by, ahead } => {
            let right_in = seconds(ahead).abs() * f64::from(SLEW);
            warn!(
                by_s = seconds(by),
                ahead_s = seconds(ahead),
                right_in_s = right_in,
                "the wall clock has leapt: it is followed by a twentieth of the time that passes"
            );
        }
        News::LeaptFar { by, ahead } => {
            let after = bounds.lasting.as_secs();
            warn!(
                by_s = seconds(by),
                ahead_s = seconds(ahead),
                followed_after_s = after,
                "the wall clock has leapt far: it is not followed unless it stays so"
            );
        }
        News::Set { by } => {
            info!(by_s = seconds(by), "the clock is set by the wall clock: what is waited for is waited for anew");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An instant of the day of the example, `12:00:00`.
    fn clock(text: &str) -> Timestamp {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn noon() -> Steady {
        Steady::anchored(secs(0), clock("12:00:00"), Bounds::default())
    }

    /// The clock after these readings, and what it showed and found out at each.
    fn read(readings: &[(u64, &str)]) -> (Steady, Vec<(Timestamp, Option<News>)>) {
        let mut steady = noon();
        let mut all = Vec::new();
        for (monotonic, wall) in readings {
            let (next, news) = steady.next(secs(*monotonic), clock(wall));
            all.push((next.now(), news));
            steady = next;
        }
        (steady, all)
    }

    #[test]
    fn the_example_is_right() {
        let rows = [
            (0, "12:00:00", "12:00:00"),
            (60, "12:01:00", "12:01:00"),
            (60, "12:01:03", "12:01:00"),
            (80, "12:01:23", "12:01:21"),
            (120, "12:02:03", "12:02:03"),
            (140, "12:02:13", "12:02:22"),
        ];
        let (_, all) = read(&rows.map(|(monotonic, wall, _)| (monotonic, wall)));
        let shown: Vec<Timestamp> = all.iter().map(|(shown, _)| *shown).collect();
        assert_eq!(shown, rows.map(|(_, _, shown)| clock(shown)));
        let leaps: Vec<Option<i64>> = all
            .iter()
            .map(|(_, news)| match news {
                Some(News::Leapt { by, .. }) => Some(by.as_secs()),
                _ => None,
            })
            .collect();
        assert_eq!(leaps, [None, None, Some(3), None, None, Some(-10)], "each leap is told once");
    }

    #[test]
    fn a_wall_clock_that_is_far_off_for_a_while_changes_nothing() {
        let (steady, all) =
            read(&[(10, "15:00:10"), (300, "15:05:00"), (599, "15:09:59"), (600, "12:10:00"), (660, "12:11:00")]);
        let shown: Vec<Timestamp> = all.iter().map(|(shown, _)| *shown).collect();
        assert_eq!(shown, ["12:00:10", "12:05:00", "12:09:59", "12:10:00", "12:11:00"].map(clock));
        assert!(matches!(all[0].1, Some(News::LeaptFar { .. })) && matches!(all[3].1, Some(News::Leapt { .. })));
        assert_eq!(steady.set_at(), None);
    }

    #[test]
    fn a_wall_clock_that_stays_far_off_is_followed_once_in_both_directions() {
        for wall in ["15:00:10", "09:00:10"] {
            let wall = clock(wall);
            let (seen, _) = noon().next(secs(10), wall);
            let (before, news) = seen.next(secs(609), wall + secs(599));
            assert_eq!((before.now(), news), (clock("12:10:09"), None));
            let (set, news) = before.next(secs(610), wall + secs(600));
            assert_eq!((set.now(), set.set_at()), (wall + secs(600), Some(wall + secs(600))));
            assert!(matches!(news, Some(News::Set { .. })));
            let (after, news) = set.next(secs(700), wall + secs(690));
            assert_eq!((after.now(), news, after.set_at()), (wall + secs(690), None, set.set_at()));
        }
    }

    #[test]
    fn another_leap_while_it_is_far_off_has_to_last_as_long_again() {
        let (_, all) = read(&[(10, "15:00:10"), (500, "16:08:20"), (620, "16:10:20"), (1100, "16:18:20")]);
        let set = |news: &Option<News>| matches!(news, Some(News::Set { .. }));
        assert_eq!(all.iter().map(|(_, news)| set(news)).collect::<Vec<_>>(), [false, false, false, true]);
    }

    #[test]
    fn clocks_that_drift_apart_are_no_news() {
        let (first, news) = noon().next(secs(86_400), clock("12:00:00") + secs(86_403));
        assert_eq!((first.now(), news), (clock("12:00:00") + secs(86_403), None));
    }

    proptest! {
        /// A wall clock that does what it likes, read at any times.
        #[test]
        fn unless_it_is_set_it_never_goes_back_and_no_wait_differs_by_more_than_a_twentieth(
            readings in prop::collection::vec((0_u64..100_000, -20_000_i64..20_000), 1..60)
        ) {
            let (mut steady, mut monotonic) = (noon(), Duration::ZERO);
            let (mut since, mut began) = (Duration::ZERO, steady.now());
            for (passed, off) in readings {
                monotonic += Duration::from_millis(passed);
                let wall = clock("12:00:00") + monotonic + SignedDuration::from_secs(off);
                let (next, news) = steady.next(monotonic, wall);
                if matches!(news, Some(News::Set { .. })) {
                    (since, began) = (monotonic, next.now());
                } else {
                    prop_assert!(next.now() >= steady.now());
                    let (waited, real) = (next.now().duration_since(began), SignedDuration::try_from(monotonic.saturating_sub(since)).unwrap());
                    prop_assert!((waited - real).abs() <= real / 20 + SignedDuration::from_nanos(60));
                }
                steady = next;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_a_process_is_carried_by_its_own_time() {
        struct Wall(Mutex<Timestamp>);
        impl Clock for Wall {
            fn now(&self) -> Timestamp {
                *self.0.lock().unwrap()
            }
        }
        let wall = Arc::new(Wall(Mutex::new(clock("12:00:00"))));
        let steady = SteadyClock::over(Arc::clone(&wall) as Arc<dyn Clock>, Bounds::default());
        *wall.0.lock().unwrap() = clock("18:00:00");
        tokio::time::advance(secs(20)).await;
        assert_eq!((steady.now(), steady.wall()), (clock("12:00:20"), clock("18:00:00")));
        *wall.0.lock().unwrap() = clock("12:00:50");
        tokio::time::advance(secs(20)).await;
        assert_eq!((steady.now(), steady.set_at()), (clock("12:00:41"), None));
    }
}
