//! The nemesis: strikes at times of its own with the kinds of faults that a seed has drawn, and mends in the end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use consul_client::{Client, Put};
use consul_embedded::state::State;
use helium_crds::{
    instance::{Assignment, Instance},
    keys::Keys,
};

use crate::{
    agent::node_name,
    checkers::Sense,
    controllers::consul_node,
    faults::FaultKind,
    rng::Rng,
    users::Users,
    wire::Actor,
    world::{World, rights},
};

/// The kinds that strike at times of their own.
const TIMED: [FaultKind; 16] = [
    FaultKind::CrashBefore,
    FaultKind::CrashAfter,
    FaultKind::Stall,
    FaultKind::Restore,
    FaultKind::SessionLost,
    FaultKind::CutOff,
    FaultKind::Denied,
    FaultKind::Wiped,
    FaultKind::SentinelLost,
    FaultKind::SpecsVanish,
    FaultKind::ConsulLeft,
    FaultKind::AgentCrash,
    FaultKind::NodeLost,
    FaultKind::ProcessKilled,
    FaultKind::HandOver,
    FaultKind::TwoApply,
];

/// Who strikes.
pub struct Nemesis {
    world: Arc<World>,
    users: Arc<Users>,
    client: Client,
    rng: Rng,
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

impl Nemesis {
    /// The nemesis of a world.
    pub fn new(world: &Arc<World>, users: &Arc<Users>) -> Self {
        Self {
            world: Arc::clone(world),
            users: Arc::clone(users),
            client: world.client(Actor::Operator),
            rng: world.net.rng.child("nemesis"),
        }
    }

    /// Strikes until `end`, and mends each stroke after a while. Nothing is broken when it returns.
    pub async fn rage(mut self, end: Duration) {
        let enabled = self.world.net.faults().enabled();
        let kinds: Vec<FaultKind> = TIMED.into_iter().filter(|kind| enabled.contains(kind)).collect();
        while self.world.net.now() < end {
            let pause = self.rng.between(seconds(2), seconds(20));
            tokio::time::sleep(pause).await;
            if let Some(kind) = self.rng.pick(&kinds).copied() {
                self.strike(kind).await;
            }
        }
    }

    async fn strike(&mut self, kind: FaultKind) {
        let net = Arc::clone(&self.world.net);
        let controllers = Arc::clone(&self.world.controllers);
        let leader = controllers.leader().unwrap_or(0);
        net.tell(&format!("nemesis: {kind}"));
        match kind {
            // These are counted when they strike.
            FaultKind::CrashBefore => return controllers.crash_in(leader, 1 + self.rng.below(25), false),
            FaultKind::CrashAfter => return controllers.crash_in(leader, 1 + self.rng.below(25), true),
            FaultKind::Stall => {
                let until = net.now() + self.rng.between(seconds(20), seconds(150));
                net.faults().hold(Actor::Controller(leader), until, true);
            }
            FaultKind::CutOff => {
                let until = net.now() + self.rng.between(seconds(3), seconds(50));
                net.faults().hold(Actor::Controller(leader), until, false);
            }
            FaultKind::Restore => self.restore(),
            FaultKind::SessionLost => self.end_session().await,
            FaultKind::Denied => self.deny().await,
            FaultKind::Wiped => self.wipe().await,
            FaultKind::SentinelLost => self.lose_sentinel().await,
            FaultKind::SpecsVanish => self.lose_specs().await,
            FaultKind::ConsulLeft => self.consul_leaves().await,
            FaultKind::AgentCrash => self.agent_crashes().await,
            FaultKind::NodeLost => self.node_dies().await,
            FaultKind::ProcessKilled => self.kill_process(),
            FaultKind::HandOver => controllers.hand_over(leader, false),
            _ => return,
        }
        net.faults().strike(kind);
    }

    fn restore(&mut self) {
        let age = self.rng.between(seconds(2), seconds(25));
        if let Some(state) = self.world.net.past(age) {
            self.world.net.server.restore(state);
            self.return_clients();
            self.world.net.check(|checkers, _| checkers.restored());
        }
    }

