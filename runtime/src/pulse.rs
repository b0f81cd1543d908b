//! Whether a loop turns: it says so whenever it comes round, and others look how long ago that was.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::ports::Ports;

/// How often a loop that waits for events comes round all the same.
pub const BEAT: Duration = Duration::from_secs(1);

/// The pulse of a loop; cheap to clone.
#[derive(Clone, Debug)]
pub struct Pulse {
    ports: Ports,
    /// The monotonic time of the last beat in milliseconds.
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// A pulse that beats now for the first time.
    pub fn new(ports: Ports) -> Self {
        let pulse = Self { ports, last: Arc::default() };
        pulse.beat();
        pulse
    }

    /// The loop comes round.
    pub fn beat(&self) {
        let now = u64::try_from(self.ports.monotonic().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// How long ago that was, in whole milliseconds.
    pub fn age(&self) -> Duration {
        self.ports.monotonic().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pulse_is_as_old_as_its_last_beat() {
        let pulse = Pulse::new(Ports::seeded(1, Timestamp::UNIX_EPOCH));
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert_eq!(pulse.age(), Duration::from_secs(7));
        pulse.clone().beat();
        assert_eq!(pulse.age(), Duration::ZERO);
    }
}
