//! The profile of a service that Helium runs on this machine: led to the version that is wanted, activated, and taken back if that fails.
//!
//! It is the same [machine](crate::machine) as that of `helium hail`, with a caller in place of Hydra: a path is tried once each time that it is wanted,
//! for the caller has its own waits, and what was refused the last time is tried again. What was cut short comes to its end first. Whoever has set the
//! profile by hand has it activated, and then what is wanted. One at a time may lead a profile; its caller sees to that.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_packages::manifest::{Manifest, PLACES};
use helium_runtime::{backoff::wait_after, ports::Ports};
use jiff::SignedDuration;

use crate::{
    activate::{Ran, Scripts},
    machine::{Event, Facts, Step, apply, decide},
    profile::{self, KEPT, Profile},
    record::{self, Attempt, Generation, Record, Target, Way, Why, beside},
    steps::{is_gone, switch},
    tools::Tools,
};

/// How often an activation is tried before the profile goes back.
const TRIES: u32 = 1;
/// How often the activation of what it goes back to is tried.
const TRIES_BACK: u32 = 3;
/// The ceilings of the waits between these.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(10);
/// How long an activation may take unless the path says otherwise.
const LIMIT: Duration = Duration::from_mins(10);
/// How long setting the profile may take; what is set is in the store already, most often.
const SWITCH_LIMIT: Duration = Duration::from_hours(1);
/// The script, and the name by which a path's manifest tells its time limit.
const SCRIPT: &str = "bin/activate";
const SETTING: &str = "activate";

/// The profile of one service.
#[derive(Clone, Debug)]
pub struct ServiceProfile {
    profile: Profile,
    scripts: Scripts,
    state: PathBuf,
    ports: Ports,
}

impl ServiceProfile {
    /// The profile with this link, which need not be there yet. What is remembered of it is beside it: `.json`, and `.log` with what scripts print.
    pub fn new(link: &Path, tools: &Tools, ports: Ports) -> Self {
        let state = beside(link, ".json");
        let mut scripts = Scripts::new(link, &state, tools.env.clone(), LIMIT);
        scripts.log = beside(link, ".log");
        let profile = Profile {
            link: link.to_owned(),
            nix_env: tools.nix_env.display().to_string(),
            env: tools.env.clone(),
            netrc: tools.netrc.clone(),
            limit: SWITCH_LIMIT,
            note: beside(&state, ".note"),
        };
        Self { profile, scripts, state, ports }
    }

    /// Has the profile lead to a path, and that be active. One that is so already is left alone. It may be dropped and called again.
    ///
    /// # Errors
    /// The profile cannot be set, or the activation has failed; then it is back at the newest other path whose activation has succeeded, and that is
    /// active again, if there is one.
    pub async fn lead_to(&self, path: &str) -> Result<(), Error> {
        let mut record = Record::load(&self.state)?;
        record.allow(path);
        while let Some(step) = next(&record, path, self.profile.current()?.as_ref(), &self.ports) {
            self.perform(&mut record, step, path).await?;
        }
        let settled = record.settled.as_ref();
        if !settled.is_some_and(|settled| settled.well && settled.generation.path == path) {
            return Err(self.failure(&record, path));
        }
        let way_back: Vec<&str> = record.good.iter().rev().take(KEPT).map(|good| good.target.path.as_str()).collect();
        Ok(self.profile.keep_only(|generation| way_back.contains(&generation.path.as_str()))?)
    }

    async fn perform(&self, record: &mut Record, step: Next, path: &str) -> Result<(), Error> {
        let current = self.profile.current()?;
        let event = match step {
            Next::Allow => {
                record.allow(path);
                return Ok(record.store(&self.state)?);
            }
            Next::Step(Step::Rest(until)) => {
                let wait = until.map(|until| until.duration_since(self.ports.now()).max(SignedDuration::ZERO));
                let wait = wait.unwrap_or_default().unsigned_abs();
                self.ports.sleep_until(self.ports.monotonic() + wait).await;
                return Ok(());
            }
            Next::Step(Step::Begin(attempt)) => Event::Began(attempt),
            Next::Step(Step::Answer(ask)) => Event::Asked(ask),
            Next::Step(Step::GiveUp) => Event::GaveUp,
            Next::Step(Step::Drop) => Event::Dropped,
            Next::Step(Step::Switch(attempt)) => {
                let Err(error) = self.switch(record, &attempt).await else { return Ok(()) };
                let gone = is_gone(&attempt);
                self.note(record, Event::SwitchFailed { gone }, current.as_ref())?;
                // What it was to go back to is gone, and there may be something else.
                return if gone && attempt.way == Way::Back { Ok(()) } else { Err(error.into()) };
            }
            Next::Step(Step::Activate(attempt)) => match &current {
                Some(current) => self.activate(&attempt, current).await,
                None => Event::Dropped,
            },
        };
        self.note(record, event, current.as_ref())
    }

