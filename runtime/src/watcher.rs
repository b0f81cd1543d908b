//! The watcher: drives a [`WatchMachine`] over one prefix and publishes what it shows.
//!
//! One long poll runs for each watcher, and every reader in the process shares its [`View`] through a channel that holds
//! the latest only. Rows are decoded once a version. The task ends with the shutdown, or when nobody reads any more.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use consul_client::{Client, Error, KvPair, Read, Reply};
use tokio::sync::watch;
use tracing::{Instrument, debug, debug_span, info, warn};

use crate::{
    ports::Ports,
    shutdown::Shutdown,
    snapshot::{BlindReason, Decode, Difference, Snapshot, Trust, View},
    watch::{Answer, Ask, Failure, Pace, Page, Pause, WatchEvent, WatchMachine},
};

/// What to watch, and how.
#[derive(Clone, Debug)]
pub struct WatchConfig {
    /// The prefix, ending in `/`.
    pub prefix: String,
    /// The key under the prefix that is always there; without it the watch is blind.
    ///
    /// A long poll on a prefix without any key would wake at every write of the datacentre, and a token without rights
    /// sees the same as a wiped prefix: nothing.
    pub sentinel: String,
    /// The timing.
    pub pace: Pace,
    /// Where the watcher counts.
    pub stats: Arc<WatchStats>,
}

impl WatchConfig {
    /// A watch of `prefix` (with or without its final slash) whose sentinel is `.keep`, at the default pace.
    pub fn new(prefix: &str) -> Self {
        let prefix = format!("{}/", prefix.trim_end_matches('/'));
        let sentinel = format!("{prefix}.keep");
        Self { prefix, sentinel, pace: Pace::default(), stats: Arc::default() }
    }
}

/// What a watcher has counted since it began.
#[derive(Debug, Default)]
pub struct WatchStats {
    /// Snapshots published.
    pub snapshots: AtomicU64,
    /// Answers that brought nothing new.
    pub alive: AtomicU64,
    /// Answers that said nothing.
    pub failures: AtomicU64,
    /// Answers without the sentinel or without rights.
    pub blind: AtomicU64,
    /// Falls of the index.
    pub resets: AtomicU64,
    /// Pages that lacked so many rows that they had to be confirmed.
    pub suspicious: AtomicU64,
    /// Changes that only a check has found.
    pub missed: AtomicU64,
    /// Rows decoded.
    pub decoded: AtomicU64,
}

