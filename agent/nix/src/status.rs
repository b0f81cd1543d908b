//! What can be watched from outside: one JSON file, replaced as a whole whenever something has changed.

use std::{collections::BTreeMap, fmt, fs, path::Path};

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

/// For people, a line each.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "profile     {}", self.profile)?;
        writeln!(f, "job         {}", self.job)?;
        match &self.generation {
            Some(at) => writeln!(f, "generation  {}: {}{}", at.number, at.path, of_build(self.build))?,
            None => writeln!(f, "generation  none")?,
        }
        if let Some(wanted) = &self.wanted {
            writeln!(f, "wanted      {}{}", wanted.path, of_build(wanted.build))?;
        }
        writeln!(f, "doing       {}", self.doing)?;
        for (about, Condition { holds, since, why }) in &self.conditions {
            let about = format!("{about:?}").to_lowercase();
            writeln!(f, "{about:<11} {} since {since:.0} ({why})", if *holds { "yes" } else { "no" })?;
        }
        for refused in &self.refused {
            writeln!(f, "not taken   {}{}: {}", refused.target.path, of_build(refused.target.build), refused.words)?;
        }
        if let Some(fault) = &self.last_error {
            writeln!(f, "last error  {:.0} {}: {}", fault.at, fault.name, fault.words)?;
        }
        let success = self.last_success.map_or_else(|| "never".to_owned(), |at| format!("{at:.0}"));
        writeln!(f, "last well   {success}")
    }
}

fn of_build(build: Option<u64>) -> String {
    build.map(|build| format!(" (build {build})")).unwrap_or_default()
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

    #[test]
    fn people_read_where_it_is_and_what_stands_in_the_way() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let target = |path: &str| Target { path: path.to_owned(), build: Some(8), evaluation: None };
        let mut status = Status {
            profile: "/p/web".to_owned(),
            job: "https://h/job/a/b/c".to_owned(),
            doing: "up to date".to_owned(),
            generation: Some(Generation { number: 3, path: "/s/x".to_owned() }),
            build: Some(7),
            wanted: Some(target("/s/y")),
            last_error: Some(Fault { name: "Lost".to_owned(), words: "h broke off".to_owned(), at: at(5) }),
            ..Status::default()
        };
        let words = "bin/activate: exit status 3".to_owned();
        status.refused = vec![Refused { target: target("/s/y"), why: record::Why::Failed, words, at: at(4) }];
        status.say(About::Newest, false, "it has failed", at(4));
        insta::assert_snapshot!(status.to_string(), @"
        profile     /p/web
        job         https://h/job/a/b/c
        generation  3: /s/x (build 7)
        wanted      /s/y (build 8)
        doing       up to date
        newest      no since 1970-01-01T00:00:04Z (it has failed)
        not taken   /s/y (build 8): bin/activate: exit status 3
        last error  1970-01-01T00:00:05Z Lost: h broke off
        last well   never
        ");
    }
}
