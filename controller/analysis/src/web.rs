//! Requests over HTTP: each has its time limit, what may heal is tried again, and no answer is larger than agreed.
//!
//! Redirects are not followed: the credential was meant for the address that was given. Proxies of the environment are not used.
//! A request has a connection of its own. Samples are many seconds apart, and a kept connection that the server closes meanwhile would be
//! an error of a request that may not be tried again.

use std::time::Duration;

use bytes::Bytes;
use helium_crds::{
    Period,
    secret::{Auth, SecretRef},
};
use helium_runtime::{
    backoff::{Backoff as _, Exponential},
    ports::Ports,
};
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::RootCertStore;
use tokio::time::timeout;

use crate::{
    secrets::{self, Credential, Secrets, Vault},
    tls,
    why::{Hidden, Why},
};

/// The largest answer that is read.
const MAX_ANSWER: usize = 1024 * 1024;
/// The longest time that one question takes, all tries of it and the waits between them: the longest that one request may be granted.
const WHOLE: Duration = Duration::from_mins(2);
/// The ceilings of the waits between two tries: 200 ms at first, doubled up to 5 s.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Sends requests, with the secrets that they ask for.
pub(crate) struct Web {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Whether there is anybody to trust.
    has_roots: bool,
    secrets: Secrets,
    vault: Vault,
    ports: Ports,
}

/// What is to be asked.
pub(crate) struct Call<'a> {
    /// The whole address.
    pub(crate) url: &'a str,
    /// What is posted, and its type; without it, the request is a GET.
    pub(crate) post: Option<(&'static str, Bytes)>,
    pub(crate) auth: Option<&'a Auth>,
    pub(crate) timeout: Period,
    pub(crate) retries: u32,
    /// What counts as an answer.
    pub(crate) accept: Accept,
}

/// What counts as an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Accept {
    /// A 2xx status only; the function finds what the server says in the body of any other.
    Success(fn(&[u8]) -> String),
    /// Any status.
    Any,
    /// Any status, with a body of so many bytes at most.
    AnyOf(usize),
}

/// An answer, and what may not be told of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Empty, where the status counts alone and the body is larger than agreed.
    pub(crate) body: Bytes,
    /// Where it redirects to, as it says it.
    pub(crate) location: Option<String>,
    place: String,
    hidden: Hidden,
}

impl Answer {
    /// What is wrong with this answer, and whose it is.
    pub(crate) fn tell(&self, error: &impl std::fmt::Display) -> Why {
        self.hidden.tell(&format!("{}: {error}", self.place))
    }

    /// What this answer says, without its place.
    pub(crate) fn tell_only(&self, words: &impl std::fmt::Display) -> Why {
        self.hidden.tell(words)
    }
}

/// The body of an answer as text, with nothing looked for in it.
pub(crate) fn as_text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// The status as its line has it: `404 Not Found`.
pub(crate) fn status_line(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default()).trim_end().to_owned()
}

/// One try that failed, and what may not be told of it.
struct Failed {
    error: Error,
    hidden: Hidden,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, hidden: Hidden::default() }
    }
}

impl Web {
    pub(crate) fn new(
        roots: RootCertStore,
        secrets: Secrets,
        vault: Vault,
        ports: Ports,
    ) -> Result<Self, rustls::Error> {
        let has_roots = !roots.is_empty();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls::client_config(roots)?);
        let connector = connector.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, has_roots, secrets, vault, ports })
    }

    /// Asks until there is an answer, there is no sense in asking again, or the tries or the time are used up.
    pub(crate) async fn ask(&self, call: &Call<'_>) -> Result<Answer, Why> {
        let uri = self.address(call).map_err(|error| Why::of(&error))?;
        let end = self.ports.monotonic() + WHOLE;
        let mut backoff = Exponential::new(FIRST_WAIT, LAST_WAIT, self.ports.clone());
        let mut tries = 0;
        loop {
            tries += 1;
            let limit = call.timeout.as_duration().min(end.saturating_sub(self.ports.monotonic()));
            let Failed { error, hidden } = match self.attempt(call, &uri, limit).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let next = self.ports.monotonic() + backoff.next();
            if tries > call.retries || !error.may_heal() || next >= end {
                let times = if tries > 1 { format!("asked {tries} times: ") } else { String::new() };
                return Err(hidden.tell(&format!("{times}{error}")));
            }
            tracing::debug!(place = place(&uri), tries, "a request has failed and is made again");
            self.ports.sleep_until(next).await;
        }
    }

    /// Asks once. The error says whether it may heal, and holds neither the credential nor what is `hidden` besides.
    pub(crate) async fn ask_once(&self, call: &Call<'_>, hidden: &Hidden) -> Result<Answer, (Why, bool)> {
        let uri = self.address(call).map_err(|error| (hidden.tell(&error), false))?;
        let outcome = self.attempt(call, &uri, call.timeout.as_duration()).await;
        outcome.map_err(|failed| (failed.hidden.and(hidden).tell(&failed.error), failed.error.may_heal()))
    }

    /// A secret that is an address, without white space around it.
    pub(crate) async fn secret(&self, place: &SecretRef) -> Result<String, secrets::Error> {
        self.secrets.find(place, &self.vault).await
    }

    /// Where a request goes, if it can go there.
    fn address(&self, call: &Call<'_>) -> Result<Uri, Error> {
        let uri = address(call.url)?;
        if uri.scheme_str() == Some("https") && !self.has_roots {
            return Err(Error::NoRoots { place: place(&uri) });
        }
        Ok(uri)
    }

    /// One try within its time, the look for the secret included.
    async fn attempt(&self, call: &Call<'_>, uri: &Uri, limit: Duration) -> Result<Answer, Failed> {
        let began = self.ports.monotonic();
        let silent = || Error::Silent { place: place(uri), limit: limit.into() };
        let credential = match call.auth {
            Some(auth) => match timeout(limit, self.secrets.credential(auth, &self.vault)).await {
                Ok(found) => Some(found.map_err(|source| Error::Secret { place: place(uri), source })?),
                Err(_) => return Err(silent().into()),
            },
            None => None,
        };
        let hidden = credential.as_ref().map(|credential| credential.hidden.clone()).unwrap_or_default();
        let left = limit.saturating_sub(self.ports.monotonic().saturating_sub(began));
        let outcome = match timeout(left, self.exchange(call, uri, credential)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(silent()),
        };
        match outcome {
            Ok((status, location, body)) => Ok(Answer { status, body, location, place: place(uri), hidden }),
            Err(error) => Err(Failed { error, hidden }),
        }
    }

    async fn exchange(
        &self,
        call: &Call<'_>,
        uri: &Uri,
        credential: Option<Credential>,
    ) -> Result<(StatusCode, Option<String>, Bytes), Error> {
        let answer = self.client.request(request(call, uri, credential)?).await;
        let answer = answer.map_err(|error| lost(uri, error.is_connect(), &error))?;
        let status = answer.status();
        let location = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        let words = match call.accept {
            Accept::Success(words) if !status.is_success() => Some(words),
            Accept::Success(_) | Accept::Any | Accept::AnyOf(_) => None,
        };
        let most = if let Accept::AnyOf(most) = call.accept { most } else { MAX_ANSWER };
        let status_is_all = words.is_some() || matches!(call.accept, Accept::Any);
        let body = match Limited::new(answer.into_body(), most).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if !error.is::<LengthLimitError>() => return Err(lost(uri, false, &*error)),
            Err(_) if status_is_all => Bytes::new(),
            Err(_) => return Err(Error::TooLarge { place: place(uri), most }),
        };
        match words {
            Some(words) => Err(Error::Refused { place: place(uri), status, said: words(&body) }),
            None => Ok((status, location, body)),
        }
    }
}

