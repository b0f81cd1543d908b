//! The election as a pure machine: it is told what the store said, and says what to do next.
//!
//! It is level-triggered. It holds the last known facts (our session, the lock, whether the holder's check is critical), and
//! [`Election::duty`] derives from them the one thing to do now, or how long to wait. A duty that failed is due again
//! after a pause; one that was answered is reported by the method of the same name.

use std::{collections::BTreeSet, time::Duration};

use super::Holder;

/// The times of an election.
#[derive(Clone, Debug)]
pub struct Times {
    /// The session's TTL, 10 s to 24 h. The store ends the session between one and two TTLs after the last renewal.
    pub ttl: Duration,
    /// How often to renew the session.
    pub renew_every: Duration,
    /// The TTL of the controller's check.
    pub check_ttl: Duration,
    /// How often to send a heartbeat to the check.
    pub beat_every: Duration,
    /// How long the holder's check must be critical without a break before its session is destroyed.
    pub confirm: Duration,
    /// The longest time one request may take.
    pub request: Duration,
    /// How long to wait after a failed request.
    pub retry: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30),
            renew_every: Duration::from_secs(5),
            check_ttl: Duration::from_secs(3),
            beat_every: Duration::from_secs(1),
            confirm: Duration::from_millis(750),
            request: Duration::from_secs(2),
            retry: Duration::from_millis(500),
        }
    }
}

/// The lock, as last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Not read since it last may have changed.
    Unknown,
    /// Nobody holds it.
    Free,
    /// A session holds it.
    Held {
        /// The session.
        session: String,
        /// Who that is, if the value can be read.
        holder: Option<Holder>,
    },
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Create a session, then report [`Election::created`].
    CreateSession,
    /// Renew our session, then report [`Election::renewed`] or [`Election::session_gone`].
    Renew {
        /// The session.
        session: String,
    },
    /// Read the lock, confirmed by a quorum, then report [`Election::lock_seen`].
    ReadLock,
    /// Take the lock, then report [`Election::acquired`].
    Acquire {
        /// Our session.
        session: String,
    },
    /// Read the health of the controllers, confirmed by a quorum, then report [`Election::health_seen`].
    Inspect,
    /// Destroy the session of a holder that is dead, then report [`Election::deposed`].
    Depose {
        /// The holder's session.
        session: String,
    },
    /// Nothing until then.
    Wait {
        /// The time on the monotonic clock.
        until: Duration,
    },
}

/// Our session.
#[derive(Clone, Debug)]
struct Ours {
    id: String,
    /// When the last successful renewal was sent.
    renewed_at: Duration,
    renew_at: Duration,
}

/// The doubt whether the lock's holder is alive.
#[derive(Clone, Debug)]
struct Doubt {
    /// The holder's session.
    session: String,
    /// Since when its check was seen to be critical at every look; none before the first look.
    since: Option<Duration>,
    look_at: Duration,
    /// Whether it has been long enough.
    certain: bool,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Election {
    times: Times,
    ours: Option<Ours>,
    lock: Lock,
    /// The ids of the controllers whose check was last seen to be critical.
    critical: BTreeSet<String>,
    doubt: Option<Doubt>,
    /// Nothing is asked before that.
    retry_at: Duration,
}

impl Election {
    /// An election of which nothing is known. `session` is one that an earlier life of this very process has left behind.
    pub fn new(times: Times, session: Option<String>) -> Self {
        let ours = session.map(|id| Ours { id, renewed_at: Duration::ZERO, renew_at: Duration::ZERO });
        Self { times, ours, lock: Lock::Unknown, critical: BTreeSet::new(), doubt: None, retry_at: Duration::ZERO }
    }

    /// What to do at `now`.
    pub fn duty(&self, now: Duration) -> Duty {
        if now < self.retry_at {
            return Duty::Wait { until: self.retry_at };
        }
        let Some(ours) = &self.ours else { return Duty::CreateSession };
        if now >= ours.renew_at {
            return Duty::Renew { session: ours.id.clone() };
        }
        match &self.lock {
            Lock::Unknown => Duty::ReadLock,
            Lock::Free => Duty::Acquire { session: ours.id.clone() },
            Lock::Held { session, .. } => match &self.doubt {
                Some(doubt) if doubt.certain => Duty::Depose { session: session.clone() },
                Some(doubt) if now >= doubt.look_at => Duty::Inspect,
                Some(doubt) => Duty::Wait { until: ours.renew_at.min(doubt.look_at) },
                None => Duty::Wait { until: ours.renew_at },
            },
        }
    }

