//! The ports through which time and randomness come in, so that a whole world replays from one seed.
//!
//! Nothing else in Helium asks the machine what time it is or draws a random number. In production the ports are
//! the system's clock and its entropy; in a test or a simulation they are a clock that is a function of tokio's
//! (paused) time, and a seeded generator. There are two times:
//!
//! - [`Ports::now`] is the wall clock, kept [steady](crate::steady) in a real process: it does not leap while that lives. It is for what is
//!   stored, for waits that outlive a process, and for what people read.
//! - [`Ports::monotonic`] never goes back. It is for deadlines and intervals, and means nothing outside this process.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::steady::{Bounds, SteadyClock};

/// Where the wall clock's time comes from.
pub trait Clock: Send + Sync {
    /// The present instant by this clock. One that is not kept steady may jump in both directions.
    fn now(&self) -> Timestamp;

    /// The present instant as the machine has it, which may jump: for comparing with what other machines say.
    fn wall(&self) -> Timestamp {
        self.now()
    }

    /// When this clock was set last, as it showed then: an instant that was noted before is of another clock. None if it never was.
    fn set_at(&self) -> Option<Timestamp> {
        None
    }
}

/// Where randomness comes from.
pub trait Entropy: Send + Sync {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The clock and the entropy of a process; cheap to clone.
#[derive(Clone)]
pub struct Ports {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The source of random numbers.
    pub entropy: Arc<dyn Entropy>,
    started: Instant,
}

impl Ports {
    /// The ports of a real process: the system's clock, kept steady, and the operating system's entropy.
    #[allow(clippy::disallowed_methods, reason = "this is the port through which the monotonic clock comes in")]
    pub fn real() -> Self {
        let clock = SteadyClock::over(Arc::new(SystemClock), Bounds::default());
        Self { clock: Arc::new(clock), entropy: Arc::new(SystemEntropy), started: Instant::now() }
    }

    /// The ports of a simulated process, fully decided by `seed`, `base` and the timers that run.
    ///
    /// The clock stands at `base` now and moves with tokio's time, so call this inside the runtime whose time is paused.
    #[allow(clippy::disallowed_methods, reason = "this is the port through which the monotonic clock comes in")]
    pub fn seeded(seed: u64, base: Timestamp) -> Self {
        let started = Instant::now();
        Self { clock: Arc::new(TokioClock { base, started }), entropy: Arc::new(SplitMix::new(seed)), started }
    }

    /// The same ports with another wall clock, for a simulation in which it jumps.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same ports with another source of random numbers.
    #[must_use]
    pub fn with_entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Ports whose random numbers are a stream of their own, decided by this one's next number and `label`.
    ///
    /// A part of the world that draws from its own stream can draw once more without shifting everybody else's numbers.
    #[must_use]
    pub fn child(&self, label: &str) -> Self {
        let seed = label.bytes().fold(self.entropy.next_u64(), |seed, byte| mix(seed ^ u64::from(byte)));
        Self { clock: Arc::clone(&self.clock), entropy: Arc::new(SplitMix::new(seed)), started: self.started }
    }

    /// The present instant by the wall clock, which does not leap in a real process.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The present instant as the machine has it, which may jump: for comparing with what other machines say, and for no wait.
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// When the clock of this process was set last, as it showed then; none if it never was.
    pub fn set_at(&self) -> Option<Timestamp> {
        self.clock.set_at()
    }

    /// The time since these ports were made, by a clock that never goes back and stands still while tokio's time is paused.
    #[allow(clippy::disallowed_methods, reason = "this is the port through which the monotonic clock comes in")]
    pub fn monotonic(&self) -> Duration {
        Instant::now().saturating_duration_since(self.started)
    }

    /// Sleeps until [`Ports::monotonic`] reads at least `at`; returns at once if it already does.
    pub async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep(at.saturating_sub(self.monotonic())).await;
    }

