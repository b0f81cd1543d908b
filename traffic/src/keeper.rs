//! The keeper: rounds in which the file and the HAProxy that runs are compared with what is wanted, and put right.
//!
//! A round remembers nothing. It reads HAProxy's table, or the file where HAProxy is away, seats the wanted servers beside that, writes the
//! file and then tells HAProxy what differs; so one that was restarted, or changed by hand, is put right like one that is merely behind.
//! The file comes first: whatever ends the keeper in between, it holds at least what HAProxy has.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use consul_client::{Client, Error};
use helium_runtime::{
    backoff::{Backoff as _, Exponential},
    ports::Ports,
    shutdown::Shutdown,
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    Reload, Socket, SocketError,
    file::{self, Mode},
    haproxy::{Change, Command, Slot, SlotState, Table, slot_name},
    seats::{Seats, live},
    server::{Backend, Server},
    sight::{Sight, Wanted},
    store::{Store, StoreError},
    watcher::Watcher,
};

/// For so long a catalog that knows nothing of a service, or that went back to an older state, is not believed: within it agents of Consul
/// have put back what they know.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// How many slots a backend has unless more are asked for.
pub const SLOTS: u16 = 32;

/// How long the first look of all services may take before the first round.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// The time between rounds at rest: within it a HAProxy that was restarted is put right.
const AT_REST: Duration = Duration::from_secs(2);
/// The same while something changes: what was said is looked at, and what drains is taken out.
const IN_MOTION: Duration = Duration::from_millis(250);
/// The wait after the first round that failed, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
const RETRY_FLOOR: Duration = Duration::from_millis(200);
/// How long a single round waits for a reload to show.
const RELOADED_WITHIN: Duration = Duration::from_secs(10);
/// The wait after a reload that changed nothing, at least, and at most after many.
const RELOAD_AGAIN: (Duration, Duration) = (Duration::from_secs(3), Duration::from_mins(2));

/// What a keeper is told.
#[derive(Clone, Debug)]
pub struct KeeperConfig {
    /// The services, and the backends that they become; no two of one name.
    pub backends: Vec<Backend>,
    /// The file that HAProxy reads.
    pub file: PathBuf,
    /// Requests or connections.
    pub mode: Mode,
    /// How many slots each backend has at least; so many are added at a time.
    pub slots: usize,
    /// HAProxy's runtime API; without one only the file is kept.
    pub socket: Option<Socket>,
    /// How HAProxy is asked to read the file again when the slots do not suffice.
    pub reload: Option<Reload>,
    /// A command that checks the new file, for which `{}` stands, before it takes its place.
    pub check: Option<String>,
    /// For so long an empty or an older catalog is not believed.
    pub patience: Duration,
}

/// What stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Consul does not answer, or refuses to.
    #[error(transparent)]
    Consul(#[from] Error),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] StoreError),
    /// HAProxy is away, or does not do what it is told.
    #[error(transparent)]
    HaProxy(#[from] SocketError),
    /// What follows a service has broken, so nothing more would be heard of it.
    #[error("a part of the keeper has failed: {0}")]
    Broken(String),
    /// HAProxy said that it did something, and it is not so.
    #[error("HAProxy took `{0}` without a word, and it is as it was")]
    NotTaken(String),
    /// There are more servers than slots, or no such backend.
    #[error(
        "backend {backend} of HAProxy has {slots} slots, {lacking} too few: it has to read its files again ({reload})"
    )]
    TooFewSlots {
        /// The backend.
        backend: String,
        /// How many it has.
        slots: usize,
        /// How many servers have none.
        lacking: usize,
        /// What is done about it.
        reload: String,
    },
}

/// What is known after a round.
#[derive(Debug, Default)]
pub struct Round {
    /// How many servers each backend has in the file.
    pub servers: BTreeMap<String, usize>,
    /// What stands in the way of it being right.
    pub troubles: Vec<Trouble>,
    /// Whether something is under way that the next round looks at.
    in_motion: bool,
    /// Whether HAProxy was asked to read its files again, and has not shown yet that it did.
    reloading: bool,
}

/// Keeps HAProxy in step with Consul's catalog.
pub struct Keeper {
    config: KeeperConfig,
    client: Client,
    ports: Ports,
    store: Store,
    /// What was said to HAProxy in the round before.
    said: Vec<String>,
    /// What stood in the way, as it was said last.
    told: BTreeSet<String>,
    /// No reload before this instant of the monotonic clock.
    reload_after: Duration,
    reload_backoff: Exponential,
}

/// All that is wanted, by backend.
type AllWanted = BTreeMap<String, Wanted>;

