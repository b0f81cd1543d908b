//! Real Consul agents: one server or several, clients that join it, and what a test does to them.

use std::{
    collections::BTreeMap,
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Daemon, Http, eventually, ports};

/// The longest that an agent may take to start and to know its leader; a durable server elects itself in about 2 s.
const START: Duration = Duration::from_mins(1);
/// How often an agent that lost the race for a port is started on others.
const ATTEMPTS: usize = 3;
/// The token that may do everything where ACLs are on. It guards a server of a test, on loopback.
const MANAGEMENT: &str = "b1946ac9-2e1c-4ed0-8b4f-a5d5a3e8f001";

/// How a server is to be started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Keep the state on disk, so that it survives a restart.
    pub durable: bool,
    /// ACLs on, with default deny: only [`Consul::http`] may do everything.
    pub default_deny: bool,
    /// The address of its node, which its API does not share: `127.0.0.1` unless another one is given.
    pub address: Option<Ipv4Addr>,
    /// How many servers elect a leader among them; 0 and 1 are the same.
    pub servers: usize,
    /// How many connections one address may have: Consul's own 200 unless another number is given.
    pub connections: Option<u32>,
}

impl Options {
    fn address(&self) -> Ipv4Addr {
        self.address.unwrap_or(Ipv4Addr::LOCALHOST)
    }

    /// Whether it needs a folder and a voice in an election, which `-dev` has not.
    fn has_raft_on_disk(&self) -> bool {
        self.durable || self.servers > 1
    }
}

/// One Consul agent, killed when dropped.
#[derive(Debug)]
pub struct Consul {
    daemon: Daemon,
    settings: Settings,
    folder: TempDir,
}

/// What an agent is started with; the same again at a restart.
#[derive(Clone, Debug)]
struct Settings {
    node: String,
    role: Role,
    options: Options,
    ports: Ports,
    /// The Serf ports of the agents to join.
    join: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    http: u16,
    server: u16,
    serf: u16,
}

impl Ports {
    fn free() -> Self {
        Self { http: ports::free(), server: ports::free(), serf: ports::free() }
    }
}

impl Consul {
    /// A server in memory without ACLs: fastest to start.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// A server that leads when this returns.
    #[track_caller]
    pub fn with(options: Options) -> Self {
        let [server] = Self::launch(&["server"], Role::Server, options, &[]).try_into().unwrap();
        server
    }

    /// Three durable servers that have elected a leader among them; each answers for the cluster.
    #[track_caller]
    #[must_use]
    pub fn cluster() -> [Self; 3] {
        let options = Options { durable: true, servers: 3, ..Options::default() };
        Self::launch(&["server-1", "server-2", "server-3"], Role::Server, options, &[]).try_into().unwrap()
    }

    /// A client agent that has joined this server and is in its catalog; `node` is its name there.
    #[track_caller]
    #[must_use]
    pub fn client(&self, node: &str) -> Self {
        let join = [self.settings.ports.serf];
        let [client] = Self::launch(&[node], Role::Client, self.settings.options, &join).try_into().unwrap();
        client.is_settled(self);
        client
    }

    /// Waits until a client's own view of itself is in the catalog of `server`.
    ///
    /// The server writes a bare entry as soon as it hears of the client; the addresses come with the client's first own sync, and a client
    /// that leaves before it would be put back by it.
    #[track_caller]
    fn is_settled(&self, server: &Consul) {
        let node = &self.settings.node;
        eventually(&format!("{node} is in the catalog with its serfHealth passing"), START, || {
            let checks = server.http().json(&format!("/v1/health/node/{node}"));
            let entry = server.http().json(&format!("/v1/catalog/node/{node}"));
            let synced = entry["Node"]["TaggedAddresses"]["lan"].is_string();
            (synced && checks[0]["Status"] == "passing").then_some(())
        });
    }

