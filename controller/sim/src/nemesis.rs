//! The nemesis: strikes at times of its own with the kinds of faults that a seed has drawn, and mends in the end.
//!
//! A stroke that finds nothing to strike is not counted.

mod clocks;
mod losses;

use std::{sync::Arc, time::Duration};

use consul_client::Client;
use consul_embedded::Server;
use helium_crds::keys::Keys;

use crate::{
    agent::node_name, checkers::Delay, controllers::consul_node, faults::FaultKind, rng::Rng, users::Users,
    wire::Actor, world::World,
};

/// The kinds that strike at times of their own.
const TIMED: [FaultKind; 18] = [
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
    FaultKind::ConsulCrash,
    FaultKind::ClockJump,
];

/// Who strikes.
pub struct Nemesis {
    world: Arc<World>,
    users: Arc<Users>,
    client: Client,
    rng: Rng,
    /// Until when a leader is cut off, and the session by which it led.
    cut_off: Option<(Duration, String)>,
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
            cut_off: None,
        }
    }

    /// Strikes until `end`, and mends each stroke after a while. Nothing is broken when it returns.
    pub async fn rage(mut self, end: Duration) {
        let enabled = self.world.net.faults().enabled();
        let kinds: Vec<FaultKind> = TIMED.into_iter().filter(|kind| enabled.contains(kind)).collect();
        while self.world.net.now() < end {
            let pause = self.rng.between(seconds(2), seconds(20));
            tokio::time::sleep(pause).await;
            self.count_take_over();
            if let Some(kind) = self.rng.pick(&kinds).copied() {
                self.strike(kind).await;
            }
        }
    }

    async fn strike(&mut self, kind: FaultKind) {
        let net = Arc::clone(&self.world.net);
        let controllers = Arc::clone(&self.world.controllers);
        let leading = controllers.leader();
        let leader = leading.unwrap_or(0);
        net.tell(&format!("nemesis: {kind}"));
        let struck = match kind {
            // These are counted when they strike.
            FaultKind::CrashBefore => return controllers.crash_in(leader, 1 + self.rng.below(25), false),
            FaultKind::CrashAfter => return controllers.crash_in(leader, 1 + self.rng.below(25), true),
            FaultKind::Stall => {
                let until = net.now() + self.rng.between(seconds(20), seconds(150));
                self.hold(leader, until, true);
                leading.is_some()
            }
            // Counted when another takes over.
            FaultKind::CutOff => return self.cut_off(leader),
            FaultKind::Restore => self.restore(),
            FaultKind::SessionLost => self.end_session().await,
            FaultKind::Denied => self.deny().await,
            FaultKind::Wiped => self.wipe().await,
            FaultKind::SentinelLost => self.lose_sentinel().await,
            FaultKind::SpecsVanish => self.lose_specs().await,
            FaultKind::ConsulLeft => self.consul_goes(Server::leave, "leaves", seconds(80)).await,
            FaultKind::ConsulCrash => self.consul_goes(Server::crash, "dies", seconds(120)).await,
            FaultKind::AgentCrash => self.agent_crashes().await,
            FaultKind::NodeLost => self.node_dies().await,
            FaultKind::ProcessKilled => self.kill_process(),
            FaultKind::HandOver => self.hand_over(),
            FaultKind::ClockJump => self.clock_leaps().await,
            FaultKind::TwoApply => Arc::clone(&self.users).two_apply().await,
            _ => false,
        };
        if struck {
            net.faults().strike(kind);
        }
    }

    /// A controller's requests wait until a time, or its long polls do.
    fn hold(&self, leader: usize, until: Duration, long_polls_only: bool) {
        self.world.net.faults().hold(Actor::Controller(leader), until, long_polls_only);
        self.delay_sight(until);
    }

    fn cut_off(&mut self, leader: usize) {
        let until = self.world.net.now() + self.rng.between(seconds(3), seconds(50));
        self.cut_off = self.holder().map(|session| (until, session));
        self.hold(leader, until, false);
    }

    /// A leader that is cut off is struck once somebody else leads while it is.
    fn count_take_over(&mut self) {
        let now = self.world.net.now();
        let Some((until, session)) = self.cut_off.take().filter(|(until, _)| *until > now) else { return };
        if self.holder().is_some_and(|holder| holder != session) {
            self.world.net.faults().strike(FaultKind::CutOff);
        } else {
            self.cut_off = Some((until, session));
        }
    }

    /// What the controllers see is old until a time, and gets young only after it.
    fn delay_sight(&self, until: Duration) {
        self.world.net.check(|checkers, net| checkers.delay(Delay { until, by: Delay::LONG }, net.now()));
    }

    fn hand_over(&self) -> bool {
        let leader = self.world.controllers.leader();
        let leads = leader.filter(|_| self.holder().is_some());
        leads.inspect(|leader| self.world.controllers.hand_over(*leader, false)).is_some()
    }

    /// The session that holds the controllers' lock.
    fn holder(&self) -> Option<String> {
        let lock = Keys::default().controller_lock();
        self.world.net.server.with_state(|state| state.kv().get(&lock)?.session.clone()).flatten()
    }

    fn restore(&mut self) -> bool {
        let age = self.rng.between(seconds(2), seconds(25));
        let Some(state) = self.world.net.past(age) else { return false };
        self.world.net.server.restore(state);
        self.world.net.check(|checkers, net| checkers.restored(net.now()));
        self.delay_sight(self.world.net.now());
        true
    }

    async fn end_session(&self) -> bool {
        let Some(session) = self.holder() else { return false };
        self.client.session_destroy(&session).await.is_ok()
    }

    /// A Consul client goes in some way, what runs beside it runs on, and the client returns.
    async fn consul_goes(&mut self, go: fn(&Server, &str), word: &str, longest: Duration) -> bool {
        let (nodes, controllers) = (self.world.nodes() as u64, self.world.controllers.number() as u64);
        let drawn = self.rng.below(nodes + controllers - 1);
        let place = usize::try_from(drawn).unwrap_or(0);
        // The first controller shares its Consul with the people, and that one stays.
        let (name, address) = if drawn < nodes {
            (node_name(place).as_str().to_owned(), "10.0.0.1")
        } else {
            (consul_node(place + 1 - self.world.nodes()), "10.0.1.1")
        };
        self.world.net.tell(&format!("the Consul client of {name} {word}"));
        go(&self.world.net.server, &name);
        let pause = self.rng.between(seconds(2), longest);
        self.delay_sight(self.world.net.now() + pause);
        tokio::time::sleep(pause).await;
        self.world.net.server.join(&name, address);
        true
    }

    async fn agent_crashes(&mut self) -> bool {
        let number = self.a_node();
        let (anywhere, after) = (self.rng.chance(300), self.rng.chance(500));
        // At something that it does: counted when it strikes.
        match (anywhere, self.rng.chance(700)) {
            (true, _) => self.world.stop_agent(number),
            (false, true) => self.world.agents.fall_in(number, 1 + self.rng.below(8), after),
            (false, false) => self.world.agents.crash_in(number, 1 + self.rng.below(40), after),
        }
        tokio::time::sleep(self.rng.between(seconds(1), seconds(50))).await;
        self.world.start_agent(number);
        anywhere
    }

    /// A machine dies, with its Consul client and all that it runs, and comes back empty.
    async fn node_dies(&mut self) -> bool {
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
        true
    }

    fn kill_process(&mut self) -> bool {
        let mut table = self.world.net.fleet.table();
        let all: Vec<_> = table.running().map(|(place, _)| place.clone()).collect();
        let Some((node, id)) = self.rng.pick(&all) else { return false };
        table.kill(node, id);
        true
    }

    fn a_node(&mut self) -> usize {
        usize::try_from(self.rng.below(self.world.nodes() as u64)).unwrap_or(0)
    }
}