impl Keeper {
    /// Has done nothing yet.
    pub fn new(config: KeeperConfig, client: Client, ports: Ports) -> Self {
        let store = Store::new(config.file.clone(), config.check.clone());
        let reload_backoff =
            Exponential::new(RELOAD_AGAIN.0, RELOAD_AGAIN.1, ports.child("reload")).at_least(RELOAD_AGAIN.0);
        let (said, told, reload_after) = (Vec::new(), BTreeSet::new(), Duration::ZERO);
        Self { config, client, ports, store, said, told, reload_after, reload_backoff }
    }

    /// Runs until `shutdown`, and leaves HAProxy as it is.
    ///
    /// # Errors
    /// [`Trouble::Broken`]; every other trouble is told and tried again.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), Trouble> {
        let watchers = self.watchers();
        let unseen = watchers.iter().map(|(backend, watcher)| (backend.clone(), watcher.wanted().clone()));
        let (sender, mut wanted) = watch::channel::<AllWanted>(unseen.collect());
        let mut tasks = JoinSet::new();
        for (backend, watcher) in watchers {
            let sender = sender.clone();
            let tell = move |now: &Wanted| {
                sender.send_if_modified(|all| all.insert(backend.clone(), now.clone()).as_ref() != Some(now));
            };
            tasks.spawn(watcher.run(tell));
        }
        // What is seen in the first moment is done in one round.
        let all_seen =
            wanted.wait_for(|all| all.values().all(|one| one.doubt != Some(crate::sight::Doubt::NotYetSeen)));
        let _ = shutdown.unless_cancelled(tokio::time::timeout(FIRST_LOOK, all_seen)).await;
        let mut backoff = Exponential::new(RETRY.0, RETRY.1, self.ports.child("rounds")).at_least(RETRY_FLOOR);
        loop {
            let now = wanted.borrow_and_update().clone();
            let Some(round) = shutdown.unless_cancelled(self.round(&now)).await else { return Ok(()) };
            self.say_troubles(&round.troubles);
            let pause = if round.troubles.is_empty() {
                backoff.reset();
                if round.in_motion { IN_MOTION } else { self.ports.jittered(AT_REST, 20) }
            } else {
                backoff.next()
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                Some(Err(error)) = tasks.join_next() => return Err(Trouble::Broken(error.to_string())),
                _ = wanted.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks once and puts everything right, by one round unless a reload is waited for. What drains goes on draining.
    ///
    /// # Errors
    /// Consul does not answer: then nothing is touched.
    pub async fn once(&mut self) -> Result<(Round, AllWanted), Trouble> {
        let mut all = AllWanted::new();
        for (backend, mut watcher) in self.watchers() {
            watcher.look().await?;
            all.insert(backend, watcher.wanted().clone());
        }
        let end = self.ports.monotonic() + RELOADED_WITHIN;
        loop {
            let round = self.round(&all).await;
            if !round.reloading || self.ports.monotonic() >= end {
                return Ok((round, all));
            }
            tokio::time::sleep(IN_MOTION).await;
        }
    }

    /// A watcher for each backend, which knows the servers that the file has.
    fn watchers(&self) -> Vec<(String, Watcher)> {
        let text = self.store.read().ok().flatten().unwrap_or_default();
        let watcher = |backend: &Backend| {
            let last = file::read_back(&text, &backend.name).unwrap_or_default().servers();
            let sight = Sight::new(last, self.config.patience);
            let watcher = Watcher::new(self.client.clone(), self.ports.clone(), backend, sight);
            (backend.name.clone(), watcher)
        };
        self.config.backends.iter().map(watcher).collect()
    }

    /// Compares everything with what is wanted, and puts it right.
    async fn round(&mut self, wanted: &AllWanted) -> Round {
        let mut round = Round::default();
        let table = match &self.config.socket {
            Some(socket) => socket.table().await.map_err(|error| round.troubles.push(error.into())).ok(),
            None => None,
        };
        let old = match self.store.read() {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => {
                round.troubles.push(error.into());
                String::new()
            }
        };
        let seats = self.seats(wanted, table.as_ref(), &old);
        let pairs = self.config.backends.iter().zip(&seats);
        round.servers = pairs.clone().map(|(backend, seats)| (backend.name.clone(), seats.servers().len())).collect();
        let text = file::render(pairs, self.config.mode);
        if text != old
            && let Err(error) = self.store.write(&text).await
        {
            round.troubles.push(error.into());
        }
        if let (Some(table), Some(socket)) = (&table, self.config.socket.clone()) {
            self.tell(&socket, table, &seats, &names(&old, &self.config.backends), &mut round).await;
        }
        round
    }

    /// Who is to sit where, in the order of the backends.
    fn seats(&self, wanted: &AllWanted, table: Option<&Table>, old: &str) -> Vec<Seats> {
        let names = names(old, &self.config.backends);
        let nothing = Wanted::default();
        let seats = |backend: &Backend| {
            let in_file = || file::read_back(old, &backend.name).unwrap_or_default().as_table();
            let has = table.and_then(|table| table.get(&backend.name)).cloned().unwrap_or_else(in_file);
            let name = |at: &SocketAddr| names.get(at).cloned().unwrap_or_default();
            let live = live(&has).map(|slot| Server { name: name(&slot.at), at: slot.at, weight: slot.weight });
            let servers = wanted.get(&backend.name).unwrap_or(&nothing).beside(live.collect());
            Seats::of(&servers, &has, self.config.slots)
        };
        self.config.backends.iter().map(seats).collect()
    }

    /// Tells HAProxy what differs, and has it read its files again where that is not enough.
    async fn tell(&mut self, socket: &Socket, table: &Table, seats: &[Seats], names: &Names, round: &mut Round) {
        let mut said = Vec::new();
        let mut lacking = Vec::new();
        for (backend, seats) in self.config.backends.iter().zip(seats) {
            let has = table.get(&backend.name).map_or(&[][..], Vec::as_slice);
            round.in_motion |= has.iter().any(|slot| slot.state == SlotState::Drain);
            for command in seats.commands(has) {
                if let Err(error) = socket.tell(&backend.name, &command).await {
                    round.troubles.push(error.into());
                    break;
                }
                note(&backend.name, &command, seats, has, names);
                said.push(command.line(&backend.name));
            }
            let beyond = seats.beyond(has).count();
            if beyond > 0 || !table.contains_key(&backend.name) {
                lacking.push((backend.name.clone(), has.len(), beyond));
            }
        }
        round.in_motion |= !said.is_empty();
        if let Some(line) = said.first().filter(|_| said == self.said) {
            round.troubles.push(Trouble::NotTaken(line.clone()));
        }
        self.said = said;
        if lacking.is_empty() {
            self.reload_backoff.reset();
        } else {
            self.reload(lacking, round).await;
        }
    }

    /// Has HAProxy read its files again, unless it has just been asked. That it has to be is a trouble until its table shows the slots.
    async fn reload(&mut self, lacking: Vec<(String, usize, usize)>, round: &mut Round) {
        let written = !round.troubles.iter().any(|trouble| matches!(trouble, Trouble::File(_)));
        let words = match &self.config.reload {
            None => "say how by `--reload` or `--master-socket`, or do it by hand".to_owned(),
            Some(_) if !written => "which waits for the file".to_owned(),
            Some(reload) if self.ports.monotonic() < self.reload_after => {
                round.reloading = true;
                format!("{reload} was asked for")
            }
            Some(reload) => {
                tracing::info!(by = %reload, "HAProxy is asked to read its files again");
                let outcome = reload.run().await;
                round.reloading = outcome.is_ok();
                self.reload_after = self.ports.monotonic() + self.reload_backoff.next();
                outcome.map_or_else(|why| format!("{reload}: {why}"), |()| format!("{reload} was asked for"))
            }
        };
        for (backend, slots, lacking) in lacking {
            round.troubles.push(Trouble::TooFewSlots { backend, slots, lacking, reload: words.clone() });
        }
    }

    /// Says each trouble once, and once that it is over.
    fn say_troubles(&mut self, troubles: &[Trouble]) {
        let now: BTreeSet<String> = troubles.iter().map(ToString::to_string).collect();
        for words in now.difference(&self.told) {
            tracing::warn!("{words}");
        }
        if now.is_empty() && !self.told.is_empty() {
            tracing::info!("HAProxy is in step again");
        }
        self.told = now;
    }
}

/// The instances at their places.
type Names = BTreeMap<SocketAddr, String>;

/// Those that the file knows.
fn names(text: &str, backends: &[Backend]) -> Names {
    let seats = backends.iter().filter_map(|backend| file::read_back(text, &backend.name));
    seats.flat_map(|seats| seats.servers()).map(|server| (server.at, server.name)).collect()
}

/// Tells people what has changed.
fn note(backend: &str, command: &Command, seats: &Seats, has: &[Slot], names: &Names) {
    let slot = slot_name(command.slot);
    let seat = seats.0.get(command.slot).and_then(Option::as_ref);
    let left = has.get(command.slot).and_then(|slot| names.get(&slot.at)).map_or("", String::as_str);
    match (&command.change, seat) {
        (Change::Enter(SlotState::Ready), Some(Server { name, at, weight })) => {
            tracing::info!(backend, slot, instance = name, %at, weight, "gets requests");
        }
        (Change::Weigh(weight), Some(Server { name, .. })) => {
            tracing::info!(backend, slot, instance = name, weight, "weighs");
        }
        (Change::Enter(SlotState::Drain), _) => tracing::info!(backend, slot, instance = left, "drains"),
        (Change::Enter(SlotState::Maint), _) => tracing::info!(backend, slot, "has finished and is free"),
        _ => {}
    }
}
