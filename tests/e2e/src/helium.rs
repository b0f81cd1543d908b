//! The built binary, pointed at a Consul.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{Consul, Daemon, Output, command};

/// The longest that a command without `--wait` may take.
const COMMAND: Duration = Duration::from_secs(30);

/// A person with the binary, a folder of their own, and a Consul to work on.
#[derive(Debug)]
pub struct Helium {
    folder: TempDir,
    address: Option<String>,
    token: Option<String>,
    /// Further variables of the environment of its commands.
    variables: BTreeMap<String, String>,
}

impl Helium {
    /// On this Consul, with the token that may do everything if it has ACLs.
    pub fn on(consul: &Consul) -> Self {
        let helium = Self::at(&consul.address());
        Self { token: consul.management_token().map(str::to_owned), ..helium }
    }

    /// On a Consul API at this address, as `helium dev` serves it too.
    pub fn at(address: &str) -> Self {
        Self { address: Some(address.to_owned()), ..Self::nowhere() }
    }

    /// On no Consul at all.
    pub fn nowhere() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, address: None, token: None, variables: BTreeMap::new() }
    }

    /// The same with another token, in a folder of its own.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { address: self.address.clone(), token: Some(token.to_owned()), ..Self::nowhere() }
    }

    /// Has all further commands find a variable in their environment.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// The binary: `HELIUM_BIN`, or what `cargo build` has put beside the running test.
    #[track_caller]
    pub fn binary() -> PathBuf {
        let given = env::var_os("HELIUM_BIN").filter(|path| !path.is_empty()).map(PathBuf::from);
        // A test runs as target/debug/deps/stories-0123456789abcdef; the binary is target/debug/helium.
        let beside = || env::current_exe().unwrap().ancestors().nth(2).unwrap().join("helium");
        let binary = given.unwrap_or_else(beside);
        assert!(binary.is_file(), "{} is missing: `cargo build`, or `cargo xtask test`", binary.display());
        binary
    }

    /// The root of the source tree, where the examples of the README are.
    pub fn source() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
    }

    /// A file among the examples, by its path in `crds/examples`.
    #[track_caller]
    pub fn example(name: &str) -> String {
        let path = Self::source().join("crds/examples").join(name);
        assert!(path.exists(), "{} is missing", path.display());
        path.to_str().unwrap().to_owned()
    }

    /// The folder that its commands run in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into its folder, and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A command of the binary, with nothing of the tester's own environment that would change what it does.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Self::binary());
        command.args(arguments).current_dir(self.folder());
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CONSUL_") || name.starts_with("HELIUM_") {
                command.env_remove(&*name);
            }
        }
        command.env("NO_COLOR", "1").env("TERM", "dumb");
        command.envs(self.address.as_ref().map(|address| ("CONSUL_HTTP_ADDR", address)));
        command.envs(self.token.as_ref().map(|token| ("CONSUL_HTTP_TOKEN", token)));
        command.envs(&self.variables);
        command
    }

    /// Runs a command to its end, at most 30 s.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        command::run(&mut self.command(arguments), "", COMMAND)
    }

    /// Runs a command with `stdin`, at most 30 s.
    #[track_caller]
    pub fn run_with(&self, arguments: &[&str], stdin: &str) -> Output {
        command::run(&mut self.command(arguments), stdin, COMMAND)
    }

    /// Runs a command that waits for something: at most `limit`.
    #[track_caller]
    pub fn run_for(&self, limit: Duration, arguments: &[&str]) -> Output {
        command::run(&mut self.command(arguments), "", limit)
    }

    /// Starts a command that stays: its output is in `<name>.log` in the folder.
    #[track_caller]
    pub fn start(&self, name: &str, arguments: &[&str]) -> Daemon {
        Daemon::start(name, &mut self.command(arguments), self.folder())
    }

    /// What `get -o json` says of something; `null` where it says nothing.
    #[track_caller]
    pub fn get(&self, what: &str) -> serde_json::Value {
        serde_json::from_str(&self.run(&["get", what, "-o", "json"]).stdout).unwrap_or_default()
    }
}
