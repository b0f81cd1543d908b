//! The loop: look at Hydra, set the profile, activate it, go back if that fails, wait.
//!
//! What is to be done is decided by the [machine](crate::machine); here it is done, and what came of it is written down before anything else.
//! At its start, before it asks Hydra, it finishes what was under way, and activates the profile if that is at a generation whose activation
//! is not known to have succeeded. Dropping what runs kills the script that runs, with all that it started; the next start runs it again.

use std::{fs, mem, time::Duration};

use helium_packages::fetch::{Config, Fetcher};
use helium_runtime::{
    backoff::{Backoff as _, Exponential, wait_after},
    ports::Ports,
    shutdown::Shutdown,
};
use jiff::SignedDuration;

use crate::{
    activate::{Ran, Scripts},
    hydra::{self, Hydra, Job},
    machine::{Ask, Event, Facts, Step, apply, decide},
    notify::Notifier,
    options::{Error, Lock, Options},
    outcome::Outcome,
    profile::{self, Profile},
    record::{Attempt, Generation, Record, Target, Way, Why},
    status::{About, Status},
    steps,
};

mod telling;

/// How often it is looked whether a person asks for something.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The wait after a first error that may heal; it is doubled up to the poll period.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// How much the poll period is spread, in percent.
const SPREAD: u32 = 10;

/// Follows one job with one profile.
pub struct Hail {
    options: Options,
    ports: Ports,
    profile: Profile,
    scripts: Scripts,
    hydra: Option<Hydra>,
    /// The login was refused the last time, and may have been put right in its file since.
    login_refused: bool,
    notifier: Notifier,
    record: Record,
    status: Status,
    /// What has happened in this look.
    seen: Seen,
    /// The profile is to be activated whatever is known of it.
    anyway: bool,
    is_ready: bool,
    /// The path that has no `bin/activate`, which was told.
    told: Option<String>,
    _lock: Lock,
}

/// What has happened in one look at Hydra.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    activated: bool,
    gave_up: bool,
    /// The error may heal in a moment.
    may_heal: bool,
}

/// How a profile came to rest.
enum Rest {
    Settled,
    /// The profile could not be set, and why.
    Stuck(profile::Error),
}

impl Hail {
    /// Takes the lock, and reads what is remembered.
    ///
    /// # Errors
    /// The options are wrong, somebody else holds the lock, or the state cannot be read.
    pub fn open(options: Options, ports: Ports) -> Result<Self, Error> {
        options.check()?;
        let hydra = options.job_uri.as_deref().map(|job| asker(&options, job, &ports)).transpose()?;
        let notifier = Notifier::to(options.notify_socket.as_deref()).map_err(|source| Error::Socket { source })?;
        let lock = options.lock()?;
        let record = Record::load(&options.state())?;
        let before = Status::load(&options.status());
        let status = Status {
            profile: options.profile.display().to_string(),
            job: options.job_uri.clone().unwrap_or(before.job),
            ..before
        };
        let scripts = scripts(&options);
        let (profile, anyway) = (options.profile(), options.activate_always);
        let (seen, is_ready, told) = (Seen::default(), false, None);
        Ok(Self {
            options,
            ports,
            profile,
            scripts,
            hydra,
            login_refused: false,
            notifier,
            record,
            status,
            seen,
            anyway,
            is_ready,
            told,
            _lock: lock,
        })
    }

    /// Looks once at Hydra, and does all that follows.
    ///
    /// # Errors
    /// What is to be remembered cannot be written.
    pub async fn once(&mut self) -> Result<Outcome, Error> {
        let outcome = self.look().await?;
        self.end(outcome);
        Ok(outcome)
    }

    /// Finishes what is under way and does what a person asks for, without a look at Hydra.
    ///
    /// # Errors
    /// As [`Hail::once`].
    pub async fn obey(&mut self) -> Result<Outcome, Error> {
        self.seen = Seen::default();
        let outcome = self.come_to_rest(None).await?;
        self.end(outcome);
        Ok(outcome)
    }

