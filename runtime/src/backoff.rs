//! How long to wait before another try: exponential, with full jitter, behind a trait of two methods.
//!
//! Full jitter means that the n-th wait is drawn evenly from `0..=min(cap, base * 2^n)`: when a thousand clients lose
//! the same server in the same instant, they come back spread out and not in waves. The growth comes from `backon`;
//! the draw is ours, from [`Ports`], since the library's own jitter would not replay from a seed.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::ports::Ports;

/// How long to wait before the next try.
///
/// The two methods are all that Helium asks of a backoff, so that the library behind them can be replaced.
pub trait Backoff: Send {
    /// The wait before the next try. There is always one: giving up is the caller's decision.
    fn next(&mut self) -> Duration;

    /// Starts again from the shortest wait; to be called after a success.
    fn reset(&mut self);
}

/// Waits whose ceilings double from `base` up to `cap`, each drawn evenly between nothing and its ceiling.
#[derive(Debug)]
pub struct Exponential {
    base: Duration,
    cap: Duration,
    floor: Duration,
    ceilings: ExponentialBackoff,
    ports: Ports,
}

impl Exponential {
    /// A backoff whose first ceiling is `base` and whose last is `cap`.
    pub fn new(base: Duration, cap: Duration, ports: Ports) -> Self {
        Self { base, cap, floor: Duration::ZERO, ceilings: ceilings(base, cap), ports }
    }

    /// Never waits less than `floor` (or less than the ceiling, where that is lower), for a retry that must not spin.
    #[must_use]
    pub fn at_least(mut self, floor: Duration) -> Self {
        self.floor = floor;
        self
    }
}

impl Backoff for Exponential {
    fn next(&mut self) -> Duration {
        let ceiling = self.ceilings.next().unwrap_or(self.cap).min(self.cap);
        jittered_between(self.floor, ceiling, &self.ports)
    }

    fn reset(&mut self) {
        self.ceilings = ceilings(self.base, self.cap);
    }
}

/// The wait before try number `failures` + 1, for a caller that counts failures itself.
///
/// Its ceiling is `min(cap, base * 2^(failures - 1))`: with 500 ms and 5 min, 1 failure waits up to 500 ms, 2 up to 1 s,
/// 4 up to 4 s, and from 11 on up to 5 min. With no failure there is no wait.
pub fn wait_after(failures: u32, base: Duration, cap: Duration, ports: &Ports) -> Duration {
    jittered_between(Duration::ZERO, ceiling_after(failures, base, cap), ports)
}

/// The ceiling of [`wait_after`], before any jitter.
pub fn ceiling_after(failures: u32, base: Duration, cap: Duration) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => base.saturating_mul(2_u32.checked_pow(n - 1).unwrap_or(u32::MAX)).min(cap),
    }
}

fn jittered_between(floor: Duration, ceiling: Duration, ports: &Ports) -> Duration {
    let floor = floor.min(ceiling);
    floor + ports.up_to(ceiling.saturating_sub(floor))
}

fn ceilings(base: Duration, cap: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new().with_min_delay(base).with_max_delay(cap).with_factor(2.0).without_max_times().build()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ports::Entropy;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Entropy that always draws the largest number, which makes the ceilings visible.
    struct Highest;
    impl Entropy for Highest {
        fn next_u64(&self) -> u64 {
            u64::MAX
        }
    }

    fn highest() -> Ports {
        Ports::real().with_entropy(Arc::new(Highest))
    }

    fn seeded(seed: u64) -> Ports {
        Ports::seeded(seed, jiff::Timestamp::UNIX_EPOCH)
    }

    #[tokio::test(start_paused = true)]
    async fn ceilings_double_up_to_the_cap_and_stay_there() {
        let mut backoff = Exponential::new(MS(800), MS(30_000), highest());
        let waits: Vec<u128> = (0..8).map(|_| backoff.next().as_micros() / 10).collect();
        let expected = [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000].map(|ms: u128| ms * 100);
        assert_eq!(waits, expected, "to 10 us: the library counts in 32-bit floats");
        for _ in 0..10_000 {
            assert_eq!(backoff.next(), MS(30_000), "a backoff never runs out");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_starts_again_from_the_base() {
        let mut backoff = Exponential::new(MS(500), MS(4_000), highest());
        let _ = (backoff.next(), backoff.next(), backoff.next());
        backoff.reset();
        assert_eq!((backoff.next(), backoff.next()), (MS(500), MS(1000)));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_are_drawn_evenly_below_the_ceiling() {
        let mut backoff = Exponential::new(MS(1000), MS(1000), seeded(42));
        let waits: Vec<f64> = (0..4000).map(|_| backoff.next().as_secs_f64()).collect();
        let mean = waits.iter().sum::<f64>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.03, "mean {mean}");
        assert!(waits.iter().all(|wait| (0.0..=1.0).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 0.05) && waits.iter().any(|wait| *wait > 0.95));
    }

    #[tokio::test(start_paused = true)]
    async fn a_floor_is_kept() {
        let mut backoff = Exponential::new(MS(100), MS(1000), seeded(1)).at_least(MS(250));
        assert_eq!(backoff.next(), MS(100), "the ceiling is below the floor");
        let later: Vec<Duration> = (0..100).map(|_| backoff.next()).skip(3).collect();
        assert!(later.iter().all(|wait| (MS(250)..=MS(1000)).contains(wait)), "{later:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_waits_the_same() {
        let waits = |seed| {
            let mut backoff = Exponential::new(MS(500), MS(9000), seeded(seed));
            (0..9).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        assert_eq!(waits(5), waits(5));
        assert_ne!(waits(5), waits(6));
    }

    #[tokio::test(start_paused = true)]
    async fn the_counted_form_follows_its_worked_example() {
        let cap = MS(300_000);
        let rows = [(0, 0), (1, 500), (2, 1000), (4, 4000), (10, 256_000), (11, 300_000), (500, 300_000)];
        for (failures, ceiling) in rows {
            assert_eq!(ceiling_after(failures, MS(500), cap), MS(ceiling), "{failures} failures");
            assert_eq!(wait_after(failures, MS(500), cap, &highest()), MS(ceiling), "{failures} failures");
        }
    }
}
