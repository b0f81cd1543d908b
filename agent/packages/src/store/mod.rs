//! The versions of one service on this machine, and which one is current.
//!
//! A version comes to its place by one `rename` of a folder that is on the disk already, and leaves it by one: what has a version's name is
//! whole. `current` is replaced by the `rename` of another link: there is always one once there was one. Around the switch stands a journal,
//! so that the history, by which the previous version is known, cannot be behind: whoever finds a journal looks where `current` leads
//! and finishes the switch or forgets it. All else that a crash can leave is in `staging`, `trash` and `new`, which [`Store::open`] empties.
//! A receipt is written before its version takes its place, and removed after it left: one without a version is a trace of a crash, and a
//! version without one was made by somebody else.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::digest::Digest;

mod error;
pub mod files;
pub mod keep;
mod layout;
pub mod listing;
mod switch;

pub use error::Error;
use files::{Disk, Files};
use layout::Layout;
pub use layout::Name;
use listing::Listing;

/// Where packages are unless somebody says otherwise.
pub const ROOT: &str = "/opt/helium";
/// How many versions of a service are kept unless somebody says otherwise.
pub const KEEP: NonZeroUsize = NonZeroUsize::new(3).unwrap();
/// How many past versions the history names; more than anybody keeps.
const HISTORY: usize = 50;

/// What a version was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The digest of its archive, or of its folder.
    pub sha256: Digest,
    /// Where it came from, without what may not be told.
    pub source: String,
    /// When.
    pub installed: Timestamp,
}

/// The store of one service. One process has it open at a time.
pub struct Store {
    layout: Layout,
    service: Name,
    files: Arc<dyn Files>,
    /// One change at a time, in this process too.
    changing: Mutex<()>,
    /// Unlocks when the process is gone, at the latest.
    lock: File,
}

impl Drop for Store {
    /// Closing would do, but for a child that is being forked at this moment: it has the file too until it becomes its program.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Store {
    /// Opens the store of a service below `root`, and repairs what a crash has left.
    pub fn open(root: &Path, service: &Name) -> Result<Self, Error> {
        Self::open_on(Arc::new(Disk), root, service)
    }

    /// The same on another disk.
    pub fn open_on(files: Arc<dyn Files>, root: &Path, service: &Name) -> Result<Self, Error> {
        let layout = Layout::new(root, service);
        let own = layout.own();
        files.create_folder(&own).map_err(at("make", &own))?;
        let store =
            Self { lock: lock(&layout, service)?, layout, service: service.clone(), files, changing: Mutex::default() };
        // The folders that were just made must not be lost with what comes into them.
        store.sync(store.layout.service())?;
        store.sync(root)?;
        store.repair()?;
        Ok(store)
    }

    /// Whose store this is.
    pub fn service(&self) -> &Name {
        &self.service
    }

    /// The folder of a version, whether it is there or not.
    pub fn folder(&self, version: &Name) -> PathBuf {
        self.layout.version(version)
    }

