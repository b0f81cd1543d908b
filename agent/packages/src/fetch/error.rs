//! Why something cannot be fetched. No message holds a credential, a query or a header.

use std::{io, path::PathBuf};

use http::StatusCode;

/// Why something cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server cannot be reached, or breaks off.
    #[error("{place} broke off: {reason}")]
    Lost {
        /// Where.
        place: String,
        /// Why.
        reason: String,
    },
    /// The server says nothing.
    #[error("{place} was silent for {seconds} s")]
    Silent {
        /// Where.
        place: String,
        /// How long.
        seconds: u64,
    },
    /// The server answers with another status than was hoped for.
    #[error("{place} answers {status}{advice}", advice = advice(*status))]
    Refused {
        /// Where.
        place: String,
        /// What it answers.
        status: StatusCode,
    },
    /// The server sends its client somewhere that it does not go.
    #[error("{place} leads somewhere else: {reason}")]
    Astray {
        /// Where.
        place: String,
        /// Why not.
        reason: String,
    },
    /// There is too much of it.
    #[error("{place} is larger than {most} bytes, which is the most that is taken")]
    TooLarge {
        /// Where.
        place: String,
        /// The most.
        most: u64,
    },
    /// A file of this machine cannot be read or written.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// TLS cannot be used.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// No credentials of AWS are to be had.
    #[error(
        "{place}: no credentials of AWS ({reason}): looked for in the environment, the files in ~/.aws, a web identity, the container and the machine"
    )]
    NoCredentials {
        /// What for.
        place: String,
        /// Why.
        reason: String,
    },
    /// A request to S3 cannot be made.
    #[error("{place}: the request cannot be made: {reason}")]
    Request {
        /// What for.
        place: String,
        /// Why.
        reason: String,
    },
    /// This program cannot do S3.
    #[error("{place}: this helium was built without the feature `s3`")]
    NoS3 {
        /// What for.
        place: String,
    },
    /// A path of the Nix store, which Nix fetches.
    #[error("{place}: only Nix fetches what is in its store")]
    StorePath {
        /// Which.
        place: String,
    },
    /// The task that did it is gone.
    #[error("fetching has ended early: {reason}")]
    Ended {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whether the same request may be answered in a moment.
    pub fn may_heal(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Silent { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::RANGE_NOT_SATISFIABLE
                    )
            }
            _ => false,
        }
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => ": is there a `machine` of this host in the netrc file?",
        StatusCode::FORBIDDEN => ": these credentials have no right to it",
        StatusCode::MOVED_PERMANENTLY => {
            ": without saying where; a bucket of S3 is in another region than AWS_REGION says"
        }
        StatusCode::NOT_FOUND => ": nothing is there",
        _ => "",
    }
}
