//! What can be watched from outside: one JSON file, replaced as a whole whenever something has changed.

use std::{collections::BTreeMap, fs, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    outcome::Outcome,
    record::{self, Attempt, Generation, Refused, Target},
};

/// Whether something holds, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Whether it holds.
    pub holds: bool,
    /// Since when it is so.
    pub since: Timestamp,
    /// Why, in a few words.
    pub why: String,
}

/// What is said on by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum About {
    /// Hydra says what to take.
    Fetched,
    /// What the profile is at is active.
    Active,
    /// It is what Hydra says.
    Newest,
}

/// An error, by the name of its kind and in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind, such as `Nothing` or `ActivationFailed`.
    pub name: String,
    /// What is wrong.
    pub words: String,
    /// When it was so.
    pub at: Timestamp,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The profile.
    pub profile: String,
    /// The job's address.
    pub job: String,
    /// What is done just now.
    pub doing: String,
    /// How the last look at Hydra ended.
    pub outcome: Option<Outcome>,
    /// Where the profile is.
    pub generation: Option<Generation>,
    /// Hydra's build that the profile is at, if it is known to be one.
    pub build: Option<u64>,
    /// What Hydra has, as of its last answer.
    pub wanted: Option<Target>,
    /// What is under way.
    pub attempt: Option<Attempt>,
    /// What is not taken.
    pub refused: Vec<Refused>,
    /// What holds and what does not.
    pub conditions: BTreeMap<About, Condition>,
    /// When Hydra was asked the last time.
    pub last_poll: Option<Timestamp>,
    /// When a look at Hydra ended well the last time.
    pub last_success: Option<Timestamp>,
    /// The last error, however long ago.
    pub last_error: Option<Fault>,
}

impl Status {
    /// Reads the file; one that is not there or not understood says nothing.
    pub fn load(file: &Path) -> Self {
        fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Writes it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn store(&self, file: &Path) -> Result<(), record::Error> {
        record::replace(file, self)
    }

    /// Says whether something holds; since when is kept while that does not change.
    pub fn say(&mut self, about: About, holds: bool, why: &str, now: Timestamp) {
        let since =
            self.conditions.get(&about).filter(|before| before.holds == holds).map_or(now, |before| before.since);
        self.conditions.insert(about, Condition { holds, since, why: why.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_since_it_began_to_and_a_file_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("status");
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut status = Status::load(&file);
        status.say(About::Active, true, "a", at(1));
        status.say(About::Active, true, "b", at(2));
        status.store(&file).unwrap();
        let mut status = Status::load(&file);
        let condition = &status.conditions[&About::Active];
        assert_eq!((condition.since, condition.why.as_str()), (at(1), "b"));
        status.say(About::Active, false, "c", at(3));
        assert_eq!(status.conditions[&About::Active].since, at(3));
    }
}
