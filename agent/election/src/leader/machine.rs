//! The election of a service's leader as a pure machine: [`State::step`] is told one thing and says what to do next.
//!
//! It asks Consul one question at a time. What it asks follows from what it knows (its session, the lock, whether it leads), not from what
//! happened last, so an answer that never came is asked for again. Times are on a monotonic clock.

use std::time::Duration;

use super::{
    Event, Holder, Note, Settings, Token, Why,
    words::{Ask, Effect, Input, Lock},
};

#[derive(Clone, Debug)]
struct Ours {
    id: String,
    /// When the last successful renewal was sent; none for a session of an earlier life that was not renewed yet.
    renewed_at: Option<Duration>,
    renew_at: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Standby,
    Leading {
        token: u64,
        announced: bool,
    },
    /// Leader-only work is stopping; then the session is given back.
    Stopping {
        until: Duration,
    },
    /// The session is given back: first the lock, then the session itself.
    Retiring {
        released: bool,
    },
    Gone,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct State {
    settings: Settings,
    key: String,
    ours: Option<Ours>,
    /// The number of the token that an earlier life had under our session.
    noted: Option<u64>,
    /// None if it has to be read.
    lock: Option<Lock>,
    /// The lock's holder as last seen, for people.
    last_seen: Option<Holder>,
    role: Role,
    busy: bool,
    /// Nothing but renewals is asked before that.
    retry_at: Duration,
    leaving: bool,
    trouble: Option<String>,
}

impl State {
    /// An election about the lock `key` of which nothing is known but what an earlier life noted.
    ///
    /// Until [`Event::Gained`] comes, what that life may have left running has to be taken for lost.
    pub fn new(settings: Settings, key: impl Into<String>, note: Option<Note>) -> Self {
        let noted = note.as_ref().and_then(|note| note.token);
        let ours = note.map(|note| Ours { id: note.session, renewed_at: None, renew_at: Duration::ZERO });
        Self {
            settings,
            key: key.into(),
            ours,
            noted,
            lock: None,
            last_seen: None,
            role: Role::Standby,
            busy: false,
            retry_at: Duration::ZERO,
            leaving: false,
            trouble: None,
        }
    }

    /// Takes one input at `now` and says what to do. [`State::wake_at`] says when to come again without one.
    pub fn step(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        // First of all, so that no answer that came too late counts.
        if self.lost_at_latest().is_some_and(|at| now >= at) {
            self.lose(Why::LeaseOver, now, &mut effects);
        }
        self.take(input, now, &mut effects);
        if matches!(self.role, Role::Stopping { until } if now >= until) {
            self.role = Role::Retiring { released: false };
        }
        self.ask_next(now, &mut effects);
        effects
    }

    /// When this candidate loses the leadership if Consul says nothing from now on; none if it does not lead.
    pub fn lost_at_latest(&self) -> Option<Duration> {
        matches!(self.role, Role::Leading { .. }).then(|| self.lease_end().unwrap_or_default())
    }

    /// When to call [`State::step`] with [`Input::Tick`] if nothing else happens before; none if time alone changes nothing.
    pub fn wake_at(&self) -> Option<Duration> {
        let stops = match self.role {
            Role::Stopping { until } => Some(until),
            _ => None,
        };
        let asks = if self.busy { None } else { self.next_time() };
        [self.lost_at_latest(), stops, asks].into_iter().flatten().min()
    }

    /// The token, while this candidate leads.
    pub fn token(&self) -> Option<Token> {
        match self.role {
            Role::Leading { token, .. } => Some(self.token_of(token)),
            _ => None,
        }
    }

    /// Whether the lock is held and so worth a blocking query. One on a key that is free would be woken by nothing of use: the end of a lock
    /// delay is no change, and a key that is not there wakes at every write.
    pub fn watches(&self) -> bool {
        matches!(self.role, Role::Standby | Role::Leading { .. }) && matches!(self.lock, Some(Lock::Held { .. }))
    }

    /// Who holds the lock, as far as was seen.
    pub fn holder(&self) -> Option<&Holder> {
        self.last_seen.as_ref()
    }

