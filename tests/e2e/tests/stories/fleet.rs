//! A small fleet: a Consul, controllers, and agents with nodes of their own, all on this machine.

use std::{collections::BTreeMap, time::Duration};

use helium_e2e::{Consul, Daemon, Helium, Http, Output, eventually, ports, process};
use serde_json::Value;

/// The longest that anything of a fleet may take to come up.
const START: Duration = Duration::from_secs(30);
/// The longest that a rollout of a story may take on a slow machine.
pub(crate) const ROLLOUT: Duration = Duration::from_mins(2);

/// How often controllers look at everything again. Stories of drift wait for it; in production it is minutes.
pub(crate) const RESYNC: Duration = Duration::from_secs(20);

/// A running fleet. Whatever its agents started is killed with it.
pub(crate) struct Fleet {
    pub(crate) consul: Consul,
    /// A person with every right.
    pub(crate) helium: Helium,
    /// In the order in which they were started.
    pub(crate) controllers: Vec<Controller>,
    agents: BTreeMap<String, Daemon>,
    /// The folder of each agent, by its node; a person who starts an agent again does it over the same one.
    data: BTreeMap<String, String>,
    /// People whose folders daemons still use.
    folders: Vec<Helium>,
    /// What sets the nodes of this fleet apart from those of others on this machine.
    mark: String,
}

/// One controller and its own HTTP server.
pub(crate) struct Controller {
    name: String,
    pub(crate) daemon: Daemon,
    pub(crate) http: Http,
}

/// One running process of an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) node: String,
    pub(crate) pid: u32,
}

impl Fleet {
    /// A Consul in memory, one controller, and so many agents; ready for work.
    #[track_caller]
    pub(crate) fn of(agents: usize) -> Self {
        Self::on(Consul::start(), agents)
    }

    /// One controller and so many agents on a Consul; ready for work.
    #[track_caller]
    pub(crate) fn on(consul: Consul, agents: usize) -> Self {
        let mut fleet = Self::empty(consul);
        fleet.start_controller();
        for number in 1..=agents {
            fleet.start_agent(number);
        }
        fleet.await_ready();
        fleet
    }

    /// A Consul and nothing else.
    #[track_caller]
    pub(crate) fn empty(consul: Consul) -> Self {
        let mark = consul.address().rsplit(':').next().unwrap_or_default().to_owned();
        Self {
            helium: Helium::on(&consul),
            consul,
            controllers: Vec::new(),
            agents: BTreeMap::new(),
            data: BTreeMap::new(),
            folders: Vec::new(),
            mark,
        }
    }

    /// Starts one more controller.
    #[track_caller]
    pub(crate) fn start_controller(&mut self) {
        self.start_controller_with(&[]);
    }

    /// The same, with further flags.
    #[track_caller]
    pub(crate) fn start_controller_with(&mut self, flags: &[&str]) {
        let name = format!("controller-{}", self.controllers.len() + 1);
        let controller = self.launch_controller(&name, flags);
        self.controllers.push(controller);
    }

    /// Starts a controller that was killed again, under its name.
    #[track_caller]
    pub(crate) fn start_controller_again(&mut self, index: usize) {
        let name = self.controllers[index].name.clone();
        self.controllers[index] = self.launch_controller(&name, &[]);
    }

    #[track_caller]
    fn launch_controller(&self, name: &str, flags: &[&str]) -> Controller {
        let port = ports::free();
        let address = format!("127.0.0.1:{port}");
        let resync = format!("{}s", RESYNC.as_secs());
        let arguments = ["controller", "--name", name, "--http-addr", &address, "--resync", &resync];
        let daemon = self.helium.start(name, &[&arguments, flags].concat());
        Controller { name: name.to_owned(), daemon, http: Http::on(port) }
    }

    /// The name of the node of the n-th agent.
    pub(crate) fn node(&self, number: usize) -> String {
        format!("n{number}-{}", self.mark)
    }

    /// The folder of the n-th agent.
    pub(crate) fn data_dir(&self, number: usize) -> String {
        let node = self.node(number);
        let anew = || self.helium.folder().join(&node).to_str().unwrap().to_owned();
        self.data.get(&node).cloned().unwrap_or_else(anew)
    }

    /// Starts the n-th agent, or starts it again over the same folder.
    #[track_caller]
    pub(crate) fn start_agent(&mut self, number: usize) {
        let node = self.node(number);
        let data = self.data_dir(number);
        let packages = format!("{data}/packages");
        let arguments = ["agent", "--node", &node, "--data-dir", &data, "--package-dir", &packages];
        let daemon = self.helium.start(&format!("agent-{node}"), &arguments);
        self.data.insert(node.clone(), data);
        self.agents.insert(node, daemon);
    }

    /// Starts the n-th agent at a client agent of Consul in place of the server.
    #[track_caller]
    pub(crate) fn start_agent_at(&mut self, number: usize, client: &Consul) {
        let there = Helium::at(&client.address());
        let here = std::mem::replace(&mut self.helium, there);
        self.start_agent(number);
        self.act_as(here);
    }

