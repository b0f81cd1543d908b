//! A real Consul agent for one test: a server in dev mode that is killed at the end.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use consul_client::{Client, Config, Read};

/// A running agent.
pub(crate) struct Consul {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Consul {
    /// Starts an agent and waits until it leads and knows itself.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        // All ports are held at once, so that they differ.
        let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, server, lan, wan] = held.map(|listener| listener.local_addr().unwrap().port().to_string());
        let child = Command::new(binary())
            .args(["agent", "-dev", "-node", "test", "-bind", "127.0.0.1", "-client", "127.0.0.1"])
            .args(["-dns-port=-1", "-grpc-port=-1", "-http-port", &http, "-server-port", &server])
            .args(["-serf-lan-port", &lan, "-serf-wan-port", &wan])
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        let consul = Self { child, address: format!("127.0.0.1:{http}"), _folder: folder };
        let client = consul.client();
        until("Consul knows itself", async || {
            let checks = client.health_node("test", &Read::default()).await;
            checks.is_ok_and(|reply| reply.value.iter().any(|check| check.check_id == "serfHealth"))
        })
        .await;
        consul
    }

    /// A client with connections of its own.
    pub(crate) fn client(&self) -> Client {
        Client::new(Config::at(self.address.parse().unwrap())).unwrap()
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    found.expect("this test needs Consul: set CONSUL_BIN, put `consul` on PATH, or run `cargo xtask test`")
}