    /// What keeps this candidate from knowing or leading.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn take(&mut self, input: Input, now: Duration, effects: &mut Vec<Effect>) {
        if !matches!(input, Input::Tick | Input::Seen { .. } | Input::Stopped | Input::Leave) {
            self.busy = false;
        }
        if !matches!(input, Input::Tick | Input::Stopped | Input::Leave | Input::Refused { .. } | Input::Failed { .. })
        {
            self.trouble = None;
        }
        match input {
            Input::Tick => {}
            Input::Created { session, sent } => self.created(session, sent, effects),
            Input::Renewed { sent } => self.renewed(sent),
            Input::SessionGone => self.session_gone(now, effects),
            Input::Read { lock } => self.read(lock, now, effects),
            Input::Acquired { taken } => {
                self.lock = None;
                if !taken {
                    self.retry_at = now + self.settings.retry;
                }
            }
            Input::Announced => {
                if let Role::Leading { announced, .. } = &mut self.role {
                    *announced = true;
                }
            }
            Input::Released => {
                if let Role::Retiring { released } = &mut self.role {
                    *released = true;
                }
            }
            Input::Destroyed => self.forget_session(),
            Input::Refused { why } => self.refused(why, now),
            Input::Failed { why } => self.failed(why, now),
            Input::Seen { lock } => {
                if self.lock.as_ref() != Some(&lock) {
                    self.lock = None;
                }
            }
            Input::Stopped => {
                if matches!(self.role, Role::Stopping { .. }) {
                    self.role = Role::Retiring { released: false };
                }
            }
            Input::Leave => self.leave(now, effects),
        }
    }

    fn created(&mut self, session: String, sent: Duration, effects: &mut Vec<Effect>) {
        effects.push(Effect::Note(Note { session: session.clone(), token: None }));
        self.ours = Some(Ours { id: session, renewed_at: Some(sent), renew_at: sent + self.settings.renew_every() });
        (self.noted, self.lock) = (None, None);
    }

    fn renewed(&mut self, sent: Duration) {
        let every = self.settings.renew_every();
        if let Some(ours) = &mut self.ours {
            (ours.renewed_at, ours.renew_at) = (Some(sent), sent + every);
        }
    }

    fn session_gone(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        match self.role {
            Role::Leading { .. } => self.lose(Why::SessionEnded, now, effects),
            Role::Standby => {
                self.not_kept(effects);
                self.forget_session();
            }
            // There is nothing left to give back; the work has its time to stop nevertheless.
            Role::Stopping { .. } => {}
            Role::Retiring { .. } | Role::Gone => self.forget_session(),
        }
    }

    fn read(&mut self, lock: Lock, now: Duration, effects: &mut Vec<Effect>) {
        self.last_seen = match &lock {
            Lock::Held { holder, .. } => holder.clone(),
            Lock::Free => None,
        };
        let claim = match &lock {
            Lock::Held { session, index, holder } if self.is_ours(session) => Some((*index, holder.clone())),
            _ => None,
        };
        self.lock = Some(lock);
        match (claim, &self.role) {
            (Some((index, holder)), Role::Standby) => self.claim(index, holder.as_ref(), now, effects),
            (None, Role::Leading { .. }) => self.lose(Why::LockLost, now, effects),
            (None, Role::Standby) => self.not_kept(effects),
            _ => {}
        }
    }

    /// The lock is ours. The leadership begins unless its time is over already; then the session is renewed and the lock read again.
    fn claim(&mut self, index: u64, holder: Option<&Holder>, now: Duration, effects: &mut Vec<Effect>) {
        if self.leaving || self.lease_end().is_none_or(|end| now >= end) {
            self.lock = None;
            if let Some(ours) = &mut self.ours {
                ours.renew_at = now;
            }
            return;
        }
        let Some(ours) = &self.ours else { return };
        let (kept, token) = (self.noted.is_some(), self.noted.take().unwrap_or(index));
        effects.push(Effect::Note(Note { session: ours.id.clone(), token: Some(token) }));
        effects.push(Effect::Emit(Event::Gained { token: self.token_of(token), kept }));
        let announced = holder.is_some_and(|holder| holder.token == Some(token));
        self.role = Role::Leading { token, announced };
    }

    /// What an earlier life had is not ours any more: the hooks of its loss were never called.
    fn not_kept(&mut self, effects: &mut Vec<Effect>) {
        if self.noted.take().is_some() {
            effects.push(Effect::Emit(Event::Lost { why: Why::NotKept }));
        }
    }

    fn lose(&mut self, why: Why, now: Duration, effects: &mut Vec<Effect>) {
        effects.push(Effect::Emit(Event::Lost { why }));
        // A next life must not go on with a session that is about to be given back.
        effects.push(Effect::Forget);
        self.role = Role::Stopping { until: now + self.settings.stop_within };
    }