    /// Whether our session holds the lock, as far as was seen.
    pub fn leads(&self) -> bool {
        self.session().is_some_and(|ours| matches!(&self.lock, Lock::Held { session, .. } if session == ours))
    }

    /// Our session.
    pub fn session(&self) -> Option<&str> {
        self.ours.as_ref().map(|ours| ours.id.as_str())
    }

    /// The lock, as last seen.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Until when we may act outside the store: half a TTL after the last renewal that came back was *sent*.
    pub fn deadline(&self) -> Duration {
        self.ours.as_ref().map_or(Duration::ZERO, |ours| ours.renewed_at + self.times.ttl / 2)
    }

    /// A session was created by a request that was sent at `sent`.
    pub fn created(&mut self, id: String, sent: Duration) {
        self.ours = Some(Ours { id, renewed_at: sent, renew_at: sent + self.times.renew_every });
    }

    /// Our session was renewed by a request that was sent at `sent`.
    pub fn renewed(&mut self, sent: Duration) {
        if let Some(ours) = &mut self.ours {
            (ours.renewed_at, ours.renew_at) = (sent, sent + self.times.renew_every);
        }
    }

    /// The store does not know our session any more.
    pub fn session_gone(&mut self) {
        self.ours = None;
        self.forget_lock();
    }

    /// The lock was read.
    pub fn lock_seen(&mut self, lock: Lock, now: Duration) {
        self.lock = lock;
        self.consider(false, now);
    }

    /// The store has answered a try to take the lock. Either way the lock is read again before anything is concluded.
    pub fn acquired(&mut self, taken: bool, now: Duration) {
        self.forget_lock();
        if !taken {
            self.retry_at = now + self.times.retry;
        }
    }

    /// The health of the controllers was read, `confirmed` by a quorum or not: these ids have a critical check.
    pub fn health_seen(&mut self, critical: BTreeSet<String>, confirmed: bool, now: Duration) {
        self.critical = critical;
        self.consider(confirmed, now);
    }

    /// The holder's session was destroyed.
    pub fn deposed(&mut self) {
        self.forget_lock();
    }

    /// A request failed without saying anything. Whatever was asked is asked again, and a doubt begins anew: what was not
    /// seen to be critical at every look was not critical all the time.
    pub fn failed(&mut self, now: Duration) {
        self.retry_at = now + self.times.retry;
        if let Some(doubt) = &mut self.doubt {
            (doubt.since, doubt.certain) = (None, false);
        }
    }

    /// The store refused our session where it should have known it: ask it first.
    pub fn session_doubtful(&mut self, now: Duration) {
        if let Some(ours) = &mut self.ours {
            ours.renew_at = now;
        }
        self.forget_lock();
        self.retry_at = now + self.times.retry;
    }

    fn forget_lock(&mut self) {
        (self.lock, self.doubt) = (Lock::Unknown, None);
    }

    /// Doubts the holder of the lock, or stops to; only a confirmed look makes a doubt grow.
    fn consider(&mut self, confirmed: bool, now: Duration) {
        let doubted = self.doubt.take();
        let Lock::Held { session, holder: Some(holder) } = &self.lock else { return };
        if self.leads() || !self.critical.contains(&holder.id) {
            return;
        }
        let mut doubt = doubted.filter(|doubt| doubt.session == *session).unwrap_or(Doubt {
            session: session.clone(),
            since: None,
            look_at: now,
            certain: false,
        });
        if confirmed {
            let since = *doubt.since.get_or_insert(now);
            doubt.certain = now.saturating_sub(since) >= self.times.confirm;
            doubt.look_at = now + self.times.confirm / 3;
        }
        self.doubt = Some(doubt);
    }
}

#[cfg(test)]
mod tests;
