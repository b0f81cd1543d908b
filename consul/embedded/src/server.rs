//! The server: a handle to one state, with the transports that reach it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use consul_client::{Transport, TransportError};
use futures::future::{BoxFuture, FutureExt as _};
use http::{Request, Response};

use crate::acl::AclTable;
use crate::journal::{Durability, Journal, OpenError};
use crate::router;
use crate::shared::{Shared, drive};
use crate::state::{Command, Node, Registration, Service, State, own_node};
use crate::{Entropy, real_entropy};

/// What a server is called and where it says it is.
#[derive(Clone)]
pub struct Config {
    /// The name of the node that it runs on.
    pub node: String,
    /// The address of that node.
    pub address: String,
    /// The datacenter.
    pub datacenter: String,
    /// Where session and node ids come from.
    pub entropy: Entropy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: "localhost".into(),
            address: "127.0.0.1".into(),
            datacenter: "dc1".into(),
            entropy: real_entropy(),
        }
    }
}

/// A server of one machine. Clones are handles to the same; it lives as long as any of them.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// A server that forgets everything at its end. Must be called inside a tokio runtime, which drives its timers.
    pub fn in_memory(config: &Config) -> Self {
        Self::from_state(State::new(&config.datacenter), config)
    }

    /// A server [in memory](Server::in_memory) that goes on from a state, agents and all.
    pub fn from_state(mut state: State, config: &Config) -> Self {
        state.rearm(std::time::Duration::ZERO);
        Self::start(Shared::new(state, config.node.clone(), None, Arc::clone(&config.entropy)), config)
    }

    /// A server that keeps its data in a folder, which is made if it does not exist. After a restart everything is as
    /// it was, except that sessions and TTL checks get their whole time anew, lock delays are over, and the checks of the
    /// server's own agent that ask something are critical and say nothing until they were asked again. Writes go to disk while
    /// they are made, on the calling thread. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] if another server uses the folder, or its files cannot be read or are damaged.
    pub fn open(folder: &Path, config: &Config, durability: Durability) -> Result<Self, OpenError> {
        let (mut journal, state) = Journal::open(folder, durability)?;
        let state = state.unwrap_or_else(|| State::new(&config.datacenter));
        let failed = |error| OpenError::Io { path: folder.to_owned(), error };
        journal.compact(&state).map_err(failed)?;
        Ok(Self::start(Shared::new(state, config.node.clone(), Some(journal), Arc::clone(&config.entropy)), config))
    }

    fn start(shared: Shared, config: &Config) -> Self {
        let server = Self { shared: Arc::new(shared) };
        server.join(&config.node, &config.address);
        server.register_itself(config);
        tokio::spawn(drive(Arc::downgrade(&server.shared)));
        server
    }

    /// Puts the service `consul` in the catalog, as every Consul server does.
    fn register_itself(&self, config: &Config) {
        let service = Service {
            id: "consul".into(),
            service: "consul".into(),
            meta: Some([("version".to_owned(), "1.8.7".to_owned())].into()),
            port: 8300,
            ..Service::default()
        };
        let node = Node { node: config.node.clone(), ..Node::default() };
        let command = Command::Register(Registration {
            node,
            skip_node_update: true,
            service: Some(service),
            checks: Vec::new(),
        });
        self.apply(&command);
    }

    /// The node that the server runs on.
    pub fn own_node(&self) -> &str {
        &self.shared.node
    }

    /// A transport to the agent of the server's own node.
    pub fn transport(&self) -> Arc<dyn Transport> {
        self.transport_as(&self.shared.node)
    }

    /// A transport to the agent of a node that was [joined](Server::join): its requests fail to connect while that agent is not part of the
    /// cluster.
    pub fn transport_as(&self, node: &str) -> Arc<dyn Transport> {
        Arc::new(Direct { server: self.clone(), node: node.to_owned() })
    }

    /// Answers one request as the server's own agent.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        router::answer(&self.shared, &self.shared.node, request).await
    }

    /// Adds a node with an agent, or brings one back as after a restart of its Consul: it registers itself and what
    /// its agent knows, and checks that ask something are critical and say nothing until they were asked again.
    pub fn join(&self, node: &str, address: &str) {
        let known = self.shared.look(|state| state.agent(node).map(|agent| agent.node().id.clone()));
        let id = known.ok().and_then(Result::ok).unwrap_or_else(|| self.shared.uuid());
        self.apply(&Command::Join(own_node(node, &id, address, &self.shared.datacenter)));
    }

    /// A node says farewell, as a Consul client does when it is stopped: its entries leave the catalog, its sessions end, and
    /// its agent answers nobody until it [joins](Server::join) again.
    pub fn leave(&self, node: &str) {
        self.apply(&Command::Leave { node: node.to_owned() });
    }

    /// The agent of a node dies without a farewell: it answers nobody, its `serfHealth` is critical and its sessions end, and its entries stay
    /// in the catalog as they were until it [joins](Server::join) again.
    pub fn crash(&self, node: &str) {
        self.apply(&Command::Crash { node: node.to_owned() });
    }

    /// Says whether a node answers its peers: when not, its `serfHealth` is critical and its sessions end.
    pub fn set_reachable(&self, node: &str, alive: bool) {
        self.apply(&Command::Reachable { node: node.to_owned(), alive });
    }

    /// Applies a command outside HTTP. What it says is in the log only: these commands are refused for nothing but a
    /// node that never joined.
    fn apply(&self, command: &Command) {
        if let Err(failure) = self.shared.commit(command) {
            tracing::warn!(words = failure.words, ?command, "refused");
        }
    }

    /// Gives tokens rights; `None` gives every token all rights.
    pub fn set_acl(&self, table: Option<AclTable>) {
        self.shared.set_acl(table);
    }

    /// The rights of tokens as they are now; none if every token may do all.
    pub fn acl(&self) -> Option<AclTable> {
        self.shared.acl()
    }

    /// A copy of the state.
    pub fn state(&self) -> State {
        self.shared.look(State::clone).unwrap_or_else(|_| State::new(&self.shared.datacenter))
    }

    /// Looks at the state.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> Option<T> {
        self.shared.look(look).ok()
    }

    /// Puts an older state back, as restoring a snapshot does: readers see older indexes, and those who are blocked are
    /// sent away with what they saw last. What agents know stays, and they put the catalog right within a minute.
    pub fn restore(&self, older: State) {
        if let Err(failure) = self.shared.replace(older) {
            tracing::warn!(words = failure.words, "the state was not restored");
        }
    }

    /// The index of the last change.
    pub fn index(&self) -> u64 {
        self.with_state(State::index).unwrap_or(0)
    }

    /// How many reads are blocked now.
    pub fn blocked_reads(&self) -> usize {
        self.shared.blocked()
    }

    /// Takes what the runner of checks found. A check that went in the meantime is no matter.
    pub(crate) fn report(&self, command: &Command) {
        if let Err(failure) = self.shared.commit(command) {
            tracing::debug!(words = failure.words, "a result of a check came to nothing");
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Calls the router without any socket.
struct Direct {
    server: Server,
    node: String,
}

impl Transport for Direct {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Bytes>, TransportError>> {
        async move {
            let connected = |state: &State| state.agent(&self.node).is_ok_and(crate::state::Agent::is_connected);
            if self.server.with_state(connected) == Some(false) {
                let reason = "the agent is not running".to_owned();
                return Err(TransportError::Connect { address: self.node.clone(), reason });
            }
            Ok(router::answer(&self.server.shared, &self.node, request).await)
        }
        .boxed()
    }
}