    /// The program: `CONSUL_BIN`, or `consul` of PATH.
    pub fn binary() -> Option<PathBuf> {
        if let Some(path) = env::var_os("CONSUL_BIN").filter(|path| !path.is_empty()) {
            return Some(PathBuf::from(path));
        }
        env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join("consul")).find(|path| path.is_file())
    }

    /// Starts agents that join each other and those at the ports `join`; returns when each of them knows a leader.
    #[track_caller]
    fn launch(nodes: &[&str], role: Role, options: Options, join: &[u16]) -> Vec<Self> {
        for attempt in 1..=ATTEMPTS {
            let ports: Vec<Ports> = nodes.iter().map(|_| Ports::free()).collect();
            let peers = ports.iter().map(|ports| ports.serf).filter(|_| nodes.len() > 1);
            let join: Vec<u16> = join.iter().copied().chain(peers).collect();
            let start = |(node, ports): (&&str, Ports)| {
                let settings = Settings { node: (*node).to_owned(), role, options, ports, join: join.clone() };
                let folder = tempfile::tempdir().unwrap();
                Self { daemon: spawn(&settings, folder.path()), settings, folder }
            };
            let mut agents: Vec<Self> = nodes.iter().zip(ports).map(start).collect();
            if agents.iter_mut().all(|agent| agent.is_up(attempt == ATTEMPTS)) {
                return agents;
            }
        }
        panic!("Consul found no free ports in {ATTEMPTS} attempts");
    }

    /// Waits until the agent knows a leader and serves; false if it ended since a port was taken.
    #[track_caller]
    fn is_up(&mut self, last_attempt: bool) -> bool {
        let http = self.http();
        let Self { daemon, .. } = self;
        eventually("Consul knows its leader and its own node", START, || {
            if !daemon.is_running() {
                let taken = daemon.said().contains("address already in use");
                assert!(taken && !last_attempt, "Consul ended early:\n{}", daemon.last_words());
                return Some(false);
            }
            let leader = http.json("/v1/status/leader");
            let led = leader.as_str().is_some_and(|address| !address.is_empty());
            let known = http.json("/v1/catalog/nodes").as_array().is_some_and(|nodes| !nodes.is_empty());
            (led && known).then_some(true)
        })
    }

    /// Its API; where ACLs are on with the token that may do everything.
    pub fn http(&self) -> Http {
        let http = Http::on(self.settings.ports.http);
        if self.settings.options.default_deny { http.with_token(MANAGEMENT) } else { http }
    }

    /// The address of its API, as `CONSUL_HTTP_ADDR` takes it: `127.0.0.1:20123`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.settings.ports.http)
    }

    /// The port of its API.
    pub fn port(&self) -> u16 {
        self.settings.ports.http
    }

    /// The token that may do everything; none where ACLs are off.
    pub fn management_token(&self) -> Option<&'static str> {
        self.settings.options.default_deny.then_some(MANAGEMENT)
    }

    /// Whether it is the server that leads its cluster.
    pub fn leads(&self) -> bool {
        let Settings { options, ports, .. } = &self.settings;
        self.http().json("/v1/status/leader") == format!("{}:{}", options.address(), ports.server)
    }

    /// The pid of the agent.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// SIGSTOP: it holds its connections and answers nothing.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// SIGKILL, as a crash of the machine.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// SIGTERM; a client leaves the cluster by it, a server does not.
    pub fn terminate(&mut self) {
        self.daemon.terminate(Duration::from_secs(30));
    }

    /// Starts it again on the same ports and, if durable, with its state; returns when it knows a leader.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.daemon.kill();
        self.daemon = spawn(&self.settings, self.folder.path());
        self.is_up(true);
    }

    /// The whole state, as `consul snapshot save` has it.
    pub fn snapshot(&self) -> Vec<u8> {
        let response = self.http().get("/v1/snapshot").unwrap();
        assert_eq!(response.status, 200, "GET /v1/snapshot: {}", response.text());
        response.body
    }

    /// Goes back to an older state, as `consul snapshot restore` does.
    pub fn restore(&self, snapshot: &[u8]) {
        self.http().put("/v1/snapshot", snapshot);
    }

    /// Creates or changes the policy `name`.
    pub fn set_policy(&self, name: &str, rules: &str) {
        let known = self.http().json("/v1/acl/policies");
        let id = known.as_array().into_iter().flatten().find(|p| p["Name"] == name).and_then(|p| p["ID"].as_str());
        let path = id.map_or("/v1/acl/policy".to_owned(), |id| format!("/v1/acl/policy/{id}"));
        self.http().put(&path, json!({ "Name": name, "Rules": rules }).to_string());
    }

    /// A new token with one policy, which [`Consul::set_policy`] has made: its secret.
    pub fn token(&self, policy: &str) -> String {
        let body = json!({ "Description": policy, "Policies": [{ "Name": policy }] }).to_string();
        self.http().put("/v1/acl/token", body).json()["SecretID"].as_str().unwrap().to_owned()
    }

    /// The value of a key as JSON; `null` if there is none.
    pub fn value(&self, key: &str) -> Value {
        self.http().json(&format!("/v1/kv/{key}?raw"))
    }

    /// All keys under a prefix; none where there are none.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = self.http().json(&format!("/v1/kv/{prefix}?keys"));
        keys.as_array().into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned)).collect()
    }

    /// What changed last under a prefix: the highest `ModifyIndex` of its keys, and how many there are.
    pub fn fingerprint(&self, prefix: &str) -> (u64, usize) {
        let pairs = self.http().json(&format!("/v1/kv/{prefix}?recurse"));
        let indexes: Vec<u64> =
            pairs.as_array().into_iter().flatten().filter_map(|p| p["ModifyIndex"].as_u64()).collect();
        (indexes.iter().copied().max().unwrap_or(0), indexes.len())
    }

    /// The `ModifyIndex` of each key under the prefixes, by key: what two looks have in common has not been written between.
    pub fn indexes(&self, prefixes: &[String]) -> BTreeMap<String, u64> {
        let mut indexes = BTreeMap::new();
        for prefix in prefixes {
            let pairs = self.http().json(&format!("/v1/kv/{prefix}?recurse"));
            for pair in pairs.as_array().into_iter().flatten() {
                let (key, index) = (pair["Key"].as_str(), pair["ModifyIndex"].as_u64());
                indexes.extend(key.zip(index).map(|(key, index)| (key.to_owned(), index)));
            }
        }
        indexes
    }

    /// How many instances of a service pass all their checks.
    pub fn passing(&self, service: &str) -> usize {
        self.http().json(&format!("/v1/health/service/{service}?passing")).as_array().map_or(0, Vec::len)
    }
}

