//! One small answer over HTTP, into memory: with the login of its host, behind redirects, within a time and a size.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::timeout;

use super::{
    Error, Fetcher,
    http::{Target, length, lost},
};

/// What is asked for, and how much of it is taken.
#[derive(Clone, Copy, Debug)]
pub struct Get<'a> {
    /// Where.
    pub uri: &'a Uri,
    /// Which media type is wanted, as the header `Accept` says it.
    pub accept: &'static str,
    /// The tag of what is known already.
    pub etag: Option<&'a str>,
    /// The most bytes that are taken.
    pub most: usize,
    /// How long all of it may take, redirects and body included.
    pub limit: Duration,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is what it was when it had the tag that was told.
    Same,
    /// It is this.
    New {
        /// All of it.
        bytes: Vec<u8>,
        /// Its tag, if it has one.
        etag: Option<String>,
    },
}

impl Fetcher {
    /// Asks once, without another try.
    ///
    /// # Errors
    /// The server is not reached or does not answer in time, answers with another status than 200 (or 304, where a tag was told), leads
    /// astray, or sends more than is taken.
    pub async fn get(&self, what: &Get<'_>) -> Result<Answer, Error> {
        let target = Target::Plain { uri: what.uri, netrc: &self.netrc };
        let place = target.place();
        let silent = || Error::Silent { place: place.clone(), seconds: what.limit.as_secs() };
        timeout(what.limit, self.get_whole(what, &target, &place)).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn get_whole(&self, what: &Get<'_>, target: &Target<'_>, place: &str) -> Result<Answer, Error> {
        let too_large = || Error::TooLarge { place: place.to_owned(), most: what.most as u64 };
        let answer = self.http.ask(target, place, &headers(what)).await?;
        let status = answer.status();
        if status == StatusCode::NOT_MODIFIED && what.etag.is_some() {
            return Ok(Answer::Same);
        }
        if status != StatusCode::OK {
            return Err(Error::Refused { place: place.to_owned(), status });
        }
        if length(answer.headers()).is_some_and(|length| length > what.most as u64) {
            return Err(too_large());
        }
        let etag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = Limited::new(answer.into_body(), what.most).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() { too_large() } else { lost(place, error.as_ref()) }
        })?;
        Ok(Answer::New { bytes: body.to_bytes().into(), etag })
    }
}

fn headers(what: &Get<'_>) -> HeaderMap {
    let mut headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(what.accept))]);
    if let Some(tag) = what.etag.and_then(|tag| HeaderValue::from_str(tag).ok()) {
        headers.insert(header::IF_NONE_MATCH, tag);
    }
    headers
}
