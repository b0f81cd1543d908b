//! The socket where a process says that it is ready, as `sd_notify` does.
//!
//! The protocol is a datagram of lines `NAME=value`; only `READY=1` is looked at. The socket has a random name without a file, so that nothing
//! is left behind and a job that runs as another user needs no rights on a folder.

use std::io;

use helium_runtime::ports::Ports;
use tokio::net::UnixDatagram;

/// How many bytes of a message are looked at.
const LONGEST: usize = 4096;

/// A socket of one run.
pub(crate) struct Notify {
    socket: UnixDatagram,
    name: String,
}

impl Notify {
    /// A socket with a name that nobody can guess.
    #[cfg(target_os = "linux")]
    pub(crate) fn new(ports: &Ports) -> io::Result<Self> {
        use std::os::{linux::net::SocketAddrExt as _, unix::net};
        let name = format!("helium-notify-{}", ports.random_hex(32));
        let socket = net::UnixDatagram::bind_addr(&net::SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixDatagram::from_std(socket)?, name })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new(_ports: &Ports) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no sockets without files"))
    }

    /// What is put into `NOTIFY_SOCKET`.
    pub(crate) fn address(&self) -> String {
        format!("@{}", self.name)
    }

    /// Waits for the word.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        let mut message = vec![0; LONGEST];
        loop {
            let length = self.socket.recv(&mut message).await?;
            if message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return Ok(());
            }
        }
    }
}
