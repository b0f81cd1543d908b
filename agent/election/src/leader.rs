//! The leader of a service: whoever's session holds the service's lock, for as long as it can be sure of it.
//!
//! How two never believe to lead at one instant, although a candidate's messages may be late, lost or answered after it has given up:
//!
//! - A leader counts from when its last successful renewal was *sent*. Consul ends the session no earlier than one TTL after that; and where
//!   checks may end it at any time, nobody can take the lock before the lock delay is over. [`Settings::lease`] is the shorter of both, less
//!   the time that stopping takes and a margin for clocks. When it is over [`Event::Lost`] is told, whether Consul answers or not.
//! - Leadership is claimed only from a read that a quorum has confirmed, and under a session that has not led before. A session that has lost
//!   is given back, destroyed and never used again, so that no late message of it can free or take a lock that a newer one holds.
//! - The lock is given back only when the caller says that its leader-only work has stopped, or the time for it is over.
//!
//! A lock delay of 0 together with checks, as Helios had it, leaves no time in which to stop: then [`Settings::is_exclusive`] is false.
//!
//! The clock of a process does not count the time for which its machine was suspended, and a process that is stopped cannot stop its work: against
//! both only the fencing token helps. So it does against a Consul server that starts anew and leads at once: it has forgotten the lock delays.
//!
//! A session that is bound to a TTL check is lost whenever a Consul agent that was stopped goes on: bind it to checks that Consul
//! itself runs. `ServiceChecks` and `NodeChecks` of sessions exist since Consul 1.7.
//!
//! The fencing token is the modify index of the write that took the lock, see [`Token`]. [`machine`] is the pure machine, [`elector`] its
//! driver, [`note`] what outlives a restart of the agent.

use std::time::Duration;

use consul_client::Behavior;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::keys::Form;

pub mod elector;
pub mod machine;
#[cfg(test)]
mod model;
pub mod note;
pub mod words;

pub use elector::{Candidate, Elector, Handle};
pub use note::Note;

/// How a leader is elected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The session's TTL, 10 s to 24 h. Consul ends the session between one and two TTLs after the last renewal.
    pub ttl: Duration,
    /// How long nobody can take the lock after the session was ended by force. Always sent; Consul documents 60 s as the most.
    pub lock_delay: Duration,
    /// For the difference between clocks and a process that is scheduled late.
    pub margin: Duration,
    /// How long leader-only work takes to stop at most.
    pub stop_within: Duration,
    /// The longest time that one request may take.
    pub request: Duration,
    /// How long to wait after a failed request, and between two tries while a lock delay runs.
    pub retry: Duration,
    /// What becomes of the lock key when the session ends.
    pub behavior: Behavior,
    /// Checks of the node that end the session when critical, such as `serfHealth`; none by an empty list.
    pub node_checks: Vec<String>,
    /// The ids of checks of the service's instance that end the session when critical.
    pub service_checks: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30),
            lock_delay: Duration::from_secs(15),
            margin: Duration::from_secs(1),
            stop_within: Duration::from_secs(5),
            request: Duration::from_secs(2),
            retry: Duration::from_secs(1),
            behavior: Behavior::Release,
            node_checks: vec!["serfHealth".to_owned()],
            service_checks: Vec::new(),
        }
    }
}

/// Settings with which nobody could lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Consul takes no such TTL.
    #[error("the session's ttl is {0:?}; Consul takes 10 s to 24 h")]
    Ttl(Duration),
    /// Nothing would be left to lead in.
    #[error(
        "{window:?} after a renewal another may lead (the shorter of ttl and lock delay); stopping takes {stop_within:?} and the margin is \
         {margin:?}, which leaves less than three requests of {request:?}: make ttl and lock delay longer"
    )]
    Window {
        /// How long after a renewal nobody else can lead.
        window: Duration,
        /// [`Settings::stop_within`].
        stop_within: Duration,
        /// [`Settings::margin`].
        margin: Duration,
        /// [`Settings::request`].
        request: Duration,
    },
}

impl Settings {
    /// How long after the sending of a renewal nobody else can lead.
    pub fn window(&self) -> Duration {
        if self.is_bound() && !self.lock_delay.is_zero() { self.ttl.min(self.lock_delay) } else { self.ttl }
    }

    /// How long after the sending of a renewal leader-only work must begin to stop.
    pub fn lease(&self) -> Duration {
        self.window().saturating_sub(self.margin).saturating_sub(self.stop_within)
    }

    /// How often the session is renewed: each third of the TTL, or of the lease where that is shorter.
    pub fn renew_every(&self) -> Duration {
        self.ttl.min(self.lease()) / 3
    }

    /// Whether two can never lead at once; false where checks may end the session and no lock delay follows.
    pub fn is_exclusive(&self) -> bool {
        !self.is_bound() || !self.lock_delay.is_zero()
    }

    /// Whether somebody can lead with these settings.
    ///
    /// # Errors
    /// [`SettingsError`] says what is wrong.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !(Duration::from_secs(10)..=Duration::from_hours(24)).contains(&self.ttl) {
            return Err(SettingsError::Ttl(self.ttl));
        }
        if self.lease() < self.request * 3 {
            let Self { stop_within, margin, request, .. } = *self;
            return Err(SettingsError::Window { window: self.window(), stop_within, margin, request });
        }
        Ok(())
    }

    fn is_bound(&self) -> bool {
        !self.node_checks.is_empty() || !self.service_checks.is_empty()
    }
}

