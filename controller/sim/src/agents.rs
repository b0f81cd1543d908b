//! The agents of all nodes, in as many lives as their deaths leave them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::task::AbortHandle;

use crate::{
    agent::{Agent, node_name},
    controllers::CrashPoint,
    net::{Net, lock},
    wire::{Actor, Call, Life},
};

/// How long an agent stays dead that died where it was to.
const DEAD_FOR: Duration = Duration::from_millis(2500);

/// All agents.
pub struct Agents {
    net: Arc<Net>,
    crash: Option<CrashPoint>,
    slots: Vec<Mutex<Slot>>,
}

/// One agent in its present life.
#[derive(Default)]
struct Slot {
    life: Arc<Life>,
    /// How many lives it has begun.
    lives: usize,
    /// What it did in each earlier life.
    calls: Vec<Vec<Call>>,
    task: Option<AbortHandle>,
}

impl Agents {
    /// Starts the agents of so many nodes; one of them dies at `crash`, and begins anew by itself.
    pub fn start(net: &Arc<Net>, number: usize, crash: Option<CrashPoint>) -> Arc<Self> {
        let slots = (0..number).map(|_| Mutex::default()).collect();
        let agents = Arc::new(Self { net: Arc::clone(net), crash, slots });
        (0..number).for_each(|number| agents.begin(number));
        agents
    }

    /// How many there are.
    pub fn number(&self) -> usize {
        self.slots.len()
    }

    /// Starts one in a new life; whichever is there dies.
    pub fn begin(self: &Arc<Self>, number: usize) {
        self.end(number);
        if let Some(slot) = self.slots.get(number) {
            let task = tokio::spawn(Arc::clone(self).keep(number));
            lock(slot).task = Some(task.abort_handle());
        }
    }

    /// Ends one, as kill -9 does.
    pub fn end(&self, number: usize) {
        let Some(slot) = self.slots.get(number) else { return };
        let mut slot = lock(slot);
        slot.life.end();
        if let Some(task) = slot.task.take() {
            task.abort();
        }
        self.net.fleet.table().agent_dies(&node_name(number));
    }

    /// Has one die at what it does `calls` calls or effects from now.
    pub fn crash_in(&self, number: usize, calls: u64, after: bool) {
        if let Some(slot) = self.slots.get(number) {
            lock(slot).life.crash_in(calls, after);
        }
    }

    /// Has one die at the effect on its machine that is `effects` from now.
    pub fn fall_in(&self, number: usize, effects: u64, after: bool) {
        if let Some(slot) = self.slots.get(number) {
            lock(slot).life.fall_in(effects, after);
        }
    }

    /// What each agent did in each of its lives: its calls, and its effects on its machine.
    pub fn calls(&self) -> Vec<Vec<Vec<Call>>> {
        let of = |slot: &Mutex<Slot>| {
            let slot = lock(slot);
            slot.calls.iter().cloned().chain([slot.life.calls()]).collect()
        };
        self.slots.iter().map(of).collect()
    }

    /// Runs one until it dies; and again, if it was to die.
    async fn keep(self: Arc<Self>, number: usize) {
        loop {
            let Some(life) = self.next_life(number) else { return };
            let agent = Agent::new(&self.net, number, node_name(number).as_str(), Arc::clone(&life));
            tokio::select! {
                biased;
                () = life.ended.notified() => {}
                () = agent.run() => {}
            }
            self.net.fleet.table().agent_dies(&node_name(number));
            if self.crash.is_none() {
                return;
            }
            tokio::time::sleep(DEAD_FOR).await;
        }
    }

    fn next_life(&self, number: usize) -> Option<Arc<Life>> {
        let mut slot = lock(self.slots.get(number)?);
        if slot.lives > 0 {
            let calls = slot.life.calls();
            slot.calls.push(calls);
        }
        let here = |crash: &CrashPoint| crash.whose == Actor::Agent(number) && crash.life == slot.lives;
        slot.life = Life::until(self.crash.filter(here).map(|crash| crash.death));
        slot.lives += 1;
        Some(Arc::clone(&slot.life))
    }
}
