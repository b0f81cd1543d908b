//! A keeper between a real Consul and a real HAProxy, in this process.

mod keeper;
mod socket;

use std::{path::PathBuf, time::Duration};

use consul_client::{Client, Config};
use helium_e2e::{Consul, HaProxy};
use helium_runtime::{
    ports::Ports,
    shutdown::{Shutdown, Trigger},
};
use helium_traffic::{
    Keeper, KeeperConfig, Reload, Socket, Trouble,
    haproxy::{Slot, SlotState},
};
use tokio::task::JoinHandle;

/// The longest that anything here may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A keeper of the service `web`, with two slots at a time.
pub(crate) fn config(haproxy: &HaProxy) -> KeeperConfig {
    KeeperConfig {
        backends: vec!["web".parse().unwrap()],
        file: PathBuf::from(haproxy.file()),
        mode: helium_traffic::file::Mode::Http,
        slots: 2,
        socket: Some(haproxy.socket().parse().unwrap()),
        reload: None,
        check: None,
        patience: Duration::from_mins(2),
    }
}

/// The same, by whose command HAProxy reads its files again.
pub(crate) fn reloading(haproxy: &HaProxy) -> KeeperConfig {
    let master: Socket = haproxy.master_socket().parse().unwrap();
    KeeperConfig { reload: Some(Reload::Master(master)), ..config(haproxy) }
}

/// A client of a Consul.
pub(crate) fn client(consul: &Consul, token: Option<&str>) -> Client {
    let vars = |name: &str| match name {
        "CONSUL_HTTP_ADDR" => Some(consul.address()),
        "CONSUL_HTTP_TOKEN" => token.map(str::to_owned),
        _ => None,
    };
    Client::new(Config::from_vars(vars).unwrap()).unwrap()
}

/// One round.
pub(crate) async fn once(config: KeeperConfig, client: Client) -> helium_traffic::keeper::Round {
    Keeper::new(config, client, Ports::real()).once().await.unwrap().0
}

/// A keeper at work.
pub(crate) struct Running {
    trigger: Trigger,
    task: JoinHandle<Result<(), Trouble>>,
}

impl Running {
    pub(crate) fn start(config: KeeperConfig, client: Client) -> Self {
        let (trigger, shutdown) = Shutdown::new();
        let keeper = Keeper::new(config, client, Ports::real());
        Self { trigger, task: tokio::spawn(keeper.run(shutdown)) }
    }

    pub(crate) async fn stop(self) {
        self.trigger.trigger();
        self.task.await.unwrap().unwrap();
    }
}

/// Registers instances of `web` by their ports; they pass.
pub(crate) fn register(consul: &Consul, ports: &[u16]) {
    for port in ports {
        let service = format!(
            "{{\"Name\": \"web\", \"ID\": \"web-{port}\", \"Address\": \"127.0.0.1\", \"Port\": {port}, \
             \"Check\": {{\"CheckID\": \"web-{port}\", \"TTL\": \"1h\", \"Status\": \"passing\"}}}}"
        );
        consul.http().put("/v1/agent/service/register", service);
    }
}

/// Takes one into maintenance, by which it does not pass.
pub(crate) fn maintain(consul: &Consul, port: u16) {
    consul.http().put(&format!("/v1/agent/service/maintenance/web-{port}?enable=true"), "");
}

/// Takes them out.
pub(crate) fn deregister(consul: &Consul, ports: &[u16]) {
    for port in ports {
        consul.http().put(&format!("/v1/agent/service/deregister/web-{port}"), "");
    }
}

/// The slots of `web` that HAProxy has now.
pub(crate) async fn slots(haproxy: &HaProxy) -> Vec<Slot> {
    let socket: Socket = haproxy.socket().parse().unwrap();
    socket.table().await.map(|mut table| table.remove("web").unwrap_or_default()).unwrap_or_default()
}

/// The ports that get requests, in their order.
pub(crate) async fn live(haproxy: &HaProxy) -> Vec<u16> {
    let slots = slots(haproxy).await;
    let mut live: Vec<u16> = slots.iter().filter(|s| s.state == SlotState::Ready).map(|s| s.at.port()).collect();
    live.sort_unstable();
    live
}

/// Waits for a condition of a world in which tasks of this runtime take part.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, wait).await.is_ok(), "waited in vain: {what}");
}

/// Waits until just these ports get requests.
pub(crate) async fn until_live(haproxy: &HaProxy, ports: &[u16]) {
    until(&format!("{ports:?} get requests"), async || live(haproxy).await == ports).await;
}
