//! What would fail on this machine, told before it does: the data folder, Consul and what the token may do there, installed packages, and a
//! package's templates and hooks. Nothing that is looked at is changed; hooks run only where they are asked for, in a copy.

mod consul;
mod disk;
mod package;

use std::path::{Path, PathBuf};

use consul_client::Client;
use helium_packages::store::Name;
use helium_runtime::ports::Ports;
use serde::Serialize;

use crate::config::AgentConfig;

/// How a look went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Worth a look, and no failure.
    Warning,
    /// Something fails, or would.
    Failed,
}

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it went.
    pub state: State,
    /// What was looked at: `data`, `consul`, `rights`, `packages`, `templates` or `hooks`.
    pub area: &'static str,
    /// Where: a folder, a key, a version.
    pub place: String,
    /// What is so, and what would be right.
    pub words: String,
}

impl Finding {
    #[allow(clippy::needless_pass_by_value, reason = "most places are made for this alone")]
    fn new(state: State, area: &'static str, place: impl ToString, words: impl Into<String>) -> Self {
        Self { state, area, place: place.to_string(), words: words.into() }
    }
}

/// What is to be looked at besides the machine itself.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The folder of a package whose templates, and hooks, are looked at.
    pub package: Option<PathBuf>,
    /// Only the installed packages of this service.
    pub service: Option<Name>,
    /// Run the hooks `install` and `config` of that package twice, in a copy.
    pub hooks: bool,
}

/// Looks at all of it; what fails keeps nothing else from being looked at.
pub async fn verify(config: &AgentConfig, client: &Client, ports: &Ports, subject: &Subject) -> Vec<Finding> {
    let mut found = disk::data(&config.data_dir);
    found.extend(consul::look(config, client).await);
    found.extend(disk::packages(&config.package_root, subject.service.as_ref()));
    if let Some(folder) = &subject.package {
        found.extend(package::templates(folder));
        if subject.hooks {
            found.extend(package::hooks(folder, ports).await);
        }
    }
    found
}

/// The nearest folder that is there: a path itself, or what it would be made in.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|one| one.is_dir()).unwrap_or(Path::new("/"))
}