/// The fencing token of a leadership: whoever is asked to do something by a leader refuses a token lower than the highest it has seen.
///
/// It is the modify index of the write that took the lock, which grows with every write to Consul, whoever makes it. The key's `LockIndex`
/// would begin anew when anybody writes to the key without the lock, and when the key is deleted. Only a restored snapshot makes indexes
/// go back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The key of the lock.
    pub key: String,
    /// The number; greater than that of every holder before.
    pub number: u64,
}

/// Who leads: the value of the leader's key, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The node or instance.
    pub who: String,
    /// Where it can be reached, such as `10.0.0.7:8080`.
    #[serde(default)]
    pub address: String,
    /// When it took the lock, by its clock; none where the value does not say it.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// The number of its [`Token`]; none for the moment between taking the lock and writing it.
    #[serde(default)]
    pub token: Option<u64>,
}

impl Holder {
    /// The key's value.
    pub fn encode(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Json => serde_json::to_vec(self).unwrap_or_default(),
            Form::PlainName => self.who.clone().into_bytes(),
        }
    }

    /// Reads the key's value; what is no JSON is a plain name.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let plain = || {
            let who = std::str::from_utf8(value).ok()?.trim().to_owned();
            (!who.is_empty()).then_some(Self { who, address: String::new(), since: None, token: None })
        };
        serde_json::from_slice(value).ok().or_else(plain)
    }
}

/// Why a leadership was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No renewal came back in time.
    LeaseOver,
    /// A renewal was answered with: there is no such session.
    SessionEnded,
    /// The lock is not held by this session any more: a check of the session turned critical, somebody destroyed it or deleted the key.
    LockLost,
    /// This agent was asked to give it back.
    Released,
    /// It was held before the agent's restart, and not after it.
    NotKept,
}

impl Why {
    /// The word for hooks and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::LeaseOver => "lease-over",
            Self::SessionEnded => "session-ended",
            Self::LockLost => "lock-lost",
            Self::Released => "released",
            Self::NotKept => "not-kept",
        }
    }
}

/// What hooks are called for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This candidate leads.
    Gained {
        /// The fencing token.
        token: Token,
        /// Whether it has led before the agent's restart under the same token.
        kept: bool,
    },
    /// This candidate does not lead any more: leader-only work must have stopped within [`Settings::stop_within`]. Say
    /// [`Handle::stopped`] when it has.
    Lost {
        /// Why.
        why: Why,
    },
}

/// How the election stands, for a status and for whoever acts as a leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The token, while this candidate leads.
    pub leads: Option<Token>,
    /// When it loses the leadership at the latest if Consul says nothing from now on, on [`Ports::monotonic`].
    ///
    /// [`Ports::monotonic`]: helium_runtime::ports::Ports::monotonic
    pub lost_at_latest: Option<Duration>,
    /// Who leads, as far as was seen.
    pub leader: Option<Holder>,
    /// Whether two can never lead at once: [`Settings::is_exclusive`].
    pub exclusive: bool,
    /// What keeps this candidate from knowing or leading, if anything: Consul's words.
    pub trouble: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn the_lease_ends_before_the_lock_delay_where_checks_may_end_the_session() {
        let bound = Settings::default();
        assert_eq!((bound.window(), bound.lease(), bound.renew_every()), (S(15), S(9), S(3)));
        let unbound = Settings { node_checks: vec![], lock_delay: S(0), ..bound.clone() };
        assert_eq!((unbound.window(), unbound.lease(), unbound.renew_every()), (S(30), S(24), S(8)));
        assert!(bound.is_exclusive() && unbound.is_exclusive());
        let helios = Settings { lock_delay: S(0), ..bound };
        assert!(!helios.is_exclusive() && helios.check().is_ok());
    }

    #[test]
    fn settings_that_leave_no_time_to_lead_are_refused_with_what_would_be_right() {
        let short = Settings { lock_delay: S(8), ..Settings::default() };
        let words = short.check().unwrap_err().to_string();
        assert!(words.contains("8s") && words.contains("make ttl and lock delay longer"), "{words}");
        let error = Settings { ttl: S(9), ..Settings::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "the session's ttl is 9s; Consul takes 10 s to 24 h");
        assert!(Settings::default().check().is_ok());
    }

    #[test]
    fn a_holder_is_read_as_it_was_written_and_a_plain_name_too() {
        let since = Some("2026-01-01T00:00:00Z".parse().unwrap());
        let holder = Holder { who: "n1".to_owned(), address: "10.0.0.7:80".to_owned(), since, token: Some(7) };
        assert_eq!(Holder::decode(&holder.encode(Form::Json)), Some(holder.clone()));
        assert_eq!(holder.encode(Form::PlainName), b"n1");
        assert_eq!(Holder::decode(b"n1\n").unwrap().who, "n1");
        assert_eq!(Holder::decode(b""), None);
        assert_eq!(Holder::decode(b"\xff"), None);
    }
}
