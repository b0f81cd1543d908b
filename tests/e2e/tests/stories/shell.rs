//! The command line as scripts use it: files, folders, stdin, formats for machines, pipes.

use crate::{fleet::Fleet, specs::deployment};

/// A fleet with `one` and `two`, each of one instance.
#[track_caller]
fn two() -> Fleet {
    let fleet = Fleet::of(1);
    fleet.apply(&(deployment("one", "1", 1, "") + "---\n" + &deployment("two", "1", 1, ""))).ok();
    fleet
}

#[test]
fn objects_come_from_a_folder_and_from_stdin_as_from_a_file() {
    let fleet = Fleet::of(1);
    let folder = fleet.helium.folder().join("specs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.yaml"), deployment("one", "1", 1, "")).unwrap();
    std::fs::write(folder.join("b.yml"), deployment("two", "1", 1, "")).unwrap();
    let path = folder.to_str().unwrap();
    let planned = fleet.helium.run(&["apply", "-f", path, "--dry-run"]).ok();
    assert!(planned.says("one") && planned.says("two"), "{planned}");
    fleet.helium.run(&["get", "deployment/one"]).expect_code(4);
    fleet.helium.run(&["apply", "-f", path]).ok();
    fleet.helium.run_with(&["apply", "-f", "-"], &deployment("three", "1", 1, "")).ok();
    let names = fleet.helium.run(&["get", "deployments", "-o", "name"]).ok();
    assert_eq!(names.stdout, "deployment/one\ndeployment/three\ndeployment/two\n");
    assert_eq!(names.stderr, "");
}

#[test]
fn machines_get_json_and_what_they_get_can_be_applied_again() {
    let fleet = two();
    let list = fleet.helium.get("deployments");
    let names: Vec<&str> =
        list["items"].as_array().unwrap().iter().filter_map(|i| i["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(fleet.helium.get("deployment/one")["spec"]["replicas"], 1);
    let yaml = fleet.helium.run(&["get", "deployment/one", "-o", "yaml"]).ok().stdout;
    let before = fleet.consul.fingerprint("helium/v1/spec/");
    let again = fleet.helium.run_with(&["apply", "-f", "-"], &yaml).ok();
    assert!(again.says("unchanged"), "{again}");
    assert_eq!(fleet.consul.fingerprint("helium/v1/spec/"), before);
    for kind in ["deploy", "deployment", "Deployments"] {
        assert!(fleet.helium.run(&["get", kind]).ok().says("one"), "{kind}");
    }
}

#[test]
fn a_controller_that_sees_everything_says_that_it_is_well() {
    let fleet = two();
    let http = &fleet.controllers[0].http;
    assert_eq!(http.get("/healthz").unwrap().status, 200);
    assert_eq!(http.get("/readyz").unwrap().status, 200);
}