    /// Writes down what has happened; only then it is so.
    fn note(&self, record: &mut Record, event: Event, current: Option<&Generation>) -> Result<(), Error> {
        let next = apply(record.clone(), event, current, self.ports.now());
        next.store(&self.state)?;
        *record = next;
        Ok(())
    }

    async fn switch(&self, record: &Record, attempt: &Attempt) -> Result<(), profile::Error> {
        tracing::info!(profile = %self.profile.link.display(), path = attempt.target.path, "setting the profile");
        match switch(&self.profile, record, attempt).await {
            // It may have been done before it failed.
            Err(_) if self.profile.current()?.is_some_and(|at| at.path == attempt.target.path) => Ok(()),
            switched => switched,
        }
    }

    async fn activate(&self, attempt: &Attempt, current: &Generation) -> Event {
        tracing::info!(profile = %self.profile.link.display(), path = current.path, "activating");
        let scripts = Scripts { limit: limit_of(Path::new(&current.path)), ..self.scripts.clone() };
        match scripts.run(SCRIPT, current).await {
            Ran::Well | Ran::None => Event::Activated,
            Ran::Badly(words) => {
                let wait = wait_after(attempt.failures + 1, FIRST_WAIT, LAST_WAIT, &self.ports);
                let now = self.ports.now();
                Event::ActivationFailed { words, not_before: now.saturating_add(wait).unwrap_or(now) }
            }
        }
    }

    fn failure(&self, record: &Record, path: &str) -> Error {
        let words_of = |path: &str| record.refusal(path).map(|refused| refused.words.clone());
        let back = match &record.settled {
            Some(at) if at.well => format!("the profile is back at {}", at.generation.path),
            Some(at) if at.generation.path != path => {
                let words = words_of(&at.generation.path).unwrap_or_default();
                format!("going back to {} has failed, too: {words}", at.generation.path)
            }
            _ => "there is nothing to go back to".to_owned(),
        };
        let words = words_of(path).unwrap_or_else(|| "it was not activated".to_owned());
        Error::Activation { words, back, log: self.scripts.log.clone() }
    }
}

/// Whether the profile with this link leads to a path, and that is active. Nix is not asked for it.
pub fn is_active(link: &Path, path: &str) -> bool {
    let leads = || fs::read_link(link.parent()?.join(fs::read_link(link).ok()?)).ok();
    let Ok(Record { attempt: None, settled: Some(settled), .. }) = Record::load(&beside(link, ".json")) else {
        return false;
    };
    settled.well && settled.generation.path == path && leads().is_some_and(|leads| leads == Path::new(path))
}

/// What is to be done next to have a path active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A step of the machine.
    Step(Step),
    /// The path is wanted again: somebody had gone away from it by hand.
    Allow,
}

/// The next thing to do; none once the profile has come to rest.
fn next(record: &Record, path: &str, current: Option<&Generation>, ports: &Ports) -> Option<Next> {
    next_at(record, path, current, ports.now())
}

fn next_at(record: &Record, path: &str, current: Option<&Generation>, now: jiff::Timestamp) -> Option<Next> {
    let is_back = record.attempt.as_ref().is_some_and(|attempt| attempt.way == Way::Back);
    let wanted = Target { path: path.to_owned(), build: None, evaluation: None };
    let tries = if is_back { TRIES_BACK } else { TRIES };
    let facts = Facts { current, wanted: Some(&wanted), ask: None, anyway: false, tries, now };
    match decide(record, &facts) {
        Step::Rest(None) if record.refusal(path).is_some_and(|refused| refused.why == Why::Left) => Some(Next::Allow),
        Step::Rest(None) => None,
        step => Some(Next::Step(step)),
    }
}

/// How long the activation of a path may take: what its manifest says of the hook `activate`, or 10 minutes.
fn limit_of(path: &Path) -> Duration {
    let manifest = PLACES.iter().find_map(|place| Manifest::read(place, &fs::read(path.join(place)).ok()?).ok());
    manifest.and_then(|manifest| manifest.hooks.get(SETTING)?.timeout).unwrap_or(LIMIT)
}

/// A profile does not lead to what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or set.
    #[error(transparent)]
    Profile(#[from] profile::Error),
    /// What is remembered of it cannot be read or written.
    #[error(transparent)]
    Record(#[from] record::Error),
    /// The activation has failed.
    #[error("{words}; {back} (its log: {})", log.display())]
    Activation {
        /// How.
        words: String,
        /// Where the profile is now.
        back: String,
        /// Where all that it printed is.
        log: PathBuf,
    },
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
