//! What is followed, and how; and the files that this leaves beside the profile.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use helium_packages::fetch::{self, Netrc};

use crate::{
    hydra, profile,
    record::{self, beside},
};

/// Where profiles are that are named without a path.
const PROFILES: &str = "/nix/var/nix/profiles";
/// The login file unless another one is named.
pub const NETRC: &str = "/etc/netrc";

/// The profile that a person means: a path, or a name of one below `/nix/var/nix/profiles`.
pub fn profile_of(text: &str) -> PathBuf {
    if text.contains('/') { PathBuf::from(text) } else { Path::new(PROFILES).join(text) }
}

/// What is followed, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The profile, such as `/nix/var/nix/profiles/web`: an absolute path.
    pub profile: PathBuf,
    /// The address of Hydra's job, `https://hydra.example/job/PROJECT/JOBSET/JOB`; none for who asks Hydra for nothing.
    pub job_uri: Option<String>,
    /// The login file, which must be there; none for [`NETRC`] if that is there.
    pub netrc_file: Option<PathBuf>,
    /// Where everything is remembered; none for the profile's name with `.hail.json`.
    pub state: Option<PathBuf>,
    /// How long to wait between two looks at Hydra, give or take a tenth; 5 min by default.
    pub poll_period: Duration,
    /// Take a build only once all jobs of its evaluation have succeeded.
    pub whole_jobset: bool,
    /// Activate the profile at the start even if it is active.
    pub activate_always: bool,
    /// How long an activation may take; 10 min by default.
    pub activate_limit: Duration,
    /// How long setting the profile may take, what is fetched for it included; 1 h by default.
    pub switch_limit: Duration,
    /// How often an activation is tried; 3 times by default.
    pub tries: u32,
    /// The ceilings of the waits between two tries: 5 s at first, doubled up to 1 min by default.
    pub first_wait: Duration,
    /// See [`Options::first_wait`]; at most 15 min.
    pub last_wait: Duration,
    /// The program `nix-env`: a path, or a name that is looked for in `PATH` of `env`.
    pub nix_env: String,
    /// The whole environment of `nix-env` and of the scripts of a profile.
    pub env: BTreeMap<String, String>,
    /// Where systemd listens.
    pub notify_socket: Option<OsString>,
}

impl Options {
    /// The usual ones.
    pub fn new(profile: impl Into<PathBuf>) -> Self {
        Self {
            profile: profile.into(),
            job_uri: None,
            netrc_file: None,
            state: None,
            poll_period: Duration::from_mins(5),
            whole_jobset: false,
            activate_always: false,
            activate_limit: Duration::from_mins(10),
            switch_limit: Duration::from_hours(1),
            tries: 3,
            first_wait: Duration::from_secs(5),
            last_wait: Duration::from_mins(1),
            nix_env: "nix-env".to_owned(),
            env: BTreeMap::new(),
            notify_socket: None,
        }
    }

    /// Where everything is remembered.
    pub fn state(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| beside(&self.profile, ".hail.json"))
    }

    /// Where the [status](crate::status::Status) is.
    pub fn status(&self) -> PathBuf {
        beside(&self.state(), ".status")
    }

    /// Where a person's wish waits for whoever holds the lock.
    pub(crate) fn ask(&self) -> PathBuf {
        beside(&self.state(), ".ask")
    }

    pub(crate) fn profile(&self) -> profile::Profile {
        profile::Profile {
            link: self.profile.clone(),
            nix_env: self.nix_env.clone(),
            env: self.env.clone(),
            // It is started in another folder.
            netrc: self.netrc_file.as_ref().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone())),
            limit: self.switch_limit,
            note: beside(&self.state(), ".note"),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.profile.is_absolute() || self.profile.file_name().is_none() {
            return Err(Error::Profile { profile: self.profile.clone() });
        }
        if self.poll_period.is_zero() || self.activate_limit.is_zero() || self.switch_limit.is_zero() || self.tries == 0
        {
            return Err(Error::Zero);
        }
        Ok(())
    }

    pub(crate) fn netrc(&self) -> Result<Netrc, Error> {
        let file = self.netrc_file.as_deref().unwrap_or(Path::new(NETRC));
        let unreadable = |source| Error::Netrc { file: file.to_owned(), source };
        if self.netrc_file.is_some() {
            fs::metadata(file).map_err(unreadable)?;
        }
        Netrc::load(file).map_err(unreadable)
    }

    /// Takes the lock of the state; whoever holds it is the only one who changes anything.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let path = beside(&self.state(), ".lock");
        let folder = path.parent().unwrap_or(Path::new("/"));
        let opened = fs::create_dir_all(folder)
            .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path));
        let lock = opened.map_err(record::disk(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Lock(lock)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { state: self.state() }),
            Err(TryLockError::Error(source)) => Err(record::disk(&path)(source).into()),
        }
    }
}

/// The lock of a state, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// Closing the file would not do: a child that has just been forked and has not become its program yet holds it too.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// The options, or what is there, forbid it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The profile has no absolute path.
    #[error("the profile `{}` must be an absolute path, such as /nix/var/nix/profiles/web", profile.display())]
    Profile {
        /// As it was given.
        profile: PathBuf,
    },
    /// A time or a number is zero.
    #[error("the poll period, the limits and the number of tries must be more than nothing")]
    Zero,
    /// Hydra is to be asked, and nobody says for what.
    #[error("no job of Hydra is named, such as https://hydra.example/job/PROJECT/JOBSET/JOB")]
    NoJob,
    /// The job's address is none.
    #[error(transparent)]
    Job(#[from] hydra::Error),
    /// The login file cannot be read.
    #[error("the netrc file {}: {source}", file.display())]
    Netrc {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `NOTIFY_SOCKET` names no socket.
    #[error("NOTIFY_SOCKET names no socket: {source}")]
    Socket {
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// Somebody else follows with the same state.
    #[error("another program follows this profile (it holds the lock of {})", state.display())]
    Locked {
        /// Whose state.
        state: PathBuf,
    },
    /// A file of ours cannot be used.
    #[error(transparent)]
    Record(#[from] record::Error),
    /// The profile cannot be read or removed.
    #[error(transparent)]
    Unusable(#[from] profile::Error),
    /// There is no profile to do it with.
    #[error("there is no profile {}", profile.display())]
    NoProfile {
        /// Which.
        profile: PathBuf,
    },
    /// No other generation was found good.
    #[error("no generation to go back to: none but the present one is known to be good")]
    NothingGood,
    /// The deactivation has failed, and nothing was removed.
    #[error("nothing was removed, since the deactivation has failed: {words}")]
    Deactivation {
        /// How.
        words: String,
    },
}

impl Error {
    /// Whether it is the command line that is wrong.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Profile { .. }
                | Self::Zero
                | Self::NoJob
                | Self::Job(_)
                | Self::Netrc { .. }
                | Self::NoProfile { .. }
                | Self::Socket { .. }
        )
    }
}
