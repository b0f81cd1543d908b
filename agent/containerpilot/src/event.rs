//! Events, by the names that these files give them, and who they come from.

use std::fmt;

use serde::Serialize;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EventCode {
    /// The process of a job ended with 0.
    ExitSuccess,
    /// The process of a job ended with something else.
    ExitFailed,
    /// A job is about to stop, and is still registered.
    Stopping,
    /// A job has stopped and is no longer registered.
    Stopped,
    /// A check of a job passed, or a watch sees healthy instances.
    Healthy,
    /// A check of a job failed, or a watch sees none any more.
    Unhealthy,
    /// What a watch sees has changed.
    Changed,
    /// The time that a job may wait for its event is over.
    TimerExpired,
    /// Maintenance begins.
    EnterMaintenance,
    /// Maintenance ends.
    ExitMaintenance,
    /// Accepted in files, and never sent.
    Error,
    /// Accepted in files, and never sent to other jobs.
    Quit,
    /// Everything is set up.
    Startup,
    /// Everything is to stop.
    Shutdown,
    /// A signal: its [`Source`] says which.
    Signal,
}

/// Every name that `once` and `each` take.
pub(crate) const CODES: &[(&str, EventCode)] = &[
    ("exitSuccess", EventCode::ExitSuccess),
    ("exitFailed", EventCode::ExitFailed),
    ("stopping", EventCode::Stopping),
    ("stopped", EventCode::Stopped),
    ("healthy", EventCode::Healthy),
    ("unhealthy", EventCode::Unhealthy),
    ("changed", EventCode::Changed),
    ("timerExpired", EventCode::TimerExpired),
    ("enterMaintenance", EventCode::EnterMaintenance),
    ("exitMaintenance", EventCode::ExitMaintenance),
    ("error", EventCode::Error),
    ("quit", EventCode::Quit),
    ("startup", EventCode::Startup),
    ("shutdown", EventCode::Shutdown),
    ("SIGHUP", EventCode::Signal),
    ("SIGUSR2", EventCode::Signal),
];

/// The event of a name, exactly as it is written in a file; none if there is no such event.
pub fn parse_event(code: &str) -> Option<EventCode> {
    CODES.iter().find(|(name, _)| *name == code).map(|(_, code)| *code)
}

impl EventCode {
    /// The name in files; `signal` for a signal.
    pub fn name(self) -> &'static str {
        match self {
            EventCode::Signal => "signal",
            _ => CODES.iter().find(|(_, code)| *code == self).map_or("", |(name, _)| name),
        }
    }

    /// Whether only [`Source::Global`] sends it.
    pub fn is_global(self) -> bool {
        matches!(
            self,
            EventCode::Startup | EventCode::Shutdown | EventCode::EnterMaintenance | EventCode::ExitMaintenance
        )
    }
}

impl fmt::Display for EventCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A signal that a job may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Signal {
    /// `SIGHUP`
    #[serde(rename = "SIGHUP")]
    Hup,
    /// `SIGUSR2`
    #[serde(rename = "SIGUSR2")]
    Usr2,
}

/// Who an event comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The job of this name.
    Job(String),
    /// The watch of this name, without the `watch.` before it.
    Watch(String),
    /// The whole: `global`.
    Global,
    /// The signal.
    Signal(Signal),
}

impl Source {
    /// The source of a text in a file; none if it is empty. A job named `global`, `SIGHUP` or `watch.x` cannot be waited for.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" => None,
            "global" => Some(Source::Global),
            "SIGHUP" => Some(Source::Signal(Signal::Hup)),
            "SIGUSR2" => Some(Source::Signal(Signal::Usr2)),
            _ => Some(match text.strip_prefix("watch.") {
                Some(watch) => Source::Watch(watch.to_owned()),
                None => Source::Job(text.to_owned()),
            }),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Job(name) => f.write_str(name),
            Source::Watch(name) => write!(f, "watch.{name}"),
            Source::Global => f.write_str("global"),
            Source::Signal(Signal::Hup) => f.write_str("SIGHUP"),
            Source::Signal(Signal::Usr2) => f.write_str("SIGUSR2"),
        }
    }
}

/// Something that happened to somebody. A job starts when both parts are those that it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Event {
    /// What happened.
    pub code: EventCode,
    /// To whom.
    pub source: Source,
}

impl Event {
    /// Everything is set up: what a job without `when` waits for.
    pub const STARTUP: Event = Event { code: EventCode::Startup, source: Source::Global };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_exactly() {
        assert_eq!(parse_event("exitSuccess"), Some(EventCode::ExitSuccess));
        assert_eq!(parse_event("SIGUSR2"), Some(EventCode::Signal));
        assert_eq!(["exitsuccess", "metric", "", "SIGTERM"].map(parse_event), [None; 4]);
        assert!(CODES.iter().all(|(name, code)| code.name() == *name || *code == EventCode::Signal));
    }

    #[test]
    fn a_source_is_printed_as_it_was_read() {
        for text in ["app", "watch.db", "watch.", "global", "SIGHUP", "SIGUSR2", "Global"] {
            assert_eq!(Source::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Source::parse(""), None);
    }
}
