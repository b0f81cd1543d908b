//! What happens, and to whom: the events that start jobs.

use std::fmt;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A process of the job ended by itself with status 0.
    ExitSuccess,
    /// A process of the job ended in any other way, or could not be started.
    ExitFailed,
    /// The job is about to stop; its process still runs, and waits for those who act on this.
    Stopping,
    /// The job has stopped for good.
    Stopped,
    /// A check passed (see [`crate::Settings::every_check`]).
    Healthy,
    /// A check failed, or none passed in time.
    Unhealthy,
    /// The instances of a watched service changed.
    Changed,
    /// The supervisor began.
    Startup,
    /// The supervisor ends.
    Shutdown,
    /// Maintenance began.
    EnterMaintenance,
    /// Maintenance ended.
    ExitMaintenance,
    /// The job waited for its start as long as it was to.
    TimerExpired,
    /// The supervisor was sent SIGHUP.
    Sighup,
    /// The supervisor was sent SIGUSR2.
    Sigusr2,
    /// The supervisor was sent SIGUSR1.
    Sigusr1,
}

impl Code {
    /// Every code and its name.
    pub const ALL: [(Code, &'static str); 15] = [
        (Code::ExitSuccess, "exitSuccess"),
        (Code::ExitFailed, "exitFailed"),
        (Code::Stopping, "stopping"),
        (Code::Stopped, "stopped"),
        (Code::Healthy, "healthy"),
        (Code::Unhealthy, "unhealthy"),
        (Code::Changed, "changed"),
        (Code::Startup, "startup"),
        (Code::Shutdown, "shutdown"),
        (Code::EnterMaintenance, "enterMaintenance"),
        (Code::ExitMaintenance, "exitMaintenance"),
        (Code::TimerExpired, "timerExpired"),
        (Code::Sighup, "SIGHUP"),
        (Code::Sigusr2, "SIGUSR2"),
        (Code::Sigusr1, "SIGUSR1"),
    ];

    /// The code of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(code, _)| *code)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(code, _)| *code == self).map_or("", |(_, name)| name)
    }

    /// True for what only a job that stops tells of.
    pub(crate) fn is_of_stop(self) -> bool {
        matches!(self, Code::Stopping | Code::Stopped)
    }
}

/// To whom it happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The job of this name.
    Job(String),
    /// The watched service of this name.
    Watch(String),
    /// The supervisor.
    Global,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Job(name) => f.write_str(name),
            Source::Watch(name) => write!(f, "watch.{name}"),
            Source::Global => f.write_str("global"),
        }
    }
}

/// Something that happened to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Event {
    /// What.
    pub code: Code,
    /// To whom.
    pub source: Source,
}

impl Event {
    /// What happened to a job.
    pub fn of_job(code: Code, name: impl Into<String>) -> Self {
        Self { code, source: Source::Job(name.into()) }
    }

    /// What happened to a watched service.
    pub fn of_watch(code: Code, name: impl Into<String>) -> Self {
        Self { code, source: Source::Watch(name.into()) }
    }

    /// What happened to the supervisor.
    pub fn global(code: Code) -> Self {
        Self { code, source: Source::Global }
    }

    /// The job that it is of.
    pub(crate) fn job(&self) -> Option<&str> {
        match &self.source {
            Source::Job(name) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.source, self.code.name())
    }
}
