//! What the tests of this room share.

use std::{collections::BTreeMap, path::Path};

use crate::command::Command;

/// A command with a small environment.
pub(crate) fn command(cwd: &Path, argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(ToString::to_string).collect(),
        env: BTreeMap::from([
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("GREETING".to_owned(), "hi $there".to_owned()),
        ]),
        cwd: cwd.to_owned(),
        user: None,
    }
}

/// A script of the shell.
pub(crate) fn shell(cwd: &Path, script: &str) -> Command {
    command(cwd, &["sh", "-c", script])
}
