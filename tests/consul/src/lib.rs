//! A real Consul agent for tests, on free ports of the loopback, which ends with whoever started it.
//!
//! Between a test and its agent stands a shell that waits for the end of its input. That comes when the value is dropped, and also when the test program
//! ends in any other way: a panic, an abort, a kill, or a value in a `static`. Nothing here waits until the agent answers: each test does that by the
//! client that it has.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "a real process takes real time")]

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The name of the agent's own node.
pub const NODE: &str = "test";
/// Starts an agent, says its process id, and ends it when its own input ends. One that is frozen hears nothing but KILL.
const GUARD: &str = r#""$@" >"$LOG" 2>&1 & agent=$!; echo $agent > "$PID.new"; mv "$PID.new" "$PID"; cat >/dev/null
kill -s KILL "$agent"; wait "$agent""#;
/// How long the shell may take to say the process id.
const SOON: Duration = Duration::from_secs(20);

/// What sort of agent is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A server in memory, which leads.
    Dev,
    /// One server of two: it never gets a leader.
    Leaderless,
    /// An agent that knows no server.
    Serverless,
}

/// A running agent.
#[derive(Debug)]
pub struct Consul {
    mode: Mode,
    hcl: String,
    /// HTTP, server, Serf in the LAN and in the WAN.
    ports: [u16; 4],
    folder: TempDir,
    guard: Child,
}

impl Consul {
    /// Starts an agent, with further configuration in HCL.
    #[must_use]
    pub fn launch(mode: Mode, hcl: &str) -> Self {
        // All are held at once, so that they differ.
        let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = held.map(|listener| listener.local_addr().unwrap().port());
        let folder = tempfile::tempdir().unwrap();
        let guard = spawn(mode, hcl, ports, &folder);
        Self { mode, hcl: hcl.to_owned(), ports, folder, guard }
    }

    /// Where it listens: `127.0.0.1:40123`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// The socket at which it listens, too.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("http.sock")
    }

    /// Ends it and starts another in its place, which knows nothing.
    pub fn replace(&mut self) {
        self.end();
        let _ = fs::remove_dir_all(self.folder.path().join("data"));
        self.guard = spawn(self.mode, &self.hcl, self.ports, &self.folder);
    }

    /// Stops it in its tracks: it holds its connections and answers nobody.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// The process id of the agent.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let until = Instant::now() + SOON;
        loop {
            match fs::read_to_string(self.folder.path().join("pid")) {
                Ok(text) => return text.trim().parse().unwrap(),
                Err(error) => assert!(Instant::now() < until, "Consul was not started: {error}"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    fn end(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        let _ = fs::remove_file(self.folder.path().join("pid"));
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(mode: Mode, hcl: &str, ports: [u16; 4], folder: &TempDir) -> Child {
    let at = |name: &str| folder.path().join(name);
    let [http, server, lan, wan] = ports.map(|port| port.to_string());
    let _ = fs::remove_file(at("http.sock"));
    let config = format!("addresses {{ http = \"127.0.0.1 unix://{}\" }}\n{hcl}", at("http.sock").display());
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "sh"]).arg(program()).arg("agent");
    command.args(["-node", NODE, "-bind", "127.0.0.1", "-dns-port=-1", "-grpc-port=-1", "-hcl", &config]);
    command.args(["-http-port", &http, "-server-port", &server, "-serf-lan-port", &lan, "-serf-wan-port", &wan]);
    match mode {
        Mode::Dev => command.arg("-dev"),
        Mode::Leaderless => command.args(["-server", "-bootstrap-expect=2", "-data-dir"]).arg(at("data")),
        Mode::Serverless => command.arg("-data-dir").arg(at("data")),
    };
    // The shell tells of the death of its child, which is what it is for.
    command.env("LOG", at("log")).env("PID", at("pid")).stdin(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// The program: `CONSUL_BIN`, or `consul` of PATH.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("CONSUL_BIN").filter(|path| !path.is_empty()) {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("consul")).find(|file| file.is_file());
    found.expect(
        "this test needs Consul: set CONSUL_BIN, put `consul` in PATH, or run `cargo xtask test`, which fetches it",
    )
}

#[cfg(test)]
mod tests {
    use std::{io, net::TcpStream, path::Path};

    use super::*;

    fn await_that(what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + SOON;
        while !holds() {
            assert!(Instant::now() < until, "waited in vain until {what}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn listens(address: &str) -> bool {
        TcpStream::connect(address).is_ok()
    }

    fn is_gone(pid: i32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |stat| stat.contains(") Z "))
    }

    #[test]
    fn it_ends_with_its_value_also_when_a_test_panics_or_it_is_frozen() {
        let consul = Consul::launch(Mode::Dev, "");
        let (address, pid) = (consul.address(), consul.pid());
        await_that("it listens", || listens(&address));
        consul.freeze();
        let panicked = thread::spawn(move || {
            let _consul = consul;
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.join().is_err());
        assert!(is_gone(pid) && !listens(&address));
    }

    #[test]
    fn it_ends_with_the_program_that_started_it_however_that_ends() {
        let mut consul = Consul::launch(Mode::Dev, "");
        let pid = consul.pid();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        // The end of a program closes what it holds, as here without a drop.
        drop(consul.guard.stdin.take());
        await_that("it is gone", || is_gone(pid));
    }

    #[test]
    fn another_in_its_place_listens_where_it_did() {
        let mut consul = Consul::launch(Mode::Dev, "");
        let (address, pid) = (consul.address(), consul.pid());
        await_that("it listens", || listens(&address));
        consul.replace();
        assert!(consul.pid() != pid && is_gone(pid));
        await_that("the next listens", || listens(&address));
        assert!(consul.socket().exists());
    }
}
