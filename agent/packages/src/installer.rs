//! Installing a package: fetch, verify, unpack, gate, sync, place, switch, prune, in this order.
//!
//! The order is data ([`ORDER`]), so that a failure says which [`Step`] it was of. Up to the place, all that there is of a version is in the
//! staging folder, which a failure removes; up to the switch, nothing has happened to what runs. The gate is the caller's: the agent runs the
//! install hook in it, in the staged folder, and what it has written there is made durable with the package. A version that is here with the
//! same digest is not fetched again and its gate not asked again; with another digest it is refused, since a version is one thing for good.
//!
//! A path of the Nix store is a package that Nix fetches and verifies and that stays where it is: its version is a link to it.

use std::{
    fmt,
    fs::{self, File},
    future::Future,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use helium_runtime::ports::Ports;
use tokio::sync::Mutex;

use crate::{
    archive::{self, Limits, read, write},
    digest::Digest,
    fetch::{self, Fetcher},
    signature::{self, Key},
    source::{Form, Place, Source},
    store::{self, Name, Receipt, Store, files::sync_tree},
};

mod store_path;

use store_path::Realise;
pub use store_path::Unrealised;

/// A part of installing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The bytes are got.
    Fetch,
    /// They are the right ones.
    Verify,
    /// They become files in the staging folder.
    Unpack,
    /// The caller agrees.
    Gate,
    /// The files reach the disk.
    Sync,
    /// The version takes its place.
    Place,
    /// It becomes the current one.
    Switch,
    /// The oldest go.
    Prune,
}

/// The order of the steps.
pub const ORDER: [Step; 8] =
    [Step::Fetch, Step::Verify, Step::Unpack, Step::Gate, Step::Sync, Step::Place, Step::Switch, Step::Prune];

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetch => "fetch",
            Self::Verify => "verify",
            Self::Unpack => "unpack",
            Self::Gate => "gate",
            Self::Sync => "sync",
            Self::Place => "place",
            Self::Switch => "switch",
            Self::Prune => "prune",
        })
    }
}

/// What is to be installed.
#[derive(Clone, Debug)]
pub struct Request {
    /// The version that it becomes.
    pub version: Name,
    /// Where it is.
    pub source: Source,
    /// The digest that it must have; for a folder, that of the archive that would be made of it. Only what is of this machine may go without.
    pub sha256: Option<Digest>,
    /// The signature that it must bear.
    pub signature: Option<Signature>,
    /// How much it may be.
    pub limits: Limits,
    /// Whether it becomes current; one that is made ready for later does not.
    pub switch: bool,
    /// How many versions stay.
    pub keep: NonZeroUsize,
    /// Versions that stay besides, since something of them runs.
    pub in_use: Vec<Name>,
}

/// A signature, and whose it must be.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Whose.
    pub key: Key,
    /// Its text; without it, what lies beside the package with `.minisig` behind its name.
    pub text: Option<String>,
}

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Where the version is.
    pub folder: PathBuf,
    /// Whether it had been there already.
    pub was_there: bool,
    /// The versions that went; none if they could not be removed, which the next install tries again.
    pub removed: Vec<Name>,
}

/// Installs packages into one store.
pub struct Installer {
    store: Arc<Store>,
    fetcher: Arc<Fetcher>,
    ports: Ports,
    /// One package at a time: they share the folder of downloads.
    turn: Mutex<()>,
    farewell: Option<Box<Farewell>>,
    nix: Option<Box<Realise>>,
}

/// What is done with the folder of a version that is about to be removed.
type Farewell = dyn Fn(Name, PathBuf) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

impl Installer {
    /// An installer into an open store.
    pub fn new(store: Arc<Store>, fetcher: Arc<Fetcher>, ports: Ports) -> Self {
        Self { store, fetcher, ports, turn: Mutex::default(), farewell: None, nix: None }
    }