    fn leave(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.leaving = true;
        match self.role {
            Role::Leading { .. } => self.lose(Why::Released, now, effects),
            Role::Standby => {
                self.not_kept(effects);
                effects.push(Effect::Forget);
                self.role = Role::Retiring { released: false };
            }
            _ => {}
        }
    }

    fn refused(&mut self, why: String, now: Duration) {
        match &mut self.role {
            // Nothing is there to give back any more.
            Role::Retiring { released: released @ false } => *released = true,
            Role::Retiring { released: true } => self.forget_session(),
            // A session that is refused where Consul should know it is asked for first.
            Role::Standby | Role::Leading { .. } => {
                if let Some(ours) = &mut self.ours {
                    ours.renew_at = now + self.settings.retry;
                }
                self.failed(why, now);
                // Each try to make a session costs the servers a write; a check seldom recovers within a second.
                if self.ours.is_none() {
                    self.retry_at = now + self.settings.retry * 5;
                }
            }
            Role::Stopping { .. } | Role::Gone => {}
        }
    }

    fn failed(&mut self, why: String, now: Duration) {
        self.trouble = Some(why);
        self.retry_at = now + self.settings.retry;
        match self.role {
            // It ends by itself; nobody waits for it.
            Role::Retiring { .. } if self.leaving => self.forget_session(),
            Role::Leading { .. } => {}
            _ => self.lock = None,
        }
        if let Some(ours) = self.ours.as_mut().filter(|ours| ours.renew_at <= now) {
            ours.renew_at = self.retry_at;
        }
    }

    fn forget_session(&mut self) {
        (self.ours, self.lock, self.noted) = (None, None, None);
        if matches!(self.role, Role::Retiring { .. }) {
            self.role = Role::Standby;
        }
    }

    fn ask_next(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        if self.busy || self.role == Role::Gone {
            return;
        }
        if self.leaving && self.ours.is_none() && matches!(self.role, Role::Standby | Role::Retiring { .. }) {
            self.role = Role::Gone;
            effects.extend([Effect::Forget, Effect::Done]);
            return;
        }
        if self.leaving && self.role == Role::Standby {
            self.role = Role::Retiring { released: false };
        }
        if let Some(ask) = self.next_ask(now) {
            self.busy = true;
            effects.push(Effect::Ask(ask));
        }
    }

    fn next_ask(&self, now: Duration) -> Option<Ask> {
        let rested = now >= self.retry_at;
        let Some(ours) = &self.ours else {
            return (rested && self.role == Role::Standby).then_some(Ask::Create);
        };
        let id = || ours.id.clone();
        match self.role {
            Role::Retiring { released: false } if rested => Some(Ask::Release(id())),
            Role::Retiring { released: true } if rested => Some(Ask::Destroy(id())),
            Role::Standby | Role::Leading { .. } if now >= ours.renew_at => Some(Ask::Renew(id())),
            Role::Standby | Role::Leading { .. } if rested && self.lock.is_none() => Some(Ask::Read),
            Role::Leading { token, announced: false } if rested => Some(Ask::Announce { session: id(), token }),
            Role::Standby if rested && self.lock == Some(Lock::Free) => Some(Ask::Acquire(id())),
            _ => None,
        }
    }

    /// When [`State::next_ask`] will next have something to ask.
    fn next_time(&self) -> Option<Duration> {
        let Some(ours) = &self.ours else { return (self.role == Role::Standby).then_some(self.retry_at) };
        match self.role {
            Role::Stopping { .. } | Role::Gone => None,
            Role::Retiring { .. } => Some(self.retry_at),
            Role::Standby if !matches!(self.lock, Some(Lock::Held { .. })) => Some(self.retry_at.min(ours.renew_at)),
            Role::Leading { announced, .. } if !announced || self.lock.is_none() => {
                Some(self.retry_at.min(ours.renew_at))
            }
            Role::Standby | Role::Leading { .. } => Some(ours.renew_at),
        }
    }

    fn lease_end(&self) -> Option<Duration> {
        Some(self.ours.as_ref()?.renewed_at? + self.settings.lease())
    }

    fn is_ours(&self, session: &str) -> bool {
        self.ours.as_ref().is_some_and(|ours| ours.id == session)
    }

    fn token_of(&self, number: u64) -> Token {
        Token { key: self.key.clone(), number }
    }
}

#[cfg(test)]
mod tests;
