//! The servers that the cases run on, and what the cases do with them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use consul_client::{Address, CheckStatus, Client, Config, HttpTransport, Read, Transport};
use consul_embedded::Server;
use consul_embedded::checks::NetProber;
use futures::future::BoxFuture;
use helium_e2e::Consul;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// One case: its name is a sentence.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// It looks at what any write would change, so nothing else may write meanwhile.
    pub(crate) quiet: bool,
    pub(crate) run: fn(World) -> BoxFuture<'static, ()>,
}

/// The cases of a module, by the names of their functions; after `quiet` those that must run alone.
macro_rules! cases {
    ($($name:ident),* $(,)? ; quiet $($alone:ident),* $(,)?) => {
        pub(crate) fn cases() -> Vec<crate::world::Case> {
            vec![
                $(crate::world::Case { name: stringify!($name), quiet: false, run: |world| Box::pin($name(world)) },)*
                $(crate::world::Case { name: stringify!($alone), quiet: true, run: |world| Box::pin($alone(world)) },)*
            ]
        }
    };
}
pub(crate) use cases;

/// A server to try.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) client: Client,
    transport: Arc<dyn Transport>,
    token: Option<String>,
    /// Where it is served over HTTP, if it is.
    pub(crate) address: Option<String>,
    /// The node whose agent is asked.
    pub(crate) node: String,
}

/// Two servers of a kind: one for many cases at once, and one for those that must be alone, one after another.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) shared: World,
    pub(crate) alone: Arc<Mutex<World>>,
}

/// What a raw request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) index: Option<u64>,
    pub(crate) known_leader: Option<String>,
    pub(crate) body: Bytes,
}