    /// The same, which has something done with each version before it is removed. Whatever comes of that, the version is removed.
    #[must_use]
    pub fn with_farewell<F>(self, farewell: impl Fn(Name, PathBuf) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { farewell: Some(Box::new(move |version, folder| Box::pin(farewell(version, folder)))), ..self }
    }

    /// Installs. `gate` is called with the staged folder; whatever it says against the version ends it.
    pub async fn install<G, F>(&self, request: &Request, gate: G) -> Result<Installed, Failure>
    where
        G: FnOnce(PathBuf) -> F,
        F: Future<Output = Result<(), String>>,
    {
        let _turn = self.turn.lock().await;
        let (mut step, version) = (ORDER[0], &request.version);
        let outcome = self.steps(request, gate, &mut step).await;
        outcome.map_err(|reason| {
            // What cannot be removed now is removed when the store is opened again.
            if let Err(error) = self.store.unstage(version) {
                tracing::warn!(%error, "what was made ready is left over");
            }
            Failure { service: self.store.service().clone(), version: version.clone(), step, reason }
        })
    }

    async fn steps<G, F>(&self, request: &Request, gate: G, step: &mut Step) -> Result<Installed, Reason>
    where
        G: FnOnce(PathBuf) -> F,
        F: Future<Output = Result<(), String>>,
    {
        let version = &request.version;
        let there = self.store.versions()?.into_iter().find(|(name, _)| name == version).map(|(_, receipt)| receipt);
        let was_there = there.is_some();
        match there {
            Some(receipt) => {
                same(&receipt, request)?;
                self.restore_path(request).await?;
            }
            None => match request.source.place() {
                Place::Nix(path) => self.bring_path(path, request, gate, step).await?,
                _ => self.bring(request, gate, step).await?,
            },
        }
        if request.switch {
            *step = Step::Switch;
            let (store, version) = (Arc::clone(&self.store), version.clone());
            blocking(move || Ok(store.switch(&version)?)).await?;
        }
        *step = Step::Prune;
        let removed = self.prune(request).await.unwrap_or_else(|reason| {
            // The version is there, whatever becomes of older ones.
            tracing::warn!(service = %self.store.service(), %reason, "old versions stay until the next install");
            Vec::new()
        });
        Ok(Installed { folder: self.store.folder(version), was_there, removed })
    }

    /// Removes old versions, each after its farewell.
    async fn prune(&self, request: &Request) -> Result<Vec<Name>, Reason> {
        let (store, keep, mut in_use) = (Arc::clone(&self.store), request.keep, request.in_use.clone());
        in_use.push(request.version.clone());
        if let Some(farewell) = &self.farewell {
            for version in store.to_prune(keep, &in_use)? {
                let folder = store.folder(&version);
                farewell(version, folder).await;
            }
        }
        blocking(move || Ok(store.prune(keep, &in_use)?)).await
    }

    /// Everything up to a version's place.
    async fn bring<G, F>(&self, request: &Request, gate: G, step: &mut Step) -> Result<(), Reason>
    where
        G: FnOnce(PathBuf) -> F,
        F: Future<Output = Result<(), String>>,
    {
        *step = Step::Fetch;
        let (package, signature) = self.fetch(request).await?;
        *step = Step::Verify;
        let (bytes, wanted) = (package.clone(), request.clone());
        let sha256 = blocking(move || verify(&bytes, &wanted, signature.as_deref())).await;
        let sha256 = match sha256 {
            Ok(sha256) => sha256,
            Err(reason) => {
                // The wrong bytes would be the wrong ones the next time as well.
                self.store.clear_downloads()?;
                return Err(reason);
            }
        };
        *step = Step::Unpack;
        let staged = self.store.stage(&request.version)?;
        let (from, form, into, limits) = (package, request.source.form(), staged.clone(), request.limits);
        blocking(move || unpack(&from, form, &into, limits, sha256)).await?;
        *step = Step::Gate;
        gate(staged.clone()).await.map_err(|reason| Reason::Gate { reason })?;
        *step = Step::Sync;
        let folder = staged.clone();
        blocking(move || sync_tree(&folder).map_err(|source| Reason::Disk { path: folder.clone(), source })).await?;
        *step = Step::Place;
        let receipt = Receipt { sha256, source: request.source.to_string(), installed: self.ports.now() };
        self.store.place(&request.version, &receipt)?;
        Ok(self.store.clear_downloads()?)
    }