    /// Follows until it is asked to stop.
    pub async fn run(mut self, shutdown: Shutdown) {
        let cap = self.options.poll_period.max(FIRST_WAIT);
        let mut backoff = Exponential::new(FIRST_WAIT, cap, self.ports.clone()).at_least(LEAST_WAIT);
        while let Some(looked) = shutdown.unless_cancelled(self.once()).await {
            let soon = match &looked {
                Ok(Outcome::FetchFailed) => self.seen.may_heal,
                Ok(outcome) => *outcome == Outcome::SwitchFailed,
                Err(error) => {
                    tracing::error!(%error, "this look at Hydra has not come to its end");
                    true
                }
            };
            let wait = match looked {
                // What was built in the meantime is taken at once.
                Ok(Outcome::Updated) => Duration::ZERO,
                _ if soon => backoff.next(),
                _ => self.ports.jittered(self.options.poll_period, SPREAD),
            };
            if !soon {
                backoff.reset();
            }
            if shutdown.unless_cancelled(self.wait(wait)).await.is_none() {
                break;
            }
        }
        self.notifier.stopping();
    }

    /// Waits so long, or until a person asks for something.
    async fn wait(&self, time: Duration) {
        let until = self.ports.monotonic() + time;
        while self.ports.monotonic() < until && self.ask().is_none() {
            self.ports.sleep_until(until.min(self.ports.monotonic() + LOOK_AGAIN)).await;
        }
    }

    async fn look(&mut self) -> Result<Outcome, Error> {
        self.seen = Seen::default();
        let before = self.come_to_rest(None).await?;
        if !self.is_ready {
            self.is_ready = true;
            self.notifier.ready();
        }
        if before == Outcome::SwitchFailed {
            return Ok(before);
        }
        self.doing("asking Hydra");
        let latest = self.asked()?.latest().await;
        let now = self.ports.now();
        self.status.last_poll = Some(now);
        match latest {
            Ok(wanted) => {
                self.status.say(About::Fetched, true, "Hydra has answered", now);
                self.status.wanted = Some(wanted.clone());
                self.come_to_rest(Some(&wanted)).await
            }
            Err(error) => {
                self.seen.may_heal = error.may_heal();
                self.login_refused = matches!(error, hydra::Error::Login { .. } | hydra::Error::Rights { .. });
                self.fault(error.name(), &error.to_string());
                self.status.say(About::Fetched, false, error.name(), now);
                Ok(before.max(Outcome::FetchFailed))
            }
        }
    }

    /// Whom to ask, with the logins as they are now.
    fn asked(&mut self) -> Result<&Hydra, Error> {
        if mem::take(&mut self.login_refused)
            && let Some(job) = &self.options.job_uri
        {
            self.hydra = Some(asker(&self.options, job, &self.ports)?);
        }
        self.hydra.as_ref().ok_or(Error::NoJob)
    }

    /// Does one step after the other until there is none.
    async fn come_to_rest(&mut self, wanted: Option<&Target>) -> Result<Outcome, Error> {
        let stuck = match self.steps(wanted).await {
            Ok(Rest::Settled) => None,
            Ok(Rest::Stuck(error)) | Err(Error::Unusable(error)) => Some(error),
            Err(error) => return Err(error),
        };
        if let Some(error) = stuck {
            self.fault("SwitchFailed", &error.to_string());
            return Ok(Outcome::SwitchFailed);
        }
        let current = self.profile.current().ok().flatten();
        self.tell(current.as_ref(), wanted);
        Ok(outcome(&self.record, self.seen, wanted))
    }

    async fn steps(&mut self, wanted: Option<&Target>) -> Result<Rest, Error> {
        loop {
            let current = self.profile.current()?;
            let ask = self.ask();
            let facts = Facts {
                current: current.as_ref(),
                wanted,
                ask: ask.as_ref(),
                anyway: self.anyway,
                tries: self.options.tries,
                now: self.ports.now(),
            };
            let event = match decide(&self.record, &facts) {
                Step::Rest(None) => return Ok(Rest::Settled),
                Step::Rest(Some(until)) => {
                    let wait = until.duration_since(facts.now).max(SignedDuration::ZERO).unsigned_abs();
                    self.doing("waiting for the next try of an activation");
                    self.ports.sleep_until(self.ports.monotonic() + wait).await;
                    continue;
                }
                Step::Begin(attempt) => {
                    self.begins(&attempt);
                    Event::Began(attempt)
                }
                Step::Answer(ask) => Event::Asked(ask),
                Step::GiveUp => {
                    self.seen.gave_up = true;
                    Event::GaveUp
                }
                Step::Drop => Event::Dropped,
                Step::Switch(attempt) => match self.switch(&attempt).await {
                    Ok(()) => continue,
                    // It may have been done before it failed.
                    Err(_) if self.is_at(&attempt)? => continue,
                    Err(error) => {
                        let gone = steps::is_gone(&attempt);
                        self.note(Event::SwitchFailed { gone }, current.as_ref())?;
                        if gone && attempt.way == Way::Back {
                            self.fault("SwitchFailed", &error.to_string());
                            continue;
                        }
                        return Ok(Rest::Stuck(error));
                    }
                },
                Step::Activate(attempt) => self.activate(&attempt, current.as_ref()).await,
            };
            self.note(event, current.as_ref())?;
        }
    }

