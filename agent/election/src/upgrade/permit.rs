//! A place to upgrade in: kept alive, bounded, and given back only by a word.

use consul_client::{Read, TxnOp};
use helium_runtime::backoff::Backoff;
use tokio::{sync::watch, task::JoinHandle};
use tracing::{debug, info, warn};

use super::{
    Bad, Gate, Hold, Queue, UpgradeError,
    gate::MAX_WAIT,
    store::{self, Seen},
};

/// How a place stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is ours.
    Held,
    /// Its time is over: it is ours until somebody passes.
    Overdue,
    /// It is not ours any more: its time was over, or we were silent for too long, and another has passed.
    Passed,
}

/// Renews a session for as long as it is there, and stops when it is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    ended: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(gate: &Gate, session: String) -> Self {
        let (say, ended) = watch::channel(false);
        let gate = gate.clone();
        let task = tokio::spawn(async move {
            renew_while_there(&gate, &session).await;
            say.send_replace(true);
        });
        Self { ended, task }
    }

    /// Waits until Consul has ended the session.
    pub(super) async fn ended(&self) {
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn renew_while_there(gate: &Gate, session: &str) {
    let mut pause = gate.limits.ttl / 3;
    loop {
        tokio::time::sleep(pause).await;
        pause = match gate.client.session_renew(session).await {
            Ok(Some(_)) => gate.limits.ttl / 3,
            Ok(None) => return,
            Err(error) => {
                debug!(%error, "a session could not be renewed");
                gate.ports.jittered(gate.limits.retry, 50)
            }
        };
    }
}

/// A place to upgrade in.
///
/// It is given back by [`Permit::healthy`], [`Permit::failed`] or [`Permit::abandon`]. Dropped without one of them it stays taken until the session
/// has ended, one to two TTLs later: so it is when the agent dies in the middle.
#[derive(Debug)]
pub struct Permit {
    gate: Gate,
    hold: Hold,
    standing: watch::Receiver<Standing>,
    _keeper: Keeper,
    observer: JoinHandle<()>,
}

impl Permit {
    pub(super) fn new(gate: Gate, hold: Hold, keeper: Keeper) -> Self {
        let (say, standing) = watch::channel(Standing::Held);
        let observer = tokio::spawn(observe(gate.clone(), hold.clone(), say));
        Self { gate, hold, standing, _keeper: keeper, observer }
    }

    /// Since when, and until when nobody passes.
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// How the place stands now, and a way to wait for a change. Told by Consul's word, except that its time is over.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// The upgrade is done and the node is healthy: the next may go.
    ///
    /// While Consul is away this waits.
    ///
    /// # Errors
    /// What trying again would not help; the session's end then frees the place.
    pub async fn healthy(self) -> Result<(), UpgradeError> {
        self.give_back(None).await
    }

    /// The upgrade failed: its version is marked as bad and the place given back, in one transaction. A mark that is there already stays.
    ///
    /// While Consul is away this waits. If it is dropped before, nothing is marked.
    ///
    /// # Errors
    /// As of [`Permit::healthy`]; the version is not marked then.
    pub async fn failed(self, why: &str) -> Result<(), UpgradeError> {
        let bad = self.gate.bad_of(&self.hold.version, why);
        self.give_back(Some(bad)).await
    }

    /// Nothing was changed on this node, which says nothing about the version: the next may go.
    ///
    /// # Errors
    /// As of [`Permit::healthy`].
    pub async fn abandon(self) -> Result<(), UpgradeError> {
        self.give_back(None).await
    }

    async fn give_back(self, bad: Option<Bad>) -> Result<(), UpgradeError> {
        let mut pauses = self.gate.pauses();
        loop {
            match self.give_back_once(bad.as_ref()).await {
                Ok(true) => break,
                Ok(false) => tokio::time::sleep(self.gate.ports.up_to(self.gate.limits.retry / 4)).await,
                Err(error) if error.passes() => {
                    warn!(%error, "the place to upgrade in could not be given back yet");
                    tokio::time::sleep(pauses.next()).await;
                }
                Err(error) => return Err(error),
            }
        }
        info!(who = self.hold.who, version = self.hold.version, bad = bad.is_some(), "does not upgrade any more");
        if let Err(error) = self.gate.client.session_destroy(&self.hold.session).await {
            debug!(%error, "the session stays until its TTL is over");
        }
        Ok(())
    }

    /// False if somebody else has changed something meanwhile.
    async fn give_back_once(&self, bad: Option<&Bad>) -> Result<bool, UpgradeError> {
        let Gate { client, keys, .. } = &self.gate;
        let Seen { queue, index, .. } = store::queue(client, keys, &Read::consistent()).await?;
        let without = without_session(&queue, &self.hold.session);
        let mark = match bad {
            Some(bad) if store::bad(client, keys, &bad.version).await?.is_none() => {
                let value = serde_json::to_vec(bad).unwrap_or_default();
                Some(TxnOp::cas(keys.bad_version(&bad.version), value, 0))
            }
            _ => None,
        };
        if without == queue && mark.is_none() {
            return Ok(true);
        }
        Ok(store::write(client, keys, &without, index, mark).await?)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.observer.abort();
    }
}

fn without_session(queue: &Queue, session: &str) -> Queue {
    let mut queue = queue.clone();
    queue.holders.retain(|hold| hold.session != session);
    queue.waiting.retain(|waiter| waiter.session != session);
    queue
}

/// Tells when the time is over, and when the place is gone.
async fn observe(gate: Gate, hold: Hold, say: watch::Sender<Standing>) {
    let passed = passed(&gate, &hold);
    tokio::pin!(passed);
    let left = hold.until.duration_since(gate.ports.now());
    if left.is_positive() {
        tokio::select! {
            biased;
            () = &mut passed => {
                say.send_replace(Standing::Passed);
                return;
            }
            () = tokio::time::sleep(left.unsigned_abs()) => {}
        }
    }
    warn!(who = hold.who, version = hold.version, "has upgraded for longer than it may; others may pass");
    say.send_replace(Standing::Overdue);
    passed.await;
    say.send_replace(Standing::Passed);
}

/// Returns when the queue does not hold this place any more.
async fn passed(gate: &Gate, hold: &Hold) {
    let mut index = 0;
    loop {
        match store::queue(&gate.client, &gate.keys, &Read::blocking(index, MAX_WAIT)).await {
            Ok(seen) if seen.queue.holders.iter().all(|other| other.session != hold.session) => {
                warn!(who = hold.who, version = hold.version, "another has passed");
                return;
            }
            Ok(seen) => index = if seen.poll_index < index { 0 } else { seen.poll_index },
            Err(error) => {
                debug!(%error, "the upgrade lock could not be read");
                index = 0;
                tokio::time::sleep(gate.ports.jittered(gate.limits.retry, 50)).await;
            }
        }
    }
}
