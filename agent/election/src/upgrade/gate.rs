//! The way in: lines up, waits for a change, and takes a place when it is free.

use std::{collections::BTreeSet, time::Duration};

use consul_client::{Client, Error, Put, Read, SessionRequest, TxnOp};
use helium_runtime::{
    backoff::{Backoff, Exponential},
    ports::Ports,
};
use tracing::{debug, info, warn};

use super::{
    Bad, Hold, Limits, Permit, Queue,
    decide::{Decision, Me, View, decide},
    permit::Keeper,
    store::{self, Seen},
};
use crate::keys::Keys;

/// The longest wait of a blocking query.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(25);

/// The longest pause between two tries while Consul is away.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Why a node was not let in, or could not give its place back.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The version failed elsewhere.
    #[error("version {} is marked as bad: {} (at {})", .0.version, .0.why, .0.by)]
    Bad(Bad),
    /// The upgrade key holds something else.
    #[error("{key} holds no queue of upgrades: {reason}; delete the key if nothing upgrades now")]
    Unreadable {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Consul refuses: trying again would not help.
    #[error(transparent)]
    Consul(#[from] Error),
}

impl UpgradeError {
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Consul(error) if !error.is_denied() && !matches!(error, Error::Invalid { .. }))
    }
}

/// The upgrade lock of one service, as one node sees it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    pub(super) client: Client,
    pub(super) ports: Ports,
    pub(super) keys: Keys,
    pub(super) limits: Limits,
    pub(super) who: String,
}

enum Step {
    In(Hold),
    Again,
    Wait { look_in: Duration, poll_index: u64 },
}

impl Gate {
    /// The lock at `keys` for the node or instance `who`; there must not be two of one name.
    pub fn new(client: Client, ports: Ports, keys: Keys, limits: Limits, who: impl Into<String>) -> Self {
        Self { client, ports, keys, limits, who: who.into() }
    }

