//! What Hydra has built: the latest build of a job, or that of the latest evaluation all of which is finished and has succeeded.
//!
//! | asked | what Hydra answers |
//! |---|---|
//! | `GET JOB/latest` | a redirect to the latest build of the job that has succeeded; 404 if there is none |
//! | `GET HYDRA/jobset/P/J/latest-eval` | a redirect to the latest evaluation with new builds, none of which is unfinished |
//! | `GET HYDRA/eval/N/builds` | all builds of an evaluation |
//!
//! All with `Accept: application/json`. The status of a build is 0 if it has succeeded.

mod answer;

use std::time::Duration;

use helium_packages::fetch::{self, Answer, Fetcher, Get};
use http::{StatusCode, Uri};
use tokio::sync::Mutex;

use crate::record::Target;

/// The most bytes of one answer about one thing, and about all builds of an evaluation, which can be tens of thousands.
const MOST: usize = 1 << 20;
const MOST_BUILDS: usize = 128 << 20;
/// How long one answer may take.
const LIMIT: Duration = Duration::from_mins(1);
/// Listing all builds of a large evaluation takes Hydra minutes.
const LIMIT_BUILDS: Duration = Duration::from_mins(10);

/// The address of a job: `https://hydra.example/job/PROJECT/JOBSET/JOB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Without a slash at its end.
    address: String,
    /// What comes before `/job/`, then project, jobset and job.
    parts: Option<[String; 4]>,
}

impl Job {
    /// Reads an address.
    ///
    /// # Errors
    /// It is none of `http` or `https`, or names a user, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Address { text: hide(text), reason: reason.to_owned() };
        let address = text.trim_end_matches('/');
        let uri: Uri = address.parse().map_err(|_| wrong("it is no address"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("it begins with neither `https://` nor `http://`"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("it names a user: logins belong into the netrc file"));
        }
        if address.contains(['?', '#']) {
            return Err(wrong("it has a query or a fragment"));
        }
        let parts = address.rsplit_once("/job/").and_then(|(hydra, rest)| match *rest.split('/').collect::<Vec<_>>() {
            [project, jobset, job] if ![project, jobset, job].contains(&"") => {
                Some([hydra, project, jobset, job].map(str::to_owned))
            }
            _ => None,
        });
        Ok(Self { address: address.to_owned(), parts })
    }

    /// As it is told.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// A name and password that were written into the address are not told.
fn hide(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(start), Some(end)) if start < end => format!("{}://...{}", &text[..start], &text[end..]),
        _ => text.to_owned(),
    }
}

/// Asks Hydra for one job.
pub struct Hydra {
    fetcher: Fetcher,
    job: Job,
    whole_jobset: bool,
    /// The latest answer that bore a tag: the tag, and what it said.
    known: Mutex<Option<(String, Target)>>,
}

impl Hydra {
    /// Asks for `job`; with `whole_jobset` for the latest evaluation all jobs of which have succeeded.
    ///
    /// # Errors
    /// The whole jobset is asked for, and the address does not tell which one.
    pub fn new(fetcher: Fetcher, job: Job, whole_jobset: bool) -> Result<Self, Error> {
        if whole_jobset && job.parts.is_none() {
            let reason = "to wait for the whole jobset it must end in `/job/PROJECT/JOBSET/JOB`".to_owned();
            return Err(Error::Address { text: job.address, reason });
        }
        Ok(Self { fetcher, job, whole_jobset, known: Mutex::default() })
    }

    /// The build that is to be taken.
    ///
    /// # Errors
    /// Hydra does not answer, or there is none; of the whole jobset also while something in it has not succeeded.
    pub async fn latest(&self) -> Result<Target, Error> {
        match (&self.job.parts, self.whole_jobset) {
            (Some([hydra, project, jobset, job]), true) => self.of_whole(hydra, project, jobset, job).await,
            _ => self.of_job().await,
        }
    }

    async fn of_job(&self) -> Result<Target, Error> {
        let place = format!("{}/latest", self.job.address);
        let mut known = self.known.lock().await;
        let tag = known.as_ref().map(|(tag, _)| tag.as_str());
        match (self.get(&place, tag, MOST, LIMIT).await?, &*known) {
            (Answer::Same, Some((_, target))) => Ok(target.clone()),
            (Answer::Same, None) => Err(Error::NotJson { place, reason: "it is empty".to_owned() }),
            (Answer::New { bytes, etag }, _) => {
                let target = answer::read(&place, &bytes).and_then(|build: answer::Build| build.target(&place))?;
                *known = etag.map(|etag| (etag, target.clone()));
                Ok(target)
            }
        }
    }

    async fn of_whole(&self, hydra: &str, project: &str, jobset: &str, job: &str) -> Result<Target, Error> {
        let place = format!("{hydra}/jobset/{project}/{jobset}/latest-eval");
        let evaluation: answer::Evaluation = self.read(&place, MOST, LIMIT).await?;
        let place = format!("{hydra}/eval/{}/builds", evaluation.id);
        let builds: Vec<answer::Build> = self.read(&place, MOST_BUILDS, LIMIT_BUILDS).await?;
        answer::of_whole(&place, evaluation.id, builds, job)
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        place: &str,
        most: usize,
        limit: Duration,
    ) -> Result<T, Error> {
        match self.get(place, None, most, limit).await? {
            Answer::New { bytes, .. } => answer::read(place, &bytes),
            Answer::Same => Err(Error::NotJson { place: place.to_owned(), reason: "it is empty".to_owned() }),
        }
    }

