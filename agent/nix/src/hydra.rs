//! What Hydra has built: the latest build of a job, or that of the latest evaluation all of which is finished and has succeeded. What is asked,
//! and what the answers say, is in [`helium_hydra`].

use std::time::Duration;

use helium_hydra::{LIMIT_BUILDS, MOST, MOST_BUILDS};
use helium_packages::fetch::{self, Answer, Fetcher, Get};
use http::{StatusCode, Uri};
use tokio::sync::Mutex;

pub use helium_hydra::Job;

use crate::record::Target;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_mins(1);

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
        if whole_jobset && job.name().is_none() {
            let reason = "to wait for the whole jobset it must end in `/job/PROJECT/JOBSET/JOB`".to_owned();
            return Err(helium_hydra::Error::Address { text: job.address().to_owned(), reason }.into());
        }
        Ok(Self { fetcher, job, whole_jobset, known: Mutex::default() })
    }

    /// The build that is to be taken.
    ///
    /// # Errors
    /// Hydra does not answer, or there is none; of the whole jobset also while something in it has not succeeded.
    pub async fn latest(&self) -> Result<Target, Error> {
        match (self.job.latest_evaluation(), self.job.name()) {
            (Some(latest), Some(job)) if self.whole_jobset => self.of_whole(&latest, job).await,
            _ => self.of_job().await,
        }
    }

    async fn of_job(&self) -> Result<Target, Error> {
        let place = self.job.latest();
        let mut known = self.known.lock().await;
        let tag = known.as_ref().map(|(tag, _)| tag.as_str());
        match (self.get(&place, tag, MOST, LIMIT).await?, &*known) {
            (Answer::Same, Some((_, target))) => Ok(target.clone()),
            (Answer::Same, None) => Err(empty(&place)),
            (Answer::New { bytes, etag }, _) => {
                let built = helium_hydra::read_build(&place, &bytes).and_then(|build| build.built(&place))?;
                let target = Target::from(built);
                *known = etag.map(|etag| (etag, target.clone()));
                Ok(target)
            }
        }
    }

    async fn of_whole(&self, latest: &str, job: &str) -> Result<Target, Error> {
        let evaluation = helium_hydra::evaluation(latest, &self.read(latest, MOST, LIMIT).await?)?;
        let Some(place) = self.job.builds(evaluation) else { return Err(empty(latest)) };
        let builds = self.read(&place, MOST_BUILDS, LIMIT_BUILDS).await?;
        let builds = helium_hydra::read_builds(&place, &builds)?;
        Ok(helium_hydra::of_whole(&place, evaluation, builds, job)?.into())
    }

    async fn read(&self, place: &str, most: usize, limit: Duration) -> Result<Vec<u8>, Error> {
        match self.get(place, None, most, limit).await? {
            Answer::New { bytes, .. } => Ok(bytes),
            Answer::Same => Err(empty(place)),
        }
    }

    async fn get(&self, place: &str, etag: Option<&str>, most: usize, limit: Duration) -> Result<Answer, Error> {
        let uri: Uri = place.parse().map_err(|_| helium_hydra::Error::Address {
            text: place.to_owned(),
            reason: "it is no address".to_owned(),
        })?;
        let get = Get { uri: &uri, accept: "application/json", etag, most, limit };
        self.fetcher.get(&get).await.map_err(|error| match error {
            fetch::Error::Refused { status: StatusCode::NOT_FOUND, .. } => Error::Nothing { place: place.to_owned() },
            fetch::Error::Refused { status: StatusCode::UNAUTHORIZED, .. } => Error::Login { place: place.to_owned() },
            fetch::Error::Refused { status: StatusCode::FORBIDDEN, .. } => Error::Rights { place: place.to_owned() },
            error => Error::Fetch(error),
        })
    }
}

/// An answer that says that nothing has changed, to who has asked for everything.
fn empty(place: &str) -> Error {
    helium_hydra::Error::NotJson { place: place.to_owned(), reason: "it is empty".to_owned() }.into()
}

/// Hydra has nothing to take, or does not say what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none, or the answer has nothing to take.
    #[error(transparent)]
    Answer(#[from] helium_hydra::Error),
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
}

impl Error {
    /// The name by which it is in the status.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answer(error) => error.name(),
            Self::Fetch(fetch::Error::Silent { .. }) => "Silent",
            Self::Fetch(fetch::Error::Lost { .. }) => "Lost",
            Self::Fetch(_) => "Fetch",
            Self::Nothing { .. } => "Nothing",
            Self::Login { .. } => "Login",
            Self::Rights { .. } => "Rights",
        }
    }

    /// Whether the same question may be answered in a moment.
    pub fn may_heal(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.may_heal())
    }
}
