//! A lock in Consul that is held by a session: asked for by a blocking query, renewed, and given back after a time at the latest.
//!
//! The session is noted on the disk, so that an agent that starts again goes on holding what it held. Nobody thinks that it holds the lock for longer
//! than the session lives without a renewal.

use std::{path::PathBuf, time::Duration};

use consul_client::{Behavior, Client, Error, Put, Read, SessionRequest, session::ServiceCheckRef};
use helium_runtime::{backoff::wait_after, ports::Ports};
use tokio::{sync::watch, task::JoinHandle};

use super::machine::Lock;

/// The wait after the first failure, at most, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long giving back may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);

/// Which lock, and how it is held.
#[derive(Clone, Debug)]
pub(super) struct LockSpec {
    /// The key.
    pub(super) key: String,
    /// What it holds while the lock is held: the name of the node.
    pub(super) node: String,
    /// How long the session lives without renewal.
    pub(super) ttl: Duration,
    /// How long the lock is held at most; none for ever.
    pub(super) max_hold: Option<Duration>,
    /// Checks of services here that end the session when they are critical.
    pub(super) checks: Vec<String>,
    /// Whether a Consul node that is lost ends the session at once.
    pub(super) of_node: bool,
    /// The key that tells the session; none for nowhere.
    pub(super) told_at: Option<String>,
    /// Where the session is noted.
    pub(super) note: PathBuf,
}

/// A lock that is asked for or held. Dropping it ends the renewals and leaves the session to its time to live, or to the next agent.
pub(super) struct LockTask {
    state: watch::Receiver<Lock>,
    keeper: Keeper,
    task: JoinHandle<()>,
}

impl LockTask {
    /// Asks for a lock.
    pub(super) fn ask(client: Client, ports: Ports, spec: LockSpec) -> Self {
        let (told, state) = watch::channel(Lock::Asked);
        let keeper = Keeper { client, ports, spec };
        let keeping = keeper.clone();
        Self { state, keeper, task: tokio::spawn(async move { keeping.keep(&told).await }) }
    }

    /// How it is.
    pub(super) fn state(&self) -> Lock {
        if self.task.is_finished() { Lock::Free } else { *self.state.borrow() }
    }

    /// Waits for a change of that.
    pub(super) async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Gives it back, as well as can be.
    pub(super) async fn release(self) {
        self.task.abort();
        self.keeper.release().await;
    }
}

impl Drop for LockTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Keeper {
    client: Client,
    ports: Ports,
    spec: LockSpec,
}

impl Keeper {
    /// Asks and holds, until it has been held for long enough.
    async fn keep(&self, told: &watch::Sender<Lock>) {
        let mut failures = 0;
        let mut session = None;
        let mut renewed = self.ports.monotonic();
        let mut held_since = None;
        loop {
            let turn = tokio::time::timeout(self.spec.ttl / 2, self.turn(&mut session));
            let wait = match turn.await {
                Ok(Ok(held)) => {
                    failures = 0;
                    renewed = self.ports.monotonic();
                    told.send_if_modified(|state| {
                        std::mem::replace(state, if held { Lock::Held } else { Lock::Asked }) != *state
                    });
                    if held { self.spec.ttl / 3 } else { Duration::ZERO }
                }
                outcome => {
                    if let Ok(Err(error)) = outcome
                        && failures == 0
                    {
                        tracing::warn!(key = self.spec.key, %error, "a lock cannot be asked for; trying again");
                    }
                    failures += 1;
                    if self.ports.monotonic().saturating_sub(renewed) >= self.spec.ttl {
                        told.send_replace(Lock::Asked);
                    }
                    wait_after(failures, RETRY.0, RETRY.1.min(self.spec.ttl / 3), &self.ports)
                }
            };
            if *told.borrow() == Lock::Held {
                let now = self.ports.monotonic();
                let since = *held_since.get_or_insert(now);
                if self.spec.max_hold.is_some_and(|most| now.saturating_sub(since) >= most) {
                    tracing::error!(key = self.spec.key, "a lock was held for too long and is given back");
                    return self.release().await;
                }
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Renews, and asks for the lock if it is not held; waits a while for whoever holds it.
    async fn turn(&self, session: &mut Option<String>) -> Result<bool, Error> {
        let noted = session.take().or_else(|| self.noted());
        let alive = match noted {
            Some(id) => self.client.session_renew(&id).await?.map(|_| id),
            None => None,
        };
        let id = match alive {
            Some(id) => id,
            None => self.new_session().await?,
        };
        *session = Some(id.clone());
        if self.client.kv_put(&self.spec.key, self.spec.node.clone(), &Put::acquire(&id)).await? {
            return Ok(true);
        }
        let seen = self.client.kv_get(&self.spec.key, &Read::default()).await?;
        if seen.value.as_ref().is_some_and(|pair| pair.session.is_some()) {
            let read = Read::blocking(seen.meta.index, self.spec.ttl / 4);
            self.client.kv_get(&self.spec.key, &read).await?;
        } else {
            // Free, and not to be had: the lock delay after a session that was ended by force.
            tokio::time::sleep(self.ports.jittered(Duration::from_secs(1), 20)).await;
        }
        Ok(false)
    }

    async fn new_session(&self) -> Result<String, Error> {
        let node_checks = if self.spec.of_node { None } else { Some(Vec::new()) };
        let check = |id: &String| ServiceCheckRef { id: id.clone(), ..ServiceCheckRef::default() };
        let request = SessionRequest {
            name: format!("helium {} of {}", self.spec.key, self.spec.node),
            ttl: Some(self.spec.ttl),
            lock_delay: Some(Duration::ZERO),
            behavior: Behavior::Delete,
            node_checks,
            service_checks: self.spec.checks.iter().map(check).collect(),
            ..SessionRequest::default()
        };
        let id = self.client.session_create(&request).await?;
        if let Err(error) = std::fs::write(&self.spec.note, &id) {
            tracing::warn!(%error, "the session cannot be noted; after a restart it is waited for");
        }
        if let Some(key) = &self.spec.told_at {
            self.client.kv_put(key, id.clone(), &Put::default()).await?;
        }
        Ok(id)
    }

    fn noted(&self) -> Option<String> {
        std::fs::read_to_string(&self.spec.note).ok().filter(|id| !id.is_empty())
    }

    async fn release(&self) {
        let Some(id) = self.noted() else { return };
        let ended = tokio::time::timeout(RELEASE_LIMIT, self.client.session_destroy(&id)).await;
        if let Ok(Ok(())) = ended {
            let _ = std::fs::remove_file(&self.spec.note);
            if let Some(key) = &self.spec.told_at {
                let _ = tokio::time::timeout(RELEASE_LIMIT, self.client.kv_delete(key, None)).await;
            }
        } else {
            tracing::warn!(key = self.spec.key, "a lock could not be given back; it ends with its session");
        }
    }
}
