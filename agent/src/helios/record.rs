//! What is known of one service across restarts of the agent, and how events change it, as a pure function.
//!
//! The record, and not what Consul shows, says what is installed and what runs: a registration that is lost costs a registration, no installation.

use std::{collections::BTreeSet, time::Duration};

use helium_processes::{Exit, ProcessIdentity};
use helium_runtime::backoff::ceiling_after;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{checks::PackageCheck, hooks::Hook};

/// The wait before the first new try, and the longest.
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));
/// So many ends or vain starts in a row make an attempt fail.
pub(super) const FAILED_AFTER: u32 = 3;
/// A process that has run for so long has no past any more.
const STABLE_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// What a service is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// The version.
    pub(crate) version: String,
    /// The digest of its keys below `config/`.
    pub(crate) config: String,
}

impl Target {
    /// The name under which a change to it is marked bad, if what was good is `good`: its version, or its values where they alone are new.
    pub(crate) fn mark(&self, good: Option<&Self>) -> String {
        if good.is_some_and(|good| good.version == self.version) { self.config_mark() } else { self.version.clone() }
    }

    /// The name under which its values are marked bad.
    pub(crate) fn config_mark(&self) -> String {
        format!("config-{}", self.config)
    }
}

/// How far an attempt is. Everything up to its stage has been done, and each part may be done twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// It was decided upon; what ran is drained and stopped next.
    Begun,
    /// The version is in its place.
    Installed,
    /// It is the current one.
    Switched,
    /// Its files are rendered.
    Rendered,
    /// It runs, and is to prove itself.
    Started,
}

/// A change that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// To what.
    pub(crate) target: Target,
    /// How far it is.
    pub(crate) stage: Stage,
    /// The process runs on, and the hook `config` tells it of its new files.
    pub(crate) live: bool,
    /// It is the way back from one that failed.
    pub(crate) back: bool,
    /// Since when it has to prove itself.
    pub(crate) since: Option<Timestamp>,
}

/// A target that failed here and is to be told to the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// What failed.
    pub(crate) target: Target,
    /// Whether only its values were new, and so are what is wrong.
    pub(crate) config_only: bool,
    /// Why.
    pub(crate) reason: String,
}

impl Failed {
    /// The name under which it is marked bad.
    pub(crate) fn mark(&self) -> String {
        if self.config_only { self.target.config_mark() } else { self.target.version.clone() }
    }
}

/// What is known of a rendered package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// The SHA-1 of its values, for the tag.
    pub(crate) tag: String,
    /// What is run; empty for a service that its hooks run.
    pub(crate) run: Vec<String>,
    /// Its hooks.
    pub(crate) hooks: BTreeSet<Hook>,
    /// Its checks.
    pub(crate) checks: Vec<PackageCheck>,
    /// What is installed along with it.
    pub(crate) roles: Vec<String>,
}

/// What is known of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What served well last.
    pub(crate) good: Option<Target>,
    /// Whose files are rendered; what is started is this.
    pub(crate) current: Option<Target>,
    /// What is known of that.
    pub(crate) found: Found,
    /// The change that is under way.
    pub(crate) attempt: Option<Attempt>,
    /// What is to be told of one that failed.
    pub(crate) failed: Option<Failed>,
    /// Whether it was started and not stopped since.
    pub(crate) up: bool,
    /// Its process, if the agent runs it.
    pub(crate) process: Option<ProcessIdentity>,
    /// When it was started.
    pub(crate) started_at: Option<Timestamp>,
    /// Troubles in a row.
    pub(crate) failures: u32,
    /// When what failed is tried again.
    pub(crate) next_try: Option<Timestamp>,
    /// The last trouble, in words.
    pub(crate) message: Option<String>,
}

/// What came of a step.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A change was decided upon.
    Begun { target: Target, live: bool },
    /// What ran has ended, because it was to.
    Stopped,
    /// The version is in its place.
    Installed,
    /// It is the current one.
    Switched,
    /// Its files are rendered.
    Rendered(Box<Found>),
    /// It was started; with a process if the agent runs it.
    Started(Option<ProcessIdentity>),
    /// It could not be started.
    StartFailed(String),
    /// The process ended by itself.
    Ended(Exit),
    /// The attempt failed.
    Failed(String),
    /// The attempt has proved itself.
    Proven,
    /// The others know what failed.
    Marked,
}

