//! The programs that are measured, each with the words in which it is told the same.

use std::{env, path::PathBuf, process::Command};

use super::{Outcome, desk::Desk};

/// Which keys a template names, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Each by its name.
    Names,
    /// All by the folder that they lie in.
    Prefix,
}

/// A program.
pub(super) enum Program {
    /// Ours.
    Helium,
    /// A peer, by its name and place.
    Found {
        /// Its name.
        name: &'static str,
        /// Where it is.
        path: PathBuf,
    },
    /// A peer that is not on this machine.
    Absent(&'static str),
}

impl Program {
    /// A peer, if it is there.
    pub(super) fn on_path(name: &'static str) -> Self {
        let folders = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
        found.map_or(Program::Absent(name), |path| Program::Found { name, path })
    }

    /// The word of a template's name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Program::Helium => "helium",
            Program::Found { name, .. } | Program::Absent(name) => name,
        }
    }

    /// One figure: ours has to be there; that a peer does not come to it is said, and it has none.
    #[allow(clippy::print_stderr, reason = "whoever measures is told why there is nothing")]
    pub(super) fn figure<T>(&self, what: &str, measure: impl FnOnce() -> Outcome<T>) -> Outcome<Option<T>> {
        match (self, measure()) {
            (_, Ok(figure)) => Ok(Some(figure)),
            (Program::Helium, Err(error)) => Err(error),
            (_, Err(error)) => {
                eprintln!("{}: {what}: {error}", self.name());
                Ok(None)
            }
        }
    }

    /// A line for each of the keys, in the language of this program.
    pub(super) fn template(&self, shape: Shape, keys: impl Iterator<Item = String>, folder: &str) -> String {
        let folder = folder.trim_end_matches('/');
        let lines = |line: &dyn Fn(String) -> String| keys.map(line).collect::<Vec<_>>().concat();
        match (self, shape) {
            (Program::Helium, Shape::Names) => lines(&|key| format!("{{{{ key(path=\"{key}\") }}}}\n")),
            (Program::Helium, Shape::Prefix) => {
                format!("{{% for name, value in keys(prefix=\"{folder}\") %}}{{{{ value }}}}\n{{% endfor %}}")
            }
            (_, Shape::Names) => lines(&|key| format!("{{{{ key \"{key}\" }}}}\n")),
            (_, Shape::Prefix) => format!("{{{{ range ls \"{folder}\" }}}}{{{{ .Value }}}}\n{{{{ end }}}}"),
        }
    }

    /// Makes a file of a template: `wish` is `IN:OUT` or `IN:OUT:COMMAND`, in the words that both share.
    pub(super) fn files(&self, desk: &Desk, wish: &str, more: &[&str]) -> Command {
        match self {
            Program::Found { path, .. } => {
                let mut command = Command::new(path);
                command.current_dir(desk.helium.folder());
                command.arg("-consul-addr").arg(desk.consul.address()).args(["-template", wish]);
                command.args(
                    more.iter().map(|word| word.strip_prefix('-').filter(|word| word.starts_with('-')).unwrap_or(word)),
                );
                command
            }
            _ => desk.helium.command(&[&["render", "-t", wish], more].concat()),
        }
    }

    /// Runs a file of ContainerPilot.
    pub(super) fn pilot(&self, desk: &Desk, file: &str) -> Command {
        match self {
            Program::Found { path, .. } => {
                let mut command = Command::new(path);
                command.current_dir(desk.helium.folder()).args(["-config", file]);
                command
            }
            _ => desk.helium.command(&["agent", "--containerpilot", file]),
        }
    }
}
