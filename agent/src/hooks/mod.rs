//! The hooks of a package: programs in its `helium/hooks/` that run at set points in the life of a version and of its instances.
//!
//! A hook is a file with the hook's name, with or without an ending: `install`, `install.sh`, `pre-start.py`. It is run as a program, in a
//! process group of its own, in the folder of the package, with an environment that is documented and a time limit; an exit status that is not
//! 0 is a failure, and its log is a file of its own. Packages of Helios keep theirs in `helios/hooks/`; a `.sh` there need not be executable.

mod run;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub(crate) use helium_instance::hooks::Hook;
pub(crate) use run::HookRun;

/// Ends what hooks of an instance are left running by an agent that was killed, by the notes in its state. Whichever is still wanted runs again.
pub(crate) fn end_left(state: &Path) {
    for hook in Hook::ALL {
        helium_processes::run::end_left(&state.join(hook.name()));
    }
}

/// The folders that may hold hooks; the first that has one counts.
const FOLDERS: [&str; 2] = ["helium/hooks", "helios/hooks"];

/// The program of a hook in a package; none if the package does not have this hook.
pub(crate) fn find(hook: Hook, package: &Path) -> io::Result<Option<PathBuf>> {
    for folder in FOLDERS.map(|folder| package.join(folder)) {
        if let Some(found) = find_in(hook, &folder)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first in order, if there are several: `install` before `install.sh`. What a template makes counts, and not the template.
fn find_in(hook: Hook, folder: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let template = helium_templates::template::Language::of(&path).is_some();
        let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| is_named(hook, name));
        if named && !template && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found.into_iter().next())
}

fn is_named(hook: Hook, file: &str) -> bool {
    file.strip_prefix(hook.name()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
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
            find(hook, folder.path()).unwrap().map(|path| path.strip_prefix(folder.path()).unwrap().to_owned())
        };
        assert_eq!(found(Hook::Install), Some(files[0].into()));
        assert_eq!(found(Hook::ConfigPre), Some(files[1].into()));
        assert_eq!(found(Hook::Config), Some(files[2].into()));
        assert_eq!(found(Hook::Init), None);
    }

    #[test]
    fn the_template_of_a_hook_is_no_hook() {
        let folder = package(&["helium/hooks/init.sh.tera"]);
        assert_eq!(find(Hook::Init, folder.path()).unwrap(), None);
    }
}