    /// A snapshot is of the servers. The past state holds the Consul clients too, as they were; those that have returned since run.
    fn return_clients(&self) {
        let nodes = (0..self.world.nodes()).map(|number| (node_name(number).as_str().to_owned(), "10.0.0.1"));
        let controllers = (1..self.world.controllers.number()).map(|number| (consul_node(number), "10.0.1.1"));
        for (name, address) in nodes.chain(controllers) {
            let away = |state: &State| state.agent(&name).is_ok_and(|agent| !agent.is_connected());
            if self.world.net.server.with_state(away) == Some(true) {
                self.world.net.server.join(&name, address);
            }
        }
    }

    async fn end_session(&self) {
        let lock = Keys::default().controller_lock();
        let holder = self.world.net.server.with_state(|state| state.kv().get(&lock)?.session.clone()).flatten();
        if let Some(session) = holder {
            let _ended = self.client.session_destroy(&session).await;
        }
    }

    /// The controllers' token loses the right to see something, and later has it back.
    async fn deny(&mut self) {
        let root = Keys::default().root().to_owned();
        let choices = [
            ("catalog".to_owned(), Sense::Catalog),
            (format!("{root}report/"), Sense::Reports),
            (format!("{root}alive/"), Sense::Nodes),
            (format!("{root}spec/"), Sense::Specs),
            (root, Sense::Specs),
        ];
        let Some((what, sense)) = self.rng.pick(&choices).cloned() else { return };
        let net = Arc::clone(&self.world.net);
        net.tell(&format!("the controllers may not see {what}"));
        net.server.set_acl(Some(rights(Some(&what))));
        self.blind_for(sense, seconds(20), seconds(110)).await;
        net.server.set_acl(Some(rights(None)));
        net.tell("the controllers may see everything again");
    }

    /// A sense of the controllers is lost for a while.
    async fn blind_for(&mut self, sense: Sense, from: Duration, to: Duration) {
        let net = Arc::clone(&self.world.net);
        net.check(|checkers, net| checkers.sense(sense, true, net.now()));
        tokio::time::sleep(self.rng.between(from, to)).await;
        net.check(|checkers, net| checkers.sense(sense, false, net.now()));
    }

    /// A whole prefix goes, sentinels and all, and is put back as it was.
    async fn wipe(&mut self) {
        let prefix = Keys::default().root().to_owned();
        let choices = [
            ("report/", Sense::Reports),
            ("alive/", Sense::Nodes),
            ("node/", Sense::Nodes),
            ("inst/", Sense::Specs),
            ("status/", Sense::Specs),
            ("assign/", Sense::Specs),
        ];
        let Some((room, sense)) = self.rng.pick(&choices).copied() else { return };
        let users = Arc::clone(&self.users);
        let _hands = users.hands.lock().await;
        let prefix = format!("{prefix}{room}");
        self.world.net.tell(&format!("{prefix} is wiped"));
        let lost = self.keys_under(&prefix);
        let _wiped = self.client.kv_delete_tree(&prefix).await;
        self.blind_for(sense, seconds(20), seconds(90)).await;
        // Heartbeats come back by themselves, with their sessions.
        let back = lost.into_iter().filter(|(key, _)| room != "alive/" || key.ends_with("/.keep"));
        let back: Vec<_> = back.filter(|(key, value)| self.has_a_use(room, key, value)).collect();
        self.put_back(back).await;
    }

    /// Whether a record that is put back still belongs to something: meanwhile its object may have been deleted.
    fn has_a_use(&self, room: &str, key: &str, value: &Bytes) -> bool {
        let keys = Keys::default();
        let there = |key: &str| self.world.net.server.with_state(|state| state.kv().get(key).is_some()) == Some(true);
        if key.ends_with("/.keep") {
            return true;
        }
        match room {
            "inst/" => serde_json::from_slice::<Instance>(value)
                .is_ok_and(|instance| there(&keys.assignment(&instance.node, &instance.id))),
            "assign/" => serde_json::from_slice::<Assignment>(value)
                .is_ok_and(|assignment| there(&keys.instance(&assignment.deployment, &assignment.id))),
            "status/" => there(&key.replacen("/status/", "/spec/", 1)),
            _ => true,
        }
    }

