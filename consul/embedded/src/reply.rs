//! Answers: what a handler gives, and how it becomes an HTTP response in Consul's form.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::state::Refusal;
use crate::waiters::Interest;

/// A successful answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

/// An answer that a reader may wait for.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The index of what was read.
    pub(crate) index: u64,
    /// What would change it.
    pub(crate) interest: Interest,
    /// The answer.
    pub(crate) reply: Reply,
    /// Whether the answer says with which consistency it was read.
    pub(crate) shows_consistency: bool,
}

/// A refusal, with Consul's status and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) words: String,
    pub(crate) header: Option<(http::HeaderName, String)>,
}

impl Reply {
    /// 200 with a JSON body.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        Self::json_with(StatusCode::OK, value)
    }

    /// A JSON body with a status.
    pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status, headers: vec![("content-type", "application/json".into())], body: body.into() }
    }

    /// A status and nothing else.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The HTTP response.
    pub(crate) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl Failure {
    pub(crate) fn new(status: StatusCode, words: impl Into<String>) -> Self {
        Self { status, words: words.into(), header: None }
    }

    /// 400.
    pub(crate) fn bad(words: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, words)
    }

    /// 500, which Consul also gives for much that is the caller's fault.
    pub(crate) fn internal(words: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, words)
    }

    /// 403.
    pub(crate) fn denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Permission denied")
    }

    /// 404 without words: no such path.
    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "")
    }

    /// 405.
    pub(crate) fn method(method: &http::Method, allowed: &str) -> Self {
        let words = format!("method {method} not allowed");
        Self { header: Some((ALLOW, format!("OPTIONS,{allowed}"))), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, words) }
    }

    /// 413.
    pub(crate) fn too_large(size: usize, limit: usize, option: &str) -> Self {
        let words = format!(
            "Request body({size} bytes) too large, max size: {limit} bytes. \
             See https://www.consul.io/docs/agent/options.html#{option}."
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, words)
    }

    /// 301.
    pub(crate) fn moved(to: &str) -> Self {
        let words = format!("<a href=\"{to}\">Moved Permanently</a>.\n");
        Self { header: Some((LOCATION, to.to_owned())), ..Self::new(StatusCode::MOVED_PERMANENTLY, words) }
    }

    /// The HTTP response: plain text.
    pub(crate) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.words));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Some((name, value)) = self.header
            && let Ok(value) = HeaderValue::try_from(value)
        {
            headers.insert(name, value);
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoService(_) => Self::new(StatusCode::NOT_FOUND, refusal.to_string()),
            _ => Self::internal(refusal.to_string()),
        }
    }
}
