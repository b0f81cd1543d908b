//! The switches that make the sample misbehave, and the even rules by which they do.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::config::SampleConfig;

/// The golden ratio's fraction: its multiples spread over a range more evenly than anything else.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// How the sample behaves now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Behaviour {
    pub(crate) fail_health: bool,
    pub(crate) error_rate: f64,
    pub(crate) latency: Duration,
    pub(crate) jitter: Duration,
}

/// What to change of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Change {
    fail_health: Option<bool>,
    error_rate: Option<f64>,
    latency_ms: Option<u64>,
    latency_jitter_ms: Option<u64>,
}

/// The switches, and where in their even walks they are.
#[derive(Debug)]
pub(crate) struct Switches(Mutex<State>);

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    /// The part of an error that is due; a whole one is answered.
    debt: f64,
    /// The place of the jitter in its range, 0 to 1.
    place: f64,
}

/// What is to become of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) fail: bool,
    pub(crate) delay: Duration,
}

impl Switches {
    pub(crate) fn new(config: &SampleConfig) -> Self {
        let behaviour = Behaviour {
            fail_health: config.fail_health,
            error_rate: config.error_rate,
            latency: config.latency,
            jitter: config.latency_jitter,
        };
        Self(Mutex::new(State { behaviour, debt: 0.0, place: 0.0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the sample behaves now.
    pub(crate) fn behaviour(&self) -> Behaviour {
        self.state().behaviour
    }

    /// Makes the health check fail.
    pub(crate) fn fail_health(&self) {
        self.state().behaviour.fail_health = true;
    }

    /// Turns switches; says what is wrong with a value that has no sense.
    pub(crate) fn turn(&self, change: Change) -> Result<Behaviour, String> {
        if let Some(rate) = change.error_rate
            && !(0.0..=1.0).contains(&rate)
        {
            return Err(format!("error-rate={rate} is not between 0 and 1"));
        }
        let behaviour = &mut self.state().behaviour;
        behaviour.fail_health = change.fail_health.unwrap_or(behaviour.fail_health);
        behaviour.error_rate = change.error_rate.unwrap_or(behaviour.error_rate);
        behaviour.latency = change.latency_ms.map_or(behaviour.latency, Duration::from_millis);
        behaviour.jitter = change.latency_jitter_ms.map_or(behaviour.jitter, Duration::from_millis);
        Ok(*behaviour)
    }

    /// What is to become of the next request. At a rate of 0.2, of any five requests in a row exactly one fails.
    pub(crate) fn judge(&self) -> Verdict {
        let mut state = self.state();
        let Behaviour { error_rate, latency, jitter, .. } = state.behaviour;
        state.debt += error_rate;
        // Five times 0.2 is a hair less than 1.
        let fail = state.debt >= 1.0 - 1e-9;
        if fail {
            state.debt -= 1.0;
        }
        let delay = latency + jitter.mul_f64(state.place);
        state.place = (state.place + GOLDEN).fract();
        Verdict { fail, delay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_any_five_requests_one_fails_at_a_rate_of_a_fifth() {
        let switches = Switches::new(&SampleConfig { error_rate: 0.2, ..SampleConfig::default() });
        let verdicts: Vec<bool> = (0..1000).map(|_| switches.judge().fail).collect();
        assert!(verdicts.windows(5).all(|five| five.iter().filter(|fail| **fail).count() == 1));
    }

    #[test]
    fn jitter_stays_in_its_range_and_fills_it() {
        let (latency, jitter) = (Duration::from_millis(20), Duration::from_millis(10));
        let switches = Switches::new(&SampleConfig { latency, latency_jitter: jitter, ..SampleConfig::default() });
        let delays: Vec<Duration> = (0..100).map(|_| switches.judge().delay).collect();
        assert!(delays.iter().all(|delay| (latency..=latency + jitter).contains(delay)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_millis(29)));
    }

    #[test]
    fn turning_one_switch_leaves_the_others() {
        let switches = Switches::new(&SampleConfig { error_rate: 0.5, ..SampleConfig::default() });
        let change = Change { fail_health: Some(true), latency_ms: Some(7), ..Change::default() };
        let after = switches.turn(change).unwrap();
        assert!(after.fail_health && after.error_rate > 0.4 && after.latency == Duration::from_millis(7));
        assert!(switches.turn(Change { error_rate: Some(2.0), ..Change::default() }).is_err());
        assert_eq!(switches.behaviour(), after);
    }
}
