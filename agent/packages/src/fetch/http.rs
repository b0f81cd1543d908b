//! Downloads over HTTP that are gone on from where they broke off.
//!
//! A try asks for the rest by `Range`, on the condition (`If-Range`) that the bytes are still those of the note: a server that has others, or
//! knows no ranges, sends the whole again, and the part starts anew. A try that brought bytes costs none of the retries: a line that breaks
//! each minute still brings a large package home. Redirects are followed, each with the login of its own host, but never out of TLS.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::OnceLock,
    time::Duration,
};

use bytes::Bytes;
use helium_runtime::{
    backoff::{Backoff as _, Exponential},
    ports::Ports,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;

use super::{
    Error, Netrc, disk,
    part::{Note, Part},
    tls,
};
use crate::source::Place;

/// How many redirects are followed.
const REDIRECTS: usize = 5;
/// The ceilings of the waits between two tries: 200 ms at first, doubled up to 10 s.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(10);

/// What speaks HTTP.
type Speaker = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

pub(super) struct Http {
    /// Made when it is needed first: all certificates that a system trusts are much to keep for whoever has nothing to fetch by HTTP.
    speaker: OnceLock<Speaker>,
    silence: Duration,
    retries: u32,
    ports: Ports,
}

/// Who says where a request goes, and with which headers.
pub(super) enum Target<'a> {
    Plain {
        uri: &'a Uri,
        netrc: &'a Netrc,
    },
    #[cfg(feature = "s3")]
    S3(&'a super::s3::Object),
}

impl Target<'_> {
    /// As it is told.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Plain { uri, .. } => Place::Http((*uri).clone()).to_string(),
            #[cfg(feature = "s3")]
            Self::S3(object) => object.place(),
        }
    }

    /// The address and the headers of the next request; a signature is of its time, so each has its own.
    #[cfg_attr(not(feature = "s3"), allow(clippy::unused_async, reason = "only S3 has to ask somebody"))]
    async fn request(&self) -> Result<(Uri, HeaderMap), Error> {
        match self {
            Self::Plain { uri, netrc } => Ok(((*uri).clone(), login(netrc, uri))),
            #[cfg(feature = "s3")]
            Self::S3(object) => object.request().await,
        }
    }

    /// The headers for an address that a redirect leads to.
    fn elsewhere(&self, uri: &Uri) -> HeaderMap {
        match self {
            Self::Plain { netrc, .. } => login(netrc, uri),
            #[cfg(feature = "s3")]
            Self::S3(_) => HeaderMap::new(),
        }
    }
}

fn login(netrc: &Netrc, uri: &Uri) -> HeaderMap {
    let found = uri.host().and_then(|host| netrc.authorization(host));
    found.map(|value| (header::AUTHORIZATION, value)).into_iter().collect()
}

fn speaker() -> Result<Speaker, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tls = tls::client_config().map_err(|error| Error::Tls { reason: error.to_string() })?;
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector.wrap_connector(tcp)))
}

impl Http {
    pub(super) fn new(silence: Duration, retries: u32, ports: Ports) -> Self {
        Self { speaker: OnceLock::new(), silence, retries, ports }
    }

    fn speaker(&self) -> Result<&Speaker, Error> {
        if let Some(speaker) = self.speaker.get() {
            return Ok(speaker);
        }
        let made = speaker()?;
        Ok(self.speaker.get_or_init(|| made))
    }

    /// Downloads to the file `to`, in as many tries as it takes.
    pub(super) async fn download(&self, target: &Target<'_>, to: &Path, most: u64) -> Result<(), Error> {
        let (place, part) = (target.place(), Part::of(to));
        let mut backoff = Exponential::new(FIRST_WAIT, LAST_WAIT, self.ports.clone());
        let mut in_vain = 0;
        loop {
            let mut came = 0;
            let error = match self.attempt(target, &place, &part, most, &mut came).await {
                Ok(()) => return part.finish(to),
                Err(error) => error,
            };
            if came > 0 {
                in_vain = 0;
                backoff.reset();
            }
            in_vain += 1;
            if !error.may_heal() || in_vain > self.retries {
                return Err(error);
            }
            tracing::debug!(place, %error, came, "a download has broken off and is gone on with");
            self.ports.sleep_until(self.ports.monotonic() + backoff.next()).await;
        }
    }

