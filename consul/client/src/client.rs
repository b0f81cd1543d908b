//! The client: builds requests, watches the deadlines, sorts the answers.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    config::{Config, ConfigError},
    error::Error,
    net::HttpTransport,
    path,
    read::{Consistency, Meta, Read, Reply},
    transport::{LongPoll, Transport},
};

/// The header that carries the token.
pub const TOKEN: &str = "x-consul-token";

/// How long a plain request may take unless configured: Consul itself holds one for 7 s while it has no leader.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What a long poll may take beyond the time that Consul grants itself.
const GRACE: Duration = Duration::from_secs(5);

/// A client of one Consul agent or server. Clones share the connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn Transport>,
    token: Option<HeaderValue>,
    datacenter: Option<String>,
    request_timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("token", &self.inner.token.as_ref().map(|_| "(hidden)"))
            .field("datacenter", &self.inner.datacenter)
            .field("request_timeout", &self.inner.request_timeout)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client over sockets. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ConfigError`] if the token cannot be a header or TLS files cannot be read.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let transport = Arc::new(HttpTransport::new(&config)?);
        let token = config.token.as_deref().filter(|token| !token.is_empty()).map(token_header).transpose()?;
        let Config { datacenter, request_timeout, .. } = config;
        Ok(Self { inner: Arc::new(Inner { transport, token, datacenter, request_timeout }) })
    }

    /// A client over any transport, with the default deadlines. A token that cannot be a header counts as none.
    pub fn over(transport: Arc<dyn Transport>, token: Option<String>) -> Self {
        let token = token.filter(|token| !token.is_empty()).and_then(|token| token_header(&token).ok());
        let inner = Inner { transport, token, datacenter: None, request_timeout: REQUEST_TIMEOUT };
        Self { inner: Arc::new(inner) }
    }

    /// The same connections with another token.
    ///
    /// # Errors
    /// [`ConfigError::Token`] if the token cannot be a header.
    pub fn with_token(&self, token: Option<&str>) -> Result<Self, ConfigError> {
        let token = token.filter(|token| !token.is_empty()).map(token_header).transpose()?;
        let Inner { transport, datacenter, request_timeout, .. } = &*self.inner;
        let (transport, datacenter) = (Arc::clone(transport), datacenter.clone());
        Ok(Self { inner: Arc::new(Inner { transport, token, datacenter, request_timeout: *request_timeout }) })
    }

    /// Sends a call and takes any status.
    pub(crate) async fn answer(&self, call: Call) -> Result<(String, Response<Bytes>), Error> {
        let name = format!("{} {}", call.method, call.path);
        let after = call.deadline(self.inner.request_timeout);
        let request = self.request(call).map_err(|error| invalid(&name, &error))?;
        match tokio::time::timeout(after, self.inner.transport.send(request)).await {
            Err(_) => Err(Error::Timeout { call: name, after }),
            Ok(Err(source)) => Err(Error::Transport { call: name, source }),
            Ok(Ok(answer)) => Ok((name, answer)),
        }
    }

    /// Sends a call that must succeed.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<Reply<T>, Error> {
        let (name, answer) = self.answer(call).await?;
        let answer = Self::accept(&name, answer)?;
        Ok(Reply { value: Self::decode(&name, answer.body())?, meta: Meta::from_headers(answer.headers()) })
    }

    /// Sends a call to which a 404 without words means "nothing there".
    pub(crate) async fn ask_absent_empty<T: DeserializeOwned + Default>(&self, call: Call) -> Result<Reply<T>, Error> {
        let (name, answer) = self.answer(call).await?;
        let meta = Meta::from_headers(answer.headers());
        if answer.status() == StatusCode::NOT_FOUND && answer.body().is_empty() {
            return Ok(Reply { value: T::default(), meta });
        }
        let answer = Self::accept(&name, answer)?;
        Ok(Reply { value: Self::decode::<Option<T>>(&name, answer.body())?.unwrap_or_default(), meta })
    }

    /// Sends a call of which only the body counts.
    pub(crate) async fn ask_value<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        self.ask(call).await.map(|reply| reply.value)
    }

    /// Sends a call of which only the success counts.
    pub(crate) async fn tell(&self, call: Call) -> Result<(), Error> {
        let (name, answer) = self.answer(call).await?;
        Self::accept(&name, answer).map(drop)
    }

    pub(crate) fn accept(name: &str, answer: Response<Bytes>) -> Result<Response<Bytes>, Error> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(Error::from_answer(name.to_owned(), answer.status(), answer.body()))
    }

    pub(crate) fn decode<T: DeserializeOwned>(name: &str, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|e| Error::Decode { call: name.to_owned(), reason: e.to_string() })
    }

    fn request(&self, call: Call) -> Result<Request<Bytes>, http::Error> {
        let mut uri = call.path;
        let datacenter = call.datacenter.as_ref().or(self.inner.datacenter.as_ref());
        let datacenter = datacenter.map(|name| format!("dc={}", path::query(name)));
        for (place, part) in call.query.iter().chain(&datacenter).enumerate() {
            uri.push(if place == 0 { '?' } else { '&' });
            uri.push_str(part);
        }
        let mut request = Request::builder().method(call.method).uri(uri);
        if let Some(token) = &self.inner.token {
            request = request.header(TOKEN, token);
        }
        if call.json {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if call.wait.is_some() {
            request = request.extension(LongPoll);
        }
        request.body(call.body)
    }
}

fn token_header(token: &str) -> Result<HeaderValue, ConfigError> {
    let mut value = HeaderValue::from_str(token).map_err(|_| ConfigError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

fn invalid(name: &str, error: &dyn fmt::Display) -> Error {
    Error::Invalid { call: name.to_owned(), message: error.to_string() }
}

/// One call before it becomes a request.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<String>,
    datacenter: Option<String>,
    wait: Option<Duration>,
    body: Bytes,
    json: bool,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let (path, query, datacenter, wait) = (path.into(), Vec::new(), None, None);
        Self { method, path, query, datacenter, wait, body: Bytes::new(), json: false }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(crate) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let json = serde_json::to_vec(body).map_err(|error| invalid(&self.path, &error))?;
        self.json = true;
        Ok(self.body(json.into()))
    }

    /// A parameter without a value.
    pub(crate) fn flag(mut self, name: &str) -> Self {
        self.query.push(name.to_owned());
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.query.push(format!("{name}={}", path::query(value)));
        self
    }

    pub(crate) fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(crate) fn read(mut self, read: &Read) -> Self {
        self = match read.consistency {
            Consistency::Default => self,
            Consistency::Stale => self.flag("stale"),
            Consistency::Consistent => self.flag("consistent"),
        };
        if let Some(blocking) = read.blocking {
            let wait = blocking.wait.max(Duration::from_millis(1));
            self = self.with("index", &blocking.index.max(1).to_string());
            self = self.with("wait", &format!("{}ms", wait.as_millis()));
            self.wait = Some(wait);
        }
        self.datacenter.clone_from(&read.datacenter);
        self = self.maybe("filter", read.filter.as_deref()).maybe("tag", read.tag.as_deref());
        if read.passing { self.flag("passing") } else { self }
    }

    /// A plain request has the client's deadline; a blocking one gets Consul's own bound (wait + wait/16) and some grace,
    /// so that a half-open connection cannot hide a loss for longer.
    fn deadline(&self, plain: Duration) -> Duration {
        self.wait.map_or(plain, |wait| wait.saturating_add(wait / 16).saturating_add(GRACE))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::{FutureExt, future::BoxFuture};

    use super::*;
    use crate::transport::TransportError;

    /// Notes the requests; answers `[]`, or never.
    #[derive(Default)]
    struct Recorder {
        seen: Mutex<Vec<Request<Bytes>>>,
        silent: bool,
    }

    impl Transport for Recorder {
        fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
            self.seen.lock().unwrap().push(request);
            if self.silent {
                return futures::future::pending().boxed();
            }
            futures::future::ready(Ok(Response::new(Bytes::from_static(b"[]")))).boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocking_read_is_given_up_after_consuls_own_bound_and_five_seconds() {
        let recorder = Arc::new(Recorder { silent: true, ..Recorder::default() });
        let client = Client::over(recorder.clone(), None);
        let start = tokio::time::Instant::now();
        let lost = client.kv_list("a/", &Read::blocking(3, Duration::from_secs(16))).await.unwrap_err();
        assert!(matches!(lost, Error::Timeout { after, .. } if after == Duration::from_secs(22)), "{lost}");
        assert_eq!(start.elapsed().as_secs(), 22);
        assert!(recorder.seen.lock().unwrap()[0].extensions().get::<LongPoll>().is_some());
        let plain = client.kv_list("a/", &Read::default()).await.unwrap_err();
        assert!(matches!(plain, Error::Timeout { after, .. } if after == REQUEST_TIMEOUT), "{plain}");
        assert!(recorder.seen.lock().unwrap()[1].extensions().get::<LongPoll>().is_none());
    }

    async fn uri_of(read: Read) -> String {
        let recorder = Arc::new(Recorder::default());
        Client::over(recorder.clone(), None).kv_list("a b/", &read).await.unwrap();
        recorder.seen.lock().unwrap()[0].uri().to_string()
    }

    #[tokio::test]
    async fn a_read_becomes_a_query() {
        assert_eq!(uri_of(Read::default()).await, "/v1/kv/a%20b/?recurse");
        assert_eq!(uri_of(Read::consistent()).await, "/v1/kv/a%20b/?consistent&recurse");
        let blocking = Read { datacenter: Some("dc 2".to_owned()), ..Read::blocking(0, Duration::from_millis(1500)) };
        assert_eq!(uri_of(blocking).await, "/v1/kv/a%20b/?index=1&wait=1500ms&recurse&dc=dc%202");
    }

    #[tokio::test]
    async fn the_token_travels_in_its_header_and_shows_nowhere() {
        let recorder = Arc::new(Recorder::default());
        let client = Client::over(recorder.clone(), Some("secret".to_owned()));
        client.kv_list("a/", &Read::default()).await.unwrap();
        let seen = recorder.seen.lock().unwrap();
        assert_eq!(seen[0].headers()[TOKEN], "secret");
        assert!(!format!("{client:?} {:?}", seen[0]).contains("secret"));
    }

    #[tokio::test]
    async fn too_many_operations_are_refused_before_they_are_sent() {
        let recorder = Arc::new(Recorder::default());
        let ops = vec![crate::TxnOp::Delete { key: "a".to_owned() }; 65];
        let refused = Client::over(recorder.clone(), None).txn(&ops).await.unwrap_err();
        assert_eq!(refused, Error::TxnTooLong { ops: 65, limit: 64 });
        assert!(recorder.seen.lock().unwrap().is_empty());
    }
}
