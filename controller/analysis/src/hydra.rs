//! The newest build of a job of Hydra, asked for as cheaply as it can be: a redirect that leads to what is known already is not followed.
//!
//! A number that is lower than the one that is known means that Hydra has lost the newer build, or that somebody answers who is behind. So
//! the known one is asked for by itself: only if Hydra has it no more, or it has failed after all, the older one counts.
//!
//! A redirect is followed to the server that was named in the address alone, for the credential was meant for that.

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use helium_crds::{HydraJobSpec, Period, status::HydraBuild};
use helium_hydra::{Build, Built, Job, LIMIT_BUILDS, MOST, MOST_BUILDS};
use http::{StatusCode, Uri};

use crate::{
    sources::Sources,
    web::{Accept, Answer, Call, Web, status_line},
    why::Hidden,
};

/// Whoever can be asked for the newest build of a job.
pub trait Builds: Send + Sync {
    /// Looks once; `known` is the build that was taken last.
    fn look<'a>(&'a self, job: &'a HydraJobSpec, known: Option<&'a HydraBuild>) -> BoxFuture<'a, Result<Look, Missed>>;
}

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The known build is the newest.
    Same,
    /// A build that is to be taken.
    Found(Built),
    /// The known build is in Hydra no more, or has failed after all: this older one is its newest.
    Gone(Built),
}

/// Why a look has found nothing. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// In one word.
    pub reason: &'static str,
    /// In one line.
    pub message: String,
    /// Whether Hydra could not be asked, and not: has nothing to take.
    pub unreachable: bool,
}

impl From<helium_hydra::Error> for Missed {
    fn from(error: helium_hydra::Error) -> Self {
        let unreachable = matches!(error, helium_hydra::Error::NotJson { .. } | helium_hydra::Error::Address { .. });
        Self { reason: error.name(), message: Hidden::default().tell(&error).into(), unreachable }
    }
}

impl Builds for Sources {
    fn look<'a>(&'a self, job: &'a HydraJobSpec, known: Option<&'a HydraBuild>) -> BoxFuture<'a, Result<Look, Missed>> {
        look(self.web(), job, known).boxed()
    }
}

async fn look(web: &Web, spec: &HydraJobSpec, known: Option<&HydraBuild>) -> Result<Look, Missed> {
    let asker = Asker { web, spec, job: Job::parse(&spec.url)? };
    let comparable = |known: &&HydraBuild| known.job == spec.url && known.evaluation.is_some() == spec.whole_jobset;
    let known = known.filter(comparable);
    if spec.whole_jobset {
        asker.of_whole(known.and_then(|known| known.evaluation)).await
    } else {
        asker.of_job(known.map(|known| known.build)).await
    }
}

/// One look.
struct Asker<'a> {
    web: &'a Web,
    spec: &'a HydraJobSpec,
    job: Job,
}

/// Where a question about the latest leads.
struct Told {
    /// The address that answers.
    place: String,
    /// The number in that address.
    number: Option<u64>,
    /// The answer, if there was no redirect.
    body: Option<Bytes>,
}

