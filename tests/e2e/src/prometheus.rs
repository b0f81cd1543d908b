//! A real Prometheus that finds what to scrape in a Consul, by the configuration that the guide shows.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{Consul, Daemon, Helium, Http, eventually, ports};

/// The longest that it may take to start, or to find and scrape a new instance.
const START: Duration = Duration::from_secs(30);
/// How often one that lost the race for its port is started on another.
const ATTEMPTS: usize = 3;
/// The guide whose configuration is the one that is run.
const GUIDE: &str = "docs/guides/metrics.md";

/// The name and the password of a Prometheus that asks for them. They guard a server of a test, on loopback.
pub const USER: &str = "helium";
/// See [`USER`].
pub const PASSWORD: &str = "open-sesame-47";
/// The password as Prometheus keeps it: bcrypt, in the fewest rounds that there are.
const PASSWORD_HASH: &str = "$2b$04$ygtjHZ2gC4Gs5x4T5/CUKOEfW1esr9IOct7jNrUMeTnhZ7hW6FaPq";

/// One Prometheus, killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    daemon: Daemon,
    port: u16,
    folder: TempDir,
    guarded: bool,
}

impl Prometheus {
    /// One that scrapes, once a second, what Helium runs by this Consul; ready for queries when this returns.
    #[track_caller]
    #[must_use]
    pub fn start(consul: &Consul) -> Self {
        Self::launch(consul, false)
    }

    /// The same, for those alone who know [`USER`] and [`PASSWORD`].
    #[track_caller]
    #[must_use]
    pub fn guarded(consul: &Consul) -> Self {
        Self::launch(consul, true)
    }

    /// The program: `PROMETHEUS_BIN`, or `prometheus` of PATH.
    pub fn binary() -> Option<PathBuf> {
        if let Some(path) = env::var_os("PROMETHEUS_BIN").filter(|path| !path.is_empty()) {
            return Some(PathBuf::from(path));
        }
        env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join("prometheus")).find(|path| path.is_file())
    }

    #[track_caller]
    fn launch(consul: &Consul, guarded: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("prometheus.yml"), configuration(&consul.address())).unwrap();
        let web = if guarded { format!("basic_auth_users: {{{USER}: {PASSWORD_HASH}}}\n") } else { String::new() };
        fs::write(folder.path().join("web.yml"), web).unwrap();
        let port = ports::free();
        let mut prometheus = Self { daemon: spawn(folder.path(), port), port, folder, guarded };
        for attempt in 1..=ATTEMPTS {
            if prometheus.is_up(attempt == ATTEMPTS) {
                break;
            }
            prometheus.port = ports::free();
            prometheus.daemon = spawn(prometheus.folder.path(), prometheus.port);
        }
        prometheus
    }

    /// Waits until it serves; false if it ended since its port was taken.
    #[track_caller]
    fn is_up(&mut self, last_attempt: bool) -> bool {
        let (http, guarded) = (self.http(), self.guarded);
        let Self { daemon, .. } = self;
        eventually("Prometheus is ready", START, || {
            if !daemon.is_running() {
                let taken = daemon.said().contains("address already in use");
                assert!(taken && !last_attempt, "Prometheus ended early:\n{}", daemon.last_words());
                return Some(false);
            }
            // A guarded one says nothing at all to strangers, and refuses them as soon as it listens.
            let ready = |status| status == 200 || guarded && status == 401;
            http.get("/-/ready").is_ok_and(|response| ready(response.status)).then_some(true)
        })
    }

    /// Where it is, as a spec names it: `http://127.0.0.1:12345`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The tests' own eyes on it.
    pub fn http(&self) -> Http {
        Http::on(self.port)
    }

    /// The number that a query gives: none if there is no series, or more than one, or if it does not answer.
    pub fn number(&self, query: &str) -> Option<f64> {
        let escape =
            |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let query: String = query.bytes().map(escape).collect();
        let answer = self.http().json(&format!("/api/v1/query?query={query}"));
        match answer["data"]["result"].as_array()?.as_slice() {
            [only] => only["value"][1].as_str()?.parse().ok(),
            _ => None,
        }
    }

    /// Waits until a query gives a number.
    #[track_caller]
    pub fn await_number(&self, query: &str, number: f64) {
        eventually(&format!("{query} is {number}"), START, || {
            self.number(query).filter(|found| (found - number).abs() < 1e-9)
        });
    }

    /// SIGSTOP: it takes connections and answers nothing.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts it again on the same port and over the same data; returns when it serves.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.daemon.kill();
        self.daemon = spawn(self.folder.path(), self.port);
        self.is_up(true);
    }
}

#[track_caller]
fn spawn(folder: &Path, port: u16) -> Daemon {
    let Some(binary) = Prometheus::binary() else {
        panic!(
            "no Prometheus: set PROMETHEUS_BIN, put `prometheus` in PATH, or run `cargo xtask test`, which fetches it"
        );
    };
    let mut command = Command::new(binary);
    let flag = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
    command
        .arg(flag("config.file", "prometheus.yml"))
        .arg(flag("web.config.file", "web.yml"))
        .arg(flag("storage.tsdb.path", "data"))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    Daemon::start("prometheus", &mut command, folder)
}

/// The configuration of the guide, with another Consul and no patience.
#[track_caller]
fn configuration(consul: &str) -> String {
    let guide = fs::read_to_string(Helium::source().join(GUIDE)).unwrap();
    let blocks = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let shown = blocks.into_iter().find(|block| block.contains("scrape_configs:"));
    let mut config = shown.unwrap_or_else(|| panic!("{GUIDE} shows no configuration of Prometheus")).to_owned();
    for (from, to) in [
        ("server: localhost:8500", format!("server: {consul}")),
        ("scrape_interval: 5s", "scrape_interval: 1s".to_owned()),
        ("refresh_interval: 5s", "refresh_interval: 1s".to_owned()),
    ] {
        assert!(config.contains(from), "the configuration in {GUIDE} has no `{from}` any more");
        config = config.replace(from, &to);
    }
    config
}
