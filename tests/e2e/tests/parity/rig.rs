//! A server of a case's own, embedded or real, and what is done to it as a whole: rights, snapshots, restarts, and clients that
//! come, leave and fall silent.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use consul_embedded::checks::NetProber;
use consul_embedded::state::State;
use consul_embedded::{Access, AclTable, Config, Durability, OpenError, Rules, Server, seeded_entropy};
use futures::future::BoxFuture;
use helium_e2e::{Consul, Options};
use tempfile::TempDir;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::Instant;

use crate::world::{World, over_http};

/// The token that may do everything on an embedded server with rights.
const ROOT: &str = "root";

/// One case on a server of its own: its name is a sentence.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) run: fn(Rig) -> BoxFuture<'static, ()>,
}

/// What a case needs of its server.
#[derive(Clone, Copy, Default)]
pub(crate) struct Needs {
    /// Tokens, and nothing allowed without one.
    pub(crate) rights: bool,
    /// State that outlives the process.
    pub(crate) durable: bool,
}

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Embedded,
    Consul,
}

/// A server.
pub(crate) struct Rig {
    backend: Backend,
    tasks: JoinSet<()>,
}

enum Backend {
    Embedded { server: Server, folder: TempDir, table: AclTable },
    Consul { consul: Box<Consul>, clients: BTreeMap<String, Consul> },
}

/// A state to go back to.
#[derive(Clone)]
pub(crate) enum Snapshot {
    Embedded(Box<State>),
    Consul(Vec<u8>),
}

fn embedded() -> Config {
    Config { node: "server".to_owned(), entropy: seeded_entropy(11), ..Config::default() }
}

/// The table of rights of which `table` is what was given to tokens.
fn with_root(table: &AclTable) -> AclTable {
    let mut table = table.clone();
    table.insert(ROOT.to_owned(), Rules::all());
    table
}

impl Rig {
    /// Starts a server. The real one is the harness's, which blocks.
    pub(crate) async fn start(kind: Kind, needs: Needs) -> Self {
        let mut tasks = JoinSet::new();
        let backend = match kind {
            Kind::Embedded => {
                let folder = tempfile::tempdir().unwrap();
                let server = open(&folder, needs.durable, &mut tasks).await;
                if needs.rights {
                    server.set_acl(Some(with_root(&AclTable::new())));
                }
                Backend::Embedded { server, folder, table: AclTable::new() }
            }
            Kind::Consul => {
                let options = Options { durable: needs.durable, default_deny: needs.rights, ..Options::default() };
                let consul = Box::new(block_in_place(|| Consul::with(options)));
                Backend::Consul { consul, clients: BTreeMap::new() }
            }
        };
        Self { backend, tasks }
    }

    /// The server, as somebody sees it who may do everything.
    pub(crate) async fn world(&self) -> World {
        match &self.backend {
            Backend::Embedded { server, .. } => World::with(server.transport(), None, Some(ROOT.to_owned())).await,
            Backend::Consul { consul, .. } => {
                let (transport, address) = over_http(consul.address());
                World::with(transport, address, consul.management_token().map(str::to_owned)).await
            }
        }
    }

    /// A new token with these rights.
    pub(crate) fn token(&mut self, name: &str, rules: &Rules) -> String {
        self.set_rights(name, rules);
        match &self.backend {
            Backend::Embedded { .. } => name.to_owned(),
            Backend::Consul { consul, .. } => block_in_place(|| consul.token(name)),
        }
    }

    /// Gives the token `name` other rights.
    pub(crate) fn set_rights(&mut self, name: &str, rules: &Rules) {
        match &mut self.backend {
            Backend::Embedded { server, table, .. } => {
                table.insert(name.to_owned(), rules.clone());
                server.set_acl(Some(with_root(table)));
            }
            Backend::Consul { consul, .. } => block_in_place(|| consul.set_policy(name, &policy(rules))),
        }
    }

