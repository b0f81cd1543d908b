//! What can go wrong with a call, sorted by what the caller should do about it.

use std::time::Duration;

use http::StatusCode;

use crate::{transport::TransportError, txn::TxnError};

/// A failed call. No variant holds a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No complete answer came.
    #[error("{call}: {source}")]
    Transport {
        /// Method and path.
        call: String,
        /// What the transport said.
        source: TransportError,
    },
    /// The deadline of the request passed.
    #[error("{call}: no answer within {after:?}")]
    Timeout {
        /// Method and path.
        call: String,
        /// The deadline.
        after: Duration,
    },
    /// The token has no right to this, or is not known (403).
    #[error("{call}: not authorised: {message}")]
    Denied {
        /// Method and path.
        call: String,
        /// Consul's words.
        message: String,
    },
    /// There is no such object (404).
    #[error("{call}: not found: {message}")]
    NotFound {
        /// Method and path.
        call: String,
        /// Consul's words.
        message: String,
    },
    /// The transaction was refused as a whole (409); nothing of it was applied.
    #[error("transaction refused: {}", list(.errors))]
    TxnRefused {
        /// What was wrong, by index of the operation.
        errors: Vec<TxnError>,
    },
    /// The transaction holds more operations than Consul takes; it was not sent.
    #[error("transaction of {ops} operations is over the limit of {limit}")]
    TxnTooLong {
        /// How many there are.
        ops: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A value or a body is too large (413).
    #[error("{call}: too large: {message}")]
    TooLarge {
        /// Method and path.
        call: String,
        /// Consul's words.
        message: String,
    },
    /// The request is wrong and will be wrong again: 400, and the syntax errors that Consul answers with 500.
    #[error("{call}: invalid request: {message}")]
    Invalid {
        /// Method and path.
        call: String,
        /// Consul's words.
        message: String,
    },
    /// The cluster has no leader, or the agent cannot reach a server; the request was not carried out.
    #[error("{call}: no leader: {message}")]
    NoLeader {
        /// Method and path.
        call: String,
        /// Consul's words.
        message: String,
    },
    /// Consul asks to slow down (429): try later or elsewhere; the request was not carried out.
    #[error("{call}: throttled: {message}")]
    Throttled {
        /// Method and path.
        call: String,
        /// Consul's words.
        message: String,
    },
    /// The cluster broke off in the middle (500 "leadership lost while committing log", "EOF"): a write may have happened.
    #[error("{call}: interrupted: {message}")]
    Interrupted {
        /// Method and path.
        call: String,
        /// Consul's words.
        message: String,
    },
    /// ACLs are switched off in this Consul (401), so the ACL API has no answers.
    #[error("ACLs are disabled in this Consul")]
    AclDisabled,
    /// Any other answer.
    #[error("{call}: status {status}: {body}")]
    Server {
        /// Method and path.
        call: String,
        /// The HTTP status.
        status: u16,
        /// The start of the body.
        body: String,
    },
    /// The answer is not what the API promises.
    #[error("{call}: cannot read the answer: {reason}")]
    Decode {
        /// Method and path.
        call: String,
        /// What was wrong.
        reason: String,
    },
}

impl Error {
    /// Whether a write may have happened although the call failed. Reread before deciding anything.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Transport { source, .. } => source.may_have_arrived(),
            Self::Timeout { .. } | Self::Interrupted { .. } | Self::Decode { .. } => true,
            Self::Server { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Whether the token lacks the right. Inside a transaction a denial is a 409.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Denied { .. } => true,
            Self::TxnRefused { errors } => errors.iter().any(|error| is_denial(&error.what)),
            _ => false,
        }
    }

    /// Whether the store cannot be reached or does not serve at the moment, whatever was asked.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Transport { .. } | Self::Timeout { .. } | Self::NoLeader { .. } | Self::Interrupted { .. })
            || matches!(self, Self::Server { status, .. } if *status >= 500)
    }

    /// Sorts an answer that is not a success by its status and, where Consul answers 500 to everything, by its words.
    pub(crate) fn from_answer(call: String, status: StatusCode, body: &[u8]) -> Self {
        let message = excerpt(body);
        match status.as_u16() {
            400 | 405 => Self::Invalid { call, message },
            401 if message.contains("ACL support disabled") => Self::AclDisabled,
            401 | 403 => Self::Denied { call, message },
            404 => Self::NotFound { call, message },
            413 => Self::TooLarge { call, message },
            429 => Self::Throttled { call, message },
            500 => Self::from_words(call, message),
            status => Self::Server { call, status, body: message },
        }
    }

    fn from_words(call: String, message: String) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if says(INTERRUPTED) {
            Self::Interrupted { call, message }
        } else if says(NO_LEADER) {
            Self::NoLeader { call, message }
        } else if is_denial(&message) {
            Self::Denied { call, message }
        } else if says(UNKNOWN) {
            Self::NotFound { call, message }
        } else if says(INVALID) {
            Self::Invalid { call, message }
        } else {
            Self::Server { call, status: 500, body: message }
        }
    }
}

