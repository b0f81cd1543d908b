//! When a burst of changes is over, and how a fleet spreads what follows from one.
//!
//! After a change nothing is rendered until none has come for `min`; if they never cease, it is rendered `max` after the first all the same.
//! With 100 ms and its fourfold, 200 writes within 240 ms are one render. A splay is drawn once for each burst and is added to both,
//! so that machines that saw the same change do not all restart at once. Times are of a clock that never goes back.

use std::time::Duration;

use helium_runtime::ports::Ports;

/// `max` is this many times `min` unless it is said.
const FOLD: u32 = 4;

/// How long changes are waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// How long no change may have come.
    pub min: Duration,
    /// How long after the first change waiting ends in any case.
    pub max: Duration,
    /// The most that is added, by lot.
    pub splay: Duration,
}

impl Wait {
    /// Waits for `min`, and at most four times that. Example: 100 ms, and at most 400 ms.
    pub fn of(min: Duration) -> Self {
        Self { min, max: min.saturating_mul(FOLD), splay: Duration::ZERO }
    }

    /// With another longest time; one that is shorter than `min` is `min`.
    #[must_use]
    pub fn at_most(self, max: Duration) -> Self {
        Self { max: max.max(self.min), ..self }
    }

    /// With a lot of up to `splay`.
    #[must_use]
    pub fn splayed(self, splay: Duration) -> Self {
        Self { splay, ..self }
    }
}

/// A burst of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Burst {
    first: Duration,
    last: Duration,
    splay: Duration,
}

/// Waits for changes to cease.
#[derive(Clone, Debug)]
pub struct Quiet {
    wait: Wait,
    burst: Option<Burst>,
}

impl Quiet {
    /// Nothing has changed yet.
    pub fn new(wait: Wait) -> Self {
        Self { wait, burst: None }
    }

    /// Something has changed now.
    pub fn changed(&mut self, now: Duration, ports: &Ports) {
        match &mut self.burst {
            Some(burst) => burst.last = burst.last.max(now),
            None => self.burst = Some(Burst { first: now, last: now, splay: ports.up_to(self.wait.splay) }),
        }
    }

    /// When it is time to render; none if nothing has changed.
    pub fn due(&self) -> Option<Duration> {
        let burst = self.burst?;
        let quiet = burst.last.saturating_add(self.wait.min).min(burst.first.saturating_add(self.wait.max));
        Some(quiet.saturating_add(burst.splay))
    }

    /// Whether it is time; if so, the burst is over.
    pub fn take(&mut self, now: Duration) -> bool {
        let due = self.due().is_some_and(|due| due <= now);
        if due {
            self.burst = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use helium_runtime::ports::Entropy;

    use super::*;

    struct Same(u64);
    impl Entropy for Same {
        fn next_u64(&self) -> u64 {
            self.0
        }
    }

    fn ports(number: u64) -> Ports {
        Ports::real().with_entropy(Arc::new(Same(number)))
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_is_due_when_no_change_has_come_for_min() {
        let mut quiet = Quiet::new(Wait::of(ms(100)));
        assert_eq!(quiet.due(), None);
        quiet.changed(ms(1000), &ports(0));
        quiet.changed(ms(1050), &ports(0));
        assert_eq!(quiet.due(), Some(ms(1150)));
        assert!(!quiet.take(ms(1149)));
        assert!(quiet.take(ms(1150)));
        assert!(!quiet.take(ms(2000)));
    }

    #[test]
    fn changes_that_never_cease_are_rendered_four_times_min_after_the_first() {
        let mut quiet = Quiet::new(Wait::of(ms(100)));
        let renders: Vec<u64> = (0..1000)
            .filter(|now| {
                if now % 50 == 0 {
                    quiet.changed(ms(*now), &ports(0));
                }
                quiet.take(ms(*now))
            })
            .collect();
        assert_eq!(renders, [400, 850]);
    }

    #[test]
    fn two_hundred_writes_in_a_quarter_of_a_second_are_one_render() {
        let mut quiet = Quiet::new(Wait::of(ms(100)));
        let mut renders = 0;
        for now in 0..2000 {
            if now < 240 {
                quiet.changed(ms(now), &ports(0));
            }
            renders += u32::from(quiet.take(ms(now)));
        }
        assert_eq!(renders, 1);
    }

    #[test]
    fn a_splay_is_drawn_once_a_burst_and_added_to_both() {
        let wait = Wait::of(ms(100)).at_most(ms(50)).splayed(ms(1000));
        assert_eq!(wait.max, ms(100));
        let mut quiet = Quiet::new(wait);
        quiet.changed(ms(0), &ports(1 << 63));
        quiet.changed(ms(90), &ports(u64::MAX));
        assert_eq!(quiet.due().map(|due| due.as_millis()), Some(600));
    }
}