    /// Has another person do what comes next. The folder of the one before stays: what they started works in it.
    pub(crate) fn act_as(&mut self, person: Helium) {
        self.folders.push(std::mem::replace(&mut self.helium, person));
    }

    /// The n-th agent.
    pub(crate) fn agent(&mut self, number: usize) -> &mut Daemon {
        let node = self.node(number);
        self.agents.get_mut(&node).unwrap()
    }

    /// What the n-th agent has logged.
    pub(crate) fn agent_said(&self, number: usize) -> String {
        self.agents[&self.node(number)].said()
    }

    /// Waits until one controller leads and says so, and every agent is known.
    #[track_caller]
    pub(crate) fn await_ready(&self) {
        eventually("a controller is ready", START, || self.controllers.iter().any(Controller::is_ready).then_some(()));
        for node in self.agents.keys() {
            eventually(&format!("{node} has joined"), START, || {
                (!self.consul.value(&format!("helium/v1/node/{node}")).is_null()).then_some(())
            });
        }
    }

    /// The controller that leads, as Consul has it: the session that holds the lock.
    pub(crate) fn leader_session(&self) -> Option<String> {
        let pairs = self.consul.http().json("/v1/kv/helium/v1/lock/controller");
        pairs[0]["Session"].as_str().map(str::to_owned)
    }

    /// Applies YAML and waits for the outcome.
    #[track_caller]
    pub(crate) fn apply(&self, yaml: &str) -> Output {
        let file = self.helium.write("applied.yaml", yaml);
        self.helium.run_for(ROLLOUT, &["apply", "-f", &file, "--wait"])
    }

    /// Applies YAML and does not wait.
    #[track_caller]
    pub(crate) fn apply_only(&self, yaml: &str) -> Output {
        let file = self.helium.write("applied.yaml", yaml);
        self.helium.run(&["apply", "-f", &file]).ok()
    }

    /// What the controller says of a Deployment.
    pub(crate) fn status(&self, name: &str) -> Value {
        let keys = self.consul.keys("helium/v1/status/");
        let end = format!("/default/deployment/{name}");
        keys.iter().find(|key| key.ends_with(&end)).map(|key| self.consul.value(key)).unwrap_or_default()
    }

    /// Waits until the phase of a Deployment is `phase`.
    #[track_caller]
    pub(crate) fn await_phase(&self, name: &str, phase: &str) -> Value {
        eventually(&format!("{name} is {phase}"), ROLLOUT, || {
            let status = self.status(name);
            (status["phase"] == phase).then_some(status)
        })
    }

    /// The processes of all instances that this fleet's agents run now, by id.
    pub(crate) fn instances(&self) -> Vec<Instance> {
        let mut instances: Vec<Instance> = self.agents.keys().flat_map(|node| instances_of(node)).collect();
        instances.sort();
        instances
    }

    /// The same, of one version.
    pub(crate) fn of_version(&self, version: &str) -> Vec<Instance> {
        self.instances().into_iter().filter(|instance| instance.version == version).collect()
    }

    /// The processes that the agents have noted and that run. Some programs write over their environment, by which others are found.
    fn noted(&self) -> Vec<u32> {
        let instances = self.data.values().filter_map(|data| std::fs::read_dir(format!("{data}/instances")).ok());
        let records =
            instances.flatten().flatten().filter_map(|entry| std::fs::read(entry.path().join("record.json")).ok());
        let records = records.filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let pids = records.filter_map(|record| u32::try_from(record["process"]["pid"].as_u64()?).ok());
        pids.filter(|pid| process::is_alive(*pid)).collect()
    }

    /// The pids of all instances, by id.
    pub(crate) fn pids(&self) -> BTreeMap<String, u32> {
        self.instances().into_iter().map(|instance| (instance.id, instance.pid)).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for daemon in self.agents.values_mut() {
            daemon.kill();
        }
        for instance in self.instances() {
            process::kill(instance.pid);
        }
        self.noted().into_iter().for_each(process::kill_group);
        // What has left its group and its parent bears the name of its node, which a later fleet may have again.
        for node in self.agents.keys().chain(self.data.keys()) {
            process::with_variable("HELIUM_NODE", node).into_iter().for_each(process::kill);
        }
    }
}

impl Controller {
    /// Whether it says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.http.get("/readyz").is_ok_and(|response| response.status == 200)
    }
}

/// The processes that the agent of a node has started: each has its node and instance in its environment.
pub(crate) fn instances_of(node: &str) -> Vec<Instance> {
    let pids = process::with_variable("HELIUM_NODE", node);
    let instance = |pid: u32| {
        let arguments = process::arguments(pid);
        let version = arguments.iter().skip_while(|argument| *argument != "--version").nth(1)?.clone();
        Some(Instance { id: process::variable(pid, "HELIUM_INSTANCE")?, version, node: node.to_owned(), pid })
    };
    pids.into_iter().filter_map(instance).collect()
}

/// Whether a key is one of the marks that keep watched prefixes from being empty.
pub(crate) fn is_sentinel(key: &str) -> bool {
    key.rsplit('/').next() == Some(".keep")
}
