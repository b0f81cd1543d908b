//! Whether this controller sees enough of the world to act, and if not, why: what `/readyz` answers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A shared list of the sources that cannot be seen, each with its reason. Cheap to clone; all clones are one list.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    problems: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Readiness {
    /// A list that starts with one entry: a controller is not ready before it has looked.
    pub fn starting() -> Self {
        let readiness = Self::default();
        readiness.report("start", "the store has not been read yet");
        readiness
    }

    /// Ready, or every reason why not, ordered by source: `spec: the token has no right to read it`.
    pub fn status(&self) -> Result<(), Vec<String>> {
        let problems: Vec<String> = self.lock().iter().map(|(source, reason)| format!("{source}: {reason}")).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Writes down why `source` cannot be seen. Says whether that is news.
    pub fn report(&self, source: &str, reason: impl Into<String>) -> bool {
        let reason = reason.into();
        self.lock().insert(source.to_owned(), reason.clone()) != Some(reason)
    }

    /// Strikes `source` off the list. Says whether it was on it.
    pub fn clear(&self, source: &str) -> bool {
        self.lock().remove(source).is_some()
    }

    /// Writes down a reason, or strikes the source off where there is none. Says whether that changed anything.
    pub fn set(&self, source: &str, reason: Option<String>) -> bool {
        match reason {
            Some(reason) => self.report(source, reason),
            None => self.clear(source),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_ready_when_every_reason_is_gone() {
        let readiness = Readiness::starting();
        assert!(readiness.status().is_err());
        assert!(readiness.clear("start"));
        assert_eq!(readiness.status(), Ok(()));
        assert!(readiness.set("spec", Some("denied".to_owned())));
        assert!(!readiness.report("spec", "denied"), "the same reason again is no news");
        let clone = readiness.clone();
        clone.report("alive", "gone");
        assert_eq!(readiness.status(), Err(vec!["alive: gone".to_owned(), "spec: denied".to_owned()]));
    }
}
