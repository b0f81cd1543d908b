//! HAProxy's runtime API: one line there, one answer back, one connection each.

use std::{fmt, io, path::PathBuf, str::FromStr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

use crate::haproxy::{self, Command, Table};

/// How long HAProxy may take for an answer. It answers in less than a millisecond unless its machine is in trouble.
const LIMIT: Duration = Duration::from_secs(5);
/// The longest answer that is read: the state of a hundred thousand servers.
const LONGEST: u64 = 16 * 1024 * 1024;
/// What HAProxy says to whoever may not do something.
const DENIED: &str = "Permission denied";

/// Where HAProxy listens for its runtime API: the `stats socket` of its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

/// Why HAProxy did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nobody is there.
    #[error("HAProxy does not answer at {socket}: {source}")]
    Unreachable {
        /// Where.
        socket: Socket,
        /// What the system said.
        source: io::Error,
    },
    /// It takes too long.
    #[error("HAProxy does not answer at {socket} within {LIMIT:?}")]
    Silent {
        /// Where.
        socket: Socket,
    },
    /// The socket lets nobody change anything.
    #[error("HAProxy denies `{line}` at {socket}: its `stats socket` needs `level admin`")]
    Denied {
        /// Where.
        socket: Socket,
        /// What was said to it.
        line: String,
    },
    /// It does not do it.
    #[error("HAProxy refuses `{line}`: {answer}")]
    Refused {
        /// What was said to it.
        line: String,
        /// Its answer.
        answer: String,
    },
    /// Its answer is not what its manual promises.
    #[error("what HAProxy answers at {socket} cannot be read: {why}")]
    Unreadable {
        /// Where.
        socket: Socket,
        /// What is wrong.
        why: String,
    },
}

impl FromStr for Socket {
    type Err = String;

    /// Reads a path, which has a `/`, or `host:port`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(1..)) => Ok(Self::Tcp(text.to_owned())),
            _ => Err(format!("`{text}` is neither the path of a socket, with a `/` in it, nor `host:port`")),
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(place) => f.write_str(place),
        }
    }
}

impl Socket {
    /// The answer to one line.
    ///
    /// # Errors
    /// Nobody answers in time, or it is denied.
    pub async fn ask(&self, line: &str) -> Result<String, SocketError> {
        let answer = match tokio::time::timeout(LIMIT, self.exchange(line)).await {
            Ok(Ok(answer)) => String::from_utf8_lossy(&answer).into_owned(),
            Ok(Err(source)) => return Err(SocketError::Unreachable { socket: self.clone(), source }),
            Err(_) => return Err(SocketError::Silent { socket: self.clone() }),
        };
        if answer.starts_with(DENIED) {
            return Err(SocketError::Denied { socket: self.clone(), line: line.to_owned() });
        }
        Ok(answer)
    }

    /// The slots of all backends.
    ///
    /// # Errors
    /// As [`Socket::ask`], or the answer is no table.
    pub async fn table(&self) -> Result<Table, SocketError> {
        let state = self.ask("show servers state").await?;
        // Every proxy, servers alone.
        let stat = self.ask("show stat -1 4 -1").await?;
        haproxy::table(&state, &stat).map_err(|why| SocketError::Unreadable { socket: self.clone(), why })
    }

    /// Says one thing about a server of a backend.
    ///
    /// # Errors
    /// As [`Socket::ask`], or HAProxy does not do it.
    pub async fn tell(&self, backend: &str, command: &Command) -> Result<(), SocketError> {
        let line = command.line(backend);
        let answer = self.ask(&line).await?;
        if command.is_done(&answer) {
            return Ok(());
        }
        Err(SocketError::Refused { line, answer: answer.trim().to_owned() })
    }

    async fn exchange(&self, line: &str) -> io::Result<Vec<u8>> {
        match self {
            Self::Unix(path) => exchange(UnixStream::connect(path).await?, line).await,
            Self::Tcp(place) => exchange(TcpStream::connect(place).await?, line).await,
        }
    }
}

/// HAProxy answers one line and closes.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, line: &str) -> io::Result<Vec<u8>> {
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_unix_socket_and_host_and_port_are_tcp() {
        assert_eq!("/run/haproxy/admin.sock".parse(), Ok(Socket::Unix("/run/haproxy/admin.sock".into())));
        assert_eq!("./a:1".parse(), Ok(Socket::Unix("./a:1".into())));
        assert_eq!("127.0.0.1:9999".parse(), Ok(Socket::Tcp("127.0.0.1:9999".to_owned())));
        assert_eq!("[::1]:9999".parse(), Ok(Socket::Tcp("[::1]:9999".to_owned())));
        for wrong in ["admin.sock", ":1", "host:", "host:0", "host:70000"] {
            assert!(wrong.parse::<Socket>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn nobody_at_the_socket_is_said_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let socket = Socket::Unix(folder.path().join("none.sock"));
        let words = socket.table().await.unwrap_err().to_string();
        assert!(words.starts_with(&format!("HAProxy does not answer at {socket}: ")), "{words}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_haproxy_that_is_frozen_is_not_waited_for_longer_than_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frozen.sock");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(Socket::Unix(path).ask("show info").await, Err(SocketError::Silent { .. })));
    }
}