    /// The whole state as it is now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        match &self.backend {
            Backend::Embedded { server, .. } => Snapshot::Embedded(Box::new(server.state())),
            Backend::Consul { consul, .. } => Snapshot::Consul(block_in_place(|| consul.snapshot())),
        }
    }

    /// Goes back to a state.
    pub(crate) fn restore(&self, snapshot: Snapshot) {
        match (&self.backend, snapshot) {
            (Backend::Embedded { server, .. }, Snapshot::Embedded(state)) => server.restore(*state),
            (Backend::Consul { consul, .. }, Snapshot::Consul(bytes)) => block_in_place(|| consul.restore(&bytes)),
            _ => panic!("a snapshot of the other server"),
        }
    }

    /// Kills the server and starts it again over its state.
    pub(crate) async fn restart(&mut self) -> World {
        match &mut self.backend {
            Backend::Embedded { server, folder, .. } => {
                self.tasks.shutdown().await;
                *server = Server::in_memory(&embedded());
                *server = open(folder, true, &mut self.tasks).await;
            }
            Backend::Consul { consul, .. } => block_in_place(|| {
                consul.kill();
                consul.start_again();
            }),
        }
        self.world().await
    }

    /// A client agent joins; what it is asked goes to its own node.
    pub(crate) async fn join(&mut self, node: &str) -> World {
        match &mut self.backend {
            Backend::Embedded { server, .. } => {
                server.join(node, "127.0.0.1");
                World::with(server.transport_as(node), None, None).await
            }
            Backend::Consul { consul, clients } => {
                let client = block_in_place(|| consul.client(node));
                let (transport, address) = over_http(client.address());
                clients.insert(node.to_owned(), client);
                World::with(transport, address, None).await
            }
        }
    }

    /// A client agent is stopped in order.
    pub(crate) fn leave(&mut self, node: &str) {
        match &mut self.backend {
            Backend::Embedded { server, .. } => server.leave(node),
            Backend::Consul { clients, .. } => block_in_place(|| clients.get_mut(node).unwrap().terminate()),
        }
    }

    /// A client agent is killed.
    pub(crate) fn crash(&mut self, node: &str) {
        match &mut self.backend {
            Backend::Embedded { server, .. } => server.crash(node),
            Backend::Consul { clients, .. } => block_in_place(|| clients.get_mut(node).unwrap().kill()),
        }
    }

    /// A client agent that left or was killed is started again.
    pub(crate) fn come_back(&mut self, node: &str) {
        match &mut self.backend {
            Backend::Embedded { server, .. } => server.join(node, "127.0.0.1"),
            Backend::Consul { clients, .. } => block_in_place(|| clients.get_mut(node).unwrap().start_again()),
        }
    }

    /// A client agent answers nobody any more, without a farewell.
    pub(crate) fn fall_silent(&mut self, node: &str) {
        match &mut self.backend {
            Backend::Embedded { server, .. } => server.set_reachable(node, false),
            Backend::Consul { clients, .. } => clients[node].freeze(),
        }
    }
}

async fn open(folder: &TempDir, durable: bool, tasks: &mut JoinSet<()>) -> Server {
    let server = if durable { reopen(folder).await } else { Server::in_memory(&embedded()) };
    let runner = server.clone();
    tasks.spawn(async move { runner.run_checks(Arc::new(NetProber)).await });
    server
}

/// The folder is locked until the last handle of a server before is gone: those of its checks go a moment after it.
async fn reopen(folder: &TempDir) -> Server {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Server::open(folder.path(), &embedded(), Durability::OperatingSystem) {
            Err(OpenError::Locked(_)) if Instant::now() < deadline => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

/// The rules of a real Consul that come to the same.
fn policy(rules: &Rules) -> String {
    let word = |access: Access| match access {
        Access::Deny => "deny",
        Access::Read => "read",
        Access::Write => "write",
    };
    let mut text = String::new();
    for (prefix, access) in &rules.keys {
        writeln!(text, "key_prefix {prefix:?} {{ policy = {:?} }}", word(*access)).unwrap();
    }
    for resource in ["service_prefix", "node_prefix", "agent_prefix"] {
        writeln!(text, "{resource} \"\" {{ policy = {:?} }}", word(rules.catalog)).unwrap();
    }
    writeln!(text, "session_prefix \"\" {{ policy = {:?} }}", word(rules.sessions)).unwrap();
    text
}
