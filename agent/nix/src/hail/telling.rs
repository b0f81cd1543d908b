//! What the loop says of itself: to the status, to systemd, and to the log.

use super::Hail;
use crate::{
    outcome::Outcome,
    record::{Generation, Target},
    status::{About, Fault},
};

impl Hail {
    pub(super) fn tell_of_none(&mut self, path: &str) {
        if self.told.as_deref() != Some(path) {
            tracing::warn!(path, "the profile has no bin/activate: it is set, and nothing is run");
            self.told = Some(path.to_owned());
        }
    }

    pub(super) fn fault(&mut self, name: &str, words: &str) {
        tracing::warn!(name, "{words}");
        self.status.last_error = Some(Fault { name: name.to_owned(), words: words.to_owned(), at: self.ports.now() });
    }

    /// Says how the profile came to rest.
    pub(super) fn tell(&mut self, current: Option<&Generation>, wanted: Option<&Target>) {
        let now = self.ports.now();
        if let Some(settled) = &self.record.settled {
            let why = if settled.well { "its activation has succeeded" } else { "its activation has failed" };
            self.status.say(About::Active, settled.well, why, now);
        }
        if let Some(wanted) = wanted {
            let is_there = current.is_some_and(|current| current.path == wanted.path);
            let refused = self.record.refusal(&wanted.path).map(|refused| refused.words.clone());
            let why = if is_there { "it is".to_owned() } else { refused.unwrap_or_default() };
            self.status.say(About::Newest, is_there, &why, now);
        }
        let good: Vec<&str> = self.record.good.iter().rev().map(|good| good.target.path.as_str()).collect();
        if let Err(error) = self.profile.keep(&good) {
            tracing::warn!(%error, "garbage collection could take the way back");
        }
        let build = |path: &str| self.record.good.iter().find(|good| good.target.path == path)?.target.build;
        self.status.build = current.and_then(|current| build(&current.path));
        self.status.generation = current.cloned();
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        if outcome.code() == 0 {
            self.status.last_success = Some(self.ports.now());
        }
        if outcome == Outcome::Updated {
            tracing::info!(generation = self.status.generation.as_ref().map(|at| at.number), "updated");
        }
        self.status.outcome = Some(outcome);
        self.doing(&outcome.to_string());
    }

    /// Says what is done now, to whoever watches.
    pub(super) fn doing(&mut self, words: &str) {
        words.clone_into(&mut self.status.doing);
        self.notifier.status(words);
        if let Err(error) = self.status.store(&self.options.status()) {
            tracing::warn!(%error, "the status cannot be written");
        }
    }
}