#[track_caller]
fn spawn(settings: &Settings, folder: &Path) -> Daemon {
    let Some(binary) = Consul::binary() else {
        panic!("no Consul: set CONSUL_BIN, put `consul` in PATH, or run `cargo xtask test`, which fetches it");
    };
    let config = folder.join("config.json");
    fs::write(&config, configuration(settings, folder).to_string()).unwrap();
    let mut command = Command::new(binary);
    command.arg("agent").arg("-config-file").arg(&config).env_remove("CONSUL_HTTP_TOKEN");
    if settings.role == Role::Server && !settings.options.has_raft_on_disk() {
        command.arg("-dev");
    }
    Daemon::start(&format!("consul-{}", settings.node), &mut command, folder)
}

fn configuration(settings: &Settings, folder: &Path) -> Value {
    let Settings { node, role, options, ports, join } = settings;
    let mut config = json!({
        "node_name": node,
        "bind_addr": options.address(),
        "client_addr": "127.0.0.1",
        "data_dir": folder.join("data"),
        "disable_update_check": true,
        "log_level": "info",
        "ports": { "http": ports.http, "server": ports.server, "serf_lan": ports.serf,
                   "serf_wan": -1, "dns": -1, "grpc": -1 },
        // The timings of a local network: a lost client is noticed in seconds.
        "gossip_lan": { "probe_interval": "100ms", "probe_timeout": "100ms", "suspicion_mult": 3,
                        "gossip_interval": "20ms" },
        "performance": { "raft_multiplier": 1 },
    });
    let fields = config.as_object_mut().unwrap();
    if !join.is_empty() {
        let address = options.address();
        let places: Vec<String> = join.iter().map(|serf| format!("{address}:{serf}")).collect();
        fields.insert("retry_join".to_owned(), json!(places));
        fields.insert("retry_interval".to_owned(), json!("1s"));
    }
    if let Some(connections) = options.connections {
        fields.insert("limits".to_owned(), json!({ "http_max_conns_per_client": connections }));
    }
    if *role == Role::Client {
        fields.insert("leave_on_terminate".to_owned(), json!(true));
    } else {
        fields.insert("server".to_owned(), json!(true));
        if options.has_raft_on_disk() {
            fields.insert("bootstrap_expect".to_owned(), json!(options.servers.max(1)));
        }
    }
    if options.default_deny {
        let tokens = json!({ "master": MANAGEMENT, "agent": MANAGEMENT });
        fields.insert("acl".to_owned(), json!({ "enabled": true, "default_policy": "deny", "tokens": tokens }));
        fields.insert("primary_datacenter".to_owned(), json!("dc1"));
    }
    config
}