    /// The version that `current` leads to; none before the first switch.
    pub fn current(&self) -> Result<Option<Name>, Error> {
        let link = self.layout.current();
        let target = match self.files.read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at("read", &link)(error)),
        };
        let name = target.to_str().and_then(|target| target.parse().ok());
        name.map(Some).ok_or(Error::Foreign { path: link, target })
    }

    /// The version that was current before this one, if it is still there.
    pub fn previous(&self) -> Result<Option<Name>, Error> {
        let (current, history) = (self.current()?, self.history()?);
        let installed = self.versions()?;
        let mut past = history.into_iter().rev();
        Ok(past
            .find(|version| Some(version) != current.as_ref() && installed.iter().any(|(there, _)| there == version)))
    }

    /// All versions that were installed here, with their receipts, by name.
    pub fn versions(&self) -> Result<Vec<(Name, Receipt)>, Error> {
        let (service, receipts) = (self.layout.service(), self.layout.receipts());
        let there = self.files.list(service).map_err(at("list", service))?;
        let mut versions = Vec::new();
        for name in self.names(&receipts)? {
            if there.iter().any(|folder| *folder == name.to_string())
                && let Some(receipt) = self.load(&self.layout.receipt(&name))?
            {
                versions.push((name, receipt));
            }
        }
        Ok(versions)
    }

    /// An empty folder for a version to be made ready in, on the disk of its later place.
    pub fn stage(&self, version: &Name) -> Result<PathBuf, Error> {
        let folder = self.layout.staging().join(version);
        self.remove_folder(&folder)?;
        self.files.create_folder(&folder).map_err(at("make", &folder))?;
        Ok(folder)
    }

    /// A version that is made ready and is a link to where its files are.
    pub(crate) fn stage_link(&self, version: &Name, target: &Path) -> Result<PathBuf, Error> {
        let (staging, link) = (self.layout.staging(), self.layout.staging().join(version));
        self.remove_folder(&link)?;
        self.files.create_folder(&staging).map_err(at("make", &staging))?;
        self.files.link(target, &link).map_err(at("link", &link))?;
        Ok(link)
    }

    /// Where the files of a version are: the path of the Nix store that it is a link to, or its folder.
    pub fn content(&self, version: &Name) -> PathBuf {
        let place = self.layout.version(version);
        self.files.read_link(&place).unwrap_or(place)
    }

    /// The path of the Nix store that an installed version is; none if it is none, or not here.
    pub fn store_path(&self, version: &Name) -> Result<Option<PathBuf>, Error> {
        let receipt = self.load::<Receipt>(&self.layout.receipt(version))?;
        let is_path = receipt.is_some_and(|receipt| receipt.source.starts_with("nix://"));
        Ok(self.files.read_link(&self.layout.version(version)).ok().filter(|_| is_path))
    }

    /// The link that keeps the path of a version in the Nix store.
    pub(crate) fn root_of(&self, version: &Name) -> PathBuf {
        self.layout.root(version)
    }

    /// The same, with the folder for it made.
    pub(crate) fn make_root(&self, version: &Name) -> Result<PathBuf, Error> {
        let roots = self.layout.roots();
        self.files.create_folder(&roots).map_err(at("make", &roots))?;
        Ok(self.layout.root(version))
    }

    /// Removes what was being made ready.
    pub fn unstage(&self, version: &Name) -> Result<(), Error> {
        self.remove_folder(&self.layout.staging().join(version))
    }

    /// Where downloads are kept until their package is installed.
    pub(crate) fn downloads(&self) -> Result<PathBuf, Error> {
        let folder = self.layout.downloads();
        self.files.create_folder(&folder).map_err(at("make", &folder))?;
        Ok(folder)
    }

    /// Removes all downloads: those of the package that is installed now, and those that nobody came back for.
    pub(crate) fn clear_downloads(&self) -> Result<(), Error> {
        self.remove_folder(&self.layout.downloads())
    }

    /// Moves a version that was made ready to its place. What is in it must be on the disk already.
    pub fn place(&self, version: &Name, receipt: &Receipt) -> Result<PathBuf, Error> {
        let _one = self.one_change();
        let (staged, place) = (self.layout.staging().join(version), self.layout.version(version));
        let there = self.files.list(self.layout.service()).map_err(at("list", self.layout.service()))?;
        if there.iter().any(|name| *name == version.to_string()) {
            return Err(Error::Taken { path: place });
        }
        let receipts = self.layout.receipts();
        self.files.create_folder(&receipts).map_err(at("make", &receipts))?;
        self.sync(&self.layout.own())?;
        let files = self.layout.listings();
        self.files.create_folder(&files).map_err(at("make", &files))?;
        let listing = Listing::of(&staged).map_err(at("read", &staged))?;
        self.save(&self.layout.listing(version), &listing)?;
        self.save(&self.layout.receipt(version), receipt)?;
        self.files.rename(&staged, &place).map_err(at("rename to", &place))?;
        self.sync(self.layout.service())?;
        Ok(place)
    }

    /// Removes the oldest versions so that `keep` stay; never the current one, the previous one, or one that is `in_use`.
    pub fn prune(&self, keep: NonZeroUsize, in_use: &[Name]) -> Result<Vec<Name>, Error> {
        let _one = self.one_change();
        let gone = self.to_prune(keep, in_use)?;
        for version in &gone {
            self.remove(version)?;
        }
        Ok(gone)
    }

    /// The versions that [`Store::prune`] would remove now.
    pub fn to_prune(&self, keep: NonZeroUsize, in_use: &[Name]) -> Result<Vec<Name>, Error> {
        let (current, previous) = (self.current()?, self.previous()?);
        let held: Vec<&Name> = current.iter().chain(&previous).chain(in_use).collect();
        let candidates: Vec<_> = self
            .versions()?
            .into_iter()
            .map(|(version, receipt)| keep::Candidate { version, installed: receipt.installed })
            .collect();
        Ok(keep::to_remove(&candidates, &held, keep))
    }

    fn one_change(&self) -> MutexGuard<'_, ()> {
        // Whoever panicked in here has left what a crash leaves at most, and that is none of what the next change relies on.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, version: &Name) -> Result<(), Error> {
        let (place, trash) = (self.layout.version(version), self.layout.trash());
        let away = trash.join(version);
        self.remove_folder(&away)?;
        self.files.create_folder(&trash).map_err(at("make", &trash))?;
        self.files.rename(&place, &away).map_err(at("rename", &place))?;
        self.sync(self.layout.service())?;
        self.remove_file(&self.layout.receipt(version))?;
        self.remove_file(&self.layout.listing(version))?;
        self.remove_folder(&away)?;
        self.remove_file(&self.layout.root(version))
    }

    fn names(&self, folder: &Path) -> Result<Vec<Name>, Error> {
        match self.files.list(folder) {
            Ok(names) => Ok(names.iter().filter_map(|name| name.parse().ok()).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(at("list", folder)(error)),
        }
    }

    /// Reads one of the store's own files; none where it is not there.
    fn load<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, Error> {
        match self.files.read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| Error::Garbled { path: path.to_owned(), reason: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", path)(error)),
        }
    }

    /// Writes one of the store's own files, the whole of it or nothing.
    fn save(&self, path: &Path, value: &impl Serialize) -> Result<(), Error> {
        let new = self.layout.new_one();
        let bytes = serde_json::to_vec(value)
            .map_err(|error| Error::Garbled { path: path.to_owned(), reason: error.to_string() })?;
        self.files.write(&new, &bytes).map_err(at("write", &new))?;
        self.files.rename(&new, path).map_err(at("rename to", path))?;
        self.sync(path.parent().unwrap_or(path))
    }

    fn sync(&self, folder: &Path) -> Result<(), Error> {
        self.files.sync_folder(folder).map_err(at("sync", folder))
    }

    fn remove_file(&self, path: &Path) -> Result<(), Error> {
        gone(self.files.remove_file(path)).map_err(at("remove", path))
    }

    fn remove_folder(&self, path: &Path) -> Result<(), Error> {
        gone(self.files.remove_folder(path)).map_err(at("remove", path))
    }
}

/// What is not there need not be removed.
fn gone(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn at(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Disk { verb, path: path.to_owned(), source }
}

fn lock(layout: &Layout, service: &Name) -> Result<File, Error> {
    let path = layout.lock();
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Busy { service: service.clone(), path }),
        Err(TryLockError::Error(error)) => Err(at("lock", &path)(error)),
    }
}