    /// The file or folder with the package, and the signature if there must be one.
    async fn fetch(&self, request: &Request) -> Result<(PathBuf, Option<String>), Reason> {
        let source = &request.source;
        let folder = self.store.downloads()?;
        let local = match source.place() {
            Place::File(path) => Some(path.clone()),
            Place::Http(_) | Place::S3 { .. } | Place::Nix(_) => None,
        };
        if request.sha256.is_none() && local.is_none() {
            return Err(Reason::NoDigest { place: source.to_string() });
        }
        let package = match local {
            // A folder is copied when it is unpacked, and is looked at again after that.
            Some(path) if source.form() == Form::Folder => path,
            _ => {
                // Other content at the same address is another download.
                let wanted = request.sha256.map_or_else(|| "any".to_owned(), |digest| digest.to_string());
                let to = folder.join(format!("{}-{wanted}", source.slug()));
                if !to.exists() || local.is_some() {
                    self.fetcher.fetch(source.place(), &to).await?;
                }
                to
            }
        };
        let signature = match &request.signature {
            None => None,
            Some(Signature { text: Some(text), .. }) => Some(text.clone()),
            Some(Signature { text: None, .. }) => {
                let by = folder.join(format!("{}.minisig", source.slug()));
                Some(self.fetcher.signature(&source.signature(), &by).await?)
            }
        };
        Ok((package, signature))
    }
}

/// Whether what is there is what is wanted.
fn same(receipt: &Receipt, request: &Request) -> Result<(), Reason> {
    let is_path = |source: &str| source.starts_with("nix://");
    let wanted = request.source.to_string();
    if (is_path(&receipt.source) || is_path(&wanted)) && receipt.source != wanted {
        return Err(Reason::OtherPath { version: request.version.clone(), there: receipt.source.clone(), wanted });
    }
    match request.sha256 {
        Some(wanted) if wanted != receipt.sha256 => {
            Err(Reason::Other { version: request.version.clone(), there: receipt.sha256, wanted })
        }
        _ => Ok(()),
    }
}

/// The digest of a package that is the right one.
fn verify(package: &Path, request: &Request, signature: Option<&str>) -> Result<Digest, Reason> {
    let disk = |source| Reason::Disk { path: package.to_owned(), source };
    let folder = request.source.form() == Form::Folder;
    let sha256 = if folder {
        write::digest(package)?
    } else {
        Digest::of_stream(File::open(package).map_err(disk)?).map_err(disk)?
    };
    if let Some(wanted) = request.sha256
        && wanted != sha256
    {
        return Err(Reason::Digest { place: request.source.to_string(), found: sha256, wanted });
    }
    if let Some(Signature { key, .. }) = &request.signature {
        if folder {
            return Err(Reason::FolderSigned { place: request.source.to_string() });
        }
        let signature = signature.ok_or(signature::Error::NotASignature { reason: "there is none".to_owned() })?;
        key.verify(signature, File::open(package).map_err(disk)?)?;
    }
    Ok(sha256)
}

/// A package as files. A folder that changes while it is copied is told by its digest.
fn unpack(from: &Path, form: Form, into: &Path, limits: Limits, sha256: Digest) -> Result<(), Reason> {
    if form != Form::Folder {
        return Ok(read::unpack(from, form, into, limits)?);
    }
    write::copy(from, into)?;
    let found = write::digest(into)?;
    if found == sha256 { Ok(()) } else { Err(Reason::Changed { path: from.to_owned() }) }
}

