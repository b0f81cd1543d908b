//! Words to whoever manages this process, if it listens: the protocol of `sd_notify`, one datagram each to the socket that `NOTIFY_SOCKET` names.
//!
//! Nobody waits for the listener: a socket that is full, gone or foreign costs a word in the log and nothing else. The words are those of
//! systemd's manual page `sd_notify(3)`.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::pulse::{BEAT, Pulse};

/// The variable that names the socket.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// The variable that says within how many microseconds a word is awaited.
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
/// The variable that says from whom.
const WATCHDOG_PID: &str = "WATCHDOG_PID";
/// All of them: what is for this process is for none that it starts.
pub const VARIABLES: [&str; 3] = [NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID];

/// How long a listener may take to have room for another word.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest status in bytes; a datagram that is larger than the socket's buffer is refused as a whole.
const LONGEST: usize = 1024;

/// Whom to tell.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<SocketAddr>);

impl Notifier {
    /// Whoever manages this process. A socket that cannot be one is nobody, which is said in the log.
    pub fn of_process() -> Self {
        Self::to(std::env::var_os(NOTIFY_SOCKET).as_deref()).unwrap_or_else(|error| {
            tracing::warn!(%error, "NOTIFY_SOCKET names no socket; nobody is told anything");
            Self(None)
        })
    }

    /// The socket of this name; one that begins with `@` is abstract, which only Linux has. None, or no name, is nobody.
    ///
    /// # Errors
    /// It is no name of a socket.
    pub fn to(socket: Option<&OsStr>) -> io::Result<Self> {
        let Some(name) = socket.map(OsStr::as_bytes).filter(|name| !name.is_empty()) else { return Ok(Self(None)) };
        let address = match name.strip_prefix(b"@") {
            Some(rest) => of_abstract(rest),
            None => SocketAddr::from_pathname(OsStr::from_bytes(name)),
        };
        address.map(|address| Self(Some(address)))
    }

    /// Whether there is anybody.
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// That the program is ready, after a start or a reload.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// What it does, in one line.
    pub fn status(&self, words: &str) {
        let end = words.floor_char_boundary(LONGEST);
        self.tell(&format!("STATUS={}", words[..end].replace('\n', " ")));
    }

    /// That it takes its configuration anew; [`Notifier::ready`] ends that.
    pub fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
    }

    /// That it lives and its work goes on.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
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
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}

#[cfg(target_os = "linux")]
fn of_abstract(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn of_abstract(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no sockets without files"))
}

/// `CLOCK_MONOTONIC` in microseconds: the manager compares it with its own to tell a reload from the one before.
fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
}

/// The manager's wish to hear of this process again and again; after a silence of the whole time it kills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    within: Duration,
}

impl Watchdog {
    /// That of this process; none if nobody wants to hear.
    pub fn of_process() -> Option<Self> {
        let own = |name: &str| std::env::var_os(name);
        Self::of(own(WATCHDOG_USEC), own(WATCHDOG_PID), std::process::id())
    }

    fn of(micros: Option<OsString>, pid: Option<OsString>, own: u32) -> Option<Self> {
        let number = |text: OsString| text.to_str()?.trim().parse::<u64>().ok();
        let meant = pid.is_none_or(|pid| number(pid) == Some(u64::from(own)));
        let micros = micros.and_then(number).filter(|micros| *micros > 0 && meant)?;
        Some(Self { within: Duration::from_micros(micros) })
    }

    /// Tells it at half of the time, as the manual asks for, while the loop of `pulse` turns. Runs for ever.
    pub async fn keep(self, notifier: &Notifier, pulse: &Pulse) {
        let every = self.within / 2;
        // One that is asked more often than it beats is not dead in between.
        let newest = every.max(BEAT * 2);
        let mut stood = false;
        loop {
            let stands = pulse.age() > newest;
            if !stands {
                notifier.alive();
            } else if !stood {
                tracing::error!(age = ?pulse.age(), "the main loop stands still; the watchdog is not told any more");
            }
            stood = stands;
            tokio::time::sleep(every).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ports::Ports;

    fn listener() -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        let notifier = Notifier::to(Some(path.as_os_str())).unwrap();
        (folder, heard, notifier)
    }

    fn all(heard: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 2048];
        let next = || heard.recv(&mut bytes).ok().map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_socket_hears_each_word_as_the_manual_spells_it() {
        let (_folder, heard, notifier) = listener();
        notifier.ready();
        notifier.status("two\nlines");
        notifier.stopping();
        assert_eq!(all(&heard), ["READY=1", "STATUS=two lines", "STOPPING=1"]);
    }

    #[test]
    fn a_reload_bears_the_instant_at_which_it_began() {
        let (_folder, heard, notifier) = listener();
        let before = monotonic_micros();
        notifier.reloading();
        let said = all(&heard).remove(0);
        let at: i64 = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!((before..=monotonic_micros()).contains(&at), "{said}");
    }

    #[test]
    fn a_status_that_is_too_long_is_cut_between_letters() {
        let (_folder, heard, notifier) = listener();
        notifier.status(&format!("a{}", "é".repeat(2000)));
        let said = all(&heard).remove(0);
        assert!(said.starts_with("STATUS=aéé") && said.len() <= LONGEST + 7, "{}", said.len());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_one_too_and_nobody_is_no_error() {
        Notifier::to(None).unwrap().ready();
        let name = format!("helium-notify-test-{}", std::process::id());
        let heard = UnixDatagram::bind_addr(&of_abstract(name.as_bytes()).unwrap()).unwrap();
        Notifier::to(Some(OsStr::new(&format!("@{name}")))).unwrap().stopping();
        heard.set_nonblocking(true).unwrap();
        assert_eq!(all(&heard), ["STOPPING=1"]);
    }

    #[test]
    fn a_listener_that_is_gone_holds_nobody_up() {
        let (folder, heard, notifier) = listener();
        drop((folder, heard));
        notifier.ready();
    }

    #[test]
    fn a_watchdog_is_kept_by_the_process_that_it_means_and_by_no_other() {
        let of = |micros: &str, pid: Option<&str>| Watchdog::of(Some(micros.into()), pid.map(Into::into), 7);
        let within = |seconds| Some(Watchdog { within: Duration::from_secs(seconds) });
        assert_eq!(of("30000000", Some("7")), within(30));
        assert_eq!(of("30000000", None), within(30));
        assert_eq!(of("30000000", Some("8")), None);
        assert_eq!((of("0", None), of("soon", None), Watchdog::of(None, None, 7)), (None, None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_not_vouched_for() {
        let (_folder, heard, notifier) = listener();
        let pulse = Pulse::new(Ports::seeded(1, Timestamp::UNIX_EPOCH));
        let watchdog = Watchdog { within: Duration::from_secs(10) };
        let told = pulse.clone();
        tokio::spawn(async move { watchdog.keep(&notifier, &told).await });
        let turn = async |pulse: &Pulse, seconds| {
            for _ in 0..seconds {
                tokio::time::sleep(BEAT).await;
                pulse.beat();
            }
        };
        turn(&pulse, 21).await;
        assert_eq!(all(&heard).len(), 5, "at 0, 5, 10, 15 and 20 s");
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(all(&heard), ["WATCHDOG=1"], "only what came within 5 s of the last beat");
        turn(&pulse, 10).await;
        assert!(!all(&heard).is_empty(), "one that turns again is vouched for again");
    }
}
