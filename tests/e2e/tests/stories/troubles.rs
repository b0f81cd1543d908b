//! What agents say of instances that are not as they should be, as people come to see it.

use std::time::Duration;

use helium_e2e::{Output, eventually, holds_for};
use serde_json::Value;

use crate::{
    fleet::{Fleet, ROLLOUT, is_sentinel},
    packages::{Package, deployment},
};

/// Waits until a line of `helium explain` holds all of these words, and gives it.
#[track_caller]
fn explained(fleet: &Fleet, words: &[&str]) -> String {
    let explain = || fleet.helium.run(&["explain", "deployment/hello"]).ok().stdout;
    eventually(&format!("it is explained: {words:?}"), ROLLOUT, || {
        explain().lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
    })
}

/// The conditions in the reports of all instances.
fn conditions(fleet: &Fleet) -> Vec<Value> {
    let keys = fleet.consul.keys("helium/v1/report/").into_iter().filter(|key| !is_sentinel(key));
    let reports = keys.map(|key| fleet.consul.value(&key));
    reports.flat_map(|report| report["conditions"].as_array().cloned().unwrap_or_default()).collect()
}

#[test]
fn a_package_with_another_sha256_is_explained_in_one_line() {
    let fleet = Fleet::of(1);
    let url = Package::new(&fleet, "hello").url();
    let package = format!("{{url: \"{url}\", sha256: \"{}\"}}", "0".repeat(64));
    fleet.apply_only(&deployment("1", 1, &package, ""));
    let line = explained(&fleet, &["without its package for "]);
    for words in [" on n1-", "has the sha256", "; put right `template.package`, what is at its URL, or what"] {
        assert!(line.contains(words), "{line}");
    }
    let told = fleet.helium.run(&["explain", "deployment/hello"]).ok();
    assert_eq!(told.stdout.matches("has the sha256").count(), 1, "{told}");
    fleet.helium.run(&["describe", "deployment/hello"]).ok().expect("Troubles:").expect("without its package for ");
}

#[test]
fn files_that_cannot_be_made_are_explained_in_one_line() {
    let fleet = Fleet::of(1);
    let package = Package::new(&fleet, "hello");
    package.file("conf/other.mustache", "{{one}}");
    fleet.apply_only(&deployment("1", 1, &format!("{{url: \"{}\"}}", package.url()), ""));
    let line = explained(&fleet, &["without valid files for "]);
    for words in
        ["nobody gives `one` (conf/other.mustache:1:1)", "; put right the values or the templates; helium logs"]
    {
        assert!(line.contains(words), "{line}");
    }
}

#[test]
fn a_crash_loop_is_explained_in_one_line_and_told_to_machines() {
    let fleet = Fleet::of(1);
    let yaml = "apiVersion: helium.dev/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 1
  template:
    version: \"1\"
    exec: {command: [sh, -c, exit 3]}
  progressDeadline: 10m
";
    fleet.apply_only(yaml);
    let line = explained(&fleet, &["in a crash loop for "]);
    for words in ["exit status 3", "; helium logs hello --instance hello-", " shows what it says"] {
        assert!(line.contains(words), "{line}");
    }
    let table = fleet.helium.run(&["get", "instances"]).ok();
    assert!(table.says("Failed") && table.says("exit status 3"), "{table}");
    let json = |arguments: &[&str]| -> Value {
        let Output { stdout, .. } = fleet.helium.run(arguments).ok();
        serde_json::from_str(&stdout).unwrap()
    };
    let document = json(&["get", "instances", "hello", "-o", "json"]);
    let told = &document["items"][0]["report"]["conditions"];
    let kinds: Vec<&str> = told.as_array().unwrap().iter().filter_map(|one| one["type"].as_str()).collect();
    assert_eq!(kinds, ["Ready", "Registered", "CrashLoop", "Maintenance"], "{document:#}");
    let explained = json(&["explain", "deployment/hello", "-o", "json"]);
    assert_eq!(explained["instances"][0]["report"]["conditions"][2]["status"], "True", "{explained:#}");
}

#[test]
fn an_instance_in_maintenance_is_explained_with_the_command_that_ends_it() {
    let fleet = Fleet::of(1);
    let package = format!("{{url: \"{}\"}}", Package::new(&fleet, "hello").url());
    fleet.apply(&deployment("1", 1, &package, "")).ok();
    let id = fleet.instances()[0].id.clone();
    let on = ["node", "maintenance", "on", &fleet.node(1), "--instance", &id, "--reason", "odd"];
    fleet.helium.run(&on).ok();
    explained(&fleet, &["in maintenance for ", ": odd; helium node maintenance off "]);
    let next = explained(&fleet, &["Next: helium node maintenance off ", " ends the maintenance"]);
    let command = next.trim_start_matches("Next: helium ").trim_end_matches(" ends the maintenance");
    fleet.helium.run(&command.split(' ').collect::<Vec<_>>()).ok().expect("back in service");
    eventually("it is over", ROLLOUT, || {
        let told = fleet.helium.run(&["explain", "deployment/hello"]).ok();
        (!told.says("maintenance") && told.says("Healthy: ")).then_some(())
    });
}

#[test]
fn at_rest_and_over_a_restart_of_the_agent_no_condition_is_written_again() {
    let mut fleet = Fleet::of(1);
    let package = format!("{{url: \"{}\"}}", Package::new(&fleet, "hello").url());
    fleet.apply(&deployment("1", 2, &package, "")).ok();
    let settled = eventually("both are ready, and that is known", ROLLOUT, || {
        let all = conditions(&fleet);
        let ready = all.iter().filter(|one| one["type"] == "Ready" && one["status"] == "True").count();
        (ready == 2).then_some(all)
    });
    let same = || match conditions(&fleet) {
        now if now == settled => Ok(()),
        now => Err(format!("{now:?}, and not {settled:?}")),
    };
    holds_for("nothing changes at rest", Duration::from_secs(5), same);
    fleet.agent(1).kill();
    fleet.start_agent(1);
    let same = || match conditions(&fleet) {
        now if now == settled => Ok(()),
        now => Err(format!("{now:?}, and not {settled:?}")),
    };
    holds_for("nor over a restart", Duration::from_secs(15), same);
}