impl Asker<'_> {
    async fn of_job(&self, known: Option<u64>) -> Result<Look, Missed> {
        let told = self.latest(&self.job.latest(), "build").await?;
        if told.number.is_some() && told.number == known {
            return Ok(Look::Same);
        }
        let latest = helium_hydra::read_build(&told.place, &self.body(&told).await?)?;
        let older = known.filter(|known| *known > latest.id());
        if known == Some(latest.id()) {
            return Ok(Look::Same);
        }
        if let Some(known) = older
            && !self.is_lost(self.job.build(known), Build::has_failed).await?
        {
            return Ok(Look::Same);
        }
        let built = latest.built(&told.place)?;
        Ok(if older.is_some() { Look::Gone(built) } else { Look::Found(built) })
    }

    async fn of_whole(&self, known: Option<u64>) -> Result<Look, Missed> {
        let told = self.latest(&required(self.job.latest_evaluation(), self.spec)?, "eval").await?;
        let evaluation = match told.number {
            Some(number) => number,
            None => helium_hydra::evaluation(&told.place, &self.body(&told).await?)?,
        };
        if known == Some(evaluation) {
            return Ok(Look::Same);
        }
        let older = known.filter(|known| *known > evaluation);
        if let Some(known) = older
            && !self.is_lost(self.job.evaluation(known), |_| false).await?
        {
            return Ok(Look::Same);
        }
        let built = self.whole(evaluation).await?;
        Ok(if older.is_some() { Look::Gone(built) } else { Look::Found(built) })
    }

    /// The build of an evaluation all of which has succeeded.
    async fn whole(&self, evaluation: u64) -> Result<Built, Missed> {
        let place = required(self.job.builds(evaluation), self.spec)?;
        let limit = Period::from(self.spec.timeout.as_duration() + LIMIT_BUILDS);
        let answer = self.ask(&place, MOST_BUILDS, limit).await?;
        let (body, name) = (good(&answer, &place)?, self.job.name().unwrap_or_default().to_owned());
        // A hundred thousand builds keep a core busy for a second.
        let read = tokio::task::spawn_blocking(move || {
            helium_hydra::of_whole(&place, evaluation, helium_hydra::read_builds(&place, &body)?, &name)
        });
        match read.await {
            Ok(built) => Ok(built?),
            Err(ended) => Err(refused(&ended)),
        }
    }

    /// Whether what was asked for at `place` is in Hydra no more, or is a build of which `failed` is true.
    async fn is_lost(&self, place: Option<String>, failed: fn(&Build) -> bool) -> Result<bool, Missed> {
        let place = required(place, self.spec)?;
        let answer = self.ask(&place, MOST, self.spec.timeout).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(true);
        }
        let body = good(&answer, &place)?;
        Ok(helium_hydra::read_build(&place, &body).is_ok_and(|build| failed(&build)))
    }

    /// Asks where the latest is; `what` is the word before its number.
    async fn latest(&self, place: &str, what: &str) -> Result<Told, Missed> {
        let answer = self.ask(place, MOST, self.spec.timeout).await?;
        let Some(location) = answer.location.as_ref().filter(|_| answer.status.is_redirection()) else {
            return Ok(Told { place: place.to_owned(), number: None, body: Some(good(&answer, place)?) });
        };
        let place = on_same_server(place, location)
            .map_err(|missed| Missed { message: answer.tell_only(&missed.message).into(), ..missed })?;
        let number = place.rsplit_once('/').filter(|(before, _)| before.ends_with(&format!("/{what}")));
        let number = number.and_then(|(_, number)| number.parse().ok());
        Ok(Told { place, number, body: None })
    }

    async fn body(&self, told: &Told) -> Result<Bytes, Missed> {
        match &told.body {
            Some(body) => Ok(body.clone()),
            None => good(&self.ask(&told.place, MOST, self.spec.timeout).await?, &told.place),
        }
    }

    async fn ask(&self, place: &str, most: usize, timeout: Period) -> Result<Answer, Missed> {
        let auth = self.spec.auth.as_ref();
        let call = Call { url: place, post: None, auth, timeout, retries: 0, accept: Accept::AnyOf(most) };
        let outcome = self.web.ask_once(&call, &Hidden::default()).await;
        outcome.map_err(|(why, _)| Missed { reason: "Unreachable", message: why.into(), unreachable: true })
    }
}

/// The body of an answer that is one.
fn good(answer: &Answer, place: &str) -> Result<Bytes, Missed> {
    let missed = |reason, unreachable, words: &str| Missed {
        reason,
        message: answer.tell_only(&format!("{place}: {}{words}", status_line(answer.status))).into(),
        unreachable,
    };
    match answer.status {
        status if status.is_success() => Ok(answer.body.clone()),
        StatusCode::NOT_FOUND => {
            Err(missed("Nothing", false, ": Hydra knows no such job, or no build of it that has succeeded"))
        }
        StatusCode::UNAUTHORIZED => Err(missed("Login", true, ": Hydra wants a login; see `auth`")),
        StatusCode::FORBIDDEN => Err(missed("Rights", true, ": the login of `auth` has no right to it")),
        _ => Err(missed("Refused", true, "")),
    }
}

fn refused(error: &impl std::fmt::Display) -> Missed {
    Missed { reason: "Refused", message: Hidden::default().tell(error).into(), unreachable: true }
}

fn required(place: Option<String>, spec: &HydraJobSpec) -> Result<String, Missed> {
    place.ok_or_else(|| refused(&format!("{} does not end in /job/PROJECT/JOBSET/JOB", spec.url)))
}

/// Where a redirect leads, if that is on the server that was asked.
fn on_same_server(asked: &str, location: &str) -> Result<String, Missed> {
    let uri: Uri = asked.parse().map_err(|_| refused(&format!("{asked} is no address")))?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let server = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
    if location.starts_with('/') && !location.starts_with("//") {
        return Ok(format!("{server}{location}"));
    }
    let told: Option<Uri> = location.parse().ok();
    let same = told.is_some_and(|told| told.scheme() == uri.scheme() && told.authority() == uri.authority());
    if same {
        return Ok(location.to_owned());
    }
    Err(refused(&format!("{asked} redirects to {location}: name that server in `url`, if it is the same Hydra")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_on_the_same_server_alone() {
        let asked = "https://h:8443/job/p/j/web/latest";
        assert_eq!(on_same_server(asked, "/build/7").unwrap(), "https://h:8443/build/7");
        assert_eq!(on_same_server(asked, "https://h:8443/build/7").unwrap(), "https://h:8443/build/7");
        for elsewhere in
            ["https://h/build/7", "http://h:8443/build/7", "//other/build/7", "https://h:8443@other/build/7"]
        {
            let missed = on_same_server(asked, elsewhere).unwrap_err();
            assert!(missed.unreachable && missed.message.contains("name that server"), "{missed:?}");
        }
    }
}