    /// Writes down what has happened; only then it is so.
    fn note(&mut self, event: Event, current: Option<&Generation>) -> Result<(), Error> {
        let asked = matches!(event, Event::Asked(_));
        let began = matches!(event, Event::Began(_));
        let record = apply(self.record.clone(), event, current, self.ports.now());
        record.store(&self.options.state())?;
        self.record = record;
        self.anyway &= !began;
        if asked {
            // It is answered by its id, should this not succeed.
            let _ = fs::remove_file(self.options.ask());
        }
        self.status.attempt.clone_from(&self.record.attempt);
        self.status.refused.clone_from(&self.record.refused);
        Ok(())
    }

    fn begins(&mut self, attempt: &Attempt) {
        if attempt.way == Way::Here && self.record.settled.is_some() && !self.anyway {
            tracing::info!(path = attempt.target.path, "somebody has set the profile, which is followed");
        }
    }

    fn is_at(&self, attempt: &Attempt) -> Result<bool, Error> {
        Ok(self.profile.current()?.is_some_and(|current| current.path == attempt.target.path))
    }

    async fn switch(&mut self, attempt: &Attempt) -> Result<(), profile::Error> {
        let path = &attempt.target.path;
        tracing::info!(path, build = attempt.target.build, "setting the profile");
        self.doing(&format!("setting the profile to {path}"));
        steps::switch(&self.profile, &self.record, attempt).await
    }

    async fn activate(&mut self, attempt: &Attempt, current: Option<&Generation>) -> Event {
        let Some(current) = current else { return Event::Dropped };
        tracing::info!(generation = current.number, path = current.path, "activating");
        self.doing(&format!("activating generation {}", current.number));
        match self.scripts.run("bin/activate", current).await {
            Ran::Well => {}
            Ran::None => self.tell_of_none(&current.path),
            Ran::Badly(words) => {
                let failures = attempt.failures + 1;
                let wait = wait_after(failures, self.options.first_wait, self.options.last_wait, &self.ports);
                let now = self.ports.now();
                self.fault("ActivationFailed", &words);
                self.status.say(About::Active, false, &words, now);
                return Event::ActivationFailed { words, not_before: now.saturating_add(wait).unwrap_or(now) };
            }
        }
        self.seen.activated = true;
        Event::Activated
    }

    /// What a person asks for, unless that was done.
    fn ask(&self) -> Option<Ask> {
        let bytes = fs::read(self.options.ask()).ok()?;
        let ask = serde_json::from_slice::<Ask>(&bytes);
        match ask {
            Ok(ask) => Some(ask).filter(|ask| self.record.answered.as_ref() != Some(&ask.id)),
            Err(error) => {
                tracing::warn!(%error, "what a person asks for is not understood");
                let _ = fs::remove_file(self.options.ask());
                None
            }
        }
    }
}

fn asker(options: &Options, job: &str, ports: &Ports) -> Result<Hydra, Error> {
    let job = Job::parse(job).map_err(hydra::Error::from)?;
    let fetcher = Fetcher::new(Config { netrc: options.netrc()?, ..Config::default() }, ports.clone());
    Ok(Hydra::new(fetcher, job, options.whole_jobset)?)
}

/// How the scripts of a profile are run.
pub(crate) fn scripts(options: &Options) -> Scripts {
    let limit = options.activate_limit;
    Scripts::new(&options.profile, &options.state(), options.env.clone(), limit)
}

/// How it ended, from where the profile came to rest.
fn outcome(record: &Record, seen: Seen, wanted: Option<&Target>) -> Outcome {
    let has_failed = |wanted: &Target| record.refusal(&wanted.path).is_some_and(|refused| refused.why == Why::Failed);
    match &record.settled {
        Some(settled) if !settled.well => Outcome::NoWayBack,
        _ if seen.gave_up || wanted.is_some_and(has_failed) => Outcome::RolledBack,
        _ if seen.activated => Outcome::Updated,
        _ => Outcome::UpToDate,
    }
}