fn request(call: &Call<'_>, uri: &Uri, credential: Option<Credential>) -> Result<Request<Full<Bytes>>, Error> {
    let method = if call.post.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder().method(method).uri(uri.clone()).header(header::ACCEPT, "application/json");
    request = request.header(header::USER_AGENT, concat!("helium/", env!("CARGO_PKG_VERSION")));
    if let Some(Credential { name, value, .. }) = credential {
        request = request.header(name, value);
    }
    let body = match &call.post {
        Some((kind, body)) => {
            request = request.header(header::CONTENT_TYPE, *kind);
            body.clone()
        }
        None => Bytes::new(),
    };
    request.body(Full::new(body)).map_err(|error| Error::Address { url: place(uri), reason: error.to_string() })
}

/// Reads an address. A user in it would be a secret in the open, which no reference protects.
fn address(url: &str) -> Result<Uri, Error> {
    let without_query = url.split(['?', '#']).next().unwrap_or_default();
    let shown = without_query.rsplit_once('@').map_or(without_query, |(_, host)| host).to_owned();
    let wrong = |reason: &str| Error::Address { url: shown.clone(), reason: reason.to_owned() };
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("it names a user: use `auth`"));
    }
    match uri.scheme_str() {
        Some("http" | "https") => Ok(uri),
        _ => Err(wrong("it begins with neither `http://` nor `https://`")),
    }
}

/// Where a request goes, as it is told: without its query, in which somebody may have put what is not for everybody.
fn place(uri: &Uri) -> String {
    let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |host| host.as_str()));
    format!("{scheme}://{host}{}", uri.path())
}

/// A lost connection in the words of its deepest causes: the first one of hyper says only that there was an error.
fn lost(uri: &Uri, connecting: bool, error: &(dyn std::error::Error + 'static)) -> Error {
    let (mut reasons, mut cause) = (Vec::new(), error.source());
    while let Some(error) = cause {
        reasons.push(error.to_string());
        cause = error.source();
    }
    reasons.dedup();
    let reason = if reasons.is_empty() { error.to_string() } else { reasons.join(": ") };
    if connecting {
        Error::Unreachable { place: place(uri), reason }
    } else {
        Error::Lost { place: place(uri), reason }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the address {url} cannot be used: {reason}")]
    Address { url: String, reason: String },
    #[error("{place}: {source}")]
    Secret { place: String, source: secrets::Error },
    #[error("{place}: this system has no certificates to trust; SSL_CERT_FILE names a file of them")]
    NoRoots { place: String },
    #[error("{place} cannot be reached: {reason}")]
    Unreachable { place: String, reason: String },
    #[error("{place} broke off: {reason}")]
    Lost { place: String, reason: String },
    #[error("{place} did not answer within {limit}")]
    Silent { place: String, limit: Period },
    #[error("{place}: the answer is larger than {} MiB", most / 1024 / 1024)]
    TooLarge { place: String, most: usize },
    #[error("{place}: {}{}{said}", status_line(*.status), advice(*.status))]
    Refused { place: String, status: StatusCode, said: String },
}

/// What would be right where the status alone tells it.
fn advice(status: StatusCode) -> &'static str {
    if status.is_redirection() { " (redirects are not followed: name the address that answers): " } else { ": " }
}

impl Error {
    /// Whether the same request may be answered in a moment.
    fn may_heal(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::Lost { .. } | Error::Silent { .. } => true,
            Error::Refused { status, .. } => *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
            Error::Secret { source, .. } => source.may_heal(),
            Error::Address { .. } | Error::NoRoots { .. } | Error::TooLarge { .. } => false,
        }
    }
}
