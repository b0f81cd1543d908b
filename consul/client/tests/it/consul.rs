//! A Consul agent for the tests, started once and stopped when the test program ends.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use consul_client::{Address, Client, Config, Read};

/// A running agent; it stops when this value or the test program ends.
pub(crate) struct Consul {
    address: String,
    pub(crate) socket: PathBuf,
    _folder: tempfile::TempDir,
    _guard: Child,
}

impl Consul {
    /// Starts an agent in dev mode with additional configuration in HCL.
    pub(crate) fn start(hcl: &str) -> Self {
        Self::launch(&["-dev"], hcl)
    }

    /// Starts one server of two: it never gets a leader.
    pub(crate) fn start_leaderless() -> Self {
        Self::launch(&["-server", "-bootstrap-expect=2"], "")
    }

    /// Starts an agent that knows no server.
    pub(crate) fn start_serverless() -> Self {
        Self::launch(&[], "")
    }

    fn launch(mode: &[&str], hcl: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("http.sock");
        let ports = free_ports();
        let [http, server, lan, wan] = ports.map(|port| port.to_string());
        let addresses = format!("addresses {{ http = \"127.0.0.1 unix://{}\" }}\n{hcl}", socket.display());
        // The shell holds the agent: when this program ends, however it ends, `cat` sees the end of its input.
        let script = r#""$@" >"$LOG" 2>&1 & agent=$!; cat >/dev/null; kill "$agent"; wait "$agent""#;
        let guard = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(binary())
            .arg("agent")
            .args(mode)
            .args(["-node", "test", "-bind", "127.0.0.1", "-dns-port=-1", "-grpc-port=-1"])
            .args(["-http-port", &http, "-server-port", &server, "-serf-lan-port", &lan, "-serf-wan-port", &wan])
            .args(["-hcl", &addresses])
            .args((!mode.contains(&"-dev")).then(|| format!("-data-dir={}", folder.path().join("data").display())))
            .env("LOG", folder.path().join("log"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { address: format!("127.0.0.1:{http}"), socket, _folder: folder, _guard: guard }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Address {
        self.address.parse().unwrap()
    }

    /// A client over TCP.
    pub(crate) fn client(&self) -> Client {
        Client::new(Config::at(self.address())).unwrap()
    }

    /// Waits until there is a leader.
    pub(crate) async fn led(&self) -> &Self {
        let client = self.client();
        until("Consul has a leader", async || client.status_leader().await.is_ok_and(|leader| !leader.is_empty()))
            .await;
        self
    }
}

/// The agent that all tests share, ready, with its node registered.
pub(crate) async fn shared() -> Client {
    let client = instance().led().await.client();
    let read = Read::default();
    until("the node is registered", async || {
        client
            .health_node("test", &read)
            .await
            .is_ok_and(|reply| reply.value.iter().any(|c| c.check_id == "serfHealth"))
    })
    .await;
    client
}

/// The agent that all tests share.
pub(crate) fn instance() -> &'static Consul {
    static SHARED: OnceLock<Consul> = OnceLock::new();
    SHARED.get_or_init(|| Consul::start(""))
}

/// Waits for a condition, at most 20 s.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited 20 s in vain until {what}");
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CONSUL_BIN") {
        return PathBuf::from(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("consul")).find(|file| file.is_file());
    found.expect(
        "these tests need Consul: name the program in CONSUL_BIN, put `consul` on PATH, or run `cargo xtask test`",
    )
}

fn free_ports() -> [u16; 4] {
    // All are held at once, so that they differ.
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
