//! The controllers: the real engine, in as many lives as its crashes leave it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use consul_client::Client;
use helium_engine::{Engine, EngineConfig};
use helium_runtime::{
    ports::Ports,
    shutdown::{Shutdown, Trigger},
};

use crate::{
    defects,
    hydra::Asker,
    instruments::Instruments,
    net::{Net, lock},
    rng::Rng,
    wire::{Actor, Call, Death, Life, Wire},
};

/// How controllers are run.
#[derive(Clone, Copy, Debug)]
pub struct Conduct {
    /// How many there are.
    pub number: usize,
    /// Whether they forget everything between reconciles.
    pub forget: bool,
    /// How many transactions each has under way at the same time.
    pub transactions: usize,
    /// How long one stays dead.
    pub dead_for: (Duration, Duration),
}

/// Where somebody is to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    /// Whose: a controller's or an agent's.
    pub whose: Actor,
    /// In which of its lives, from 0.
    pub life: usize,
    /// At which call of that life.
    pub death: Death,
}

/// All controllers.
pub struct Controllers {
    net: Arc<Net>,
    conduct: Conduct,
    crash: Option<CrashPoint>,
    slots: Vec<Mutex<Slot>>,
}

/// One controller in its present life.
struct Slot {
    life: Arc<Life>,
    stop: Trigger,
    /// How many lives it has begun.
    lives: usize,
    /// The calls of each earlier life.
    calls: Vec<Vec<Call>>,
    leading: Option<tokio::sync::watch::Receiver<bool>>,
    /// Whether it is to be started again when its life is over.
    stays_away: bool,
}

/// The Consul node that a controller talks to.
pub fn consul_node(number: usize) -> String {
    format!("s{number}")
}

impl Controllers {
    /// Starts them all; one of them dies at `crash`.
    pub fn start(net: &Arc<Net>, conduct: Conduct, crash: Option<CrashPoint>) -> Arc<Self> {
        let slot = |_| {
            let (life, (stop, _)) = (Life::until(None), Shutdown::new());
            Mutex::new(Slot { life, stop, lives: 0, calls: Vec::new(), leading: None, stays_away: false })
        };
        let slots = (0..conduct.number).map(slot).collect();
        let controllers = Arc::new(Self { net: Arc::clone(net), conduct, crash, slots });
        for number in 0..conduct.number {
            tokio::spawn(Arc::clone(&controllers).keep(number));
        }
        controllers
    }

    /// How many there are.
    pub fn number(&self) -> usize {
        self.slots.len()
    }

    /// Has one die at its call that is `calls` from now.
    pub fn crash_in(&self, number: usize, calls: u64, after: bool) {
        if let Some(slot) = self.slots.get(number) {
            lock(slot).life.crash_in(calls, after);
        }
    }

    /// Has one die now.
    pub fn crash(&self, number: usize) {
        if let Some(slot) = self.slots.get(number) {
            lock(slot).life.end();
        }
    }

    /// Asks one to stop, as SIGTERM does. It is started again after a while unless it is to stay away.
    pub fn hand_over(&self, number: usize, stays_away: bool) {
        if let Some(slot) = self.slots.get(number) {
            let mut slot = lock(slot);
            slot.stays_away = stays_away;
            slot.stop.trigger();
        }
    }

    /// The one that believes to lead.
    pub fn leader(&self) -> Option<usize> {
        let leads = |slot: &Mutex<Slot>| lock(slot).leading.as_ref().is_some_and(|leading| *leading.borrow());
        self.slots.iter().position(leads)
    }

    /// The calls of each controller in each of its lives.
    pub fn calls(&self) -> Vec<Vec<Vec<Call>>> {
        let of = |slot: &Mutex<Slot>| {
            let slot = lock(slot);
            slot.calls.iter().cloned().chain([slot.life.calls()]).collect()
        };
        self.slots.iter().map(of).collect()
    }

    /// Runs one controller, life after life.
    async fn keep(self: Arc<Self>, number: usize) {
        let mut rng = self.net.rng.child("controllers").child(&number.to_string());
        loop {
            let Some((life, engine, stop)) = self.next_life(number, &mut rng) else { return };
            let (trigger, shutdown) = Shutdown::new();
            let run = tokio::spawn(async move { engine.run(shutdown).await });
            let abort = run.abort_handle();
            tokio::select! {
                biased;
                () = life.ended.notified() => {}
                () = stop.cancelled() => {
                    trigger.trigger();
                    tokio::select! {
                        biased;
                        () = life.ended.notified() => {}
                        _ = run => {}
                    }
                }
            }
            life.end();
            abort.abort();
            trigger.trigger();
            self.net.tell(&format!("c{number} is gone"));
            if self.slots.get(number).is_some_and(|slot| lock(slot).stays_away) {
                return;
            }
            tokio::time::sleep(rng.between(self.conduct.dead_for.0, self.conduct.dead_for.1)).await;
        }
    }

    fn next_life(&self, number: usize, rng: &mut Rng) -> Option<(Arc<Life>, Engine, Shutdown)> {
        let (stop, stopped) = Shutdown::new();
        let mut slot = lock(self.slots.get(number)?);
        if slot.lives > 0 {
            let calls = slot.life.calls();
            slot.calls.push(calls);
        }
        let here = |crash: &CrashPoint| crash.whose == Actor::Controller(number) && crash.life == slot.lives;
        slot.life = Life::until(self.crash.filter(here).map(|crash| crash.death));
        slot.lives += 1;
        slot.stop = stop;
        let wire = Wire::new(&self.net, Actor::Controller(number), &consul_node(number), Arc::clone(&slot.life));
        let config = EngineConfig {
            name: format!("c{number}-{}", slot.lives),
            resync: Duration::from_mins(1),
            forget_between_reconciles: self.conduct.forget,
            transactions: self.conduct.transactions,
            planner: self.net.defect.map_or(helium_planner::plan, defects::planner),
            ..EngineConfig::default()
        };
        let clock = self.net.clocks.begin(Actor::Controller(number), self.net.defect);
        let ports = Ports::seeded(rng.draw(), self.net.wall()).with_clock(clock);
        let instruments = Instruments::new(&self.net, rng.child("instruments"));
        let engine = Engine::new(Client::over(wire, Some("controller".to_owned())), config, ports, instruments);
        let engine = engine.following(Asker::new(&self.net, rng.child("hydra")));
        slot.leading = Some(engine.leading());
        self.net.tell(&format!("c{number} starts life {}", slot.lives));
        Some((Arc::clone(&slot.life), engine, stopped))
    }
}