    /// A random number in `0..bound`, and 0 if `bound` is 0.
    ///
    /// The bias is below `bound / 2^64`, which no use in Helium can notice.
    pub fn below(&self, bound: u64) -> u64 {
        let wide = u128::from(self.entropy.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A random duration in `0..=limit`, to the nanosecond.
    pub fn up_to(&self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }

    /// `period` spread evenly over `period ± percent %`: 300 s and 10 give 270 s to 330 s.
    pub fn jittered(&self, period: Duration, percent: u32) -> Duration {
        let spread = period.saturating_mul(percent.min(100)) / 100;
        period.saturating_sub(spread).saturating_add(self.up_to(spread.saturating_mul(2)))
    }

    /// A random lower-case hexadecimal string of `digits` digits.
    pub fn random_hex(&self, digits: usize) -> String {
        let mut hex = String::with_capacity(digits + 16);
        while hex.len() < digits {
            for byte in self.entropy.next_u64().to_be_bytes() {
                hex.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
            }
        }
        hex.truncate(digits);
        hex
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// The system's wall clock.
struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the port through which the wall clock comes in")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stood at `base` when tokio's time stood at `started`.
struct TokioClock {
    base: Timestamp,
    started: Instant,
}

impl Clock for TokioClock {
    #[allow(clippy::disallowed_methods, reason = "this is the port through which simulated time comes in")]
    fn now(&self) -> Timestamp {
        let elapsed = Instant::now().saturating_duration_since(self.started);
        let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        self.base.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}

/// The operating system's entropy.
struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[allow(clippy::disallowed_methods, reason = "this is the port through which randomness comes in")]
    fn next_u64(&self) -> u64 {
        // A kernel that refuses entropy is one that is still booting. The process-wide hash keys are seeded from the
        // same place at start and are good enough for jitter and for ids that are also checked by a create-only write.
        getrandom::u64().unwrap_or_else(|_| {
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(0_u8)
        })
    }
}

/// Steele, Lea and Flood's `SplitMix64`: one addition and one mix a number, every seed good.
struct SplitMix {
    state: AtomicU64,
}

/// 2^64 divided by the golden ratio, the increment of `SplitMix64`.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl SplitMix {
    fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Entropy for SplitMix {
    fn next_u64(&self) -> u64 {
        mix(self.state.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed).wrapping_add(GOLDEN_GAMMA))
    }
}

/// The output function of `SplitMix64`: a bijection in which every input bit reaches every output bit.
fn mix(seed: u64) -> u64 {
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_seeded_clock_moves_with_tokio_time_and_only_with_it() {
        let ports = Ports::seeded(1, base());
        assert_eq!(ports.now(), base());
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(ports.now().to_string(), "2026-01-01T00:00:01.5Z");
        assert_eq!(ports.monotonic(), Duration::from_millis(1500));
        ports.sleep_until(Duration::from_secs(2)).await;
        assert_eq!(ports.monotonic(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_gives_the_same_numbers_and_another_seed_others() {
        let draw = |seed| {
            let ports = Ports::seeded(seed, base());
            (ports.random_hex(40), ports.below(1000), ports.child("x").random_hex(8), ports.random_hex(3))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_may_draw_without_shifting_its_parents_numbers() {
        let (quiet, busy) = (Ports::seeded(7, base()), Ports::seeded(7, base()));
        let _ = quiet.child("a");
        let child = busy.child("a");
        let _ = (child.random_hex(64), child.random_hex(64));
        assert_eq!(quiet.random_hex(16), busy.random_hex(16));
        let (a, b) = (Ports::seeded(7, base()).child("a"), Ports::seeded(7, base()).child("b"));
        assert_ne!(a.random_hex(16), b.random_hex(16));
    }

    /// The first numbers of `SplitMix64` for seed 1234567, as published with the algorithm's reference code.
    #[tokio::test(start_paused = true)]
    async fn the_generator_is_splitmix64() {
        let generator = SplitMix::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| generator.next_u64()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[tokio::test(start_paused = true)]
    async fn bounds_are_kept_and_reached() {
        let ports = Ports::seeded(3, base());
        let drawn: Vec<u64> = (0..1000).map(|_| ports.below(4)).collect();
        assert!((0..4).all(|value| drawn.iter().filter(|drawn| **drawn == value).count() > 200));
        assert_eq!(ports.below(0), 0);
        for _ in 0..1000 {
            let jittered = ports.jittered(Duration::from_mins(5), 10);
            assert!((Duration::from_secs(270)..=Duration::from_secs(330)).contains(&jittered), "{jittered:?}");
        }
    }

    #[tokio::test]
    async fn real_ports_tell_time_and_differ_from_one_another() {
        let (one, other) = (Ports::real(), Ports::real());
        assert!(one.now() > base());
        assert_ne!(one.random_hex(32), other.random_hex(32));
        assert_eq!(one.random_hex(5).len(), 5);
    }
}
