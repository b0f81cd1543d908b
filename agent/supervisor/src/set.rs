//! The jobs of a supervisor, which fit together or are refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::job::Job;

/// What holds for all jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The job whose end, with no restart left, ends the supervisor with its exit code.
    pub main: Option<String>,
    /// How long a shutdown may take, with all that acts on it. What runs then is killed.
    pub grace: Duration,
    /// Whether [`crate::Code::Healthy`] and [`crate::Code::Unhealthy`] come at every check, and not only when the health changes.
    pub every_check: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { main: None, grace: Duration::from_secs(10), every_check: false }
    }
}

/// Jobs that fit together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobSet {
    pub(crate) jobs: Vec<Job>,
    pub(crate) settings: Settings,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Two jobs have one name.
    #[error("job `{0}`: there is another job of this name; give each its own")]
    Duplicate(String),
    /// A job waits for a job that is not there.
    #[error("job `{job}` waits for `{source_job}`, which is no job here: it would never start")]
    NoSource {
        /// The one that waits.
        job: String,
        /// For whom.
        source_job: String,
    },
    /// Jobs wait for each other.
    #[error("these jobs wait for each other and none would ever start: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// The main job is not there.
    #[error("the main job `{0}` is no job here")]
    NoMain(String),
    /// A job runs at an interval of nothing.
    #[error("job `{0}`: an interval must be longer than nothing")]
    NoInterval(String),
}

impl JobSet {
    /// These jobs, all of which can start.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn new(jobs: Vec<Job>, settings: Settings) -> Result<Self, SetError> {
        let (set, misfits) = Self::lenient(jobs, settings)?;
        misfits.into_iter().next().map_or(Ok(set), Err)
    }

    /// These jobs, and what does not fit but does no harm: jobs that can never start, and names that are there twice.
    ///
    /// # Errors
    /// What cannot be run at all.
    pub fn lenient(jobs: Vec<Job>, settings: Settings) -> Result<(Self, Vec<SetError>), SetError> {
        if let Some(main) = settings.main.as_ref().filter(|main| jobs.iter().all(|job| job.name != **main)) {
            return Err(SetError::NoMain(main.clone()));
        }
        let intervals =
            |job: &Job| [job.start.every.map(|every| every.interval), job.health.as_ref().map(|h| h.interval)];
        if let Some(job) = jobs.iter().find(|job| intervals(job).contains(&Some(Duration::ZERO))) {
            return Err(SetError::NoInterval(job.name.clone()));
        }
        let misfits = duplicates(&jobs).chain(sourceless(&jobs)).chain(cycle(&jobs)).collect();
        Ok((Self { jobs, settings }, misfits))
    }

    /// The jobs, in their order.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// What holds for all of them.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

fn duplicates(jobs: &[Job]) -> impl Iterator<Item = SetError> {
    let mut seen = BTreeSet::new();
    jobs.iter().filter(move |job| !seen.insert(&job.name)).map(|job| SetError::Duplicate(job.name.clone()))
}

fn sourceless(jobs: &[Job]) -> impl Iterator<Item = SetError> {
    let names: BTreeSet<&str> = jobs.iter().map(|job| job.name.as_str()).collect();
    let waits = jobs.iter().flat_map(|job| job.start.after.iter().filter_map(move |event| Some((job, event.job()?))));
    waits
        .filter(move |(_, source)| !names.contains(source))
        .map(|(job, source)| SetError::NoSource { job: job.name.clone(), source_job: source.to_owned() })
}

/// A cycle of jobs each of which waits for the next, if there is one: a walk in depth that comes back to where it is.
fn cycle(jobs: &[Job]) -> Option<SetError> {
    let mut waits: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for job in jobs {
        waits.entry(&job.name).or_default().extend(job.start.after.iter().filter_map(|event| event.job()));
    }
    let mut done = BTreeSet::new();
    waits.keys().find_map(|start| walk(start, &waits, &mut Vec::new(), &mut done)).map(SetError::Cycle)
}

fn walk<'a>(
    at: &'a str,
    waits: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    if let Some(from) = path.iter().position(|name| *name == at) {
        return Some(path[from..].iter().chain([&at]).map(ToString::to_string).collect());
    }
    if done.contains(at) {
        return None;
    }
    path.push(at);
    let found = waits.get(at).into_iter().flatten().find_map(|next| walk(next, waits, path, done));
    path.pop();
    done.insert(at);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Code, Event},
        job::{Restarts, Start},
    };

    fn job(name: &str, after: &[&str]) -> Job {
        let after = after.iter().map(|source| Event::of_job(Code::Healthy, *source)).collect();
        Job { start: Start { after, ..Start::default() }, ..Job::new(name, None) }
    }

    fn words(jobs: Vec<Job>) -> String {
        JobSet::new(jobs, Settings::default()).unwrap_err().to_string()
    }

    #[test]
    fn a_cycle_is_named_and_what_only_leads_to_it_is_not() {
        let jobs = vec![job("a", &["b"]), job("b", &["c", "e"]), job("c", &["d"]), job("d", &["b"]), job("e", &[])];
        assert_eq!(words(jobs), "these jobs wait for each other and none would ever start: b -> c -> d -> b");
        assert!(words(vec![job("a", &["a"])]).ends_with("start: a -> a"));
        assert!(JobSet::new(vec![job("a", &["b", "c"]), job("b", &["c"]), job("c", &[])], Settings::default()).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_named_and_may_be_let_through() {
        assert_eq!(
            words(vec![job("a", &[]), job("a", &[])]),
            "job `a`: there is another job of this name; give each its own"
        );
        assert_eq!(words(vec![job("a", &["x"])]), "job `a` waits for `x`, which is no job here: it would never start");
        let never = Job { start: Start::every(Duration::ZERO, Restarts::Never), ..Job::new("a", None) };
        assert_eq!(words(vec![never]), "job `a`: an interval must be longer than nothing");
        let main = Settings { main: Some("m".to_owned()), ..Settings::default() };
        assert_eq!(JobSet::new(vec![], main).unwrap_err().to_string(), "the main job `m` is no job here");
        let (set, misfits) = JobSet::lenient(vec![job("a", &["x"]), job("a", &["a"])], Settings::default()).unwrap();
        assert_eq!((set.jobs().len(), misfits.len()), (2, 3));
    }
}