    fn keys_under(&self, prefix: &str) -> Vec<(String, Bytes)> {
        let found = self.world.net.server.with_state(|state| {
            state.kv().under(prefix).map(|entry| (entry.key.clone(), entry.value.clone())).collect()
        });
        found.unwrap_or_default()
    }

    async fn put_back(&self, lost: Vec<(String, Bytes)>) {
        for (key, value) in lost {
            let there = self.world.net.server.with_state(|state| state.kv().get(&key).is_some());
            if there != Some(true) {
                let _put = self.client.kv_put(&key, value, &Put::default()).await;
            }
        }
        self.world.net.forget_past();
    }

    async fn lose_sentinel(&mut self) {
        let sentinels = Keys::default().sentinels();
        let Some(key) = self.rng.pick(&sentinels).cloned() else { return };
        self.world.net.tell(&format!("{key} is gone"));
        let _gone = self.client.kv_delete(&key, None).await;
        tokio::time::sleep(self.rng.between(seconds(10), seconds(80))).await;
        self.put_back(vec![(key, Bytes::new())]).await;
    }

    /// A third of the specs vanish, as if somebody had deleted their keys, and are put back.
    async fn lose_specs(&mut self) {
        let users = Arc::clone(&self.users);
        let _hands = users.hands.lock().await;
        let prefix = format!("{}spec/", Keys::default().root());
        let specs: Vec<(String, Bytes)> =
            self.keys_under(&prefix).into_iter().filter(|(key, _)| !key.ends_with("/.keep")).collect();
        let mut lost: Vec<(String, Bytes)> = specs.iter().filter(|_| self.rng.chance(333)).cloned().collect();
        if lost.is_empty() {
            lost.extend(self.rng.pick(&specs).cloned());
        }
        for (key, _) in &lost {
            self.world.net.tell(&format!("{key} vanishes"));
            let _gone = self.client.kv_delete(key, None).await;
        }
        tokio::time::sleep(self.rng.between(seconds(10), seconds(80))).await;
        self.put_back(lost).await;
    }

    async fn consul_leaves(&mut self) {
        let (nodes, controllers) = (self.world.nodes() as u64, self.world.controllers.number() as u64);
        let drawn = self.rng.below(nodes + controllers - 1);
        let place = usize::try_from(drawn).unwrap_or(0);
        // The first controller shares its Consul with the people, and that one stays.
        let (name, address) = if drawn < nodes {
            (node_name(place).as_str().to_owned(), "10.0.0.1")
        } else {
            (consul_node(place + 1 - self.world.nodes()), "10.0.1.1")
        };
        self.world.net.tell(&format!("the Consul client of {name} leaves"));
        self.world.net.server.leave(&name);
        tokio::time::sleep(self.rng.between(seconds(2), seconds(80))).await;
        self.world.net.server.join(&name, address);
    }

    async fn agent_crashes(&mut self) {
        let number = self.a_node();
        self.world.stop_agent(number);
        tokio::time::sleep(self.rng.between(seconds(1), seconds(50))).await;
        self.world.start_agent(number);
    }

    /// A machine dies, with its Consul client and all that it runs, and comes back empty.
    async fn node_dies(&mut self) {
        let number = self.a_node();
        let name = node_name(number);
        self.world.net.tell(&format!("{name} dies"));
        self.world.stop_agent(number);
        self.world.net.fleet.table().switch_off(&name);
        self.world.net.server.set_reachable(name.as_str(), false);
        tokio::time::sleep(self.rng.between(seconds(20), seconds(150))).await;
        self.world.net.server.join(name.as_str(), "10.0.0.1");
        self.world.net.fleet.table().switch_on(&name);
        self.world.start_agent(number);
    }

    fn kill_process(&mut self) {
        let now = self.world.net.now();
        let mut table = self.world.net.fleet.table();
        let all: Vec<_> =
            table.processes.iter().filter(|(_, process)| process.alive).map(|(key, _)| key.clone()).collect();
        if let Some((node, id)) = self.rng.pick(&all) {
            table.kill(node, id, now);
        }
    }

    fn a_node(&mut self) -> usize {
        usize::try_from(self.rng.below(self.world.nodes() as u64)).unwrap_or(0)
    }
}
