//! The profile of a service, and the paths that its versions keep in the store.

use std::{fs, path::PathBuf};

use helium_nix::{
    ServiceProfile,
    service::{Error, is_active},
};
use helium_runtime::ports::Ports;

use crate::{
    nix::{Nix, is_there},
    real_nix::{is_alive, until},
};

fn link(nix: &Nix) -> PathBuf {
    nix.file("packages/.nix/web")
}

fn profile(nix: &Nix) -> ServiceProfile {
    ServiceProfile::new(&link(nix), &nix.tools(), Ports::real())
}

/// Where the profile leads.
fn at(nix: &Nix) -> String {
    let generation = link(nix).with_file_name(fs::read_link(link(nix)).unwrap());
    fs::read_link(generation).unwrap().display().to_string()
}

fn generations(nix: &Nix) -> usize {
    let names = fs::read_dir(link(nix).parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with("-link")).count()
}

#[tokio::test]
async fn a_version_is_activated_once_and_again_when_it_is_gone_back_to() {
    let nix = Nix::new();
    let (one, two) = (nix.web("one"), nix.web("two"));
    for path in [&one, &one, &two, &one] {
        profile(&nix).lead_to(path).await.unwrap();
        assert!(is_active(&link(&nix), path));
    }
    assert_eq!((nix.said(), at(&nix)), (vec!["one".to_owned(), "two".to_owned(), "one".to_owned()], one));
}

#[tokio::test]
async fn a_version_that_fails_is_told_and_the_last_good_one_is_active_again() {
    let nix = Nix::new();
    let (one, two, three) = (nix.web("one"), nix.broken("two"), nix.broken("three"));
    profile(&nix).lead_to(&one).await.unwrap();
    for path in [&two, &three, &three] {
        let error = profile(&nix).lead_to(path).await.unwrap_err();
        assert!(matches!(error, Error::Activation { .. }), "{error}");
        let words = error.to_string();
        assert!(words.contains("no t") && words.contains(&format!("the profile is back at {one}")), "{words}");
        assert!(is_active(&link(&nix), &one) && !is_active(&link(&nix), path));
    }
    assert_eq!(nix.said(), ["one", "two", "one", "three", "one", "three", "one"]);
    let error = ServiceProfile::new(&nix.file("other"), &nix.tools(), Ports::real()).lead_to(&two).await.unwrap_err();
    assert!(error.to_string().contains("there is nothing to go back to"), "{error}");
}

#[tokio::test]
async fn a_path_says_how_long_its_activation_may_take() {
    let nix = Nix::new();
    let hangs = ("activate", "sleep 600 & echo $! > $SAID.pid; wait");
    let manifest = ("helium/package.yaml", "name: web\nhooks: {activate: {timeout: 300ms}}\n");
    let path = nix.path_with("slow", &[hangs], &[manifest]);
    let words = profile(&nix).lead_to(&path).await.unwrap_err().to_string();
    assert!(words.contains("was ended after 0.3 s"), "{words}");
    let child = fs::read_to_string(nix.file("said.pid")).unwrap();
    until(|| !is_alive(child.trim())).await;
}

#[tokio::test]
async fn what_was_cut_short_is_gone_on_with() {
    let nix = Nix::new();
    let go = nix.file("go");
    let waits = format!("echo begun >> $SAID; test -e {} || sleep 600; echo done >> $SAID", go.display());
    let (one, two) = (nix.web("one"), nix.path("two", &[("activate", &waits)]));
    profile(&nix).lead_to(&one).await.unwrap();
    let leading = profile(&nix);
    tokio::select! {
        biased;
        _ = leading.lead_to(&two) => panic!("it does not end by itself"),
        () = until(|| nix.said().contains(&"begun".to_owned())) => {}
    }
    assert!(!is_active(&link(&nix), &two) && !is_active(&link(&nix), &one));
    fs::write(&go, "").unwrap();
    profile(&nix).lead_to(&two).await.unwrap();
    assert_eq!((nix.said(), at(&nix)), (["one", "begun", "begun", "done"].map(str::to_owned).to_vec(), two));
}

#[tokio::test]
async fn a_collection_of_garbage_takes_what_nobody_needs_and_neither_the_way_back_nor_what_has_a_root() {
    let nix = Nix::new();
    let paths = ["one", "two", "three", "four"].map(|name| nix.web(name));
    let root = nix.file("root");
    nix.tools().realise(paths[1].as_ref(), &root, &nix.file("note")).await.unwrap();
    for path in &paths {
        profile(&nix).lead_to(path).await.unwrap();
    }
    assert_eq!(generations(&nix), 2, "the present one and the way back");
    nix.run("nix-store", &["--gc"]);
    assert_eq!(paths.each_ref().map(|path| is_there(path.as_ref())), [false, true, true, true]);
    fs::remove_file(&root).unwrap();
    nix.run("nix-store", &["--gc"]);
    assert!(!is_there(paths[1].as_ref()));
    let error = nix.tools().realise(paths[1].as_ref(), &root, &nix.file("note")).await.unwrap_err();
    assert!(error.to_string().starts_with("`nix-store --realise"), "{error}");
    assert!(!is_there(&root));
}