impl Raw {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Status and words, for comparing refusals.
    pub(crate) fn says(&self) -> (u16, String) {
        (self.status, self.text())
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl World {
    async fn new(transport: Arc<dyn Transport>, address: Option<String>) -> Self {
        Self::with(transport, address, None).await
    }

    /// The same, asked with a token.
    pub(crate) async fn with(transport: Arc<dyn Transport>, address: Option<String>, token: Option<String>) -> Self {
        let client = Client::over(Arc::clone(&transport), token.clone());
        let node = client.agent_self().await.unwrap().node_name;
        Self { client, transport, token, address, node }
    }

    /// The same server, as the owner of another token sees it.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        let token = Some(token.to_owned());
        Self { client: Client::over(Arc::clone(&self.transport), token.clone()), token, ..self.clone() }
    }

    /// A name that no other case uses.
    #[allow(clippy::unused_self, reason = "names belong to the world in which they are used")]
    pub(crate) fn name(&self) -> String {
        format!("case-{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A key prefix that no other case uses, ending in a slash.
    pub(crate) fn prefix(&self) -> String {
        format!("parity/{}/", self.name())
    }

    /// Sends a request as it is. The path begins after `/v1/`.
    pub(crate) async fn raw(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Raw {
        let mut request = http::Request::builder().method(method).uri(format!("/v1/{path}"));
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            request = request.header("X-Consul-Token", token);
        }
        let request = request.body(body.into()).unwrap();
        let answer = self.transport.send(request).await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        Raw {
            status: answer.status().as_u16(),
            index: header("x-consul-index").map(|index| index.parse().unwrap()),
            known_leader: header("x-consul-knownleader"),
            body: answer.into_body(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Raw {
        self.raw("GET", path, "").await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Bytes>) -> Raw {
        self.raw("PUT", path, body).await
    }

    /// Writes a key.
    pub(crate) async fn set(&self, key: &str, value: &str) {
        assert_eq!(self.put(&format!("kv/{key}"), value.to_owned()).await.says(), (200, "true".into()));
    }

    /// The index that a read gives.
    pub(crate) async fn index(&self, path: &str) -> u64 {
        self.get(path).await.index.unwrap()
    }

    /// Reads with an index, acts when the read is under way, and tells how it ended.
    pub(crate) async fn block<F: Future>(&self, path: &str, index: u64, act: F) -> Blocked {
        let and = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{and}index={index}&wait=1200ms");
        let started = Instant::now();
        let read = async {
            let raw = self.get(&path).await;
            (raw, started.elapsed())
        };
        let act = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            act.await
        };
        let ((raw, took), _) = tokio::join!(read, act);
        Blocked { raw, took }
    }

    /// Whether a read past the present index is woken by an act.
    pub(crate) async fn wakes<F: Future>(&self, path: &str, act: F) -> bool {
        let index = self.index(path).await;
        let blocked = self.block(path, index, act).await;
        // Waking without a new index would be no waking but a wait that was cut short.
        assert_eq!(blocked.woke(), blocked.raw.index.unwrap() != index, "{path}: {blocked:?}");
        blocked.woke()
    }

    /// Registers a service with the agent and waits until the catalog has it.
    pub(crate) async fn register(&self, service: &Value) {
        let raw = self.put("agent/service/register", service.to_string()).await;
        assert_eq!(raw.status, 200, "{}", raw.text());
        let name = service["Name"].as_str().unwrap();
        let id = service["ID"].as_str().unwrap_or(name);
        self.until("the catalog has the service", || async {
            let found = self.client.catalog_service(name, &Read::default()).await.unwrap().value;
            found.iter().any(|instance| instance.service_id == id)
        })
        .await;
    }

    /// The status of a check in the catalog.
    pub(crate) async fn status_of(&self, check: &str) -> Option<CheckStatus> {
        let checks = self.client.health_node(&self.node, &Read::default()).await.unwrap().value;
        checks.iter().find(|own| own.check_id == check).map(|own| own.status)
    }

    /// Waits until a check has a status in the catalog.
    pub(crate) async fn until_status(&self, check: &str, status: CheckStatus) {
        self.until(&format!("{check} is {status}"), || async { self.status_of(check).await == Some(status) }).await;
    }

    /// Waits for a condition, at most a minute: agents carry their changes to the catalog a moment later, and on a machine with much to do
    /// the farewell of a client takes its time.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) {
        self.until_within(Duration::from_mins(1), what, holds).await;
    }

    /// Waits for a condition that may take longer.
    #[allow(clippy::unused_self, reason = "it waits for something of this world")]
    pub(crate) async fn until_within<F: Future<Output = bool>>(
        &self,
        limit: Duration,
        what: &str,
        holds: impl Fn() -> F,
    ) {
        let started = Instant::now();
        while !holds().await {
            assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Creates a session from JSON.
    pub(crate) async fn session(&self, request: &Value) -> String {
        let raw = self.put("session/create", request.to_string()).await;
        assert_eq!(raw.status, 200, "{}", raw.text());
        raw.json()["ID"].as_str().unwrap().to_owned()
    }

    /// Whether a session exists.
    pub(crate) async fn lives(&self, session: &str) -> bool {
        self.client.session_info(session, &Read::default()).await.unwrap().value.is_some()
    }

    /// One key as JSON; null if it does not exist.
    pub(crate) async fn entry(&self, key: &str) -> Value {
        self.get(&format!("kv/{key}")).await.json()[0].clone()
    }
}

/// How a blocking read ended.
#[derive(Debug)]
pub(crate) struct Blocked {
    pub(crate) raw: Raw,
    pub(crate) took: Duration,
}

impl Blocked {
    /// Whether it ended before its wait was over.
    pub(crate) fn woke(&self) -> bool {
        self.took < Duration::from_millis(1100)
    }
}

/// The servers under test.
pub(crate) struct Backends {
    pairs: Vec<(&'static str, Option<Pair>)>,
    /// Killed when dropped.
    _consuls: Vec<Consul>,
    _tasks: JoinSet<()>,
}

const NAMES: [&str; 3] = ["embedded", "embedded over HTTP", "Consul"];

impl Backends {
    /// None at all, to list the cases.
    pub(crate) fn listed() -> Self {
        let pairs = NAMES.into_iter().map(|name| (name, None)).collect();
        Self { pairs, _consuls: Vec::new(), _tasks: JoinSet::new() }
    }

    pub(crate) async fn start() -> Self {
        let mut tasks = JoinSet::new();
        let mut pairs: Vec<(&'static str, Option<Pair>)> = Vec::new();
        let direct = [embedded(&mut tasks), embedded(&mut tasks)];
        pairs.push((NAMES[0], Some(Pair::new(direct.map(|server| (server.transport(), None))).await)));
        let served = [serve(&mut tasks).await, serve(&mut tasks).await];
        pairs.push((NAMES[1], Some(Pair::new(served.map(over_http)).await)));
        let consuls = match Consul::binary() {
            Some(_) => tokio::task::spawn_blocking(|| vec![Consul::start(), Consul::start()]).await.unwrap(),
            None => Vec::new(),
        };
        let real = if let [one, two] = &consuls[..] {
            Some(Pair::new([one, two].map(|consul| over_http(consul.address()))).await)
        } else {
            eprintln!("parity: no consul program (CONSUL_BIN or PATH), so nothing is compared with a real Consul");
            None
        };
        pairs.push((NAMES[2], real));
        Self { pairs, _consuls: consuls, _tasks: tasks }
    }

    pub(crate) fn pairs(&self) -> &[(&'static str, Option<Pair>)] {
        &self.pairs
    }
}

impl Pair {
    async fn new([shared, alone]: [(Arc<dyn Transport>, Option<String>); 2]) -> Self {
        let (shared, alone) = (World::new(shared.0, shared.1).await, World::new(alone.0, alone.1).await);
        Self { shared, alone: Arc::new(Mutex::new(alone)) }
    }
}

/// Serves an embedded server over HTTP, and gives its address.
async fn serve(tasks: &mut JoinSet<()>) -> String {
    let server = embedded(tasks);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tasks.spawn(async move { server.serve_http(listener).await.unwrap() });
    address
}

fn embedded(tasks: &mut JoinSet<()>) -> Server {
    let server = Server::in_memory(&consul_embedded::Config::default());
    let runner = server.clone();
    tasks.spawn(async move { runner.run_checks(Arc::new(NetProber)).await });
    server
}

pub(crate) fn over_http(address: String) -> (Arc<dyn Transport>, Option<String>) {
    let (host, port) = address.rsplit_once(':').unwrap();
    let place = Address::Http { host: host.to_owned(), port: port.parse().unwrap() };
    (Arc::new(HttpTransport::new(&Config::at(place)).unwrap()), Some(address))
}
