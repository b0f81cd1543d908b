//! A real HAProxy in front of one backend: started from a file as people start it, killed, frozen and started again.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{Daemon, Http, command, eventually, ports, process};

/// The longest that it may take to listen.
const START: Duration = Duration::from_secs(20);

/// One HAProxy with its master process; killed with its workers when dropped.
#[derive(Debug)]
pub struct HaProxy {
    daemon: Option<Daemon>,
    port: u16,
    folder: TempDir,
}

impl HaProxy {
    /// Lays out its configuration and starts nothing yet: a frontend on a free port in front of `backend`, which [`HaProxy::file`] is to have.
    #[track_caller]
    #[must_use]
    pub fn prepare(backend: &str) -> Self {
        let haproxy = Self { daemon: None, port: ports::free(), folder: tempfile::tempdir().unwrap() };
        fs::write(haproxy.path("haproxy.cfg"), haproxy.configuration(backend)).unwrap();
        haproxy
    }

    /// The guide's configuration, with places of its own.
    fn configuration(&self, backend: &str) -> String {
        let (socket, port) = (self.socket(), self.port);
        format!(
            "global\n    stats socket {socket} mode 600 level admin expose-fd listeners\n\
             defaults\n    mode http\n    timeout connect 2s\n    timeout client 30s\n    timeout server 30s\n\
             frontend web\n    bind 127.0.0.1:{port}\n    default_backend {backend}\n"
        )
    }

    /// The program: `HAPROXY_BIN`, or `haproxy` of PATH.
    pub fn binary() -> Option<PathBuf> {
        if let Some(path) = env::var_os("HAPROXY_BIN").filter(|path| !path.is_empty()) {
            return Some(PathBuf::from(path));
        }
        env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join("haproxy")).find(|path| path.is_file())
    }

    /// Starts it, or starts it again after it was killed; returns when it listens.
    #[track_caller]
    pub fn start(&mut self) {
        self.kill();
        let Some(binary) = Self::binary() else {
            panic!("no HAProxy: set HAPROXY_BIN, put `haproxy` in PATH, or run `cargo xtask test`, which fetches it");
        };
        let mut haproxy = Command::new(binary);
        haproxy.args(["-W", "-S", &self.master_socket(), "-f", &self.path("haproxy.cfg"), "-f", &self.file()]);
        let mut daemon = Daemon::start("haproxy", &mut haproxy, self.folder.path());
        let (http, socket) = (self.http(), self.path("admin.sock"));
        eventually("HAProxy listens", START, || {
            assert!(daemon.is_running(), "HAProxy ended early:\n{}", daemon.last_words());
            let answers = http.get("/").is_ok();
            (answers && std::os::unix::net::UnixStream::connect(&socket).is_ok()).then_some(())
        });
        self.daemon = Some(daemon);
    }

    /// What is before it, for requests.
    pub fn http(&self) -> Http {
        Http::on(self.port)
    }

    /// The file of the backends, which it reads behind its own.
    pub fn file(&self) -> String {
        self.path("helium.cfg")
    }

    /// Its runtime API.
    pub fn socket(&self) -> String {
        self.path("admin.sock")
    }

    /// The socket of its master process.
    pub fn master_socket(&self) -> String {
        self.path("master.sock")
    }

    /// Its own configuration.
    pub fn own_file(&self) -> String {
        self.path("haproxy.cfg")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The answer of its runtime API to one line.
    #[track_caller]
    pub fn ask(&self, line: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::os::unix::net::UnixStream::connect(self.socket()).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Whether it takes the files that it is started from.
    #[track_caller]
    pub fn takes_its_files(&self) -> bool {
        let mut haproxy = Command::new(Self::binary().unwrap());
        haproxy.args(["-c", "-f", &self.own_file(), "-f", &self.file()]);
        command::run(&mut haproxy, "", START).code == 0
    }

    /// The pids of its workers.
    pub fn workers(&self) -> Vec<u32> {
        self.daemon.as_ref().map(|daemon| process::children(daemon.pid())).unwrap_or_default()
    }

    /// SIGKILL to it and its workers, as a crash of it.
    pub fn kill(&mut self) {
        let workers = self.workers();
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
        for worker in workers {
            process::kill(worker);
            eventually("a worker is gone", START, || (!process::is_alive(worker)).then_some(()));
        }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        for worker in self.workers() {
            process::kill(worker);
        }
    }
}
