//! Waiting for a condition, always with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

/// The pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until `condition` gives a value, and returns it; panics with `what` after `limit`.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(now() < deadline, "waited {} s in vain: {what}", limit.as_secs_f32());
        pause(LOOK_EVERY);
    }
}

/// Looks for the whole of `length`, and panics as soon as `condition` does not hold, with what it says is wrong.
#[track_caller]
pub fn holds_for(what: &str, length: Duration, mut condition: impl FnMut() -> Result<(), String>) {
    let deadline = now() + length;
    while now() < deadline {
        if let Err(wrong) = condition() {
            panic!("{what}: {wrong}");
        }
        pause(LOOK_EVERY);
    }
}

/// The time of the machine; only the harness reads it without a port, as the processes that it watches are real.
#[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Lets real time pass between two looks at a real process.
#[allow(clippy::disallowed_methods, reason = "real processes live in real time, and there is no runtime to block")]
pub fn pause(length: Duration) {
    thread::sleep(length);
}
