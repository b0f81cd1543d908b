//! The disk stops at the n-th call, for every n, with that call done by half or not at all; what `Store::open` then finds is whole.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use helium_packages::{
    digest::Digest,
    fetch::{Config, Fetcher},
    installer::Installer,
    store::{
        Error, KEEP, Name, Receipt, Store,
        files::{Disk, Files},
    },
};
use helium_runtime::ports::Ports;
use tempfile::TempDir;

use crate::installing::request;

/// A disk that stops. It waits for no real one, which would take the most of the time. Reading counts as a call, too: a crash is one wherever it happens.
struct Stopping {
    left: AtomicUsize,
    /// Whether the call at which it stops is done by half.
    by_half: bool,
}

impl Stopping {
    fn call<T>(&self, whole: impl FnOnce() -> io::Result<T>, half: impl FnOnce()) -> io::Result<T> {
        let stopped = || io::Error::other("the disk has stopped");
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(1) if self.by_half => half(),
            Ok(2..) => return whole(),
            Ok(_) | Err(_) => {}
        }
        Err(stopped())
    }
}

impl Files for Stopping {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.call(|| Disk.create_folder(path), || drop(Disk.create_folder(path)))
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.call(|| std::fs::write(path, bytes), || drop(std::fs::write(path, &bytes[..bytes.len() / 2])))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.call(|| Disk.read(path), || ())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // The whole of it is done, and nobody hears of it: half of a rename is none.
        self.call(|| Disk.rename(from, to), || drop(Disk.rename(from, to)))
    }
    fn link(&self, target: &Path, at: &Path) -> io::Result<()> {
        self.call(|| Disk.link(target, at), || drop(Disk.link(target, at)))
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.call(|| Disk.read_link(path), || ())
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(|| Disk.remove_file(path), || drop(Disk.remove_file(path)))
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let half = || {
            if let Some(first) = Disk.list(path).ok().and_then(|names| names.into_iter().next()) {
                let first = path.join(first);
                let _ = Disk.remove_file(&first).or_else(|_| Disk.remove_folder(&first));
            }
        };
        self.call(|| Disk.remove_folder(path), half)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.call(|| Disk.list(path), || ())
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.call(|| path.metadata().map(drop), || ())
    }
}