    /// One try; `came` is how many bytes it brought.
    async fn attempt(
        &self,
        target: &Target<'_>,
        place: &str,
        part: &Part,
        most: u64,
        came: &mut u64,
    ) -> Result<(), Error> {
        let resumable = part.resumable(place);
        let rest = resumable.as_ref().map(rest).unwrap_or_default();
        let answer = self.ask(target, place, &rest).await?;
        let status = answer.status();
        let there = match (status, &resumable) {
            (StatusCode::OK, _) => {
                part.begin(Note::of(place, answer.headers()).as_ref())?;
                0
            }
            (StatusCode::PARTIAL_CONTENT, Some((there, _))) if begins(answer.headers()) == Some(*there) => *there,
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) => {
                // What is here and what is there do not fit together.
                part.forget();
                return Err(Error::Refused { place: place.to_owned(), status: StatusCode::RANGE_NOT_SATISFIABLE });
            }
            _ => return Err(Error::Refused { place: place.to_owned(), status }),
        };
        self.receive(answer, place, part, there, most, came).await
    }

    /// Writes what comes behind the `there` bytes that are there.
    async fn receive(
        &self,
        answer: Response<Incoming>,
        place: &str,
        part: &Part,
        there: u64,
        most: u64,
        came: &mut u64,
    ) -> Result<(), Error> {
        let too_large = || Error::TooLarge { place: place.to_owned(), most };
        if length(answer.headers()).is_some_and(|length| there.saturating_add(length) > most) {
            return Err(too_large());
        }
        let options = OpenOptions::new().create(true).append(true).open(&part.bytes);
        let mut file: File = options.map_err(disk(&part.bytes))?;
        let mut body = answer.into_body();
        loop {
            let Ok(frame) = timeout(self.silence, body.frame()).await else { return Err(self.silent(place)) };
            let Some(frame) = frame else { return Ok(()) };
            let frame = frame.map_err(|error| lost(place, &error))?;
            let Ok(data) = frame.into_data() else { continue };
            *came += data.len() as u64;
            if there + *came > most {
                part.forget();
                return Err(too_large());
            }
            // Into the page cache: it does not wait for the disk as long as the machine has memory.
            file.write_all(&data).map_err(disk(&part.bytes))?;
        }
    }

    /// The answer behind all redirects; each request bears `more`.
    pub(super) async fn ask(
        &self,
        target: &Target<'_>,
        place: &str,
        more: &HeaderMap,
    ) -> Result<Response<Incoming>, Error> {
        let speaker = self.speaker()?;
        let (mut uri, mut headers) = target.request().await?;
        for _ in 0..=REDIRECTS {
            let request = Request::get(uri.clone()).header(header::USER_AGENT, AGENT);
            let mut request = request.body(Empty::new()).map_err(|error| lost(place, &error))?;
            request.headers_mut().extend(more.clone());
            request.headers_mut().extend(headers);
            let answer = timeout(self.silence, speaker.request(request)).await.map_err(|_| self.silent(place))?;
            let answer = answer.map_err(|error| lost(place, &error))?;
            let Some(next) = redirect(&answer) else { return Ok(answer) };
            uri = follow(&uri, next).map_err(|reason| Error::Astray { place: place.to_owned(), reason })?;
            headers = target.elsewhere(&uri);
        }
        Err(Error::Astray { place: place.to_owned(), reason: format!("more than {REDIRECTS} redirects") })
    }

    fn silent(&self, place: &str) -> Error {
        Error::Silent { place: place.to_owned(), seconds: self.silence.as_secs() }
    }
}

const AGENT: &str = concat!("helium/", env!("CARGO_PKG_VERSION"));

fn redirect(answer: &Response<Incoming>) -> Option<&HeaderValue> {
    let moved = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    answer.headers().get(header::LOCATION).filter(|_| moved)
}

/// Where a redirect leads. The address that it names may hold a signature and is not told.
fn follow(from: &Uri, next: &HeaderValue) -> Result<Uri, String> {
    let text = next.to_str().map_err(|_| "to an address that is none")?;
    let uri: Uri = if text.starts_with('/') && !text.starts_with("//") {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(text.parse().map_err(|_| "to an address that is none")?);
        Uri::from_parts(parts).map_err(|_| "to an address that is none")?
    } else {
        text.parse().map_err(|_| "to an address that is none")?
    };
    match (from.scheme_str(), uri.scheme_str()) {
        (Some("https"), Some("http")) => Err("out of TLS, to an `http://` address".to_owned()),
        (_, Some("http" | "https")) if !uri.authority().is_some_and(|host| host.as_str().contains('@')) => Ok(uri),
        _ => Err("to an address that is neither `http://` nor `https://`, or names a user".to_owned()),
    }
}

/// Where the bytes of a part begin: 100 in `bytes 100-199/200`.
fn begins(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The headers that ask for what comes behind the bytes that are there, if they are still the same.
fn rest((there, note): &(u64, Note)) -> HeaderMap {
    let range = HeaderValue::try_from(format!("bytes={there}-")).ok();
    let same = HeaderValue::from_str(&note.validator).ok();
    let both = range.zip(same).map(|(range, same)| [(header::RANGE, range), (header::IF_RANGE, same)]);
    both.into_iter().flatten().collect()
}

/// A lost connection in the words of its deepest cause: the first one of hyper says only that there was an error.
pub(super) fn lost(place: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    let (mut reason, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    Error::Lost { place: place.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_in_tls_and_name_no_user() {
        let from: Uri = "https://a/x?y".parse().unwrap();
        let go = |text: &str| follow(&from, &HeaderValue::from_str(text).unwrap()).map(|uri| uri.to_string());
        assert_eq!(go("/z?k").unwrap(), "https://a/z?k");
        assert_eq!(go("https://b/z").unwrap(), "https://b/z");
        for text in ["http://b/z", "https://me:secret@b/z", "ftp://b/z", "z"] {
            assert!(!go(text).unwrap_err().contains("secret"));
        }
    }

    #[test]
    fn a_part_says_where_it_begins() {
        let of = |text: &str| begins(&[(header::CONTENT_RANGE, text.parse().unwrap())].into_iter().collect());
        assert_eq!(of("bytes 100-199/200"), Some(100));
        assert_eq!(of("bytes */200"), None);
    }
}
