//! Nix's programs on this machine: where they are, the environment that they run in, and what of them is used besides `nix-env`.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use helium_processes::Command;

use crate::program::{self, Program};

/// Where the programs are if they are not in `PATH`, which of a service of the system is short.
const USUAL: [&str; 2] = ["/run/current-system/sw/bin", "/nix/var/nix/profiles/default/bin"];
/// How long fetching a path with all that it needs may take.
const LIMIT: Duration = Duration::from_hours(1);
/// How long it may take to say its version.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// What begins the names of the variables that Nix listens to.
const PREFIX: &str = "NIX_";

/// Nix's programs on this machine.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The program `nix-env`.
    pub nix_env: PathBuf,
    /// The program `nix-store`.
    pub nix_store: PathBuf,
    /// The whole environment that they run in.
    pub env: BTreeMap<String, String>,
    /// The login file that they are told of, for what they fetch.
    pub netrc: Option<PathBuf>,
}

impl Tools {
    /// Looks for them in the `PATH` of the environment that they are to run in, and where they usually are.
    ///
    /// # Errors
    /// They are not there.
    pub fn find(env: BTreeMap<String, String>, netrc: Option<PathBuf>) -> Result<Self, Error> {
        let path = env.get("PATH").cloned().unwrap_or_default();
        let folders: Vec<PathBuf> = env::split_paths(&path).chain(USUAL.map(PathBuf::from)).collect();
        let find = |name| folders.iter().map(|folder| folder.join(name)).find(|program| program.is_file());
        match (find("nix-env"), find("nix-store")) {
            (Some(nix_env), Some(nix_store)) => Ok(Self { nix_env, nix_store, env, netrc }),
            _ => Err(Error::Absent { looked: path }),
        }
    }

    /// Its version, such as `2.18.1`; empty if it does not end its answer with one.
    ///
    /// # Errors
    /// `nix-store` cannot be started, takes too long, or fails.
    pub async fn version(&self) -> Result<String, Error> {
        let argv = vec![self.nix_store.display().to_string(), "--version".to_owned()];
        let command = Command { argv, env: self.env.clone(), cwd: PathBuf::from("/"), user: None };
        let said = "nix-store --version";
        let answer = program::answer(&command, ANSWERS_WITHIN, said).await?;
        // `nix-store (Nix) 2.18.1`; a fork may say more before the version.
        let last = answer.split_whitespace().next_back().filter(|last| last.starts_with(|c: char| c.is_ascii_digit()));
        Ok(last.unwrap_or_default().to_owned())
    }

    /// Has a path be in the store, fetched if need be, and stay there as long as the link `root` is there. `note` is the file that names a process
    /// of ours while it runs.
    ///
    /// # Errors
    /// `nix-store` cannot be started, takes too long, or fails.
    pub async fn realise(&self, path: &Path, root: &Path, note: &Path) -> Result<(), Error> {
        let mut argv = vec![self.nix_store.display().to_string(), "--realise".to_owned(), path.display().to_string()];
        argv.extend(["--add-root".to_owned(), root.display().to_string(), "--indirect".to_owned()]);
        let program = Program { env: &self.env, netrc: self.netrc.as_deref(), limit: LIMIT, note };
        Ok(program.run(argv, format!("nix-store --realise {}", path.display())).await?)
    }
}

/// Those of some variables that Nix listens to: where its store is, whom it asks, and what it trusts.
pub fn variables(of: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    of.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect()
}

/// Nix cannot be asked, or does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not on this machine.
    #[error("Nix is not on this machine: there is no `nix-env` and `nix-store` in PATH ({looked}), nor in {} and {}", USUAL[0], USUAL[1])]
    Absent {
        /// The `PATH`.
        looked: String,
    },
    /// It does not do what it is asked.
    #[error(transparent)]
    Program(#[from] program::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_nix_is_told_with_where_it_was_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let looked = || Tools::find(BTreeMap::from([("PATH".to_owned(), path.clone())]), None);
        // Who has a Nix has it where it usually is.
        if USUAL.iter().all(|usual| !Path::new(usual).exists()) {
            let words = looked().unwrap_err().to_string();
            assert!(words.starts_with("Nix is not on this machine") && words.contains(&path), "{words}");
        }
        for program in ["nix-env", "nix-store"] {
            std::fs::write(folder.path().join(program), "").unwrap();
        }
        assert_eq!(looked().unwrap().nix_store, folder.path().join("nix-store"));
    }

    #[test]
    fn only_what_nix_listens_to_is_passed_on() {
        let all = [("NIX_REMOTE", "daemon"), ("CONSUL_HTTP_TOKEN", "secret")];
        let passed = variables(all.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(passed, BTreeMap::from([("NIX_REMOTE".to_owned(), "daemon".to_owned())]));
    }
}
