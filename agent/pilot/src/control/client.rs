//! Who speaks to the control socket of a supervisor.

use std::{io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};

/// How long an answer may take; a reload looks at the file before it answers.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer of the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// What it says, for people.
    pub text: String,
}

impl Answer {
    /// Whether it was done.
    pub fn is_ok(&self) -> bool {
        self.status.is_success()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("no supervisor answers at `{}`: {source}", path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It broke off.
    #[error("the supervisor broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// It takes too long.
    #[error("the supervisor does not answer within {LIMIT:?}")]
    Silent,
    /// This is no request.
    #[error("this cannot be asked: {0}")]
    Request(#[from] http::Error),
}

/// Asks the supervisor at a socket.
///
/// # Errors
/// Nobody answers.
pub async fn ask(socket: PathBuf, method: &str, path: &str, body: String) -> Result<Answer, ClientError> {
    let request =
        Request::builder().method(method).uri(path).header(HOST, "control").body(Full::new(Bytes::from(body)))?;
    let answer = async {
        let stream = UnixStream::connect(&socket).await;
        let stream = stream.map_err(|source| ClientError::Nobody { path: socket.clone(), source })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok(Answer { status, text: String::from_utf8_lossy(&body).trim_end().to_owned() })
    };
    timeout(LIMIT, answer).await.unwrap_or(Err(ClientError::Silent))
}