/// Verifies a package that is a file or a folder of this machine: for those who only want to know.
pub fn verify_local(path: &Path, sha256: Option<Digest>, signature: Option<(&Key, &str)>) -> Result<Digest, Reason> {
    let disk = |source| Reason::Disk { path: path.to_owned(), source };
    let folder = fs::metadata(path).map_err(disk)?.is_dir();
    let found =
        if folder { write::digest(path)? } else { Digest::of_stream(File::open(path).map_err(disk)?).map_err(disk)? };
    match (sha256, signature) {
        (Some(wanted), _) if wanted != found => {
            Err(Reason::Digest { place: path.display().to_string(), found, wanted })
        }
        (_, Some(_)) if folder => Err(Reason::FolderSigned { place: path.display().to_string() }),
        (_, Some((key, text))) => Ok(key.verify(text, File::open(path).map_err(disk)?).map(|()| found)?),
        (_, None) => Ok(found),
    }
}

/// Runs what waits for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Reason> + Send + 'static) -> Result<T, Reason> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|ended| Err(Reason::Ended { reason: ended.to_string() }))
}

/// A package was not installed.
#[derive(Debug, thiserror::Error)]
#[error("{service} {version}: {step}: {reason}")]
pub struct Failure {
    /// Of which service.
    pub service: Name,
    /// Which version.
    pub version: Name,
    /// At which step.
    pub step: Step,
    /// Why.
    pub reason: Reason,
}

impl Failure {
    /// Whether the same request may succeed in a moment.
    pub fn may_heal(&self) -> bool {
        match &self.reason {
            Reason::Fetch(error) => error.may_heal(),
            Reason::Nix(unrealised) => unrealised.may_heal,
            Reason::Gate { .. }
            | Reason::Disk { .. }
            | Reason::Changed { .. }
            | Reason::Store(store::Error::Disk { .. }) => true,
            _ => false,
        }
    }
}

/// Why a package was not installed.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// It could not be unpacked.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// The store cannot take it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Its signature is not believed.
    #[error(transparent)]
    Signature(#[from] signature::Error),
    /// It comes from elsewhere, and nobody says what it must be.
    #[error("{place} has no `sha256`, without which nothing is installed that is not of this machine")]
    NoDigest {
        /// From where.
        place: String,
    },
    /// It is not what it must be.
    #[error("{place} has the sha256 {found}, and not {wanted}")]
    Digest {
        /// From where.
        place: String,
        /// What it is.
        found: Digest,
        /// What it must be.
        wanted: Digest,
    },
    /// The version is here as something else.
    #[error(
        "version {version} is here already with the sha256 {there}, and not {wanted}: other content needs another version"
    )]
    Other {
        /// Which.
        version: Name,
        /// What it is here.
        there: Digest,
        /// What it must be.
        wanted: Digest,
    },
    /// The version is here as another path of the Nix store, or one of the two is none.
    #[error("version {version} is here already as {there}, and not {wanted}: other content needs another version")]
    OtherPath {
        /// Which.
        version: Name,
        /// Where it came from.
        there: String,
        /// Where it must come from.
        wanted: String,
    },
    /// Nix does not give it.
    #[error(transparent)]
    Nix(#[from] Unrealised),
    /// What is verified by Nix is not verified twice.
    #[error("{place} bears no `sha256` and no `signature` here: Nix verifies what it fetches by its own")]
    NixVerifies {
        /// Which.
        place: String,
    },
    /// A folder cannot bear a signature.
    #[error("{place} is a folder, which bears no signature: build an archive of it")]
    FolderSigned {
        /// Which.
        place: String,
    },
    /// A folder was changed while it was copied.
    #[error("{} was changed while it was copied", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// The caller is against it.
    #[error("{reason}")]
    Gate {
        /// Why.
        reason: String,
    },
    /// A file of this machine cannot be read or written.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The task that did it is gone.
    #[error("it has ended early: {reason}")]
    Ended {
        /// Why.
        reason: String,
    },
}