/// One that never stops.
fn going() -> Arc<dyn Files> {
    Arc::new(Stopping { left: AtomicUsize::new(usize::MAX), by_half: false })
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// One whole round on a disk: open, bring a version to its place, switch to it, remove the oldest.
fn round(files: Arc<dyn Files>, root: &Path, version: &str, at: i64) -> Result<(), Error> {
    let store = Store::open_on(files, root, &name("web"))?;
    if !store.versions()?.iter().any(|(there, _)| *there == name(version)) {
        let folder = store.stage(&name(version))?;
        for file in ["a", "b"] {
            std::fs::write(folder.join(file), version).unwrap();
        }
        let installed = jiff::Timestamp::from_second(at).unwrap();
        let receipt = Receipt { sha256: Digest::of(version.as_bytes()), source: "file:///p".to_owned(), installed };
        store.place(&name(version), &receipt)?;
    }
    store.switch(&name(version))?;
    store.prune(KEEP, &[])?;
    Ok(())
}

/// What must be so at any time: `current` leads to a whole version, and the previous one is there.
fn is_whole(root: &Path, context: &str) {
    let store = Store::open_on(going(), root, &name("web")).unwrap_or_else(|error| panic!("{context}: {error}"));
    let current = store.current().unwrap().unwrap_or_else(|| panic!("{context}: there is no current version"));
    let previous = store.previous().unwrap().unwrap_or_else(|| panic!("{context}: there is no previous version"));
    let expected = if current == name("4") { "3" } else { "2" };
    assert!(current == name("4") || current == name("3"), "{context}: {current}");
    assert_eq!(previous, name(expected), "{context}");
    let service = root.join("web");
    for (version, _) in store.versions().unwrap() {
        let files = Disk.list(&service.join(&version)).unwrap();
        assert_eq!(files, ["a", "b"], "{context}: {version} is not whole");
    }
    let there: Vec<String> = store.versions().unwrap().iter().map(|(version, _)| version.to_string()).collect();
    let receipts = Disk.list(&service.join(".helium/receipts")).unwrap();
    assert_eq!(receipts, there, "{context}: a receipt of nothing");
    let listings = Disk.list(&service.join(".helium/files")).unwrap();
    assert_eq!(listings, there, "{context}: a listing of nothing, or a version without one");
    let mut own: Vec<String> = Disk.list(&service.join(".helium")).unwrap();
    own.retain(|name| !["lock", "history", "receipts", "files"].contains(&name.as_str()));
    assert_eq!(own, Vec::<String>::new(), "{context}: something is left over");
}

#[test]
fn a_crash_between_any_two_calls_is_repaired() {
    for by_half in [false, true] {
        let mut calls = 0;
        loop {
            calls += 1;
            let scratch = TempDir::new().unwrap();
            for (at, version) in [(1, "1"), (2, "2"), (3, "3")] {
                round(going(), scratch.path(), version, at).unwrap();
            }
            let stopping = Stopping { left: AtomicUsize::new(calls), by_half };
            let outcome = round(Arc::new(stopping), scratch.path(), "4", 4);
            // `current` is right before anybody repairs anything.
            assert!(scratch.path().join("web/current/a").exists(), "call {calls}: current leads nowhere");
            is_whole(scratch.path(), &format!("call {calls}, by half: {by_half}"));
            // And the same round again comes to its end.
            round(going(), scratch.path(), "4", 4).unwrap();
            let store = Store::open(scratch.path(), &name("web")).unwrap();
            let versions: Vec<String> = store.versions().unwrap().iter().map(|(name, _)| name.to_string()).collect();
            assert_eq!(versions, ["2", "3", "4"], "call {calls}");
            assert_eq!((store.current().unwrap(), store.previous().unwrap()), (Some(name("4")), Some(name("3"))));
            drop(store);
            round(going(), scratch.path(), "5", 5).unwrap();
            let store = Store::open_on(going(), scratch.path(), &name("web")).unwrap();
            assert_eq!(store.previous().unwrap(), Some(name("4")), "call {calls}: the history has a gap");
            if outcome.is_ok() {
                break;
            }
        }
        assert!(calls > 40, "only {calls} calls were made: the disk was not asked");
    }
}

/// One whole round with a version that is a path of the Nix store; whoever is asked for it makes the root and nothing else.
async fn round_of_a_path(
    files: Arc<dyn Files>,
    fetcher: &Arc<Fetcher>,
    scratch: &Path,
    number: usize,
) -> Result<(), String> {
    let store = Store::open_on(files, &scratch.join("root"), &name("web")).map_err(|error| error.to_string())?;
    let path = scratch.join(format!("{number:032}-web"));
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("a"), "").unwrap();
    let installer = Installer::new(Arc::new(store), Arc::clone(fetcher), Ports::real());
    let installer = installer.with_nix(|path, root| async move {
        let _ = std::fs::remove_file(&root);
        std::os::unix::fs::symlink(path, root).unwrap();
        Ok(())
    });
    let url = format!("nix://{}", path.display());
    let request = request(&number.to_string(), &url, None);
    installer.install(&request, |_| async { Ok(()) }).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_crash_between_any_two_calls_leaves_no_path_of_nix_without_its_root_and_no_root_without_its_path() {
    let fetcher = Arc::new(Fetcher::new(Config::default(), Ports::real()));
    for by_half in [false, true] {
        let mut calls = 0;
        loop {
            calls += 1;
            let scratch = TempDir::new().unwrap();
            for number in 1..=3 {
                round_of_a_path(going(), &fetcher, scratch.path(), number).await.unwrap();
            }
            let stopping = Stopping { left: AtomicUsize::new(calls), by_half };
            let outcome = round_of_a_path(Arc::new(stopping), &fetcher, scratch.path(), 4).await;
            assert!(scratch.path().join("root/web/current/a").exists(), "call {calls}: current leads nowhere");
            let service = scratch.path().join("root/web");
            let store = Store::open_on(going(), &scratch.path().join("root"), &name("web")).unwrap();
            let versions: Vec<String> = store.versions().unwrap().iter().map(|(name, _)| name.to_string()).collect();
            assert_eq!(
                Disk.list(&service.join(".helium/roots")).unwrap(),
                versions,
                "call {calls}, by half: {by_half}"
            );
            for version in &versions {
                let root = service.join(".helium/roots").join(version);
                assert_eq!(std::fs::read_link(root).unwrap(), store.content(&name(version)), "call {calls}");
            }
            drop(store);
            round_of_a_path(going(), &fetcher, scratch.path(), 4).await.unwrap();
            assert_eq!(std::fs::read_link(service.join("current")).unwrap(), Path::new("4"));
            if outcome.is_ok() {
                break;
            }
        }
        assert!(calls > 40, "only {calls} calls were made: the disk was not asked");
    }
}

#[test]
fn a_crash_while_a_crash_is_repaired_is_repaired() {
    for first in (1..200).step_by(7) {
        let scratch = TempDir::new().unwrap();
        for (at, version) in [(1, "1"), (2, "2"), (3, "3")] {
            round(going(), scratch.path(), version, at).unwrap();
        }
        let stopping = |calls| Arc::new(Stopping { left: AtomicUsize::new(calls), by_half: true });
        let done = round(stopping(first), scratch.path(), "4", 4).is_ok();
        for second in 1.. {
            if Store::open_on(stopping(second), scratch.path(), &name("web")).is_ok() {
                break;
            }
        }
        is_whole(scratch.path(), &format!("call {first}"));
        if done {
            break;
        }
    }
}

#[test]
fn a_store_is_open_once_and_a_foreign_folder_is_left_alone() {
    let scratch = TempDir::new().unwrap();
    let foreign = scratch.path().join("web/by-hand");
    std::fs::create_dir_all(&foreign).unwrap();
    for at in 1..=6 {
        round(going(), scratch.path(), &at.to_string(), at).unwrap();
    }
    assert!(foreign.exists());
    let store = Store::open(scratch.path(), &name("web")).unwrap();
    assert!(matches!(Store::open(scratch.path(), &name("web")), Err(Error::Busy { .. })));
    assert!(matches!(store.switch(&name("by-hand")), Err(Error::Absent { .. })));
    assert_eq!(store.versions().unwrap().len(), 3);
    assert_eq!(store.prune(1.try_into().unwrap(), &[]).unwrap(), [name("4")], "neither current nor previous");
}