/// The words of a 500 after which a write may have happened.
const INTERRUPTED: &[&str] = &[
    "leadership lost while committing log",
    "rpc error making call: EOF",
    "stream closed",
    "connection reset by peer",
    "timed out enqueuing operation",
    "i/o deadline reached",
];

/// The words of a 500 before which nothing was done.
const NO_LEADER: &[&str] = &[
    "No cluster leader",
    "No known Consul servers",
    "failed to get conn",
    "node is not the leader",
    "not ready to serve",
];

/// The words of a 500 that mean 404.
const UNKNOWN: &[&str] = &["Unknown check", "Unknown service", "does not have associated TTL", "does not exist"];

/// The words of a 500 that mean 400: the same request will fail again.
const INVALID: &[&str] = &[
    "invalid syntax",
    "invalid session",
    "Invalid Session TTL",
    "Invalid TTL",
    "Invalid session",
    "Invalid Behavior",
    "Invalid behavior",
    "Missing check",
    "is in critical state",
    "Missing node registration",
    "Must provide",
    "Scripts are disabled",
    "value out of range",
    "must be between",
    "is malformed",
    "UUID",
];

fn is_denial(message: &str) -> bool {
    message.contains("Permission denied") || message.contains("ACL not found")
}

fn excerpt(body: &[u8]) -> String {
    const LONGEST: usize = 500;
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn list(errors: &[TxnError]) -> String {
    let each = errors.iter().map(|error| format!("operation {}: {}", error.op_index, error.what));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(status: u16, body: &str) -> Error {
        Error::from_answer("PUT /v1/x".to_owned(), StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    fn name(error: &Error) -> String {
        format!("{error:?}").split([' ', '{']).next().unwrap().to_owned()
    }

    /// Status, body as Consul 1.8.7 says it, variant, ambiguous.
    const ANSWERS: &[(u16, &str, &str, bool)] = &[
        (400, "Invalid wait time", "Invalid", false),
        (401, "ACL support disabled", "AclDisabled", false),
        (403, "Permission denied", "Denied", false),
        (403, "ACL not found", "Denied", false),
        (404, "", "NotFound", false),
        (413, "Request body(533390 bytes) too large", "TooLarge", false),
        (429, "Your IP is issuing too many concurrent connections", "Throttled", false),
        (500, "No cluster leader", "NoLeader", false),
        (500, "rpc error getting client: failed to get conn: dial tcp: connection refused", "NoLeader", false),
        (500, "leadership lost while committing log", "Interrupted", true),
        (500, "rpc error making call: EOF", "Interrupted", true),
        (500, "rpc error making call: stream closed", "Interrupted", true),
        (500, "rpc error making call: Permission denied", "Denied", false),
        (500, "rpc error making call: ACL not found", "Denied", false),
        (500, "strconv.ParseUint: parsing \"-1\": invalid syntax", "Invalid", false),
        (500, "Invalid Session TTL '1000000000', must be between [10s=24h0m0s]", "Invalid", false),
        (500, "Invalid Behavior setting 'zz'", "Invalid", false),
        (500, "Missing check 'zz' registration", "Invalid", false),
        (500, "Check 'hc' is in critical state", "Invalid", false),
        (500, "failed session lookup: index error: UUID must be 36 characters", "Invalid", false),
        (500, "invalid session \"11111111-1111-1111-1111-111111111111\"", "Invalid", false),
        (500, "ServiceID \"nope\" does not exist", "NotFound", false),
        (500, "CheckID \"zz\" does not have associated TTL", "NotFound", false),
        (500, "something new", "Server", true),
        (503, "busy", "Server", true),
    ];

    #[test]
    fn answers_are_sorted_by_what_to_do_about_them() {
        for (status, body, variant, ambiguous) in ANSWERS {
            let error = sorted(*status, body);
            assert_eq!((name(&error).as_str(), error.is_ambiguous()), (*variant, *ambiguous), "{status} {body}");
        }
    }

    #[test]
    fn a_denial_inside_a_transaction_is_a_denial() {
        let refused = |what: &str| Error::TxnRefused { errors: vec![TxnError { op_index: 3, what: what.to_owned() }] };
        assert!(refused("Permission denied").is_denied());
        assert!(!refused("failed index check for key \"a\"").is_denied());
        assert_eq!(refused("gone").to_string(), "transaction refused: operation 3: gone");
    }

    #[test]
    fn only_what_may_have_arrived_is_ambiguous() {
        let failed = |source| Error::Transport { call: String::new(), source };
        assert!(!failed(TransportError::NotSent("x".to_owned())).is_ambiguous());
        let refused = TransportError::Connect { address: "a".to_owned(), reason: "refused".to_owned() };
        assert!(!failed(refused.clone()).is_ambiguous());
        assert!(failed(refused).is_unreachable());
        assert!(failed(TransportError::Lost("x".to_owned())).is_ambiguous());
        assert!(Error::Timeout { call: String::new(), after: Duration::ZERO }.is_ambiguous());
        assert!(!Error::TxnTooLong { ops: 65, limit: 64 }.is_ambiguous());
    }

    #[test]
    fn a_long_body_is_cut() {
        let Error::Server { body, .. } = sorted(502, &"é".repeat(2000)) else { unreachable!() };
        assert_eq!(body.chars().count(), 503);
    }
}