    async fn get(&self, place: &str, etag: Option<&str>, most: usize, limit: Duration) -> Result<Answer, Error> {
        let uri: Uri = place
            .parse()
            .map_err(|_| Error::Address { text: place.to_owned(), reason: "it is no address".to_owned() })?;
        let get = Get { uri: &uri, accept: "application/json", etag, most, limit };
        self.fetcher.get(&get).await.map_err(|error| match error {
            fetch::Error::Refused { status: StatusCode::NOT_FOUND, .. } => Error::Nothing { place: place.to_owned() },
            fetch::Error::Refused { status: StatusCode::UNAUTHORIZED, .. } => Error::Login { place: place.to_owned() },
            fetch::Error::Refused { status: StatusCode::FORBIDDEN, .. } => Error::Rights { place: place.to_owned() },
            error => Error::Fetch(error),
        })
    }
}

/// Hydra has nothing to take, or does not say what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the job is none.
    #[error("the job `{text}`: {reason}")]
    Address {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is not reached, or answers with a status that is none of those below.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// There is no such job, or no build of it that has succeeded.
    #[error("{place} answers 404: Hydra knows no such job, or no build of it that has succeeded")]
    Nothing {
        /// What was asked.
        place: String,
    },
    /// A login is wanted.
    #[error("{place} answers 401: the netrc file has no login for this host, or a wrong one")]
    Login {
        /// What was asked.
        place: String,
    },
    /// The login has no right to it.
    #[error("{place} answers 403: the login of the netrc file has no right to it")]
    Rights {
        /// What was asked.
        place: String,
    },
    /// The answer is no JSON of the right form.
    #[error("{place} does not answer as Hydra does: {reason}")]
    NotJson {
        /// What was asked.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The build is not finished.
    #[error("build {build} is not finished")]
    Unfinished {
        /// Which.
        build: u64,
    },
    /// The build has failed.
    #[error("build {build} has not succeeded: its status is {status}")]
    Unsuccessful {
        /// Which.
        build: u64,
        /// Hydra's number.
        status: i64,
    },
    /// The build has no output `out`.
    #[error("build {build} has no output `out`{}", others(outputs))]
    NoOutput {
        /// Which.
        build: u64,
        /// Those that it has.
        outputs: Vec<String>,
    },
    /// The output is no path of a store.
    #[error("the output `out` of build {build} is at `{path}`, which is no path of a store")]
    NoPath {
        /// Which build.
        build: u64,
        /// As it is told.
        path: String,
    },
    /// The evaluation is not whole.
    #[error("evaluation {evaluation} is not whole: {unfinished} jobs are not finished, {} have not succeeded{}", failed.len(), some(failed))]
    NotWhole {
        /// Which.
        evaluation: u64,
        /// How many builds are not finished.
        unfinished: usize,
        /// Which jobs have not succeeded.
        failed: Vec<String>,
    },
    /// The evaluation does not hold the job.
    #[error("evaluation {evaluation} has no job `{job}`")]
    NoJob {
        /// Which.
        evaluation: u64,
        /// Which job.
        job: String,
    },
}

fn others(outputs: &[String]) -> String {
    if outputs.is_empty() { String::new() } else { format!(", but {}", outputs.join(", ")) }
}

/// The first few, of what may be thousands.
fn some(jobs: &[String]) -> String {
    let first: Vec<&str> = jobs.iter().take(5).map(String::as_str).collect();
    let more = if jobs.len() > first.len() { ", ..." } else { "" };
    if first.is_empty() { String::new() } else { format!(" ({}{more})", first.join(", ")) }
}

impl Error {
    /// The name by which it is in the status.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Address { .. } => "Address",
            Self::Fetch(fetch::Error::Silent { .. }) => "Silent",
            Self::Fetch(fetch::Error::Lost { .. }) => "Lost",
            Self::Fetch(_) => "Fetch",
            Self::Nothing { .. } => "Nothing",
            Self::Login { .. } => "Login",
            Self::Rights { .. } => "Rights",
            Self::NotJson { .. } => "NotJson",
            Self::Unfinished { .. } => "Unfinished",
            Self::Unsuccessful { .. } => "Unsuccessful",
            Self::NoOutput { .. } => "NoOutput",
            Self::NoPath { .. } => "NoPath",
            Self::NotWhole { .. } => "NotWhole",
            Self::NoJob { .. } => "NoJob",
        }
    }

    /// Whether the same question may be answered in a moment.
    pub fn may_heal(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.may_heal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_told_without_its_password() {
        let words = |text: &str| Job::parse(text).unwrap_err().to_string();
        assert_eq!(words("hydra"), "the job `hydra`: it begins with neither `https://` nor `http://`");
        assert!(words("https://h/job/a/b/c?x").contains("a query"));
        let told = words("https://me:secret@h/job/a/b/c");
        assert!(told.contains("netrc") && !told.contains("secret"), "{told}");
    }

    #[test]
    fn the_jobset_is_told_by_the_address_whatever_stands_before_it() {
        let parts = |text: &str| Job::parse(text).unwrap().parts;
        assert_eq!(
            parts("https://h/hydra/job/p/j/a.b/"),
            Some(["https://h/hydra", "p", "j", "a.b"].map(str::to_owned))
        );
        assert_eq!(parts("https://h/job/p/j"), None);
        assert_eq!(parts("https://h/job/p//j"), None);
    }
}
