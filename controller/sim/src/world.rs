//! How a world is put together: Consul, controllers, agents, checks, and the keys and services of strangers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use consul_client::{Client, Put, ServiceDefinition};
use consul_embedded::{Access, AclTable, Config, Rules, Server};
use helium_crds::keys::Keys;
use helium_engine::{
    EngineConfig,
    people::{People, Who},
};
use helium_runtime::ports::Ports;
use jiff::Timestamp;

use crate::{
    agent::node_name,
    agents::Agents,
    checks,
    controllers::{Conduct, Controllers, CrashPoint, consul_node},
    defects::{self, Defect},
    faults::Faults,
    net::Net,
    rng::Rng,
    wire::{Actor, Life, Wire},
};

/// How a world is made.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What decides everything.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// How the controllers are run.
    pub conduct: Conduct,
    /// The faults.
    pub faults: Faults,
    /// The bug on purpose.
    pub defect: Option<Defect>,
    /// Whether the checkers look. What they cost grows with the world.
    pub watched: bool,
    /// Where a controller or an agent dies.
    pub crash: Option<CrashPoint>,
}

impl Setup {
    /// A world without any faults.
    pub fn calm(seed: u64, nodes: usize, controllers: usize) -> Self {
        let dead_for = (Duration::from_secs(2), Duration::from_secs(3));
        let transactions = EngineConfig::default().transactions;
        Self {
            seed,
            nodes,
            conduct: Conduct { number: controllers, forget: false, transactions, dead_for },
            faults: Faults::none(),
            defect: None,
            watched: true,
            crash: None,
        }
    }
}

/// A world.
pub struct World {
    /// What all share.
    pub net: Arc<Net>,
    /// The controllers.
    pub controllers: Arc<Controllers>,
    /// The agents.
    pub agents: Arc<Agents>,
}

/// When simulated worlds begin.
const BEGIN: Timestamp = Timestamp::constant(1_767_225_600, 0);

impl World {
    /// Makes a world. Must be called inside a runtime whose time is paused.
    pub async fn make(setup: &Setup) -> Arc<Self> {
        defects::reset();
        let rng = Rng::new(setup.seed);
        let ports = Ports::seeded(rng.child("ports").draw(), BEGIN);
        let entropy = consul_embedded::seeded_entropy(rng.child("consul").draw());
        let server = Server::in_memory(&Config { node: "s0".to_owned(), entropy, ..Config::default() });
        for number in 1..setup.conduct.number {
            server.join(&consul_node(number), "10.0.1.1");
        }
        for number in 0..setup.nodes {
            server.join(node_name(number).as_str(), "10.0.0.1");
        }
        server.set_acl(Some(rights(None)));
        let net = Net::new(server, ports, rng, setup);
        make_strangers(&net).await;
        tokio::spawn(checks::run(Arc::clone(&net)));
        let controllers = Controllers::start(&net, setup.conduct, setup.crash);
        let agents = Agents::start(&net, setup.nodes, setup.crash);
        Arc::new(Self { net, controllers, agents })
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.agents.number()
    }

    /// Starts the agent of a node, in a new life.
    pub fn start_agent(&self, number: usize) {
        self.agents.begin(number);
    }

    /// Ends the agent of a node, as kill -9 does.
    pub fn stop_agent(&self, number: usize) {
        self.agents.end(number);
    }

    /// The store as the person number `number` uses it.
    pub fn people(&self, number: usize) -> People {
        let ports = self.net.ports.child(&format!("user {number}"));
        let who = Who { by: format!("user{number}"), tool: "helium-apply".to_owned() };
        People::new(self.client(Actor::User(number)), Keys::default(), ports, who)
    }

    /// A client of somebody who may do everything.
    pub fn client(&self, actor: Actor) -> Client {
        let wire = Wire::new(&self.net, actor, "s0", Life::until(None));
        Client::over(wire, Some("user".to_owned()))
    }
}

/// The rights of all tokens; those of the controllers without what is denied.
pub fn rights(denied: Option<&str>) -> AclTable {
    let mut controller = Rules::all();
    match denied {
        Some("catalog") => controller.catalog = Access::Deny,
        Some(prefix) => drop(controller.keys.insert(prefix.to_owned(), Access::Deny)),
        None => {}
    }
    let all = ["agent", "user"].map(|token| (token.to_owned(), Rules::all()));
    let mut table = BTreeMap::from(all);
    table.insert("controller".to_owned(), controller);
    table
}

/// Keys and services that belong to others, and that nobody in this world should touch.
async fn make_strangers(net: &Arc<Net>) {
    let wire = Wire::new(net, Actor::Operator, "s0", Life::until(None));
    let client = Client::over(wire, Some("user".to_owned()));
    let billing =
        ServiceDefinition { id: "billing-1".to_owned(), name: "billing".to_owned(), ..ServiceDefinition::default() };
    // A world in which this failed would fail at its end: S3 looks for them.
    let _keys = client.kv_put("app/colour", "green", &Put::default()).await;
    let _keys = client.kv_put("app/size", "7", &Put::default()).await;
    let _service = client.agent_register_service(&billing, false).await;
}
