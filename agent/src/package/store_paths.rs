//! Paths of the Nix store as packages: Nix is asked for them, and the profile of a service leads to the version that is active here.
//!
//! A service has one profile a machine, `.nix/<service>` beside the services' folders, however many versions of it run there, for what an activation
//! does is done to the machine. A version is activated when it comes onto the machine, which a failure keeps it from, and the profile follows the
//! version of the newest instance that is to run there: a canary's while it is tried out, and again that of the others once it is given up.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use helium_nix::{
    ServiceProfile, Tools,
    service::{self, is_active},
    tools,
};
use helium_packages::{installer::Unrealised, store::Name};
use helium_runtime::ports::Ports;

/// The folder of the profiles, in that of all packages. No service has such a name.
const FOLDER: &str = ".nix";

/// Nix, as the packages of this machine need it.
pub(super) struct StorePaths {
    folder: PathBuf,
    netrc: Option<PathBuf>,
    env: BTreeMap<String, String>,
    ports: Ports,
    /// Who leads the profile of a service; one at a time.
    turns: Mutex<BTreeMap<Name, Arc<tokio::sync::Mutex<()>>>>,
}

/// Why a version is not the active one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Inactive {
    /// Nix is not here.
    #[error(transparent)]
    Nix(#[from] tools::Error),
    /// The profile does not lead to it.
    #[error(transparent)]
    Profile(#[from] service::Error),
    /// The task that did it is gone.
    #[error("the activation has ended early: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

impl Inactive {
    /// Whether it may be active in a moment.
    pub(super) fn may_heal(&self) -> bool {
        !matches!(self, Self::Nix(_))
    }
}

impl StorePaths {
    /// Nix for the packages below `root`. Its programs are looked for when they are needed, so that a Nix that is installed later is found.
    pub(super) fn new(root: &Path, netrc: Option<&Path>, env: BTreeMap<String, String>, ports: Ports) -> Self {
        // Nix runs in another folder.
        let netrc = netrc.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
        Self { folder: root.join(FOLDER), netrc, env, ports, turns: Mutex::default() }
    }

    /// Has a path be in the store, and stay there as long as the link `root` is there.
    pub(super) async fn realise(&self, service: &Name, path: &Path, root: &Path) -> Result<(), Unrealised> {
        let lasting = |error: &dyn std::fmt::Display| Unrealised { reason: error.to_string(), may_heal: false };
        let tools = self.tools().map_err(|error| lasting(&error))?;
        let note = self.folder.join(format!("{service}.realise"));
        std::fs::create_dir_all(&self.folder)
            .map_err(|error| lasting(&format!("{}: {error}", self.folder.display())))?;
        // A cache that does not have it now may have it in a moment, or be back again.
        let outcome = tools.realise(path, root, &note).await;
        outcome.map_err(|error| Unrealised { reason: error.to_string(), may_heal: true })
    }

    /// Has the profile of a service lead to a path, and that be active; what is so already is left alone. Whoever asks may go away: what has begun is ended.
    pub(super) async fn activate(self: &Arc<Self>, service: &Name, path: &Path) -> Result<(), Inactive> {
        let path = path.to_owned();
        self.lead(service, move || Some(path)).await
    }

    /// The same with the path that `which` gives once it is its turn, so that of several who wait the last one leads to what is wanted then. None
    /// leaves the profile where it is.
    pub(super) async fn lead<W>(self: &Arc<Self>, service: &Name, which: W) -> Result<(), Inactive>
    where
        W: FnOnce() -> Option<PathBuf> + Send + 'static,
    {
        let (this, service) = (Arc::clone(self), service.clone());
        let leading = tokio::spawn(async move {
            let turn = this.turn(&service);
            let _turn = turn.lock().await;
            let Some(path) = which().map(|path| path.to_string_lossy().into_owned()) else { return Ok(()) };
            let link = this.folder.join(&service);
            if is_active(&link, &path) {
                return Ok(());
            }
            let profile = ServiceProfile::new(&link, &this.tools()?, this.ports.clone());
            Ok(profile.lead_to(&path).await?)
        });
        leading.await?
    }

    fn turn(&self, service: &Name) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(service.clone()).or_default())
    }

    /// Nix's programs.
    pub(super) fn tools(&self) -> Result<Tools, tools::Error> {
        Tools::find(self.env.clone(), self.netrc.clone())
    }
}
