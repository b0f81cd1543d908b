//! A package comes onto a machine, or nothing of it does.

use std::{fs, path::Path, sync::Arc};

use helium_packages::{
    archive::{Limits, write},
    digest::Digest,
    fetch::{Config, Fetcher},
    installer::{Failure, Installed, Installer, Reason, Request, Signature, Step, Unrealised},
    signature::Key,
    source::Form,
    store::{KEEP, Name, Store},
};
use helium_runtime::ports::Ports;
use tempfile::TempDir;

use crate::{
    archives::package,
    server::{Server, Serving},
};

struct World {
    scratch: TempDir,
    store: Arc<Store>,
    installer: Installer,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

impl World {
    fn new() -> Self {
        let scratch = TempDir::new().unwrap();
        let store = Arc::new(Store::open(&scratch.path().join("root"), &name("web")).unwrap());
        let fetcher = Fetcher::new(Config { retries: 0, ..Config::default() }, Ports::real());
        let installer = Installer::new(Arc::clone(&store), Arc::new(fetcher), Ports::real());
        Self { scratch, store, installer }
    }

    /// An archive, and its bytes.
    fn archive(&self) -> (Vec<u8>, Digest) {
        let (folder, file) = (self.scratch.path().join("p"), self.scratch.path().join("p.tar.zst"));
        package(&folder);
        let digest = write::build(&folder, Form::TarZst, &file).unwrap();
        (fs::read(file).unwrap(), digest)
    }

    async fn install(&self, request: &Request) -> Result<Installed, Failure> {
        self.installer.install(request, |_| async { Ok(()) }).await
    }

    fn current(&self) -> Option<String> {
        self.store.current().unwrap().map(|name| name.to_string())
    }