impl WatchStats {
    /// Each count with its name, for a metrics page.
    pub fn counts(&self) -> [(&'static str, u64); 8] {
        [
            ("snapshots", &self.snapshots),
            ("alive", &self.alive),
            ("failures", &self.failures),
            ("blind", &self.blind),
            ("resets", &self.resets),
            ("suspicious", &self.suspicious),
            ("missed", &self.missed),
            ("decoded", &self.decoded),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Starts to watch a prefix. The view is unread until the first list came.
pub fn watch_prefix<T: Decode>(
    client: Client,
    config: WatchConfig,
    ports: Ports,
    shutdown: Shutdown,
) -> watch::Receiver<View<T>> {
    let (sender, receiver) = watch::channel(View::unread(ports.now()));
    let span = debug_span!("watch", prefix = %config.prefix);
    let check_at = ports.monotonic() + ports.jittered(config.pace.check_every, 10);
    let machine = WatchMachine::new(config.pace, check_at);
    let view = View::clone(&receiver.borrow());
    let mut watcher = Watcher { client, config, ports, machine, view, sender };
    tokio::spawn(async move { shutdown.unless_cancelled(watcher.run()).await }.instrument(span));
    receiver
}

struct Watcher<T> {
    client: Client,
    config: WatchConfig,
    ports: Ports,
    machine: WatchMachine,
    view: View<T>,
    sender: watch::Sender<View<T>>,
}

impl<T: Decode> Watcher<T> {
    /// Asks and publishes until nobody reads.
    async fn run(&mut self) {
        let sender = self.sender.clone();
        tokio::select! {
            biased;
            () = sender.closed() => {}
            () = self.ask_for_ever() => {}
        }
    }

    async fn ask_for_ever(&mut self) {
        loop {
            let pause = self.turn().await;
            let pause = match pause {
                Pause::None => continue,
                Pause::Exactly(pause) => pause,
                Pause::UpTo(limit) => self.ports.up_to(limit),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One question and what its answer leads to.
    async fn turn(&mut self) -> Pause {
        let now = self.ports.monotonic();
        if self.machine.check_if_due(now) {
            self.machine.check_again_at(now + self.ports.jittered(self.config.pace.check_every, 10));
        }
        let (answer, next) = match self.machine.ask() {
            Ask::Sentinel => (self.look_at_sentinel().await, None),
            Ask::List => self.judge(self.list(&Read::consistent()).await),
            Ask::Probe => self.judge(self.list(&Read::default()).await),
            Ask::Follow { index, wait } => self.judge(self.list(&Read::blocking(index, wait)).await),
        };
        let step = self.machine.step(&answer, self.ports.monotonic());
        self.take(&step.events, next);
        step.pause
    }

    async fn list(&self, read: &Read) -> Result<Reply<Vec<KvPair>>, Error> {
        self.client.kv_list(&self.config.prefix, read).await
    }

    async fn look_at_sentinel(&self) -> Answer {
        match self.client.kv_get(&self.config.sentinel, &Read::default()).await {
            Ok(Reply { value: Some(_), .. }) => Answer::Sentinel,
            Ok(Reply { meta, .. }) => Answer::NotFound { index: meta.index },
            Err(error) => answer_of(&error),
        }
    }

    /// What the machine needs to know of a reply, and the snapshot that it may become.
    fn judge(&self, reply: Result<Reply<Vec<KvPair>>, Error>) -> (Answer, Option<(Snapshot<T>, Difference)>) {
        let Reply { value: pairs, meta } = match reply {
            Ok(reply) => reply,
            Err(error) => {
                debug!(%error, "the list failed");
                return (answer_of(&error), None);
            }
        };
        if pairs.is_empty() && meta.known_leader {
            return (Answer::NotFound { index: meta.index }, None);
        }
        let sentinel = pairs.iter().any(|pair| pair.key == self.config.sentinel);
        let (snapshot, difference) = self.view.snapshot.succeed(meta.index, &self.config.sentinel, pairs);
        let page = Page {
            index: meta.index,
            sentinel,
            known_leader: meta.known_leader,
            last_contact: meta.last_contact,
            filtered_by_acls: meta.filtered_by_acls,
            difference,
        };
        (Answer::Page(page), Some((snapshot, difference)))
    }

    /// Makes the events visible.
    fn take(&mut self, events: &[WatchEvent], mut next: Option<(Snapshot<T>, Difference)>) {
        let before = (self.view.trust, self.view.snapshot.index, self.view.resets);
        for event in events {
            self.take_one(*event, &mut next);
        }
        if before != (self.view.trust, self.view.snapshot.index, self.view.resets)
            || events.contains(&WatchEvent::Snapshot)
        {
            // Nobody reading is no error here: the task ends at its next wait.
            let _ = self.sender.send(self.view.clone());
        }
    }

    fn take_one(&mut self, event: WatchEvent, next: &mut Option<(Snapshot<T>, Difference)>) {
        let stats = &self.config.stats;
        match event {
            WatchEvent::Alive => {
                count(&stats.alive, 1);
                self.trust();
            }
            WatchEvent::Snapshot => {
                if let Some((snapshot, difference)) = next.take() {
                    count(&stats.snapshots, 1);
                    count(&stats.decoded, difference.changed);
                    self.view.snapshot = Arc::new(snapshot);
                }
                self.trust();
            }
            WatchEvent::Blind(reason) => {
                if reason != BlindReason::Unreachable {
                    count(&stats.blind, 1);
                }
                self.blind(reason);
            }
            WatchEvent::Reset { from, to } => {
                info!(from, to, "the index went back; reading anew");
                count(&stats.resets, 1);
                self.view.resets += 1;
            }
            WatchEvent::Suspicious(Difference { held, lost, missed, .. }) => {
                warn!(held, lost, missed, "rows are gone or differ as they should not; asking a quorum");
                count(&stats.suspicious, 1);
            }
            WatchEvent::Missed(missed) => {
                warn!(missed, "found changes that no poll had shown");
                count(&stats.missed, missed);
            }
            WatchEvent::Failed(failure) => {
                debug!(?failure, "no useful answer");
                count(&stats.failures, 1);
            }
        }
    }

    fn trust(&mut self) {
        if !self.view.trust.is_trusted() {
            match self.view.trust.blind_reason() {
                // Every watch begins so; there are dozens of them.
                None | Some(BlindReason::NotRead) => debug!("the view is trusted"),
                Some(reason) => info!(was = reason.as_str(), "the view is trusted again"),
            }
            self.view.trust = Trust::Trusted { since: self.ports.now() };
        }
    }

    fn blind(&mut self, reason: BlindReason) {
        if self.view.trust.blind_reason() != Some(reason) {
            warn!(reason = reason.as_str(), "the view is blind");
            self.view.trust = Trust::Blind { reason, since: self.ports.now() };
        }
    }
}

fn answer_of(error: &Error) -> Answer {
    match error {
        error if error.is_denied() => Answer::Denied,
        Error::Timeout { .. } => Answer::Failed(Failure::Timeout),
        Error::NoLeader { .. } => Answer::Failed(Failure::Stale),
        Error::Transport { .. } => Answer::Failed(Failure::Transport),
        _ => Answer::Failed(Failure::Server),
    }
}
