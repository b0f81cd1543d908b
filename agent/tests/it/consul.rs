//! A real Consul for one test: a development server on free ports of the loopback.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use consul_client::{Address, Client, Config};
use rustix::process::{Pid, Signal, kill_process};

use crate::world::until;

/// A running Consul, killed when it is dropped.
pub(crate) struct Consul {
    child: Child,
    ports: [u16; 4],
    pub(crate) address: String,
    pub(crate) client: Client,
}

/// The program: `CONSUL_BIN`, or the one in PATH.
fn program() -> PathBuf {
    if let Some(given) = std::env::var_os("CONSUL_BIN") {
        return given.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("consul"))
        .find(|file| file.is_file())
        .expect("these tests need the program `consul`: put it in PATH, or name it in CONSUL_BIN")
}

fn free_ports() -> [u16; 4] {
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

pub(crate) fn client(address: &str) -> Client {
    let (host, port) = address.split_once(':').unwrap();
    let address = Address::Http { host: host.to_owned(), port: port.parse().unwrap() };
    Client::new(Config { address, request_timeout: Duration::from_secs(5), ..Config::default() }).unwrap()
}

fn spawn([http, server, lan, wan]: [u16; 4]) -> Child {
    Command::new(program())
        .args(["agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-dns-port=-1", "-grpc-port=-1"])
        .args([format!("-http-port={http}"), format!("-server-port={server}")])
        .args([format!("-serf-lan-port={lan}"), format!("-serf-wan-port={wan}"), format!("-node=consul-{http}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("consul cannot be started")
}

impl Consul {
    /// Starts a Consul and waits until it leads.
    pub(crate) async fn start() -> Self {
        let ports = free_ports();
        let address = format!("127.0.0.1:{}", ports[0]);
        let consul = Self { child: spawn(ports), ports, client: client(&address), address };
        consul.leads().await;
        consul
    }

    /// Kills it and starts another in its place, which knows nothing.
    pub(crate) async fn replace(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.ports);
        self.leads().await;
    }

    async fn leads(&self) {
        until("consul leads", || async {
            self.client.kv_put("ready", "yes", &consul_client::Put::default()).await.ok().filter(|done| *done)
        })
        .await;
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it, so that it answers nobody.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
