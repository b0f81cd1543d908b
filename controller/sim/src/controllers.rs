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
    net::{Net, lock},
    rng::Rng,
    wire::{Actor, CrashPoint, Life, Wire},
};

/// How controllers are run.
#[derive(Clone, Copy, Debug)]
pub struct Conduct {
    /// How many there are.
    pub number: usize,
    /// Whether they forget everything between reconciles.
    pub forget: bool,
    /// How long one stays dead.
    pub dead_for: (Duration, Duration),
}

/// All controllers.
pub struct Controllers {
    net: Arc<Net>,
    conduct: Conduct,
    slots: Vec<Mutex<Slot>>,
}

/// One controller in its present life.
struct Slot {
    life: Arc<Life>,
    stop: Trigger,
    lives: u64,
    /// The calls of all earlier lives.
    calls: u64,
    leading: Option<tokio::sync::watch::Receiver<bool>>,
    /// Whether it is to be started again when its life is over.
    stays_away: bool,
}

/// The Consul node that a controller talks to.
pub fn consul_node(number: usize) -> String {
    format!("s{number}")
}

impl Controllers {
    /// Starts them all; `crash` is for the first life of the first.
    pub fn start(net: &Arc<Net>, conduct: Conduct, crash: Option<CrashPoint>) -> Arc<Self> {
        let slot = |number: usize| {
            let life = Life::until(crash.filter(|_| number == 0));
            let (stop, _) = Shutdown::new();
            Mutex::new(Slot { life, stop, lives: 0, calls: 0, leading: None, stays_away: false })
        };
        let slots = (0..conduct.number).map(slot).collect();
        let controllers = Arc::new(Self { net: Arc::clone(net), conduct, slots });
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

    /// The calls that the first one has made, in all its lives.
    pub fn calls(&self) -> u64 {
        self.slots.first().map_or(0, |slot| {
            let slot = lock(slot);
            slot.calls + slot.life.calls()
        })
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
            slot.calls += slot.life.calls();
            slot.life = Life::until(None);
        }
        slot.lives += 1;
        slot.stop = stop;
        let wire = Wire::new(&self.net, Actor::Controller(number), &consul_node(number), Arc::clone(&slot.life));
        let config = EngineConfig {
            name: format!("c{number}-{}", slot.lives),
            resync: Duration::from_mins(1),
            forget_between_reconciles: self.conduct.forget,
            planner: self.net.defect.map_or(helium_planner::plan, defects::planner),
            ..EngineConfig::default()
        };
        let ports = Ports::seeded(rng.draw(), self.net.wall());
        let engine = Engine::new(Client::over(wire, Some("controller".to_owned())), config, ports);
        slot.leading = Some(engine.leading());
        self.net.tell(&format!("c{number} starts life {}", slot.lives));
        Some((Arc::clone(&slot.life), engine, stopped))
    }
}
