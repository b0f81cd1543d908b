//! The hooks of a package: programs in its `helium/hooks/` that run at set points in the life of a version and of its instances.
//!
//! A hook is a file with the hook's name, with or without an ending: `install`, `install.sh`, `pre-start.py`. It is run as a program, in a
//! process group of its own, in the folder of the package, with an environment that is documented and a time limit; an exit status that is not
//! 0 is a failure, and its log is a file of its own. Packages of Helios keep theirs in `helios/hooks/`; a `.sh` there need not be executable.

mod run;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub(crate) use run::HookRun;

/// Ends what hooks of an instance are left running by an agent that was killed, by the notes in its state. Whichever is still wanted runs again.
pub(crate) fn end_left(state: &Path) {
    for hook in Hook::ALL {
        helium_processes::run::end_left(&state.join(hook.name()));
    }
}

/// The folders that may hold hooks; the first that has one counts.
const FOLDERS: [&str; 2] = ["helium/hooks", "helios/hooks"];

/// A point at which a package may have something done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hook {
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
    pub(crate) const ALL: [Hook; 13] = [
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
    pub(crate) fn name(self) -> &'static str {
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
    pub(crate) fn usual_limit(self) -> Duration {
        match self {
            Hook::Install | Hook::Uninstall => Duration::from_mins(10),
            Hook::Health => Duration::from_secs(5),
            _ => Duration::from_mins(1),
        }
    }

    /// Its program in a package; none if the package does not have this hook.
    pub(crate) fn find(self, package: &Path) -> io::Result<Option<PathBuf>> {
        for folder in FOLDERS.map(|folder| package.join(folder)) {
            if let Some(found) = self.find_in(&folder)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first in order, if there are several: `install` before `install.sh`. What a template makes counts, and not the template.
    fn find_in(self, folder: &Path) -> io::Result<Option<PathBuf>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let template = helium_templates::template::Language::of(&path).is_some();
            let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| self.is_named(name));
            if named && !template && path.is_file() {
                found.push(path);
            }
        }
        found.sort();
        Ok(found.into_iter().next())
    }

    fn is_named(self, file: &str) -> bool {
        file.strip_prefix(self.name()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
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

    fn package(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn a_hook_is_found_by_its_name_with_or_without_an_ending() {
        let files = ["helium/hooks/install.sh", "helium/hooks/config-pre.py", "helios/hooks/config.sh"];
        let folder = package(&files);
        let found = |hook: Hook| {
            hook.find(folder.path()).unwrap().map(|path| path.strip_prefix(folder.path()).unwrap().to_owned())
        };
        assert_eq!(found(Hook::Install), Some(files[0].into()));
        assert_eq!(found(Hook::ConfigPre), Some(files[1].into()));
        assert_eq!(found(Hook::Config), Some(files[2].into()));
        assert_eq!(found(Hook::Init), None);
    }

    #[test]
    fn the_template_of_a_hook_is_no_hook() {
        let folder = package(&["helium/hooks/init.sh.tera"]);
        assert_eq!(Hook::Init.find(folder.path()).unwrap(), None);
    }

    #[test]
    fn a_name_is_the_same_in_records_and_in_files() {
        for hook in Hook::ALL {
            assert_eq!(serde_json::to_value(hook).unwrap(), hook.name());
        }
    }
}
