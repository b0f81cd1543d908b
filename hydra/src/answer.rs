//! Builds and evaluations, read from what Hydra answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::Error;

/// A build, as far as it matters.
#[derive(Debug, Deserialize)]
pub struct Build {
    id: u64,
    #[serde(default)]
    job: String,
    #[serde(deserialize_with = "flag")]
    finished: bool,
    #[serde(default)]
    buildstatus: Option<i64>,
    #[serde(default)]
    buildoutputs: BTreeMap<String, Output>,
}

#[derive(Debug, Deserialize)]
struct Output {
    /// None while the path of a derivation is not known before it is built.
    #[serde(default)]
    path: Option<String>,
}

/// A build that has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The path of its output `out`, in the store.
    pub path: String,
    /// The number of the build.
    pub build: u64,
    /// The number of the evaluation that it is of, if that was asked for.
    pub evaluation: Option<u64>,
}

/// An evaluation, as far as it matters.
#[derive(Debug, Deserialize)]
struct Evaluation {
    id: u64,
}

/// Hydra says yes as `1` or as `true`, depending on its age.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Number(i64),
    }
    Flag::deserialize(deserializer).map(|flag| match flag {
        Flag::Bool(yes) => yes,
        Flag::Number(number) => number != 0,
    })
}

/// Reads an answer about one build.
///
/// # Errors
/// [`Error::NotJson`].
pub fn read_build(place: &str, bytes: &[u8]) -> Result<Build, Error> {
    read(place, bytes)
}

/// Reads an answer about all builds of an evaluation.
///
/// # Errors
/// [`Error::NotJson`].
pub fn read_builds(place: &str, bytes: &[u8]) -> Result<Vec<Build>, Error> {
    read(place, bytes)
}

/// The number of the evaluation that an answer is about.
///
/// # Errors
/// [`Error::NotJson`].
pub fn evaluation(place: &str, bytes: &[u8]) -> Result<u64, Error> {
    read(place, bytes).map(|evaluation: Evaluation| evaluation.id)
}

fn read<T: DeserializeOwned>(place: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::NotJson { place: place.to_owned(), reason: error.to_string() })
}

impl Build {
    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it is finished, and has succeeded.
    pub fn has_succeeded(&self) -> bool {
        self.finished && self.buildstatus == Some(0)
    }

    /// Whether it is finished, and has not succeeded.
    pub fn has_failed(&self) -> bool {
        self.finished && !self.has_succeeded()
    }

    /// What is to be taken of it; `place` is where it was told.
    ///
    /// # Errors
    /// It is not finished, has not succeeded, or has no output `out` in a store.
    pub fn built(&self, place: &str) -> Result<Built, Error> {
        let build = self.id;
        if !self.finished {
            return Err(Error::Unfinished { build });
        }
        let no_status = || Error::NotJson { place: place.to_owned(), reason: "it has no `buildstatus`".to_owned() };
        match self.buildstatus.ok_or_else(no_status)? {
            0 => {}
            status => return Err(Error::Unsuccessful { build, status }),
        }
        let path = self.buildoutputs.get("out").and_then(|output| output.path.clone());
        let outputs = || self.buildoutputs.keys().cloned().collect();
        let path = path.ok_or_else(|| Error::NoOutput { build, outputs: outputs() })?;
        if is_store_path(&path) {
            Ok(Built { path, build, evaluation: None })
        } else {
            Err(Error::NoPath { build, path })
        }
    }
}

/// The build of `job` in an evaluation, if all of that has succeeded.
///
/// # Errors
/// Something in it has not succeeded, the job is not in it, or its build cannot be taken.
pub fn of_whole(place: &str, evaluation: u64, builds: Vec<Build>, job: &str) -> Result<Built, Error> {
    let unfinished = builds.iter().filter(|build| !build.finished).count();
    let failed = builds.iter().filter(|build| build.has_failed());
    let failed: Vec<String> = failed.map(|build| build.job.clone()).collect();
    if unfinished > 0 || !failed.is_empty() {
        return Err(Error::NotWhole { evaluation, unfinished, failed });
    }
    let build = builds.into_iter().find(|build| build.job == job);
    let build = build.ok_or_else(|| Error::NoJob { evaluation, job: job.to_owned() })?;
    Ok(Built { evaluation: Some(evaluation), ..build.built(place)? })
}