/// The record after an event.
pub(crate) fn apply(record: &Record, event: Event, now: Timestamp) -> Record {
    let mut next = record.clone();
    match event {
        Event::Begun { target, live } => {
            let back = next.good.as_ref() == Some(&target);
            let live = live && next.up;
            next.attempt = Some(Attempt { target, stage: first_stage(live), live, back, since: None });
            (next.failures, next.next_try, next.message) = (0, None, None);
        }
        Event::Stopped => (next.process, next.up, next.started_at) = (None, false, None),
        Event::Installed => reach(&mut next, Stage::Installed),
        Event::Switched => reach(&mut next, Stage::Switched),
        Event::Rendered(found) => {
            next.found = *found;
            next.current = next.attempt.as_ref().map(|attempt| attempt.target.clone()).or(next.current);
            let up = next.up;
            reach(&mut next, if up { Stage::Started } else { Stage::Rendered });
            begin_proof(&mut next, now);
        }
        Event::Started(process) => {
            (next.process, next.up, next.started_at, next.next_try) = (process, true, Some(now), None);
            reach(&mut next, Stage::Started);
            begin_proof(&mut next, now);
        }
        Event::StartFailed(reason) => trouble(&mut next, reason, now),
        Event::Ended(exit) => {
            let up = now.duration_since(next.started_at.unwrap_or(now));
            if up >= STABLE_AFTER {
                next.failures = 0;
            }
            (next.process, next.up, next.started_at) = (None, false, None);
            trouble(&mut next, format!("it ended by itself: {exit}"), now);
        }
        Event::Failed(reason) => fail(&mut next, reason, now),
        Event::Proven => {
            next.good = next.attempt.take().map(|attempt| attempt.target).or(next.good);
            (next.failures, next.message) = (0, None);
        }
        Event::Marked => next.failed = None,
    }
    next
}

fn first_stage(live: bool) -> Stage {
    if live { Stage::Switched } else { Stage::Begun }
}

fn reach(next: &mut Record, stage: Stage) {
    if let Some(attempt) = &mut next.attempt {
        attempt.stage = stage;
    }
}

/// A proof that has begun goes on over restarts of the process: otherwise one that ends again and again would prove itself for ever.
fn begin_proof(next: &mut Record, now: Timestamp) {
    if let Some(attempt) = next.attempt.as_mut().filter(|attempt| attempt.stage == Stage::Started) {
        attempt.since.get_or_insert(now);
    }
}

/// A trouble that may pass, unless it has come too often in an attempt from which there is a way back.
fn trouble(next: &mut Record, reason: String, now: Timestamp) {
    let forward = next.attempt.as_ref().is_some_and(|attempt| !attempt.back) && next.good.is_some();
    if forward && next.failures + 1 >= FAILED_AFTER {
        fail(next, reason, now);
    } else {
        try_later(next, reason, now);
    }
}

fn try_later(next: &mut Record, reason: String, now: Timestamp) {
    next.failures = next.failures.saturating_add(1);
    let wait = ceiling_after(next.failures, WAIT.0, WAIT.1);
    next.next_try = Some(now + SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO));
    next.message = Some(reason);
}

/// The way back, if there is one; otherwise the same again, later.
fn fail(next: &mut Record, reason: String, now: Timestamp) {
    let (good, attempt) = (next.good.clone(), next.attempt.take());
    match (attempt, good) {
        (Some(attempt), Some(good)) if !attempt.back => {
            let config_only = attempt.target.version == good.version;
            let live = attempt.live && next.up;
            next.failed = Some(Failed { target: attempt.target, config_only, reason: reason.clone() });
            next.attempt = Some(Attempt { target: good, stage: first_stage(live), live, back: true, since: None });
            (next.failures, next.next_try, next.message) = (0, None, Some(reason));
        }
        (attempt, _) => {
            let again = attempt.map(|attempt| Attempt { stage: first_stage(attempt.live), since: None, ..attempt });
            next.attempt = again;
            try_later(next, reason, now);
        }
    }
}

/// A record as it is after a restart of the agent: an instant in the future, which a clock that went back leaves behind, counts as now.
pub(crate) fn after_restart(mut record: Record, now: Timestamp) -> Record {
    record.started_at = record.started_at.map(|at| at.min(now));
    record.next_try = record.next_try.map(|at| at.min(now + SignedDuration::from_mins(1)));
    if let Some(attempt) = &mut record.attempt {
        attempt.since = attempt.since.map(|at| at.min(now));
    }
    record
}