    fn staged(&self) -> usize {
        fs::read_dir(self.scratch.path().join("root/web/.helium/staging")).map_or(0, Iterator::count)
    }
}

pub(crate) fn request(version: &str, url: &str, sha256: Option<Digest>) -> Request {
    Request {
        version: name(version),
        source: url.parse().unwrap(),
        sha256,
        signature: None,
        limits: Limits::default(),
        switch: true,
        keep: KEEP,
        in_use: Vec::new(),
    }
}

fn url(path: &Path) -> String {
    format!("file://{}", path.display())
}

#[tokio::test]
async fn a_package_is_fetched_verified_unpacked_and_current() {
    let world = World::new();
    let (bytes, digest) = world.archive();
    let server = Server::start(Serving { bytes, etag: "\"1\"".to_owned(), ..Serving::default() }).await;
    let request = request("1.0.0", &server.url("web.tar.zst"), Some(digest));
    let installed = world.install(&request).await.unwrap();
    assert!(!installed.was_there && installed.folder.join("helium/hooks/install").exists());
    assert_eq!(world.current().as_deref(), Some("1.0.0"));
    assert!(world.install(&request).await.unwrap().was_there);
    assert_eq!(server.heard().len(), 1, "what is there is not fetched again");
}

#[tokio::test]
async fn a_missing_cut_or_tampered_package_leaves_current_as_it_was() {
    let world = World::new();
    let (bytes, digest) = world.archive();
    let good = url(&world.scratch.path().join("p.tar.zst"));
    world.install(&request("1", &good, Some(digest))).await.unwrap();
    let cut =
        Serving { breaks_after: bytes.len() / 2, bytes: bytes.clone(), etag: "\"1\"".to_owned(), ..Serving::default() };
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    let tampered = Serving { bytes: changed, etag: "\"2\"".to_owned(), ..Serving::default() };
    let server = Server::start(cut).await;
    let address = server.url("web.tar.zst");
    let missing = url(&world.scratch.path().join("none.tar.zst"));
    let refused = async |url: &str, step| {
        let failure = world.install(&request("2", url, Some(digest))).await.unwrap_err();
        assert_eq!((failure.step, world.current().as_deref(), world.staged()), (step, Some("1"), 0), "{failure}");
    };
    refused(&missing, Step::Fetch).await;
    refused(&address, Step::Fetch).await;
    *server.serving.lock().unwrap() = tampered.clone();
    refused(&address, Step::Verify).await;
    *server.serving.lock().unwrap() = Serving { bytes, ..tampered };
    world.install(&request("2", &address, Some(digest))).await.unwrap();
    assert_eq!(world.current().as_deref(), Some("2"), "wrong bytes are not kept for the next try");
}

#[tokio::test]
async fn a_gate_that_fails_leaves_current_and_removes_what_was_staged() {
    let world = World::new();
    let (_, digest) = world.archive();
    let good = url(&world.scratch.path().join("p.tar.zst"));
    world.install(&request("1", &good, Some(digest))).await.unwrap();
    let gate = |folder: std::path::PathBuf| async move {
        assert!(folder.join("app.conf.tera").exists(), "the gate sees the files");
        Err("install: exit code 1".to_owned())
    };
    let failure = world.installer.install(&request("2", &good, Some(digest)), gate).await.unwrap_err();
    assert_eq!(failure.to_string(), "web 2: gate: install: exit code 1");
    assert_eq!((world.current().as_deref(), world.staged(), world.store.versions().unwrap().len()), (Some("1"), 0, 1));
}

#[tokio::test]
async fn a_signature_beside_the_package_is_asked_for_and_believed() {
    let world = World::new();
    let (bytes, digest) = world.archive();
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let signature = minisign::sign(Some(&pair.pk), &pair.sk, &bytes[..], None, None).unwrap().to_string();
    let file = world.scratch.path().join("p.tar.zst");
    let key = Key::read(&pair.pk.to_base64()).unwrap();
    let mut wanted = request("1", &url(&file), Some(digest));
    wanted.signature = Some(Signature { key: key.clone(), text: None });
    assert_eq!(world.install(&wanted).await.unwrap_err().step, Step::Fetch);
    fs::write(world.scratch.path().join("p.tar.zst.minisig"), &signature).unwrap();
    world.install(&wanted).await.unwrap();
    let other = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    wanted.version = name("2");
    wanted.signature = Some(Signature { key: Key::read(&other.pk.to_base64()).unwrap(), text: Some(signature) });
    let failure = world.install(&wanted).await.unwrap_err();
    assert!(matches!((failure.step, &failure.reason), (Step::Verify, Reason::Signature(_))), "{failure}");
    assert_eq!(world.current().as_deref(), Some("1"));
}

#[tokio::test]
async fn the_newest_stay_and_a_folder_is_a_package_too() {
    let world = World::new();
    let folder = world.scratch.path().join("p");
    package(&folder);
    for version in 1..=5 {
        world.install(&request(&version.to_string(), &url(&folder), None)).await.unwrap();
    }
    let versions: Vec<String> = world.store.versions().unwrap().iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(versions, ["3", "4", "5"]);
    // Back to the oldest, whose predecessor stays.
    world.install(&request("3", &url(&folder), None)).await.unwrap();
    assert_eq!(world.store.previous().unwrap(), Some(name("5")));
    fs::write(folder.join("more"), "more").unwrap();
    let digest = write::digest(&folder).unwrap();
    let failure = world.install(&request("3", &url(&folder), Some(digest))).await.unwrap_err();
    assert!(failure.to_string().contains("another version"), "{failure}");
}

#[tokio::test]
async fn what_comes_from_elsewhere_needs_a_digest() {
    let world = World::new();
    let failure = world.install(&request("1", "https://example.invalid/p.tgz", None)).await.unwrap_err();
    assert!(matches!(failure.reason, Reason::NoDigest { .. }), "{failure}");
    assert_eq!(world.current(), None);
}

#[tokio::test]
async fn old_versions_that_cannot_be_removed_keep_no_new_one_out_and_go_with_the_next_install() {
    let world = World::new();
    let folder = world.scratch.path().join("p");
    package(&folder);
    let source = format!("file://{}", folder.display());
    let wanted = |version: &str| Request { keep: 1.try_into().unwrap(), ..request(version, &source, None) };
    for version in ["1", "2"] {
        world.install(&wanted(version)).await.unwrap();
    }
    // A file stands where versions are put before they are removed.
    let trash = world.scratch.path().join("root/web/.helium/trash");
    let _ = fs::remove_dir(&trash);
    fs::write(&trash, "").unwrap();
    let installed = world.install(&wanted("3")).await.unwrap();
    assert_eq!((installed.removed, world.current().as_deref()), (Vec::new(), Some("3")));
    let there = || world.store.versions().unwrap().iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(there(), ["1", "2", "3"]);
    fs::remove_file(&trash).unwrap();
    let again = world.install(&wanted("3")).await.unwrap();
    assert_eq!((again.was_there, again.removed), (true, vec![name("1")]));
    assert_eq!(there(), ["2", "3"]);
}

#[tokio::test]
async fn a_path_of_nix_is_a_link_to_it_and_its_version_is_that_path_for_good() {
    let World { scratch, store, installer } = World::new();
    let asked = Arc::new(std::sync::Mutex::new(0));
    let counted = Arc::clone(&asked);
    let installer = installer.with_nix(move |path, root| {
        *counted.lock().unwrap() += 1;
        async move {
            if !path.exists() {
                return Err(Unrealised { reason: format!("no cache has {}", path.display()), may_heal: true });
            }
            let _ = fs::remove_file(&root);
            std::os::unix::fs::symlink(path, root).map_err(|error| panic!("{error}"))
        }
    });
    let path = |name: &str| scratch.path().join(format!("s66mzxpvicwk07gjbjfw9izjfa797vsw-{name}"));
    let of = |version: &str, path: &Path| request(version, &format!("nix://{}", path.display()), None);
    fs::create_dir(path("one")).unwrap();
    fs::write(path("file"), "").unwrap();
    for (version, name, words) in [("2", "none", "2: fetch: no cache has"), ("2", "file", "2: unpack: nix://")] {
        let failure = installer.install(&of(version, &path(name)), |_| async { Ok(()) }).await.unwrap_err();
        assert!(failure.to_string().contains(words), "{failure}");
    }
    let gate = |staged: std::path::PathBuf| async move {
        assert!(staged.is_dir());
        Ok(())
    };
    let first = installer.install(&of("1", &path("one")), gate).await.unwrap();
    assert_eq!(fs::read_link(&first.folder).unwrap(), path("one"));
    assert_eq!((store.content(&name("1")), store.store_path(&name("1")).unwrap()), (path("one"), Some(path("one"))));
    let before = *asked.lock().unwrap();
    assert!(installer.install(&of("1", &path("one")), gate).await.unwrap().was_there);
    assert_eq!(*asked.lock().unwrap(), before, "what is there is not asked for again");
    fs::remove_dir(path("one")).unwrap();
    let gone = installer.install(&of("1", &path("one")), gate).await.unwrap_err();
    assert!(gone.to_string().contains("no cache has"), "{gone}");
    for other in [of("1", &path("two")), request("1", "file:///srv/web", None)] {
        let failure = installer.install(&other, gate).await.unwrap_err();
        assert!(matches!(failure.reason, Reason::OtherPath { .. }), "{failure}");
    }
    let mut signed = of("3", &path("one"));
    signed.sha256 = Some(Digest::of(b""));
    let failure = installer.install(&signed, gate).await.unwrap_err();
    assert!(matches!(failure.reason, Reason::NixVerifies { .. }), "{failure}");
}
