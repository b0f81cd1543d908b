//! The points at which a package may have something done, by their names.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A point at which a package may have something done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// A version has been unpacked and is not in its place yet; a failure keeps it from getting there.
    Install,
    /// Before the first start of an instance.
    Init,
    /// Before every start of an instance, once its files are rendered.
    PreStart,
    /// After every start of an instance, again and again until it succeeds.
    PostStart,
    /// Before templates are rendered: the JSON that it prints stands above all other values.
    ConfigPre,
    /// After rendered files of a running instance have changed.
    Config,
    /// Whether the instance is healthy: 0 passing, 1 warning, any other critical.
    Health,
    /// A stop has begun, and the instance is out of Consul.
    Drain,
    /// Before the stop signal.
    PreStop,
    /// After the process has ended, however it did.
    PostStop,
    /// The instance leads its service.
    LeaderGained,
    /// It leads no more.
    LeaderLost,
    /// A version is about to be removed.
    Uninstall,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Hook; 13] = [
        Hook::Install,
        Hook::Init,
        Hook::PreStart,
        Hook::PostStart,
        Hook::ConfigPre,
        Hook::Config,
        Hook::Health,
        Hook::Drain,
        Hook::PreStop,
        Hook::PostStop,
        Hook::LeaderGained,
        Hook::LeaderLost,
        Hook::Uninstall,
    ];

    /// Its name, which is that of its file.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Install => "install",
            Hook::Init => "init",
            Hook::PreStart => "pre-start",
            Hook::PostStart => "post-start",
            Hook::ConfigPre => "config-pre",
            Hook::Config => "config",
            Hook::Health => "health",
            Hook::Drain => "drain",
            Hook::PreStop => "pre-stop",
            Hook::PostStop => "post-stop",
            Hook::LeaderGained => "leader-gained",
            Hook::LeaderLost => "leader-lost",
            Hook::Uninstall => "uninstall",
        }
    }

    /// How long it may take unless the package says otherwise: 10 minutes to install or uninstall, 5 s for a look at the health, else a minute.
    pub fn usual_limit(self) -> Duration {
        match self {
            Hook::Install | Hook::Uninstall => Duration::from_mins(10),
            Hook::Health => Duration::from_secs(5),
            _ => Duration::from_mins(1),
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_records_and_in_files() {
        for hook in Hook::ALL {
            assert_eq!(serde_json::to_value(hook).unwrap(), hook.name());
        }
    }
}
