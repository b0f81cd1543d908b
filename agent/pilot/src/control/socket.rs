//! The socket itself: one supervisor has it, and what a dead one has left is taken over.

use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("control.socket: another supervisor answers at `{}`; give each a socket of its own", .0.display())]
    Taken(PathBuf),
    /// The system refused.
    #[error("control.socket: cannot listen at `{}`: {source}", path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A socket that is listened at; dropped, its file goes.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Listens.
    ///
    /// # Errors
    /// Another supervisor has it, or the system refused.
    pub fn listen(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let refused = |source| SocketError::Refused { path: path.to_owned(), source };
        if path.exists() {
            if UnixStream::connect(path).is_ok() {
                return Err(SocketError::Taken(path.to_owned()));
            }
            fs::remove_file(path).map_err(refused)?;
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(refused)?;
        }
        let listener = UnixListener::bind(path).map_err(refused)?;
        Ok((Self { path: path.to_owned() }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_nobody_answers_at_is_taken_over_and_one_that_lives_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control.socket");
        let (socket, listener) = Socket::listen(&path).unwrap();
        assert!(matches!(Socket::listen(&path), Err(SocketError::Taken(_))));
        drop(listener);
        let (again, _listener) = Socket::listen(&path).unwrap();
        std::mem::forget(socket);
        drop(again);
        assert!(!path.exists());
    }
}
