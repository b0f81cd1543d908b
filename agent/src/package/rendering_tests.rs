//! Files by turns: what is not wanted any more puts nothing in place, and two never do at once.

use std::collections::BTreeSet;

use consul_client::Client;
use helium_lookups::FollowerConfig;
use helium_runtime::ports::Ports;
use helium_templates::values::Layer;

use super::*;
use crate::package::lookups::Lookups;

/// The files of one instance: a package with one template, and its view.
struct World {
    folder: tempfile::TempDir,
    turn: Turn,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["package", "view", "state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("package/page.tera"), "{{ colour }}").unwrap();
        Self { folder, turn: Turn::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The files in this colour, which a script looks at first.
    fn rendering(&self, colour: &str, look: &str) -> Rendering {
        let server = consul_embedded::Server::in_memory(&consul_embedded::Config::default());
        let client = Client::over(server.transport(), None);
        let ports = Ports::seeded(1, crate::testing::instant(0));
        let lookups = Arc::new(Lookups::over(client, ports, FollowerConfig::default()));
        let (nobody, nothing) = (BTreeMap::new(), BTreeSet::new());
        let asking = Asking::new(lookups, "hello-0".into(), "default".to_owned(), nobody, nothing);
        let layer = Layer::of_hook("test", format!("{{\"colour\": \"{colour}\"}}").as_bytes()).unwrap();
        let (package, view) = (self.path("package"), self.path("view"));
        Rendering {
            templates: Arc::new(templates(&package, &view).unwrap()),
            values: Arc::new(Values::merge([layer])),
            asking: Arc::new(asking),
            missing: Missing::Fail,
            check: ["sh", "-c", look].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            view,
            state: self.path("state"),
            turn: self.turn.next(),
            seen: Arc::default(),
        }
    }

    async fn is_there(&self, name: &str) {
        while !self.path(name).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn files_that_are_not_wanted_any_more_are_not_put_in_place_and_the_next_ones_wait_for_their_turn() {
    let world = World::new();
    let old = world.rendering("old", "touch ../looked; while [ ! -e ../go ]; do sleep 0.01; done");
    let over = old.turn.guard();
    let begun = tokio::spawn(old.apply());
    world.is_there("looked").await;
    // The instance wants other files by now. Nobody can end the thread that looks at the old ones.
    drop(over);
    let mut next = tokio::spawn(world.rendering("new", "touch ../mine").apply());
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut next).await;
    assert!(waits.is_err() && !world.path("mine").exists(), "two were at the files at once");
    fs::write(world.path("go"), "").unwrap();
    let refused = begun.await.unwrap().unwrap_err();
    assert!(refused.words.contains("they are not wanted any more"), "{}", refused.words);
    next.await.unwrap().unwrap();
    assert_eq!(fs::read_to_string(world.path("view/page")).unwrap(), "new");
}

#[tokio::test]
async fn files_that_a_check_refuses_leave_no_mark_that_somebody_is_to_be_told() {
    let world = World::new();
    let refused = world.rendering("bad", "echo not this >&2; exit 1").apply().await.unwrap_err();
    assert!(refused.words.contains("not this"), "{}", refused.words);
    assert!(!world.path("state").join(UNTOLD).exists() && !world.path("view/page").exists());
    world.rendering("good", "true").apply().await.unwrap();
    assert!(world.path("state").join(UNTOLD).exists());
}

#[test]
fn a_link_to_a_template_elsewhere_is_one_and_within_the_package_it_is_found_where_it_leads() {
    let scratch = tempfile::tempdir().unwrap();
    let (package, other) = (scratch.path().join("package"), scratch.path().join("other"));
    for folder in [&package, &other] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("own.conf.tera"), "").unwrap();
    }
    std::os::unix::fs::symlink(other.join("own.conf.tera"), package.join("linked.conf.tera")).unwrap();
    std::os::unix::fs::symlink("own.conf.tera", package.join("again.conf.tera")).unwrap();
    std::os::unix::fs::symlink("/nowhere", package.join("broken.conf.tera")).unwrap();
    std::os::unix::fs::symlink(&other, package.join("folder.tera")).unwrap();
    let found = templates(&package, Path::new("/view")).unwrap();
    let targets: Vec<PathBuf> = found.into_iter().map(|template| template.target).collect();
    assert_eq!(targets, [PathBuf::from("/view/linked.conf"), PathBuf::from("/view/own.conf")]);
}
