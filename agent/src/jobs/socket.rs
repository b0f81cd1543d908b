//! The socket between an agent and a supervisor, in the folder of the instance that is the agent's alone.
//!
//! The path of a unix socket has room for about a hundred bytes, and the folders of instances may lie deeper. So the folder is opened, and the socket
//! named through what Linux shows of open files.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

/// Listens. What a dead one has left at that place is taken away.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_folder, short) = short(path)?;
    UnixListener::bind(short)
}

/// Connects.
pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_folder, short) = short(path)?;
    UnixStream::connect(short).await
}

/// A short path to the same file, which holds while the folder is open.
fn short(path: &Path) -> io::Result<(Option<File>, PathBuf)> {
    if !cfg!(target_os = "linux") {
        return Ok((None, path.to_owned()));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((Some(folder), short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_may_lie_deeper_than_its_name_has_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("jobs.sock");
        let first = listen(&path).unwrap();
        drop(first);
        let second = listen(&path).unwrap();
        let (connected, accepted) = tokio::join!(connect(&path), second.accept());
        assert!(connected.is_ok() && accepted.is_ok());
    }
}
