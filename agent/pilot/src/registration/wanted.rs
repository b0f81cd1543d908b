//! What Consul is to know of a service, as it follows from its job; pure.

use consul_client::CheckStatus;
use helium_supervisor::{JobState, JobView};

use super::{Beat, Registration};

/// How many bytes of a check's output Consul is told.
const OUTPUT: usize = 4000;

/// What Consul is told of a service that it is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) status: CheckStatus,
    pub(super) output: String,
    /// Grows with each word, so that the same words again renew the TTL.
    pub(super) number: u64,
}

/// What is known of the job of a service, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// Over, or about to be and past all waiting.
    over: bool,
    /// Runs, or has a run behind and a run before it at its interval.
    runs: bool,
    /// Ended, and will be started again.
    down: bool,
    /// The exit code of the last run.
    last_exit: Option<i32>,
    /// How often it was started.
    starts: u64,
}

impl Life {
    /// That of a job among all; of one that is not there it is over.
    pub(super) fn of(jobs: &[JobView], job: &str) -> Self {
        let Some(view) = jobs.iter().find(|view| view.name == job) else {
            return Self { over: true, ..Self::default() };
        };
        let delayed = view.state == JobState::Delayed || (view.state == JobState::CrashLoop && view.pid.is_none());
        Self {
            over: view.state == JobState::Done || view.ending,
            runs: matches!(view.state, JobState::Running | JobState::Resting | JobState::CrashLoop) && !delayed,
            down: delayed && view.starts > 0 && view.last_exit.is_some(),
            last_exit: view.last_exit,
            starts: view.starts,
        }
    }
}

/// The state of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    life: Life,
    maintenance: bool,
    word: Option<Word>,
    numbers: u64,
}

impl Wanted {
    /// What Consul is to know; none if it is not to have the service.
    pub(super) fn word(&self) -> Option<&Word> {
        self.word.as_ref().filter(|_| !self.maintenance && !self.life.over)
    }

    /// Nothing was heard of the service yet.
    pub(super) fn begin(&mut self, registration: &Registration) {
        self.word = None;
        if let Some(initial) = registration.initial {
            self.say(initial.status(), "");
        }
    }

    /// The job is like this now.
    pub(super) fn lives(&mut self, life: Life, registration: &Registration) {
        let was = std::mem::replace(&mut self.life, life);
        if matches!(registration.beat, Beat::Always(_)) {
            self.life = Life::default();
        } else if life.over || was.over {
            self.begin(registration);
        } else if life.down && !was.down && self.word.is_some() {
            let code = life.last_exit.unwrap_or_default();
            self.say(CheckStatus::Critical, &format!("the process has ended with {code}; it is started again"));
        } else if life.runs && registration.beat.interval().is_some() && (!was.runs || was.starts != life.starts) {
            self.say(CheckStatus::Passing, "");
        }
    }

    /// A check has come to its end. A failing one is of no interest before the first that passes.
    pub(super) fn checked(&mut self, passed: bool, output: &str) {
        if passed {
            self.say(CheckStatus::Passing, output);
        } else if self.word.is_some() {
            self.say(CheckStatus::Critical, output);
        }
    }

    /// It is time for a beat where nothing is checked.
    pub(super) fn beat(&mut self, registration: &Registration) {
        let alive = match registration.beat {
            Beat::Checks => false,
            Beat::WhileItRuns(_) => self.life.runs,
            Beat::Always(_) => true,
        };
        if alive {
            self.say(CheckStatus::Passing, "ok");
        }
    }

    /// Maintenance begins or ends. At its end it is as if nothing had been heard yet.
    pub(super) fn maintained(&mut self, on: bool, registration: &Registration) {
        if std::mem::replace(&mut self.maintenance, on) != on && !on {
            self.begin(registration);
            self.beat(registration);
        }
    }

