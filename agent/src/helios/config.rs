//! What an agent over the layout of Helios needs to be told.

use std::{path::PathBuf, time::Duration};

/// What an agent over the layout of Helios needs to be told.
#[derive(Clone, Debug)]
pub struct HeliosConfig {
    /// The name of this node, as `nodes/<name>/services` has it.
    pub node: String,
    /// The folder of local records and logs. One agent owns it, by a lock on a file in it.
    pub data_dir: PathBuf,
    /// Where packages are unpacked to: `<root>/<service>/<version>`, with a link `current`.
    pub package_root: PathBuf,
    /// The netrc file that knows who asks which server for packages; none for no logins.
    pub netrc: Option<PathBuf>,
    /// The address of this machine: `host_ip` of templates.
    pub address: String,
    /// The `helium` program, which hooks and services find in `HELIUM_BIN`.
    pub helium_bin: PathBuf,
    /// Where packages are; `{service}` and `{version}` are filled in.
    pub artifact: String,
    /// Take packages of which nobody tells the SHA-256.
    pub insecure: bool,
    /// Keys below `config/` are maps and typed values; otherwise only the last part of a key counts and values are texts.
    pub nested: bool,
    /// A name that a template uses and nobody gives is an error; otherwise it is empty.
    pub strict: bool,
    /// How long a service stays in maintenance before it is stopped.
    pub drain: Duration,
    /// How long a service may take to end before it is killed.
    pub stop_grace: Duration,
    /// How long a new version may take until its checks pass.
    pub prove_within: Duration,
    /// How many nodes change a service at a time, at least 1. Nodes that disagree each follow their own number.
    pub max_upgrades: usize,
    /// How long a place in the upgrade lock is held before others may pass.
    pub max_hold: Duration,
    /// How long the sessions of locks live without renewal, 10 s to 24 h. Consul takes up to twice as long.
    pub session_ttl: Duration,
}
