//! The narrow door through which requests leave: bytes in, bytes out.

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};

/// Carries one request and brings back its whole answer.
///
/// The request's URI is in origin form (`/v1/kv/a?index=3`), its body is complete, and `X-Consul-Token` is set if there
/// is a token. A transport adds what its medium needs (`Host`, compression) and takes it away again: the response body is
/// plain. Every HTTP status is an `Ok`. Dropping the future abandons the request; the caller sets the deadlines.
pub trait Transport: Send + Sync {
    /// Sends `request` and collects the answer.
    ///
    /// # Errors
    /// [`TransportError`] if no complete answer came.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>>;
}

/// A request extension that marks a blocking query, so that a transport can keep room for short requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongPoll;

/// Why no complete answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection could be made (refused, no route, TLS handshake failed): the request was not sent.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The request could not be put on the wire at all: it was not sent.
    #[error("request was not sent: {0}")]
    NotSent(String),
    /// The connection broke after sending began: the request may or may not have been carried out.
    #[error("connection lost: {0}")]
    Lost(String),
    /// An answer came, but it is not HTTP or its compression is broken: the request was carried out or refused, unknown
    /// which.
    #[error("malformed answer: {0}")]
    Malformed(String),
}

impl TransportError {
    /// Whether the server may have seen the request.
    pub fn may_have_arrived(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Malformed(_))
    }
}
