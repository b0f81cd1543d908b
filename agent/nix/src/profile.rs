//! A Nix profile: which generations it has, and how it is set to another one.
//!
//! Generations are links beside the profile, `NAME-1-link`, and the profile is a link to one of them; they are read as such, and set by
//! `nix-env`, which replaces a link by a rename and so is never seen half done. Setting the path that the newest generation has makes no new
//! one.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    program::{self, Program},
    record::{Generation, beside},
};

/// How many good paths stay in the store: the present one, and the way back from it.
pub const KEPT: usize = 2;

/// One profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its link.
    pub link: PathBuf,
    /// The program `nix-env`: a path, or a name that is looked for in `PATH` of `env`.
    pub nix_env: String,
    /// The whole environment of `nix-env`.
    pub env: BTreeMap<String, String>,
    /// The login file that `nix-env` is told of, for what it fetches.
    pub netrc: Option<PathBuf>,
    /// How long setting may take, what is fetched for it included.
    pub limit: Duration,
    /// The file that names a process of ours while it runs.
    pub note: PathBuf,
}

impl Profile {
    /// The generation that the profile is at; none if there is no profile.
    ///
    /// # Errors
    /// It cannot be read, or is no link to a generation.
    pub fn current(&self) -> Result<Option<Generation>, Error> {
        let target = match fs::read_link(&self.link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.unreadable(&self.link, source)),
        };
        let foreign = || Error::Foreign { profile: self.link.clone(), target: target.clone() };
        let name = target.file_name().and_then(|name| name.to_str()).ok_or_else(foreign)?;
        let number = self.number(name).ok_or_else(foreign)?;
        self.generation(number).map(Some)
    }

    /// All generations, the oldest first.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn generations(&self) -> Result<Vec<Generation>, Error> {
        let folder = self.folder();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.unreadable(folder, source)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut numbers: Vec<u64> = names.filter_map(|name| self.number(&name)).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.generation(number)).collect()
    }

    /// Sets it to a store path, which is fetched if need be.
    ///
    /// # Errors
    /// `nix-env` cannot be started, takes too long, or fails; then the profile is where it was.
    pub async fn set(&self, path: &str) -> Result<(), Error> {
        let folder = self.folder();
        fs::create_dir_all(folder).map_err(|source| self.unreadable(folder, source))?;
        self.nix_env(&["--set", path]).await
    }

    /// Sets it to one of its generations.
    ///
    /// # Errors
    /// As [`Profile::set`].
    pub async fn switch(&self, number: u64) -> Result<(), Error> {
        self.nix_env(&["--switch-generation", &number.to_string()]).await
    }

    /// Has these paths stay in the store, the first [`KEPT`] of them, even if somebody deletes the generations that lead to them: by links beside
    /// the profile, since Nix keeps what a link below its folder of profiles leads to.
    ///
    /// # Errors
    /// A link cannot be made or removed.
    pub fn keep(&self, paths: &[&str]) -> Result<(), Error> {
        for (number, link) in self.kept().enumerate() {
            let unusable = |source| self.unreadable(&link, source);
            match (paths.get(number), fs::read_link(&link)) {
                (Some(path), Ok(there)) if there == Path::new(path) => {}
                (Some(path), _) => replace_link(path, &link).map_err(unusable)?,
                (None, Ok(_)) => fs::remove_file(&link).map_err(unusable)?,
                (None, Err(_)) => {}
            }
        }
        Ok(())
    }

    /// Removes the links of the generations that are not to stay, but for the one that the profile is at; Nix may collect what they lead to.
    ///
    /// # Errors
    /// They cannot be read or removed.
    pub fn keep_only(&self, stays: impl Fn(&Generation) -> bool) -> Result<(), Error> {
        let current = self.current()?;
        for generation in self.generations()? {
            if Some(&generation) != current.as_ref() && !stays(&generation) {
                let link = self.place(generation.number);
                fs::remove_file(&link).map_err(|source| self.unreadable(&link, source))?;
            }
        }
        Ok(())
    }

    fn kept(&self) -> impl Iterator<Item = PathBuf> {
        (1..=KEPT).map(|number| beside(&self.link, &format!(".hail-good-{number}")))
    }

    /// Removes the profile with all its generations. What they lead to stays in the store until it is collected.
    ///
    /// # Errors
    /// A link cannot be removed; then it may be called again.
    pub fn remove(&self) -> Result<(), Error> {
        let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        // The profile first: a profile without some of its generations could be taken for one that is in use.
        let generations = self.generations()?;
        let links = generations.iter().map(|generation| self.place(generation.number));
        for link in [self.link.clone()].into_iter().chain(links).chain(self.kept()) {
            match fs::remove_file(&link) {
                Err(error) if !absent(&error) => return Err(self.unreadable(&link, error)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn nix_env(&self, arguments: &[&str]) -> Result<(), Error> {
        let link = self.link.to_string_lossy().into_owned();
        let mut argv: Vec<String> = [&self.nix_env, "--profile", &link].map(str::to_owned).to_vec();
        argv.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let said = format!("{} {}", self.nix_env, arguments.join(" "));
        let program = Program { env: &self.env, netrc: self.netrc.as_deref(), limit: self.limit, note: &self.note };
        Ok(program.run(argv, said).await?)
    }

    fn folder(&self) -> &Path {
        self.link.parent().unwrap_or(Path::new("/"))
    }

    /// The number in the name of a generation's link: 7 in `web-7-link` of the profile `web`.
    fn number(&self, name: &str) -> Option<u64> {
        let own = self.link.file_name()?.to_str()?;
        name.strip_prefix(own)?.strip_prefix('-')?.strip_suffix("-link")?.parse().ok()
    }

    fn place(&self, number: u64) -> PathBuf {
        let name = self.link.file_name().unwrap_or_default().to_string_lossy();
        self.folder().join(format!("{name}-{number}-link"))
    }

    fn generation(&self, number: u64) -> Result<Generation, Error> {
        let link = self.place(number);
        let path = fs::read_link(&link).map_err(|source| self.unreadable(&link, source))?;
        Ok(Generation { number, path: path.to_string_lossy().into_owned() })
    }

    fn unreadable(&self, path: &Path, source: io::Error) -> Error {
        Error::Unusable { profile: self.link.clone(), path: path.to_owned(), source }
    }
}

/// Makes a link, in place of what is there.
fn replace_link(target: &str, link: &Path) -> io::Result<()> {
    let fresh = beside(link, ".fresh");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, &fresh)?;
    fs::rename(&fresh, link)
}

/// A profile cannot be read or set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its links cannot be read or removed.
    #[error("the profile {}: {}: {source}", profile.display(), path.display())]
    Unusable {
        /// Which profile.
        profile: PathBuf,
        /// Which link, or the folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a link to something that is no generation of it.
    #[error("{} leads to {}, which is no generation of it: is it a profile of Nix?", profile.display(), target.display())]
    Foreign {
        /// Which profile.
        profile: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// `nix-env` does not do what it is asked.
    #[error(transparent)]
    Program(#[from] program::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(link: PathBuf) -> Profile {
        let (nix_env, note) = ("nix-env".to_owned(), link.with_extension("note"));
        Profile { link, nix_env, env: BTreeMap::new(), netrc: None, limit: Duration::from_mins(1), note }
    }

    #[test]
    fn generations_are_read_from_their_links_and_those_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let web = profile(at("web"));
        assert_eq!((web.current().unwrap(), web.generations().unwrap()), (None, vec![]));
        for (name, target) in [("web-10-link", "/s/b"), ("web-9-link", "/s/a"), ("web-x-1-link", "/s/x")] {
            symlink(target, at(name)).unwrap();
        }
        symlink("web-10-link", at("web")).unwrap();
        let numbers: Vec<u64> = web.generations().unwrap().iter().map(|generation| generation.number).collect();
        assert_eq!(numbers, [9, 10]);
        assert_eq!(web.current().unwrap(), Some(Generation { number: 10, path: "/s/b".to_owned() }));
        web.remove().unwrap();
        web.remove().unwrap();
        assert!(web.current().unwrap().is_none() && fs::read_link(at("web-x-1-link")).is_ok());
    }

    #[test]
    fn what_is_no_profile_is_not_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let web = profile(folder.path().join("web"));
        symlink("/somewhere", &web.link).unwrap();
        assert!(web.current().unwrap_err().to_string().contains("is no generation of it"));
    }
}