/// Whether a text is `/FOLDER/HASH-NAME` in Nix's form, whatever the folder. Nothing else is handed to a program.
fn is_store_path(path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else { return false };
    let (hash, rest) = name.split_at_checked(32).unwrap_or(("", ""));
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    let is_folder = folder.strip_prefix('/').is_some_and(|folder| folder.split('/').all(is_part));
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+-._?=".contains(c);
    let is_hash = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
    is_folder
        && !hash.is_empty()
        && hash.chars().all(is_hash)
        && rest.len() > 1
        && rest.starts_with('-')
        && rest.chars().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/nix/store/1a61pa55kkzpya2ha9kc80cz510mr61b-web";

    fn build(json: &str) -> Result<Built, Error> {
        read("place", json.as_bytes()).and_then(|build: Build| build.built("place"))
    }

    #[test]
    fn the_output_of_a_build_is_taken_however_old_hydra_is() {
        for finished in ["1", "true"] {
            let json = format!(
                r#"{{"id":7,"finished":{finished},"buildstatus":0,"buildoutputs":{{"out":{{"path":"{PATH}"}}}}}}"#
            );
            let target = build(&json).unwrap();
            assert_eq!((target.path.as_str(), target.build), (PATH, 7));
        }
    }

    #[test]
    fn what_cannot_be_taken_is_told_by_its_reason() {
        let words = |json: &str| build(json).unwrap_err().to_string();
        assert!(words("<html>").starts_with("place does not answer as Hydra does: expected value"));
        assert!(words(r#"{"id":7}"#).contains("missing field `finished`"));
        assert_eq!(words(r#"{"id":7,"finished":0,"buildstatus":null}"#), "build 7 is not finished");
        assert_eq!(words(r#"{"id":7,"finished":1,"buildstatus":2}"#), "build 7 has not succeeded: its status is 2");
        let others = r#"{"id":7,"finished":1,"buildstatus":0,"buildoutputs":{"doc":{"path":"x"},"lib":{"path":null}}}"#;
        assert_eq!(words(others), "build 7 has no output `out`, but doc, lib");
        assert_eq!(words(r#"{"id":7,"finished":1,"buildstatus":0}"#), "build 7 has no output `out`");
        let option = r#"{"id":7,"finished":1,"buildstatus":0,"buildoutputs":{"out":{"path":"--option"}}}"#;
        assert_eq!(words(option), "the output `out` of build 7 is at `--option`, which is no path of a store");
    }

    #[test]
    fn only_paths_of_a_store_are_taken() {
        let hash = "1a61pa55kkzpya2ha9kc80cz510mr61b";
        assert!(is_store_path(PATH) && is_store_path(&format!("/tmp/a/{hash}-x.y_1+2?=")));
        for wrong in [format!("{hash}-x"), format!("/s/../{hash}-x"), format!("/s/{hash}-"), format!("/s/{hash}-x y")] {
            assert!(!is_store_path(&wrong), "{wrong}");
        }
        assert!(!is_store_path("/nix/store/short-x") && !is_store_path("/nix/store//"));
    }

    #[test]
    fn an_evaluation_is_taken_only_if_all_of_it_has_succeeded() {
        let one = |id: u64, job: &str, finished: bool, status: i64| {
            let json = serde_json::json!({
                "id": id, "job": job, "finished": finished, "buildstatus": status, "buildoutputs": {"out": {"path": PATH}}
            });
            serde_json::from_value::<Build>(json).unwrap()
        };
        let taken = of_whole("p", 3, vec![one(1, "a", true, 0), one(2, "b", true, 0)], "b").unwrap();
        assert_eq!((taken.build, taken.evaluation), (2, Some(3)));
        let words = |builds, job| of_whole("p", 3, builds, job).unwrap_err().to_string();
        let builds = vec![one(1, "a", true, 1), one(2, "b", true, 0), one(3, "c", false, 0)];
        assert_eq!(words(builds, "b"), "evaluation 3 is not whole: 1 jobs are not finished, 1 have not succeeded (a)");
        assert_eq!(words(vec![], "b"), "evaluation 3 has no job `b`");
    }
}