    /// Waits for a place to upgrade to `version`. A node that had one before its agent's restart goes on with it, the rest of its time included.
    ///
    /// While Consul is away this waits. Dropped, its place in line stays until its session has ended, and a next call takes it over.
    ///
    /// # Errors
    /// [`UpgradeError::Bad`] as soon as the version is marked, and what no waiting would help.
    pub async fn enter(&self, version: &str) -> Result<Permit, UpgradeError> {
        let mut pauses = self.pauses();
        loop {
            match self.enter_once(version).await {
                Ok(Some(permit)) => return Ok(permit),
                Ok(None) => warn!("the session of who waits has ended; it goes on with another"),
                Err(error) if error.passes() => {
                    debug!(%error, "cannot line up");
                    tokio::time::sleep(pauses.next()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The mark of a version, if it is bad.
    pub async fn bad(&self, version: &str) -> Result<Option<Bad>, Error> {
        store::bad(&self.client, &self.keys, version).await
    }

    /// Takes the mark of a version away: what a person does who knows that it is good now. True if there was one.
    pub async fn clear(&self, version: &str) -> Result<bool, Error> {
        let was = self.bad(version).await?.is_some();
        self.client.kv_delete(&self.keys.bad_version(version), None).await?;
        Ok(was)
    }

    /// Marks a version as bad without having upgraded to it; the first mark stays. True if it is ours.
    pub async fn mark(&self, version: &str, why: &str) -> Result<bool, Error> {
        let value = serde_json::to_vec(&self.bad_of(version, why)).unwrap_or_default();
        self.client.kv_put(&self.keys.bad_version(version), value, &Put::create()).await
    }

    pub(super) fn bad_of(&self, version: &str, why: &str) -> Bad {
        let at = Some(self.ports.now());
        Bad { version: version.to_owned(), why: why.to_owned(), by: self.who.clone(), at }
    }

    pub(super) fn pauses(&self) -> Exponential {
        Exponential::new(self.limits.retry, MAX_PAUSE, self.ports.clone()).at_least(self.limits.retry / 10)
    }

    /// Lines up under one session; none if that has ended.
    async fn enter_once(&self, version: &str) -> Result<Option<Permit>, UpgradeError> {
        // Before there is a session to be cleaned up.
        if let Some(bad) = self.bad(version).await? {
            self.leave().await;
            return Err(UpgradeError::Bad(bad));
        }
        let session = self.client.session_create(&self.session_request()).await?;
        let me = Me { who: self.who.clone(), session: session.clone(), version: version.to_owned() };
        let keeper = Keeper::start(self, session.clone());
        let entered = tokio::select! {
            biased;
            () = keeper.ended() => return Ok(None),
            entered = self.line_up(&me) => entered,
        };
        match entered {
            Ok(hold) => {
                info!(who = me.who, version, until = %hold.until, "upgrades");
                Ok(Some(Permit::new(self.clone(), hold, keeper)))
            }
            Err(error) => {
                drop(keeper);
                if let Err(error) = self.client.session_destroy(&session).await {
                    debug!(%error, "the session stays until its TTL is over");
                }
                Err(error)
            }
        }
    }

    async fn line_up(&self, me: &Me) -> Result<Hold, UpgradeError> {
        let (mut pauses, mut look) = (self.pauses(), true);
        loop {
            match self.step(me, look).await {
                Ok(Step::In(hold)) => return Ok(hold),
                Ok(Step::Again) => {
                    look = false;
                    tokio::time::sleep(self.ports.up_to(self.limits.retry / 4)).await;
                }
                Ok(Step::Wait { look_in, poll_index }) => {
                    pauses.reset();
                    look = !self.changed(poll_index, look_in).await;
                }
                Err(error) if error.passes() => {
                    debug!(%error, "the upgrade lock could not be read or written");
                    look = true;
                    tokio::time::sleep(pauses.next()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&self, me: &Me, look: bool) -> Result<Step, UpgradeError> {
        let Seen { queue, index, poll_index, locked } =
            store::queue(&self.client, &self.keys, &Read::consistent()).await?;
        let bad = self.bad(&me.version).await?;
        if locked && bad.is_none() {
            return Ok(Step::Wait { look_in: self.limits.look_every, poll_index });
        }
        let dead = if look { store::dead(&self.client, &queue, &me.session).await? } else { BTreeSet::new() };
        let view = View { queue: &queue, bad: bad.as_ref(), dead: &dead, now: self.ports.now() };
        match decide(view, me, &self.limits) {
            Decision::Held(hold) => Ok(Step::In(hold)),
            Decision::Refuse { bad, queue } => {
                match queue {
                    // All who wait leave at once, and one after the other.
                    Some(queue) if !self.write(&queue, index, None).await? => Ok(Step::Again),
                    _ => Err(UpgradeError::Bad(bad)),
                }
            }
            // Whether it was written shows when it is read again.
            Decision::Enter { queue } => {
                let good = TxnOp::CheckNotExists { key: self.keys.bad_version(&me.version) };
                self.write(&queue, index, Some(good)).await?;
                Ok(Step::Again)
            }
            Decision::LineUp { queue } => {
                self.write(&queue, index, None).await?;
                Ok(Step::Again)
            }
            Decision::Wait { look_in } => Ok(Step::Wait { look_in: look_in.unsigned_abs(), poll_index }),
        }
    }

    async fn write(&self, queue: &Queue, index: u64, with: Option<TxnOp>) -> Result<bool, Error> {
        store::write(&self.client, &self.keys, queue, index, with).await
    }

    /// Waits for a change of the queue; false if there was none for `at_most`, so that the sessions want looking after.
    async fn changed(&self, index: u64, at_most: Duration) -> bool {
        let until = self.ports.monotonic() + at_most;
        loop {
            let left = until.saturating_sub(self.ports.monotonic());
            if left.is_zero() {
                return false;
            }
            let read = Read::blocking(index, left.clamp(Duration::from_millis(1), MAX_WAIT));
            match self.client.kv_get(&self.keys.upgrade, &read).await {
                Ok(reply) if reply.meta.index == index => {}
                Ok(_) => return true,
                Err(error) => {
                    debug!(%error, "a poll of the upgrade lock failed");
                    tokio::time::sleep(self.ports.jittered(self.limits.retry, 50)).await;
                }
            }
        }
    }

    /// Takes the entry of an earlier call or an earlier life out of the queue, whether it waits or holds a place: what somebody does who does not
    /// want to upgrade any more. In vain it is cleaned up by those who wait, once its session has ended.
    pub async fn leave(&self) {
        let left = async {
            loop {
                let seen = store::queue(&self.client, &self.keys, &Read::consistent()).await?;
                let without = super::decide::without(&seen.queue, &self.who);
                if without == seen.queue || self.write(&without, seen.index, None).await? {
                    return Ok::<_, UpgradeError>(());
                }
                tokio::time::sleep(self.ports.up_to(self.limits.retry / 4)).await;
            }
        };
        if let Err(error) = left.await {
            debug!(%error, "could not leave the line");
        }
    }

    pub(super) fn session_request(&self) -> SessionRequest {
        SessionRequest {
            name: format!("{} of {}", self.keys.upgrade, self.who),
            ttl: Some(self.limits.ttl),
            lock_delay: Some(Duration::ZERO),
            node_checks: Some(Vec::new()),
            ..SessionRequest::default()
        }
    }
}