    fn say(&mut self, status: CheckStatus, output: &str) {
        self.numbers += 1;
        let end = (0..=output.len().min(OUTPUT)).rev().find(|at| output.is_char_boundary(*at)).unwrap_or(0);
        self.word = Some(Word { status, output: output[..end].to_owned(), number: self.numbers });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::registration::Initial;

    fn registration(beat: Beat, initial: Option<Initial>) -> Registration {
        Registration {
            job: "app".to_owned(),
            id: "app-host".to_owned(),
            name: "app".to_owned(),
            address: [10, 0, 0, 1].into(),
            port: 80,
            tags: vec![],
            enable_tag_override: false,
            deregister_after: None,
            ttl: Duration::from_secs(5),
            initial,
            beat,
        }
    }

    const RUNS: Life = Life { over: false, runs: true, down: false, last_exit: None, starts: 1 };
    const DOWN: Life = Life { over: false, runs: false, down: true, last_exit: Some(7), starts: 1 };
    const OVER: Life = Life { over: true, runs: false, down: false, last_exit: Some(7), starts: 1 };

    fn status(wanted: &Wanted) -> Option<CheckStatus> {
        wanted.word().map(|word| word.status)
    }

    #[test]
    fn a_service_begins_with_its_first_passing_check_and_is_critical_with_the_words_of_one_that_fails() {
        let registration = registration(Beat::Checks, None);
        let mut wanted = Wanted::default();
        wanted.begin(&registration);
        wanted.lives(RUNS, &registration);
        wanted.checked(false, "not yet");
        assert_eq!(wanted.word(), None);
        wanted.checked(true, "up");
        assert_eq!(status(&wanted), Some(CheckStatus::Passing));
        wanted.checked(false, "gone");
        let word = wanted.word().unwrap();
        assert_eq!((word.status, word.output.as_str()), (CheckStatus::Critical, "gone"));
    }

    #[test]
    fn a_process_that_ended_makes_it_critical_before_any_check_and_a_job_that_is_over_ends_it() {
        let registration = registration(Beat::Checks, None);
        let mut wanted = Wanted::default();
        wanted.lives(RUNS, &registration);
        wanted.checked(true, "up");
        wanted.lives(DOWN, &registration);
        let word = wanted.word().unwrap();
        assert_eq!(word.status, CheckStatus::Critical);
        assert_eq!(word.output, "the process has ended with 7; it is started again");
        wanted.lives(OVER, &registration);
        assert_eq!(wanted.word(), None);
        wanted.lives(RUNS, &registration);
        assert_eq!(wanted.word(), None, "who comes back begins anew");
    }

    #[test]
    fn with_an_initial_status_it_is_there_at_once() {
        let registration = registration(Beat::Checks, Some(Initial::Warning));
        let mut wanted = Wanted::default();
        wanted.begin(&registration);
        assert_eq!(status(&wanted), Some(CheckStatus::Warning));
    }

    #[test]
    fn maintenance_takes_it_out_and_its_end_brings_it_back_with_the_next_passing_check() {
        let checked = registration(Beat::Checks, None);
        let mut wanted = Wanted::default();
        wanted.lives(RUNS, &checked);
        wanted.checked(true, "up");
        wanted.maintained(true, &checked);
        assert_eq!(wanted.word(), None);
        wanted.maintained(false, &checked);
        assert_eq!(wanted.word(), None);
        wanted.checked(true, "up");
        assert_eq!(status(&wanted), Some(CheckStatus::Passing));
        let beaten = registration(Beat::WhileItRuns(Duration::from_secs(1)), None);
        wanted.maintained(true, &beaten);
        wanted.maintained(false, &beaten);
        assert_eq!(status(&wanted), Some(CheckStatus::Passing), "where nothing is checked, at once");
    }

    #[test]
    fn the_same_word_again_is_another_one_so_that_it_renews_the_ttl() {
        let mut wanted = Wanted::default();
        wanted.checked(true, "up");
        let first = wanted.word().unwrap().number;
        wanted.checked(true, "up");
        assert!(wanted.word().unwrap().number > first);
        wanted.checked(false, &"ä".repeat(5000));
        assert!(wanted.word().unwrap().output.len() <= OUTPUT);
    }
}
