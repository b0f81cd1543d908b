//! What happened to an object lately: a bounded list under one key.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How bad an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Things go as they should.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// How bad it is.
    pub severity: Severity,
    /// One word, in capitals and small letters: `CanaryStepReached`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// The last events of an object, oldest first, at most [`EventLog::LIMIT`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventLog {
    /// The events, oldest first.
    pub events: Vec<Event>,
}

impl EventLog {
    /// How many events are kept.
    pub const LIMIT: usize = 64;

    /// Adds events and drops the oldest beyond the limit.
    pub fn extend(&mut self, events: impl IntoIterator<Item = Event>) {
        self.events.extend(events);
        let surplus = self.events.len().saturating_sub(Self::LIMIT);
        self.events.drain(..surplus);
    }
}
