//! What is to be run: program, arguments, environment, folder and user, with nothing left to be filled in.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::{Deserialize, Serialize};
use tokio::process;

/// A command with everything filled in. No shell is involved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program and its arguments. A program without `/` is looked for in `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Whom it runs as: user and group id; none for the one who starts it. Supplementary groups are dropped with the user.
    pub user: Option<(u32, u32)>,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The command has no program.
    #[error("the command is empty")]
    Empty,
    /// There is no such program.
    #[error("no program `{program}` (looked in {searched})")]
    NoProgram {
        /// As it was named.
        program: String,
        /// Where it was looked for.
        searched: String,
    },
    /// The working directory is missing.
    #[error("the working directory `{}` is no folder", .0.display())]
    NoFolder(PathBuf),
    /// The system refused.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Waits for the word, then becomes the program. `$0` is not an argument of the program.
const GATE: &str = r#"IFS= read -r word && [ "$word" = go ] || exit 125; exec "$@" </dev/null"#;

impl Command {
    /// Says in plain words that there is no such folder or program; the shell at the gate would say it only in the log.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        if !self.cwd.is_dir() {
            return Err(StartError::NoFolder(self.cwd.clone()));
        }
        let program = self.argv.first().filter(|program| !program.is_empty()).ok_or(StartError::Empty)?;
        let (found, searched) = if program.contains('/') {
            (is_program(&self.cwd.join(program)), self.cwd.display().to_string())
        } else {
            let path = self.env.get("PATH").map_or("", String::as_str);
            (path.split(':').any(|folder| is_program(&self.cwd.join(folder).join(program))), format!("PATH={path}"))
        };
        if found { Ok(()) } else { Err(StartError::NoProgram { program: program.clone(), searched }) }
    }

    /// The command behind its gate, as the leader of its own process group.
    pub(crate) fn gated(&self) -> process::Command {
        let mut command = process::Command::new("/bin/sh");
        command
            .args(["-c", GATE, "helium"])
            .args(&self.argv)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.cwd)
            .stdin(Stdio::piped())
            .process_group(0);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
