//! The mark of how far the hooks of a leader were told.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::testing;

/// An instance whose package has both hooks, which fail if a file `fail` is there.
fn told(folder: &std::path::Path) -> Told {
    let dir = InstanceDir::at(folder.to_owned());
    dir.create().unwrap();
    let hooks = dir.view().join("helium/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in ["leader-gained", "leader-lost"] {
        let path = hooks.join(hook);
        fs::write(&path, "#!/bin/sh\necho $HELIUM_HOOK $HELIUM_LEADER_TOKEN >> ../told\n[ ! -e ../fail ]\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let env = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
    let leads = watch::channel(None).0;
    let instance = testing::assignment("hello-0");
    let telemetry = Telemetry::new(Ports::seeded(1, testing::instant(0)));
    Told { dir, env, stop_within: Duration::from_secs(5), leads, instance, pid: 7, telemetry }
}

fn said(folder: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("told")).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[tokio::test]
async fn a_leader_is_told_once_its_hook_has_run_and_of_this_token_and_process_alone() {
    let folder = tempfile::tempdir().unwrap();
    let told = told(folder.path());
    let doing = told.gain("41");
    assert!(!told.is_told("41"), "the hook has not run yet");
    drop(doing);
    assert!(!told.is_told("41"), "it was cut off");
    told.gain("41").await;
    assert!(told.is_told("41"));
    assert!(!told.is_told("42"), "another time of leading");
    assert!(!Told { pid: 8, ..told }.is_told("41"), "another process");
    assert_eq!(said(folder.path()), ["leader-gained 41"]);
}

#[tokio::test]
async fn what_was_lost_while_no_agent_ran_is_seen_by_its_mark_until_the_package_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let told = told(folder.path());
    assert!(!told.is_lost_unseen(), "it never led");
    fs::write(told.dir.state().join(NOTE), "").unwrap();
    told.note(Some("41"));
    told.gain("41").await;
    assert!(!told.is_lost_unseen(), "the election goes on with its note");
    fs::remove_file(told.dir.state().join(NOTE)).unwrap();
    assert!(told.is_lost_unseen());
    told.lose().await;
    assert!(!told.is_lost_unseen() && !told.is_told("41"));
    assert!(!told.dir.work().join(LEADER_FILE).exists());
    assert_eq!(said(folder.path()), ["leader-gained 41", "leader-lost"]);
}

#[tokio::test]
async fn a_hook_of_the_leader_that_fails_is_not_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let told = told(folder.path());
    fs::write(folder.path().join("fail"), "").unwrap();
    told.gain("41").await;
    assert!(told.is_told("41"), "its failure is in the log");
    told.lose().await;
    assert!(!told.is_lost_unseen());
}
