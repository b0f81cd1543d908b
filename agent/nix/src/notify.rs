//! Words to systemd, if it listens: the protocol of `sd_notify`, one datagram each to the socket that `NOTIFY_SOCKET` names.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// How long a listener may take to have room for another word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whom to tell.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<SocketAddr>);

impl Notifier {
    /// The socket of this name; one that begins with `@` is abstract. None, or no name, is nobody.
    ///
    /// # Errors
    /// It is no name of a socket.
    pub fn to(socket: Option<&OsStr>) -> io::Result<Self> {
        let Some(name) = socket.map(OsStr::as_bytes).filter(|name| !name.is_empty()) else { return Ok(Self(None)) };
        let address = match name.strip_prefix(b"@") {
            Some(rest) => SocketAddr::from_abstract_name(rest),
            None => SocketAddr::from_pathname(OsStr::from_bytes(name)),
        };
        address.map(|address| Self(Some(address)))
    }

    /// That the program is ready.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// What it does, in one line.
    pub fn status(&self, words: &str) {
        self.tell(&format!("STATUS={}", words.replace('\n', " ")));
    }

    /// That it ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, words: &str) {
        let Some(address) = &self.0 else { return };
        let told = UnixDatagram::unbound().and_then(|socket| {
            // A listener that does not read must not hold us up for long.
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.send_to_addr(words.as_bytes(), address)
        });
        if let Err(error) = told {
            tracing::debug!(%error, "systemd could not be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_hears_that_we_are_ready_and_what_we_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(Some(path.as_os_str())).unwrap();
        notifier.ready();
        notifier.status("two\nlines");
        let hear = || {
            let mut bytes = [0; 64];
            let length = heard.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        assert_eq!((hear(), hear()), ("READY=1".to_owned(), "STATUS=two lines".to_owned()));
    }

    #[test]
    fn an_abstract_socket_is_one_too_and_nobody_is_no_error() {
        Notifier::to(None).unwrap().ready();
        let name = format!("helium-nix-{}", std::process::id());
        let heard = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::to(Some(OsStr::new(&format!("@{name}")))).unwrap().stopping();
        let mut bytes = [0; 64];
        let length = heard.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"STOPPING=1");
    }
}
